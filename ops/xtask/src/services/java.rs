//! The Java that the CQL server runs on: it knows one version only.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::parts;

/// The version wanted.
const MAJOR: &str = "17";
/// Where distributions keep several.
const FOLDER: &str = "/usr/lib/jvm";

/// A Java of the wanted version, and what it says of itself.
pub(crate) struct Java {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its own words: an archive of classes is good for this very build alone.
    pub(crate) version: String,
}

impl Java {
    /// Finds one.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
        let usual = std::iter::once(PathBuf::from("java"));
        let mut kept: Vec<_> = std::fs::read_dir(FOLDER)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path().join("bin/java")))
            .collect();
        kept.sort();
        let found = home.into_iter().chain(usual).chain(kept).find_map(Self::at);
        found.ok_or_else(|| anyhow::anyhow!("a Java {MAJOR} is needed: install openjdk-{MAJOR}-jre-headless"))
    }

    /// Installs one, unless one is there.
    pub(crate) fn install() -> anyhow::Result<()> {
        if Self::find().is_ok() {
            return Ok(());
        }
        parts::apt_install(&[&format!("openjdk-{MAJOR}-jre-headless")])
    }

    fn at(program: PathBuf) -> Option<Self> {
        let output = Command::new(&program).arg("-version").output().ok()?;
        let version = String::from_utf8(output.stderr).ok()?;
        version.contains(&format!("version \"{MAJOR}.")).then_some(Self { program, version })
    }
}
