//! The money of those who paid for an event that does not take place: all of it goes back.

use std::time::Duration;

use async_trait::async_trait;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, Jobs, NewPools};
use mundotango_storage::db::{Db, outbox_key};
use mundotango_storage::{PageRequest, PageStart, StoreError};
use serde::{Deserialize, Serialize};

use super::rules::RsvpStatus;
use super::store::{Event, EventStore};
use crate::community::effects::Effect;
use crate::community::payments::causes::{self, PAYMENT};
use crate::community::payments::quote::Purpose;

/// Has the tickets of an event paid back.
static TICKETS: JobKind<Tickets> =
    JobKind::new("ticket_refunds", &PAYMENT, 1).timeout(Duration::from_mins(10)).attempts(20);

/// Answers that are read at once.
const ANSWERS_AT_ONCE: usize = 100;
/// Answers that one job goes through; the next one goes on behind them.
const ANSWERS_OF_A_JOB: usize = 1_000;

#[derive(Debug, Serialize, Deserialize)]
struct Tickets {
    event_id: String,
    /// Behind whose answer this job begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// Has all tickets of an event paid back, and the pages ended on which others are about to pay. Money that comes later finds that
/// there is no place.
pub(super) fn tickets(event: &Event) -> Result<Effect, StoreError> {
    let job = TICKETS.job(&Tickets { event_id: event.id.clone(), after: None })?;
    Ok(Effect::job(job.group(event.id.as_str())))
}

/// The jobs of this file.
pub fn handled(pools: NewPools, db: &Db, jobs: &Jobs) -> NewPools {
    pools.handle(&TICKETS, PaysBack { events: EventStore::new(db.clone()), jobs: jobs.clone() })
}

struct PaysBack {
    events: EventStore,
    jobs: Jobs,
}

#[async_trait]
impl Handler<Tickets> for PaysBack {
    async fn run(&self, attempted: &Attempted, job: Tickets) -> Result<(), Failure> {
        let event_id = job.event_id;
        // The same at each attempt: whoever does this job again finds the jobs that are there.
        let since = outbox_key(attempted.enqueued_at());
        let mut start = job.after.map_or(PageStart::First, PageStart::After);
        for _ in 0..ANSWERS_OF_A_JOB / ANSWERS_AT_ONCE {
            // Nobody answers any more, so these are all whom it concerns.
            let page = self.events.rsvps(&event_id, PageRequest { start, limit: ANSWERS_AT_ONCE }).await?;
            for answer in page.items {
                let job = match answer.payment {
                    Some(payment) => causes::owed(&payment, &event_id, None)?,
                    // Somebody may be about to pay.
                    None if answer.status == RsvpStatus::Held => {
                        causes::page_ends(Purpose::Ticket, &event_id, &answer.user_id)?
                    }
                    None => continue,
                };
                let id = format!("{since}.{event_id}.{}", answer.user_id);
                self.jobs.enqueue_as(id, job.group(event_id.as_str())).await.map_err(Failure::retry)?;
            }
            match page.next {
                Some(next) => start = PageStart::After(next),
                None => return Ok(()),
            }
        }
        let PageStart::After(after) = start else { return Ok(()) };
        let id = format!("{since}.{event_id}.{after}.more");
        let next = TICKETS.job(&Tickets { event_id: event_id.clone(), after: Some(after) })?;
        self.jobs.enqueue_as(id, next.group(event_id)).await.map(drop).map_err(Failure::retry)
    }
}
