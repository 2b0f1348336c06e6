//! Changing an event and cancelling it; for its host.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::{Deserr, ValuePointerRef};
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Given, Maybe, Whole};
use mundotango_gateway::problem::{FieldCode, FieldError, Problem};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::announce::{announce_cancelled, announce_change, announce_new};
use super::bodies::EventBody;
use super::editing::Change;
use super::requests::{AskAgainDays, RoleLimits, SettingsChange, TicketPrice};
use super::rules::{AttendeeList, Cancelled, Plan};
use super::schedule::{GivenTime, Schedule, Zone};
use super::store::{Edited, Event};
use crate::community::Community;
use crate::community::accounts::restrictions::Ability;
use crate::community::place::GivenLocation;
use crate::community::policy::Action;
use crate::texts::{Description, Reason, Title};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(change)).routes(routes!(publish)).routes(routes!(cancel))
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
    /// Whether it is whole days, as in a new event; only together with `eventDate`. As before if absent.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    all_day: Given<bool>,
    #[deserr(default)]
    #[schema(value_type = GivenLocation, required = false)]
    location: Given<GivenLocation>,
    /// How many may come; null for no limit. Not less than are going; where it is more than before, those who wait move up.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1)]
    capacity: Maybe<Whole<1, { u32::MAX }>>,
    /// How many may come who lead, and who follow; null for no limits.
    #[deserr(default)]
    #[schema(value_type = Option<RoleLimits>)]
    role_limits: Maybe<RoleLimits>,
    /// To whom it is told who comes.
    #[deserr(default)]
    #[schema(value_type = AttendeeList, required = false)]
    attendees: Given<Choice<AttendeeList>>,
    /// What a place costs from now on; null for nothing. Who has a place keeps it.
    #[deserr(default)]
    #[schema(value_type = Option<TicketPrice>)]
    ticket_price: Maybe<TicketPrice>,
    /// How many days before it those who are going are asked whether they still come; null for not at all.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 2, maximum = 30)]
    ask_again_days: Maybe<AskAgainDays>,
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
        let all_day = self.all_day.0.unwrap_or(before.all_day);
        Schedule::given(start, end, Some(zone), all_day).map(Some)
    }
}

fn with_its_start(change: EventChange, _at: ValuePointerRef<'_>) -> Result<EventChange, BadFields> {
    if change.event_date.0.is_some() {
        return Ok(change);
    }
    let alone = [
        ("endDate", !matches!(change.end_date, Maybe::Absent)),
        ("timeZone", !matches!(change.time_zone, Maybe::Absent)),
        ("allDay", change.all_day.0.is_some()),
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
    let event = community.event_for(&id, &identity, Action::Change).await?;
    let when = body.schedule(&event.when).map_err(|error| Problem::invalid(vec![error]))?;
    let is_over = |when: &Schedule| when.over_at() <= mundotango_storage::now();
    if when.as_ref().is_some_and(is_over) {
        let message = "must not be so long ago that the event is over";
        return Err(Problem::invalid_field("eventDate", FieldCode::OutOfRange, message));
    }
    let people = community.people(vec![event.host_id]).await;
    let edit = move |before: Edited| {
        let Edited { plan, settings } = before;
        Edited {
            plan: Plan {
                title: body.title.0.clone().map_or(plan.title, Title::into_string),
                description: match &body.description {
                    Maybe::Absent => plan.description,
                    Maybe::Null => String::new(),
                    Maybe::Value(description) => description.clone().into_string(),
                },
                when: when.clone().unwrap_or(plan.when),
                location: body.location.0.as_ref().map_or(plan.location, |location| location.0.clone()),
            },
            settings: SettingsChange {
                capacity: body.capacity,
                role_limits: &body.role_limits,
                attendees: &body.attendees,
                ticket_price: &body.ticket_price,
                ask_again_days: body.ask_again_days,
            }
            .of(settings),
        }
    };
    let (now, of_host) = (mundotango_storage::now(), people.clone());
    let effects = move |change: &Change| announce_change(change, &of_host, now);
    let changed = community.events.change(&id, now, edit, effects).await?;
    Ok(Json(EventBody::new(changed.ok_or_else(|| Problem::not_found("event"))?, &people)))
}

/// Show a draft to everybody; for its host.
#[utoipa::path(
    post, path = "/api/events/{id}/publish", operation_id = "publishEvent", tag = "events",
    responses(
        (status = OK, body = EventBody),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn publish(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<EventBody>, Problem> {
    community.must_be_able(&identity.user_id, Ability::Hosting).await?;
    let event = community.event_for(&id, &identity, Action::Change).await?;
    let people = community.people(vec![event.host_id]).await;
    let (now, of_host) = (mundotango_storage::now(), people.clone());
    let effects = move |event: &Event| announce_new(event, &of_host, now);
    let published = community.events.publish(&id, now, effects).await?;
    Ok(Json(EventBody::new(published.ok_or_else(|| Problem::not_found("event"))?, &people)))
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
    let event = community.event_for(&id, &identity, Action::Change).await?;
    let people = community.people(vec![event.host_id]).await;
    let reason = body.reason.value().map(Reason::into_string);
    let (cancelled, of_host) = (Cancelled { at: mundotango_storage::now(), reason }, people.clone());
    let effects = move |after: &Event| announce_cancelled(after, &of_host);
    let cancelled = community.events.cancel(&id, cancelled, effects).await?;
    Ok(Json(EventBody::new(cancelled.ok_or_else(|| Problem::not_found("event"))?, &people)))
}
