//! The linters and other tools, each in the version that a list in `ops/lint` names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::parts::{self, need_package, pip_packages, unless_done_from};
use crate::{root, run};

/// Who can install a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Installer {
    Go,
    Cargo,
}

/// A line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tool {
    name: String,
    package: String,
    version: String,
}

impl Tool {
    /// Reads the tools of a list: name, package and version a line.
    fn list(text: &str) -> anyhow::Result<Vec<Self>> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                [name, package, version] => {
                    Ok(Self { name: name.into(), package: package.into(), version: version.into() })
                }
                _ => anyhow::bail!("not a name, a package and a version: {line}"),
            })
            .collect()
    }

    fn wanted(&self) -> String {
        format!("{}@{}", self.package, self.version)
    }
}

/// The folder of the linters.
fn folder() -> PathBuf {
    parts::folder().join("lint")
}

/// A file of settings or versions.
pub(crate) fn settings(name: &str) -> PathBuf {
    root().join("ops/lint").join(name)
}

/// A linter that a Python package brings.
pub(crate) fn of_python(name: &str) -> anyhow::Result<PathBuf> {
    need_package("python3", "--version", &["python3"])?;
    let environment = folder().join("python");
    fs::create_dir_all(folder())?;
    pip_packages(&environment, &settings("requirements.txt"))?;
    Ok(environment.join("bin").join(name))
}

/// Where a tool is, after it was installed if need be.
pub(crate) fn path_of(name: &str) -> anyhow::Result<PathBuf> {
    let (tool, installer) = find(name)?;
    let home = folder().join(name);
    let program = home.join("bin").join(name);
    unless_done_from(&home.join(".installed"), &tool.wanted(), || {
        fs::create_dir_all(home.join("bin"))?;
        match installer {
            Installer::Go => go_install(&tool, &home, &program),
            Installer::Cargo => cargo_install(&tool, &home),
        }
    })?;
    Ok(program)
}

fn find(name: &str) -> anyhow::Result<(Tool, Installer)> {
    for (list, installer) in [("go.txt", Installer::Go), ("cargo.txt", Installer::Cargo)] {
        let tools = Tool::list(&fs::read_to_string(settings(list))?).with_context(|| list.to_owned())?;
        if let Some(tool) = tools.into_iter().find(|tool| tool.name == name) {
            return Ok((tool, installer));
        }
    }
    anyhow::bail!("no list in ops/lint has a tool {name}")
}

fn go_install(tool: &Tool, home: &Path, program: &Path) -> anyhow::Result<()> {
    need_package("go", "version", &["golang-go"])?;
    // Standard output is for the tool's path.
    run(Command::new("go")
        .args(["install", &tool.wanted()])
        .env("GOBIN", home.join("bin"))
        .env_remove("GOFLAGS")
        .stdout(Stdio::null()))?;
    // Go names a program after its package's last part, which may be no name at all.
    let built = home.join("bin").join(tool.package.rsplit('/').next().context("no package")?);
    Ok(fs::rename(built, program)?)
}

fn cargo_install(tool: &Tool, home: &Path) -> anyhow::Result<()> {
    run(Command::new("cargo")
        .args(["install", "--quiet", "--locked", "--root"])
        .arg(home)
        .arg(tool.wanted())
        // The toolchain of the tree.
        .current_dir(root())
        .stdout(Stdio::null()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_has_one_version() {
        let mut names = Vec::new();
        for list in ["go.txt", "cargo.txt"] {
            let tools = Tool::list(&fs::read_to_string(settings(list)).unwrap()).unwrap();
            assert!(tools.iter().all(|tool| tool.version.chars().any(|c| c.is_ascii_digit())), "{list}");
            names.extend(tools.into_iter().map(|tool| tool.name));
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_line_without_a_version_is_refused() {
        let error = Tool::list("# a comment\n\nhelm helm.sh/helm\n").unwrap_err();
        assert!(error.to_string().contains("helm helm.sh/helm"), "{error}");
    }

    #[test]
    fn python_packages_are_pinned_with_checksums() {
        let list = fs::read_to_string(settings("requirements.txt")).unwrap();
        let packages: Vec<_> = list.lines().filter(|line| !line.starts_with(['#', ' '])).collect();
        assert!(!packages.is_empty());
        for package in packages {
            assert!(package.contains("==") && package.ends_with(" \\"), "no version or checksum: {package}");
        }
    }
}
