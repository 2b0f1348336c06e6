//! The counts of an event for those who look at a list of events: `events:all` hears of them at once, and about once a second
//! while answers go on. The last counts always arrive.
//!
//! What is still to be told is a field of the event's head, written together with the answer. So a node that dies between an
//! answer and its publication leaves a job that another node does, and nothing is kept in memory that could become too large: an
//! event costs that field, and one waiting job at most.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::db::{Db, Decision, Wants};
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};

use super::announce::OfEvent;
use super::bodies::{ALL_CHANNEL, CountsBody, EventMessage};
use super::seating::EventPart;
use super::store::{EVENTS, Event, EventStore};
use crate::community::effects::Effect;
use crate::community::notifications::tell::NOTIFICATION;

/// Tells the counts that an event has by then.
static COUNTS: JobKind<OfEvent> = JobKind::new("event_counts", &NOTIFICATION, 1);

/// Least time between two times that the counts of an event are told.
const PERIOD: SignedDuration = SignedDuration::from_secs(1);
/// The counts should have been told so long ago: the job was dropped. The next answer tells them.
const TELLING_IS_LOST: SignedDuration = SignedDuration::from_mins(1);

/// How far lists of events have heard of an event's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountsTold {
    /// The counts are not told again before then.
    next: Timestamp,
    /// Whether there is a job that tells them then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_arranged: bool,
}

/// When counts that changed are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TellCounts {
    /// With the change itself.
    Now,
    /// By a job at this time, which tells what they are by then.
    At(Timestamp),
}

impl CountsTold {
    /// That they are told now.
    fn at(now: Timestamp) -> Self {
        Self { next: after_a_pause(now), is_arranged: false }
    }

    /// What is kept of counts that changed, and when they are to be told, if that is still to be arranged.
    fn note(before: Option<Self>, now: Timestamp) -> (Self, Option<TellCounts>) {
        let Some(before) = before else { return (Self::at(now), Some(TellCounts::Now)) };
        let late = now.duration_since(before.next);
        if before.is_arranged && late < TELLING_IS_LOST {
            return (before, None);
        }
        if before.is_arranged || late >= SignedDuration::ZERO {
            return (Self::at(now), Some(TellCounts::Now));
        }
        // A node whose clock is ahead does not make the others wait for longer than the pause.
        let next = before.next.min(after_a_pause(now));
        (Self { next, is_arranged: true }, Some(TellCounts::At(next)))
    }
}

fn after_a_pause(now: Timestamp) -> Timestamp {
    now.saturating_add(PERIOD).unwrap_or(Timestamp::MAX)
}

/// Notes in an event that its counts changed; when they are to be told, if that is still to be arranged. Of a draft nobody is
/// told.
pub(super) fn note(part: &mut EventPart<'_>, now: Timestamp) -> Option<TellCounts> {
    if part.facts.is_draft(&part.head) {
        return None;
    }
    let (told, tell) = CountsTold::note(part.head.counts_told, now);
    part.head.counts_told = Some(told);
    tell
}

/// What tells the counts of an event; nothing for a draft, which nobody but its hosts is to know of.
pub(super) fn tell(event: &Event, when: Option<TellCounts>) -> Result<Option<Effect>, StoreError> {
    let Some(when) = when.filter(|_| !event.is_draft) else { return Ok(None) };
    let effect = match when {
        TellCounts::Now => {
            let (event_id, counts) = (event.id.clone(), CountsBody::of(event));
            let message = EventMessage::Counted { event_id, counts, version: event.version };
            Effect::publish(ALL_CHANNEL, &message)?
        }
        TellCounts::At(at) => {
            let job = COUNTS.job(&OfEvent { event_id: event.id.clone() })?;
            Effect::job(job.due(at).group(event.id.as_str()))
        }
    };
    Ok(Some(effect))
}

impl EventStore {
    /// Tells the counts that an event has now, if that is still to be done.
    async fn tell_counts(&self, event_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let id = event_id.to_owned();
        let told = self.db().change(&EVENTS, event_id, Wants::head(), move |part| {
            // A job that is run twice has nothing to tell at its second run. Where nothing is noted, a build that does not know the
            // field has written the head since.
            if part.head.counts_told.is_some_and(|told| !told.is_arranged) {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.head.counts_told = Some(CountsTold::at(now));
            if let Some(effect) = tell(&Event::in_part(&id, part), Some(TellCounts::Now))? {
                part.emit(&effect)?;
            }
            Ok(Decision::Write(()))
        });
        told.await.map(drop)
    }
}

/// The jobs of this file.
pub fn handled(pools: NewPools, db: &Db) -> NewPools {
    pools.handle(&COUNTS, Tells(EventStore::new(db.clone())))
}

struct Tells(EventStore);

#[async_trait]
impl Handler<OfEvent> for Tells {
    async fn run(&self, _: &Attempted, job: OfEvent) -> Result<(), Failure> {
        Ok(self.0.tell_counts(&job.event_id, now()).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn counts_are_told_at_once_and_then_once_a_second() {
        let mut told = None;
        let mut note = |millis| {
            let (kept, tell) = CountsTold::note(told, at(millis));
            told = Some(kept);
            tell
        };
        assert_eq!(note(0), Some(TellCounts::Now));
        assert_eq!(note(10), Some(TellCounts::At(at(1_000))), "the last of a burst");
        assert_eq!([note(20), note(999), note(1_500)], [None; 3], "the job tells these as well");
        // The job, a moment late.
        told = Some(CountsTold::at(at(1_600)));
        let mut note = |millis| {
            let (kept, tell) = CountsTold::note(told, at(millis));
            told = Some(kept);
            tell
        };
        assert_eq!(note(1_700), Some(TellCounts::At(at(2_600))));
        assert_eq!(note(2_600 + 59_999), None);
        assert_eq!(note(2_600 + 60_000), Some(TellCounts::Now), "the job was lost");
        assert_eq!(note(90_000), Some(TellCounts::Now), "after a quiet time");
    }

    #[test]
    fn a_clock_that_is_ahead_puts_nothing_off_for_long() {
        let (told, _) = CountsTold::note(Some(CountsTold::at(at(3_600_000))), at(0));
        assert_eq!(told, CountsTold { next: at(1_000), is_arranged: true });
    }

    #[test]
    fn what_is_kept_is_small_and_read_again() {
        let told = CountsTold::at(at(0));
        let kept = serde_json::to_string(&told).unwrap();
        assert_eq!(kept, r#"{"next":"1970-01-01T00:00:01Z"}"#);
        assert_eq!(serde_json::from_str::<CountsTold>(&kept).unwrap(), told);
    }
}
