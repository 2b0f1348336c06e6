//! What clients see of events.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mundotango_gateway::input::Time;
use mundotango_storage::now;
use serde::Serialize;
use utoipa::ToSchema;

use super::places::{DanceRole, Heads, Limit, Limits, Party};
use super::rules::{AttendeeList, RsvpStatus};
use super::seating::Rsvp;
use super::store::{Event, EventType};
use crate::community::Person;
use crate::community::money::Money;
use crate::community::place::LocationBody;

/// Where new and changed events are published, and the counts of all.
pub(super) const ALL_CHANNEL: &str = "events:all";

/// How many people answered what, guests among them.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct CountsBody {
    going: u32,
    maybe: u32,
    waitlisted: u32,
    /// Places that are held for people who are to pay for them.
    held: u32,
    /// Those who are going, by what they dance.
    going_by_role: HeadsBody,
}

impl CountsBody {
    pub(super) fn of(event: &Event) -> Self {
        let counts = event.counts;
        Self {
            going: counts.going,
            maybe: counts.maybe,
            waitlisted: counts.waitlisted,
            held: event.held,
            going_by_role: event.going.into(),
        }
    }
}

/// People by what they dance.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct HeadsBody {
    lead: u32,
    follow: u32,
    both: u32,
    none: u32,
}

impl From<Heads> for HeadsBody {
    fn from(heads: Heads) -> Self {
        Self { lead: heads.leads, follow: heads.follows, both: heads.both, none: heads.none }
    }
}

/// How many of a role may come.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct RoleLimitsBody {
    /// Who lead; null for no limit.
    #[schema(required = true)]
    lead: Option<u32>,
    /// Who follow; null for no limit.
    #[schema(required = true)]
    follow: Option<u32>,
}

impl From<Limits> for RoleLimitsBody {
    fn from(limits: Limits) -> Self {
        Self { lead: limits.leads, follow: limits.follows }
    }
}

/// Who comes by an answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::community) struct PartyBody {
    /// What the user dances.
    role: DanceRole,
    /// What each of the guests dances.
    guests: Vec<DanceRole>,
}

impl From<Party> for PartyBody {
    fn from(party: Party) -> Self {
        Self { role: party.role, guests: party.guests }
    }
}

/// An event.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct EventBody {
    pub(in crate::community) id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    host: Option<Person>,
    pub(in crate::community) title: String,
    pub(in crate::community) description: String,
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
    /// Whether it is whole days: from the midnight of the first to the one after the last.
    all_day: bool,
    /// The last of whole days, on which the `endDate` of a request is; null where it has times.
    #[schema(required = true)]
    last_day: Option<String>,
    location: LocationBody,
    event_type: EventType,
    /// Null for no limit.
    #[schema(required = true)]
    capacity: Option<u32>,
    role_limits: RoleLimitsBody,
    /// To whom it is told who comes.
    attendees: AttendeeList,
    /// What a place costs; null for nothing.
    #[schema(required = true)]
    ticket_price: Option<Money>,
    /// How many days before it those who are going are asked whether they still come; null for not at all.
    #[schema(required = true)]
    ask_again_days: Option<u32>,
    /// Whether it is for its hosts alone.
    is_draft: bool,
    /// Whether a decision of the moderators has taken it away: its hosts alone see it then, and it takes no answers.
    is_suspended: bool,
    counts: CountsBody,
    /// Since when it is known that the event does not take place; null where it does.
    #[schema(required = true)]
    cancelled_at: Option<Time>,
    /// Why it does not, if the host said so.
    #[schema(required = true)]
    cancel_reason: Option<String>,
    /// The series that it is a date of; null where it stands alone.
    #[schema(required = true)]
    pub(in crate::community) series_id: Option<String>,
    /// When the series first had it start, as the venue's clocks show it: the date's name in the series, which stays when the
    /// event is moved.
    #[schema(required = true)]
    original_start: Option<String>,
    /// Rises with each answer and each change: of two messages the one with the higher version is the newer.
    version: u64,
    created_at: Time,
}

impl EventBody {
    pub(super) fn new(event: Event, people: &BTreeMap<String, Person>) -> Self {
        let counts = CountsBody::of(&event);
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
            all_day: event.when.all_day,
            last_day: event.when.days().map(|(_, last)| last.to_string()),
            location: event.location.into(),
            event_type: event.event_type,
            capacity: event.settings.limits.total,
            role_limits: event.settings.limits.into(),
            attendees: event.settings.attendees,
            ticket_price: event.settings.ticket,
            ask_again_days: event.settings.ask_again,
            is_draft: event.is_draft,
            is_suspended: event.is_suspended,
            counts,
            cancelled_at: event.cancelled.as_ref().map(|cancelled| cancelled.at.into()),
            cancel_reason: event.cancelled.and_then(|cancelled| cancelled.reason),
            original_start: event.series.as_ref().map(|series| series.original_start.to_string()),
            series_id: event.series.map(|series| series.id),
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
    #[serde(flatten)]
    party: PartyBody,
    updated_at: Time,
}

impl From<Rsvp> for RsvpView {
    fn from(rsvp: Rsvp) -> Self {
        Self {
            event_id: rsvp.event_id,
            user_id: rsvp.user_id,
            status: rsvp.status,
            party: rsvp.party.into(),
            updated_at: rsvp.updated_at.into(),
        }
    }
}

/// The caller's answer, and how the event stands now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answered {
    #[serde(flatten)]
    pub(super) rsvp: RsvpView,
    /// The caller's place among those who wait, from 1 on; null for who does not wait, or is behind the 500th.
    #[schema(required = true)]
    pub(super) position: Option<usize>,
    /// Until when a place is held for the caller, who keeps it by paying.
    #[schema(required = true)]
    pub(super) held_until: Option<Time>,
    /// The limit that keeps the caller waiting.
    #[schema(required = true)]
    pub(super) waits_for: Option<Limit>,
    pub(super) counts: CountsBody,
}

/// The caller's own answer to an event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnRsvp {
    status: RsvpStatus,
    #[serde(flatten)]
    party: PartyBody,
    /// The caller's place among those who wait, from 1 on; null for who does not wait, or is behind the 500th, and in lists.
    #[schema(required = true)]
    position: Option<usize>,
    /// Until when a place is held for the caller, who keeps it by paying.
    #[schema(required = true)]
    held_until: Option<Time>,
    /// To whom the caller offers the place; null where nobody can take it.
    #[schema(required = true)]
    handover: Option<HandoverView>,
    updated_at: Time,
}

impl OwnRsvp {
    fn new(
        (event, rsvp): (&Event, Rsvp),
        position: Option<usize>,
        people: &BTreeMap<String, Person>,
    ) -> Self {
        let offer = rsvp.open_offer(event, now());
        Self {
            status: rsvp.status,
            handover: offer.map(|offer| HandoverView::new(offer.to.clone(), offer.until, people)),
            party: rsvp.party.into(),
            position,
            held_until: rsvp.held_until.map(Into::into),
            updated_at: rsvp.updated_at.into(),
        }
    }
}

/// An event, as the caller sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct SeenEvent {
    #[serde(flatten)]
    pub(in crate::community) event: EventBody,
    /// The caller's own answer.
    #[schema(required = true)]
    my_rsvp: Option<OwnRsvp>,
}

impl SeenEvent {
    /// An event, and its reader's answer with the place in the line.
    pub(super) fn new(
        event: Event,
        rsvp: Option<Rsvp>,
        position: Option<usize>,
        people: &BTreeMap<String, Person>,
    ) -> Self {
        let my_rsvp = rsvp.map(|rsvp| OwnRsvp::new((&event, rsvp), position, people));
        Self { event: EventBody::new(event, people), my_rsvp }
    }
}

/// That a place is offered to somebody.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Handover)]
pub(super) struct HandoverView {
    /// To whom.
    user_id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    user: Option<Person>,
    /// Until when it can be taken.
    until: Time,
}

impl HandoverView {
    pub(super) fn new(to: String, until: Timestamp, people: &BTreeMap<String, Person>) -> Self {
        Self { user: people.get(&to).cloned(), user_id: to, until: until.into() }
    }
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
    #[serde(flatten)]
    pub(super) party: PartyBody,
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
        /// Null where it is not told to everybody who comes, and where places were given by a change of the event.
        #[schema(required = true)]
        rsvp: Option<RsvpView>,
        counts: CountsBody,
        /// Those who waited and have places by it; empty where it is not told to everybody who comes.
        promoted: Vec<RsvpView>,
        /// Rises with each answer that is taken. Messages of several servers may cross: counts of an older one are dropped.
        version: u64,
    },
    /// The counts of an event changed: on `events:all`, at once and then about once a second while answers go on. The last ones
    /// always arrive.
    #[serde(rename = "event.counts")]
    Counted {
        #[serde(rename = "eventId")]
        event_id: String,
        counts: CountsBody,
        /// The event's version: counts of an older one than is known are dropped.
        version: u64,
    },
    /// The event may be another than it is known to be. It is told in place of what happened where that could not be told at
    /// once: ask for the event.
    #[serde(rename = "event.outdated")]
    Outdated {
        #[serde(rename = "eventId")]
        event_id: String,
    },
    /// You waited, and have a place now.
    #[serde(rename = "event.promoted")]
    Promoted { rsvp: RsvpView, title: String },
}
