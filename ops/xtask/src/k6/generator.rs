//! k6 as a process: run to its end, and looked at meanwhile, as a generator that has no time measures itself.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::root;

use super::cpu::{self, Peak};

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// The largest share of all processors that k6 may use: with more it answers too late for what it measures.
const MOST_OF_THE_PROCESSORS: f64 = 0.8;

/// The command that runs a suite.
pub(super) fn command(k6: &Path, suite: &str, out: &Path) -> Command {
    let mut command = Command::new(k6);
    command.args(["run", "--quiet", "--no-usage-report", "main.js"]).current_dir(root().join("ops/load/k6"));
    command.env("SUITE", suite).env("SUMMARY", out);
    command
}

/// Runs it; an error if it fails, a threshold does not hold or the generator was the limit. `node` is the
/// process of the node, where it is on this machine.
pub(super) fn run(command: &mut Command, out: &Path, node: Option<u32>) -> anyhow::Result<()> {
    let _ = fs::remove_file(out);
    let cores = std::thread::available_parallelism()?.get();
    let before = node.map(cpu::used_by).transpose()?;
    let mut child = command.spawn().context("cannot run k6")?;
    let mut peak = Peak::new();
    let status = loop {
        // Its processor time is gone with it, so it is looked at before.
        if let Ok(used) = cpu::used_by(child.id()) {
            peak.note(used, cores);
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(LOOK_INTERVAL);
    };
    let text = fs::read(out).with_context(|| format!("k6 ended with {status} and left no figures"))?;
    let mut summary: Value = serde_json::from_slice(&text)?;
    if let (Some(node), Some(before)) = (node, before) {
        let used = cpu::used_by(node).context("the node did not live")? - before;
        add_node(&mut summary, used);
    }
    add_generator(&mut summary, peak.share(), cores);
    fs::write(out, serde_json::to_vec_pretty(&summary)?)?;
    let wrong = wrong_with(&summary);
    for reason in &wrong {
        println!("{reason}");
    }
    anyhow::ensure!(wrong.is_empty(), "the run does not count, or showed too little: see above");
    anyhow::ensure!(status.success(), "k6 ended with {status}");
    Ok(())
}

/// Adds the node's own time for an operation, which says more than latencies where processors are shared.
fn add_node(summary: &mut Value, seconds: f64) {
    let count = |name: &str| summary["figures"][name]["value"].as_f64().unwrap_or_default();
    let operations = count("REST operations");
    if operations > 0.0 {
        let value = json!({"value": seconds * 1000.0 / operations, "better": "less"});
        summary["figures"]["node CPU ms / REST operation"] = value;
    }
}

/// Adds how busy the generator was, and refuses the result if that was too much.
fn add_generator(summary: &mut Value, share: f64, cores: usize) {
    summary["generator"] = json!({"processors": cores, "largestShareOfThem": share});
    println!("k6 used {:.0} % of {cores} processors at the most", share * 100.0);
    if share > MOST_OF_THE_PROCESSORS
        && let Some(refused) = summary["refused"].as_array_mut()
    {
        refused.push(Value::from(format!(
            "k6 used {:.0} % of all processors: measure from another machine, or ask for less",
            share * 100.0
        )));
    }
}

/// Why the result is refused, and which thresholds do not hold.
fn wrong_with(summary: &Value) -> Vec<String> {
    let of = |list: &str, what: &str| -> Vec<String> {
        let texts = summary[list].as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(|text| format!("{what}: {text}")).collect()
    };
    [of("refused", "refused"), of("failed", "failed")].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Value {
        json!({"figures": {"REST operations": {"value": 1000, "better": "more"}}, "refused": [], "failed": []})
    }

    #[test]
    fn d13_a_generator_that_is_the_limit_makes_no_result() {
        let mut idle = summary();
        add_generator(&mut idle, 0.5, 2);
        assert!(wrong_with(&idle).is_empty());
        let mut busy = summary();
        add_generator(&mut busy, 0.9, 2);
        assert_eq!(wrong_with(&busy).len(), 1);
        let failed = json!({"refused": ["a"], "failed": ["b", "c"]});
        assert_eq!(wrong_with(&failed), ["refused: a", "failed: b", "failed: c"]);
    }

    #[test]
    fn the_nodes_time_is_told_for_an_operation() {
        let mut summary = summary();
        add_node(&mut summary, 2.0);
        assert_eq!(summary["figures"]["node CPU ms / REST operation"]["value"], 2.0);
    }
}
