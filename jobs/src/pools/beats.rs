//! Saying that this node lives, and learning what it has.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use mundotango_actors::Vitals;
use mundotango_storage::StoreError;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::pool::Pool;
use crate::kind::SHARDS;
use crate::rules::{End, Settled};

/// How often a node says that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// How long a beat may take.
const BEAT_TIMEOUT: Duration = Duration::from_millis(900);
/// A node whose beats do not get through for so long stops its attempts, before another begins them.
const UNHEARD: Duration = Duration::from_millis(2_500);

/// Jobs that the shards say this node has and that nobody here works on.
type Strangers = HashSet<(u64, String, u64)>;

/// Beats until the node ends.
pub(super) async fn run(pool: &Arc<Pool>, vitals: &Vitals) {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    let mut strangers = Strangers::new();
    loop {
        let began = Instant::now();
        let beating = async {
            beats.tick().await;
            timeout(BEAT_TIMEOUT, beat(pool, &mut strangers)).await
        };
        tokio::pin!(beating);
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut beating => break outcome,
                // The shards' keepers count from the last beat that they saw, which is no earlier.
                () = sleep_until(heard_at + UNHEARD), if *pool.is_heard.borrow() && !pool.is_alone => {
                    tracing::warn!(queue = pool.queue.name, "the node cannot say that it lives: its jobs are given back");
                    pool.is_heard.send_replace(false);
                }
            }
        };
        match outcome {
            Ok(Ok(())) => {
                heard_at = began;
                if !pool.is_heard.send_replace(true) {
                    pool.wake(u64::MAX);
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, queue = pool.queue.name, "beat not written"),
            Err(_) => tracing::debug!(queue = pool.queue.name, "beat not written in time"),
        }
        vitals.handled();
    }
}

/// Says that this node lives, where it has something.
async fn beat(pool: &Pool, strangers: &mut Strangers) -> Result<(), StoreError> {
    // Jobs that this node held before the beat, and that the store gives to somebody else after it, were lost.
    let before: Vec<_> =
        pool.held.lock().iter().map(|((shard, id), (lease, _))| (*shard, id.clone(), *lease)).collect();
    let shards = (0..SHARDS).filter(|shard| {
        before.iter().any(|(of, ..)| of == shard) || strangers.iter().any(|(of, ..)| of == shard)
    });
    let beaten = shards.map(async |shard| {
        let held = pool.jobs.beat(pool.queue.name, shard, &pool.holder).await?;
        Ok::<_, StoreError>((shard, held))
    });
    let mut unknown = Strangers::new();
    for (shard, held) in try_join_all(beaten).await? {
        for one in &held {
            let own = pool.held.lock().get(&(shard, one.id.clone())).cloned();
            match own.filter(|(lease, _)| *lease == one.lease) {
                Some((_, token)) if one.cancelled => token.cancel(),
                Some(_) => {}
                None => drop(unknown.insert((shard, one.id.clone(), one.lease))),
            }
        }
        let lost = before.iter().filter(|(of, id, lease)| {
            *of == shard && !held.iter().any(|one| one.id == *id && one.lease == *lease)
        });
        for (shard, id, lease) in lost {
            // A job whose attempt ended meanwhile is no longer held, or its token stops nothing.
            let own = pool.held.lock().get(&(*shard, id.clone())).cloned();
            if let Some((_, token)) = own.filter(|(known, _)| known == lease) {
                token.cancel();
            }
        }
    }
    // Those of a claim of which nobody knew that it was carried out. What is new may be on its way here.
    for (shard, id, lease) in strangers.intersection(&unknown) {
        tracing::warn!(queue = pool.queue.name, id, "a job that nobody works on is given back");
        let job_id = format!("{}.{shard}.{id}", pool.queue.name);
        let shown = match job_id.parse() {
            Ok(job_id) => pool.jobs.show(&job_id).await?,
            Err(()) => None,
        };
        let Some(shown) = shown else { continue };
        let settled = Settled { id: id.clone(), lease: *lease, job: shown.job, end: End::GivenBack };
        pool.jobs.settle(pool.queue.name, *shard, &pool.holder, vec![settled]).await?;
        pool.wake(1 << shard);
    }
    *strangers = unknown;
    Ok(())
}
