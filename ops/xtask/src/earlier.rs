//! The server of an earlier commit, to compare with or to upgrade from.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::{cargo, root, run, target_folder};

/// How a server is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As tests are.
    Debug,
    /// As what is measured is.
    Release,
}

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Debug => &[],
            Self::Release => &["--release"],
        }
    }
}

/// Builds the server of a commit; where the binary is.
pub(crate) fn build_of(commit: &str, profile: Profile) -> anyhow::Result<PathBuf> {
    let output = Command::new("git").args(["rev-parse", "--short", commit]).current_dir(root()).output()?;
    anyhow::ensure!(output.status.success(), "there is no commit {commit}");
    let id = String::from_utf8(output.stdout)?.trim().to_owned();
    let folder = target_folder().join("earlier");
    let binary = folder.join(format!("mundotango-{id}-{}", profile.folder()));
    if binary.exists() {
        return Ok(binary);
    }
    fs::create_dir_all(&folder)?;
    let tree = folder.join("tree");
    // An interrupted run may have left a tree behind.
    let _ = run(Command::new("git").args(["worktree", "remove", "--force"]).arg(&tree).current_dir(root()));
    run(Command::new("git").args(["worktree", "add", "--detach"]).arg(&tree).arg(&id).current_dir(root()))?;
    let built = run(cargo(&["build", "--bin", "mundotango"])
        .args(profile.flags())
        .current_dir(&tree)
        .env("CARGO_TARGET_DIR", target_folder()));
    let copied = built.and_then(|()| {
        fs::copy(target_folder().join(profile.folder()).join("mundotango"), &binary)
            .context("no binary was built")
    });
    run(Command::new("git").args(["worktree", "remove", "--force"]).arg(&tree).current_dir(root()))?;
    copied?;
    Ok(binary)
}
