//! Telling `events:all` of counts, for those who look at a list of events.
//!
//! What is still to be told is a field of the event's head, written together with the answer. So a node that dies between an
//! answer and its publication leaves a job that another node does, and nothing is kept in memory that could become too large: an
//! event costs that field, and one waiting job at most.

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::db::{Db, Decision, Wants};
use mundotango_storage::{StoreError, now};

use super::bodies::{ALL_CHANNEL, CountsBody, EventMessage};
use super::counts::{CountsTold, TellCounts};
use super::seating::EventPart;
use super::store::{EVENTS, Event, EventStore, OfEvent};
use crate::community::effects::Effect;
use crate::community::notifications::tell::NOTIFICATION;

/// Tells the counts that an event has by then.
static COUNTS: JobKind<OfEvent> = JobKind::new("event_counts", &NOTIFICATION, 1);

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
    let Some(when) = when.filter(|_| !event.is_draft && !event.is_suspended) else { return Ok(None) };
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
