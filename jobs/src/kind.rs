//! Declarations: queues, and the kinds of jobs that wait in them.

use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Shards of each queue. It is part of what is stored and never changes.
pub(crate) const SHARDS: u64 = SHARD_COUNT as u64;
/// The same as the length of an array.
pub(crate) const SHARD_COUNT: usize = 4;

/// A queue: jobs that share workers.
#[derive(Debug)]
pub struct Queue {
    /// Its name in the store, in metrics and for operators.
    pub name: &'static str,
    /// Attempts that a node makes at the same time, unless the configuration or an operator says otherwise.
    pub concurrency: usize,
}

impl Queue {
    /// Declares a queue.
    pub const fn new(name: &'static str, concurrency: usize) -> Self {
        Self { name, concurrency }
    }
}

/// How soon a job gets its turn. Each priority has a share of the turns, so that even the lowest goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// 16 turns for each of the lowest.
    High,
    /// 4 turns for each of the lowest.
    #[default]
    Normal,
    /// For work that may wait.
    Low,
}

impl Priority {
    /// What a turn costs a lane of this priority: the dearer, the fewer turns.
    pub(crate) fn cost(self) -> u64 {
        match self {
            Self::High => 1,
            Self::Normal => 4,
            Self::Low => 16,
        }
    }

    /// Its place in the names of lanes.
    pub(crate) fn digit(self) -> char {
        match self {
            Self::High => '0',
            Self::Normal => '1',
            Self::Low => '2',
        }
    }
}

/// How long a job that failed waits: twice as long after each attempt, and up to half of that more, so that those that
/// failed together do not come back together.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The pause after the first attempt.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Backoff {
    /// The pause after so many attempts, where `jitter` is between 0 and 1.
    pub fn pause(&self, attempts: u32, jitter: f64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(30);
        let pause = self.first.saturating_mul(1 << doublings).min(self.longest);
        pause + pause.mul_f64(jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// What a kind of job is, without the type of its payload.
#[derive(Debug)]
pub struct JobKindSpec {
    /// Its name in the store and in metrics.
    pub name: &'static str,
    /// Where its jobs wait.
    pub queue: &'static Queue,
    /// The version of the payload. A node leaves jobs of a newer version to nodes that know it.
    pub version: u32,
    /// How often a job is tried before it is a dead letter.
    pub attempts: u32,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// How long a job that failed waits.
    pub backoff: Backoff,
    /// The age from which a job is of no use: it ends as expired, without being done.
    pub useless_after: Option<Duration>,
    /// How soon its jobs get their turn.
    pub priority: Priority,
    /// Whether its jobs are done right after their cause, without the queue, where that can be.
    pub is_light: bool,
}

/// A kind of job with payload `P`.
#[derive(Debug)]
pub struct JobKind<P> {
    pub(crate) spec: JobKindSpec,
    payload: PhantomData<fn() -> P>,
}

impl<P> JobKind<P> {
    /// Declares a kind of job: 10 attempts over some hours, a minute each.
    pub const fn new(name: &'static str, queue: &'static Queue, version: u32) -> Self {
        let spec = JobKindSpec {
            name,
            queue,
            version,
            attempts: 10,
            timeout: Duration::from_mins(1),
            backoff: Backoff { first: Duration::from_secs(5), longest: Duration::from_hours(1) },
            useless_after: None,
            priority: Priority::Normal,
            is_light: false,
        };
        Self { spec, payload: PhantomData }
    }

    /// How often a job is tried before it is a dead letter.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        assert!(attempts > 0, "a job is tried once at least");
        self.spec.attempts = attempts;
        self
    }

    /// How long an attempt may take.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.spec.timeout = timeout;
        self
    }

    /// How long a job that failed waits.
    #[must_use]
    pub const fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.spec.backoff = Backoff { first, longest };
        self
    }

    /// The age from which a job is of no use.
    #[must_use]
    pub const fn useless_after(mut self, age: Duration) -> Self {
        self.spec.useless_after = Some(age);
        self
    }

    /// How soon its jobs get their turn.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.spec.priority = priority;
        self
    }

    /// For what takes a few reads and writes: the node that carries out the cause does the job at once, and nothing of it is
    /// written into the queue. It waits there like any other if that fails or takes long, if the queue is paused or rates its
    /// groups, and if the job has a time or a unique key.
    #[must_use]
    pub const fn light(mut self) -> Self {
        self.spec.is_light = true;
        self
    }

    /// The declaration without the type of its payload.
    pub const fn spec(&'static self) -> &'static JobKindSpec {
        &self.spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_jitter_only_adds() {
        let backoff = Backoff { first: Duration::from_secs(5), longest: Duration::from_mins(1) };
        let pauses: Vec<_> = (1..=6).map(|attempts| backoff.pause(attempts, 0.0).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        assert_eq!(backoff.pause(1, 1.0), Duration::from_millis(7_500));
        assert_eq!(backoff.pause(u32::MAX, 1.0), Duration::from_secs(90));
    }
}
