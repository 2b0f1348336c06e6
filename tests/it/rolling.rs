//! A deployment: one node after the other is stopped and started anew, under load.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::cluster::{know_each_other, settings};
use crate::crowd::Crowd;
use crate::server::{API_KEY, Server, until};

const SESSIONS: usize = 600;
const CHANNELS: u64 = 20;
/// Pause between two publications.
const PACE: Duration = Duration::from_millis(10);

/// What a balancer in front of the nodes does: it tries the next node where one cannot be reached.
struct Balancer {
    http: Client,
    nodes: Vec<String>,
    turn: AtomicU64,
    /// Requests that a client would have seen fail.
    failed: AtomicU64,
}

impl Balancer {
    async fn call(&self, token: Option<&str>, path: &str, body: Option<&Value>) -> Value {
        let start = Instant::now();
        loop {
            let turn = usize::try_from(self.turn.fetch_add(1, Ordering::Relaxed)).unwrap();
            let url = format!("{}{path}", self.nodes[turn % self.nodes.len()]);
            let request = match body {
                Some(body) => self.http.post(url).header("x-api-key", API_KEY).json(body),
                None => self.http.get(url),
            };
            let request = token.map_or_else(
                || request.try_clone().unwrap(),
                |token| request.try_clone().unwrap().bearer_auth(token),
            );
            match request.send().await {
                Ok(answer) if answer.status() == StatusCode::OK => return answer.json().await.unwrap(),
                // A node that starts says so, and a balancer leaves it out.
                Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {
                    let text = answer.text().await.unwrap();
                    if !text.contains("the node is starting") {
                        println!("{path}: {text}");
                        self.failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(answer) => {
                    println!("{path}: {}", answer.status());
                    self.failed.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {}
            }
            assert!(start.elapsed() < Duration::from_secs(20), "no node answers");
        }
    }
}

/// G8: all three nodes are replaced one by one. `cargo xtask rolling` runs it from the build of the commit before to this one;
/// without that both are this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_a_rolling_restart_loses_nothing() {
    let old = std::env::var_os("MUNDOTANGO_OLD_BINARY").map(PathBuf::from);
    let settings = settings();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let begin = || match &old {
        Some(binary) => Server::begin_of(binary, &settings),
        None => Server::begin_with(&settings),
    };
    let mut nodes: Vec<_> = (0..3).map(|_| begin()).collect();
    for node in &mut nodes {
        node.wait_until_ready().await;
    }
    know_each_other(&nodes).await;
    let token = nodes[0].user("ana", "user").token;
    let addresses = nodes.iter().map(Server::address).collect();
    let crowd =
        Crowd::gather(SESSIONS, addresses, &token, |number| format!("room:{}", number as u64 % CHANNELS))
            .await;

    let balancer = Arc::new(Balancer {
        http: Client::builder().timeout(Duration::from_secs(10)).pool_max_idle_per_host(0).build().unwrap(),
        nodes: nodes.iter().map(|node| node.url("")).collect(),
        turn: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    });
    let done = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (balancer, done) = (Arc::clone(&balancer), Arc::clone(&done));
        async move {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                // Named, so that one whose answer was lost is not published twice.
                let body = json!({
                    "channel": format!("room:{}", number % CHANNELS), "data": number,
                    "idempotency_key": number.to_string(),
                });
                let answer = balancer.call(None, "/api/publish", Some(&body)).await;
                assert!(answer["error"].is_null(), "{answer}");
                number += 1;
                tokio::time::sleep(PACE).await;
            }
            number
        }
    });
    let reading = tokio::spawn({
        let (balancer, done, token) = (Arc::clone(&balancer), Arc::clone(&done), token.clone());
        async move {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                balancer.call(Some(&token), "/api/posts", None).await;
                reads += 1;
            }
            reads
        }
    });

    let start = Instant::now();
    let mut longest = Duration::ZERO;
    for number in 0..nodes.len() {
        let stopped = Instant::now();
        nodes[number].signal("TERM");
        assert!(nodes[number].wait_for_end().await.success());
        longest = longest.max(stopped.elapsed());
        nodes[number].upgrade();
        nodes[number].start_again().await;
        know_each_other(&nodes).await;
        crowd.all_back().await;
    }
    let took = start.elapsed();
    tokio::time::sleep(Duration::from_millis(500)).await;
    done.store(true, Ordering::Relaxed);
    let (published, reads): (u64, u64) = (publishing.await.unwrap(), reading.await.unwrap());
    let expected = |channel: u64| (0..published).filter(move |number| number % CHANNELS == channel);
    until("the last publications are everywhere", async || Some(())).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut moved = 0;
    for subscriber in crowd.end().await {
        let channel = subscriber.channel.strip_prefix("room:").unwrap().parse().unwrap();
        assert!(subscriber.numbers.iter().copied().eq(expected(channel)), "{}", subscriber.channel);
        moved += subscriber.recovered;
    }
    assert_eq!(balancer.failed.load(Ordering::Relaxed), 0, "failed requests");
    assert!(moved >= SESSIONS, "{moved} sessions moved");
    println!(
        "{published} published, {reads} read, none failed; {moved} moves of {SESSIONS} sessions, all recovered, nothing lost or \
         twice; {took:?} in all, a node gone within {longest:?}"
    );
}
