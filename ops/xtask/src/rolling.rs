//! A rolling upgrade under load: from the build of an earlier commit to the one at hand.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::services::TestServices;
use crate::{cargo, parts, root, run, target_folder};

/// The test that upgrades, and counts what fails.
const TEST: &str = "rolling::g8_a_rolling_restart_loses_nothing";

/// Builds the server of a commit; where the binary is.
pub(crate) fn build_of(commit: &str) -> anyhow::Result<PathBuf> {
    let output = Command::new("git").args(["rev-parse", "--short", commit]).current_dir(root()).output()?;
    anyhow::ensure!(output.status.success(), "there is no commit {commit}");
    let id = String::from_utf8(output.stdout)?.trim().to_owned();
    let folder = target_folder().join("rolling");
    let binary = folder.join(format!("mundotango-{id}"));
    if binary.exists() {
        return Ok(binary);
    }
    fs::create_dir_all(&folder)?;
    let tree = folder.join("tree");
    // One that an earlier run left behind.
    let _ = run(Command::new("git").args(["worktree", "remove", "--force"]).arg(&tree).current_dir(root()));
    run(Command::new("git").args(["worktree", "add", "--detach"]).arg(&tree).arg(&id).current_dir(root()))?;
    let built = run(cargo(&["build", "--bin", "mundotango"])
        .current_dir(&tree)
        .env("CARGO_TARGET_DIR", target_folder()));
    let copied = built.and_then(|()| {
        fs::copy(target_folder().join("debug/mundotango"), &binary).context("no binary was built")
    });
    run(Command::new("git").args(["worktree", "remove", "--force"]).arg(&tree).current_dir(root()))?;
    copied?;
    Ok(binary)
}

/// Runs the upgrade from a binary to this commit's own.
pub(crate) fn upgrade(from: &std::path::Path) -> anyhow::Result<()> {
    let services = TestServices::start()?;
    services.wait()?;
    run(cargo(&["test", "--test", "it", TEST, "--", "--nocapture"])
        .env("MUNDOTANGO_PARTS", parts::folder())
        .env("MUNDOTANGO_OLD_BINARY", from)
        .envs(services.variables()))
}
