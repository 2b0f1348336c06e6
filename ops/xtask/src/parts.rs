//! What the tests need beside Rust and servers: the official SDKs, and the languages that they are written in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::{root, run, target_folder};

/// Where parts are installed that do not belong into the working tree.
pub(crate) fn folder() -> PathBuf {
    std::env::var_os("MUNDOTANGO_PARTS").map_or_else(|| target_folder().join("parts"), PathBuf::from)
}

/// Installs all parts that are not there in the version wanted.
pub(crate) fn install() -> anyhow::Result<()> {
    fs::create_dir_all(folder())?;
    need("node", "nodejs")?;
    need("npm", "npm")?;
    need("python3", "python3")?;
    need_package("openssl", "version", &["openssl"])?;
    need("mvn", "maven")?;
    // Some systems have it under its plain name alone.
    if !works("firefox", &["--version"]) {
        need("firefox-esr", "firefox-esr")?;
    }
    need("javac", "default-jdk-headless")?;
    javascript_packages()?;
    python_sdk()?;
    python_sdk_tests()?;
    python_calendars()?;
    pip_packages(&folder().join("python-series"), &root().join("tests/series/requirements.txt"))?;
    java_sdk()
}

fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Installs a Debian package if a program is missing.
pub(crate) fn need(program: &str, package: &str) -> anyhow::Result<()> {
    need_package(program, "--version", &[package])
}

/// The same, where asking for the version is done otherwise, or several packages belong together.
pub(crate) fn need_package(program: &str, version: &str, packages: &[&str]) -> anyhow::Result<()> {
    if works(program, &[version]) {
        return Ok(());
    }
    apt_install(packages).with_context(|| format!("{program} is needed: install {}", packages.join(" ")))
}

/// Installs Debian packages.
pub(crate) fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
    run(Command::new("apt-get").args(["-q", "update"]))?;
    run(Command::new("apt-get").args(["-q", "-y", "--no-install-recommends", "install"]).args(packages))
}

/// Does an installation whose stamp does not say that it was done from this very list.
pub(crate) fn unless_done(
    stamp: &Path,
    list: &Path,
    install: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let wanted = fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    unless_done_from(stamp, &wanted, install)
}

/// The same, where what it is done from is not in a file alone.
pub(crate) fn unless_done_from(
    stamp: &Path,
    wanted: &str,
    install: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if fs::read_to_string(stamp).is_ok_and(|done| done == wanted) {
        return Ok(());
    }
    install()?;
    Ok(fs::write(stamp, wanted)?)
}

fn javascript_packages() -> anyhow::Result<()> {
    npm_packages(&root().join("tests/sdk/javascript"))?;
    npm_packages(&root().join("tests/smtp"))?;
    npm_packages(&root().join("tests/calendars"))
}

/// Installs what a folder's lock file lists.
pub(crate) fn npm_packages(folder: &Path) -> anyhow::Result<()> {
    let stamp = folder.join("node_modules/.installed");
    unless_done(&stamp, &folder.join("package-lock.json"), || {
        let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        run(Command::new("npm").args(arguments).current_dir(folder))
    })
}

fn python_sdk() -> anyhow::Result<()> {
    pip_packages(&folder().join("python"), &root().join("tests/sdk/python/requirements.txt"))
}

/// Installs the Python library by which tests read calendars as other programs do.
fn python_calendars() -> anyhow::Result<()> {
    pip_packages(&folder().join("python-calendars"), &root().join("tests/calendars/requirements.txt"))
}

/// Installs Python packages into an environment of their own.
pub(crate) fn pip_packages(environment: &Path, list: &Path) -> anyhow::Result<()> {
    unless_done(&environment.join(".installed"), list, || {
        if !works("python3", &["-m", "ensurepip", "--version"]) {
            apt_install(&["python3-venv"])?;
        }
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment))?;
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(list))
    })
}

/// The SDK's own tests, which its source package holds and its installed form does not.
fn python_sdk_tests() -> anyhow::Result<()> {
    let list = root().join("tests/sdk/python/requirements.txt");
    let sources = folder().join("python-sdk");
    unless_done(&sources.join(".installed"), &list, || {
        let _ = fs::remove_dir_all(&sources);
        fs::create_dir_all(&sources)?;
        let wanted = fs::read_to_string(&list)?;
        let sdk =
            wanted.lines().find(|line| line.starts_with("centrifuge-python")).context("no python sdk")?;
        run(Command::new(folder().join("python/bin/pip"))
            .args(["download", "--quiet", "--no-deps", "--no-binary", ":all:", "-d"])
            .arg(&sources)
            .arg(sdk))?;
        let archive = fs::read_dir(&sources)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "gz"))
            .context("no source package")?;
        run(Command::new("tar").args(["--strip-components=1", "-xzf"]).arg(archive).arg("-C").arg(&sources))
    })
}

/// The SDK's libraries, and our driver of it compiled.
fn java_sdk() -> anyhow::Result<()> {
    let source = root().join("tests/sdk/java");
    let (libraries, classes) = (folder().join("java/lib"), folder().join("java/classes"));
    unless_done(&libraries.join(".installed"), &source.join("pom.xml"), || {
        fs::create_dir_all(&libraries)?;
        let directory = format!("-DoutputDirectory={}", libraries.display());
        let arguments = ["-q", "-B", "dependency:copy-dependencies", &directory];
        run(Command::new("mvn").args(arguments).current_dir(&source))
    })?;
    unless_done(&classes.join(".installed"), &source.join("Driver.java"), || {
        fs::create_dir_all(&classes)?;
        let path = format!("{}/*", libraries.display());
        let mut javac = Command::new("javac");
        run(javac.args(["-cp", &path, "-d"]).arg(&classes).arg(source.join("Driver.java")))
    })
}
