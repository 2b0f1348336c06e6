//! Who comes back: users by the week in which they came first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::Deserr;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::ValidQuery;
use mundotango_gateway::input::{BadFields, Param, Whole};
use mundotango_gateway::problem::Problem;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::members;
use super::query::{Moment, Zone, range};
use super::reader::FEWEST;
use super::slots::{Slot, Week};
use super::state::Analytics;
use crate::community::roles::{self, Role};

const DEFINITION: &str = "Users who were logged in, by the ISO week (UTC) of the first event of theirs \
    that was counted, and how many of them had an event in that week, in the next one, and so on, bots \
    among them. An event that comes late and happened before the first one counts for the first week. \
    Numbers from 1 to 4 are hidden.";

pub(super) fn router() -> OpenApiRouter<Arc<Analytics>> {
    OpenApiRouter::new().routes(routes!(retention))
}

/// Which weeks.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RetentionQuery {
    /// The first week, by a day or time in it.
    #[param(value_type = Moment, inline)]
    from: Moment,
    /// How many weeks, and for how many after the first one; 8 if absent.
    #[deserr(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 26)]
    weeks: Option<Param<Whole<1, 26>>>,
}

/// Who came back.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RetentionBody {
    /// What is counted, and how.
    definition: &'static str,
    cohorts: Vec<CohortBody>,
}

/// Users who came first in a week.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AnalyticsCohort)]
struct CohortBody {
    /// The week's Monday.
    week: String,
    /// How many of them had events in that week, in the next one, and so on up to the present one; null for 1
    /// to 4.
    members: Vec<Option<u64>>,
}

/// Who comes back, week by week; for admins.
#[utoipa::path(
    get, path = "/api/admin/analytics/retention", operation_id = "getRetention",
    tag = "analytics", params(RetentionQuery),
    responses(
        (status = OK, body = RetentionBody), (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn retention(
    identity: Identity,
    State(analytics): State<Arc<Analytics>>,
    ValidQuery(query): ValidQuery<RetentionQuery>,
) -> Result<Json<RetentionBody>, Problem> {
    const WEEKS: u32 = 8;
    roles::require(&identity, Role::Admin)?;
    let now = mundotango_storage::now();
    let until = Moment::Time(now + jiff::SignedDuration::from_mins(15));
    let first = range(query.from, until, &Zone::default(), jiff::SignedDuration::MAX)?.start.day().week();
    let present = Slot::of(now).day().week();
    let number = query.weeks.map_or(WEEKS, |weeks| weeks.0.get());
    let weeks: Vec<_> = (first.0..=present.0.min(first.0 + number - 1)).map(Week).collect();
    let seen = members::cohorts(&analytics.db, &weeks).await?;
    let shown = |number: u64| (number == 0 || number >= FEWEST).then_some(number);
    let cohorts = weeks.iter().zip(seen).map(|(week, seen)| {
        let length = (present.0 - week.0 + 1).min(number) as usize;
        let members = seen.into_iter().chain(std::iter::repeat(0)).take(length).map(shown).collect();
        let monday = week.monday().slot(0).begin().to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
        CohortBody { week: monday.to_string(), members }
    });
    Ok(Json(RetentionBody { definition: DEFINITION, cohorts: cohorts.collect() }))
}
