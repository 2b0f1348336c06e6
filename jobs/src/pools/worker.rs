//! Doing jobs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use mundotango_actors::Vitals;
use mundotango_ops::traces::{Kind, Span};
use mundotango_storage::now;
use tokio::time::timeout;

use super::meters::Outcome;
use super::pool::{Given, Pool};
use crate::rules::End;
use crate::work::{Attempted, Failure};

/// How long a job may wait for its worker after it was taken from the store. What waits longer is given back, as its time
/// runs already.
const MAX_WAIT: Duration = Duration::from_secs(2);

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
        let end = attempt(pool, &given).await;
        given.end(end);
        vitals.handled();
    }
}

/// The time after a pause from now, in milliseconds of the Unix epoch.
fn due_after(pause: Duration) -> i64 {
    now().as_millisecond().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}

/// Makes an attempt; what came of it.
async fn attempt(pool: &Pool, given: &Given) -> End {
    let (id, attempt, job) = (given.claimed.id.as_str(), given.claimed.attempt, &given.claimed.job);
    let Some((kind, meters)) = pool.kinds.get(job.kind.as_str()) else { return End::GivenBack };
    let spec = kind.spec();
    let is_cut = || pool.is_over.load(Ordering::Relaxed) || !*pool.is_heard.borrow();
    if pool.stopping.is_cancelled() || is_cut() || given.at.elapsed() > MAX_WAIT {
        return End::GivenBack;
    }
    let begin = tokio::time::Instant::now();
    if attempt == 1 {
        let waited = now().as_millisecond().saturating_sub(job.ready.unwrap_or(job.enqueued));
        let waited = Duration::from_millis(u64::try_from(waited).unwrap_or_default());
        pool.meters.start_delay.observe(waited.as_secs_f64());
    }
    let token = pool.token_of(given.shard, id);
    let attempted = Attempted {
        id: id.to_owned(),
        attempt,
        enqueued: job.enqueued,
        is_last: attempt >= job.max_attempts,
    };
    // A job may be done days later and more than once: each attempt is a trace of its own, recorded if its cause is.
    let cause = job.trace.as_deref().and_then(|trace| trace.parse().ok());
    let mut span = Span::linked_to(cause, "job", Kind::Consumer);
    if let Some(span) = span.recorded() {
        span.name(format!("job {}", spec.name)).set("job.queue", pool.queue.name).set("job.kind", spec.name);
        span.set("job.id", id).set("job.attempt", attempt);
    }
    let running = span.run(kind.run(&attempted, &job.payload));
    // What an attempt drops when it is cut off may panic as well as the attempt.
    let running = AssertUnwindSafe(timeout(spec.timeout, running)).catch_unwind();
    let mut heard = pool.is_heard.subscribe();
    let outcome = tokio::select! {
        biased;
        outcome = running => outcome,
        // An operator stopped it, or somebody else has it: then what is said of it does not count.
        () = token.cancelled() => return if is_cut() { End::GivenBack } else { End::Cancelled },
        // Whoever keeps the shard may give the job to another.
        _ = heard.wait_for(|heard| !heard) => return End::GivenBack,
    };
    let outcome = match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Failure::retry(format!("it took longer than {:?}", spec.timeout))),
        Err(_) => Err(Failure::retry("it panicked")),
    };
    let (outcome, end) = match outcome {
        Ok(()) => (Outcome::Success, End::Done),
        Err(Failure::Hopeless(why)) => (Outcome::Dead, End::Hopeless(why)),
        Err(Failure::Retry { why, after }) => {
            let pause = spec.backoff.pause(attempt, rand::random()).max(after.unwrap_or_default());
            let outcome = if attempted.is_last { Outcome::Dead } else { Outcome::Failed };
            (outcome, End::Failed { due: due_after(pause), why })
        }
        Err(Failure::Later { why, after }) => {
            // Jobs that wait for the same destination do not all come back in the same moment.
            let after = after + after.mul_f64(rand::random::<f64>() / 4.0);
            (Outcome::PutOff, End::PutOff { due: due_after(after), why })
        }
    };
    if let End::Failed { why, .. } | End::Hopeless(why) = &end {
        let status = outcome.label();
        tracing::warn!(queue = pool.queue.name, kind = spec.name, id, attempt, why, status, "a job failed");
    }
    meters.count(outcome, begin.elapsed());
    end
}
