//! What operators see at `/metrics`.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::sdk::{Sdk, SdkClient};
use crate::server::{ROOM, Server, until};

/// Counters whose labels are known only from the routes and the statements that are used.
const OF_USE: [&str; 1] = ["http_requests_total"];

/// All samples, with their labels and values.
async fn samples(server: &Server) -> BTreeMap<String, f64> {
    let text = server.http.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// The samples of counters, with their labels and without their values.
async fn counters(server: &Server) -> BTreeSet<String> {
    let names = samples(server).await.into_keys();
    let is_known = |name: &String| name.split('{').next().is_some_and(|name| name.ends_with("_total"));
    names.filter(is_known).filter(|name| !OF_USE.iter().any(|family| name.starts_with(family))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_counter_appears_only_when_it_counts() {
    let server = Server::start_with(ROOM).await;
    let before = counters(&server).await;
    assert!(before.contains(r#"errors_total{severity="error",type="http"}"#), "{before:#?}");
    for sample in
        [r#"log_lines_dropped_total{reason="slow_reader"}"#, r#"realtime_disconnects_total{code="3012"}"#]
    {
        assert!(before.contains(sample), "{sample} is not in {before:#?}");
    }

    // Sessions of both encodings come, publish, are refused, and go.
    let ana = server.user("ana", "user");
    for sdk in Sdk::ALL {
        let mut client = SdkClient::subscribed(sdk, &server, &ana, "room:a").await;
        server.api("publish", json!({"channel": "room:a", "data": {"n": 1}})).await;
        client.publication().await;
        client.act(json!({"do": "rpc", "method": "no such method", "data": {}})).await;
    }
    server.api("publish", json!({"channel": "alone", "data": {}})).await;
    let body = json!({"content": "hola"});
    server.call(Method::POST, "/api/posts", Some(&ana.token), Some(body)).await;
    server.api("disconnect", json!({"user": "ana"})).await;
    let after = counters(&server).await;
    let late: Vec<_> = after.difference(&before).collect();
    assert!(late.is_empty(), "{late:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_build_is_told() {
    let server = Server::start().await;
    let text = server.http.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    let line = text.lines().find(|line| line.starts_with("build_info{")).unwrap();
    assert!(line.contains(&version) && line.ends_with(" 1"), "{line}");
}

/// M1: anybody can invent paths, methods and names of channels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_strangers_make_no_series() {
    let server = Server::start_with(ROOM).await;
    let ana = server.user("ana", "user");
    let invented = || mundotango_protocol::new_id();
    let paths: [fn(&str) -> String; 4] = [
        |id| format!("/{id}"),
        |id| format!("/api/{id}/posts"),
        |id| format!("/api/posts/{id}?{id}={id}"),
        |id| format!("/api/posts/{id}/comments/{id}"),
    ];
    let ask = async |number: usize| {
        let method = match number % 8 {
            0 => Method::from_bytes(format!("X{number}").as_bytes()).unwrap(),
            1 => Method::DELETE,
            2 => Method::OPTIONS,
            _ => Method::GET,
        };
        let path = paths[number % paths.len()](&invented());
        server.http.request(method, server.url(&path)).bearer_auth(&ana.token).send().await.unwrap();
    };
    let publish = async || {
        let channel = format!("room:{}", invented());
        server.api("publish", json!({"channel": channel, "data": {}})).await;
        server.api("publish", json!({"channel": format!("{}:x", invented()), "data": {}})).await;
    };
    let storm = async |times: usize| {
        for begin in (0..times).step_by(50) {
            join_all((begin..begin + 50).map(&ask)).await;
            publish().await;
        }
    };
    // One of each sort makes its series, and the rest make no more.
    storm(400).await;
    let before = samples(&server).await;
    storm(9_600).await;
    let after = samples(&server).await;
    let new: Vec<_> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    assert!(new.is_empty(), "{new:#?}");
    println!("{} series before and after 10,000 requests", before.len());
}

/// M2 and M3: a session is no long request, and no gauge is left with what is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_counted_by_their_transport_and_gauges_come_back_to_zero() {
    let server = Server::start_with(&[ROOM, &[("HTTP__UNIDIRECTIONAL", "true")]].concat()).await;
    let ana = server.user("ana", "user");
    let of = async |name: &str| samples(&server).await.get(name).copied();
    let sse = r#"realtime_sessions_active{encoding="json",transport="uni_sse"}"#;
    let connect = json!({"token": ana.token}).to_string();
    let url = reqwest::Url::parse_with_params(&server.url("/connection/uni_sse"), [("cf_connect", connect)]);
    let stream = server.http.get(url.unwrap()).send().await.unwrap();
    assert!(stream.status().is_success());
    let client = SdkClient::subscribed(Sdk::ALL[0], &server, &ana, "room:a").await;
    until("both sessions are counted", async || {
        let both = [of(sse).await, of("websocket_connections_active").await];
        (both == [Some(1.0); 2]).then_some(())
    })
    .await;
    drop((stream, client));
    until("nothing is left", async || {
        let all = samples(&server).await;
        let active = |(name, value): (&String, &f64)| {
            let is_gauge =
                name.starts_with("realtime_sessions_active") || name == "websocket_connections_active";
            if is_gauge { *value } else { 0.0 }
        };
        let lives = r#"realtime_session_duration_seconds_count{transport="uni_sse"}"#;
        (all.iter().map(active).sum::<f64>() == 0.0 && all[lives] >= 1.0).then_some(())
    })
    .await;
}

/// Metrics of what is not built yet are there, at 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nothing_feeds_yet_is_there_at_zero() {
    let server = Server::start().await;
    let all = samples(&server).await;
    for family in mundotango_ops::UNFED {
        let own: Vec<_> = all.iter().filter(|(name, _)| name.starts_with(family)).collect();
        assert!(!own.is_empty() && own.iter().all(|(_, value)| **value == 0.0), "{family}: {own:?}");
    }
}
