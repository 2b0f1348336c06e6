//! The metrics of a queue and of its kinds of jobs. They are there at 0 from the start.

use std::time::Duration;

use mundotango_ops::{Histogram, IntCounter, metrics};

/// What may come of an attempt at a job.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Success,
    Failed,
    Dead,
    PutOff,
}

impl Outcome {
    /// The outcomes, each at the place of its number.
    const ALL: [Self; 4] = [Self::Success, Self::Failed, Self::Dead, Self::PutOff];

    /// The `status` label.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::PutOff => "put_off",
        }
    }
}

/// The metrics of a queue.
pub(super) struct QueueMeters {
    pub(super) start_delay: Histogram,
    pub(super) rescued: IntCounter,
    pub(super) attempts_lost: IntCounter,
}

impl QueueMeters {
    pub(super) fn of(queue: &str) -> Self {
        let (metrics, labels) = (metrics(), &[queue]);
        Self {
            start_delay: metrics.job_start_delay_seconds.with_label_values(labels),
            rescued: metrics.jobs_rescued_total.with_label_values(labels),
            attempts_lost: metrics.job_attempts_lost_total.with_label_values(labels),
        }
    }
}

/// The attempts at jobs of a kind, by their outcomes: how many there were, and how long they took.
pub(super) struct KindMeters([(IntCounter, Histogram); Outcome::ALL.len()]);

impl KindMeters {
    pub(super) fn of(kind: &str) -> Self {
        Self(Outcome::ALL.map(|outcome| {
            let (metrics, labels) = (metrics(), &[kind, outcome.label()]);
            let attempts = metrics.background_jobs_total.with_label_values(labels);
            (attempts, metrics.background_job_duration_seconds.with_label_values(labels))
        }))
    }

    /// Counts an attempt.
    pub(super) fn count(&self, outcome: Outcome, took: Duration) {
        let (attempts, seconds) = &self.0[outcome as usize];
        attempts.inc();
        seconds.observe(took.as_secs_f64());
    }
}
