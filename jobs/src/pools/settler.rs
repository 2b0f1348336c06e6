//! Writing down what came of attempts, many in one change.

use std::sync::Arc;
use std::time::Duration;

use mundotango_actors::Vitals;
use mundotango_ops::Seldom;
use tokio::time::sleep;

use super::pool::Pool;
use crate::rules::{End, Settled};

/// Most outcomes that are written in one change.
const MOST_AT_ONCE: usize = 256;
/// The size of payloads, in bytes, that are written again in one change: servers refuse writes that are too large.
const MOST_BYTES: usize = 128 * 1024;
/// The first pause before writing again what could not be written; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause before writing again.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Writes down the outcomes of one shard until the node ends.
pub(super) async fn run(pool: &Arc<Pool>, shard: u64, vitals: &Vitals) {
    let index = usize::try_from(shard).unwrap_or_default();
    let Some(receiver) = pool.to_settle.get(index) else { return };
    let mut receiver = receiver.lock().await;
    loop {
        let mut settled = Vec::new();
        if receiver.recv_many(&mut settled, MOST_AT_ONCE).await == 0 {
            return;
        }
        while !settled.is_empty() {
            let rest = settled.split_off(fitting(&settled));
            vitals.handled_many(settled.len() as u64);
            Batch { pool, shard, settled }.write().await;
            settled = rest;
        }
    }
}

/// How many outcomes fit into one change; one at least.
fn fitting(settled: &[Settled]) -> usize {
    let mut bytes = 0;
    let fits = settled.iter().take_while(|one| {
        if one.end != End::Done {
            bytes += one.job.payload.get().len();
        }
        bytes <= MOST_BYTES
    });
    fits.count().max(1)
}

/// Outcomes that are written down together. When it goes, however it does, the pool no longer has the jobs.
struct Batch<'a> {
    pool: &'a Pool,
    shard: u64,
    settled: Vec<Settled>,
}

impl Batch<'_> {
    async fn write(self) {
        let (pool, shard) = (self.pool, self.shard);
        let mut pause = FIRST_PAUSE;
        // What is written twice does no harm: a lease that has ended is nobody's.
        let settlement = loop {
            match pool.jobs.settle(pool.queue.name, shard, &pool.holder, self.settled.clone()).await {
                Ok(settlement) => break settlement,
                Err(error) => {
                    static LINES: Seldom = Seldom::once_a_minute();
                    if let Some(left_out) = LINES.may_write() {
                        let queue = pool.queue.name;
                        tracing::warn!(%error, queue, shard, left_out, "what came of jobs is not written");
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        };
        if settlement.lost > 0 {
            pool.meters.attempts_lost.inc_by(settlement.lost as u64);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut held = self.pool.held.lock();
        for one in &self.settled {
            let key = (self.shard, one.id.clone());
            // The same job may have been given to this node anew.
            if held.get(&key).is_some_and(|(lease, _)| *lease == one.lease) {
                held.remove(&key);
            }
        }
        drop(held);
        self.pool.woken.notify_one();
    }
}
