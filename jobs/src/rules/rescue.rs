//! Holders: that they live, and what becomes of the work of those that do not.

use std::collections::BTreeSet;
use std::sync::Arc;

use mundotango_storage::db::Decision;

use super::claim::give_back;
use super::settle::fail;
use super::{Shard, put_dead};
use crate::row::{Ended, Job, Row, waiting_key};

/// How often a job's holder may be lost before the job is taken to be the cause.
const MAX_RESCUES: u32 = 5;
/// Jobs that are looked at in one change; one that cannot be rescued holds back no other.
const RESCUED_AT_ONCE: usize = 100;
/// How much longer than it may an attempt takes before it is taken from its holder, in milliseconds: its own timer comes first.
const GRACE: i64 = 10_000;
/// How long a job waits whose attempt did not end in time, in milliseconds.
const HUNG_WAITS: i64 = 10_000;

/// Whose attempts are lost.
#[derive(Clone, Debug)]
pub enum Lost {
    /// All but those of this holder: no other node works on the store.
    AllBut(String),
    /// Those of holders that have not beaten since: holders with the beats that were seen long enough ago.
    Silent(Vec<(String, u64)>),
}

impl Lost {
    fn is_lost(&self, holder: &str, beats: Option<u64>) -> bool {
        match self {
            Self::AllBut(own) => holder != own,
            Self::Silent(silent) => {
                beats.is_none_or(|beats| silent.iter().any(|(name, seen)| name == holder && *seen == beats))
            }
        }
    }
}

/// Says that a holder lives, if it works on something here; the ids of those of its jobs that an operator wants stopped.
pub fn beat(part: &mut Shard<'_>, holder: &str) -> Decision<Vec<String>> {
    let own: Vec<_> = part.head.running.iter().filter(|(_, one)| one.holder == holder).collect();
    if own.is_empty() {
        let known = part.head.holders.remove(holder);
        return if known.is_some() { Decision::Write(Vec::new()) } else { Decision::Stands(Vec::new()) };
    }
    let cancelled = own.into_iter().filter(|(_, one)| one.cancelled).map(|(id, _)| id.clone()).collect();
    *part.head.holders.entry(holder.to_owned()).or_default() += 1;
    Decision::Write(cancelled)
}

/// Takes attempts from holders that are lost, and those that did not end in time; how many.
pub fn rescue(part: &mut Shard<'_>, lost: &Lost, now: i64) -> Decision<usize> {
    let holders = part.head.holders.clone();
    let is_lost = |holder: &str| lost.is_lost(holder, holders.get(holder).copied());
    let mut running = Arc::clone(&part.head.running);
    let all = running.iter().filter_map(|(id, one)| {
        let is_late = now > one.until.saturating_add(GRACE);
        (is_lost(&one.holder) || is_late).then(|| (id.clone(), one.clone()))
    });
    let taken: Vec<_> = all.take(RESCUED_AT_ONCE).collect();
    // All rows are looked at before anything is decided, so that they are read at once.
    let keys: Vec<_> = taken.iter().map(|(id, one)| waiting_key(&one.lane, id)).collect();
    let jobs: Vec<_> = keys
        .iter()
        .map(|key| match part.row(key) {
            Some(Row::Job(job)) => Some(Arc::clone(job)),
            Some(Row::At(_)) | None => None,
        })
        .collect();
    for (((id, one), key), job) in taken.iter().zip(keys).zip(jobs) {
        Arc::make_mut(&mut running).remove(id);
        let Some(job) = job else { continue };
        if !is_lost(&one.holder) {
            part.remove(key);
            fail(part, id, &job, now.saturating_add(HUNG_WAITS), "did not end in time", now);
            continue;
        }
        let mut job = Job::clone(&job);
        job.rescues += 1;
        job.note(now, "its worker was lost");
        if job.rescues > MAX_RESCUES {
            part.remove(key);
            put_dead(part, id, job, Ended::Poisonous);
        } else {
            part.set(key, Row::Job(Arc::new(job)));
            give_back(part, &one.lane, id);
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
