//! A fresh server: a node of its own on an empty folder.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::target_folder;

/// Longest wait for the node.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked whether it is ready.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The key of its server API.
pub(super) const API_KEY: &str = "the key of the contract";
/// What a run may do more often than clients of one address.
const SETTINGS: &[(&str, &str)] = &[
    ("MUNDOTANGO__AUTH__RATES__REGISTRATIONS_PER_ADDRESS", "0"),
    ("MUNDOTANGO__AUTH__RATES__LOGINS_PER_ADDRESS", "0"),
    ("MUNDOTANGO__AUTH__RATES__REFRESHES_PER_ADDRESS", "0"),
    ("MUNDOTANGO__AUTH__RATES__LINKS_PER_ADDRESS", "0"),
    ("MUNDOTANGO__HTTP__API_KEY", API_KEY),
];

/// A running node; ended when this goes.
pub(super) struct Node {
    child: Child,
    binary: PathBuf,
    folder: PathBuf,
    pub(super) url: String,
}

impl Node {
    /// Starts one and waits until it takes work.
    pub(super) fn start(binary: &Path) -> anyhow::Result<Self> {
        ensure!(binary.is_file(), "{} is not built: run `cargo build`", binary.display());
        let folder = target_folder().join("contract").join(std::process::id().to_string());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = File::create(folder.join("log"))?;
        let mut command = Command::new(binary);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--data-dir"]).arg(folder.join("data"));
        command.arg("serve").current_dir(&folder).envs(SETTINGS.iter().copied());
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.with_context(|| format!("cannot run {}", binary.display()))?;
        let binary = binary.to_owned();
        let mut node = Self { child, binary, folder, url: format!("http://127.0.0.1:{port}") };
        node.wait_until_ready()?;
        Ok(node)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                bail!("the node ended with {status}: {}", self.log());
            }
            if ureq::get(format!("{}/api/health/ready", self.url)).call().is_ok() {
                return Ok(());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        bail!("the node is not ready after {PATIENCE:?}: {}", self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Makes an admin and logs in; the access token.
    pub(super) fn admin(&self) -> anyhow::Result<String> {
        let mut command = Command::new(&self.binary);
        command.arg("--data-dir").arg(self.folder.join("data")).current_dir(&self.folder);
        command.args([
            "user",
            "create",
            "--email",
            "root@example.com",
            "--username",
            "root",
            "--full-name",
            "Root",
        ]);
        command.args(["--role", "admin", "--password-stdin"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().context("cannot make an admin")?;
        child.stdin.take().context("no input")?.write_all(b"abrazo-1234\n")?;
        ensure!(child.wait()?.success(), "no admin was made");
        let answer = ureq::post(format!("{}/api/auth/login", self.url))
            .header("content-type", "application/json")
            .send(r#"{"email": "root@example.com", "password": "abrazo-1234"}"#)?
            .body_mut()
            .read_to_vec()?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        Ok(answer["token"].as_str().context("no token")?.to_owned())
    }

    /// The node took work all the time and reported no fault of its own.
    pub(super) fn must_be_well(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the node ended with {status}: {}", self.log());
        }
        let log = self.log();
        let faults: Vec<_> =
            log.lines().filter(|line| line.contains(r#""level":"ERROR""#)).take(10).collect();
        ensure!(faults.is_empty(), "the node reported faults:\n{}", faults.join("\n"));
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
