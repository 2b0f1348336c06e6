//! Events: giving one, finding one, and coming to it.

pub mod listing;
pub mod location;
pub mod rules;
pub mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use garde::Validate;
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::extract::{PageBody, PageQuery, Path, ValidJson, ValidQuery};
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::{StoreError, to_the_millisecond};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::listing::EventFilter;
use self::location::{Coordinates, Location};
use self::rules::{RsvpChoice, RsvpCounts, RsvpStatus};
use self::store::{Event, EventType, Rsvp, RsvpOutcome};
use super::effects::Effect;
use super::{Community, Person, label, personal_channel};

type Shared = State<Arc<Community>>;

/// Where new and changed events are published.
const ALL_CHANNEL: &str = "events:all";
/// Longest text of a location.
const MAX_LOCATION_CHARS: usize = 300;
/// How long ago an event may have started to be listed when the caller gives no time: it may still go on.
const STILL_ON: SignedDuration = SignedDuration::from_hours(12);

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
}

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewEvent {
    /// 1 to 200 characters.
    #[garde(length(chars, min = 1, max = 200))]
    title: String,
    /// Up to 10000 characters.
    #[serde(default)]
    #[garde(length(chars, max = 10_000))]
    description: String,
    /// When it starts.
    #[garde(skip)]
    #[schema(value_type = String, format = DateTime)]
    event_date: Timestamp,
    #[garde(dive)]
    location: LocationBody,
    /// `milonga`, `class`, `festival`, `workshop`, `practica` or `concert`.
    #[garde(skip)]
    #[schema(value_type = String)]
    event_type: EventType,
    /// How many may come, from 1; absent for no limit.
    #[garde(range(min = 1))]
    capacity: Option<u32>,
}

/// Where an event is: a text, or its parts.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum LocationBody {
    Text(String),
    Parts(LocationParts),
}

/// By hand, as an untagged enum's errors say nothing of the field that is wrong.
impl<'de> Deserialize<'de> for LocationBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrParts;

        impl<'de> Visitor<'de> for TextOrParts {
            type Value = LocationBody;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text, or an object with text, city, latitude and longitude")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<LocationBody, E> {
                Ok(LocationBody::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LocationBody, A::Error> {
                LocationParts::deserialize(MapAccessDeserializer::new(map)).map(LocationBody::Parts)
            }
        }

        deserializer.deserialize_any(TextOrParts)
    }
}

impl Validate for LocationBody {
    type Context = ();

    /// A text is checked as the part of that name, so that errors name the field and not its form.
    fn validate_into(
        &self,
        context: &(),
        parent: &mut dyn FnMut() -> garde::Path,
        report: &mut garde::Report,
    ) {
        match self {
            Self::Parts(parts) => parts.validate_into(context, parent, report),
            Self::Text(text) if (1..=MAX_LOCATION_CHARS).contains(&text.chars().count()) => {}
            Self::Text(_) => {
                let allowed = format!("must have 1 to {MAX_LOCATION_CHARS} characters");
                report.append(parent(), garde::Error::new(allowed));
            }
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LocationParts {
    /// The venue or the whole address.
    #[serde(alias = "name", alias = "venue", alias = "address")]
    #[garde(length(chars, min = 1, max = MAX_LOCATION_CHARS))]
    text: String,
    #[garde(length(chars, max = 100))]
    city: Option<String>,
    /// Degrees north.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(range(min = -90.0, max = 90.0), custom(comes_with(self.longitude)))]
    latitude: Option<f64>,
    /// Degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(range(min = -180.0, max = 180.0), custom(comes_with(self.latitude)))]
    longitude: Option<f64>,
}

/// Half a point is none.
fn comes_with(other: Option<f64>) -> impl FnOnce(&Option<f64>, &()) -> garde::Result {
    move |own, ()| {
        if own.is_some() == other.is_some() {
            Ok(())
        } else {
            Err(garde::Error::new("latitude and longitude are needed together"))
        }
    }
}

impl From<LocationBody> for Location {
    fn from(body: LocationBody) -> Self {
        match body {
            LocationBody::Text(text) => Self { text, ..Self::default() },
            LocationBody::Parts(parts) => {
                let coordinates = parts.latitude.zip(parts.longitude);
                let coordinates =
                    coordinates.map(|(latitude, longitude)| Coordinates { latitude, longitude });
                Self { text: parts.text, city: parts.city, coordinates }
            }
        }
    }
}

impl From<Location> for LocationBody {
    /// Clients get back the form that they gave.
    fn from(location: Location) -> Self {
        if location.city.is_none() && location.coordinates.is_none() {
            return Self::Text(location.text);
        }
        Self::Parts(LocationParts {
            text: location.text,
            city: location.city,
            latitude: location.coordinates.map(|point| point.latitude),
            longitude: location.coordinates.map(|point| point.longitude),
        })
    }
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only in this city.
    #[garde(length(chars, min = 1, max = 100))]
    city: Option<String>,
    /// Only of this kind: `milonga`, `class`, `festival`, `workshop`, `practica` or `concert`.
    #[garde(skip)]
    #[param(value_type = Option<String>)]
    event_type: Option<EventType>,
    /// Not before this time; if absent, nothing that started more than 12 hours ago.
    #[garde(skip)]
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Before this time.
    #[garde(skip)]
    #[param(value_type = Option<String>)]
    to: Option<Timestamp>,
    /// Only near a point: `latitude,longitude,kilometres`.
    #[garde(length(max = 100))]
    near: Option<String>,
}

#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[serde(default)]
struct RsvpBody {
    /// `going` (if absent), `maybe` or `declined`.
    #[garde(skip)]
    #[schema(value_type = String)]
    status: RsvpChoice,
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
    #[schema(value_type = String, format = DateTime)]
    event_date: Timestamp,
    location: LocationBody,
    #[schema(value_type = String)]
    event_type: EventType,
    /// Null for no limit.
    capacity: Option<u32>,
    counts: CountsBody,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl EventBody {
    fn new(event: Event, people: &BTreeMap<String, Person>) -> Self {
        Self {
            host: people.get(&event.host_id).cloned(),
            id: event.id,
            title: event.title,
            description: event.description,
            event_date: event.event_date,
            location: event.location.into(),
            event_type: event.event_type,
            capacity: event.capacity,
            counts: event.counts.into(),
            created_at: event.created_at,
        }
    }
}

/// A user's answer to an event.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RsvpView {
    event_id: String,
    user_id: String,
    /// `going`, `maybe`, `declined` or `waitlisted`.
    #[schema(value_type = String)]
    status: RsvpStatus,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Rsvp> for RsvpView {
    fn from(rsvp: Rsvp) -> Self {
        Self {
            event_id: rsvp.event_id,
            user_id: rsvp.user_id,
            status: rsvp.status,
            updated_at: rsvp.updated_at,
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
    #[schema(value_type = String)]
    status: RsvpStatus,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// What `events:all`, `event:{id}` and, for promotions, the personal channel publish.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub(super) enum EventMessage {
    /// There is a new event.
    #[serde(rename = "event.created")]
    Created { event: EventBody },
    /// Somebody answered.
    #[serde(rename = "event.rsvp")]
    Answered { rsvp: RsvpView, counts: CountsBody, promoted: Option<RsvpView> },
    /// You waited, and have a place now.
    #[serde(rename = "event.promoted")]
    Promoted { rsvp: RsvpView, title: String },
}

fn parse_near(text: &str) -> Result<(Coordinates, f64), Problem> {
    let refused = || Problem::invalid_field("near", "must be latitude,longitude,kilometres");
    let numbers: Vec<f64> =
        text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>().map_err(|_| refused())?;
    let [latitude, longitude, km] = numbers[..] else { return Err(refused()) };
    if !(-90.0..=90.0).contains(&latitude)
        || !(-180.0..=180.0).contains(&longitude)
        || !(0.0..=20_100.0).contains(&km)
    {
        return Err(refused());
    }
    Ok((Coordinates { latitude, longitude }, km))
}

/// Tells those who look at an event of an answer to it, and whoever got a place by it.
fn announce_answer(outcome: &RsvpOutcome) -> Result<Vec<Effect>, StoreError> {
    let promoted = outcome.promoted.clone().map(RsvpView::from);
    let mut effects = Vec::new();
    if let Some(rsvp) = &promoted {
        let message = EventMessage::Promoted { rsvp: rsvp.clone(), title: outcome.event.title.clone() };
        effects.push(Effect::publish(personal_channel(&rsvp.user_id), &message)?);
    }
    let message = EventMessage::Answered {
        rsvp: outcome.rsvp.clone().into(),
        counts: outcome.event.counts.into(),
        promoted,
    };
    effects.push(Effect::publish(format!("event:{}", outcome.event.id), &message)?);
    Ok(effects)
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
    get, path = "/api/events", tag = "events", params(ListQuery, PageQuery),
    responses((status = OK, body = PageBody<EventBody>), (status = BAD_REQUEST, body = Problem)),
)]
async fn list(
    _: Identity,
    State(community): Shared,
    ValidQuery(query): ValidQuery<ListQuery>,
    ValidQuery(page): ValidQuery<PageQuery>,
) -> Result<Json<PageBody<EventBody>>, Problem> {
    let filter = EventFilter {
        city: query.city,
        event_type: query.event_type,
        from: Some(query.from.unwrap_or_else(|| this_minute() - STILL_ON)),
        to: query.to,
        near: query.near.as_deref().map(parse_near).transpose()?,
    };
    let page = community.events.events(&filter, page.request()).await?;
    let people = community.people(page.items.iter().map(|event| event.host_id.clone()).collect()).await;
    let page = page.map(|event| EventBody::new(event, &people));
    Ok(Json(page.into()))
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
    let event = Event {
        created_at: new_id.made_at(),
        id: new_id.into_text(),
        host_id: identity.user_id,
        title: body.title,
        description: body.description,
        event_date: to_the_millisecond(body.event_date),
        location: body.location.into(),
        event_type: body.event_type,
        capacity: body.capacity,
        counts: RsvpCounts::default(),
    };
    let people = community.people(vec![event.host_id.clone()]).await;
    let body = EventBody::new(event.clone(), &people);
    let effect = Effect::publish(ALL_CHANNEL, &EventMessage::Created { event: body.clone() })?;
    community.events.create(&event, &[effect.kept()?]).await?;
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

/// Answer an event. Who wants to come to a full one is waitlisted, and gets the next free place.
#[utoipa::path(
    post, path = "/api/events/{id}/rsvp", tag = "events", params(IdempotencyKey), request_body = RsvpBody,
    responses((status = OK, body = Answered), (status = NOT_FOUND, body = Problem)),
)]
async fn rsvp(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<RsvpBody>,
) -> Result<Json<Answered>, Problem> {
    let now = mundotango_storage::now();
    let outcome = community.events.rsvp(&id, &identity.user_id, body.status, now, announce_answer).await?;
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
    ValidQuery(page): ValidQuery<PageQuery>,
) -> Result<Json<PageBody<Attendee>>, Problem> {
    community.events.event(&id).await?.ok_or_else(|| Problem::not_found("event"))?;
    let page = community.events.rsvps(&id, page.request()).await?;
    let people = community.people(page.items.iter().map(|rsvp| rsvp.user_id.clone()).collect()).await;
    let page = page.map(|rsvp| Attendee {
        user: people.get(&rsvp.user_id).cloned(),
        user_id: rsvp.user_id,
        status: rsvp.status,
        updated_at: rsvp.updated_at,
    });
    Ok(Json(page.into()))
}
