//! What is left when NATS, Redis or the CQL server is gone, and how it comes back. Each stands behind a proxy that can end
//! connections as a killed server does, and hold them as a frozen one does.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mundotango_storage::cache::NEAR_TTL;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cluster::{begin, know_each_other, service, settings, start_with, with};
use crate::crowd::Crowd;
use crate::proxy::{CuttingProxy, Mode};
use crate::sdk::{Sdk, SdkClient};
use crate::server::{Server, User, until};

/// How long a part stays away.
const OUTAGE: Duration = Duration::from_secs(4);
/// How soon all has to be as before once the part is there again.
pub const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Where a service is, from an address with or without a scheme.
pub fn address_of(service: &str) -> SocketAddr {
    service.rsplit('/').next().unwrap().parse().unwrap()
}

/// What `/api/health` says of a part.
async fn health(node: &Server, part: &str) -> Value {
    let health: Value = node.http.get(node.url("/api/health")).send().await.unwrap().json().await.unwrap();
    let parts = health["parts"].as_array().unwrap();
    parts.iter().find(|known| known["name"] == part).unwrap()["healthy"].clone()
}

/// Waits until `/api/health` says so of a part.
pub async fn healthy(node: &Server, part: &str, wanted: bool) {
    until("health tells", async || (health(node, part).await == wanted).then_some(())).await;
}

/// A request, its status, and how long it took.
async fn timed(node: &Server, user: &User, path: &str) -> (StatusCode, Duration) {
    let start = Instant::now();
    let (status, _) = node.get(path, user).await;
    (status, start.elapsed())
}

pub fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99 / 100).min(times.len() - 1)]
}

/// G24: without Redis nothing that users ask for fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g24_redis_gone() {
    let redis = CuttingProxy::start(address_of(&service("MUNDOTANGO_TEST_REDIS"))).await;
    let settings = with(&settings(), "CLUSTER__REDIS", &format!("redis://{}", redis.address()));
    let nodes = start_with(&settings, 2).await;
    let ana = nodes[0].user("ana", "user");
    let mut reader = SdkClient::subscribed(Sdk::JavaScriptJson, &nodes[1], &ana, "posts:feed").await;
    for mode in [Mode::Dead, Mode::Frozen] {
        redis.set(mode);
        let start = Instant::now();
        let mut times = Vec::new();
        let mut posts = 0;
        while start.elapsed() < OUTAGE {
            let (status, took) = timed(&nodes[0], &ana, "/api/posts").await;
            assert_eq!(status, StatusCode::OK);
            times.push(took);
            let body = json!({"content": format!("{mode:?} {posts}")});
            let (status, answer) = nodes[0].post("/api/posts", &ana, body).await;
            assert_eq!(status, StatusCode::CREATED, "{answer}");
            posts += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        healthy(&nodes[0], "redis", false).await;
        let (status, _) = timed(&nodes[0], &ana, "/api/health/ready").await;
        assert_eq!(status, StatusCode::OK, "it can still take work");
        // Live, without history, from the moment on that it is known that Redis is gone.
        until("a post comes without history", async || {
            let body = json!({"content": "live"});
            nodes[0].post("/api/posts", &ana, body).await;
            reader.publication().await["post"]["content"].is_string().then_some(())
        })
        .await;
        let mut late = SdkClient::start(Sdk::PythonJson, nodes[0].address(), &ana, "posts:feed");
        assert_ne!(late.event("subscribed").await["recoverable"], true, "the client is told");
        redis.set(Mode::Open);
        let back = Instant::now();
        healthy(&nodes[0], "redis", true).await;
        until("history is kept again", async || {
            let published = nodes[0].api("publish", json!({"channel": "room:back", "data": 1})).await;
            published["result"]["offset"].as_u64().filter(|offset| *offset > 0)
        })
        .await;
        assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
        println!("redis {mode:?}: {} reads, p99 {:?}, back in {:?}", times.len(), p99(times), back.elapsed());
    }
}

/// G26: without the CQL server requests fail fast and clearly, and sockets stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g26_the_cql_server_gone() {
    let cql = CuttingProxy::start(address_of(&service("MUNDOTANGO_TEST_CQL"))).await;
    let settings = with(&settings(), "CLUSTER__CQL__NODES", &json!([cql.address()]).to_string());
    let settings = with(&settings, "CLUSTER__CQL__REQUEST_TIMEOUT", "1s");
    let nodes = start_with(&settings, 2).await;
    let ana = nodes[0].user("ana", "user");
    let addresses = nodes.iter().map(Server::address).collect();
    let crowd = Crowd::gather(50, addresses, &ana.token, |_| "room:a".to_owned()).await;
    let mut number = 0;
    for mode in [Mode::Dead, Mode::Frozen] {
        cql.set(mode);
        let start = Instant::now();
        let mut times = Vec::new();
        while start.elapsed() < OUTAGE {
            let asking = (0..8).map(|_| timed(&nodes[0], &ana, "/api/posts"));
            for (status, took) in futures_util::future::join_all(asking).await {
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    times.push(took);
                }
            }
            // The socket's own work goes on meanwhile.
            let published = nodes[1].api("publish", json!({"channel": "room:a", "data": number})).await;
            assert!(published["error"].is_null(), "{published}");
            number += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let answer =
            nodes[0].http.get(nodes[0].url("/api/posts")).bearer_auth(&ana.token).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        healthy(&nodes[0], "store", false).await;
        times.sort_unstable();
        let median = times[times.len() / 2];
        assert!(median < Duration::from_millis(20), "the breaker is open: {median:?}");
        cql.set(Mode::Open);
        let back = Instant::now();
        until("the store is back", async || {
            (timed(&nodes[0], &ana, "/api/posts").await.0 == StatusCode::OK).then_some(())
        })
        .await;
        assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
        println!(
            "cql {mode:?}: {} refused, median {median:?}, p99 {:?}, back in {:?}",
            times.len(),
            p99(times.clone()),
            back.elapsed()
        );
    }
    assert_eq!(crowd.here(), 50);
    tokio::time::sleep(Duration::from_millis(500)).await;
    for subscriber in crowd.end().await {
        assert_eq!(subscriber.recovered, 0, "no socket was lost");
        assert_eq!(subscriber.numbers, (0..number).collect::<Vec<_>>());
    }
}

/// G27: what the store did not say is told as neither done nor failed, and can be asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g27_a_write_without_an_answer() {
    let cql = CuttingProxy::start(address_of(&service("MUNDOTANGO_TEST_CQL"))).await;
    let settings = with(&settings(), "CLUSTER__CQL__NODES", &json!([cql.address()]).to_string());
    let settings = with(&settings, "CLUSTER__CQL__REQUEST_TIMEOUT", "1s");
    let nodes = start_with(&settings, 1).await;
    let (host, guest) = (nodes[0].user("host", "user"), nodes[0].user("guest", "user"));
    let body = json!({
        "title": "Practica", "description": "", "eventDate": "2030-01-01T20:00:00Z",
        "location": "Here", "eventType": "practica", "capacity": 1,
    });
    let (_, event) = nodes[0].post("/api/events", &host, body).await;
    let path = format!("/api/events/{}/rsvp", event["id"].as_str().unwrap());
    // Statements are prepared by one who answers before.
    nodes[0].post(&path, &host, json!({"status": "maybe"})).await;
    let mut unknown = 0;
    for round in 0..20 {
        let muting = async {
            // At different points of the answer's way, which is longer on a machine that has much to do.
            let after = [3, 4, 5, 6, 7, 10, 20, 40, 80, 160][round % 10];
            tokio::time::sleep(Duration::from_millis(after)).await;
            cql.set(Mode::Mute);
        };
        let ((status, answer), ()) = tokio::join!(nodes[0].post(&path, &guest, json!({})), muting);
        if status == StatusCode::SERVICE_UNAVAILABLE && answer["detail"].as_str().unwrap().contains("unknown")
        {
            unknown += 1;
        }
        assert!(status == StatusCode::OK || status == StatusCode::SERVICE_UNAVAILABLE, "{status}: {answer}");
        cql.set(Mode::Open);
        let (status, answer) = until("it can be asked again", async || {
            let (status, answer) = nodes[0].post(&path, &guest, json!({})).await;
            (status == StatusCode::OK).then_some((status, answer))
        })
        .await;
        assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("going")));
        let (_, event) = nodes[0].get(path.trim_end_matches("/rsvp"), &guest).await;
        assert_eq!((&event["counts"]["going"], &event["counts"]["maybe"]), (&json!(1), &json!(1)), "{event}");
        nodes[0].post(&path, &guest, json!({"status": "declined"})).await;
    }
    assert!(unknown > 0, "no fault was injected");
    println!("{unknown} of 20 answers were unknown; each asked again came to one place");
}

/// G28: without NATS each node serves its own, and what was missed is made up for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g28_nats_gone() {
    let nats = CuttingProxy::start(address_of(&service("MUNDOTANGO_TEST_NATS"))).await;
    let settings = with(&settings(), "CLUSTER__NATS", &format!("nats://{}", nats.address()));
    let nodes = start_with(&settings, 2).await;
    let ana = nodes[0].user("ana", "user");
    let addresses = nodes.iter().map(Server::address).collect();
    let crowd = Crowd::gather(50, addresses, &ana.token, |_| "room:a".to_owned()).await;
    let mut number: u64 = 0;
    for mode in [Mode::Dead, Mode::Frozen] {
        let mut own = SdkClient::subscribed(Sdk::PythonJson, &nodes[0], &ana, "room:a").await;
        nats.set(mode);
        let start = Instant::now();
        let mut times = Vec::new();
        while start.elapsed() < OUTAGE * 2 {
            let asked = Instant::now();
            let published = nodes[0].api("publish", json!({"channel": "room:a", "data": number})).await;
            assert!(published["error"].is_null(), "{published}");
            times.push(asked.elapsed());
            assert_eq!(own.publication().await, number, "its own node tells at once");
            number += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        healthy(&nodes[0], "nats", false).await;
        nats.set(Mode::Open);
        let back = Instant::now();
        healthy(&nodes[0], "nats", true).await;
        know_each_other(&nodes).await;
        assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
        println!(
            "nats {mode:?}: {} published, p99 {:?}, back in {:?}",
            times.len(),
            p99(times),
            back.elapsed()
        );
    }
    // Channels look at their histories within two seconds after the bus is back, each at a moment of its own.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(crowd.here(), 50);
    for subscriber in crowd.end().await {
        assert_eq!(subscriber.numbers, (0..number).collect::<Vec<_>>(), "in order, on both nodes");
        assert_eq!(subscriber.recovered, 0, "no socket was lost");
    }
}

/// G25: who does not hear what others change reads nothing from its own memory, and whatever happens nothing is older than
/// the near tier keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g25_a_node_that_hears_nothing_reads_nothing_old() {
    let nats = CuttingProxy::start(address_of(&service("MUNDOTANGO_TEST_NATS"))).await;
    let settings = settings();
    let url = format!("nats://{}", nats.address());
    let mut nodes = vec![begin(&settings, &[]), begin(&settings, &[("CLUSTER__NATS", &url)])];
    for node in &mut nodes {
        node.wait_until_ready().await;
    }
    know_each_other(&nodes).await;
    let ana = nodes[0].register(&format!("deaf{}", std::process::id())).await;
    let path = "/api/users/me";
    for mode in [Mode::Dead, Mode::Frozen] {
        // It is near at the second node.
        for _ in 0..3 {
            assert_eq!(nodes[1].get(path, &ana).await.0, StatusCode::OK);
        }
        nats.set(mode);
        if mode == Mode::Dead {
            healthy(&nodes[1], "nats", false).await;
        }
        let city = format!("{mode:?}");
        let change = json!({"city": city});
        let (status, _) = nodes[0].call(Method::PATCH, path, Some(&ana.token), Some(change)).await;
        assert_eq!(status, StatusCode::OK);
        let changed = Instant::now();
        let stale = until("the change shows", async || {
            let (status, me) = nodes[1].get(path, &ana).await;
            assert_eq!(status, StatusCode::OK);
            (me["city"] == city).then(|| changed.elapsed())
        })
        .await;
        let bound = if mode == Mode::Dead { Duration::from_millis(500) } else { NEAR_TTL + NEAR_TTL / 5 };
        assert!(stale < bound, "{stale:?}");
        println!("nats {mode:?}: the other node read the old value for {stale:?} at most");
        nats.set(Mode::Open);
        know_each_other(&nodes).await;
        healthy(&nodes[1], "nats", true).await;
    }
}

/// G30: in whatever order the parts come, the node says for which it waits, and is ready when all are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g30_parts_may_come_in_any_order() {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    const NAMES: [&str; 3] = ["redis", "nats", "store"];
    let settings = settings();
    let starts = ORDERS.map(|order| {
        let settings = settings.clone();
        async move {
            let mut proxies = Vec::new();
            for name in ["REDIS", "NATS", "CQL"] {
                let proxy =
                    CuttingProxy::start(address_of(&service(&format!("MUNDOTANGO_TEST_{name}")))).await;
                proxy.set(Mode::Dead);
                proxies.push(proxy);
            }
            let [redis, nats, cql] = [0, 1, 2].map(|part| proxies[part].address());
            let mut node = begin(
                &settings,
                &[
                    ("CLUSTER__REDIS", &format!("redis://{redis}")),
                    ("CLUSTER__NATS", &format!("nats://{nats}")),
                    ("CLUSTER__CQL__NODES", &json!([cql]).to_string()),
                ],
            );
            node.wait_until_it_listens().await;
            for (opened, part) in order.into_iter().enumerate() {
                until("it says for which part it waits", async || {
                    let (status, ready) = node.call(Method::GET, "/api/health/ready", None, None).await;
                    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                    let missing = order[opened..].iter().map(|part| NAMES[*part]);
                    missing.into_iter().any(|name| ready["parts"][0]["name"] == name).then_some(())
                })
                .await;
                proxies[part].set(Mode::Open);
            }
            let last = Instant::now();
            node.wait_until_ready().await;
            last.elapsed()
        }
    });
    let took = futures_util::future::join_all(starts).await;
    println!("six nodes, each with its parts in another order: ready {took:?} after the last part");
}
