//! Changing an event and cancelling it; for its host.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::{Deserr, ValuePointerRef};
use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::input::{BadFields, Given, Maybe};
use mundotango_gateway::problem::{FieldCode, FieldError, Problem};
use mundotango_storage::StoreError;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::{ALL_CHANNEL, EventBody, EventMessage};
use super::rules::{Cancelled, Plan};
use super::schedule::{GivenTime, Schedule, Zone};
use super::store::Event;
use crate::community::effects::Effect;
use crate::community::letters;
use crate::community::place::GivenLocation;
use crate::community::policy::{self, Action, Object, Viewer};
use crate::community::{Community, Person};
use crate::texts::{Description, Reason, Title};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(change)).routes(routes!(cancel))
}

/// A change of an event; what is absent stays.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = with_its_start -> BadFields)]
#[schema(rename_all = "camelCase", example = json!({
    "title": "Milonga at La Viruta", "description": "Live music from eleven on.",
    "eventDate": "2030-12-04T22:00", "timeZone": "America/Argentina/Buenos_Aires",
}))]
struct EventChange {
    #[deserr(default)]
    #[schema(value_type = Title, required = false)]
    title: Given<Title>,
    #[deserr(default)]
    #[schema(value_type = Option<Description>)]
    description: Maybe<Description>,
    /// When it starts. With it, `endDate` and `timeZone` are as in a new event.
    #[deserr(default)]
    #[schema(value_type = GivenTime, required = false)]
    event_date: Given<GivenTime>,
    /// When it ends; only together with `eventDate`.
    #[deserr(default)]
    #[schema(value_type = Option<GivenTime>)]
    end_date: Maybe<GivenTime>,
    /// Where the clocks are that the times are read from; only together with `eventDate`. The event's own if absent.
    #[deserr(default)]
    #[schema(value_type = Option<Zone>)]
    time_zone: Maybe<Zone>,
    #[deserr(default)]
    #[schema(value_type = GivenLocation, required = false)]
    location: Given<GivenLocation>,
}

impl EventChange {
    /// The new schedule, if there is one.
    fn schedule(&self, before: &Schedule) -> Result<Option<Schedule>, FieldError> {
        let Some(start) = self.event_date.0 else { return Ok(None) };
        let end = match self.end_date {
            Maybe::Value(end) => Some(end),
            Maybe::Absent | Maybe::Null => None,
        };
        let own = before.zone();
        let zone = if let Maybe::Value(zone) = &self.time_zone { zone } else { &own };
        Schedule::given(start, end, Some(zone)).map(Some)
    }
}

fn with_its_start(change: EventChange, _at: ValuePointerRef<'_>) -> Result<EventChange, BadFields> {
    if change.event_date.0.is_some() {
        return Ok(change);
    }
    let alone = [
        ("endDate", !matches!(change.end_date, Maybe::Absent)),
        ("timeZone", !matches!(change.time_zone, Maybe::Absent)),
    ];
    match alone.into_iter().find(|(_, is_there)| *is_there) {
        Some((field, _)) => {
            Err(FieldError::new(field, FieldCode::Contradiction, "can be changed only with eventDate").into())
        }
        None => Ok(change),
    }
}

/// Why an event does not take place.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct CancelBody {
    /// What those who answered are told.
    #[deserr(default)]
    #[schema(value_type = Option<Reason>)]
    reason: Maybe<Reason>,
}

/// Tells those who look at events of a change, and has those told who answered, if time or place are others.
pub(super) fn announce_change(
    before: &Event,
    after: &Event,
    people: &BTreeMap<String, Person>,
    now: Timestamp,
    tell: Option<Timestamp>,
) -> Result<Vec<Effect>, StoreError> {
    let message = EventMessage::Changed { event: Box::new(EventBody::new(after.clone(), people)) };
    let mut effects = vec![
        Effect::publish(ALL_CHANNEL, &message)?,
        Effect::publish(format!("event:{}", after.id), &message)?,
    ];
    if before.when.starts_at() != after.when.starts_at() {
        effects.extend(letters::events::reminders(after, now)?);
    }
    if let Some(at) = tell {
        effects.push(letters::events::moved(&after.id, at)?);
    }
    Ok(effects)
}

/// Tells those who look at events that one does not take place, and has those told who answered.
pub(super) fn announce_cancelled(
    event: &Event,
    people: &BTreeMap<String, Person>,
) -> Result<Vec<Effect>, StoreError> {
    let message = EventMessage::Cancelled { event: Box::new(EventBody::new(event.clone(), people)) };
    Ok(vec![
        Effect::publish(ALL_CHANNEL, &message)?,
        Effect::publish(format!("event:{}", event.id), &message)?,
        letters::events::cancelled(event)?,
    ])
}

impl Community {
    /// The event, if the caller may change it.
    async fn own_event(&self, id: &str, identity: &Identity) -> Result<Event, Problem> {
        let event = self.events.event(id).await?.ok_or_else(|| Problem::not_found("event"))?;
        let object = Object::Event { host: &event.host_id };
        policy::may(Viewer::from(identity), Action::Change, &object).allows("event")?;
        Ok(event)
    }
}

/// Change an event; for its host. Those who answered are told where time or place are others.
#[utoipa::path(
    patch, path = "/api/events/{id}", operation_id = "changeEvent",
    tag = "events", request_body = EventChange,
    responses(
        (status = OK, body = EventBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn change(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<EventChange>,
) -> Result<Json<EventBody>, Problem> {
    let event = community.own_event(&id, &identity).await?;
    let when = body.schedule(&event.when).map_err(|error| Problem::invalid(vec![error]))?;
    let is_over = |when: &Schedule| when.over_at() <= mundotango_storage::now();
    if when.as_ref().is_some_and(is_over) {
        let message = "must not be so long ago that the event is over";
        return Err(Problem::invalid_field("eventDate", FieldCode::OutOfRange, message));
    }
    let people = community.people(vec![event.host_id]).await;
    let plan = move |plan: Plan| Plan {
        title: body.title.0.clone().map_or(plan.title, Title::into_string),
        description: match &body.description {
            Maybe::Absent => plan.description,
            Maybe::Null => String::new(),
            Maybe::Value(description) => description.clone().into_string(),
        },
        when: when.clone().unwrap_or(plan.when),
        location: body.location.0.as_ref().map_or(plan.location, |location| location.0.clone()),
    };
    let (now, of_host) = (mundotango_storage::now(), people.clone());
    let effects =
        move |before: &Event, after: &Event, tell| announce_change(before, after, &of_host, now, tell);
    let changed = community.events.change(&id, now, plan, effects).await?;
    Ok(Json(EventBody::new(changed.ok_or_else(|| Problem::not_found("event"))?, &people)))
}

/// Cancel an event; for its host. Those who answered are told.
#[utoipa::path(
    post, path = "/api/events/{id}/cancel", operation_id = "cancelEvent",
    tag = "events", request_body = CancelBody,
    responses(
        (status = OK, body = EventBody),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn cancel(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<CancelBody>,
) -> Result<Json<EventBody>, Problem> {
    let event = community.own_event(&id, &identity).await?;
    let people = community.people(vec![event.host_id]).await;
    let reason = body.reason.value().map(Reason::into_string);
    let (cancelled, of_host) = (Cancelled { at: mundotango_storage::now(), reason }, people.clone());
    let effects = move |after: &Event| announce_cancelled(after, &of_host);
    let cancelled = community.events.cancel(&id, cancelled, effects).await?;
    Ok(Json(EventBody::new(cancelled.ok_or_else(|| Problem::not_found("event"))?, &people)))
}
