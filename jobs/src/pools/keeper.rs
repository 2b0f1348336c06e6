//! Looking after the shards that this node keeps: whose holders are silent, what does not end, and what there is to show.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::SignedDuration;
use mundotango_actors::Vitals;
use mundotango_ops::{Seldom, metrics};
use mundotango_storage::{StoreError, now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::pool::Pool;
use crate::jobs::{QueueReport, is_open};
use crate::kind::SHARDS;
use crate::row::Head;
use crate::rules::Lost;

/// How often the shards are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// A holder that was not heard for so long, three beats, loses its attempts.
const SILENT: Duration = Duration::from_secs(3);
/// How much longer than it may an attempt takes before it is taken from its holder: its own timer comes first.
const GRACE: Duration = Duration::from_secs(10);
/// How long it is remembered that the job of an effect was done. The effect may be carried out again where its node died.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);
/// How long a node runs before it forgets: what was left behind while none ran is carried out first.
const FORGETS_AFTER: Duration = Duration::from_mins(2);
/// The pause before what the node before left is looked at again, where that failed.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Looks after shards until the node ends.
pub(super) async fn run(pool: &Arc<Pool>, vitals: &Vitals) {
    if pool.is_alone {
        take_up(pool).await;
    }
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watches: HashMap<u64, Watch> = HashMap::new();
    loop {
        looks.tick().await;
        let mut report = QueueReport::default();
        for shard in 0..SHARDS {
            let looked = timeout(LOOK_TIMEOUT, look_after(pool, shard, &mut watches, &mut report));
            if let Ok(Err(error)) = looked.await {
                static LINES: Seldom = Seldom::once_a_minute();
                if let Some(left_out) = LINES.may_write() {
                    tracing::warn!(%error, queue = pool.queue.name, shard, left_out, "jobs not looked after");
                }
            }
        }
        show(pool.queue.name, &report);
        vitals.handled();
    }
}

/// Takes up what was under way when the node before this one ended.
async fn take_up(pool: &Pool) {
    for shard in 0..SHARDS {
        loop {
            match pool.jobs.rescue(pool.queue.name, shard, Lost::AllBut(pool.holder.clone())).await {
                Ok(0) => break,
                Ok(rescued) => note_rescued(pool, rescued),
                Err(error) => {
                    tracing::warn!(%error, queue = pool.queue.name, shard, "jobs of the node before not taken up yet");
                    sleep(TRY_AGAIN).await;
                }
            }
        }
        pool.wake(1 << shard);
    }
}

fn note_rescued(pool: &Pool, rescued: usize) {
    pool.meters.rescued.inc_by(rescued as u64);
    tracing::info!(queue = pool.queue.name, rescued, "jobs taken from workers that were lost");
}

/// What was seen of a shard, and since when by this node's own clock: the clocks of others may be wrong.
#[derive(Default)]
struct Watch {
    /// The beats of holders.
    beats: HashMap<String, (u64, Instant)>,
    /// The leases of jobs.
    leases: HashMap<String, (u64, Instant)>,
}

impl Watch {
    /// Those that have been silent for too long, and what should have ended.
    fn lost(&mut self, head: &Head, own: &str) -> Lost {
        let now = Instant::now();
        let since = |seen: &mut HashMap<String, (u64, Instant)>, name: &String, number: u64| {
            let seen = seen.entry(name.clone()).or_insert((number, now));
            if seen.0 != number {
                *seen = (number, now);
            }
            now.duration_since(seen.1)
        };
        self.beats.retain(|holder, _| head.holders.contains_key(holder));
        self.leases.retain(|id, _| head.running.contains_key(id));
        let mut holders = Vec::new();
        for (holder, beats) in head.holders.iter().filter(|(holder, _)| *holder != own) {
            if since(&mut self.beats, holder, *beats) >= SILENT {
                holders.push((holder.clone(), *beats));
            }
        }
        let mut late = Vec::new();
        for (id, one) in head.running.iter() {
            let may =
                Duration::from_millis(u64::try_from(one.until.saturating_sub(one.since)).unwrap_or_default());
            if since(&mut self.leases, id, one.lease) > may + GRACE {
                late.push((id.clone(), one.lease));
            }
        }
        Lost::Silent { holders, late }
    }
}

/// Takes jobs of a shard from those who are lost, or do not end.
async fn look_after(
    pool: &Arc<Pool>,
    shard: u64,
    watches: &mut HashMap<u64, Watch>,
    report: &mut QueueReport,
) -> Result<(), StoreError> {
    let head = pool.jobs.head(pool.queue.name, shard).await?;
    if shard == 0 {
        // What an operator says of a queue is in all of its shards.
        pool.set_ordered(head.concurrency);
        // Claims tell it as well, but none is made while all workers are busy, or of shards that others keep.
        pool.is_open.store(is_open(&head), Ordering::Relaxed);
    }
    // Shards of others are watched as well: where their keeper dies, it is known already who is silent.
    let lost = watches.entry(shard).or_default().lost(&head, &pool.holder);
    if !pool.keeps(shard) {
        return Ok(());
    }
    report.add(&head);
    if pool.began.elapsed() > FORGETS_AFTER {
        pool.jobs.forget(pool.queue.name, shard, now() - REMEMBERED).await?;
    }
    if matches!(&lost, Lost::Silent { holders, late } if holders.is_empty() && late.is_empty()) {
        return Ok(());
    }
    let rescued = pool.jobs.rescue(pool.queue.name, shard, lost).await?;
    if rescued > 0 {
        note_rescued(pool, rescued);
        pool.wake(1 << shard);
    }
    Ok(())
}

fn show(queue: &str, report: &QueueReport) {
    let gauge = |state, count: u64| {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        metrics().jobs_in_queue.with_label_values(&[queue, state]).set(count);
    };
    gauge("waiting", report.waiting);
    gauge("delayed", report.delayed);
    gauge("running", report.running);
    gauge("dead", report.dead);
    let age = report.oldest.map_or(0, |since| now().as_millisecond().saturating_sub(since) / 1000);
    metrics().job_oldest_running_seconds.with_label_values(&[queue]).set(age);
}
