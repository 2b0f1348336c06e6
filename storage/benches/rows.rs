//! A start of the embedded store on ten million rows: how long until it answers, its memory, and how long reads and writes
//! take then. `cargo xtask bench rows` runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, Index, Kind, Order, Schema, day_of_id};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use tokio::task::JoinSet;

/// Partitions that are written, each with an entry that leads to it: two rows.
const PARTITIONS: usize = 5_000_000;
/// Tasks that write or read at the same time.
const ASKING: usize = 256;
/// Reads and writes that are timed after the start, by as many tasks as there are cores.
const TIMED: usize = 20_000;

static TEXTS: Kind<String, (), ()> = Kind::new("texts", "a text of 200 B", &[]);
static BY_DAY: Index<()> = Index::new("texts_by_day", "a day", day_of_id, Order::NewestFirst, &[]);

fn schema() -> Schema {
    Schema { kinds: vec![TEXTS.spec()], indexes: vec![BY_DAY.spec()] }
}

async fn write(db: &Db, id: &str) {
    let entry = BY_DAY.entry("all", id, &()).unwrap();
    db.create(&TEXTS, id, &"x".repeat(200), &[entry], &[]).await.unwrap();
}

/// Writes all; every hundredth id.
async fn fill(db: &Db) -> Vec<String> {
    let mut writing = JoinSet::new();
    for _ in 0..ASKING {
        let db = db.clone();
        writing.spawn(async move {
            let mut some = Vec::new();
            for number in 0..PARTITIONS / ASKING {
                let id = new_id();
                write(&db, &id).await;
                if number % 100 == 0 {
                    some.push(id);
                }
            }
            some
        });
    }
    writing.join_all().await.into_iter().flatten().collect()
}

/// The p50 and the p99 of a deed, in microseconds.
async fn timed<F: Future<Output = ()> + Send>(
    deed: impl Fn(usize) -> F + Send + Sync + Clone + 'static,
) -> [f64; 2] {
    let mut asking = JoinSet::new();
    for task in 0..2 {
        let deed = deed.clone();
        asking.spawn(async move {
            let mut nanos = Vec::with_capacity(TIMED / 2);
            for number in 0..TIMED / 2 {
                let start = Instant::now();
                deed(number * 2 + task).await;
                nanos.push(start.elapsed().as_nanos());
            }
            nanos
        });
    }
    let mut nanos: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
    nanos.sort_unstable();
    [50, 99].map(|percent| nanos[(nanos.len() - 1) * percent / 100] as f64 / 1e3)
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
}

fn open(folder: &std::path::Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, &EmbeddedOptions::default(), &schema()).unwrap()
}

/// The second half runs in a process of its own, whose memory is what the start needs.
async fn start_on(folder: &std::path::Path) {
    let ids: Vec<String> =
        std::fs::read_to_string(folder.with_extension("ids")).unwrap().lines().map(str::to_owned).collect();
    let before = Instant::now();
    let store = open(folder);
    let db = store.stores().db;
    assert!(db.read(&TEXTS, &ids[0]).await.unwrap().is_some());
    let ready = before.elapsed();
    let mib = resident_mib();
    let (ids, of_reads) = (Arc::new(ids), db.clone());
    let reads = timed(move |number| {
        let (db, ids) = (of_reads.clone(), Arc::clone(&ids));
        async move { assert!(db.read(&TEXTS, &ids[number * 7919 % ids.len()]).await.unwrap().is_some()) }
    })
    .await;
    let writes = timed(move |_| {
        let db = db.clone();
        async move { write(&db, &new_id()).await }
    })
    .await;
    println!(
        "| s until the first read | RSS MiB | read p50 µs | read p99 µs | write p50 µs | write p99 µs | RSS MiB after |"
    );
    println!("|---|---|---|---|---|---|---|");
    println!(
        "| {:.1} | {mib} | {:.1} | {:.1} | {:.0} | {:.0} | {} |",
        ready.as_secs_f64(),
        reads[0],
        reads[1],
        writes[0],
        writes[1],
        resident_mib()
    );
    store.close();
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    if let Ok(folder) = std::env::var("MUNDOTANGO_BENCH_ROWS") {
        return start_on(folder.as_ref()).await;
    }
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("store");
    let (store, before) = (open(&folder), Instant::now());
    let ids = fill(&store.stores().db).await;
    let seconds = before.elapsed().as_secs_f64();
    println!("\nm: a start on {} rows, written in {seconds:.0} s\n", PARTITIONS * 2);
    store.close();
    drop(store);
    std::fs::write(folder.with_extension("ids"), ids.join("\n")).unwrap();
    // Files that were just written lie in the system's cache, as after a restart of the node alone.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let program = std::env::current_exe().unwrap();
    let mut start = std::process::Command::new(program);
    assert!(start.env("MUNDOTANGO_BENCH_ROWS", &folder).status().unwrap().success());
}
