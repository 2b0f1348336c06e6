//! A fresh node on an empty folder, with an admin if one is asked for.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::{node, target_folder};

/// The key of its server API.
pub(super) const API_KEY: &str = "the key of the contract";
/// A run may do more than clients of one address, and its node ends at once.
const SETTINGS: &[(&str, &str)] = &[
    ("MUNDOTANGO__AUTH__RATES__REGISTRATIONS_PER_ADDRESS", "0"),
    ("MUNDOTANGO__AUTH__RATES__LOGINS_PER_ADDRESS", "0"),
    ("MUNDOTANGO__AUTH__RATES__REFRESHES_PER_ADDRESS", "0"),
    ("MUNDOTANGO__AUTH__RATES__LINKS_PER_ADDRESS", "0"),
    ("MUNDOTANGO__HTTP__API_KEY", API_KEY),
    ("MUNDOTANGO__DRAIN__WINDOW", "0s"),
];

/// A running node; ended when this goes.
pub(super) struct Node {
    running: node::Node,
    binary: PathBuf,
    folder: Folder,
}

/// A folder that is removed when this goes.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Node {
    /// Starts one and waits until it takes work.
    pub(super) fn start(binary: &Path) -> anyhow::Result<Self> {
        ensure!(binary.is_file(), "{} is not built: run `cargo build`", binary.display());
        let folder = target_folder().join("contract").join(std::process::id().to_string());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let folder = Folder(folder);
        let mut command = Command::new(binary);
        command.current_dir(&folder.0).envs(SETTINGS.iter().copied());
        let running = node::Node::start(command, &folder.0.join("data"))?;
        Ok(Self { running, binary: binary.to_owned(), folder })
    }

    pub(super) fn url(&self) -> &str {
        self.running.url()
    }

    /// Makes an admin and logs in; the access token.
    pub(super) fn admin(&self) -> anyhow::Result<String> {
        let mut command = Command::new(&self.binary);
        command.arg("--data-dir").arg(self.folder.0.join("data")).current_dir(&self.folder.0);
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
        let answer = ureq::post(format!("{}/api/auth/login", self.url()))
            .header("content-type", "application/json")
            .send(r#"{"email": "root@example.com", "password": "abrazo-1234"}"#)?
            .body_mut()
            .read_to_vec()?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        Ok(answer["token"].as_str().context("no token")?.to_owned())
    }

    /// The node took work all the time and reported no fault of its own.
    pub(super) fn must_be_well(&mut self) -> anyhow::Result<()> {
        self.running.must_run()?;
        let log = self.running.log_text();
        let faults: Vec<_> =
            log.lines().filter(|line| line.contains(r#""level":"ERROR""#)).take(10).collect();
        ensure!(faults.is_empty(), "the node reported faults:\n{}", faults.join("\n"));
        Ok(())
    }
}
