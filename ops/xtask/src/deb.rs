//! `cargo xtask deb`: a Debian package around a program that is built already, looked through as Debian itself would.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::{parts, root, run, target_folder};

/// The version of cargo-deb.
const VERSION: &str = "3.8.0";
/// What has to be in the package.
const WANTED: [&str; 5] = [
    "./usr/bin/mundotango",
    "./usr/lib/systemd/system/mundotango.service",
    "./etc/mundotango/mundotango.toml",
    "./usr/share/doc/mundotango/README.md",
    "./usr/share/doc/mundotango/copyright",
];
/// What Debian asks of packages of its own archive alone: a changelog in its form, and a page of the manual.
const NOT_FOR_US: &str = "no-changelog,no-manual-page,initial-upload-closes-no-bugs";

/// Makes the package from what cargo built in a profile, and looks through it.
pub(crate) fn make(profile: &str) -> anyhow::Result<()> {
    let tool = install()?;
    let folder = target_folder().join("debian");
    fs::create_dir_all(&folder)?;
    let file = folder.join("mundotango.deb");
    let mut deb = Command::new(tool);
    deb.args(["--no-build", "--no-strip", "--profile", profile, "--output"]).arg(&file);
    run(deb.current_dir(root()))?;

    let output = Command::new("dpkg-deb").arg("--contents").arg(&file).output();
    let told = String::from_utf8(output.context("cannot run dpkg-deb")?.stdout)?;
    print!("{told}");
    let files: Vec<_> = told.lines().filter_map(|line| line.split_whitespace().nth(5)).collect();
    let missing: Vec<_> = WANTED.iter().filter(|wanted| !files.contains(wanted)).collect();
    anyhow::ensure!(missing.is_empty(), "the package lacks {missing:?}");
    let output = Command::new("dpkg-deb").arg("--info").arg(&file).arg("postinst").output()?;
    let starts = String::from_utf8_lossy(&output.stdout).contains("deb-systemd-invoke");
    anyhow::ensure!(starts, "nothing starts the node when the package is installed");
    parts::need("lintian", "lintian")?;
    run(Command::new("lintian")
        .args(["--fail-on", "error,warning", "--suppress-tags", NOT_FOR_US])
        .arg(&file))
}

/// Installs cargo-deb, and says where it is.
fn install() -> anyhow::Result<PathBuf> {
    let folder = parts::folder().join("cargo-deb");
    fs::create_dir_all(&folder)?;
    parts::unless_done_from(&folder.join(".installed"), VERSION, || {
        let mut install = Command::new("cargo");
        install.args(["install", "--locked", "--version", VERSION, "cargo-deb", "--root"]).arg(&folder);
        run(&mut install)
    })?;
    Ok(folder.join("bin/cargo-deb"))
}
