//! Forgetting jobs that were done, when nothing causes them again any more.

use mundotango_storage::db::Decision;

use super::places::{Shard, behind_key};
use crate::row::{done_before, done_period};

/// Most that are forgotten in one change.
const FORGOTTEN_AT_ONCE: usize = 200;

/// Forgets jobs that were done before the hour of a time, in milliseconds of the Unix epoch; how many.
pub fn forget(part: &mut Shard<'_>, before: i64) -> Decision<usize> {
    let (done, end) = (part.head.done.clone(), done_before(done_period(before)));
    if done.count == 0 || done.low >= end {
        return Decision::Stands(0);
    }
    let rows = part.between(&done.low, &end, FORGOTTEN_AT_ONCE);
    let keys: Vec<_> = rows.into_iter().map(|(key, _)| key).collect();
    let line = &mut part.head.done;
    line.count = line.count.saturating_sub(keys.len() as u64);
    // Where fewer were found than are forgotten at once, there is none before the time.
    line.low = keys.last().filter(|_| keys.len() == FORGOTTEN_AT_ONCE).map_or(end, |last| behind_key(last));
    let forgotten = keys.len();
    for key in keys {
        part.remove(key);
    }
    Decision::Write(forgotten)
}
