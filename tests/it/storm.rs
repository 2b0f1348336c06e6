//! A network that fails for everybody at once: a thousand sessions are cut in mid-stream and come back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::proxy::CuttingProxy;
use crate::server::{ROOM, Server, until};

const SESSIONS: usize = 1_000;
const CHANNELS: usize = 50;
const PUBLICATIONS_A_SECOND: u32 = 100;
const SECONDS: u32 = 10;

/// A subscriber that does what SDKs do: it comes back after a cut and recovers from where it was.
struct Subscriber {
    address: SocketAddr,
    token: String,
    channel: String,
    epoch: String,
    offset: u64,
    numbers: Vec<u64>,
    recovered: usize,
    subscribed_once: bool,
}

impl Subscriber {
    /// One connection, until it ends.
    async fn connection(&mut self, ready: &AtomicUsize, done: &AtomicBool) -> Option<()> {
        let url = format!("ws://{}/connection/websocket", self.address);
        let (mut socket, _) = connect_async(url).await.ok()?;
        let connect = json!({"id": 1, "connect": {"token": self.token}});
        let mut subscribe = json!({"channel": self.channel});
        if self.subscribed_once {
            subscribe["recover"] = json!(true);
            subscribe["offset"] = json!(self.offset);
            subscribe["epoch"] = json!(self.epoch);
        }
        let commands = format!("{connect}\n{}", json!({"id": 2, "subscribe": subscribe}));
        socket.send(Message::text(commands)).await.ok()?;
        loop {
            let next = tokio::time::timeout(Duration::from_millis(200), socket.next()).await;
            let message = match next {
                Err(_) if done.load(Ordering::Relaxed) => return None,
                Err(_) => continue,
                Ok(message) => message?.ok()?,
            };
            let Message::Text(text) = message else { continue };
            for reply in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                let reply = reply.unwrap();
                assert!(reply["error"].is_null(), "{reply}");
                if reply == json!({}) {
                    socket.send(Message::text("{}")).await.ok()?;
                }
                if let Some(result) = reply.get("subscribe") {
                    self.subscribed(result, ready);
                }
                self.take(&reply["push"]["pub"]);
            }
        }
    }

    fn subscribed(&mut self, result: &Value, ready: &AtomicUsize) {
        if self.subscribed_once {
            assert_eq!(result["recovered"], true, "{result}");
            self.recovered += 1;
        } else {
            self.subscribed_once = true;
            self.offset = result["offset"].as_u64().unwrap_or_default();
            ready.fetch_add(1, Ordering::Relaxed);
        }
        result["epoch"].as_str().unwrap().clone_into(&mut self.epoch);
        for publication in result["publications"].as_array().into_iter().flatten() {
            self.take(publication);
        }
    }

    fn take(&mut self, publication: &Value) {
        if let Some(offset) = publication["offset"].as_u64() {
            assert_eq!(offset, self.offset + 1, "in order, none missing, none twice");
            self.offset = offset;
            self.numbers.push(publication["data"].as_u64().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_that_are_cut_miss_nothing() {
    let mut settings = ROOM.to_vec();
    settings.push(("CHANNELS__NAMESPACES__ROOM__PRESENCE", "false"));
    // The storm is to wait for its turn too.
    settings.push(("HTTP__CONNECTION_RATE", "1000"));
    let server = Server::start_with(&settings).await;
    let proxy = CuttingProxy::start(server.address()).await;
    let token = server.user("ana", "user").token;
    let (ready, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut subscribers = JoinSet::new();
    for number in 0..SESSIONS {
        let mut subscriber = Subscriber {
            address: proxy.address(),
            token: token.clone(),
            channel: format!("room:{}", number % CHANNELS),
            epoch: String::new(),
            offset: 0,
            numbers: Vec::new(),
            recovered: 0,
            subscribed_once: false,
        };
        let (ready, done) = (Arc::clone(&ready), Arc::clone(&done));
        subscribers.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                subscriber.connection(&ready, &done).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            subscriber
        });
    }
    until("all are there", async || (ready.load(Ordering::Relaxed) == SESSIONS).then_some(())).await;

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
    done.store(true, Ordering::Relaxed);
    let mut deliveries = 0;
    while let Some(subscriber) = subscribers.join_next().await {
        let subscriber = subscriber.unwrap();
        let channel: u64 = subscriber.channel.strip_prefix("room:").unwrap().parse().unwrap();
        let expected: Vec<_> =
            (0..u64::from(all)).filter(|number| number % CHANNELS as u64 == channel).collect();
        assert_eq!(subscriber.numbers, expected, "{}", subscriber.channel);
        assert_eq!(subscriber.recovered, 2);
        deliveries += subscriber.numbers.len();
    }
    assert_eq!(deliveries, all as usize * SESSIONS / CHANNELS);
}
