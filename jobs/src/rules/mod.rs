//! What is done with a shard: pure functions of it, each carried out in one compare-and-set.

mod claim;
mod enqueue;
mod operate;
mod rescue;
mod settle;

use std::sync::Arc;

use mundotango_storage::db::{Part, shard_of};

pub(crate) use claim::range_of;
pub use claim::{Claim, Claimed, claim};
pub use enqueue::{MAX_WAITING, enqueue};
pub use operate::{Find, drop_job, find, retry};
pub use rescue::{Lost, beat, rescue};
pub use settle::{End, Settled, Settlement, settle};

use crate::row::{Ended, Head, Job, Lane, Row, dead_key, delayed_key, place_key, unique_key, waiting_key};

/// A shard as rules see it.
pub type Shard<'a> = Part<'a, (), Head, Row>;

/// Groups with a lane of their own in a shard; those of more share some.
const MAX_LANES: usize = 256;
/// The lanes that are shared, of each priority.
const SHARED_LANES: u64 = 16;

/// The lane of a job.
fn lane_of(head: &Head, job: &Job) -> String {
    let own = format!("{}{}", job.priority.digit(), job.group);
    if head.lanes.len() < MAX_LANES || head.lanes.contains_key(&own) {
        own
    } else {
        format!("{}~{}", job.priority.digit(), shard_of(&job.group, SHARED_LANES))
    }
}

/// Lets a job wait whose row is in a lane.
fn wait_in(head: &mut Head, lane: &str, id: &str) {
    let turn = head.turn;
    let lane =
        head.lanes.entry(lane.to_owned()).or_insert_with(|| Lane { low: id.to_owned(), waiting: 0, turn });
    lane.waiting += 1;
    if id < lane.low.as_str() {
        id.clone_into(&mut lane.low);
    }
}

/// Puts a job where it waits for its turn.
fn put_waiting(part: &mut Shard<'_>, id: &str, job: Arc<Job>) {
    let lane = lane_of(&part.head, &job);
    wait_in(&mut part.head, &lane, id);
    part.set(waiting_key(&lane, id), Row::Job(job));
}

/// Puts a job where it waits for its time.
fn put_delayed(part: &mut Shard<'_>, id: &str, job: Arc<Job>, due: i64) {
    let key = delayed_key(due, id);
    let delayed = &mut part.head.delayed;
    if delayed.count == 0 || key < delayed.low {
        delayed.low.clone_from(&key);
    }
    delayed.count += 1;
    part.set(place_key(id), Row::At(key.clone()));
    part.set(key, Row::Job(job));
}

/// Takes a delayed job away.
fn remove_delayed(part: &mut Shard<'_>, key: String, id: &str) {
    part.head.delayed.count = part.head.delayed.count.saturating_sub(1);
    part.remove(key);
    part.remove(place_key(id));
}

/// Lets the next job of a unique key come.
fn release_unique(part: &mut Shard<'_>, job: &Job) {
    if let Some(unique) = &job.unique {
        part.remove(unique_key(unique));
    }
}

/// Ends a job that was not done. Operators see it.
fn put_dead(part: &mut Shard<'_>, id: &str, mut job: Job, ended: Ended) {
    release_unique(part, &job);
    job.ended = Some(ended);
    part.head.dead += 1;
    part.set(dead_key(id), Row::Job(Arc::new(job)));
}

/// The first id behind another.
fn behind_id(id: &str) -> String {
    format!("{id}\0")
}
