//! `cargo xtask release`: the acts of a deployment by Helm. Each can be run by hand when the pipeline is gone.
//!
//! Helm's own `--atomic` rolls back only while its process lives, so going back is an act of its own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::lint::tools;
use crate::{root, run};

/// What a node needs beside its grace period: its image is fetched, it starts, it becomes ready.
const START_SECONDS: u64 = 120;

/// Which installation.
#[derive(Debug, Args)]
pub(crate) struct Installation {
    /// Its name.
    #[arg(long, default_value = "mundotango")]
    name: String,
    /// Where it is.
    #[arg(long)]
    namespace: String,
}

/// What is done with it.
#[derive(Debug, Subcommand)]
pub(crate) enum Release {
    /// Print the revision that runs, to go back to: 0 if there is none. Fails if an earlier deployment was not ended.
    Revision {
        #[command(flatten)]
        which: Installation,
    },
    /// Migrate, then change one node after the other.
    Upgrade {
        #[command(flatten)]
        which: Installation,
        /// The image's name without tag and digest.
        #[arg(long)]
        image: String,
        /// The digest that was signed, such as `sha256:…`.
        #[arg(long, value_parser = parse_digest)]
        digest: String,
        /// The values of this stage.
        #[arg(long)]
        values: PathBuf,
    },
    /// Go back to a revision.
    Rollback {
        #[command(flatten)]
        which: Installation,
        /// The revision.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        to: u64,
    },
}

fn parse_digest(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").ok_or("use sha256:… as the registry gives it")?;
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_owned())
    } else {
        Err("a digest has 64 hexadecimal digits".to_owned())
    }
}

/// Does an act.
pub(crate) fn release(act: &Release) -> anyhow::Result<()> {
    match act {
        Release::Revision { which } => {
            println!("{}", running_revision(&history(which)?)?);
            Ok(())
        }
        Release::Upgrade { which, image, digest, values } => {
            running_revision(&history(which)?)?;
            let chart = root().join("ops/deploy/helm/mundotango");
            let set = format!("image.repository={image},image.digest={digest}");
            let upgrade = || -> anyhow::Result<Command> {
                let mut upgrade = helm()?;
                upgrade.args(["upgrade", "--install", &which.name]).arg(&chart).arg("--values").arg(values);
                upgrade.args(["--namespace", &which.namespace, "--set", &set]);
                Ok(upgrade)
            };
            // What the cluster would get, as the values of the stage say how long nodes may take.
            let objects = output(upgrade()?.args(["--dry-run=server", "--hide-notes"]))?;
            run(upgrade()?
                .args(["--wait", "--wait-for-jobs", "--history-max", "20"])
                .args(["--timeout", &limit(&objects)?]))
        }
        Release::Rollback { which, to } => {
            let (namespace, to) = (which.namespace.as_str(), to.to_string());
            let mut objects = String::new();
            for kind in ["manifest", "hooks"] {
                let mut get = helm()?;
                get.args(["get", kind, &which.name, "--namespace", namespace, "--revision", &to]);
                objects.push_str(&output(&mut get)?);
            }
            let limit = limit(&objects)?;
            run(helm()?
                .args(["rollback", &which.name, &to, "--namespace", namespace, "--wait", "--wait-for-jobs"])
                .args(["--timeout", &limit]))
        }
    }
}

fn helm() -> anyhow::Result<Command> {
    Ok(Command::new(tools::path_of("helm")?))
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().context("cannot run helm")?;
    anyhow::ensure!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// What Helm knows of earlier deployments, the oldest first; nothing if there were none.
fn history(which: &Installation) -> anyhow::Result<Value> {
    let mut list = helm()?;
    list.args(["list", "--all", "--output", "json", "--namespace", &which.namespace]);
    list.args(["--filter", &format!("^{}$", which.name)]);
    if serde_json::from_str::<Value>(&output(&mut list)?)?.as_array().is_none_or(Vec::is_empty) {
        return Ok(Value::Array(Vec::new()));
    }
    let mut history = helm()?;
    history.args(["history", &which.name, "--output", "json", "--namespace", &which.namespace]);
    Ok(serde_json::from_str(&output(&mut history)?)?)
}

/// The revision that runs, 0 if none does; an error where a deployment was begun and not ended, as two at once would
/// mix.
fn running_revision(history: &Value) -> anyhow::Result<u64> {
    let revisions = history.as_array().context("no history")?;
    let status = |revision: &Value| revision["status"].as_str().unwrap_or_default().to_owned();
    if let Some(pending) = revisions.iter().find(|one| status(one).starts_with("pending-")) {
        anyhow::bail!(
            "revision {} is {}: a deployment is under way, or was ended in the middle; see docs/pipelines.md",
            pending["revision"],
            status(pending)
        );
    }
    let running = revisions.iter().rev().find(|one| status(one) == "deployed");
    Ok(running.and_then(|one| one["revision"].as_u64()).unwrap_or(0))
}

/// How long Helm waits: all nodes one after the other, each with its whole grace period, after a migration.
fn limit(manifest: &str) -> anyhow::Result<String> {
    let number = |key: &str| {
        let values = manifest.lines().filter_map(|line| line.trim().strip_prefix(key)?.trim().parse().ok());
        values.max()
    };
    let replicas = number("replicas:").or_else(|| number("maxReplicas:"));
    let replicas: u64 = replicas.context("no replicas in the manifest")?;
    let grace = number("terminationGracePeriodSeconds:").context("no grace period in the manifest")?;
    let migration = number("activeDeadlineSeconds:").context("no migration in the manifest")?;
    Ok(format!("{}s", (replicas * (grace + START_SECONDS)) + migration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn d9_a_deployment_that_was_not_ended_stops_the_next() {
        let history = json!([
            { "revision": 6, "status": "deployed" },
            { "revision": 7, "status": "pending-upgrade" },
        ]);
        let error = running_revision(&history).unwrap_err();
        assert!(error.to_string().contains("revision 7 is pending-upgrade"), "{error}");
    }

    #[test]
    fn the_revision_to_go_back_to_is_the_one_that_runs() {
        let of = |statuses: &[&str]| {
            let one = |(index, status): (usize, &&str)| json!({ "revision": index + 1, "status": status });
            running_revision(&Value::Array(statuses.iter().enumerate().map(one).collect())).unwrap()
        };
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&["failed"]), 0);
        assert_eq!(of(&["superseded", "deployed", "failed"]), 2);
        assert_eq!(of(&["superseded", "superseded", "deployed"]), 3);
    }

    #[test]
    fn d9_the_limit_is_longer_than_all_grace_periods() {
        let manifest =
            "spec:\n  replicas: 3\n      terminationGracePeriodSeconds: 90\n  activeDeadlineSeconds: 300\n";
        assert_eq!(limit(manifest).unwrap(), "930s");
        assert!(limit("spec:\n  replicas: 3\n").is_err());
    }

    #[test]
    fn only_a_whole_digest_is_deployed() {
        assert!(parse_digest(&format!("sha256:{}", "a".repeat(64))).is_ok());
        for text in ["latest", "sha256:abc", &format!("sha256:{}", "x".repeat(64))] {
            assert!(parse_digest(text).is_err(), "{text}");
        }
    }
}
