//! Our durable queue beside BullMQ on a Redis of its own, which syncs as it does by default, or before it acknowledges.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::services::redis;
use crate::{cargo, parts, root};

use super::server::Server;
use super::{Columns, figure};

/// Turns that each way to use BullMQ takes.
const TURNS: usize = 2;
/// As many jobs as keep BullMQ at work for some ten seconds; it does no more than this of ours.
const MAX_JOBS: u64 = 60_000;
/// Jobs that are worked on at once.
const WORKERS: u64 = 50;

/// What is done by both, as our bench calls it.
struct Work {
    name: &'static str,
    takes_millis: u64,
    callers: u64,
}

const WORKS: [Work; 2] = [
    Work { name: "nothing", takes_millis: 0, callers: 256 },
    Work { name: "5 ms", takes_millis: 5, callers: 64 },
];

/// A way to use BullMQ.
struct Way {
    name: &'static str,
    /// Puts 100 jobs at once, which our bench does not.
    bulk: bool,
    /// Processes that only work; where there are none, the one that puts jobs works too.
    processes: u64,
}

impl Way {
    fn is_like_ours(&self) -> bool {
        !self.bulk && self.processes == 0
    }
}

const WAYS: [Way; 3] = [
    Way { name: "BullMQ", bulk: false, processes: 0 },
    Way { name: "BullMQ, workers in 2 processes", bulk: false, processes: 2 },
    Way { name: "BullMQ, addBulk of 100", bulk: true, processes: 0 },
];

/// When Redis syncs, and whether it is before it acknowledges.
const DURABILITIES: [(&str, bool); 2] = [("appendonly no", false), ("appendfsync always", true)];

const DONE: Columns = &[
    ("jobs / s", "/done_per_second"),
    ("put / s", "/put_per_second"),
    ("CPU µs / job", "/cpu_micros_per_job"),
];
const STARTED: Columns = &[
    ("jobs / s", "/per_second"),
    ("start p50 ms", "/start_p50_millis"),
    ("start p99 ms", "/start_p99_millis"),
];
const RECOVERED: [(&str, &str); 4] = [
    ("workers killed", "/tries"),
    ("least s", "/least_seconds"),
    ("mean s", "/mean_seconds"),
    ("most s", "/most_seconds"),
];

fn folder() -> PathBuf {
    root().join("ops/load/bullmq")
}

/// Installs BullMQ and what it needs.
pub(super) fn install() -> anyhow::Result<()> {
    parts::need("node", "nodejs")?;
    parts::need("npm", "npm")?;
    redis::install()?;
    parts::npm_packages(&folder())
        .context("BullMQ's npm packages are missing: `cargo xtask parts` installs node and npm")
}

/// Measures ours once, and BullMQ in turns.
pub(super) fn tables() -> anyhow::Result<()> {
    let ours = ours()?;
    let redis = Server::start("redis", |folder, port| Ok(redis::server(Ipv4Addr::LOCALHOST, port, folder)))?;
    let (mut done, mut started) = (Vec::new(), Vec::new());
    for Work { name, takes_millis, callers } in WORKS {
        let at_half = format!("{name}, half of the most");
        let (our_most, our_half) = (find(&ours, name, Some(callers))?, find(&ours, &at_half, None)?);
        done.push(row(name, "MundoTango", DONE, our_most, our_most));
        started.push(row(name, "MundoTango", STARTED, our_half, our_half));
        let jobs = our_most["jobs"].as_u64().context("our bench does not say how many jobs")?.min(MAX_JOBS);
        for turn in 1..=TURNS {
            for way in &WAYS {
                for (durability, fsync) in DURABILITIES {
                    let queue = format!("{}, {durability}, {turn}", way.name);
                    let mut options = json!({
                        "what": name, "takes_millis": takes_millis, "callers": callers, "workers": WORKERS,
                        "jobs": jobs, "bulk": way.bulk, "processes": way.processes, "fsync": fsync,
                    });
                    let most = bullmq(&redis, &mut options)?;
                    done.push(row(name, &queue, DONE, &most, our_most));
                    if way.is_like_ours() {
                        let per_second = most["done_per_second"].as_f64().context("no rate")? / 2.0;
                        options["per_second"] = per_second.into();
                        let half = bullmq(&redis, &mut options)?;
                        started.push(row(name, &queue, STARTED, &half, our_half));
                    }
                }
            }
        }
    }
    print("n: jobs that do nothing or wait, from the first put until the last is done", DONE, &done);
    print(
        "o: from putting a job until it begins, at half of the most that the queue did in (n)",
        STARTED,
        &started,
    );

    let recovered = bullmq(&redis, &mut json!({ "what": "recovery", "mode": "recovery" }))?;
    println!(
        "\np: BullMQ as it is by default (lockDuration 30 s, stalledInterval 30 s): from `kill -9` of a worker in the \
         middle of a job of 60 s until another one begins it\n"
    );
    println!("| {} |", RECOVERED.map(|(name, _)| name).join(" | "));
    println!("|{}", "---|".repeat(RECOVERED.len()));
    println!("| {} |", RECOVERED.map(|(_, path)| figure(recovered.pointer(path))).join(" | "));
    Ok(())
}

/// What our own bench prints. The whole workspace, as its features are those of the build that is there.
fn ours() -> anyhow::Result<Vec<Value>> {
    let mut bench = cargo(&["bench", "--quiet", "--workspace", "--bench", "queue"]);
    let output = bench.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    anyhow::ensure!(output.status.success(), "the bench of our queue ended with {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    text.lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

fn find<'a>(ours: &'a [Value], what: &str, callers: Option<u64>) -> anyhow::Result<&'a Value> {
    let is_it = |line: &&Value| {
        line["what"].as_str() == Some(what)
            && line["workers"].as_u64() == Some(WORKERS)
            && line["callers"].as_u64() == callers
    };
    ours.iter().find(is_it).with_context(|| format!("our bench says nothing of {what:?}"))
}

/// Runs BullMQ against a server; its report.
fn bullmq(redis: &Server, options: &mut Value) -> anyhow::Result<Value> {
    options["redis"] = format!("redis://{}", redis.address()).into();
    options["redis_pid"] = redis.pid().into();
    let mut command = Command::new("node");
    command.arg(folder().join("bench.mjs")).arg(options.to_string());
    let output = command.stderr(Stdio::inherit()).output().context("cannot run node")?;
    anyhow::ensure!(output.status.success(), "BullMQ, {options}: ended with {}", output.status);
    let report = String::from_utf8(output.stdout)?;
    serde_json::from_str(&report).with_context(|| format!("BullMQ, {options}: {report}"))
}

fn print(title: &str, columns: Columns, rows: &[String]) {
    let names: Vec<_> = columns.iter().map(|(name, _)| format!("{name} | ours ÷ it")).collect();
    println!("\n{title}\n\n| job | queue | {} |", names.join(" | "));
    println!("|---|---|{}", "---|---|".repeat(columns.len()));
    for row in rows {
        println!("{row}");
    }
}

/// A row with every figure, and how many times as much ours is.
fn row(work: &str, queue: &str, columns: Columns, report: &Value, ours: &Value) -> String {
    let figures: Vec<_> = columns
        .iter()
        .map(|(_, path)| {
            let (own, of_ours) = (report.pointer(path), ours.pointer(path));
            let ratio = of_ours.and_then(Value::as_f64).zip(own.and_then(Value::as_f64));
            let ratio = ratio.map(|(ours, own)| Value::from(ours / own));
            format!("{} | {}", figure(own), figure(ratio.as_ref()))
        })
        .collect();
    format!("| {work} | {queue} | {} |", figures.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_how_many_times_as_much_ours_is() {
        let ours = json!({ "done_per_second": 500, "put_per_second": 900, "cpu_micros_per_job": 2.0 });
        let own = json!({ "done_per_second": 250, "cpu_micros_per_job": 8.0 });
        assert_eq!(row("w", "q", DONE, &own, &ours), "| w | q | 250 | 2.0 | – | – | 8.0 | 0.25 |");
    }

    #[test]
    fn a_line_of_ours_is_found_by_all_that_tells_it_apart() {
        let lines = [
            json!({ "what": "nothing", "workers": 50, "callers": 2_048 }),
            json!({ "what": "nothing", "workers": 10, "callers": 256 }),
            json!({ "what": "nothing", "workers": 50, "callers": 256 }),
            json!({ "what": "nothing, half of the most", "workers": 50 }),
        ];
        assert_eq!(find(&lines, "nothing", Some(256)).unwrap(), &lines[2]);
        assert_eq!(find(&lines, "nothing, half of the most", None).unwrap(), &lines[3]);
        assert!(find(&lines, "5 ms", Some(64)).is_err());
    }
}
