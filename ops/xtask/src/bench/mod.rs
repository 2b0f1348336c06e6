//! Measurements of a release build. Everything that is compared is measured in one run, and the tables are those of
//! BENCHMARKS.md.

mod cluster;
mod engines;
mod jobs;
mod peers;
mod requests;
mod server;
mod traces;

use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;
use serde_json::Value;

use crate::earlier::{Profile, build_of};
use crate::step::Steps;
use crate::{cargo, run, target_folder};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// One node beside other servers.
    Peers,
    /// One node beside two and three, and a publication that crosses nodes beside one that does not.
    Cluster,
    /// The store beside the bare driver, the cache's tiers, and ways to tell nodes of a change.
    Engines,
    /// The REST API on the embedded store and on the engines.
    Requests,
    /// A start of the embedded store on ten million rows.
    Rows,
    /// The durable queue beside BullMQ, graphile-worker and River.
    Jobs,
    /// The same load with no, some and all traces.
    Traces,
}

/// Measures, everything if nothing is named, and prints the tables; a node of an earlier commit beside this one's, if
/// one is named; of the works of queues those whose names hold a text.
pub(crate) fn all(
    what: Option<What>,
    before: Option<&str>,
    work: Option<&str>,
    steps: &mut Steps,
) -> anyhow::Result<()> {
    let is_wanted = |one| what.is_none_or(|what| what == one);
    if is_wanted(What::Peers) {
        steps.run("peers", peers::install)?;
    }
    if is_wanted(What::Jobs) {
        steps.run("other queues", jobs::install)?;
    }
    let before = before.map(|commit| steps.run("the earlier build", || build_of(commit, Profile::Release)));
    let before = before.transpose()?;
    steps.run("build", build)?;
    if is_wanted(What::Peers) {
        steps.run("tables beside peers", || peers::tables(before.as_deref()))?;
    }
    if is_wanted(What::Cluster) {
        steps.run("tables of a cluster", cluster::tables)?;
    }
    if is_wanted(What::Engines) {
        steps.run("tables of the engines", engines::tables)?;
    }
    if is_wanted(What::Rows) {
        steps.run("a start on many rows", engines::rows)?;
    }
    if is_wanted(What::Requests) {
        steps.run("tables of requests", || requests::tables(before.as_deref()))?;
    }
    if is_wanted(What::Jobs) {
        steps.run("tables of jobs", || jobs::tables(work))?;
    }
    if is_wanted(What::Traces) {
        steps.run("tables of traces", traces::tables)?;
    }
    Ok(())
}

fn build() -> anyhow::Result<()> {
    run(&mut cargo(&["build", "--release", "-p", "mundotango", "-p", "mundotango-load"]))
}

/// A program of the release build.
fn program(name: &str) -> PathBuf {
    target_folder().join("release").join(name)
}

/// A table's columns: their headings, and where their figures stand in the load maker's report.
type Columns = &'static [(&'static str, &'static str)];

const DELIVERY: Columns = &[
    ("deliveries / CPU s", "/deliveries_per_cpu_second"),
    ("p50 ms", "/latency_millis/p50"),
    ("p99 ms", "/latency_millis/p99"),
];

fn print_head(title: &str, first: &str, columns: Columns) {
    println!("\n{title}\n");
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    println!("| {first} | {} | lost | doubled |", names.join(" | "));
    println!("|---|{}", "---|".repeat(columns.len() + 2));
}

fn print_row(name: &str, columns: Columns, report: &anyhow::Result<Value>) {
    match report {
        Ok(report) => {
            let figures: Vec<_> = columns.iter().map(|(_, path)| figure(report.pointer(path))).collect();
            let (lost, doubled) = (&report["lost"], &report["doubled"]);
            println!("| {name} | {} | {lost} | {doubled} |", figures.join(" | "));
        }
        Err(error) => println!("| {name} | {error:#} |"),
    }
}

fn figure(value: Option<&Value>) -> String {
    match value.and_then(Value::as_f64) {
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 1.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
        None => "–".to_owned(),
    }
}

/// The load maker, with what its figures are asked for.
fn load_maker(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("mundotango-load"));
    command.args(arguments).arg("--json");
    command
}
