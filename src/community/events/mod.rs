//! Events: giving one, finding one, and coming to it.

pub(super) mod bodies;
mod change;
pub mod listing;
pub mod rules;
pub mod schedule;
pub mod store;
#[cfg(test)]
mod week;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::{Deserr, ValuePointerRef};
use jiff::Timestamp;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Maybe, Time, Whole};
use mundotango_gateway::problem::{Code, FieldError, Problem};
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::StoreError;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::bodies::{ALL_CHANNEL, Answered, Attendee, EventBody, EventMessage, RsvpView};
use self::listing::EventFilter;
use self::rules::{RsvpChoice, RsvpCounts};
use self::schedule::{GivenTime, Schedule, Zone};
use self::store::{Event, EventError, EventType, RsvpOutcome};
use super::effects::Effect;
use super::letters;
use super::notifications::kinds::NotificationKind;
use super::place::{GivenLocation, Near};
use super::{Community, label, personal_channel};
use crate::texts::{City, Description, Title};

type Shared = State<Arc<Community>>;

/// The minute that it is: those who ask within one ask for the same list.
fn this_minute() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second() / 60 * 60).unwrap_or(now)
}

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read))
        .routes(routes!(rsvp))
        .routes(routes!(attendees))
        .merge(change::router())
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = in_order -> BadFields)]
#[schema(rename_all = "camelCase", example = json!({
    "title": "Milonga at La Viruta", "description": "Live music from ten on.",
    "eventDate": "2030-12-04T21:00", "endDate": "2030-12-05T03:00", "timeZone": "America/Argentina/Buenos_Aires",
    "location": {"text": "La Viruta, Armenia 1366", "city": "Buenos Aires", "latitude": -34.59, "longitude": -58.42},
    "eventType": "milonga", "capacity": 120,
}))]
struct NewEvent {
    title: Title,
    #[deserr(default)]
    #[schema(value_type = Option<Description>)]
    description: Maybe<Description>,
    /// When it starts.
    event_date: GivenTime,
    /// When it ends, at most 31 days later. Without one the event is taken to be over 12 hours after its start.
    #[deserr(default)]
    #[schema(value_type = Option<GivenTime>)]
    end_date: Maybe<GivenTime>,
    /// Where the clocks are that the times are read from. UTC if absent.
    #[deserr(default)]
    #[schema(value_type = Option<Zone>)]
    time_zone: Maybe<Zone>,
    location: GivenLocation,
    #[schema(value_type = EventType)]
    event_type: Choice<EventType>,
    /// How many may come; absent for no limit.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1)]
    capacity: Maybe<Whole<1, { u32::MAX }>>,
}

impl NewEvent {
    fn schedule(&self) -> Result<Schedule, FieldError> {
        let end = match self.end_date {
            Maybe::Value(end) => Some(end),
            Maybe::Absent | Maybe::Null => None,
        };
        let zone = if let Maybe::Value(zone) = &self.time_zone { Some(zone) } else { None };
        Schedule::given(self.event_date, end, zone)
    }
}

/// Times that contradict each other are told together with what else is wrong.
fn in_order(event: NewEvent, _at: ValuePointerRef<'_>) -> Result<NewEvent, BadFields> {
    event.schedule()?;
    Ok(event)
}

/// What the list of events is narrowed to.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
struct EventsQuery {
    /// Only in this city.
    #[deserr(default)]
    #[param(value_type = Option<City>)]
    city: Option<City>,
    /// Only of this kind.
    #[deserr(default)]
    #[param(value_type = Option<EventType>)]
    event_type: Option<Choice<EventType>>,
    /// Not before this time; if absent, nothing that is over.
    #[deserr(default)]
    from: Option<Time>,
    /// Before this time.
    #[deserr(default)]
    to: Option<Time>,
    /// Only near a point: `latitude,longitude,kilometres`.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 100, example = "-34.6,-58.4,10")]
    near: Option<Near>,
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct RsvpBody {
    /// Going if absent.
    #[deserr(default)]
    #[schema(value_type = RsvpChoice, required = false)]
    status: Choice<RsvpChoice>,
}

/// Tells those who look at an event of an answer to it, and whoever got a place by it.
fn announce_answer(outcome: &RsvpOutcome) -> Result<Vec<Effect>, StoreError> {
    let promoted = outcome.promoted.clone().map(RsvpView::from);
    let mut effects = Vec::new();
    if let Some(rsvp) = &promoted {
        let message = EventMessage::Promoted { rsvp: rsvp.clone(), title: outcome.event.title.clone() };
        effects.push(Effect::publish(personal_channel(&rsvp.user_id), &message)?);
        effects.push(letters::events::promoted(&rsvp.user_id, &rsvp.event_id)?);
        let over_at = Some(outcome.event.when.over_at());
        let told = letters::events::tell(&outcome.event, NotificationKind::EventPromoted, over_at);
        effects.push(told.effect(&rsvp.user_id)?);
    }
    if let Some(at) = outcome.tell_host {
        effects.push(letters::events::untold(&outcome.event.id, at)?);
    }
    let message = EventMessage::Answered {
        rsvp: outcome.rsvp.clone().into(),
        counts: outcome.event.counts.into(),
        promoted,
        version: outcome.event.version,
    };
    effects.push(Effect::publish(format!("event:{}", outcome.event.id), &message)?);
    Ok(effects)
}

impl From<EventError> for Problem {
    fn from(error: EventError) -> Self {
        match error {
            EventError::Over => {
                let detail = "the event is over and takes no answers or changes";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Over)
            }
            EventError::Cancelled => {
                let detail = "the event is cancelled and takes no answers or changes";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Over)
            }
            EventError::MovedTooOften => {
                let detail = "time and place of an event can be changed 20 times";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
            }
            EventError::Store(error) => error.into(),
        }
    }
}

fn count_answer(outcome: &RsvpOutcome) {
    let (event_type, status) = (label(outcome.event.event_type), label(outcome.rsvp.status));
    let promoted = outcome.promoted.as_ref().map(|_| "promoted");
    for action in [Some(status.as_str()), promoted].into_iter().flatten() {
        let labels = [event_type.as_str(), action];
        mundotango_ops::metrics().event_rsvps_total.with_label_values(&labels).inc();
    }
}

/// Events by the time they start, soonest first.
#[utoipa::path(
    get, path = "/api/events", operation_id = "listEvents", tag = "events", params(EventsQuery, PageQuery),
    responses((status = OK, body = PageBody<EventBody>), (status = BAD_REQUEST, body = Problem)),
)]
async fn list(
    _: Identity,
    State(community): Shared,
    ListQuery { filter, page: paging }: ListQuery<EventsQuery>,
) -> Result<Json<PageBody<EventBody>>, Problem> {
    let filter = EventFilter {
        city: filter.city.map(City::into_string),
        event_type: filter.event_type.map(|choice| choice.0),
        still_on: filter.from.is_none().then(this_minute),
        from: filter.from.map(|from| from.0),
        to: filter.to.map(|to| to.0),
        near: filter.near.map(|Near(point, km)| (point, km)),
    };
    let page = community.events.events(&filter, paging.request()).await?;
    let people = community.people(page.items.iter().map(|event| event.host_id.clone()).collect()).await;
    Ok(Json(paging.body(page.map(|event| EventBody::new(event, &people)))))
}

/// Give an event. It is published to `events:all`.
#[utoipa::path(
    post, path = "/api/events", operation_id = "createEvent",
    tag = "events", params(IdempotencyKey), request_body = NewEvent,
    responses((status = CREATED, body = EventBody), (status = BAD_REQUEST, body = Problem)),
)]
async fn create(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewEvent>,
) -> Result<(StatusCode, Json<EventBody>), Problem> {
    let when = body.schedule().map_err(|error| Problem::invalid(vec![error]))?;
    let event = Event {
        created_at: new_id.made_at(),
        id: new_id.into_text(),
        host_id: identity.user_id,
        title: body.title.into_string(),
        description: body.description.value().map(Description::into_string).unwrap_or_default(),
        when,
        location: body.location.0,
        event_type: body.event_type.0,
        capacity: body.capacity.value().map(Whole::get),
        counts: RsvpCounts::default(),
        version: 0,
        cancelled: None,
    };
    let people = community.people(vec![event.host_id.clone()]).await;
    let body = EventBody::new(event.clone(), &people);
    let effect = Effect::publish(ALL_CHANNEL, &EventMessage::Created { event: Box::new(body.clone()) })?;
    let reminders = letters::events::reminders(&event, event.created_at)?;
    let effects = [Some(effect), reminders].into_iter().flatten().map(|effect| effect.kept());
    community.events.create(&event, &effects.collect::<Result<Vec<_>, _>>()?).await?;
    mundotango_ops::metrics().events_created_total.with_label_values(&[&label(event.event_type)]).inc();
    Ok((StatusCode::CREATED, Json(body)))
}

/// One event.
#[utoipa::path(
    get, path = "/api/events/{id}", operation_id = "getEvent", tag = "events",
    responses((status = OK, body = EventBody), (status = NOT_FOUND, body = Problem)),
)]
async fn read(
    _: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<EventBody>, Problem> {
    let event = community.events.event(&id).await?.ok_or_else(|| Problem::not_found("event"))?;
    let people = community.people(vec![event.host_id.clone()]).await;
    Ok(Json(EventBody::new(event, &people)))
}

/// Answer an event. Who wants to come to a full one is waitlisted, and gets the next free place. What is over takes no answers.
#[utoipa::path(
    post, path = "/api/events/{id}/rsvp", operation_id = "answerEvent",
    tag = "events", params(IdempotencyKey), request_body = RsvpBody,
    responses(
        (status = OK, body = Answered),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn rsvp(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<RsvpBody>,
) -> Result<Json<Answered>, Problem> {
    let now = mundotango_storage::now();
    let outcome = community.events.rsvp(&id, &identity.user_id, body.status.0, now, announce_answer).await?;
    let outcome = outcome.ok_or_else(|| Problem::not_found("event"))?;
    if outcome.previous != Some(outcome.rsvp.status) {
        count_answer(&outcome);
    }
    Ok(Json(Answered { rsvp: outcome.rsvp.into(), counts: outcome.event.counts.into() }))
}

/// Who answered.
#[utoipa::path(
    get, path = "/api/events/{id}/attendees", operation_id = "listAttendees",
    tag = "events", params(PageQuery),
    responses((status = OK, body = PageBody<Attendee>), (status = NOT_FOUND, body = Problem)),
)]
async fn attendees(
    _: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<Attendee>>, Problem> {
    community.events.event(&id).await?.ok_or_else(|| Problem::not_found("event"))?;
    let page = community.events.rsvps(&id, query.page.request()).await?;
    let people = community.people(page.items.iter().map(|rsvp| rsvp.user_id.clone()).collect()).await;
    let page = page.map(|rsvp| Attendee {
        user: people.get(&rsvp.user_id).cloned(),
        user_id: rsvp.user_id,
        status: rsvp.status,
        updated_at: rsvp.updated_at.into(),
    });
    Ok(Json(query.page.body(page)))
}
