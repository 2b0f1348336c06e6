//! Letters about events, and what those who answered are told: a place for one who waited, another time, and what is on
//! tomorrow.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewJob, NewPools};
use mundotango_storage::db::outbox_key;
use mundotango_storage::{PageRequest, PageStart, StoreError, now};
use serde::{Deserialize, Serialize};

use super::{EMAIL, Letters, Own, Reader, SEND_TIMEOUT, due_since};
use crate::community::effects::Effect;
use crate::community::events::rules::RsvpStatus;
use crate::community::events::schedule::Schedule;
use crate::community::events::store::{Event, OfEvent};
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::{NOTIFICATION, Tell};
use crate::email::{EventLines, Letter};

/// To somebody who waited for a place and has one.
static PROMOTED: JobKind<ToGuest> = letter("promoted_letter").useless_after(Duration::from_hours(24));
/// To somebody who is going to an event that begins soon.
static REMINDER: JobKind<ToGuest> = letter("reminder_letter").useless_after(Duration::from_hours(18));
/// To somebody who answered an event that is at another time or place.
static MOVED: JobKind<MovedLetter> = letter("moved_letter").useless_after(Duration::from_hours(72));
/// To somebody who answered an event that does not take place.
static CANCELLED: JobKind<ToGuest> = letter("cancelled_letter").useless_after(Duration::from_hours(72));

/// Reminds all who are going to an event.
static REMINDERS: JobKind<Reminders> = fan_out("event_reminders").useless_after(Duration::from_hours(12));
/// Looks what those who answered are to be told of a move.
static MOVED_EVENT: JobKind<OfEvent> = JobKind::new("event_moved", &NOTIFICATION, 1);
/// Tells all who answered of another time or place.
static MOVES: JobKind<Moves> = fan_out("event_moves").useless_after(Duration::from_hours(72));
/// Tells all who answered that an event does not take place.
static CANCELLATIONS: JobKind<Cancellation> =
    fan_out("event_cancellations").useless_after(Duration::from_hours(72));
/// Tells the host of answers.
static UNTOLD: JobKind<OfEvent> = JobKind::new("event_answers", &NOTIFICATION, 1);

pub(super) const fn letter<P>(name: &'static str) -> JobKind<P> {
    JobKind::new(name, &EMAIL, 1)
        .timeout(SEND_TIMEOUT)
        .backoff(Duration::from_secs(15), Duration::from_mins(30))
}

/// A job that makes one for each of many, and one like itself where there are more.
pub(super) const fn fan_out<P>(name: &'static str) -> JobKind<P> {
    JobKind::new(name, &EMAIL, 1).timeout(Duration::from_mins(10))
}

/// How long before an event those are reminded who are going.
const REMINDED_BEFORE: SignedDuration = SignedDuration::from_hours(24);
/// Answers that are read at once.
const ANSWERS_AT_ONCE: usize = 100;
/// Answers that one job goes through; the next one goes on behind them.
const ANSWERS_OF_A_JOB: usize = 1_000;

/// A letter to one who answered.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::community) struct ToGuest {
    user_id: String,
    event_id: String,
    /// When the event starts, if the letter is of no use where it was moved meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    starts_at: Option<Timestamp>,
}

/// Reminds all who are going to an event.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::community) struct Reminders {
    event_id: String,
    /// When it starts: a reminder is of the event as it was planned then.
    starts_at: Timestamp,
    /// Behind whose answer this job begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// That an event is at another time or place.
#[derive(Debug, Serialize, Deserialize)]
struct Moves {
    event_id: String,
    /// When it was to be.
    before: Schedule,
    /// When it starts now.
    starts_at: Timestamp,
    /// Behind whose answer this job begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// That an event does not take place.
#[derive(Debug, Serialize, Deserialize)]
struct Cancellation {
    event_id: String,
    /// Behind whose answer this job begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MovedLetter {
    user_id: String,
    event_id: String,
    before: Schedule,
    /// When it starts.
    starts_at: Timestamp,
}

/// What a user is told of an event.
pub(in crate::community) fn tell(event: &Event, kind: NotificationKind, stale_at: Option<Timestamp>) -> Tell {
    Tell { kind, thing: event.id.clone(), title: event.title.clone(), actor_id: None, count: 1, stale_at }
}

/// Tells a user who waited of the place. Those of one event share turns with all other letters.
pub(in crate::community) fn promoted(user_id: &str, event_id: &str) -> Result<Effect, StoreError> {
    let payload = ToGuest { user_id: user_id.to_owned(), event_id: event_id.to_owned(), starts_at: None };
    Ok(Effect::job(PROMOTED.job(&payload)?.group(event_id)))
}

/// Reminds those who will be going to an event; nothing where that is too soon. They are reminded at once where they should have been
/// since a time, and it has not begun.
pub(in crate::community) fn reminders(
    event: &Event,
    since: Timestamp,
    now: Timestamp,
) -> Result<Option<Effect>, StoreError> {
    let starts_at = event.when.starts_at();
    let Some(due) = due_since(starts_at - REMINDED_BEFORE, since, starts_at, now) else { return Ok(None) };
    let job = REMINDERS.job(&Reminders { event_id: event.id.clone(), starts_at, after: None })?;
    Ok(Some(Effect::job(job.due(due).group(event.id.as_str()))))
}

/// Tells those who answered, at a time, what has become of time and place until then.
pub(in crate::community) fn moved(event_id: &str, at: Timestamp) -> Result<Effect, StoreError> {
    let job = MOVED_EVENT.job(&OfEvent { event_id: event_id.to_owned() })?;
    Ok(Effect::job(job.due(at).group(event_id)))
}

/// Tells those who answered that an event does not take place.
pub(in crate::community) fn cancelled(event: &Event) -> Result<Effect, StoreError> {
    let job = CANCELLATIONS.job(&Cancellation { event_id: event.id.clone(), after: None })?;
    Ok(Effect::job(job.group(event.id.as_str())))
}

/// Tells the host, at a time, of the answers that there are until then.
pub(in crate::community) fn untold(event_id: &str, at: Timestamp) -> Result<Effect, StoreError> {
    let job = UNTOLD.job(&OfEvent { event_id: event_id.to_owned() })?;
    Ok(Effect::job(job.due(at).group(event_id)))
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    let own = || Own(Arc::clone(letters));
    pools
        .handle(&PROMOTED, Promoted(own()))
        .handle(&REMINDER, Reminder(own()))
        .handle(&MOVED, own())
        .handle(&CANCELLED, Cancelled(own()))
        .handle(&REMINDERS, own())
        .handle(&MOVES, own())
        .handle(&CANCELLATIONS, own())
        .handle(&MOVED_EVENT, MovedEvent(own()))
        .handle(&UNTOLD, Untold(own()))
}

struct Promoted(Own);
struct Reminder(Own);
struct Cancelled(Own);
struct MovedEvent(Own);
struct Untold(Own);

#[async_trait]
impl Handler<ToGuest> for Promoted {
    async fn run(&self, attempted: &Attempted, job: ToGuest) -> Result<(), Failure> {
        let Own(letters) = &self.0;
        let Some(event) = letters.events.event(&job.event_id).await? else { return Ok(()) };
        let answer = letters.events.rsvp_of(&job.event_id, &job.user_id).await?;
        // Who gave the place back meanwhile, or comes too late, is not told of it.
        let kind = match answer.map(|answer| (answer.status, answer.held_until)) {
            Some((RsvpStatus::Going, _)) => NotificationKind::EventPromoted,
            Some((RsvpStatus::Held, Some(until))) if until > now() => NotificationKind::EventOffered,
            _ => return Ok(()),
        };
        if !event.takes_place() || event.when.over_at() <= now() {
            return Ok(());
        }
        let Some(reader) = letters.guest(&job.user_id, &job.event_id, kind).await? else { return Ok(()) };
        let (name, lines) = (reader.name(), letters.lines_of(&event, &reader));
        if kind == NotificationKind::EventPromoted {
            let letter = Letter::Promoted { name, event: lines };
            letters.send_inviting(attempted, &reader, &letter, &event).await
        } else {
            let text = kind.words(reader.language, &event.title, 1);
            let letter = Letter::Notification { name, text, url: lines.url };
            letters.send(attempted, &reader, &letter).await
        }
    }
}

#[async_trait]
impl Handler<ToGuest> for Reminder {
    async fn run(&self, attempted: &Attempted, job: ToGuest) -> Result<(), Failure> {
        let Own(letters) = &self.0;
        letters.remind(attempted, job, now()).await
    }
}

#[async_trait]
impl Handler<MovedLetter> for Own {
    async fn run(&self, attempted: &Attempted, job: MovedLetter) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(event) = letters.upcoming(&job.event_id, job.starts_at, now()).await? else { return Ok(()) };
        let kind = NotificationKind::EventMoved;
        let Some(reader) = letters.guest(&job.user_id, &job.event_id, kind).await? else { return Ok(()) };
        let (lines, before) = (letters.lines_of(&event, &reader), letters.when(&job.before, &reader));
        let letter = Letter::EventMoved { name: reader.name(), event: lines, before };
        letters.send_inviting(attempted, &reader, &letter, &event).await
    }
}

#[async_trait]
impl Handler<ToGuest> for Cancelled {
    async fn run(&self, attempted: &Attempted, job: ToGuest) -> Result<(), Failure> {
        let Own(letters) = &self.0;
        let Some(event) = letters.events.event(&job.event_id).await? else { return Ok(()) };
        let kind = NotificationKind::EventCancelled;
        let Some(reader) = letters.guest(&job.user_id, &job.event_id, kind).await? else { return Ok(()) };
        let reason = event.cancelled.as_ref().and_then(|cancelled| cancelled.reason.clone());
        let lines = letters.lines_of(&event, &reader);
        let letter = Letter::EventCancelled { name: reader.name(), event: lines, reason };
        letters.send_inviting(attempted, &reader, &letter, &event).await
    }
}

#[async_trait]
impl Handler<Reminders> for Own {
    async fn run(&self, attempted: &Attempted, job: Reminders) -> Result<(), Failure> {
        let Own(letters) = self;
        letters.remind_all(attempted, job, now()).await
    }
}

#[async_trait]
impl Handler<OfEvent> for MovedEvent {
    async fn run(&self, _: &Attempted, job: OfEvent) -> Result<(), Failure> {
        let Own(letters) = &self.0;
        let told = letters.events.take_move(&job.event_id, |event, before| {
            let payload = Moves {
                event_id: event.id.clone(),
                before: before.clone(),
                starts_at: event.when.starts_at(),
                after: None,
            };
            Ok(Effect::job(MOVES.job(&payload)?.group(event.id.as_str())))
        });
        Ok(told.await?)
    }
}

#[async_trait]
impl Handler<Moves> for Own {
    async fn run(&self, attempted: &Attempted, job: Moves) -> Result<(), Failure> {
        let Own(letters) = self;
        // Where it was moved again, another job tells of that.
        let Some(event) = letters.upcoming(&job.event_id, job.starts_at, now()).await? else { return Ok(()) };
        let letter = |user_id: &str| {
            let payload = MovedLetter {
                user_id: user_id.to_owned(),
                event_id: job.event_id.clone(),
                before: job.before.clone(),
                starts_at: job.starts_at,
            };
            MOVED.job(&payload)
        };
        let telling = Telling {
            event: &event,
            kind: NotificationKind::EventMoved,
            since: attempted.enqueued_at(),
            is_told: |status| status != RsvpStatus::Declined,
            letter: &letter,
        };
        let Some(after) = letters.tell_some(&telling, job.after.clone()).await? else { return Ok(()) };
        let next = Moves {
            event_id: job.event_id.clone(),
            before: job.before.clone(),
            starts_at: job.starts_at,
            after: Some(after.clone()),
        };
        letters.go_on(&telling, &after, MOVES.job(&next)?).await
    }
}

#[async_trait]
impl Handler<Cancellation> for Own {
    async fn run(&self, attempted: &Attempted, job: Cancellation) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(event) = letters.events.event(&job.event_id).await? else { return Ok(()) };
        let letter = |user_id: &str| {
            let event_id = job.event_id.clone();
            CANCELLED.job(&ToGuest { user_id: user_id.to_owned(), event_id, starts_at: None })
        };
        let telling = Telling {
            event: &event,
            kind: NotificationKind::EventCancelled,
            since: attempted.enqueued_at(),
            is_told: |status| status != RsvpStatus::Declined,
            letter: &letter,
        };
        let Some(after) = letters.tell_some(&telling, job.after.clone()).await? else { return Ok(()) };
        let next = Cancellation { event_id: job.event_id.clone(), after: Some(after.clone()) };
        letters.go_on(&telling, &after, CANCELLATIONS.job(&next)?).await
    }
}

#[async_trait]
impl Handler<OfEvent> for Untold {
    async fn run(&self, _: &Attempted, job: OfEvent) -> Result<(), Failure> {
        let Own(letters) = &self.0;
        let told = letters.events.take_untold(&job.event_id, |event, count| {
            let over_at = Some(event.when.over_at());
            let host = event.host_id.clone();
            let mut told = tell(event, NotificationKind::EventAnswers, over_at);
            told.count = count;
            told.effect(&host)
        });
        Ok(told.await?)
    }
}

/// What many are told.
pub(super) struct Telling<'a> {
    pub(super) event: &'a Event,
    pub(super) kind: NotificationKind,
    /// Since when they are told, the same at each attempt: jobs that were done are remembered for an hour from then.
    pub(super) since: Timestamp,
    pub(super) is_told: fn(RsvpStatus) -> bool,
    pub(super) letter: &'a (dyn Fn(&str) -> Result<NewJob, StoreError> + Sync),
}

impl Telling<'_> {
    /// The id of the job that tells a user.
    fn id(&self, user_id: &str) -> String {
        format!("{}.{}.{user_id}", outbox_key(self.since), self.event.id)
    }
}

impl Letters {
    /// The event, if it still starts then and has not started.
    pub(super) async fn upcoming(
        &self,
        event_id: &str,
        starts_at: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Event>, StoreError> {
        let event = self.events.event(event_id).await?;
        let is_planned = |event: &Event| event.when.starts_at() == starts_at && event.takes_place();
        Ok(event.filter(|event| is_planned(event) && starts_at > now))
    }

    /// Reminds all who are going to an event, if it still starts then and has not started at a time.
    pub(in crate::community) async fn remind_all(
        &self,
        attempted: &Attempted,
        job: Reminders,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(event) = self.upcoming(&job.event_id, job.starts_at, now).await? else { return Ok(()) };
        // Whatever jobs tell of the same start, a guest hears of it once.
        let since = (job.starts_at - REMINDED_BEFORE).max(attempted.enqueued_at());
        let letter = |user_id: &str| {
            let payload = ToGuest {
                user_id: user_id.to_owned(),
                event_id: job.event_id.clone(),
                starts_at: Some(job.starts_at),
            };
            Ok(REMINDER.job(&payload)?.due(since))
        };
        let telling = Telling {
            event: &event,
            kind: NotificationKind::EventReminder,
            since,
            is_told: |status| status == RsvpStatus::Going,
            letter: &letter,
        };
        let Some(after) = self.tell_some(&telling, job.after.clone()).await? else { return Ok(()) };
        let next = Reminders {
            event_id: job.event_id.clone(),
            starts_at: job.starts_at,
            after: Some(after.clone()),
        };
        self.go_on(&telling, &after, REMINDERS.job(&next)?).await
    }

    /// Reminds one who is going, likewise.
    pub(in crate::community) async fn remind(
        &self,
        attempted: &Attempted,
        job: ToGuest,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(starts_at) = job.starts_at else { return Ok(()) };
        let Some(event) = self.upcoming(&job.event_id, starts_at, now).await? else { return Ok(()) };
        if self.status(&job).await? != Some(RsvpStatus::Going) {
            return Ok(());
        }
        let kind = NotificationKind::EventReminder;
        let Some(reader) = self.guest(&job.user_id, &job.event_id, kind).await? else { return Ok(()) };
        let letter = Letter::Reminder { name: reader.name(), event: self.lines_of(&event, &reader) };
        self.send(attempted, &reader, &letter).await
    }

    async fn status(&self, guest: &ToGuest) -> Result<Option<RsvpStatus>, StoreError> {
        let answer = self.events.rsvp_of(&guest.event_id, &guest.user_id).await?;
        Ok(answer.map(|answer| answer.status))
    }

    /// Who reads a letter about an event, unless that user wants none of the kind or of the event.
    pub(super) async fn guest(
        &self,
        user_id: &str,
        event_id: &str,
        kind: NotificationKind,
    ) -> Result<Option<Reader>, Failure> {
        let reader = self.reader(user_id).await?;
        let now = now();
        Ok(reader.filter(|reader| {
            reader.preferences.ways(kind).email && !reader.preferences.is_muted(event_id, now)
        }))
    }

    /// Tells some of whom a status says so, each by a notification and by a letter; behind whose answer there are more.
    pub(super) async fn tell_some(
        &self,
        telling: &Telling<'_>,
        after: Option<String>,
    ) -> Result<Option<String>, Failure> {
        let event = telling.event;
        let stale_at = Some(event.when.over_at());
        let mut start = after.map_or(PageStart::First, PageStart::After);
        for _ in 0..ANSWERS_OF_A_JOB / ANSWERS_AT_ONCE {
            let page = self.events.rsvps(&event.id, PageRequest { start, limit: ANSWERS_AT_ONCE }).await?;
            let told: Vec<_> = page.items.iter().filter(|answer| (telling.is_told)(answer.status)).collect();
            if telling.kind == NotificationKind::EventMoved {
                let users: Vec<_> = told.iter().map(|answer| answer.user_id.as_str()).collect();
                self.events.lead_again(event, &users).await?;
            }
            for answer in told {
                // Whoever does this job again finds the jobs that are there, or were done.
                let told = tell(event, telling.kind, stale_at).job(&answer.user_id)?;
                let id = telling.id(&answer.user_id);
                self.jobs.enqueue_as(format!("{id}.n"), told).await.map_err(Failure::retry)?;
                let letter = (telling.letter)(&answer.user_id)?.group(event.id.as_str());
                self.jobs.enqueue_as(id, letter).await.map_err(Failure::retry)?;
            }
            match page.next {
                Some(next) => start = PageStart::After(next),
                None => return Ok(None),
            }
        }
        Ok(match start {
            PageStart::After(after) => Some(after),
            PageStart::First | PageStart::Skip(_) => None,
        })
    }

    /// Puts the job there that goes on behind an answer.
    pub(super) async fn go_on(
        &self,
        telling: &Telling<'_>,
        after: &str,
        next: NewJob,
    ) -> Result<(), Failure> {
        let id = format!("{}.more", telling.id(after));
        let next = next.group(telling.event.id.as_str());
        self.jobs.enqueue_as(id, next).await.map(drop).map_err(Failure::retry)
    }

    fn when(&self, when: &Schedule, reader: &Reader) -> String {
        if let Some((first, last)) = when.days() {
            return self.dates.days(first, last, reader.language);
        }
        let zone = reader.preferences.known_zone();
        self.dates.when(&when.start, when.end.as_ref(), reader.language, zone.as_ref())
    }

    pub(super) fn lines_of(&self, event: &Event, reader: &Reader) -> EventLines {
        EventLines {
            title: event.title.clone(),
            when: self.when(&event.when, reader),
            place: event.location.text.clone(),
            url: format!("{}/events/{}", self.public_url, event.id),
        }
    }
}
