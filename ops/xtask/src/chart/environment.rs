//! Whether a node understands what the chart tells it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use super::objects::Objects;
use crate::target_folder;

/// Stands for every secret: long enough for all of them.
const SAMPLE_SECRET: &str = "a-sample-that-is-long-enough-for-all";
/// Where the chart mounts files that are not here.
const MOUNTED: &str = "/run/secrets/";

/// Has the binary check the configuration of each container, with samples instead of secrets.
pub(super) fn is_accepted(binary: &Path, objects: &Objects) -> anyhow::Result<()> {
    let text = objects.of_kind("ConfigMap").find_map(|map| map["data"]["mundotango.toml"].as_str());
    let file = target_folder().join("chart/mundotango.toml");
    fs::write(&file, text.context("no configuration in a ConfigMap")?)?;
    for container in objects.pods().filter_map(|pod| pod["spec"]["containers"].get(0)) {
        let mut check = Command::new(binary);
        check.args(["config", "check"]).arg(&file).env_clear().envs(variables(container));
        let output = check.output().with_context(|| format!("cannot run {}", binary.display()))?;
        let told = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{} is told what it refuses: {told}", container["name"]);
    }
    Ok(())
}

/// The variables of a container; without those that name files.
fn variables(container: &Value) -> impl Iterator<Item = (String, String)> {
    container["env"].as_array().into_iter().flatten().filter_map(|variable| {
        let name = variable["name"].as_str()?;
        let value = variable["value"].as_str().unwrap_or_else(|| sample(name));
        (!value.starts_with(MOUNTED)).then(|| (name.to_owned(), value.to_owned()))
    })
}

fn sample(name: &str) -> &'static str {
    match name {
        "MUNDOTANGO__CLUSTER__NATS" => "nats://user:password@nats:4222",
        "MUNDOTANGO__CLUSTER__REDIS" => "rediss://:password@redis:6379",
        _ => SAMPLE_SECRET,
    }
}
