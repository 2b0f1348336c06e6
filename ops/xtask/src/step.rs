//! Steps of a command, each named and timed.

use std::time::{Duration, Instant};

/// The steps so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(&'static str, Duration)>,
    failed: Vec<&'static str>,
}

impl Steps {
    /// Does a step, saying so.
    pub(crate) fn run<T>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let outcome = self.timed(name, step);
        if outcome.is_err() {
            self.print_times();
        }
        outcome
    }

    fn timed<T>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        println!("== {name}");
        let start = Instant::now();
        let outcome = step();
        self.done.push((name, start.elapsed()));
        outcome
    }

    /// Does a step that others do not need: they are done though it fails, so that one run tells of all that is wrong.
    pub(crate) fn attempt(&mut self, name: &'static str, step: impl FnOnce() -> anyhow::Result<()>) {
        if let Err(error) = self.timed(name, step) {
            println!("== {name} failed: {error:?}");
            self.failed.push(name);
        }
    }

    /// Fails if a step did that was attempted.
    pub(crate) fn all_done(&self) -> anyhow::Result<()> {
        if self.failed.is_empty() {
            return Ok(());
        }
        self.print_times();
        anyhow::bail!("failed: {}", self.failed.join(", "))
    }

    /// Says how long each step took.
    pub(crate) fn print_times(&self) {
        let total: Duration = self.done.iter().map(|(_, time)| *time).sum();
        for (name, time) in self.done.iter().chain([&("total", total)]) {
            println!("== {name}: {:.1} s", time.as_secs_f64());
        }
    }
}
