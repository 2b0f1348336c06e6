//! What the flight recorder costs, on and off in turns: `cargo bench -p mundotango-actors --bench recorder`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::Instant;

use bytes::Bytes;
use mundotango_actors::{Engine, NamespaceOptions, Publish, Session, record_messages};
use mundotango_protocol::{ChannelName, Publication};
use support::{engine, session};

/// Turns of each measurement, half of them with the recorder on. What else the machine does falls on both alike.
const TURNS: usize = 40;
/// Publications of a turn. Fewer than a mailbox takes.
const PUBLICATIONS: usize = 1000;
/// Commands of a turn.
const COMMANDS: usize = 20_000;

/// Prints the medians with the recorder off and on, in microseconds for each of `count`, and their ratio.
async fn compare(what: &str, count: usize, turn: impl AsyncFn()) {
    let mut times = [Vec::new(), Vec::new()];
    // The first turns warm up.
    for number in 0..TURNS + 4 {
        let on = number % 2;
        record_messages(on == 1);
        let began = Instant::now();
        turn().await;
        if number >= 4 {
            times[on].push(began.elapsed().as_secs_f64() * 1e6 / count as f64);
        }
    }
    record_messages(true);
    let [off, on] = times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!("| {what} | {off:.2} µs | {on:.2} µs | {:.3} |", on / off);
}

async fn publications(engine: &Engine, subscribers: usize) {
    let channel = ChannelName::parse("measured").unwrap();
    let delivered = || mundotango_ops::metrics().realtime_deliveries_total.get();
    let turn = async || {
        let before = delivered();
        for _ in 0..PUBLICATIONS {
            let publication =
                Publication { data: Bytes::from_static(b"{\"n\":1}"), ..Publication::default() };
            engine.publish(&channel, Publish::new(publication)).await.unwrap();
        }
        while delivered() - before < (PUBLICATIONS * subscribers) as u64 {
            tokio::task::yield_now().await;
        }
    };
    compare(&format!("a publication to {subscribers} subscribers"), PUBLICATIONS, turn).await;
}

async fn commands(session: Session) {
    let session = tokio::sync::Mutex::new(session);
    let turn = async || {
        let mut session = session.lock().await;
        for _ in 0..COMMANDS {
            session.receive(Bytes::from_static(b"{\"id\":3,\"rpc\":{\"method\":\"ping\"}}")).await;
        }
    };
    compare("a client's smallest command", COMMANDS, turn).await;
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    println!("| | off | on | on / off |\n|---|---|---|---|");
    let engine = engine(NamespaceOptions::default()).await;
    let mut sessions = Vec::new();
    for subscribers in [1, 10, 100, 1000] {
        for number in sessions.len()..subscribers {
            sessions.push(session(&engine, number, std::iter::once("measured".to_owned())).await);
        }
        publications(&engine, subscribers).await;
    }
    commands(sessions.pop().unwrap()).await;
}
