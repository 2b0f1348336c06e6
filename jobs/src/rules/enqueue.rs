//! Putting a job into its shard.

use std::sync::Arc;

use mundotango_storage::db::Decision;

use super::places::{Shard, own_lane, put_delayed, put_waiting, shared_lane};
use crate::row::{Job, Row, done_key, done_period, place_key, unique_key, waiting_key};

/// Most jobs that wait or are delayed in a shard; more are refused.
pub const MAX_WAITING: u64 = 1_000_000;

/// Puts a job there, unless there is one with its unique key; the id of the one that is there then, and whether it is the new
/// one. `None` where the shard is full.
///
/// With `may_be_there` it is looked for first, as somebody else may put the same there, under the same id.
pub fn enqueue(
    part: &mut Shard<'_>,
    id: &str,
    job: &Arc<Job>,
    due: Option<i64>,
    may_be_there: bool,
) -> Decision<Option<(String, bool)>> {
    if may_be_there && is_there(part, id, job) {
        return Decision::Stands(Some((id.to_owned(), false)));
    }
    if let Some(unique) = &job.unique {
        let key = unique_key(unique);
        if let Some(Row::At(other)) = part.row(&key) {
            return Decision::Stands(Some((other.clone(), false)));
        }
        part.set(key, Row::At(id.to_owned()));
    }
    let waiting: u64 = part.head.lanes.values().map(|lane| lane.waiting).sum();
    if waiting + part.head.delayed.count >= MAX_WAITING {
        return Decision::Stands(None);
    }
    match due {
        Some(due) => put_delayed(part, id, Arc::clone(job), due),
        None => put_waiting(part, id, Arc::clone(job), job.enqueued),
    }
    Decision::Write(Some((id.to_owned(), true)))
}

/// Whether there is the same job in any state, or was.
fn is_there(part: &mut Shard<'_>, id: &str, job: &Job) -> bool {
    if part.head.running.contains_key(id) {
        return true;
    }
    let (own, shared) = (waiting_key(&own_lane(job), id), waiting_key(&shared_lane(job), id));
    // Marks of the hour before are there at least, and another node's clock may be in the next one.
    let hour = done_period(job.enqueued);
    let done = [hour - 1, hour, hour + 1].map(|hour| done_key(hour, id));
    let keys = done.into_iter().chain([place_key(id), own, shared]);
    // Each is looked at, so that all are read at once.
    keys.filter(|key| part.row(key).is_some()).count() > 0
}
