//! Events and who comes to them.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Page, PageRequest, StoreError};

/// Most events that one page of a list looks at: past them it ends early, with a cursor to go on.
pub(crate) const MAX_LOOKED_AT: usize = 10_000;

/// The cursor of a list that goes on behind an event.
pub(crate) fn cursor(event_date_millis: i64, id: &str) -> String {
    format!("{event_date_millis}.{id}")
}

/// The start in milliseconds and the id of the event that a list goes on behind.
pub(crate) fn read_cursor(cursor: &str) -> Result<(i64, &str), StoreError> {
    let (millis, id) = cursor.split_once('.').ok_or(StoreError::BadCursor)?;
    Ok((millis.parse().map_err(|_| StoreError::BadCursor)?, id))
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Sorted by the time of its making.
    pub id: String,
    /// Who gives it.
    pub host_id: String,
    /// Its name.
    pub title: String,
    /// What it is.
    pub description: String,
    /// When it starts.
    pub event_date: Timestamp,
    /// Where it is.
    pub location: Location,
    /// What kind it is.
    pub event_type: EventType,
    /// How many may come; `None` for no limit.
    pub capacity: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many answered what.
    #[serde(default)]
    pub counts: RsvpCounts,
}

/// Where an event is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// The whole of it, as a person would write it.
    pub text: String,
    /// The city, where it is told apart.
    #[serde(default)]
    pub city: Option<String>,
    /// Degrees north and degrees east, where they are known.
    #[serde(default)]
    pub coordinates: Option<Coordinates>,
}

/// A point on the earth, in degrees (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coordinates {
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
}

impl Coordinates {
    /// Kilometres to another point over the ground: the haversine formula on a sphere of the earth's mean radius.
    pub fn distance_km(self, other: Self) -> f64 {
        const MEAN_EARTH_RADIUS_KM: f64 = 6371.0088;
        let (from, to) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_lat = ((to - from) / 2.0).sin();
        let half_lon = ((other.longitude - self.longitude).to_radians() / 2.0).sin();
        let chord = half_lat * half_lat + from.cos() * to.cos() * half_lon * half_lon;
        2.0 * MEAN_EARTH_RADIUS_KM * chord.sqrt().min(1.0).asin()
    }
}

/// What kind an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the community's own")]
pub enum EventType {
    Milonga,
    Class,
    Festival,
    Workshop,
    Practica,
    Concert,
}

/// How many answered what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RsvpCounts {
    /// Have a place.
    pub going: u32,
    /// May come.
    pub maybe: u32,
    /// Wait for a place.
    pub waitlisted: u32,
}

/// What a user can answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RsvpChoice {
    /// Wants a place.
    #[default]
    Going,
    /// May come.
    Maybe,
    /// Does not come.
    Declined,
}

/// What a user's answer amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RsvpStatus {
    /// Has a place.
    Going,
    /// May come.
    Maybe,
    /// Does not come.
    Declined,
    /// Wants a place; the event is full.
    Waitlisted,
}

/// A user's answer to an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rsvp {
    /// Which event.
    pub event_id: String,
    /// Who answers.
    pub user_id: String,
    /// What the answer amounts to.
    pub status: RsvpStatus,
    /// When the status was reached.
    pub updated_at: Timestamp,
}

/// What came of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct RsvpOutcome {
    /// The user's answer as it stands.
    pub rsvp: Rsvp,
    /// The user's status before.
    pub previous: Option<RsvpStatus>,
    /// The waitlisted user who got the place that this answer freed.
    pub promoted: Option<Rsvp>,
    /// The event with its counts after the change.
    pub event: Event,
}

/// Which events a list holds; `None` holds all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EventFilter {
    /// In this city, compared without case; found in the location's text where no city is told apart.
    pub city: Option<String>,
    /// Of this kind.
    pub event_type: Option<EventType>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Within this many kilometres of a point; events without coordinates are out.
    pub near: Option<(Coordinates, f64)>,
}

impl EventFilter {
    /// Whether an event is in the list.
    pub fn holds(&self, event: &Event) -> bool {
        self.event_type.is_none_or(|wanted| wanted == event.event_type)
            && self.from.is_none_or(|from| event.event_date >= from)
            && self.to.is_none_or(|to| event.event_date < to)
            && self.city.as_ref().is_none_or(|city| event.location.is_in(city))
            && self.near.is_none_or(|(point, km)| {
                event.location.coordinates.is_some_and(|coordinates| coordinates.distance_km(point) <= km)
            })
    }
}

impl Location {
    fn is_in(&self, city: &str) -> bool {
        let wanted = city.to_lowercase();
        match &self.city {
            Some(city) => city.to_lowercase() == wanted,
            None => self.text.to_lowercase().contains(&wanted),
        }
    }
}

/// The port to events.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Adds an event.
    async fn create_event(&self, event: Event) -> Result<(), StoreError>;

    /// The event with this id.
    async fn event(&self, id: &str) -> Result<Option<Event>, StoreError>;

    /// Events by the time they start, soonest first.
    async fn events(&self, filter: EventFilter, page: PageRequest) -> Result<Page<Event>, StoreError>;

    /// Records a user's answer; `None` if there is no such event.
    ///
    /// However many race, no more than the capacity are going: who comes too late is waitlisted, in the order of
    /// coming. A place that is given back goes to the first on the waitlist in the same step. Saying again what
    /// stands already changes nothing.
    async fn rsvp(
        &self,
        event_id: &str,
        user_id: &str,
        choice: RsvpChoice,
        now: Timestamp,
    ) -> Result<Option<RsvpOutcome>, StoreError>;

    /// A user's answer to an event.
    async fn rsvp_of(&self, event_id: &str, user_id: &str) -> Result<Option<Rsvp>, StoreError>;

    /// All answers to an event, by user id.
    async fn rsvps(&self, event_id: &str, page: PageRequest) -> Result<Page<Rsvp>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_matches_a_known_one() {
        // Obelisco, Buenos Aires to Plaza Independencia, Montevideo: 204 km by geodesic calculators.
        let buenos_aires = Coordinates { latitude: -34.6037, longitude: -58.3816 };
        let montevideo = Coordinates { latitude: -34.9065, longitude: -56.1997 };
        let km = buenos_aires.distance_km(montevideo);
        assert!((200.0..206.0).contains(&km), "{km}");
        assert!(buenos_aires.distance_km(buenos_aires) < 1e-9);
    }
}
