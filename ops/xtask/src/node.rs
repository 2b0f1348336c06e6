//! A node of a run's own, on a port that the system picks.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

/// Longest wait for a start or an end.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A running node; ended when this goes.
pub(crate) struct Node {
    child: Child,
    url: String,
    log: PathBuf,
}

impl Node {
    /// Starts a node on a data folder by a command that holds its settings, and waits until it is ready.
    pub(crate) fn start(mut command: Command, data: &Path) -> anyhow::Result<Self> {
        let log = data.with_extension("log");
        let output = File::create(&log)?;
        let _ = fs::remove_file(data.join("node.json"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data).stdin(Stdio::null());
        let child = command.stdout(output.try_clone()?).stderr(output).spawn();
        let child = child.with_context(|| format!("cannot run {command:?}"))?;
        let mut node = Self { child, url: String::new(), log };
        let start = Instant::now();
        loop {
            if let Some(url) = ready_at(data) {
                node.url = url;
                return Ok(node);
            }
            node.must_run()?;
            anyhow::ensure!(start.elapsed() < PATIENCE, "the node is not ready: {}", node.log_text());
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file of its log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The node's log so far.
    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails if it has ended.
    pub(crate) fn must_run(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("the node ended with {status}: {}", self.log_text()),
        }
    }
}

/// Where the node of a data folder listens, once it is ready.
fn ready_at(data: &Path) -> Option<String> {
    let node: Value = serde_json::from_slice(&fs::read(data.join("node.json")).ok()?).ok()?;
    let url = format!("http://{}", node["listen"].as_str()?);
    ureq::get(format!("{url}/api/health/ready")).call().is_ok().then_some(url)
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let start = Instant::now();
        while start.elapsed() < PATIENCE && !matches!(self.child.try_wait(), Ok(Some(_))) {
            std::thread::sleep(LOOK_INTERVAL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
