//! A node of the run's own, on a port that the system picks, with the limits raised that one address would
//! run into.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::SECRET;

/// Longest wait for a start or an end.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// All load comes from one address. `docs/load.md` explains them.
const LIMITS: [(&str, &str); 5] = [
    ("AUTH__RATES__REGISTRATIONS_PER_ADDRESS", "0"),
    ("AUTH__RATES__LOGINS_PER_ADDRESS", "0"),
    ("AUTH__RATES__REFRESHES_PER_ADDRESS", "0"),
    ("HTTP__CONNECTION_RATE", "0"),
    ("HTTP__MAX_CONNECTIONS", "20000"),
];

/// A running node; ended when this goes.
pub(super) struct Node {
    child: Child,
    base: String,
    log: PathBuf,
}

impl Node {
    /// Starts a node on a data folder, and waits until it is ready.
    pub(super) fn start(program: &Path, data: &Path, settings: &[(String, String)]) -> anyhow::Result<Self> {
        let log = data.with_extension("log");
        let file = File::create(&log)?;
        let _ = fs::remove_file(data.join("node.json"));
        let limits = LIMITS.map(|(name, value)| (format!("MUNDOTANGO__{name}"), value));
        let child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .envs(limits)
            .env("MUNDOTANGO__AUTH__SECRET", SECRET)
            .env("MUNDOTANGO__DRAIN__WINDOW", "0s")
            .envs(settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let mut node = Self { child, base: String::new(), log };
        let start = Instant::now();
        loop {
            if let Some(base) = ready_at(data) {
                node.base = base;
                return Ok(node);
            }
            let runs = matches!(node.child.try_wait(), Ok(None));
            anyhow::ensure!(
                runs && start.elapsed() < PATIENCE,
                "the node did not get ready: see {}",
                node.log.display()
            );
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Its address, as a URL.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }
}

/// Where the node of a data folder listens, once it is ready.
fn ready_at(data: &Path) -> Option<String> {
    let node: Value = serde_json::from_slice(&fs::read(data.join("node.json")).ok()?).ok()?;
    let base = format!("http://{}", node["listen"].as_str()?);
    ureq::get(format!("{base}/api/health/ready")).call().is_ok().then_some(base)
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
