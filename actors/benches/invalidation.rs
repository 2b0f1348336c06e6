//! How the other nodes learn that something in their near cache has changed: by the bus, or by Redis' own tracking (RESP3
//! `CLIENT TRACKING`). `cargo xtask bench engines` starts the servers and runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mundotango_actors::bus::{Bus, NatsBus, NatsOptions};
use mundotango_protocol::new_id;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind};
use tokio::sync::mpsc;

/// Changes that are told, one after the other.
const CHANGES: usize = 5_000;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

fn service(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask bench engines`"))
}

async fn bus(prefix: &str) -> Arc<dyn Bus> {
    let options = NatsOptions {
        urls: mundotango_ops::ServerUrls::new(service("MUNDOTANGO_TEST_NATS")),
        prefix: prefix.to_owned(),
        ..NatsOptions::default()
    };
    let bus = NatsBus::open(&options, "bench").await.unwrap();
    bus.connected().wait_for(|connected| *connected).await.unwrap();
    Arc::new(bus)
}

/// The clock ticks of a process' CPU time, its own and the server's calls for it.
fn cpu_millis() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime and stime in hundredths of a second.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10.0
}

fn print_row(name: &str, knows: &str, mut times: Vec<Duration>, cpu: f64) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let cpu = cpu * 1e3 / CHANGES as f64;
    println!("| {name} | {knows} | {:.3} | {:.3} | {cpu:.0} |", at(50), at(99));
}

/// One node removes a key from Redis and asks all others to forget it; done when they have.
async fn by_the_bus(redis: &mut MultiplexedConnection, nodes: usize) {
    let prefix = new_id();
    let telling = bus(&prefix).await;
    for _ in 1..nodes {
        let other = bus(&prefix).await;
        let mut listening = other.listen("cache").await.unwrap();
        tokio::spawn(async move {
            while let Some(message) = listening.next().await {
                other.reply(&message, Bytes::new()).await.unwrap();
            }
        });
    }
    let (mut times, cpu) = (Vec::new(), cpu_millis());
    for number in 0..CHANGES {
        let key = format!("{prefix}:{number}");
        let start = Instant::now();
        redis::cmd("UNLINK").arg(&key).exec_async(redis).await.unwrap();
        let mut answered = 0;
        let mut is_enough = |_: &Bytes| {
            answered += 1;
            answered == nodes - 1
        };
        telling.survey("cache", Bytes::from(key), &mut is_enough, PATIENCE).await.unwrap();
        assert_eq!(answered, nodes - 1);
        times.push(start.elapsed());
    }
    print_row(&format!("bus, {nodes} nodes"), "yes", times, cpu_millis() - cpu);
}

/// One node removes a key from Redis, which tells those that track it.
async fn by_tracking(client: &Client, redis: &mut MultiplexedConnection, nodes: usize) {
    let prefix = new_id();
    let (sender, mut told) = mpsc::unbounded_channel::<PushInfo>();
    let mut tracking = Vec::new();
    for _ in 1..nodes {
        let config = AsyncConnectionConfig::new().set_push_sender(sender.clone());
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        redis::cmd("CLIENT")
            .arg(&["TRACKING", "ON", "BCAST", "PREFIX", &prefix])
            .exec_async(&mut connection)
            .await
            .unwrap();
        tracking.push(connection);
    }
    let (mut times, cpu) = (Vec::new(), cpu_millis());
    for number in 0..CHANGES {
        let key = format!("{prefix}:{number}");
        redis::cmd("SET").arg(&key).arg("").exec_async(redis).await.unwrap();
        for _ in 1..nodes {
            told.recv().await.unwrap();
        }
        let start = Instant::now();
        redis::cmd("UNLINK").arg(&key).exec_async(redis).await.unwrap();
        for _ in 1..nodes {
            let push = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
            assert_eq!(push.kind, PushKind::Invalidate);
        }
        times.push(start.elapsed());
    }
    // Half of it was for the `SET`, which is told as well.
    print_row(&format!("tracking, {nodes} nodes"), "no", times, (cpu_millis() - cpu) / 2.0);
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let client = Client::open(format!("{}?protocol=resp3", service("MUNDOTANGO_TEST_REDIS"))).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    println!("\ni: from a change until every other node has forgotten it\n");
    println!("| told by | the changer knows | p50 ms | p99 ms | nodes' CPU µs |\n|---|---|---|---|---|");
    for nodes in [2, 3] {
        by_the_bus(&mut redis, nodes).await;
        by_tracking(&client, &mut redis, nodes).await;
    }
}
