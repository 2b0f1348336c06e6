//! The jobs of analytics: counting what came in, folding slots into days, and forgetting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_jobs::{Attempted, Failure, Handler, JobError, JobKind, Jobs, NewJob, NewPools, Queue};
use mundotango_ops::metrics;
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;
use serde::{Deserialize, Serialize};

use super::buckets::{self, Counted, FOLDED, TAKEN};
use super::events::{Event, Sender};
use super::slots::{Day, Slot};
use super::visitors::Visitor;
use super::{days, members};

/// What waits to be counted.
pub static ANALYTICS: Queue = Queue::new("analytics", 5);

/// Counts the events of a client.
static BATCH: JobKind<Batch> = JobKind::new("analytics_batch", &ANALYTICS, 1);
/// Adds what a node counted itself.
static COUNTS: JobKind<OwnCounts> = JobKind::new("analytics_counts", &ANALYTICS, 1);
/// Folds the slots of a day that changed.
static DAY: JobKind<FoldDay> = JobKind::new("analytics_days", &ANALYTICS, 1).timeout(Duration::from_mins(10));
/// Removes what is kept of a member.
static FORGET: JobKind<Forget> =
    JobKind::new("analytics_forget", &ANALYTICS, 1).timeout(Duration::from_mins(30));

/// Bytes of a payload that events may fill; the rest is the sender's and the field names'.
const PAYLOAD_BYTES: usize = mundotango_jobs::MAX_PAYLOAD - 1024;
/// Folds of a day are put into minutes, of which each has one.
const MINUTE: i64 = 60;

/// Events of one client.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Batch {
    pub(super) sender: Sender,
    pub(super) events: Vec<Event>,
}

/// What a node counted itself, by slot.
#[derive(Debug, Serialize, Deserialize)]
struct OwnCounts {
    slots: BTreeMap<Slot, Counted>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FoldDay {
    day: Day,
}

#[derive(Debug, Serialize, Deserialize)]
struct Forget {
    member: Visitor,
}

/// Puts events of a client into their queue. They are counted soon after; when this returns, they are not
/// lost any more.
pub async fn enqueue_events(jobs: &Jobs, sender: &Sender, events: Vec<Event>) -> Result<(), JobError> {
    for events in portions(events)? {
        jobs.enqueue(BATCH.job(&Batch { sender: sender.clone(), events })?).await?;
    }
    Ok(())
}

/// Events in portions, each of which fits into a job.
fn portions(events: Vec<Event>) -> Result<Vec<Vec<Event>>, StoreError> {
    let (mut portions, mut bytes) = (Vec::<Vec<Event>>::new(), 0);
    for event in events {
        let own =
            serde_json::to_string(&event).map_err(|error| StoreError::Damaged(error.to_string()))?.len() + 1;
        match portions.last_mut() {
            Some(last) if bytes + own <= PAYLOAD_BYTES => last.push(event),
            _ => {
                portions.push(vec![event]);
                bytes = 0;
            }
        }
        bytes += own;
    }
    Ok(portions)
}

/// Puts what a node counted itself into the queue.
pub async fn enqueue_counts(jobs: &Jobs, slots: BTreeMap<Slot, Counted>) -> Result<(), JobError> {
    jobs.enqueue(COUNTS.job(&OwnCounts { slots })?).await.map(drop)
}

/// Has all removed that is kept of a member.
pub async fn enqueue_forget(jobs: &Jobs, member: Visitor) -> Result<(), JobError> {
    let unique = member.as_str().to_owned();
    jobs.enqueue(FORGET.job(&Forget { member })?.unique(unique)).await.map(drop)
}

/// Folds the day before a time once more, whatever was missed of it.
pub fn fold_day_before(time: Timestamp) -> Result<NewJob, StoreError> {
    DAY.job(&FoldDay { day: Day(Slot::of(time).day().0.saturating_sub(1)) })
}

/// The jobs that this feature does.
pub fn handled(pools: NewPools, db: &Db, jobs: &Jobs) -> NewPools {
    let worker = Arc::new(Worker::new(db.clone(), jobs.clone()));
    let own = || Own(Arc::clone(&worker));
    pools.handle(&BATCH, own()).handle(&COUNTS, own()).handle(&DAY, own()).handle(&FORGET, own())
}

/// Who counts and folds.
pub(super) struct Worker {
    db: Db,
    jobs: Jobs,
}

/// The one worker, shared by the kinds of jobs.
struct Own(Arc<Worker>);

#[async_trait]
impl Handler<Batch> for Own {
    async fn run(&self, _: &Attempted, job: Batch) -> Result<(), Failure> {
        self.0.count(job, mundotango_storage::now()).await
    }
}

#[async_trait]
impl Handler<OwnCounts> for Own {
    async fn run(&self, attempted: &Attempted, job: OwnCounts) -> Result<(), Failure> {
        let slots: Vec<_> = job.slots.keys().copied().collect();
        for (slot, counts) in job.slots {
            buckets::add_counts(&self.0.db, slot, &attempted.id, counts).await?;
        }
        self.0.mark(slots, mundotango_storage::now()).await
    }
}

#[async_trait]
impl Handler<FoldDay> for Own {
    async fn run(&self, _: &Attempted, job: FoldDay) -> Result<(), Failure> {
        self.0.fold(job.day, mundotango_storage::now()).await
    }
}

#[async_trait]
impl Handler<Forget> for Own {
    async fn run(&self, _: &Attempted, job: Forget) -> Result<(), Failure> {
        let events = members::forget(&self.0.db, job.member.as_str()).await?;
        tracing::info!(events, "events of a user removed");
        Ok(())
    }
}

fn note(outcome: &str, events: u64) {
    metrics().analytics_events_total.with_label_values(&[outcome]).inc_by(events);
}

impl Worker {
    pub(super) fn new(db: Db, jobs: Jobs) -> Self {
        Self { db, jobs }
    }

    /// Counts events, each in the slot in which it happened.
    pub(super) async fn count(&self, Batch { sender, events }: Batch, now: Timestamp) -> Result<(), Failure> {
        let all = events.len() as u64;
        let oldest = Slot::of(now - TAKEN);
        let mut by_slot: BTreeMap<Slot, Vec<Event>> = BTreeMap::new();
        for event in events {
            // A job may have waited: what is older might have been counted, and nobody would know.
            if let Some(slot) = event.slot().filter(|slot| *slot > oldest) {
                by_slot.entry(slot).or_default().push(event);
            }
        }
        let taken = by_slot.values().map(Vec::len).sum::<usize>() as u64;
        note("too_old", all - taken);
        let slots: BTreeSet<_> = by_slot.keys().copied().collect();
        if sender.visitor.is_member() {
            let member = sender.visitor.as_str();
            let weeks: BTreeSet<_> = slots.iter().map(|slot| slot.day().week()).collect();
            for week in weeks {
                if !members::seen(&self.db, member, week).await? {
                    note("forgotten", taken);
                    return Ok(());
                }
            }
            members::trace(&self.db, member, &slots).await?;
        }
        for (slot, events) in by_slot {
            let applied = buckets::apply(&self.db, slot, &sender, events).await?;
            note("counted", applied.counted);
            note("duplicate", applied.duplicates);
        }
        if sender.visitor.is_member() && !members::is_kept(&self.db, sender.visitor.as_str()).await? {
            // Forgotten meanwhile: who removed the events may not have seen these.
            for slot in &slots {
                buckets::forget(&self.db, *slot, sender.visitor.as_str()).await?;
            }
        }
        // Also where all had been counted: an attempt before this one may have ended here.
        self.mark(slots, now).await
    }

    /// Marks slots as changed, and has them folded.
    async fn mark(&self, slots: impl IntoIterator<Item = Slot>, now: Timestamp) -> Result<(), Failure> {
        let mut by_day: BTreeMap<Day, BTreeSet<u8>> = BTreeMap::new();
        for slot in slots {
            by_day.entry(slot.day()).or_default().insert(slot.in_day());
        }
        for (day, slots) in by_day {
            days::mark(&self.db, day, slots).await?;
            self.fold_later(day, now).await?;
        }
        Ok(())
    }

    /// Has a day folded within two minutes. One job does it for all who ask within a minute. The minute lies
    /// ahead, so the job has not begun, and will find the marks of all of them.
    async fn fold_later(&self, day: Day, now: Timestamp) -> Result<(), Failure> {
        let due = (now.as_second().div_euclid(MINUTE) + 2) * MINUTE;
        let job = DAY.job(&FoldDay { day })?.unique(format!("{}@{due}", day.0));
        let due = Timestamp::from_second(due).map_err(Failure::retry)?;
        self.jobs.enqueue(job.due(due)).await.map(drop).map_err(Failure::retry)
    }

    /// Folds the slots of a day that changed.
    pub(super) async fn fold(&self, day: Day, now: Timestamp) -> Result<(), Failure> {
        let dirty = days::dirty(&self.db, day).await?;
        metrics().analytics_slots_dirty.set(i64::try_from(dirty.len()).unwrap_or(i64::MAX));
        let oldest = Slot::of(now - FOLDED);
        let mut is_done = true;
        for (in_day, mark) in dirty {
            let slot = day.slot(in_day);
            // Of older slots rows expire one by one: what was folded before is better than what is left.
            let folded = if slot > oldest {
                days::fold(&self.db, slot, mark).await?
            } else {
                days::clear(&self.db, slot, mark).await?
            };
            is_done &= folded;
            metrics().analytics_slots_folded_total.inc();
        }
        if is_done { Ok(()) } else { self.fold_later(day, mundotango_storage::now()).await }
    }
}
