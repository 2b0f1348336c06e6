//! What a change causes happens, also where the node dies right after the change.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::cluster::{begin, know_each_other, service, settings, with};
use crate::proxy::{CuttingProxy, Mode};
use crate::reactions::watch;
use crate::sdk::{Sdk, SdkClient};
use crate::server::Server;

/// Longer than a node that takes over needs to notice, and to see that nobody else carries the effects out.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(20);

/// Two nodes of a cluster of their own, and the proxy through which the second one reaches Redis.
async fn one_stays_and_one_dies() -> ([Server; 2], CuttingProxy) {
    let redis = service("MUNDOTANGO_TEST_REDIS");
    let proxy = CuttingProxy::start(redis.rsplit('/').next().unwrap().parse().unwrap()).await;
    // What is left in a keyspace is carried out by any cluster on it.
    let keyspace = format!("outbox_{}", mundotango_protocol::new_id().replace('-', ""));
    let settings = with(&settings(), "CLUSTER__CQL__KEYSPACE", &keyspace);
    let through_proxy = format!("redis://{}", proxy.address());
    let mut nodes = [begin(&settings, &[]), begin(&settings, &[("CLUSTER__REDIS", &through_proxy)])];
    for node in &mut nodes {
        node.wait_until_ready().await;
    }
    know_each_other(&nodes).await;
    (nodes, proxy)
}

/// A publication that could not be told at once comes when its post may be for fewer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_post_said_is_not_told_late_to_those_who_may_not_read_it_any_more() {
    let ([here, mut dying], proxy) = one_stays_and_one_dies().await;
    let (ana, beto) = (here.user("ana", "user"), here.user("beto", "user"));
    let feed = watch(&here, &beto, "posts:feed").await.unwrap();

    // Whatever this node publishes hangs in front of Redis when it dies.
    proxy.set(Mode::Frozen);
    let (status, post) = dying.post("/api/posts", &ana, json!({"content": "all may know"})).await;
    assert_eq!(status, StatusCode::CREATED, "{post}");
    dying.signal("KILL");
    dying.wait_for_end().await;
    let id = post["id"].as_str().unwrap();
    let narrowed = Some(json!({"visibility": "private"}));
    let (status, post) =
        here.call(Method::PATCH, &format!("/api/posts/{id}"), Some(&ana.token), narrowed).await;
    assert_eq!(status, StatusCode::OK, "{post}");

    let changed = json!({"type": "post.changed", "postId": id});
    let told = async {
        while !feed.lock().iter().any(|(_, data)| *data == changed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let told = tokio::time::timeout(TAKEN_OVER_WITHIN, told).await;
    assert!(told.is_ok(), "{:?}", feed.lock());
    assert!(!format!("{:?}", feed.lock()).contains("all may know"), "{:?}", feed.lock());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_guest_is_told_though_the_node_died_in_between() {
    let ([here, mut dying], proxy) = one_stays_and_one_dies().await;
    let (ana, beto) = (here.user("ana", "user"), here.user("beto", "user"));
    let mut guest = SdkClient::subscribed(Sdk::JavaScriptJson, &here, &beto, "posts:feed").await;

    let event = json!({
        "title": "Milonga", "description": "", "eventDate": "2040-05-01T20:00:00Z", "eventType": "milonga",
        "location": "Salon", "capacity": 1,
    });
    let (status, event) = here.post("/api/events", &ana, event).await;
    assert_eq!(status, StatusCode::CREATED, "{event}");
    let rsvp = format!("/api/events/{}/rsvp", event["id"].as_str().unwrap());
    here.post(&rsvp, &ana, json!({"status": "going"})).await;
    let (_, waiting) = here.post(&rsvp, &beto, json!({"status": "going"})).await;
    assert_eq!(waiting["status"], "waitlisted");

    // Whatever this node publishes hangs in front of Redis when it dies.
    proxy.set(Mode::Frozen);
    let (status, answer) = dying.post(&rsvp, &ana, json!({"status": "declined"})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    dying.signal("KILL");
    dying.wait_for_end().await;

    // The notification of the same comes on the same channel.
    let mut promoted = async || loop {
        let told = guest.event("serverPublication").await;
        if told["data"]["type"] != "notification.created" {
            return told;
        }
    };
    let told = tokio::time::timeout(TAKEN_OVER_WITHIN, promoted()).await.unwrap();
    assert_eq!(told["data"]["type"], "event.promoted", "{told}");
    assert_eq!(told["data"]["rsvp"]["status"], "going");
    // Once: nothing else comes within the time of the next looks.
    let again = tokio::time::timeout(Duration::from_secs(6), promoted()).await;
    assert!(again.is_err(), "{again:?}");
    let metrics = metrics_of(&here).await;
    assert!(
        metrics.lines().any(|line| line.starts_with("outbox_effects_total{when=\"later\"} ")),
        "{metrics}"
    );
}

async fn metrics_of(node: &Server) -> String {
    node.http.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap()
}
