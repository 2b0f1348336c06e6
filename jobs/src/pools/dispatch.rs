//! Giving out the jobs of a queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mundotango_actors::Vitals;
use mundotango_ops::Seldom;
use mundotango_storage::{StoreError, now};
use tokio::time::{Instant, sleep};

use super::pool::{MAX_TAKEN, Pool};
use crate::jobs::Hint;
use crate::kind::SHARDS;
use crate::rules::Claim;

/// How often all shards are looked at, whether somebody said that they have something to do or not.
const LOOK: Duration = Duration::from_secs(1);
/// Most jobs that are taken in one change.
const MOST_AT_ONCE: usize = 256;
/// Jobs are taken ahead for so long, where they are short enough: a worker that is done has the next one at once.
const AHEAD: Duration = Duration::from_millis(50);
/// Most jobs that are taken ahead, for each worker.
const AHEAD_EACH: usize = 16;

/// Gives out jobs until the node takes no more.
pub(super) async fn run(pool: &Arc<Pool>, vitals: &Vitals) {
    let mut hints: Vec<Hint> = (0..SHARDS).map(|_| Hint::default()).collect();
    let mut pace = Pace { since: Instant::now(), finished: pool.finished.load(Ordering::Relaxed), ahead: 0 };
    let mut look_at = Instant::now();
    // The first look of each round is at another shard, so that none is always the last.
    let mut first = 0;
    while !pool.stopping.is_cancelled() {
        let mut dirty = pool.take_dirty();
        if Instant::now() >= look_at {
            dirty = u64::MAX;
            look_at = Instant::now() + LOOK;
        }
        let (mut left, mut is_full) = (0, !*pool.is_heard.borrow());
        for turn in 0..SHARDS {
            let shard = (first + turn) % SHARDS;
            let Some(hint) = usize::try_from(shard).ok().and_then(|shard| hints.get_mut(shard)) else {
                continue;
            };
            let is_due = hint.due.is_some_and(|due| due <= now().as_millisecond());
            if dirty & (1 << shard) == 0 && !is_due {
                continue;
            }
            if !pool.keeps(shard) {
                *hint = Hint::default();
                continue;
            }
            let free = if is_full { 0 } else { pace.free(pool) };
            if free == 0 {
                is_full = true;
                left |= 1 << shard;
                continue;
            }
            match give_out(pool, shard, free, hint).await {
                Ok(true) => left |= 1 << shard,
                Ok(false) => {}
                Err(error) => {
                    static LINES: Seldom = Seldom::once_a_minute();
                    if let Some(left_out) = LINES.may_write() {
                        tracing::warn!(%error, queue = pool.queue.name, shard, left_out, "jobs not taken");
                    }
                    *hint = std::mem::take(hint).without_places();
                }
            }
        }
        first += 1;
        vitals.handled();
        pool.leave(left);
        if left != 0 && !is_full {
            tokio::task::consume_budget().await;
            continue;
        }
        // What is due and finds no worker free waits for one.
        let due = hints.iter().filter_map(|hint| hint.due).min().filter(|_| !is_full);
        let until_due = due.map(|due| u64::try_from(due.saturating_sub(now().as_millisecond())).unwrap_or(0));
        let until_due = until_due.map_or(LOOK, |millis| Duration::from_millis(millis.max(1)));
        let pause = look_at.saturating_duration_since(Instant::now()).min(until_due);
        tokio::select! {
            // Shards have something to do, or workers are free again.
            () = pool.woken.notified() => {}
            () = pool.stopping.cancelled() => {}
            () = sleep(pause) => {}
        }
    }
}

/// Takes jobs of a shard from the store and gives them to workers; whether there may be more at once.
async fn give_out(pool: &Arc<Pool>, shard: u64, most: usize, hint: &mut Hint) -> Result<bool, StoreError> {
    let claim = Claim {
        holder: pool.holder.clone(),
        most,
        now: now().as_millisecond(),
        known: Arc::clone(&pool.known),
    };
    let (given, next) = pool.jobs.claim(pool.queue.name, shard, claim, hint).await?;
    *hint = next;
    for claimed in given.claimed {
        pool.give(shard, claimed);
    }
    Ok(given.is_progress && hint.waiting)
}

/// How many jobs are done in a time, as far as it was seen.
struct Pace {
    since: Instant,
    finished: u64,
    ahead: usize,
}

impl Pace {
    /// How many jobs may be taken: as many as there are free workers, or what all of them do in a moment where that is more.
    fn free(&mut self, pool: &Pool) -> usize {
        let elapsed = self.since.elapsed();
        if elapsed >= AHEAD {
            let finished = pool.finished.load(Ordering::Relaxed);
            let done = u32::try_from(finished.saturating_sub(self.finished)).unwrap_or(u32::MAX);
            let ahead = AHEAD.saturating_mul(done).as_micros() / elapsed.as_micros().max(1);
            (self.since, self.finished) = (Instant::now(), finished);
            self.ahead = usize::try_from(ahead).unwrap_or(MAX_TAKEN);
        }
        let workers = *pool.size.borrow();
        let limit = self.ahead.clamp(workers, workers.saturating_mul(AHEAD_EACH));
        let free = limit.saturating_sub(pool.busy.load(Ordering::Relaxed));
        free.min(MAX_TAKEN.saturating_sub(pool.taken())).min(MOST_AT_ONCE)
    }
}
