//! Doing jobs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use mundotango_actors::Vitals;
use mundotango_ops::{metrics, trace};
use mundotango_storage::now;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::pool::{Given, Pool};
use crate::rules::{End, Settled};
use crate::work::{Attempted, Failure};

/// What may come of a job, as `status` labels.
const STATUSES: [&str; 3] = ["success", "failed", "dead"];

/// Makes the counters of a kind, so that none appears only when it counts.
pub(super) fn touch_metrics(kind: &str) {
    for status in STATUSES {
        metrics().background_jobs_total.with_label_values(&[kind, status]);
        metrics().background_job_duration_seconds.with_label_values(&[kind, status]);
    }
}

/// Does jobs until the node ends. The worker rests while fewer are wanted than its number.
pub(super) async fn run(pool: &Arc<Pool>, number: usize, vitals: &Vitals) {
    let mut size = pool.size.subscribe();
    loop {
        if size.wait_for(|size| number < *size).await.is_err() {
            return;
        }
        let given = tokio::select! {
            given = async { pool.next.lock().await.recv().await } => given,
            changed = size.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Some(given) = given else { return };
        let (shard, settled) = attempt(pool, given).await;
        pool.settle(shard, settled).await;
        vitals.handled();
    }
}

/// Makes an attempt; what came of it.
async fn attempt(pool: &Pool, given: Given) -> (u64, Settled) {
    let Given { shard, claimed, at } = given;
    let (id, attempt, job) = (claimed.id, claimed.attempt, claimed.job);
    let settled = |end| (shard, Settled { id: id.clone(), attempt, job: Arc::clone(&job), end });
    let Some(kind) = pool.kinds.get(job.kind.as_str()) else { return settled(End::GivenBack) };
    let spec = kind.spec();
    if pool.gone.load(Ordering::Relaxed) || !*pool.is_heard.borrow() {
        return settled(End::GivenBack);
    }
    let waited = now().as_millisecond().saturating_sub(job.enqueued);
    if attempt == 1 {
        #[expect(clippy::cast_precision_loss, reason = "a metric")]
        metrics()
            .job_start_delay_seconds
            .with_label_values(&[pool.queue.name])
            .observe(waited as f64 / 1000.0);
    }
    let token = CancellationToken::new();
    pool.under_way.lock().insert((shard, id.clone()), token.clone());
    let attempted =
        Attempted { id: id.clone(), attempt, enqueued: job.enqueued, is_last: attempt >= job.max_attempts };
    let running = trace::within(job.trace.as_deref(), kind.run(&attempted, &job.payload));
    let running = timeout(spec.timeout, AssertUnwindSafe(running).catch_unwind());
    let mut heard = pool.is_heard.subscribe();
    let outcome = tokio::select! {
        outcome = running => Ok(outcome),
        () = token.cancelled() => Err(if pool.gone.load(Ordering::Relaxed) { End::GivenBack } else { End::Cancelled }),
        // Whoever keeps the shard may have given the job to another.
        _ = heard.wait_for(|heard| !heard) => Err(End::GivenBack),
    };
    pool.under_way.lock().remove(&(shard, id.clone()));
    let outcome = match outcome {
        Err(end) => return settled(end),
        Ok(Ok(Ok(outcome))) => outcome,
        Ok(Ok(Err(_))) => Err(Failure::retry("it panicked")),
        Ok(Err(_)) => Err(Failure::retry(format!("it took longer than {:?}", spec.timeout))),
    };
    let (status, end) = match outcome {
        Ok(()) => ("success", End::Done),
        Err(Failure::Hopeless(why)) => ("dead", End::Hopeless(why)),
        Err(Failure::Retry { why, after }) => {
            let pause = spec.backoff.pause(attempt, rand::random()).max(after.unwrap_or_default());
            let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
            let due = now().as_millisecond().saturating_add(pause);
            (if attempted.is_last { "dead" } else { "failed" }, End::Failed { due, why })
        }
    };
    if let End::Failed { why, .. } | End::Hopeless(why) = &end {
        tracing::warn!(queue = pool.queue.name, kind = spec.name, id, attempt, why, status, "a job failed");
    }
    let labels = [spec.name, status];
    metrics().background_jobs_total.with_label_values(&labels).inc();
    let took = Instant::now().duration_since(at);
    metrics().background_job_duration_seconds.with_label_values(&labels).observe(took.as_secs_f64());
    settled(end)
}
