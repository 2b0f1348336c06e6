//! Saying that this node lives, and seeing which do not.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mundotango_actors::Vitals;
use mundotango_ops::{Seldom, metrics};
use mundotango_storage::{StoreError, now};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::pool::Pool;
use crate::jobs::QueueReport;
use crate::kind::SHARDS;
use crate::row::Head;
use crate::rules::Lost;

/// How often a node says that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// How long a beat may take.
const BEAT_TIMEOUT: Duration = Duration::from_millis(900);
/// A holder that was not heard for so long, three beats, loses its attempts.
const SILENT: Duration = Duration::from_secs(3);
/// A node whose beats do not get through for so long stops its attempts, before another begins them.
const UNHEARD: Duration = Duration::from_millis(2_500);

/// Beats, and looks after those who do not, until the node ends.
pub(super) async fn run(pool: &Arc<Pool>, vitals: &Vitals) {
    if pool.is_alone {
        take_up(pool).await;
    }
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    let mut watches: HashMap<u64, Watch> = HashMap::new();
    loop {
        beats.tick().await;
        match timeout(BEAT_TIMEOUT, beat(pool)).await {
            Ok(Ok(())) => heard_at = Instant::now(),
            Ok(Err(error)) => tracing::debug!(%error, queue = pool.queue.name, "beat not written"),
            Err(_) => {}
        }
        let is_heard = heard_at.elapsed() < UNHEARD;
        if pool.is_heard.send_replace(is_heard) && !is_heard {
            tracing::warn!(
                queue = pool.queue.name,
                "the node cannot say that it lives: its jobs are given back"
            );
        }
        let mut report = QueueReport::default();
        for shard in 0..SHARDS {
            if !pool.keeps(shard) {
                watches.remove(&shard);
                continue;
            }
            let looked = look_after(pool, shard, watches.entry(shard).or_default(), &mut report);
            if let Ok(Err(error)) = timeout(BEAT, looked).await {
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
                    break;
                }
            }
        }
        pool.wake(1 << shard);
    }
}

fn note_rescued(pool: &Pool, rescued: usize) {
    metrics().jobs_rescued_total.with_label_values(&[pool.queue.name]).inc_by(rescued as u64);
    tracing::info!(queue = pool.queue.name, rescued, "jobs taken from workers that were lost");
}

/// Says that this node lives, where it works on something.
async fn beat(pool: &Pool) -> Result<(), StoreError> {
    for shard in 0..SHARDS {
        if pool.taken_of(shard).is_none_or(|taken| taken.load(Ordering::Relaxed) == 0) {
            continue;
        }
        for id in pool.jobs.beat(pool.queue.name, shard, &pool.holder).await? {
            if let Some(token) = pool.under_way.lock().get(&(shard, id)) {
                token.cancel();
            }
        }
    }
    Ok(())
}

/// What was seen of the holders of a shard.
#[derive(Default)]
struct Watch {
    /// Their beats, and since when there were no others.
    seen: HashMap<String, (u64, Instant)>,
}

impl Watch {
    /// Those that have been silent for too long.
    fn silent(&mut self, head: &Head, own: &str) -> Vec<(String, u64)> {
        let now = Instant::now();
        self.seen.retain(|holder, _| head.holders.contains_key(holder));
        let others = head.holders.iter().filter(|(holder, _)| *holder != own);
        let silent = others.filter_map(|(holder, beats)| {
            let seen = self.seen.entry(holder.clone()).or_insert((*beats, now));
            if seen.0 != *beats {
                *seen = (*beats, now);
            }
            (now.duration_since(seen.1) >= SILENT).then(|| (holder.clone(), *beats))
        });
        silent.collect()
    }
}

/// Takes jobs of a shard from those who are lost, or do not end.
async fn look_after(
    pool: &Arc<Pool>,
    shard: u64,
    watch: &mut Watch,
    report: &mut QueueReport,
) -> Result<(), StoreError> {
    let head = pool.jobs.head(pool.queue.name, shard).await?;
    report.add(&head);
    if shard == 0 {
        pool.set_ordered(head.concurrency);
    }
    let silent = watch.silent(&head, &pool.holder);
    let now = now().as_millisecond();
    if silent.is_empty() && !head.running.values().any(|one| now > one.until) {
        return Ok(());
    }
    let rescued = pool.jobs.rescue(pool.queue.name, shard, Lost::Silent(silent)).await?;
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
