//! Events: a partition each, with a row for each answer, for each who waits, and for each host beside the owner.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Found, Kind, Part};
use serde::{Deserialize, Serialize};

use super::co_hosts::{CoHostRow, CountsCoHosts};
use super::handover::Unfit;
use super::occurrence::{Field, SeriesRef};
use super::personal::EVENT_FIELDS;
use super::places::{Heads, Limit};
use super::rules::{Answer, Attendance, Cancelled, CoHostRole, Plan, RsvpCounts, Settings};
use super::schedule::Schedule;
use crate::community::location::Location;
use crate::community::policy::{Involvement, Object};

/// The events.
pub static EVENTS: Kind<Facts, Attendance, Row> =
    Kind::new("events", "an event: 200,000 answers of 150 B, 30 MB", EVENT_FIELDS)
        .cached(Duration::from_mins(10));

/// What never changes about an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    host_id: String,
    title: String,
    description: String,
    /// When it starts: all that builds knew before there were schedules, which still read this during a rollout.
    event_date: Timestamp,
    /// Absent where such a build wrote it.
    #[serde(default)]
    when: Option<Schedule>,
    location: Location,
    event_type: EventType,
    /// How many may come, for builds that know no other settings.
    capacity: Option<u32>,
    /// Absent where such a build wrote it.
    #[serde(default)]
    settings: Option<Settings>,
    /// Whether it was made for its hosts alone at first.
    #[serde(default)]
    is_draft: bool,
    created_at: Timestamp,
    /// The series that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    series: Option<SeriesRef>,
}

impl Facts {
    /// Of an event that is made.
    pub(super) fn of(event: &Event) -> Self {
        Self {
            host_id: event.host_id.clone(),
            title: event.title.clone(),
            description: event.description.clone(),
            event_date: event.when.starts_at(),
            when: Some(event.when.clone()),
            location: event.location.clone(),
            event_type: event.event_type,
            capacity: event.settings.limits.total,
            settings: Some(event.settings),
            is_draft: event.is_draft,
            created_at: event.created_at,
            series: event.series.clone(),
        }
    }

    /// Whether it was made for a series.
    pub(super) fn is_of_series(&self) -> bool {
        self.series.is_some()
    }

    /// How it is given now.
    pub(super) fn settings(&self, head: &Attendance) -> Settings {
        let made = || self.settings.unwrap_or_else(|| Settings::capacity(self.capacity));
        head.settings.as_deref().copied().unwrap_or_else(made)
    }

    /// Who owns it now.
    pub(super) fn owner(&self, head: &Attendance) -> String {
        head.owner.clone().unwrap_or_else(|| self.host_id.clone())
    }

    /// Who owned it when its series said so last.
    pub(super) fn host_of_series(&self, head: &Attendance) -> String {
        let given = head.following.as_ref().and_then(|following| following.host.clone());
        given.unwrap_or_else(|| self.host_id.clone())
    }

    /// Whether it was given away alone: then it is nothing of its series' owner.
    pub(super) fn is_given_away(&self, head: &Attendance) -> bool {
        self.is_of_series() && self.owner(head) != self.host_of_series(head)
    }

    /// Whether it is for its hosts alone.
    pub(super) fn is_draft(&self, head: &Attendance) -> bool {
        self.is_draft && !head.is_published
    }

    fn schedule(&self) -> Schedule {
        self.when.clone().unwrap_or_else(|| Schedule::at(self.event_date))
    }
}

/// A row of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// A user's answer.
    Answer(Answer),
    /// The user who waits with a number.
    Waiting(String),
    /// The user for whom a place is held.
    Held(String),
    /// Until when a place is offered to a user by another one.
    Offered(Timestamp),
    /// What a user may do who is a host beside the owner.
    CoHost(CoHostRole),
}

impl CoHostRow for Row {
    fn of(role: CoHostRole) -> Self {
        Self::CoHost(role)
    }

    fn role(&self) -> Option<CoHostRole> {
        if let Self::CoHost(role) = self { Some(*role) } else { None }
    }
}

impl CountsCoHosts for Attendance {
    fn co_hosts(&mut self) -> &mut usize {
        &mut self.co_hosts
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Sorted by the time of its making.
    pub id: String,
    /// The user who owns it.
    pub host_id: String,
    /// Its name.
    pub title: String,
    /// What it is.
    pub description: String,
    /// When it is.
    pub when: Schedule,
    /// Where it is.
    pub location: Location,
    /// What kind it is.
    pub event_type: EventType,
    /// How it is given.
    pub settings: Settings,
    /// Whether it is for its hosts alone.
    pub is_draft: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last, not its answers.
    pub changed_at: Timestamp,
    /// How often what calendars show was changed.
    pub sequence: u32,
    /// How many answered what.
    pub counts: RsvpCounts,
    /// Those who are going, by what they dance.
    pub going: Heads,
    /// How many places are held for people who are to pay for them.
    pub held: u32,
    /// Rises with each answer and each change.
    pub version: u64,
    /// That it does not take place.
    pub cancelled: Option<Cancelled>,
    /// The series that it is a date of, if it is of one.
    pub series: Option<SeriesRef>,
    /// Whether it was given away alone: who owns the series has no part in it any longer.
    pub is_given_away: bool,
    /// Whether a decision of the moderators takes it away: it is there for its hosts alone then, and takes no answers.
    pub is_suspended: bool,
}

/// What kind an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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

/// Why an answer or a change is not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EventError {
    /// The event is over.
    #[error("the event is over")]
    Over,
    /// The event does not take place.
    #[error("the event is cancelled")]
    Cancelled,
    /// Time and place were changed as often as they may be.
    #[error("the event was moved as often as it may be")]
    MovedTooOften,
    /// It is for its hosts alone yet.
    #[error("the event is a draft")]
    Draft,
    /// A decision of the moderators takes it away, and its hosts cannot change it.
    #[error("a decision of the moderators has taken the event away")]
    Suspended,
    /// More people than a limit has room for.
    #[error("there is no room for so many")]
    NoRoom(Limit),
    /// A party that has a ticket, or holds a place for one, does not change.
    #[error("a party with a ticket does not change")]
    HasTicket,
    /// There is room, for which others wait.
    #[error("others wait for a place")]
    OthersWait,
    /// More have a place than the new limits allow.
    #[error("more have a place than that")]
    BelowGoing(Limit, Heads),
    /// It has as many hosts as it may.
    #[error("the event has as many hosts as it may have")]
    TooManyHosts,
    /// Money hangs on the place.
    #[error("a place that is paid for, or is to be, is not handed on")]
    PlaceIsPaid,
    /// There is no place to hand on.
    #[error("the user has no place, and waits for none")]
    NoPlace,
    /// The place is offered to somebody else.
    #[error("the place is offered to somebody")]
    AlreadyOffered,
    /// As many places as may be are offered to the user.
    #[error("the user is offered as many places as may be")]
    OfferedEnough,
    /// Nobody offers the user such a place, or not any longer.
    #[error("no such place is offered to this user")]
    NotHanded,
    /// The user is there already.
    #[error("the user has a place, or waits for one")]
    AlreadyThere,
    /// The event has begun.
    #[error("the event has begun")]
    Begun,
    /// The party is another than the place is for.
    #[error("the place is not for this party")]
    Unfit(Unfit),
    /// The owner offers it to nobody, or to somebody else.
    #[error("the event is not offered to this user")]
    NotOffered,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What of an event can be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Edited {
    /// What it is, when and where.
    pub plan: Plan,
    /// How it is given.
    pub settings: Settings,
}

impl Edited {
    /// In what it differs from another.
    pub fn differing(&self, other: &Self) -> BTreeSet<Field> {
        let (own, others) = (&self.plan, &other.plan);
        let differs = [
            (Field::Title, own.title != others.title),
            (Field::Description, own.description != others.description),
            (Field::Time, own.when != others.when),
            (Field::Place, own.location != others.location),
            (Field::Limits, self.settings.limits != other.settings.limits),
            (Field::Attendees, self.settings.attendees != other.settings.attendees),
            (Field::Ticket, self.settings.ticket != other.settings.ticket),
            (Field::AskAgain, self.settings.ask_again != other.settings.ask_again),
        ];
        differs.into_iter().filter_map(|(field, differs)| differs.then_some(field)).collect()
    }

    /// The same with these fields of another.
    #[must_use]
    pub fn keeping(mut self, fields: &BTreeSet<Field>, of: &Self) -> Self {
        for field in fields {
            match field {
                Field::Title => self.plan.title.clone_from(&of.plan.title),
                Field::Description => self.plan.description.clone_from(&of.plan.description),
                Field::Time => self.plan.when.clone_from(&of.plan.when),
                Field::Place => self.plan.location.clone_from(&of.plan.location),
                Field::Limits => self.settings.limits = of.settings.limits,
                Field::Attendees => self.settings.attendees = of.settings.attendees,
                Field::Ticket => self.settings.ticket = of.settings.ticket,
                Field::AskAgain => self.settings.ask_again = of.settings.ask_again,
            }
        }
        self
    }
}

impl Event {
    pub(super) fn edited(&self) -> Edited {
        let plan = Plan {
            title: self.title.clone(),
            description: self.description.clone(),
            when: self.when.clone(),
            location: self.location.clone(),
        };
        Edited { plan, settings: self.settings }
    }

    /// One that is made, and that nobody has answered.
    pub fn made(
        id: String,
        host_id: String,
        event_type: EventType,
        edited: Edited,
        created_at: Timestamp,
    ) -> Self {
        let Plan { title, description, when, location } = edited.plan;
        Self {
            id,
            host_id,
            title,
            description,
            when,
            location,
            event_type,
            settings: edited.settings,
            is_draft: false,
            created_at,
            changed_at: created_at,
            sequence: 0,
            counts: RsvpCounts::default(),
            going: Heads::default(),
            held: 0,
            version: 0,
            cancelled: None,
            series: None,
            is_given_away: false,
            is_suspended: false,
        }
    }

    pub(in crate::community) fn new(id: &str, found: Found<Facts, Attendance>) -> Self {
        Self::of(id, found.facts, found.head)
    }

    /// As a rule has left it.
    pub(super) fn in_part(id: &str, part: &Part<'_, Facts, Attendance, Row>) -> Self {
        Self::of(id, part.facts.clone(), part.head.clone())
    }

    pub(super) fn of(id: &str, facts: Facts, head: Attendance) -> Self {
        let (when, going, held) = (facts.schedule(), head.going(), head.held.total());
        let (host_id, settings, is_draft) =
            (facts.owner(&head), facts.settings(&head), facts.is_draft(&head));
        let is_given_away = facts.is_given_away(&head);
        let is_suspended = !head.hidden_by.is_empty();
        let Facts { title, description, location, event_type, created_at, .. } = facts;
        let made = Plan { title, description, when, location };
        let Plan { title, description, when, location } = head.plan.map_or(made, |plan| *plan);
        let series = head.following.and_then(|following| following.series).or(facts.series);
        Self {
            id: id.to_owned(),
            host_id,
            title,
            description,
            when,
            location,
            event_type,
            settings,
            is_draft,
            created_at,
            changed_at: head.changed_at.unwrap_or(created_at),
            sequence: head.sequence,
            counts: head.counts,
            going,
            held,
            version: head.answers,
            cancelled: head.cancelled.map(|cancelled| *cancelled),
            series,
            is_given_away,
            is_suspended,
        }
    }

    /// The series whose hosts are hosts of the event as well.
    pub(super) fn followed_series(&self) -> Option<&str> {
        self.series.as_ref().filter(|_| !self.is_given_away).map(|series| series.id.as_str())
    }

    /// Whether it takes place, as far as is known.
    pub(in crate::community) fn takes_place(&self) -> bool {
        self.cancelled.is_none() && !self.is_suspended
    }

    /// As policy looks at it, for a user who is involved in it so.
    pub(in crate::community) fn object(&self, involved: Involvement) -> Object<'_> {
        Object::Event {
            owner: &self.host_id,
            involved,
            is_draft: self.is_draft || self.is_suspended,
            attendees: self.settings.attendees,
        }
    }
}

/// Fails for an event that is over, does not take place, is not published, or is taken away by a decision of the moderators.
pub(super) fn still_to_come(
    part: &Part<'_, Facts, Attendance, Row>,
    now: Timestamp,
) -> Result<(), EventError> {
    still_on(part, now)?;
    not_suspended(part)
}

/// Fails for an event that a decision of the moderators takes away: as for a draft, it is there for its hosts alone.
pub(super) fn not_suspended(part: &Part<'_, Facts, Attendance, Row>) -> Result<(), EventError> {
    if part.head.hidden_by.is_empty() { Ok(()) } else { Err(EventError::Draft) }
}

/// The same as [`still_to_come`], also for one that a decision takes away: what its hosts and its series say of it is noted still.
pub(super) fn still_on(part: &Part<'_, Facts, Attendance, Row>, now: Timestamp) -> Result<(), EventError> {
    if part.head.cancelled.is_some() {
        return Err(EventError::Cancelled);
    }
    if part.facts.is_draft(&part.head) {
        return Err(EventError::Draft);
    }
    let over_at =
        part.head.plan.as_ref().map_or_else(|| part.facts.schedule().over_at(), |plan| plan.when.over_at());
    if now >= over_at { Err(EventError::Over) } else { Ok(()) }
}

/// The events of a store.
#[derive(Clone)]
pub struct EventStore(Db);

impl EventStore {
    /// The events of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    pub(super) fn db(&self) -> &Db {
        &self.0
    }

    /// The event with this id.
    pub async fn event(&self, id: &str) -> Result<Option<Event>, StoreError> {
        Ok(self.0.read(&EVENTS, id).await?.map(|found| Event::new(id, found)))
    }
}

/// What a job is about that is of one event.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::community) struct OfEvent {
    pub(in crate::community) event_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_what_is_its_own() {
        let edited = |title: &str, start: &str, capacity| Edited {
            plan: Plan {
                title: title.to_owned(),
                description: String::new(),
                when: Schedule::at(start.parse().unwrap()),
                location: Location::default(),
            },
            settings: Settings::capacity(capacity),
        };
        let own = edited("Gala", "2030-01-01T22:00:00Z", Some(10));
        let of_series = edited("Milonga", "2030-01-01T20:00:00Z", None);
        let fields = BTreeSet::from([Field::Title, Field::Time, Field::Limits]);
        assert_eq!(own.differing(&of_series), fields);
        let taken = of_series.keeping(&BTreeSet::from([Field::Time, Field::Limits]), &own);
        assert_eq!(taken, edited("Milonga", "2030-01-01T22:00:00Z", Some(10)));
    }

    #[test]
    fn builds_before_and_after_schedules_read_each_others_events() {
        let before = r#"{"host_id": "ana", "title": "Milonga", "description": "", "event_date": "2030-01-01T20:00:00Z",
            "location": {"text": "La Viruta"}, "event_type": "milonga", "capacity": null,
            "created_at": "2026-11-28T12:00:00.5Z"}"#;
        let facts: Facts = serde_json::from_str(before).unwrap();
        let event = Event::of("e", facts.clone(), Attendance::default());
        assert_eq!((event.when.starts_at(), event.when.zone_name()), (facts.event_date, "UTC"));
        let after = serde_json::to_value(Facts { when: Some(event.when), ..facts }).unwrap();
        assert_eq!(after["event_date"], "2030-01-01T20:00:00Z");
    }
}
