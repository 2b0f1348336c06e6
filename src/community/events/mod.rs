//! Events: giving one, finding one, and coming to it.

pub mod listing;
pub mod location;
mod place;
pub mod rules;
pub mod schedule;
pub mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::{Deserr, ValuePointerRef};
use jiff::Timestamp;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Given, Maybe, Time, Whole};
use mundotango_gateway::problem::{Code, FieldCode, FieldError, Problem};
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::StoreError;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::listing::EventFilter;
use self::place::{GivenLocation, LocationBody, Near};
use self::rules::{Cancelled, Plan, RsvpChoice, RsvpCounts, RsvpStatus};
use self::schedule::{GivenTime, Schedule, Zone};
use self::store::{Event, EventError, EventType, Rsvp, RsvpOutcome};
use super::effects::Effect;
use super::letters;
use super::notifications::kinds::NotificationKind;
use super::notifications::ladder::Tell;
use super::roles;
use super::{Community, Person, label, personal_channel};
use crate::texts::{City, Description, Reason, Title};

type Shared = State<Arc<Community>>;

/// Where new and changed events are published.
const ALL_CHANNEL: &str = "events:all";

/// The minute that it is: those who ask within one ask for the same list.
fn this_minute() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second() / 60 * 60).unwrap_or(now)
}

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read))
        .routes(routes!(change))
        .routes(routes!(cancel))
        .routes(routes!(rsvp))
        .routes(routes!(attendees))
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = in_order -> BadFields)]
#[schema(rename_all = "camelCase")]
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
    #[schema(value_type = LocationBody)]
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

/// A change of an event; what is absent stays.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = with_its_start -> BadFields)]
#[schema(rename_all = "camelCase")]
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
    #[schema(value_type = LocationBody, required = false)]
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
    #[param(value_type = Option<String>)]
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

/// How many answered what.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct CountsBody {
    going: u32,
    maybe: u32,
    waitlisted: u32,
}

impl From<RsvpCounts> for CountsBody {
    fn from(counts: RsvpCounts) -> Self {
        Self { going: counts.going, maybe: counts.maybe, waitlisted: counts.waitlisted }
    }
}

/// An event.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventBody {
    id: String,
    /// Null when the account is gone or cannot be read now.
    host: Option<Person>,
    title: String,
    description: String,
    /// When it starts.
    event_date: Time,
    /// When it ends; null where that is not told.
    end_date: Option<Time>,
    /// The IANA name of the venue's time zone.
    time_zone: String,
    /// The start as the venue's clocks show it.
    local_start: String,
    /// The end as the venue's clocks show it; null where no end is told.
    local_end: Option<String>,
    location: LocationBody,
    event_type: EventType,
    /// Null for no limit.
    capacity: Option<u32>,
    counts: CountsBody,
    /// Since when it is known that the event does not take place; null where it does.
    cancelled_at: Option<Time>,
    /// Why it does not, if the host said so.
    cancel_reason: Option<String>,
    /// Rises with each answer and each change: of two messages the one with the higher version is the newer.
    version: u64,
    created_at: Time,
}

impl EventBody {
    fn new(event: Event, people: &BTreeMap<String, Person>) -> Self {
        Self {
            host: people.get(&event.host_id).cloned(),
            id: event.id,
            title: event.title,
            description: event.description,
            event_date: event.when.starts_at().into(),
            end_date: event.when.end.as_ref().map(|end| end.timestamp().into()),
            time_zone: event.when.zone_name().to_owned(),
            local_start: event.when.start.datetime().to_string(),
            local_end: event.when.end.as_ref().map(|end| end.datetime().to_string()),
            location: event.location.into(),
            event_type: event.event_type,
            capacity: event.capacity,
            counts: event.counts.into(),
            cancelled_at: event.cancelled.as_ref().map(|cancelled| cancelled.at.into()),
            cancel_reason: event.cancelled.and_then(|cancelled| cancelled.reason),
            version: event.version,
            created_at: event.created_at.into(),
        }
    }
}

/// A user's answer to an event.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RsvpView {
    event_id: String,
    user_id: String,
    status: RsvpStatus,
    updated_at: Time,
}

impl From<Rsvp> for RsvpView {
    fn from(rsvp: Rsvp) -> Self {
        Self {
            event_id: rsvp.event_id,
            user_id: rsvp.user_id,
            status: rsvp.status,
            updated_at: rsvp.updated_at.into(),
        }
    }
}

/// The caller's answer, and how the event stands now.
#[derive(Debug, Serialize, ToSchema)]
struct Answered {
    #[serde(flatten)]
    rsvp: RsvpView,
    counts: CountsBody,
}

/// Somebody who answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Attendee {
    user_id: String,
    /// Null when the account is gone or cannot be read now.
    user: Option<Person>,
    status: RsvpStatus,
    updated_at: Time,
}

/// What `events:all`, `event:{id}` and, for promotions, the personal channel publish.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub(super) enum EventMessage {
    /// There is a new event.
    #[serde(rename = "event.created")]
    Created { event: Box<EventBody> },
    /// The event is another than before: its words, its time or its place.
    #[serde(rename = "event.changed")]
    Changed { event: Box<EventBody> },
    /// The event does not take place.
    #[serde(rename = "event.cancelled")]
    Cancelled { event: Box<EventBody> },
    /// Somebody answered.
    #[serde(rename = "event.rsvp")]
    Answered {
        rsvp: RsvpView,
        counts: CountsBody,
        promoted: Option<RsvpView>,
        /// Rises with each answer that is taken. Messages of several servers may cross: counts of an older one are dropped.
        version: u64,
    },
    /// You waited, and have a place now.
    #[serde(rename = "event.promoted")]
    Promoted { rsvp: RsvpView, title: String },
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
        effects.push(tell(&outcome.event, NotificationKind::EventPromoted, over_at).effect(&rsvp.user_id)?);
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

/// What a user is told of an event.
pub(super) fn tell(event: &Event, kind: NotificationKind, stale_at: Option<Timestamp>) -> Tell {
    Tell { kind, thing: event.id.clone(), title: event.title.clone(), actor_id: None, count: 1, stale_at }
}

/// Tells those who look at events of a change, and has those told who answered, if time or place are others.
fn announce_change(
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
fn announce_cancelled(event: &Event, people: &BTreeMap<String, Person>) -> Result<Vec<Effect>, StoreError> {
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
        if event.host_id != identity.user_id && !roles::is_admin(identity) {
            return Err(Problem::forbidden("only its host may do this"));
        }
        Ok(event)
    }
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
    get, path = "/api/events", tag = "events", params(EventsQuery, PageQuery),
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
    post, path = "/api/events", tag = "events", params(IdempotencyKey), request_body = NewEvent,
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
    get, path = "/api/events/{id}", tag = "events",
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

/// Change an event; for its host. Those who answered are told where time or place are others.
#[utoipa::path(
    patch, path = "/api/events/{id}", tag = "events", request_body = EventChange,
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
    post, path = "/api/events/{id}/cancel", tag = "events", request_body = CancelBody,
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

/// Answer an event. Who wants to come to a full one is waitlisted, and gets the next free place. What is over takes no answers.
#[utoipa::path(
    post, path = "/api/events/{id}/rsvp", tag = "events", params(IdempotencyKey), request_body = RsvpBody,
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
    get, path = "/api/events/{id}/attendees", tag = "events", params(PageQuery),
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
