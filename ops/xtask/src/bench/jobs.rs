//! Our durable queue beside others: BullMQ on a Redis, graphile-worker and River in a PostgreSQL. Each server is the bench's
//! own, and syncs before it acknowledges or does not.

mod bullmq;
mod graphile;
mod ours;
mod peer;
mod postgres;
mod river;

use std::net::Ipv4Addr;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::parts;
use crate::services::redis;

use self::peer::{Peer, Way};
use self::postgres::Postgres;
use super::server::Server;
use super::{Columns, figure};

/// Turns that each way to use a queue takes.
const TURNS: usize = 2;
/// What is done by all, as our bench calls it.
struct Work {
    name: &'static str,
    takes_millis: u64,
    callers: u64,
    /// Jobs that are worked on at once.
    workers: u64,
}

/// 50 workers do 10,000 jobs of 5 ms a second at the very most, which holds all queues back alike; 250 do more than two cores can.
const WORKS: [Work; 3] = [
    Work { name: "nothing", takes_millis: 0, callers: 256, workers: 50 },
    Work { name: "5 ms", takes_millis: 5, callers: 64, workers: 50 },
    Work { name: "5 ms, 250 workers", takes_millis: 5, callers: 256, workers: 250 },
];

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
const RECOVERED: Columns = &[
    ("workers killed", "/tries"),
    ("least s", "/least_seconds"),
    ("mean s", "/mean_seconds"),
    ("most s", "/most_seconds"),
];
/// Queues whose recovery takes longer than a bench: what their sources say.
const NOT_MEASURED: [(&str, &str); 2] = [
    (
        "graphile-worker",
        "not measured: a job is given back 4 hours after it was locked, looked for every 8 to 10 minutes",
    ),
    ("River", "not measured: a job is rescued 1 hour after it began (RescueStuckJobsAfter)"),
];

/// Installs the other queues and what they need.
pub(super) fn install() -> anyhow::Result<()> {
    parts::need("node", "nodejs")?;
    parts::need("npm", "npm")?;
    bullmq::install()?;
    graphile::install()?;
    river::install()
}

/// Measures ours once, and the others in turns; of the works those whose names hold a text, if one is given, and no recovery then.
pub(super) fn tables(only: Option<&str>) -> anyhow::Result<()> {
    let ours = ours::measure()?;
    let redis = Server::start("redis", |folder, port| Ok(redis::server(Ipv4Addr::LOCALHOST, port, folder)))?;
    let postgres = Postgres::start()?;
    let bullmq = bullmq::peer(&redis);
    let peers = [&bullmq, &graphile::peer(&postgres), &river::peer(&postgres)];
    let (mut done, mut started) = (Vec::new(), Vec::new());
    for work in WORKS.iter().filter(|work| only.is_none_or(|text| work.name.contains(text))) {
        let at_half = format!("{}, half of the most", work.name);
        let our_most = ours::find(&ours, work.name, work.workers, Some(work.callers))?;
        let our_half = ours::find(&ours, &at_half, work.workers, None)?;
        done.push(row(work.name, "MundoTango", DONE, our_most, our_most));
        started.push(row(work.name, "MundoTango", STARTED, our_half, our_half));
        for turn in 1..=TURNS {
            for (peer, way, durability) in peers.iter().flat_map(|peer| rounds(peer)) {
                let queue = format!("{}, {}, {turn}", way.name, durability.0);
                let mut options = options(work, way, durability.1, our_most)?;
                let most = peer.run(&options)?;
                done.push(row(work.name, &queue, DONE, &most, our_most));
                if way.is_like_ours() {
                    let per_second = most["done_per_second"].as_f64().context("no rate")? / 2.0;
                    options["per_second"] = per_second.into();
                    let half = peer.run(&options)?;
                    started.push(row(work.name, &queue, STARTED, &half, our_half));
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
    if only.is_some() {
        return Ok(());
    }
    let bullmq = bullmq.run(&json!({ "what": "recovery", "mode": "recovery" }))?;
    print_recovery(&ours, &bullmq)
}

/// All that a queue is measured in.
fn rounds(peer: &Peer) -> impl Iterator<Item = (&Peer, &Way, (&'static str, bool))> {
    peer.ways.iter().flat_map(move |way| peer.durabilities.iter().map(move |one| (peer, way, *one)))
}

fn options(work: &Work, way: &Way, fsync: bool, our_most: &Value) -> anyhow::Result<Value> {
    let jobs = our_most["jobs"].as_u64().context("our bench does not say how many jobs")?;
    Ok(json!({
        "what": work.name, "takes_millis": work.takes_millis, "callers": work.callers, "workers": work.workers,
        "jobs": jobs.min(way.max_jobs), "bulk": way.bulk, "tuned": way.tuned, "processes": way.processes,
        "fsync": fsync,
    }))
}

fn print_recovery(ours: &[Value], bullmq: &Value) -> anyhow::Result<()> {
    println!(
        "\np: from `kill -9` of a process in the middle of a long job until the job begins again: ours in a process that \
         is started on the same folder then; BullMQ as it is by default (lockDuration 30 s, stalledInterval 30 s), on \
         a worker that runs already\n"
    );
    let names: Vec<_> = RECOVERED.iter().map(|(name, _)| *name).collect();
    println!("| queue | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(RECOVERED.len()));
    let rows = [
        ("MundoTango, with the start of the process", ours::find(ours, ours::RECOVERY, 1, None)?),
        (
            "MundoTango, from the start of its workers on",
            ours::find(ours, ours::RECOVERY_OF_WORKERS, 1, None)?,
        ),
        ("BullMQ", bullmq),
    ];
    for (queue, report) in rows {
        let figures: Vec<_> = RECOVERED.iter().map(|(_, path)| figure(report.pointer(path))).collect();
        println!("| {queue} | {} |", figures.join(" | "));
    }
    for (queue, why) in NOT_MEASURED {
        println!("| {queue} | {why} |{}", " |".repeat(RECOVERED.len() - 1));
    }
    Ok(())
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

    const WAY: Way = Way::new("q", 5_000);

    #[test]
    fn a_row_says_how_many_times_as_much_ours_is() {
        let ours = json!({ "done_per_second": 500, "put_per_second": 900, "cpu_micros_per_job": 2.0 });
        let own = json!({ "done_per_second": 250, "cpu_micros_per_job": 8.0 });
        assert_eq!(row("w", "q", DONE, &own, &ours), "| w | q | 250 | 2.0 | – | – | 8.0 | 0.25 |");
    }

    #[test]
    fn no_queue_gets_more_jobs_than_ours_or_than_it_does_in_time() {
        let jobs = |ours| options(&WORKS[0], &WAY, true, &json!({ "jobs": ours })).unwrap()["jobs"].clone();
        assert_eq!((jobs(4_000), jobs(40_000)), (json!(4_000), json!(5_000)));
        assert!(options(&WORKS[0], &WAY, true, &json!({})).is_err());
    }

    #[test]
    fn each_way_is_measured_with_each_durability() {
        let command = || std::process::Command::new("true");
        let durabilities = [("off", false), ("on", true)];
        let peer = Peer { command, server: vec![], ways: &[WAY, WAY], durabilities };
        let fsync: Vec<_> = rounds(&peer).map(|(_, _, (_, fsync))| fsync).collect();
        assert_eq!(fsync, [false, true, false, true]);
    }
}
