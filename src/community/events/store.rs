//! Events and the answers to them: a partition an event, with a row for each answer and for each who waits.

use std::time::Duration;

use jiff::Timestamp;
use mundotango_storage::db::{
    Db, Decision, Effect, Found, Kind, Part, RowRange, Wants, behind, key, last_part, number, prefix,
};
use mundotango_storage::{Page, PageRequest, PageStart, StoreError};
use serde::{Deserialize, Serialize};

use super::listing::{self, EventFilter};
use super::rules::{Attendance, Cancelled, MOST_MOVES, Plan, RsvpChoice, RsvpCounts, RsvpStatus, changes};
use super::schedule::Schedule;
use crate::community::location::Location;

/// The events.
pub static EVENTS: Kind<Facts, Attendance, Row> =
    Kind::new("events", "an event: 200,000 answers of 150 B, 30 MB").cached(Duration::from_mins(10));

/// Below this lie the answers, by user.
const ANSWERS: &str = "a";
/// Below this lie those who wait, by their numbers.
const WAITING: &str = "w";

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
    capacity: Option<u32>,
    created_at: Timestamp,
}

impl Facts {
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
}

/// A user's answer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    status: RsvpStatus,
    /// When the status was reached.
    at: Timestamp,
    /// The number in the line of one who waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Sorted by the time of its making.
    pub id: String,
    /// The user who gives it.
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
    /// How many may come; `None` for no limit.
    pub capacity: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many answered what.
    pub counts: RsvpCounts,
    /// Rises with each answer and each change.
    pub version: u64,
    /// That it does not take place.
    pub cancelled: Option<Cancelled>,
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

/// A user's answer to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rsvp {
    /// The event.
    pub event_id: String,
    /// The user who answers.
    pub user_id: String,
    /// What the answer amounts to.
    pub status: RsvpStatus,
    /// When the status was reached.
    pub updated_at: Timestamp,
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
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What came of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct RsvpOutcome {
    /// The user's answer as it stands.
    pub rsvp: Rsvp,
    /// The user's status before.
    pub previous: Option<RsvpStatus>,
    /// The user who waited and got the place that this answer freed.
    pub promoted: Option<Rsvp>,
    /// The event with its counts after the change.
    pub event: Event,
    /// When the host is to be told of the answer, where that is still to be arranged.
    pub tell_host: Option<Timestamp>,
}

impl Event {
    /// What of it can be changed.
    fn plan(&self) -> Plan {
        Plan {
            title: self.title.clone(),
            description: self.description.clone(),
            when: self.when.clone(),
            location: self.location.clone(),
        }
    }

    pub(super) fn new(id: &str, found: Found<Facts, Attendance>) -> Self {
        Self::of(id, found.facts, found.head)
    }

    fn of(id: &str, facts: Facts, head: Attendance) -> Self {
        let made = Plan {
            when: facts.schedule(),
            title: facts.title,
            description: facts.description,
            location: facts.location,
        };
        let Facts { host_id, event_type, capacity, created_at, .. } = facts;
        let Plan { title, description, when, location } = head.plan.map_or(made, |plan| *plan);
        Self {
            id: id.to_owned(),
            host_id,
            title,
            description,
            when,
            location,
            event_type,
            capacity,
            created_at,
            counts: head.counts,
            version: head.answers,
            cancelled: head.cancelled.map(|cancelled| *cancelled),
        }
    }
}

/// Fails for an event that is over or does not take place.
fn still_to_come(part: &Part<'_, Facts, Attendance, Row>, now: Timestamp) -> Result<(), EventError> {
    if part.head.cancelled.is_some() {
        return Err(EventError::Cancelled);
    }
    let over_at =
        part.head.plan.as_ref().map_or_else(|| part.facts.schedule().over_at(), |plan| plan.when.over_at());
    if now >= over_at { Err(EventError::Over) } else { Ok(()) }
}

fn answer_key(user_id: &str) -> String {
    key(&[ANSWERS, user_id])
}

fn rsvp_of(event_id: &str, user_id: &str, answer: &Answer) -> Rsvp {
    Rsvp {
        event_id: event_id.to_owned(),
        user_id: user_id.to_owned(),
        status: answer.status,
        updated_at: answer.at,
    }
}

fn answer_of(part: &mut Part<'_, Facts, Attendance, Row>, user_id: &str) -> Option<Answer> {
    match part.row(&answer_key(user_id)) {
        Some(Row::Answer(answer)) => Some(answer.clone()),
        Some(Row::Waiting(_)) | None => None,
    }
}

/// Puts a user's answer in the place of the one before.
fn replace_answer(
    part: &mut Part<'_, Facts, Attendance, Row>,
    user_id: &str,
    before: Option<Answer>,
    choice: RsvpChoice,
    now: Timestamp,
) -> Answer {
    if let Some(before) = before {
        part.head.leave(before.status);
        if let Some(place) = before.number {
            part.remove(key(&[WAITING, &number(place)]));
        }
    }
    let (status, place) = part.head.enter(choice, part.facts.capacity);
    if let Some(place) = place {
        part.set(key(&[WAITING, &number(place)]), Row::Waiting(user_id.to_owned()));
    }
    let answer = Answer { status, at: now, number: place };
    part.set(answer_key(user_id), Row::Answer(answer.clone()));
    answer
}

/// Gives a free place to the first who waits; who that is.
fn promote_first(part: &mut Part<'_, Facts, Attendance, Row>, now: Timestamp) -> Option<(String, Answer)> {
    if !part.head.promotes(part.facts.capacity) {
        return None;
    }
    let line = (key(&[WAITING, &number(part.head.first_in_line)]), behind(&prefix(&[WAITING])));
    let first = part.between(&line.0, &line.1, 1).into_iter().next();
    let (place, user) = match first? {
        (place, Row::Waiting(user)) => (place, user.clone()),
        (_, Row::Answer(_)) => return None,
    };
    let waited = answer_of(part, &user)?;
    part.head.promote(waited.number.unwrap_or(part.head.first_in_line));
    let answer = Answer { status: RsvpStatus::Going, at: now, number: None };
    part.remove(place);
    part.set(answer_key(&user), Row::Answer(answer.clone()));
    Some((user, answer))
}

/// The events of a store.
#[derive(Clone)]
pub struct EventStore(Db);

impl EventStore {
    /// The events of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Adds an event, with what that causes. Its id is a UUID of version 7.
    pub async fn create(&self, event: &Event, effects: &[Effect]) -> Result<(), StoreError> {
        let facts = Facts {
            host_id: event.host_id.clone(),
            title: event.title.clone(),
            description: event.description.clone(),
            event_date: event.when.starts_at(),
            when: Some(event.when.clone()),
            location: event.location.clone(),
            event_type: event.event_type,
            capacity: event.capacity,
            created_at: event.created_at,
        };
        self.0.create(&EVENTS, &event.id, &facts, &listing::entries(event)?, effects).await
    }

    /// The event with this id.
    pub async fn event(&self, id: &str) -> Result<Option<Event>, StoreError> {
        Ok(self.0.read(&EVENTS, id).await?.map(|found| Event::new(id, found)))
    }

    /// Events by the time they start, soonest first.
    pub async fn events(&self, filter: &EventFilter, page: PageRequest) -> Result<Page<Event>, StoreError> {
        listing::events(&self.0, filter, page).await
    }

    /// Records a user's answer; `None` if there is no such event.
    ///
    /// However many race, no more than the capacity are going: who comes too late is waitlisted, in the order of coming. A
    /// place that is given back goes to the first who waits in the same step. Saying again what stands already changes
    /// nothing. `effects` are what an answer that is new causes. What is over or cancelled takes none.
    pub async fn rsvp<E: Serialize>(
        &self,
        event_id: &str,
        user_id: &str,
        choice: RsvpChoice,
        now: Timestamp,
        effects: impl Fn(&RsvpOutcome) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<RsvpOutcome>, EventError> {
        let (id, user) = (event_id.to_owned(), user_id.to_owned());
        let wants = Wants::head().row(answer_key(user_id));
        self.0
            .change(&EVENTS, event_id, wants, move |part| {
                let before = answer_of(part, &user);
                let previous = before.as_ref().map(|before| before.status);
                let stands = before.clone().filter(|_| !changes(previous, choice));
                let is_new = stands.is_none();
                if is_new {
                    still_to_come(part, now)?;
                }
                let (answer, promoted) = match stands {
                    Some(answer) => (answer, None),
                    None => (replace_answer(part, &user, before, choice, now), promote_first(part, now)),
                };
                // Who toggles an answer does not tell the host each time.
                let tells =
                    previous.is_none() && answer.status != RsvpStatus::Declined && user != part.facts.host_id;
                let tell_host = if tells { part.head.note_untold(now) } else { None };
                let outcome = RsvpOutcome {
                    rsvp: rsvp_of(&id, &user, &answer),
                    previous,
                    promoted: promoted.map(|(user, answer)| rsvp_of(&id, &user, &answer)),
                    event: Event::of(&id, part.facts.clone(), part.head.clone()),
                    tell_host,
                };
                if !is_new {
                    return Ok(Decision::Stands(outcome));
                }
                for effect in effects(&outcome)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(outcome))
            })
            .await
    }

    /// Changes an event; as it is then, `None` if there is none. `plan` makes the new plan of the one that is, and `effects` are
    /// what the change causes, of the event before and after it, and when those who answered are to be told, where time or place
    /// are others and that is still to be arranged.
    pub async fn change<E: Serialize>(
        &self,
        event_id: &str,
        now: Timestamp,
        plan: impl Fn(Plan) -> Plan + Send + 'static,
        effects: impl Fn(&Event, &Event, Option<Timestamp>) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Event>, EventError> {
        let id = event_id.to_owned();
        self.0
            .change(&EVENTS, event_id, Wants::head(), move |part| {
                still_to_come(part, now)?;
                let before = Event::of(&id, part.facts.clone(), part.head.clone());
                let planned = plan(before.plan());
                if planned == before.plan() {
                    return Ok(Decision::Stands(before));
                }
                let is_move = planned.when != before.when || planned.location != before.location;
                if is_move && part.head.moves >= MOST_MOVES {
                    return Err(EventError::MovedTooOften);
                }
                let tell =
                    if is_move { part.head.note_move(&before.when, &before.location, now) } else { None };
                part.head.plan = Some(Box::new(planned));
                part.head.answers += 1;
                let after = Event::of(&id, part.facts.clone(), part.head.clone());
                // Those of before lead to an event that starts at another time, and are left out.
                for entry in listing::entries(&after)? {
                    part.enter(entry);
                }
                for effect in effects(&before, &after, tell)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(after))
            })
            .await
    }

    /// Notes that an event does not take place; as it is then, `None` if there is none. `effects` are what that causes.
    pub async fn cancel<E: Serialize>(
        &self,
        event_id: &str,
        cancelled: Cancelled,
        effects: impl Fn(&Event) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Event>, EventError> {
        let id = event_id.to_owned();
        self.0
            .change(&EVENTS, event_id, Wants::head(), move |part| {
                if part.head.cancelled.is_some() {
                    return Ok(Decision::Stands(Event::of(&id, part.facts.clone(), part.head.clone())));
                }
                still_to_come(part, cancelled.at)?;
                part.head.cancelled = Some(Box::new(cancelled.clone()));
                part.head.answers += 1;
                let after = Event::of(&id, part.facts.clone(), part.head.clone());
                for effect in effects(&after)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(after))
            })
            .await
    }

    /// Takes what those who answered are to be told of a move: `tell` makes what tells them, of the event and of what they knew.
    pub async fn take_move<E: Serialize>(
        &self,
        event_id: &str,
        tell: impl Fn(&Event, &Schedule) -> Result<E, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let id = event_id.to_owned();
        let taken = self.0.change(&EVENTS, event_id, Wants::head(), move |part| {
            let Some(from) = part.head.moved_from.take() else {
                return Ok::<_, StoreError>(Decision::Stands(()));
            };
            let event = Event::of(&id, part.facts.clone(), part.head.clone());
            // Moved to and fro is not moved.
            if event.when != from.when || event.location != from.location {
                part.emit(&tell(&event, &from.when)?)?;
            }
            Ok(Decision::Write(()))
        });
        taken.await.map(drop)
    }

    /// Takes the answers of which the host is to be told now: how many, and `tell` makes what tells the host.
    pub async fn take_untold<E: Serialize>(
        &self,
        event_id: &str,
        tell: impl Fn(&Event, u32) -> Result<E, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let id = event_id.to_owned();
        let taken = self.0.change(&EVENTS, event_id, Wants::head(), move |part| {
            let count = part.head.take_untold();
            if count == 0 {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            let event = Event::of(&id, part.facts.clone(), part.head.clone());
            part.emit(&tell(&event, count)?)?;
            Ok(Decision::Write(()))
        });
        taken.await.map(drop)
    }

    /// A user's answer to an event.
    pub async fn rsvp_of(&self, event_id: &str, user_id: &str) -> Result<Option<Rsvp>, StoreError> {
        let row = self.0.row(&EVENTS, event_id, &answer_key(user_id)).await?;
        Ok(match row {
            Some(Row::Answer(answer)) => Some(rsvp_of(event_id, user_id, &answer)),
            Some(Row::Waiting(_)) | None => None,
        })
    }

    /// All answers to an event, by user id, which is the cursor.
    pub async fn rsvps(&self, event_id: &str, page: PageRequest) -> Result<Page<Rsvp>, StoreError> {
        let (after, skip) = match page.start {
            PageStart::First => (None, 0),
            PageStart::After(user_id) => (Some(answer_key(&user_id)), 0),
            PageStart::Skip(items) => (None, items),
        };
        let range = RowRange::first(prefix(&[ANSWERS]), skip + page.limit).after(after);
        let rows = self.0.rows(&EVENTS, event_id, &range).await?;
        let items = rows.items.into_iter().skip(skip).filter_map(|(key, row)| match row {
            Row::Answer(answer) => Some(rsvp_of(event_id, &last_part(&key), &answer)),
            Row::Waiting(_) => None,
        });
        Ok(Page { items: items.collect(), next: rows.next.map(|key| last_part(&key)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
