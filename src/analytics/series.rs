//! Numbers over time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::Deserr;
use jiff::SignedDuration;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::ValidQuery;
use mundotango_gateway::input::{BadFields, Choice, Time};
use mundotango_gateway::problem::{FieldCode, Problem};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::counts::{Dimension, Kind, Tally};
use super::periods::{Step, periods};
use super::query::{Moment, Named, RangeBody, Zone, range, too_much};
use super::reader::{FEWEST, Reader, shown};
use super::slots::Piece;
use super::state::Analytics;
use crate::community::roles::{self, Role};

/// Most points of an answer.
const MOST_POINTS: usize = 400;
/// Most totals that an answer is made of.
const MOST_TOTALS: usize = 5_000;

const EVENTS: &str = "Events by the time in their ids, each id once. `value` counts those of browsers \
    and apps; `bots` those of programs that say so, and `unknown` those of which it cannot be told; \
    without `kind`, what the server counts itself (`server_read`, `session`) is left out.";
const VISITORS: &str = "Different visitors with an event, bots and unknown programs left out. A user who \
    is logged in is one visitor; anybody else is one for each UTC day, address (of IPv6 its first 64 \
    bits) and browser. Exact up to 1024, else with a standard error of 0.81 %. Visitors of several \
    points must not be added up.";
const MEMBERS: &str = "Different users with an event while they were logged in, each once however long \
    the step is. Exact up to 1024, else with a standard error of 0.81 %. Members of several points must \
    not be added up.";

pub(super) fn router() -> OpenApiRouter<Arc<Analytics>> {
    OpenApiRouter::new().routes(routes!(series))
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Metric {
    /// Events.
    Events,
    /// Different visitors; for steps up to a day.
    Visitors,
    /// Different users.
    Members,
}

/// Which numbers.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SeriesQuery {
    /// `events`, `visitors` (for steps up to a day: longer, nobody knows who came again) or `members`.
    #[param(value_type = Metric, inline)]
    metric: Choice<Metric>,
    /// Only events of this kind.
    #[deserr(default)]
    #[param(value_type = Option<Kind>, inline)]
    kind: Option<Choice<Kind>>,
    /// Only events of this name; with `kind`.
    #[deserr(default)]
    #[param(value_type = Option<String>, min_length = 1, max_length = 256, example = "home")]
    name: Option<Named>,
    /// From this day (at midnight in the zone) or time on, from the beginning of its step.
    #[param(value_type = Moment, inline)]
    from: Moment,
    /// Up to this day or time, to the end of its step.
    #[param(value_type = Moment, inline)]
    to: Moment,
    /// The time zone of days and hours; UTC if absent.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 64, example = "Europe/Berlin")]
    zone: Zone,
    /// `15m`, `hour`, `day`, `week` or `month`.
    #[param(value_type = Step, inline, example = "day")]
    step: Choice<Step>,
}

/// Numbers over time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SeriesBody {
    /// What is counted, and how.
    definition: &'static str,
    /// The time zone of the steps.
    zone: String,
    #[serde(flatten)]
    range: RangeBody,
    /// Quarters of an hour whose last events are not in these numbers yet; 0 but for a while after a
    /// backfill.
    behind: usize,
    points: Vec<PointBody>,
}

/// The numbers of a step.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PointBody {
    /// When it begins.
    start: Time,
    /// The same in the zone: a date, or for steps below a day a time with its offset.
    label: String,
    /// Null where fewer than five people of a name would be counted.
    #[schema(required = true)]
    value: Option<u64>,
    /// Events of programs that say so; for the metric `events`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bots: Option<u64>,
    /// Events of which it cannot be told what sent them; for the metric `events`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unknown: Option<u64>,
}

/// Events, visitors or members over time; for admins.
#[utoipa::path(
    get, path = "/api/admin/analytics/series", operation_id = "getSeries",
    tag = "analytics", params(SeriesQuery),
    responses(
        (status = OK, body = SeriesBody), (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn series(
    identity: Identity,
    State(analytics): State<Arc<Analytics>>,
    ValidQuery(query): ValidQuery<SeriesQuery>,
) -> Result<Json<SeriesBody>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let SeriesQuery { metric: Choice(metric), kind, name, from, to, zone, step: Choice(step) } = query;
    if metric == Metric::Visitors && step.is_long() {
        let message =
            "who is not logged in is another visitor each day: ask for `members`, or for steps up to a day";
        return Err(Problem::invalid_field("metric", FieldCode::Contradiction, message));
    }
    let is_named = name.is_some();
    let dimension = match (kind, name) {
        (None, None) => Dimension::All,
        (Some(Choice(kind)), None) => Dimension::Kind(kind),
        (Some(Choice(kind)), Some(Named(name))) => Dimension::Name(kind, name),
        (None, Some(_)) => {
            return Err(Problem::invalid_field("kind", FieldCode::Missing, "is needed with `name`"));
        }
    };
    let asked = range(from, to, &zone, SignedDuration::MAX)?;
    let periods = periods(&asked, step, &zone.0, MOST_POINTS).ok_or_else(too_much)?;
    let (Some(first), Some(last)) = (periods.first(), periods.last()) else { return Err(too_much()) };
    let whole = first.slots.start..last.slots.end;
    let reader = Reader::open(&analytics.db, &whole).await?;
    let pieces: Vec<_> = periods.iter().map(|period| reader.pieces(&period.slots)).collect();
    if pieces.iter().flatten().map(Piece::cost).sum::<usize>() > MOST_TOTALS {
        return Err(too_much());
    }
    let dimension = dimension.text();
    let mut points = Vec::with_capacity(periods.len());
    for (period, pieces) in periods.into_iter().zip(pieces) {
        let (start, label) = (Time(period.slots.start.begin()), period.label);
        points.push(if metric == Metric::Events {
            let Tally { human, bot, unknown } = reader.counts(&pieces).await?.of(&dimension);
            PointBody { start, label, value: Some(human), bots: Some(bot), unknown: Some(unknown) }
        } else {
            let visitors = reader.visitors(&pieces, &dimension).await?;
            let sketch =
                if metric == Metric::Members { visitors.group.members } else { visitors.group.all() };
            let at_least = match (is_named, sketch.is_empty(), metric) {
                (false, ..) | (_, true, _) => FEWEST,
                (true, false, Metric::Members) => sketch.count(),
                (true, false, _) => visitors.at_least,
            };
            PointBody { start, label, value: shown(&sketch, at_least), bots: None, unknown: None }
        });
    }
    let definition = match metric {
        Metric::Events => EVENTS,
        Metric::Visitors => VISITORS,
        Metric::Members => MEMBERS,
    };
    let (zone, range) = (zone.name(), RangeBody::of(&whole));
    Ok(Json(SeriesBody { definition, zone, range, behind: reader.behind, points }))
}
