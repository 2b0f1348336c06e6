//! Events on a CQL server: a partition an event, with the event in its static columns, a row for each answer and one
//! for each who waits; answers are written in [`super::rsvps`], lists read in [`super::event_list`].
//!
//! What an event says is written plainly and once. Counts, version, answers and waitlist are only ever compared and
//! set, so they change together or not at all.

use async_trait::async_trait;
use jiff::Timestamp;
use scylla::DeserializeRow;
use scylla::value::CqlTimestamp;

use super::query::{Change, Query};
use super::session::Cql;
use super::value::{count, from_cql, name_of, named, to_cql};
use crate::events::{
    Coordinates, Event, EventFilter, EventStore, Location, Rsvp, RsvpChoice, RsvpCounts, RsvpOutcome,
};
use crate::rsvp_rules::Places;
use crate::{Page, PageRequest, StoreError};

const EVENT_TEXT: &str = "SELECT DISTINCT id, host_id, title, description, event_date, location_text, city, latitude, \
                          longitude, event_type, capacity, created_at, going, maybe, waitlisted, next_place, version, \
                          writer FROM event_rows WHERE id = ?";
const EVENT: Query = Query::read("event_rows", EVENT_TEXT);
pub(super) const EVENT_SERIAL: Query = Query::serial_read("event_rows", EVENT_TEXT);
const CREATE: Query = Query::write(
    "event_rows",
    "INSERT INTO event_rows (id, host_id, title, description, event_date, location_text, city, latitude, longitude, \
     event_type, capacity, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
);

#[derive(DeserializeRow)]
struct EventRow {
    id: String,
    host_id: Option<String>,
    title: Option<String>,
    description: Option<String>,
    event_date: Option<CqlTimestamp>,
    location_text: Option<String>,
    city: Option<String>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    event_type: Option<String>,
    capacity: Option<i64>,
    created_at: Option<CqlTimestamp>,
    going: Option<i64>,
    maybe: Option<i64>,
    waitlisted: Option<i64>,
    next_place: Option<i64>,
    version: Option<i64>,
    writer: Option<String>,
}

/// An event as it stands.
pub(super) struct State {
    pub(super) event: Event,
    /// The next place on the waitlist.
    pub(super) next_place: u64,
    /// Rises with every answer; nothing before the first.
    pub(super) version: Option<i64>,
    /// Names the answer that led here.
    pub(super) writer: Option<String>,
}

impl State {
    pub(super) fn places(&self) -> Places {
        Places { capacity: self.event.capacity, counts: self.event.counts, next_place: self.next_place }
    }
}

impl EventRow {
    /// The event, if it was written.
    fn read(self) -> Result<Option<State>, StoreError> {
        let (Some(host_id), Some(title), Some(event_date), Some(event_type), Some(created_at)) =
            (self.host_id, self.title, self.event_date, self.event_type, self.created_at)
        else {
            return Ok(None);
        };
        let coordinates = self.latitude.zip(self.longitude);
        let coordinates = coordinates.map(|(latitude, longitude)| Coordinates { latitude, longitude });
        let event = Event {
            id: self.id,
            host_id,
            title,
            description: self.description.unwrap_or_default(),
            event_date: from_cql(event_date)?,
            location: Location { text: self.location_text.unwrap_or_default(), city: self.city, coordinates },
            event_type: named(event_type)?,
            capacity: self.capacity.map(count).transpose()?,
            created_at: from_cql(created_at)?,
            counts: RsvpCounts {
                going: count(self.going.unwrap_or_default())?,
                maybe: count(self.maybe.unwrap_or_default())?,
                waitlisted: count(self.waitlisted.unwrap_or_default())?,
            },
        };
        let next_place = count(self.next_place.unwrap_or_default())?;
        Ok(Some(State { event, next_place, version: self.version, writer: self.writer }))
    }
}

impl Cql {
    pub(super) async fn event_state(
        &self,
        query: &'static Query,
        id: &str,
    ) -> Result<Option<State>, StoreError> {
        self.one::<EventRow>(query, (id,)).await?.map_or(Ok(None), EventRow::read)
    }
}

#[async_trait]
impl EventStore for Cql {
    async fn create_event(&self, event: Event) -> Result<(), StoreError> {
        let values = (
            &event.id,
            &event.host_id,
            &event.title,
            &event.description,
            to_cql(event.event_date),
            &event.location.text,
            &event.location.city,
            event.location.coordinates.map(|coordinates| coordinates.latitude),
            event.location.coordinates.map(|coordinates| coordinates.longitude),
            name_of(event.event_type)?,
            event.capacity.map(i64::from),
            to_cql(event.created_at),
        );
        self.write_listed(super::event_list::entries(&event), Change::new(&CREATE, values)).await
    }

    async fn event(&self, id: &str) -> Result<Option<Event>, StoreError> {
        Ok(self.event_state(&EVENT, id).await?.map(|state| state.event))
    }

    async fn events(&self, filter: EventFilter, page: PageRequest) -> Result<Page<Event>, StoreError> {
        self.list_events(&filter, &page).await
    }

    async fn rsvp(
        &self,
        event_id: &str,
        user_id: &str,
        choice: RsvpChoice,
        now: Timestamp,
    ) -> Result<Option<RsvpOutcome>, StoreError> {
        self.answer(event_id, user_id, choice, now).await
    }

    async fn rsvp_of(&self, event_id: &str, user_id: &str) -> Result<Option<Rsvp>, StoreError> {
        Ok(self.standing(event_id, user_id).await?.map(|standing| standing.rsvp))
    }

    async fn rsvps(&self, event_id: &str, page: PageRequest) -> Result<Page<Rsvp>, StoreError> {
        self.list_answers(event_id, &page).await
    }
}
