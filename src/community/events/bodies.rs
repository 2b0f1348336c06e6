//! What clients see of events.

use std::collections::BTreeMap;

use mundotango_gateway::input::Time;
use serde::Serialize;
use utoipa::ToSchema;

use super::rules::{RsvpCounts, RsvpStatus};
use super::store::{Event, EventType, Rsvp};
use crate::community::Person;
use crate::community::place::LocationBody;

/// Where new and changed events are published.
pub(super) const ALL_CHANNEL: &str = "events:all";

/// How many answered what.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(in crate::community) struct CountsBody {
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
pub(in crate::community) struct EventBody {
    id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    host: Option<Person>,
    title: String,
    description: String,
    /// When it starts.
    event_date: Time,
    /// When it ends; null where that is not told.
    #[schema(required = true)]
    end_date: Option<Time>,
    /// The IANA name of the venue's time zone.
    time_zone: String,
    /// The start as the venue's clocks show it.
    local_start: String,
    /// The end as the venue's clocks show it; null where no end is told.
    #[schema(required = true)]
    local_end: Option<String>,
    location: LocationBody,
    event_type: EventType,
    /// Null for no limit.
    #[schema(required = true)]
    capacity: Option<u32>,
    counts: CountsBody,
    /// Since when it is known that the event does not take place; null where it does.
    #[schema(required = true)]
    cancelled_at: Option<Time>,
    /// Why it does not, if the host said so.
    #[schema(required = true)]
    cancel_reason: Option<String>,
    /// Rises with each answer and each change: of two messages the one with the higher version is the newer.
    version: u64,
    created_at: Time,
}

impl EventBody {
    pub(super) fn new(event: Event, people: &BTreeMap<String, Person>) -> Self {
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
pub(in crate::community) struct RsvpView {
    pub(super) event_id: String,
    pub(super) user_id: String,
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
pub(super) struct Answered {
    #[serde(flatten)]
    pub(super) rsvp: RsvpView,
    pub(super) counts: CountsBody,
}

/// Somebody who answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attendee {
    pub(super) user_id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    pub(super) user: Option<Person>,
    pub(super) status: RsvpStatus,
    pub(super) updated_at: Time,
}

/// What `events:all`, `event:{id}` and, for promotions, the personal channel publish.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum EventMessage {
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
        #[schema(required = true)]
        promoted: Option<RsvpView>,
        /// Rises with each answer that is taken. Messages of several servers may cross: counts of an older one are dropped.
        version: u64,
    },
    /// You waited, and have a place now.
    #[serde(rename = "event.promoted")]
    Promoted { rsvp: RsvpView, title: String },
}
