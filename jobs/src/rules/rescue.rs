//! Holders: that they live, and what becomes of the work of those that do not.

use std::collections::BTreeSet;
use std::sync::Arc;

use mundotango_storage::db::{Decision, shard_of};

use super::places::{Shard, give_back, put_dead, put_delayed, release_place};
use super::settle::fail;
use crate::row::{Ended, Job, Row};

/// How often a job's holder may be lost in a row before the job is taken to be the cause.
const MAX_RESCUES: u32 = 5;
/// Jobs that are looked at in one change; one that cannot be rescued holds back no other.
const RESCUED_AT_ONCE: usize = 50;
/// How long a job waits whose attempt did not end in time, in milliseconds.
const HUNG_WAITS: i64 = 10_000;
/// How long a job waits whose holder was lost again, in milliseconds, times the number of losses: apart from those that were
/// lost with it, of which only one may be the cause.
const LOST_AGAIN_WAITS: i64 = 2_000;

/// Whose attempts are lost, and which.
#[derive(Clone, Debug)]
pub enum Lost {
    /// All but those of this holder: no other node works on the store.
    AllBut(String),
    /// Those of holders that have not beaten since, and those that should have ended.
    Silent {
        /// Holders, with the beats that were seen long enough ago.
        holders: Vec<(String, u64)>,
        /// Ids of jobs, with the leases that have lasted too long.
        late: Vec<(String, u64)>,
    },
}

/// What a holder has of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The job's id.
    pub id: String,
    /// The number of the holder's right to it.
    pub lease: u64,
    /// An operator wants it stopped.
    pub cancelled: bool,
}

/// Says that a holder lives, if it has something here; all that it has.
pub fn beat(part: &mut Shard<'_>, holder: &str) -> Decision<Vec<Held>> {
    let own = part.head.running.iter().filter(|(_, one)| one.holder == holder);
    let own = own.map(|(id, one)| Held { id: id.clone(), lease: one.lease, cancelled: one.cancelled });
    let own: Vec<_> = own.collect();
    if own.is_empty() {
        let known = part.head.holders.remove(holder);
        return if known.is_some() { Decision::Write(own) } else { Decision::Stands(own) };
    }
    *part.head.holders.entry(holder.to_owned()).or_default() += 1;
    Decision::Write(own)
}

/// Takes attempts from holders that are lost, and those that did not end in time; how many.
pub fn rescue(part: &mut Shard<'_>, lost: &Lost, now: i64) -> Decision<usize> {
    let holders = part.head.holders.clone();
    let is_lost = |holder: &str| match lost {
        Lost::AllBut(own) => holder != own,
        Lost::Silent { holders: silent, .. } => holders
            .get(holder)
            .is_none_or(|beats| silent.iter().any(|(name, seen)| name == holder && seen == beats)),
    };
    let is_late = |id: &str, lease: u64| match lost {
        Lost::AllBut(_) => false,
        Lost::Silent { late, .. } => {
            late.iter().any(|(known, known_lease)| known == id && *known_lease == lease)
        }
    };
    let mut running = Arc::clone(&part.head.running);
    let all = running.iter().filter(|(id, one)| is_lost(&one.holder) || is_late(id, one.lease));
    let taken: Vec<_> = all.take(RESCUED_AT_ONCE).map(|(id, one)| (id.clone(), one.clone())).collect();
    // All rows are looked at before anything is decided, so that they are read at once.
    let jobs: Vec<_> = taken
        .iter()
        .map(|(id, one)| match part.row(&one.key(id)) {
            Some(Row::Job(job)) => Some(Arc::clone(job)),
            Some(Row::At(_)) | None => None,
        })
        .collect();
    for ((id, one), job) in taken.iter().zip(jobs) {
        Arc::make_mut(&mut running).remove(id);
        let Some(job) = job else { continue };
        let place = one.place.as_deref().unwrap_or(id);
        if one.cancelled {
            release_place(part, &one.lane, place);
            put_dead(part, id, Job::clone(&job), Ended::Cancelled, now);
            continue;
        }
        if !is_lost(&one.holder) {
            release_place(part, &one.lane, place);
            fail(part, id, &job, now.saturating_add(HUNG_WAITS), "did not end in time", now);
            continue;
        }
        let mut job = Job::clone(&job);
        job.rescues += 1;
        job.note(now, "its worker was lost");
        if job.rescues == 1 {
            part.set(one.key(id), Row::Job(Arc::new(job)));
            give_back(&mut part.head, &one.lane, place, now);
            continue;
        }
        release_place(part, &one.lane, place);
        if job.rescues > MAX_RESCUES {
            put_dead(part, id, job, Ended::Poisonous, now);
        } else {
            let waits = LOST_AGAIN_WAITS * i64::from(job.rescues);
            let apart = i64::try_from(shard_of(id, u64::try_from(waits).unwrap_or(1))).unwrap_or_default();
            put_delayed(part, id, Arc::new(job), now.saturating_add(waits + apart));
        }
    }
    let working: BTreeSet<_> = running.values().map(|one| one.holder.clone()).collect();
    let before = part.head.holders.len();
    part.head.holders.retain(|holder, _| working.contains(holder) || !is_lost(holder));
    part.head.running = running;
    if taken.is_empty() && part.head.holders.len() == before {
        Decision::Stands(0)
    } else {
        Decision::Write(taken.len())
    }
}
