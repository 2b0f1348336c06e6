//! A queue that ours is measured beside: a program that gets its options as JSON and prints a report as our bench does.

use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::Value;

/// A way to use a queue.
pub(super) struct Way {
    pub(super) name: &'static str,
    /// Puts 100 jobs at once, which our bench does not.
    pub(super) bulk: bool,
    /// Set up for many jobs, as its makers do it; else as it is by default.
    pub(super) tuned: bool,
    /// Processes that only work; where there are none, the one that puts jobs works too.
    pub(super) processes: u64,
    /// As many jobs as keep it at work for some ten seconds; it does no more than this of ours.
    pub(super) max_jobs: u64,
}

impl Way {
    /// As it is by default, each job put by itself, with as many jobs at the most.
    pub(super) const fn new(name: &'static str, max_jobs: u64) -> Self {
        Self { name, bulk: false, tuned: false, processes: 0, max_jobs }
    }

    pub(super) fn is_like_ours(&self) -> bool {
        !self.bulk && self.processes == 0
    }
}

/// A queue whose server runs.
pub(super) struct Peer {
    /// Runs it, with the options as one argument more.
    pub(super) command: fn() -> Command,
    /// The options that say where its server is.
    pub(super) server: Vec<(&'static str, Value)>,
    pub(super) ways: &'static [Way],
    /// When its server syncs, and whether that is before it acknowledges.
    pub(super) durabilities: [(&'static str, bool); 2],
}

impl Peer {
    /// Runs it; its report.
    pub(super) fn run(&self, options: &Value) -> anyhow::Result<Value> {
        let mut options = options.clone();
        for (name, value) in &self.server {
            options[name] = value.clone();
        }
        let mut command = (self.command)();
        command.arg(options.to_string());
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot run {command:?}"))?;
        anyhow::ensure!(output.status.success(), "{command:?} ended with {}", output.status);
        let report = String::from_utf8(output.stdout)?;
        serde_json::from_str(&report).with_context(|| format!("{command:?}: {report}"))
    }
}
