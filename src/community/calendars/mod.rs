//! Calendars: events as calendar programs subscribe to them, download them, and export them from elsewhere.
//!
//! A calendar's address holds a secret, as those programs cannot log in. Whether its user may still see what it shows is asked
//! each time that a program looks.

mod answer;
mod feed;
mod import;
pub mod imported;
mod repeating;
mod report;
mod rrule;
mod series;
pub mod store;
mod taking;
mod token;
mod wanted;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use deserr::{Deserr, ValuePointerRef};
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Maybe, Time};
use mundotango_gateway::problem::{FieldCode, FieldError, Problem};
use mundotango_gateway::{Identity, NewId};
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::store::{Shows, Subscription};
use self::token::CalendarToken;
use super::Community;
use super::events::calendar_entry;
use super::policy::Action;
use crate::email::Language;
use crate::icalendar::Calendar;
use crate::texts::{City, Id};

type Shared = State<Arc<Community>>;

/// How calendars are called whose user has no other one of the kind.
const NAME: &str = "MundoTango";
/// How addresses of calendars end: some programs tell by it what they get.
const ENDING: &str = ".ics";

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(rotate))
        .routes(routes!(remove))
        .routes(routes!(feed))
        .routes(routes!(of_event))
        .routes(routes!(of_booking))
        .merge(import::router())
}

/// What a calendar shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum CalendarKind {
    /// The events that the user answered, but for those that were declined.
    Mine,
    /// The events that somebody gives.
    Host,
    /// The events in a city.
    City,
    /// Where the user stays, and who stays at the user's places, once that was confirmed.
    Stays,
}

/// A calendar to subscribe to.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = of_its_kind -> BadFields)]
#[schema(rename_all = "camelCase", example = json!({"kind": "city", "city": "Buenos Aires"}))]
struct NewCalendar {
    #[schema(value_type = CalendarKind)]
    kind: Choice<CalendarKind>,
    /// Who gives the events; only for `host`.
    #[deserr(default)]
    #[schema(value_type = Option<Id>)]
    host_id: Maybe<Id>,
    /// Where the events are; only for `city`.
    #[deserr(default)]
    #[schema(value_type = Option<City>)]
    city: Maybe<City>,
}

impl NewCalendar {
    /// What it shows, if each field is there that its kind needs, and no other.
    fn shows(&self) -> Result<Shows, FieldError> {
        let wrong = |code: FieldCode, field: &str, kind: &str| {
            Err(FieldError::new(field, code, format!("belongs to the kind {kind}, and to no other")))
        };
        let (no_other, missing) = (FieldCode::Contradiction, FieldCode::Missing);
        match (self.kind.0, &self.host_id, &self.city) {
            (CalendarKind::Mine, Maybe::Absent | Maybe::Null, Maybe::Absent | Maybe::Null) => Ok(Shows::Mine),
            (CalendarKind::Stays, Maybe::Absent | Maybe::Null, Maybe::Absent | Maybe::Null) => {
                Ok(Shows::Stays)
            }
            (CalendarKind::Host, Maybe::Value(host), Maybe::Absent | Maybe::Null) => {
                Ok(Shows::Host { host_id: host.clone().into_string() })
            }
            (CalendarKind::City, Maybe::Absent | Maybe::Null, Maybe::Value(city)) => {
                Ok(Shows::City { city: city.clone().into_string() })
            }
            (CalendarKind::Mine | CalendarKind::Stays | CalendarKind::City, Maybe::Value(_), _) => {
                wrong(no_other, "hostId", "host")
            }
            (CalendarKind::Host, Maybe::Absent | Maybe::Null, _) => wrong(missing, "hostId", "host"),
            (CalendarKind::Mine | CalendarKind::Stays | CalendarKind::Host, _, Maybe::Value(_)) => {
                wrong(no_other, "city", "city")
            }
            (CalendarKind::City, _, Maybe::Absent | Maybe::Null) => wrong(missing, "city", "city"),
        }
    }
}

fn of_its_kind(calendar: NewCalendar, _at: ValuePointerRef<'_>) -> Result<NewCalendar, BadFields> {
    calendar.shows()?;
    Ok(calendar)
}

/// A calendar that can be subscribed to, without what opens it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CalendarView {
    id: String,
    kind: CalendarKind,
    /// Who gives the events; null unless the kind is `host`.
    #[schema(required = true)]
    host_id: Option<String>,
    /// Where the events are; null unless the kind is `city`.
    #[schema(required = true)]
    city: Option<String>,
    created_at: Time,
    /// When it got its present address; null where that is the first.
    #[schema(required = true)]
    rotated_at: Option<Time>,
}

/// A calendar with its address. It is told this once, as nobody keeps it.
#[derive(Debug, Serialize, ToSchema)]
struct OpenCalendar {
    /// Where programs find it. Who has it sees the calendar: it is to be given to them alone.
    url: String,
    #[serde(flatten)]
    calendar: CalendarView,
}

impl CalendarView {
    fn new(id: String, subscription: Subscription) -> Self {
        let (kind, host_id, city) = match subscription.shows {
            Shows::Mine => (CalendarKind::Mine, None, None),
            Shows::Stays => (CalendarKind::Stays, None, None),
            Shows::Host { host_id } => (CalendarKind::Host, Some(host_id), None),
            Shows::City { city } => (CalendarKind::City, None, Some(city)),
        };
        let rotated_at = subscription.rotated_at.map(Time::from);
        Self { id, kind, host_id, city, created_at: subscription.created_at.into(), rotated_at }
    }
}

impl Community {
    fn opened(&self, token: &CalendarToken, subscription: Subscription) -> OpenCalendar {
        let url = self.site.address(&format!("/api/calendars/feed/{}{ENDING}", token.text()));
        OpenCalendar { url, calendar: CalendarView::new(token.calendar_id(), subscription) }
    }

    /// Whose calendar an address opens, if that is still so: not after it got another address or was taken away, and not
    /// while its user is locked out.
    async fn opened_by(&self, token: &CalendarToken) -> Result<Option<Subscription>, Problem> {
        let user_id = token.user_id();
        let found = self.calendars.calendar(&user_id, &token.calendar_id()).await?;
        let Some(subscription) = found.filter(|found| token.is_of(&found.token_hash)) else {
            return Ok(None);
        };
        if self.revocations.is_blocked(&user_id) || self.accounts.user(&user_id).await?.is_none() {
            return Ok(None);
        }
        Ok(Some(subscription))
    }

    /// The language in which a user reads calendars.
    async fn language_of(&self, user_id: &str) -> Result<Language, StoreError> {
        let preferences = self.notifications.preferences.of(user_id).await?;
        Ok(preferences.language().unwrap_or(self.site.language()))
    }

    /// How a calendar is called in programs.
    async fn name_of(&self, shows: &Shows, language: Language) -> String {
        match shows {
            Shows::Mine => NAME.to_owned(),
            Shows::Stays => match language {
                Language::En => format!("{NAME}: stays"),
                Language::Es => format!("{NAME}: estancias"),
            },
            Shows::City { city } => format!("{NAME}: {city}"),
            Shows::Host { host_id } => match self.people(vec![host_id.clone()]).await.remove(host_id) {
                Some(host) => format!("{NAME}: {}", host.full_name),
                None => NAME.to_owned(),
            },
        }
    }
}

/// The token of a user's calendar. One who has no account here could not be told when it ends.
fn token_of(identity: &Identity, calendar_id: &str) -> Result<CalendarToken, Problem> {
    let no_account = || Problem::forbidden("calendars are for users with an account of this server");
    CalendarToken::new(&identity.user_id, calendar_id).ok_or_else(no_account)
}

/// Make a calendar that programs can subscribe to; at most 20 at a time. Its address is told in this answer alone.
// Without an idempotency key: the answer would be kept, and with it the address.
#[utoipa::path(
    post, path = "/api/calendars", operation_id = "createCalendar", tag = "calendars", request_body = NewCalendar,
    responses(
        (status = CREATED, body = OpenCalendar),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn create(
    identity: Identity,
    State(community): Shared,
    ValidJson(body): ValidJson<NewCalendar>,
) -> Result<(StatusCode, Json<OpenCalendar>), Problem> {
    let shows = body.shows().map_err(|error| Problem::invalid(vec![error]))?;
    let new_id = NewId::fresh();
    let created_at = new_id.made_at();
    let token = token_of(&identity, &new_id.into_text())?;
    if community.accounts.user(&identity.user_id).await?.is_none() {
        return Err(Problem::forbidden("calendars are for users with an account of this server"));
    }
    if let Shows::Host { host_id } = &shows
        && community.accounts.user(host_id).await?.is_none()
    {
        return Err(Problem::not_found("host"));
    }
    let subscription = Subscription { shows, token_hash: token.hash(), created_at, rotated_at: None };
    community.calendars.add(&identity.user_id, &token.calendar_id(), subscription.clone()).await?;
    Ok((StatusCode::CREATED, Json(community.opened(&token, subscription))))
}

/// The caller's calendars, the oldest first, without their addresses.
#[utoipa::path(
    get, path = "/api/calendars", operation_id = "listCalendars", tag = "calendars", params(PageQuery),
    responses((status = OK, body = PageBody<CalendarView>), (status = BAD_REQUEST, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<CalendarView>>, Problem> {
    let page = community.calendars.of_user(&identity.user_id, query.page.request()).await?;
    Ok(Json(query.page.body(page.map(|(id, subscription)| CalendarView::new(id, subscription)))))
}

/// Give a calendar another address. The old one leads nowhere from then on.
#[utoipa::path(
    post, path = "/api/calendars/{id}/rotate", operation_id = "rotateCalendar", tag = "calendars",
    responses(
        (status = OK, body = OpenCalendar),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn rotate(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<OpenCalendar>, Problem> {
    // An id that no node has made leads to no calendar.
    let token = token_of(&identity, &id).map_err(|_| Problem::not_found("calendar"))?;
    let rotated = community.calendars.rotate(&identity.user_id, &id, token.hash(), now()).await?;
    let subscription = rotated.ok_or_else(|| Problem::not_found("calendar"))?;
    Ok(Json(community.opened(&token, subscription)))
}

/// Take a calendar away. Its address leads nowhere from then on.
#[utoipa::path(
    delete, path = "/api/calendars/{id}", operation_id = "removeCalendar", tag = "calendars",
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem)),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let is_removed = community.calendars.remove(&identity.user_id, &id).await?;
    if is_removed { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("calendar")) }
}

/// A calendar by its address, as programs read it (RFC 5545): at most 500 events, from 60 days ago to a year ahead; what was
/// cancelled stays in it as cancelled. The token is what stands in the address, with `.ics` behind it.
#[utoipa::path(
    get, path = "/api/calendars/feed/{token}", operation_id = "readCalendar", tag = "calendars", security(()),
    responses(
        (status = OK, body = String, content_type = "text/calendar"),
        (status = NOT_MODIFIED, description = "It is the one whose `ETag` came as `If-None-Match`."),
        (status = NOT_FOUND, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn feed(
    State(community): Shared,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // Whatever is wrong with an address, the answer is the same.
    let no_calendar = || Problem::not_found("calendar");
    let token = token.strip_suffix(ENDING).and_then(CalendarToken::parse).ok_or_else(no_calendar)?;
    let subscription = community.opened_by(&token).await?.ok_or_else(no_calendar)?;
    community.limits.calendar(&token.calendar_id()).await?;
    let user_id = token.user_id();
    let language = community.language_of(&user_id).await?;
    let entries = community.entries_of(&user_id, &subscription.shows, language, now()).await?;
    let name = community.name_of(&subscription.shows, language).await;
    let calendar = Calendar { name: Some(&name), method: None, entries: &entries };
    Ok(answer::calendar(&headers, &calendar, "mundotango.ics"))
}

/// An event for a calendar program: a calendar (RFC 5545) with nothing else in it.
#[utoipa::path(
    get, path = "/api/events/{id}/calendar.ics", operation_id = "getEventCalendar", tag = "calendars",
    responses(
        (status = OK, body = String, content_type = "text/calendar"),
        (status = NOT_MODIFIED, description = "It is the one whose `ETag` came as `If-None-Match`."),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn of_event(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let event = community.event_for(&id, &identity, Action::Read).await?;
    let answered = community.events.rsvp_of(&id, &identity.user_id).await?;
    let language = community.language_of(&identity.user_id).await?;
    let host = community.people(vec![event.host_id.clone()]).await.remove(&event.host_id);
    let host = host.as_ref().map(|host| host.full_name.as_str());
    let answer = answered.map(|answer| answer.status);
    let entries = [calendar_entry::entry(&event, answer, host, &community.site, language)];
    let calendar = Calendar { name: None, method: None, entries: &entries };
    Ok(answer::calendar(&headers, &calendar, "event.ics"))
}

/// A booking for a calendar program, for its two sides: a calendar (RFC 5545) with nothing else in it.
#[utoipa::path(
    get, path = "/api/bookings/{id}/calendar.ics", operation_id = "getBookingCalendar", tag = "calendars",
    responses(
        (status = OK, body = String, content_type = "text/calendar"),
        (status = NOT_MODIFIED, description = "It is the one whose `ETag` came as `If-None-Match`."),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn of_booking(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (booking, _) = community.own_booking(&id, &identity).await?;
    let language = community.language_of(&identity.user_id).await?;
    let entries = community.stay_entries(&identity.user_id, &[booking], language, now()).await?;
    let calendar = Calendar { name: None, method: None, entries: &entries };
    Ok(answer::calendar(&headers, &calendar, "stay.ics"))
}
