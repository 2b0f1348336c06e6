//! What happens most: pages, names, features.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::Deserr;
use jiff::SignedDuration;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::ValidQuery;
use mundotango_gateway::input::{BadFields, Choice, Param, Whole};
use mundotango_gateway::problem::Problem;
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::counts::{Kind, Tally, names_of, paths_of};
use super::query::{Moment, RangeBody, Zone, range};
use super::reader::{FEWEST, Reader};
use super::state::Analytics;
use crate::community::roles::{self, Role};

/// The longest range.
const LONGEST: SignedDuration = SignedDuration::from_hours(93 * 24);
/// Groups of an answer if the caller does not say.
const GROUPS: usize = 10;
/// Features of an answer.
const FEATURES: usize = 50;

const TOP: &str = "Events of the kind by name or by the form of their path, those of browsers and apps \
    first; events by the time in their ids, each id once. `members` are different users who were logged \
    in; `anonymousDays` are different others a UTC day each, so one of them who came on three days is \
    three. Groups of fewer than five people are hidden. Beyond 64 names and paths in a part of a quarter \
    of an hour, further ones are counted as `(other)`.";
const FEATURES_ARE: &str = "Uses of features by the time in their ids, each id once. `members` are \
    different users who were logged in; `anonymousDays` are different others a UTC day each. Features of \
    fewer than five people are hidden.";

pub(super) fn router() -> OpenApiRouter<Arc<Analytics>> {
    OpenApiRouter::new().routes(routes!(top)).routes(routes!(features))
}

/// What groups are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum By {
    Name,
    Path,
}

/// Which groups.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TopQuery {
    /// The kind of the events.
    #[param(value_type = Kind, inline)]
    kind: Choice<Kind>,
    /// What groups are made by.
    #[param(value_type = By, inline)]
    by: Choice<By>,
    /// From this day (at midnight in the zone) or time on.
    #[param(value_type = Moment, inline)]
    from: Moment,
    /// Up to this day or time; at most 93 days later.
    #[param(value_type = Moment, inline)]
    to: Moment,
    /// The time zone of days; UTC if absent.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 64, example = "Europe/Berlin")]
    zone: Zone,
    /// Most groups; 10 if absent.
    #[deserr(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 50)]
    limit: Option<Param<Whole<1, 50>>>,
}

/// Which features.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FeaturesQuery {
    /// From this day (at midnight in the zone) or time on.
    #[param(value_type = Moment, inline)]
    from: Moment,
    /// Up to this day or time; at most 93 days later.
    #[param(value_type = Moment, inline)]
    to: Moment,
    /// The time zone of days; UTC if absent.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 64, example = "Europe/Berlin")]
    zone: Zone,
}

/// What happened most.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TopBody {
    /// What is counted, and how.
    definition: &'static str,
    #[serde(flatten)]
    range: RangeBody,
    /// Quarters of an hour whose last events are not in these numbers yet; 0 but for a while after a
    /// backfill.
    behind: usize,
    /// Those with the most events first.
    groups: Vec<GroupBody>,
    /// Groups that are not shown, as they are of fewer than five people.
    hidden: usize,
}

/// Events of one name or path.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AnalyticsGroup)]
struct GroupBody {
    /// The name, the form of the path, or `(other)`.
    group: String,
    events: Tally,
    /// Different users who were logged in.
    members: u64,
    /// Different others, a UTC day each.
    anonymous_days: u64,
}

/// Most frequent names or paths; for admins.
#[utoipa::path(
    get, path = "/api/admin/analytics/top", operation_id = "getTop", tag = "analytics", params(TopQuery),
    responses(
        (status = OK, body = TopBody), (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn top(
    identity: Identity,
    State(analytics): State<Arc<Analytics>>,
    ValidQuery(query): ValidQuery<TopQuery>,
) -> Result<Json<TopBody>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let TopQuery { kind: Choice(kind), by: Choice(by), from, to, zone, limit } = query;
    let range = range(from, to, &zone, LONGEST)?;
    let below = match by {
        By::Name => names_of(kind),
        By::Path => paths_of(kind),
    };
    let reader = Reader::open(&analytics.db, &range).await?;
    let limit = limit.map_or(GROUPS, |limit| limit.0.count());
    // What the server counts itself is of nobody.
    let is_of_people = !matches!(kind, Kind::ServerRead | Kind::Session);
    let (groups, hidden) = groups(&reader, &range, &below, limit, is_of_people).await?;
    let range = RangeBody::of(&range);
    Ok(Json(TopBody { definition: TOP, range, behind: reader.behind, groups, hidden }))
}

/// How much features are used; for admins.
#[utoipa::path(
    get, path = "/api/admin/analytics/features", operation_id = "getFeatures",
    tag = "analytics", params(FeaturesQuery),
    responses(
        (status = OK, body = TopBody), (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn features(
    identity: Identity,
    State(analytics): State<Arc<Analytics>>,
    ValidQuery(query): ValidQuery<FeaturesQuery>,
) -> Result<Json<TopBody>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let range = range(query.from, query.to, &query.zone, LONGEST)?;
    let reader = Reader::open(&analytics.db, &range).await?;
    let (groups, hidden) = groups(&reader, &range, &names_of(Kind::FeatureUsage), FEATURES, true).await?;
    let range = RangeBody::of(&range);
    Ok(Json(TopBody { definition: FEATURES_ARE, range, behind: reader.behind, groups, hidden }))
}

/// The groups below a dimension with the most events, and how many are hidden.
async fn groups(
    reader: &Reader,
    range: &std::ops::Range<super::slots::Slot>,
    below: &str,
    limit: usize,
    is_of_people: bool,
) -> Result<(Vec<GroupBody>, usize), StoreError> {
    let pieces = reader.pieces(range);
    let counts = reader.counts(&pieces).await?;
    let mut all: Vec<_> = counts.below(below).map(|(group, events)| (group.to_owned(), events)).collect();
    all.sort_by(|(a, x), (b, y)| (y.human, y.unknown, a).cmp(&(x.human, x.unknown, b)));
    let (mut shown, mut hidden, mut looked_at) = (Vec::new(), 0, 0);
    for (group, events) in all {
        if !is_of_people {
            if shown.len() < limit {
                shown.push(GroupBody { group, events, members: 0, anonymous_days: 0 });
            }
            continue;
        }
        // Five people have five events at least, and what people do not do is no group of them.
        if events.human < FEWEST {
            hidden += usize::from(events.human > 0);
            continue;
        }
        if shown.len() == limit || looked_at == 2 * limit {
            continue;
        }
        looked_at += 1;
        let visitors = reader.visitors(&pieces, &format!("{below}{group}")).await?;
        if visitors.at_least < FEWEST {
            hidden += 1;
            continue;
        }
        let (members, anonymous_days) = (visitors.group.members.count(), visitors.group.anonymous.count());
        shown.push(GroupBody { group, events, members, anonymous_days });
    }
    Ok((shown, hidden))
}
