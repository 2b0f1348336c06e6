//! Giving out the jobs of a queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use mundotango_actors::Vitals;
use mundotango_ops::Seldom;
use mundotango_storage::{StoreError, now};
use tokio::time::{Instant, sleep};

use super::pool::{MAX_TAKEN, Pool};
use crate::jobs::Hint;
use crate::kind::{SHARD_COUNT, SHARDS};
use crate::rules::{Claim, Given};

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
    let mut shards = Shards::new(pool);
    let mut claims = FuturesUnordered::new();
    let mut look_at = Instant::now();
    while !pool.stopping.is_cancelled() {
        if Instant::now() >= look_at {
            shards.dirty = u64::MAX;
            look_at = Instant::now() + LOOK;
        }
        shards.dirty |= pool.take_dirty();
        let begun = shards.next_claims();
        let is_full = begun.is_full;
        claims.extend(begun.claims.into_iter().map(|claim| claim.make(pool)));
        let pause = look_at.saturating_duration_since(Instant::now());
        // What is due and finds no worker free waits for one.
        let pause = if is_full { pause } else { shards.until_due().map_or(pause, |due| due.min(pause)) };
        tokio::select! {
            Some(claimed) = claims.next() => {
                shards.take(claimed);
                vitals.handled();
            }
            // Shards have something to do, or workers are free again.
            () = pool.woken.notified() => {}
            () = pool.stopping.cancelled() => {}
            () = sleep(pause) => {}
        }
        tokio::task::consume_budget().await;
    }
    // The store gives what was asked for, whether somebody still waits for it or not.
    while let Some(claimed) = claims.next().await {
        shards.take(claimed);
    }
}

/// Jobs that are asked for of one shard.
struct Asked {
    shard: u64,
    most: usize,
    hint: Hint,
}

/// What came of that.
struct Answered {
    shard: u64,
    most: usize,
    outcome: Result<(Given, Hint), StoreError>,
    /// What was known before.
    hint: Hint,
}

impl Asked {
    /// Takes jobs of the shard from the store.
    async fn make(self, pool: &Pool) -> Answered {
        let Self { shard, most, hint } = self;
        let claim = Claim {
            holder: pool.holder.clone(),
            most,
            now: now().as_millisecond(),
            known: Arc::clone(&pool.known),
        };
        let outcome = pool.jobs.claim(pool.queue.name, shard, claim, &hint).await;
        Answered { shard, most, outcome, hint }
    }
}

/// What is to be asked for now, and whether more waits than there are workers for.
struct Begun {
    claims: Vec<Asked>,
    is_full: bool,
}

/// The shards of a queue, of each of which one claim at a time is under way: those of several share a commit.
struct Shards<'a> {
    pool: &'a Arc<Pool>,
    /// Where each shard's next jobs are; `None` while a claim is under way, which will say so.
    hints: Vec<Option<Hint>>,
    /// Those that have something to do.
    dirty: u64,
    /// Jobs that claims under way may give.
    asked: usize,
    /// The first look of each round is at another shard, so that none is always the last.
    first: u64,
    pace: Pace,
}

impl<'a> Shards<'a> {
    fn new(pool: &'a Arc<Pool>) -> Self {
        Self {
            pool,
            hints: (0..SHARDS).map(|_| Some(Hint::default())).collect(),
            dirty: 0,
            asked: 0,
            first: 0,
            pace: Pace {
                since: Instant::now(),
                finished: pool.finished.load(Ordering::Relaxed),
                ahead: 0,
                part: 0,
            },
        }
    }

    fn hint(&mut self, shard: u64) -> Option<&mut Option<Hint>> {
        usize::try_from(shard).ok().and_then(|shard| self.hints.get_mut(shard))
    }

    /// What is asked for now: free workers are shared out among the shards that have something to do.
    fn next_claims(&mut self) -> Begun {
        let mut wanted = Vec::new();
        for turn in 0..SHARDS {
            let shard = (self.first + turn) % SHARDS;
            let is_dirty = self.dirty & (1 << shard) != 0;
            let Some(Some(hint)) = self.hint(shard) else { continue };
            if is_dirty || hint.due.is_some_and(|due| due <= now().as_millisecond()) {
                if self.pool.keeps(shard) {
                    wanted.push(shard);
                } else {
                    self.forget(shard);
                }
            }
        }
        self.first += 1;
        let is_heard = *self.pool.is_heard.borrow();
        let mut free = if is_heard { self.pace.free(self.pool, self.asked) } else { 0 };
        let (mut claims, mut left) = (Vec::new(), wanted.len());
        for shard in wanted {
            let most = free.div_ceil(left).max(self.pace.part).min(free).min(MOST_AT_ONCE);
            left -= 1;
            if most == 0 {
                // It is looked at again when a worker is free.
                self.dirty |= 1 << shard;
                continue;
            }
            let Some(hint) = self.hint(shard).and_then(Option::take) else { continue };
            free -= most;
            self.asked += most;
            self.dirty &= !(1 << shard);
            claims.push(Asked { shard, most, hint });
        }
        Begun { is_full: free == 0, claims }
    }

    /// Another node gives out the jobs of a shard.
    fn forget(&mut self, shard: u64) {
        self.dirty &= !(1 << shard);
        if let Some(hint) = self.hint(shard) {
            *hint = Some(Hint::default());
        }
    }

    /// Gives the jobs of a claim to workers.
    fn take(&mut self, answered: Answered) {
        let Answered { shard, most, outcome, hint } = answered;
        self.asked = self.asked.saturating_sub(most);
        let next = match outcome {
            Ok((given, next)) => {
                for claimed in given.claimed {
                    self.pool.give(shard, claimed);
                }
                self.pool.is_open.store(next.is_open, Ordering::Relaxed);
                if given.is_progress && next.waiting {
                    self.dirty |= 1 << shard;
                }
                next
            }
            Err(error) => {
                static LINES: Seldom = Seldom::once_a_minute();
                if let Some(left_out) = LINES.may_write() {
                    tracing::warn!(%error, queue = self.pool.queue.name, shard, left_out, "jobs not taken");
                }
                hint.without_places()
            }
        };
        if let Some(hint) = self.hint(shard) {
            *hint = Some(next);
        }
    }

    /// How long it is until the next delayed job is due; not of shards of which a claim is under way.
    fn until_due(&self) -> Option<Duration> {
        let due = self.hints.iter().flatten().filter_map(|hint| hint.due).min()?;
        let millis = u64::try_from(due.saturating_sub(now().as_millisecond())).unwrap_or(0);
        Some(Duration::from_millis(millis.max(1)))
    }
}

/// How many jobs are done in a time, as far as it was seen.
struct Pace {
    since: Instant,
    finished: u64,
    ahead: usize,
    /// The equal part of a shard in all jobs that may be taken.
    part: usize,
}

impl Pace {
    /// How many jobs may be taken: as many as there are free workers, or what all of them do in a moment where that is more.
    fn free(&mut self, pool: &Pool, asked: usize) -> usize {
        let elapsed = self.since.elapsed();
        if elapsed >= AHEAD {
            let finished = pool.finished.load(Ordering::Relaxed);
            let done = u32::try_from(finished.saturating_sub(self.finished)).unwrap_or(u32::MAX);
            let ahead = AHEAD.saturating_mul(done).as_micros() / elapsed.as_micros().max(1);
            (self.since, self.finished) = (Instant::now(), finished);
            self.ahead = usize::try_from(ahead).unwrap_or(MAX_TAKEN);
        }
        let workers = *pool.size.borrow();
        let limit = self.ahead.clamp(workers, workers.saturating_mul(AHEAD_EACH)).min(MAX_TAKEN);
        let busy = pool.busy.load(Ordering::Relaxed) + asked;
        let free = limit.saturating_sub(busy).min(MAX_TAKEN.saturating_sub(pool.taken() + asked));
        self.part = limit.div_ceil(SHARD_COUNT);
        // A claim of one job costs nearly as much as one of many: no few are taken while all workers have the next one.
        if busy >= workers.saturating_mul(2) && free < self.part { 0 } else { free }
    }
}
