//! What operators see at `/metrics`.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use crate::sdk::{Sdk, SdkClient};
use crate::server::{ROOM, Server};

/// Counters whose labels are known only from the routes and the statements that are used.
const OF_USE: [&str; 1] = ["http_requests_total"];

/// The samples of counters, with their labels and without their values.
async fn counters(server: &Server) -> BTreeSet<String> {
    let text = server.http.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let names = samples.map(|(name, _)| name.to_owned());
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
