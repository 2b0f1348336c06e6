//! Writing down what came of attempts, many in one change.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mundotango_actors::Vitals;
use mundotango_ops::{Seldom, metrics};
use tokio::time::sleep;

use super::pool::Pool;

/// Most outcomes that are written in one change.
const MOST_AT_ONCE: usize = 256;
/// The first pause before writing again what could not be written; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause before writing again.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Writes down the outcomes of one shard until the node ends.
pub(super) async fn run(pool: &Arc<Pool>, shard: u64, vitals: &Vitals) {
    let index = usize::try_from(shard).unwrap_or_default();
    let (Some(receiver), Some(taken)) = (pool.to_settle.get(index), pool.taken_of(shard)) else { return };
    let mut receiver = receiver.lock().await;
    loop {
        let mut settled = Vec::new();
        if receiver.recv_many(&mut settled, MOST_AT_ONCE).await == 0 {
            return;
        }
        let count = settled.len();
        let mut pause = FIRST_PAUSE;
        // What is written twice does no harm: an attempt that was settled is no longer the holder's.
        let settlement = loop {
            match pool.jobs.settle(pool.queue.name, shard, &pool.holder, settled.clone()).await {
                Ok(settlement) => break settlement,
                Err(error) => {
                    static LINES: Seldom = Seldom::once_a_minute();
                    if let Some(left_out) = LINES.may_write() {
                        tracing::warn!(%error, queue = pool.queue.name, shard, left_out, "what came of jobs is not written");
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        };
        if settlement.lost > 0 {
            metrics()
                .job_attempts_lost_total
                .with_label_values(&[pool.queue.name])
                .inc_by(settlement.lost as u64);
        }
        taken.fetch_sub(count, Ordering::Relaxed);
        pool.woken.notify_one();
        vitals.handled_many(count as u64);
    }
}
