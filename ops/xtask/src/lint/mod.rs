//! `cargo xtask lint`: form and lints of Rust, and of all that is not Rust: workflows, shell, the Dockerfile, YAML, the
//! compose file, spelling, and what the tree depends on.

mod files;
pub(crate) mod tools;

use std::process::Command;

use anyhow::Context as _;
use clap::ValueEnum;
use serde_json::Value;

use self::tools::{of_python, path_of, settings};
use crate::step::Steps;
use crate::{cargo, root, run};

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// The form of Rust code.
    Format,
    /// Workflows: whether they work, and whether they can be abused.
    Workflows,
    /// Shell scripts.
    Shell,
    /// Dockerfiles.
    Docker,
    /// YAML files.
    Yaml,
    /// The compose file.
    Compose,
    /// Spelling.
    Typos,
    /// Licences, sources and doubles of what the tree depends on.
    Deny,
    /// Lints of Rust code.
    Clippy,
    /// Known holes in what the tree depends on; asks a database that is on GitHub.
    Advisories,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Workflows => "workflows",
            Self::Shell => "shell",
            Self::Docker => "Dockerfiles",
            Self::Yaml => "YAML",
            Self::Compose => "compose file",
            Self::Typos => "typos",
            Self::Deny => "dependencies",
            Self::Clippy => "lints",
            Self::Advisories => "advisories",
        }
    }

    fn check(self) -> anyhow::Result<()> {
        match self {
            Self::Format => run(&mut cargo(&["fmt", "--all", "--check"])),
            Self::Workflows => workflows(),
            Self::Shell => {
                let scripts = files::scripts()?;
                run(here(of_python("shellcheck")?).args(["--external-sources", "--"]).args(scripts))
            }
            Self::Docker => {
                let mut hadolint = here(of_python("hadolint")?);
                run(hadolint.arg("--config").arg(settings("hadolint.yaml")).args(files::dockerfiles()?))
            }
            Self::Yaml => {
                let mut yamllint = here(of_python("yamllint")?);
                run(yamllint
                    .args(["--strict", "--config-file"])
                    .arg(settings("yamllint.yaml"))
                    .args(files::yaml()?))
            }
            Self::Compose => compose(),
            Self::Typos => run(&mut here(of_python("typos")?)),
            Self::Deny => deny(&["--offline"], &["bans", "licenses", "sources"]),
            Self::Clippy => {
                run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
            }
            Self::Advisories => {
                deny(&[], &["advisories"])?;
                run(here(path_of("cargo-audit")?).arg("audit"))
            }
        }
    }
}

/// Checks what is named. If nothing is: all that needs neither a database on the network nor a tool that takes ten
/// minutes to build.
pub(crate) fn all(what: &[What], steps: &mut Steps) -> anyhow::Result<()> {
    let is_wanted = |one: &What| {
        if what.is_empty() { !matches!(one, What::Deny | What::Advisories) } else { what.contains(one) }
    };
    for one in What::value_variants().iter().filter(|one| is_wanted(one)) {
        steps.run(one.name(), || one.check())?;
    }
    Ok(())
}

/// A linter that looks at the whole tree.
fn here(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

fn workflows() -> anyhow::Result<()> {
    let shellcheck = of_python("shellcheck")?;
    // Without this it would look for a Python linter, and say another thing on a machine that has one.
    run(here(path_of("actionlint")?).args(["-pyflakes=", "-shellcheck"]).arg(shellcheck))?;
    let audit = ["--offline", "--no-progress", "--strict-collection", "--persona=pedantic", ".github"];
    run(here(of_python("zizmor")?).args(audit))
}

/// Holds the compose file against the Compose Specification, and its services against each other.
fn compose() -> anyhow::Result<()> {
    let mut read = here(path_of("compose")?);
    // Its variables have values only where it is started.
    let output = read.args(["-no-interpolation", "-format", "json", "docker-compose.yml"]).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let missing = missing_services(&serde_json::from_slice(&output.stdout)?);
    anyhow::ensure!(missing.is_empty(), "services that others wait for and that are not there: {missing:?}");
    Ok(())
}

/// Services that others depend on and that the model does not have.
fn missing_services(model: &Value) -> Vec<String> {
    let services = model["services"].as_object().into_iter().flatten();
    let needed = services.flat_map(|(_, service)| service["depends_on"].as_object().into_iter().flatten());
    needed.map(|(name, _)| name.clone()).filter(|name| model["services"][name].is_null()).collect()
}

fn deny(how: &[&str], checks: &[&str]) -> anyhow::Result<()> {
    let mut deny = here(path_of("cargo-deny")?);
    deny.args(["--workspace", "--all-features", "--log-level", "error"]).args(how);
    run(deny.args(["check", "--hide-inclusion-graph"]).args(checks)).context("cargo-deny")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_wait_for_services_that_are_there() {
        let model = json!({ "services": {
            "node": { "depends_on": { "redis": {}, "natss": {} } },
            "redis": {},
        } });
        assert_eq!(missing_services(&model), ["natss"]);
    }
}
