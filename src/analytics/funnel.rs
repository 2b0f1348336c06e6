//! How far users come through steps, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use futures_util::future::try_join_all;
use jiff::SignedDuration;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::ValidQuery;
use mundotango_gateway::input::BadFields;
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::wrong_name;
use super::buckets::{self, SHARDS};
use super::counts::{Class, Dimension, Kind};
use super::query::{Moment, RangeBody, Zone, range};
use super::reader::FEWEST;
use super::slots::Slot;
use super::state::Analytics;
use super::visitors::Visitor;
use crate::community::roles::{self, Role};

/// As long as single events are kept, less what the last days may lack.
const LONGEST: SignedDuration = SignedDuration::from_hours(35 * 24);
/// Fewest and most steps.
const STEPS: std::ops::RangeInclusive<usize> = 2..=8;
/// Most events that are read for an answer.
const MOST_EVENTS: usize = 200_000;
/// Slots whose counts are read at the same time.
const AT_ONCE: usize = 8;

const DEFINITION: &str = "Different users who were logged in, bots left out, who did the first step in \
    the range, then the second one later, and so on; other events between them do not matter. Steps are \
    names of page views, user actions or uses of features, in the order of the times in their ids. \
    Numbers from 1 to 4 are hidden.";

pub(super) fn router() -> OpenApiRouter<Arc<Analytics>> {
    OpenApiRouter::new().routes(routes!(funnel))
}

/// Names of events, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Steps(Vec<String>);

impl Deserr<BadFields> for Steps {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let wanted =
            format!("{} to {} names of events, with commas between them", STEPS.start(), STEPS.end());
        let Value::String(text) = value else { return Err(BadFields::wrong_type(&value, &wanted, at)) };
        let steps: Vec<_> = text.split(',').map(str::to_owned).collect();
        if let Some((code, message)) = steps.iter().find_map(|step| wrong_name(step)) {
            return Err(BadFields::one(at, code, message));
        }
        if !STEPS.contains(&steps.len()) {
            return Err(BadFields::one(at, FieldCode::OutOfRange, format!("must be {wanted}")));
        }
        Ok(Self(steps))
    }
}

/// Which steps.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FunnelQuery {
    /// From 2 to 8 names of events, with commas between them.
    #[param(value_type = String, min_length = 3, max_length = 500, example = "event.open,rsvp.going")]
    steps: Steps,
    /// From this day (at midnight in the zone) or time on; in the last 35 days.
    #[param(value_type = Moment, inline)]
    from: Moment,
    /// Up to this day or time.
    #[param(value_type = Moment, inline)]
    to: Moment,
    /// The time zone of days; UTC if absent.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 64, example = "Europe/Berlin")]
    zone: Zone,
}

/// How far users came.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FunnelBody {
    /// What is counted, and how.
    definition: &'static str,
    #[serde(flatten)]
    range: RangeBody,
    steps: Vec<StepBody>,
}

/// How many came to a step.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AnalyticsFunnelStep)]
struct StepBody {
    name: String,
    /// Users who did it after all steps before it; null for 1 to 4.
    #[schema(required = true)]
    members: Option<u64>,
}

/// How far users come through steps; for admins.
#[utoipa::path(
    get, path = "/api/admin/analytics/funnel", operation_id = "getFunnel",
    tag = "analytics", params(FunnelQuery),
    responses(
        (status = OK, body = FunnelBody), (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn funnel(
    identity: Identity,
    State(analytics): State<Arc<Analytics>>,
    ValidQuery(query): ValidQuery<FunnelQuery>,
) -> Result<Json<FunnelBody>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let FunnelQuery { steps: Steps(steps), from, to, zone } = query;
    let range = range(from, to, &zone, LONGEST)?;
    if range.start < Slot::of(mundotango_storage::now() - LONGEST - SignedDuration::from_hours(24)) {
        let message = "single events are kept for 35 days";
        return Err(Problem::invalid_field("from", FieldCode::OutOfRange, message));
    }
    let mut progress = Progress::new(&steps);
    let mut left = MOST_EVENTS;
    let slots: Vec<_> = (range.start.0..range.end.0).map(Slot).collect();
    for some in slots.chunks(AT_ONCE) {
        let totals = try_join_all(some.iter().map(|slot| buckets::totals(&analytics.db, *slot))).await?;
        for (slot, (counts, _)) in some.iter().zip(totals) {
            let kinds = [Kind::PageView, Kind::UserAction, Kind::FeatureUsage];
            let has = |step: &String| {
                kinds.iter().any(|kind| counts.may_have(&Dimension::Name(*kind, step.clone()).text()))
            };
            if steps.iter().any(has) {
                progress.go_through(&analytics.db, *slot, &mut left).await?;
            }
            if left == 0 {
                let message = format!("the range has more than {MOST_EVENTS} events; ask for a shorter one");
                return Err(Problem::invalid_field("to", FieldCode::OutOfRange, message));
            }
        }
        tokio::task::consume_budget().await;
    }
    let members = progress.reached();
    let shown = |number: u64| (number == 0 || number >= FEWEST).then_some(number);
    let named = steps.iter().cloned().zip(members);
    let steps = named.map(|(name, members)| StepBody { name, members: shown(members) }).collect();
    Ok(Json(FunnelBody { definition: DEFINITION, range: RangeBody::of(&range), steps }))
}

/// How many steps each user has done.
struct Progress<'a> {
    steps: &'a [String],
    done: BTreeMap<Visitor, usize>,
}

impl<'a> Progress<'a> {
    fn new(steps: &'a [String]) -> Self {
        Self { steps, done: BTreeMap::new() }
    }

    /// Goes through the events of a slot in their order; `left` is how many may still be read.
    async fn go_through(&mut self, db: &Db, slot: Slot, left: &mut usize) -> Result<(), StoreError> {
        let mut found = Vec::new();
        for shard in 0..SHARDS {
            let mut after = None;
            while *left > 0 {
                let page = buckets::events(db, slot, shard, after).await?;
                *left = left.saturating_sub(page.items.len());
                let of_people = page.items.into_iter().filter(|kept| {
                    kept.sender.class == Class::Human
                        && kept.sender.visitor.is_member()
                        && self.steps.contains(&kept.event.name)
                });
                found.extend(of_people.map(|kept| (kept.event.id, kept.event.name, kept.sender.visitor)));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        // Ids begin with their time.
        found.sort();
        for (_, name, visitor) in found {
            self.note(&name, visitor);
        }
        Ok(())
    }

    fn note(&mut self, name: &str, visitor: Visitor) {
        let done = self.done.get(&visitor).copied().unwrap_or_default();
        if self.steps.get(done).is_some_and(|next| next == name) {
            self.done.insert(visitor, done + 1);
        }
    }

    /// How many users came to each step.
    fn reached(&self) -> Vec<u64> {
        let reached = |step: usize| self.done.values().filter(|done| **done > step).count() as u64;
        (0..self.steps.len()).map(reached).collect()
    }
}
