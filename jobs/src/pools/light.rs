//! Doing light jobs right after their cause, without their queue.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use mundotango_ops::traces::{Kind, Span};
use mundotango_storage::now;
use tokio::time::{Instant, timeout};

use super::Pools;
use super::meters::Outcome;
use super::pool::Pool;
use crate::jobs::{Light, caused_at};
use crate::new_job::NewJob;
use crate::work::Attempted;

/// How long a light job may take: what its cause is followed by waits for it. What takes longer is done by the queue's workers.
const WITHIN: Duration = Duration::from_millis(500);

#[async_trait]
impl Light for Pools {
    async fn do_now(&self, id: &str, new: &NewJob) -> bool {
        let pool = self.all.iter().find(|pool| pool.queue.name == new.queue);
        match pool {
            Some(pool) => pool.do_now(id, new).await,
            None => false,
        }
    }
}

impl Pool {
    async fn do_now(&self, id: &str, new: &NewJob) -> bool {
        let job = &new.job;
        let Some((kind, meters)) = self.kinds.get(job.kind.as_str()) else { return false };
        let spec = kind.spec();
        let is_plain = new.due.is_none() && job.unique.is_none() && job.version <= spec.version;
        let is_open = self.is_open.load(Ordering::Relaxed) && !self.stopping.is_cancelled();
        if !(spec.is_light && is_plain && is_open) {
            return false;
        }
        let begin = Instant::now();
        let enqueued = caused_at(id).unwrap_or_else(|| now().as_millisecond());
        let attempted = Attempted { id: id.to_owned(), attempt: 0, enqueued, is_last: false };
        let mut span = Span::child("job", Kind::Consumer);
        if let Some(span) = span.recorded() {
            span.name(format!("job {}", spec.name))
                .set("job.queue", self.queue.name)
                .set("job.kind", spec.name);
            span.set("job.id", id).set("job.attempt", 0u32);
        }
        let running = span.run(kind.run(&attempted, &job.payload));
        // One that panics is left to the queue, which counts how often it does.
        let outcome = AssertUnwindSafe(timeout(WITHIN, running)).catch_unwind().await;
        let is_done = matches!(outcome, Ok(Ok(Ok(()))));
        if is_done {
            meters.count(Outcome::Success, begin.elapsed());
        }
        is_done
    }
}
