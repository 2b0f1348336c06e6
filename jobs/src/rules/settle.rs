//! Saying what came of attempts.

use std::sync::Arc;

use mundotango_storage::db::Decision;

use super::places::{Shard, add_to, give_back, put_dead, put_delayed, release_place, release_unique};
use crate::row::{Ended, Job, Row, done_key, done_period};

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The job is done.
    Done,
    /// It failed; the job is tried again from this time on, in milliseconds of the Unix epoch, if it may be.
    Failed {
        /// From when on it is tried again.
        due: i64,
        /// Why it failed.
        why: String,
    },
    /// It can never be done, for this reason.
    Hopeless(String),
    /// The attempt was put off, as the job's destination does not work: no attempt is used up.
    PutOff {
        /// From when on it is tried, in milliseconds of the Unix epoch.
        due: i64,
        /// Which destination does not work.
        why: String,
    },
    /// It was not made: the job waits again, and no attempt is used up.
    GivenBack,
    /// An operator stopped it.
    Cancelled,
}

/// What came of one attempt, and of which.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The job's id.
    pub id: String,
    /// The number of the right to it under which it was made.
    pub lease: u64,
    /// The job as it was when it got its turn.
    pub job: Arc<Job>,
    /// What came of it.
    pub end: End,
}

/// What was made of some attempts' ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Attempts that were no longer the holder's: what they say does not count.
    pub lost: usize,
    /// Jobs that became dead letters.
    pub dead: usize,
}

/// Writes down what came of attempts, where they are still the holder's.
pub fn settle(part: &mut Shard<'_>, holder: &str, settled: &[Settled], now: i64) -> Decision<Settlement> {
    let mut settlement = Settlement::default();
    let mut running = Arc::clone(&part.head.running);
    for one in settled {
        let is_own = running.get(&one.id).is_some_and(|own| own.holder == holder && own.lease == one.lease);
        let Some(own) = is_own.then(|| Arc::make_mut(&mut running).remove(&one.id)).flatten() else {
            settlement.lost += 1;
            continue;
        };
        let place = own.place.as_deref().unwrap_or(&one.id);
        let end = if own.cancelled && one.end != End::Done { &End::Cancelled } else { &one.end };
        if *end == End::GivenBack {
            give_back(&mut part.head, &own.lane, place, now);
            continue;
        }
        release_place(part, &own.lane, place);
        let dead = match end {
            End::Done => {
                part.head.retries.earn();
                release_unique(part, &one.job);
                if one.job.named {
                    let key = done_key(done_period(now), &one.id);
                    add_to(&mut part.head.done, &key);
                    part.set(key, Row::At(String::new()));
                }
                None
            }
            End::Failed { due, why } => {
                let due = part.head.retries.plan(*due, now);
                settlement.dead += usize::from(fail(part, &one.id, &one.job, due, why, now));
                None
            }
            End::PutOff { due, why } => {
                let mut job = Job::clone(&one.job);
                // However often it is put off for the same reason, what failed before is not forgotten.
                if job.tries.last().is_none_or(|last| last.why != *why) {
                    job.note(now, why);
                }
                put_delayed(part, &one.id, Arc::new(job), *due);
                None
            }
            End::Hopeless(why) => {
                let mut job = Job::clone(&one.job);
                job.attempts += 1;
                job.note(now, why);
                Some((job, Ended::Failed))
            }
            End::Cancelled => Some((Job::clone(&one.job), Ended::Cancelled)),
            End::GivenBack => None,
        };
        if let Some((job, ended)) = dead {
            put_dead(part, &one.id, job, ended, now);
            settlement.dead += 1;
        }
    }
    part.head.running = running;
    if settlement.lost == settled.len() { Decision::Stands(settlement) } else { Decision::Write(settlement) }
}

/// Counts an attempt that failed: the job is tried again later, or it is a dead letter; whether it is. Its row is gone.
pub(super) fn fail(part: &mut Shard<'_>, id: &str, job: &Job, due: i64, why: &str, now: i64) -> bool {
    let mut job = Job::clone(job);
    job.attempts += 1;
    job.rescues = 0;
    job.note(now, why);
    let is_last = job.attempts >= job.max_attempts;
    if is_last {
        put_dead(part, id, job, Ended::Failed, now);
    } else {
        put_delayed(part, id, Arc::new(job), due);
    }
    is_last
}
