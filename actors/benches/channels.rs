//! What channels cost that are large, and what many cost that are idle: `cargo bench -p mundotango-actors --bench channels`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use mundotango_actors::{NamespaceOptions, Publish};
use mundotango_protocol::{ChannelName, Publication};
use support::{engine, session};

/// Channels that are idle.
const IDLE: usize = 100_000;
/// Subscribers of the large channel.
const SUBSCRIBERS: usize = 50_000;
/// Longer than presence takes to be refreshed.
const WATCHED: Duration = Duration::from_secs(40);

/// The process' CPU time so far, in milliseconds.
fn cpu_millis() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime and stime in hundredths of a second.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10.0
}

/// What costs most where channels are many or large.
fn options() -> NamespaceOptions {
    NamespaceOptions { force_recovery: true, presence: true, ..NamespaceOptions::default() }
}

async fn idle_channels() {
    let engine = engine(options()).await;
    let mut sessions = Vec::new();
    for number in 0..IDLE / 100 {
        let channels = (0..100).map(|channel| format!("{number}-{channel}"));
        sessions.push(session(&engine, number, channels).await);
    }
    assert_eq!(engine.channels().len(), IDLE);
    let before = cpu_millis();
    tokio::time::sleep(WATCHED).await;
    let used = (cpu_millis() - before) / WATCHED.as_secs_f64();
    println!("| {IDLE} idle channels, one present subscriber each | {used:.1} ms of CPU a second |");
}

async fn a_large_channel() {
    let engine = engine(options()).await;
    let mut sessions = Vec::new();
    for number in 0..SUBSCRIBERS {
        sessions.push(session(&engine, number, std::iter::once("large".to_owned())).await);
    }
    let channel = ChannelName::parse("large").unwrap();
    // Sockets take everything at once, so a publication is delivered when the deliveries are counted.
    let delivered = || mundotango_ops::metrics().realtime_deliveries_total.get();
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < WATCHED {
        let (before, began) = (delivered(), Instant::now());
        let publication = Publication { data: Bytes::from_static(b"{\"n\":1}"), ..Publication::default() };
        engine.publish(&channel, Publish::new(publication)).await.unwrap();
        while delivered() - before < SUBSCRIBERS as u64 {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        times.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(engine.presence_stats(&channel).await.unwrap().clients as usize, SUBSCRIBERS);
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "| one channel, {SUBSCRIBERS} present subscribers, presence refreshed meanwhile | to all of them: p50 {:.1} ms, p99 {:.1} ms |",
        at(50),
        at(99)
    );
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    println!("| | |\n|---|---|");
    idle_channels().await;
    a_large_channel().await;
}
