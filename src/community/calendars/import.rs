//! Events out of a file that a calendar program exported. Each is taken by itself, and under its name in the file: importing the
//! file again changes what it has made.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use deserr::Deserr;
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::ValidQuery;
use mundotango_gateway::input::{BadFields, Choice, read_value};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_storage::db::time_of_id;
use mundotango_storage::{StoreError, now, zone_named};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::community::Community;
use crate::community::accounts::restrictions::Ability;
use crate::community::events::announce::{announce_cancelled, announce_change};
use crate::community::events::editing::Change;
use crate::community::events::rules::{Cancelled, Plan, Settings};
use crate::community::events::schedule::{LONGEST, Schedule, Zone};
use crate::community::events::store::{Edited, Event, EventError, EventType};
use crate::community::location::{Coordinates, Location};
use crate::community::policy::Action;
use crate::icalendar::{self, Found, Item};
use crate::texts::{Description, Place, Title};

type Shared = State<Arc<Community>>;

/// Longest name of an event in a file, in bytes.
const MAX_UID_BYTES: usize = 1_000;
/// Events that are taken at the same time: each waits for the store a few times.
const AT_ONCE: usize = 8;
/// The kinds of events by the names that a file has for them.
const KINDS: [(&str, EventType); 6] = [
    ("milonga", EventType::Milonga),
    ("class", EventType::Class),
    ("festival", EventType::Festival),
    ("workshop", EventType::Workshop),
    ("practica", EventType::Practica),
    ("concert", EventType::Concert),
];

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(import))
}

/// What a file does not tell.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
struct ImportQuery {
    /// The kind of events whose `CATEGORIES` name none; milonga if absent.
    #[deserr(default)]
    #[param(value_type = Option<EventType>)]
    event_type: Option<Choice<EventType>>,
    /// The zone of times that name none, by its IANA name; the `X-WR-TIMEZONE` of the file if absent.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 64, example = "Europe/Berlin")]
    time_zone: Option<Zone>,
}

/// What became of an event of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// There is a new event.
    Created,
    /// The event that was made of it before is another now.
    Changed,
    /// The event that was made of it before is as it is in the file.
    Unchanged,
    /// The event that was made of it before does not take place.
    Cancelled,
    /// It was not taken.
    Refused,
}

/// An event of a file, and what became of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ImportedItem {
    /// Its name in the file.
    uid: String,
    outcome: Outcome,
    /// The event; null where it was refused.
    #[schema(required = true)]
    event_id: Option<String>,
    /// Why it was refused; null where it was not.
    #[schema(required = true)]
    reason: Option<String>,
}

/// What became of a file.
#[derive(Debug, Serialize, ToSchema)]
struct ImportReport {
    /// How many events there are that were not there before.
    created: usize,
    /// How many are others than before.
    changed: usize,
    /// How many are as they were.
    unchanged: usize,
    /// How many do not take place.
    cancelled: usize,
    /// How many were not taken.
    refused: usize,
    /// Each of them, as the file has them.
    items: Vec<ImportedItem>,
}

impl ImportReport {
    fn new(items: Vec<ImportedItem>) -> Self {
        let count = |outcome| items.iter().filter(|item| item.outcome == outcome).count();
        Self {
            created: count(Outcome::Created),
            changed: count(Outcome::Changed),
            unchanged: count(Outcome::Unchanged),
            cancelled: count(Outcome::Cancelled),
            refused: count(Outcome::Refused),
            items,
        }
    }
}

/// Why an event of a file is not taken: what its user reads.
struct Refused(String);

impl From<&str> for Refused {
    fn from(why: &str) -> Self {
        Self(why.to_owned())
    }
}

/// What became of an event of a file, and which one it is here.
type Taken = Result<(Outcome, String), Refused>;

/// What an event of a file is to be here.
struct Wanted {
    plan: Plan,
    event_type: EventType,
}

impl Wanted {
    fn read(item: &Item, otherwise: EventType, now: Timestamp) -> Result<Self, Refused> {
        let when = item.when.clone().map_err(|flaw| Refused(flaw.to_string()))?;
        let when = schedule(when)?;
        if when.over_at() <= now {
            return Err("DTSTART: is so long ago that the event is over".into());
        }
        let text = |property: &str, problem: &Problem| {
            let why = problem.errors().first().map(|error| error.message.as_str());
            Refused(format!("{property}: {}", why.unwrap_or("cannot be read")))
        };
        // A name is one line.
        let title = item.summary.split_whitespace().collect::<Vec<_>>().join(" ");
        let title: Title = read_value(title.into()).map_err(|problem| text("SUMMARY", &problem))?;
        let description = match item.description.trim() {
            "" => String::new(),
            some => read_value::<Description>(some.into())
                .map_err(|problem| text("DESCRIPTION", &problem))?
                .into_string(),
        };
        let place: Place =
            read_value(item.location.as_str().into()).map_err(|problem| text("LOCATION", &problem))?;
        let coordinates = item.point.map(|(latitude, longitude)| Coordinates { latitude, longitude });
        let location = Location { text: place.into_string(), city: None, coordinates };
        let named = |(name, _): &&(&str, EventType)| {
            item.categories.iter().any(|category| category.eq_ignore_ascii_case(name))
        };
        let event_type = KINDS.iter().find(named).map_or(otherwise, |(_, event_type)| *event_type);
        let plan = Plan { title: title.into_string(), description, when, location };
        Ok(Self { plan, event_type })
    }

    /// The plan of the event that was made of it before, with what a file does not tell.
    fn over(&self, before: Plan) -> Plan {
        let mut location = self.plan.location.clone();
        location.city = before.location.city;
        location.coordinates = location.coordinates.or(before.location.coordinates);
        Plan { location, ..self.plan.clone() }
    }
}

/// When an event of a file is. Whole days are from one midnight to another.
fn schedule(Found { start, end, all_day }: Found) -> Result<Schedule, Refused> {
    let is_too_long = end.as_ref().is_some_and(|end| end.duration_since(&start) > LONGEST);
    if is_too_long {
        return Err(Refused(format!("DTEND: is more than {} days behind DTSTART", LONGEST.as_hours() / 24)));
    }
    Ok(Schedule { start, end, all_day })
}

/// What a change of an event was refused for; a store that fails is no matter of one event.
fn refused(error: EventError) -> Result<Refused, StoreError> {
    match error {
        EventError::Store(error) => Err(error),
        error => Ok(Refused(error.to_string())),
    }
}

impl Community {
    /// Takes one event of a file.
    async fn take_in(
        &self,
        identity: &Identity,
        item: Item,
        otherwise: EventType,
        now: Timestamp,
    ) -> Result<ImportedItem, StoreError> {
        let (outcome, event_id, reason) = match self.try_to_take(identity, &item, otherwise, now).await? {
            Ok((outcome, event_id)) => (outcome, Some(event_id), None),
            Err(Refused(why)) => (Outcome::Refused, None, Some(why)),
        };
        Ok(ImportedItem { uid: item.uid, outcome, event_id, reason })
    }

    async fn try_to_take(
        &self,
        identity: &Identity,
        item: &Item,
        otherwise: EventType,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        if item.uid.is_empty() || item.uid.len() > MAX_UID_BYTES {
            return Ok(Err(Refused(format!("UID: must be there, with {MAX_UID_BYTES} bytes at most"))));
        }
        let user_id = &identity.user_id;
        let known = match self.imported.event_of(user_id, &item.uid).await? {
            Some(id) => self.events.event(&id).await?,
            None => None,
        };
        if let Some(event) = &known
            && !self.events.may(identity.into(), Action::Change, event).await?.is_allowed()
        {
            return Ok(Err("UID: the event of this name is another user's by now".into()));
        }
        match (known, item.is_cancelled) {
            (None, true) => Ok(Err("STATUS: it is cancelled, and was never here".into())),
            (Some(event), true) => self.cancel_imported(event, now).await,
            (known, false) => match (Wanted::read(item, otherwise, now), known) {
                (Err(refused), _) => Ok(Err(refused)),
                (Ok(wanted), Some(event)) => self.change_imported(event, wanted, now).await,
                (Ok(wanted), None) => self.make_imported(user_id, &item.uid, wanted).await.map(Ok),
            },
        }
    }

    async fn make_imported(
        &self,
        user_id: &str,
        uid: &str,
        wanted: Wanted,
    ) -> Result<(Outcome, String), StoreError> {
        let id = self.imported.claim(user_id, uid, mundotango_protocol::new_id()).await?;
        let created_at = time_of_id(&id).unwrap_or_else(now);
        let edited = Edited { plan: wanted.plan, settings: Settings::default() };
        let event = Event::made(id.clone(), user_id.to_owned(), wanted.event_type, edited, created_at);
        self.give_event(event).await?;
        Ok((Outcome::Created, id))
    }

    async fn change_imported(
        &self,
        before: Event,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let people = self.people(vec![before.host_id.clone()]).await;
        let effects = move |change: &Change| announce_change(change, &people, now);
        let edit = move |before: Edited| Edited { plan: wanted.over(before.plan), ..before };
        match self.events.change(&before.id, now, edit, effects).await {
            // What was read of it before may be a moment old, which makes a change of none at worst.
            Ok(Some(after)) if after.changed_at == before.changed_at => {
                Ok(Ok((Outcome::Unchanged, before.id)))
            }
            Ok(_) => Ok(Ok((Outcome::Changed, before.id))),
            Err(error) => refused(error).map(Err),
        }
    }

    async fn cancel_imported(&self, event: Event, now: Timestamp) -> Result<Taken, StoreError> {
        let people = self.people(vec![event.host_id.clone()]).await;
        let effects = move |after: &Event| announce_cancelled(after, &people);
        match self.events.cancel(&event.id, Cancelled { at: now, reason: None }, effects).await {
            Ok(_) => Ok(Ok((Outcome::Cancelled, event.id))),
            Err(error) => refused(error).map(Err),
        }
    }
}

/// An event as it is refused because of one before it in the file.
fn twice(item: Item) -> ImportedItem {
    let reason = Some("UID: an event before it in the file has the same".to_owned());
    ImportedItem { uid: item.uid, outcome: Outcome::Refused, event_id: None, reason }
}

/// Give the events of a file that a calendar program exported (iCalendar, RFC 5545); at most 200. An event is known by its `UID`:
/// importing a file again changes what it has made. Each event is taken or refused by itself.
#[utoipa::path(
    post, path = "/api/events/import", operation_id = "importEvents", tag = "calendars", params(ImportQuery),
    request_body(
        content = String, content_type = "text/calendar",
        example = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Example//EN\r\nBEGIN:VEVENT\r\nUID:1@example.com\r\nDTSTAMP:20260101T000000Z\r\nDTSTART;TZID=Europe/Berlin:20301204T210000\r\nDTEND;TZID=Europe/Berlin:20301205T030000\r\nSUMMARY:Milonga\r\nLOCATION:Ballhaus\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
    ),
    responses(
        (status = OK, body = ImportReport),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = UNSUPPORTED_MEDIA_TYPE, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn import(
    identity: Identity,
    State(community): Shared,
    ValidQuery(query): ValidQuery<ImportQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<ImportReport>, Problem> {
    community.must_be_able(&identity.user_id, Ability::Hosting).await?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/calendar") {
        let detail = "the body must be a calendar (content-type: text/calendar)";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    community.limits.import(&identity.user_id).await?;
    let bad = |message: &str| Problem::invalid_field("body", FieldCode::BadForm, message);
    let text = String::from_utf8(body.to_vec()).map_err(|_| bad("must be text in UTF-8"))?;
    let zone = query.time_zone.and_then(|zone| zone_named(zone.name()));
    let read = move || icalendar::read(text.trim_start_matches('\u{feff}'), zone.as_ref());
    // Reading takes its time, and whatever a stranger's file does to the reader is this request's own matter.
    let items = tokio::task::spawn_blocking(read).await.map_err(|_| bad("cannot be read"))?;
    let items = items.map_err(|unreadable| bad(&unreadable.to_string()))?;

    let (otherwise, now) = (query.event_type.map_or(EventType::Milonga, |choice| choice.0), now());
    let mut seen = BTreeSet::new();
    let items = items.into_iter().map(|item| (seen.insert(item.uid.clone()) || item.uid.is_empty(), item));
    let items: Vec<_> = items.collect();
    let taken = futures_util::stream::iter(items)
        .map(async |(is_first, item)| {
            if is_first { community.take_in(&identity, item, otherwise, now).await } else { Ok(twice(item)) }
        })
        .buffered(AT_ONCE);
    Ok(Json(ImportReport::new(taken.try_collect().await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(summary: &str, location: &str) -> Item {
        let start: jiff::ZonedDateTime = "2030-12-04T21:00+01:00[Europe/Berlin]".parse().unwrap();
        Item {
            uid: "1".to_owned(),
            summary: summary.to_owned(),
            description: " \n".to_owned(),
            location: location.to_owned(),
            point: None,
            categories: vec!["Tango".to_owned(), "PRACTICA".to_owned()],
            is_cancelled: false,
            when: Ok(Found { end: None, start, all_day: false }),
        }
    }

    fn read(item: &Item) -> Result<Wanted, String> {
        Wanted::read(item, EventType::Class, Timestamp::UNIX_EPOCH).map_err(|Refused(why)| why)
    }

    #[test]
    fn texts_of_a_file_are_held_to_the_rules_of_all_texts() {
        let wanted = read(&item("Pra\n ctica ", " Ballhaus ")).ok().unwrap();
        assert_eq!((wanted.plan.title.as_str(), wanted.plan.description.as_str()), ("Pra ctica", ""));
        assert_eq!(
            (wanted.plan.location.text.as_str(), wanted.event_type),
            ("Ballhaus", EventType::Practica)
        );
        for (title, place, property) in [
            ("", "Ballhaus", "SUMMARY: "),
            (&"x".repeat(201), "Ballhaus", "SUMMARY: "),
            ("\u{202e}agnoliM", "Ballhaus", "SUMMARY: "),
            ("Milonga", "", "LOCATION: "),
            ("Milonga", &"x".repeat(301), "LOCATION: "),
        ] {
            let why = read(&item(title, place)).err().unwrap();
            assert!(why.starts_with(property), "{why}");
        }
    }

    #[test]
    fn what_is_over_or_lasts_too_long_is_refused() {
        let milonga = item("Milonga", "Ballhaus");
        let Err(Refused(why)) =
            Wanted::read(&milonga, EventType::Class, "2031-01-01T00:00:00Z".parse().unwrap())
        else {
            panic!("it is over")
        };
        assert!(why.starts_with("DTSTART: "), "{why}");
        let found = milonga.when.clone().unwrap();
        let end = found.start.checked_add(LONGEST + jiff::SignedDuration::from_secs(1)).unwrap();
        let long = Item { when: Ok(Found { end: Some(end), ..found }), ..milonga };
        assert!(read(&long).err().unwrap().starts_with("DTEND: "));
    }
}
