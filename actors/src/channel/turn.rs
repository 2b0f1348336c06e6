//! Long loops that let other tasks run.

use std::time::{Duration, Instant};

/// How long a loop may keep its thread: others wait as long.
const SLICE: Duration = Duration::from_micros(500);
/// Steps between two looks at the clock.
const STEPS: u32 = 16;

/// A loop's share of its thread. By time, not by steps: a step may be a system call or next to nothing.
pub(super) struct Turn {
    began: Instant,
    steps: u32,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), steps: 0 }
    }

    /// Called after each step.
    pub(super) async fn step(&mut self) {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS) && self.began.elapsed() >= SLICE {
            tokio::task::yield_now().await;
            self.began = Instant::now();
        }
    }
}
