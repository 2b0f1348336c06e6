//! A network that fails for everybody at once: a thousand sessions are cut in mid-stream and come back.

use std::time::Duration;

use serde_json::json;

use crate::crowd::Crowd;
use crate::proxy::CuttingProxy;
use crate::server::{ROOM, Server};

const SESSIONS: usize = 1_000;
const CHANNELS: usize = 50;
const PUBLICATIONS_A_SECOND: u32 = 100;
const SECONDS: u32 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_that_are_cut_miss_nothing() {
    let mut settings = ROOM.to_vec();
    settings.push(("CHANNELS__NAMESPACES__ROOM__PRESENCE", "false"));
    // The storm is to wait for its turn too.
    settings.push(("HTTP__CONNECTION_RATE", "1000"));
    let server = Server::start_with(&settings).await;
    let proxy = CuttingProxy::start(server.address()).await;
    let token = server.user("ana", "user").token;
    let crowd = Crowd::gather(SESSIONS, vec![proxy.address()], &token, |number| {
        format!("room:{}", number % CHANNELS)
    })
    .await;

    let mut pace = tokio::time::interval(Duration::from_secs(1) / PUBLICATIONS_A_SECOND);
    let all = PUBLICATIONS_A_SECOND * SECONDS;
    let mut cut = 0;
    for number in 0..all {
        pace.tick().await;
        let channel = format!("room:{}", number as usize % CHANNELS);
        let answer = server.api("publish", json!({"channel": channel, "data": number})).await;
        assert!(answer["error"].is_null(), "{answer}");
        if number == all / 3 || number == all * 2 / 3 {
            cut += proxy.cut();
        }
    }
    assert_eq!(cut, 2 * SESSIONS);
    // Those who were cut last come back within the SDKs' patience.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut deliveries = 0;
    for subscriber in crowd.end().await {
        let channel: u64 = subscriber.channel.strip_prefix("room:").unwrap().parse().unwrap();
        let expected: Vec<_> =
            (0..u64::from(all)).filter(|number| number % CHANNELS as u64 == channel).collect();
        assert_eq!(subscriber.numbers, expected, "{}", subscriber.channel);
        assert_eq!(subscriber.recovered, 2);
        deliveries += subscriber.numbers.len();
    }
    assert_eq!(deliveries, all as usize * SESSIONS / CHANNELS);
}
