//! `cargo xtask chart`: the Helm chart is rendered, held against Kubernetes' own schemas and against itself, and has to
//! refuse values that cannot work.

mod environment;
mod objects;
mod refused;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::Context as _;
use serde_json::Value;

use self::objects::Objects;
use crate::{parts, root, run, target_folder};

/// The module of Helm, with its version.
const HELM: &str = "helm.sh/helm/v3/cmd/helm@v3.22.0";
/// The oldest Kubernetes that the chart names.
const OLDEST: &str = "1.30.0";
/// The newest whose schemas there are.
const NEWEST: &str = "1.37.0";
/// The values that are rendered, by their names in the chart's folder `ci`.
const VALUES: [&str; 3] = ["minimal", "production", "everything"];
/// Kinds that are not Kubernetes' own, so it has no schema of them.
const FOREIGN_KINDS: [&str; 2] = ["ServiceMonitor", "PrometheusRule"];
/// Prints the documents of a YAML file as one JSON array.
const TO_JSON: &str =
    "import json, sys, yaml; print(json.dumps([d for d in yaml.safe_load_all(open(sys.argv[1])) if d]))";

/// What the release does, as templates see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    Install,
    Upgrade,
}

/// Checks everything. With a binary its configuration has to accept what the pods are told.
pub(crate) fn check(binary: Option<&Path>) -> anyhow::Result<()> {
    install()?;
    for name in VALUES {
        let mut lint = helm(&["lint", "--strict", "--quiet", "--kube-version", NEWEST]);
        run(lint.arg(folder()).arg("--values").arg(values(name)))?;
        for release in [Release::Install, Release::Upgrade] {
            let file = render_into_file(name, release)?;
            fits_schemas(&file)?;
            let objects = Objects::new(read_yaml(&file)?);
            let problems = objects.problems(release);
            anyhow::ensure!(problems.is_empty(), "{name}, {release:?}:\n{}", problems.join("\n"));
            if let Some(binary) = binary {
                environment::is_accepted(binary, &objects).with_context(|| name.to_owned())?;
            }
        }
    }
    anyhow::ensure!(
        job_of_install(&[])? != job_of_install(&["--set", "image.tag=2.0.0"])?,
        "a Job that does something else has the same name, and cannot be changed"
    );
    refused::all()?;
    println!("{} sets of values fit, {} are refused as they have to be", VALUES.len(), refused::count());
    Ok(())
}

/// The chart.
fn folder() -> PathBuf {
    root().join("ops/deploy/helm/mundotango")
}

fn values(name: &str) -> PathBuf {
    folder().join("ci").join(name).with_extension("yaml")
}

fn python_environment() -> PathBuf {
    parts::folder().join("kubernetes")
}

/// Installs Helm and the schemas, if they are not there in these versions.
fn install() -> anyhow::Result<()> {
    let programs = parts::folder().join("helm");
    fs::create_dir_all(&programs)?;
    parts::unless_done_from(&programs.join(".installed"), HELM, || {
        parts::need_package("go", "version", &["golang-go"])?;
        run(Command::new("go").args(["install", HELM]).env("GOBIN", &programs))
    })?;
    parts::pip_packages(&python_environment(), &root().join("ops/deploy/helm/requirements.txt"))
}

fn helm(arguments: &[&str]) -> Command {
    let mut helm = Command::new(parts::folder().join("helm/helm"));
    helm.args(arguments).stdin(Stdio::null());
    helm
}

/// Renders the chart. An error holds what Helm says.
fn render(values_file: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    // A Helm that was built from its module alone takes itself for one of years ago.
    let mut template =
        helm(&["template", "mundotango", "--namespace", "community", "--kube-version", NEWEST]);
    template.arg(folder()).arg("--values").arg(values_file).args(arguments);
    let Output { status, stdout, stderr } = template.output().context("cannot run helm")?;
    anyhow::ensure!(status.success(), "{}", String::from_utf8_lossy(&stderr).trim());
    Ok(String::from_utf8(stdout)?)
}

fn render_into_file(name: &str, release: Release) -> anyhow::Result<PathBuf> {
    let is_upgrade: &[&str] = if release == Release::Upgrade { &["--is-upgrade"] } else { &[] };
    let text = render(&values(name), is_upgrade).with_context(|| name.to_owned())?;
    let rendered = target_folder().join("chart");
    fs::create_dir_all(&rendered)?;
    let file = rendered.join(format!("{name}-{release:?}.yaml").to_lowercase());
    fs::write(&file, text)?;
    Ok(file)
}

/// Holds a rendered file against the schemas. A kind without one is an error, as it may be misspelt.
fn fits_schemas(file: &Path) -> anyhow::Result<()> {
    for version in [OLDEST, NEWEST] {
        let mut validate = Command::new(python_environment().join("bin/kubernetes-validate"));
        validate.args(["--strict", "--quiet", "--kubernetes-version", version]).arg(file);
        let output = validate.output().context("cannot run kubernetes-validate")?;
        let told = String::from_utf8_lossy(&output.stdout);
        let wrong: Vec<_> = told.lines().filter(|line| !is_of_foreign_kind(line)).collect();
        anyhow::ensure!(
            output.status.success() && wrong.is_empty(),
            "Kubernetes {version}: {}{}",
            wrong.join("\n"),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// Whether a line says that there is no schema of a kind that is known not to have one.
fn is_of_foreign_kind(line: &str) -> bool {
    let of = |kind| line.contains(&format!("find schema for kind {kind} "));
    line.starts_with("WARN ") && FOREIGN_KINDS.into_iter().any(of)
}

fn read_yaml(file: &Path) -> anyhow::Result<Vec<Value>> {
    let mut python = Command::new(python_environment().join("bin/python"));
    let output = python.args(["-c", TO_JSON]).arg(file).output().context("cannot run python")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The name of the Job that makes the tables at an installation.
fn job_of_install(arguments: &[&str]) -> anyhow::Result<String> {
    let text = render(&values("minimal"), arguments)?;
    let name = text.lines().map(str::trim).find(|line| line.starts_with("name: mundotango-migrate-"));
    Ok(name.context("no Job at an installation")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kinds_that_are_known_to_be_foreign_go_without_a_schema() {
        let line = |kind| {
            format!(
                "WARN x.yaml Couldn't find schema for kind {kind} with api version v1 for kubernetes version 1"
            )
        };
        assert!(is_of_foreign_kind(&line("ServiceMonitor")));
        assert!(!is_of_foreign_kind(&line("Deplyoment")));
        assert!(!is_of_foreign_kind("ERROR x.yaml did not validate for resource ServiceMonitor "));
    }
}
