//! A client that does little, and measures how long that takes.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::server::Server;

/// The channel in which the canary alone publishes.
const CHANNEL: &str = "room:canary";
/// Pause between two requests of the canary.
const PAUSE: Duration = Duration::from_millis(20);
/// An answer that takes longer counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the requests took.
#[derive(Default)]
pub(super) struct Latencies {
    taken: Vec<Duration>,
    /// Requests without a good answer within [`PATIENCE`].
    pub(super) failed: usize,
}

impl Latencies {
    fn add(&mut self, start: Instant, good: bool) {
        self.taken.push(start.elapsed());
        self.failed += usize::from(!good);
    }

    fn quantile(&self, quantile: f64) -> Duration {
        let mut sorted = self.taken.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index below the length"
        )]
        let at = ((sorted.len() as f64 * quantile) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or(PATIENCE)
    }

    /// What all but the slowest hundredth took at most.
    pub(super) fn p99(&self) -> Duration {
        self.quantile(0.99)
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |quantile| self.quantile(quantile).as_secs_f64() * 1000.0;
        write!(f, "{:.1} / {:.1} / {:.0}", millis(0.5), millis(0.99), millis(1.0))
    }
}

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// A client on a node.
pub(super) struct Canary {
    socket: Socket,
    health: String,
    next: u64,
}

impl Canary {
    /// Connects and subscribes to the canary's own channel.
    pub(super) async fn perch(server: &Server, token: &str) -> Self {
        let (mut socket, _) = connect_async(server.websocket_url()).await.unwrap();
        let connect = json!({"id": 1, "connect": {"token": token}});
        let subscribe = json!({"id": 2, "subscribe": {"channel": CHANNEL}});
        socket.send(Message::text(format!("{connect}\n{subscribe}"))).await.unwrap();
        let mut canary = Self { socket, health: server.url("/api/health"), next: 0 };
        canary.until(|reply| reply["subscribe"].is_object()).await.expect("the canary is not subscribed");
        canary
    }

    /// Publishes and asks for health until a time; how long each took.
    pub(super) async fn watch(self, end: Instant) -> (Latencies, Latencies) {
        let health = tokio::spawn(ask_for_health(self.health.clone(), end));
        let messages = tokio::spawn(self.publish_until(end));
        (messages.await.unwrap(), health.await.unwrap())
    }

    async fn publish_until(mut self, end: Instant) -> Latencies {
        let mut latencies = Latencies::default();
        while Instant::now() < end {
            self.next += 1;
            let number = self.next;
            let publish = json!({"id": 10 + number, "publish": {"channel": CHANNEL, "data": number}});
            let start = Instant::now();
            let came = async {
                self.socket.send(Message::text(publish.to_string())).await.ok()?;
                self.until(|reply| reply["push"]["pub"]["data"] == number).await
            };
            let came = tokio::time::timeout(PATIENCE, came).await.ok().flatten();
            latencies.add(start, came.is_some());
            if came.is_none() {
                // A socket that was closed stays closed; its loss is counted once.
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        latencies
    }

    /// Reads until a message fits; `None` once the socket is closed.
    async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Option<()> {
        loop {
            let Message::Text(text) = self.socket.next().await?.ok()? else { continue };
            for reply in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                let reply = reply.ok()?;
                if reply == json!({}) {
                    self.socket.send(Message::text("{}")).await.ok()?;
                }
                if fits(&reply) {
                    return Some(());
                }
            }
        }
    }
}

async fn ask_for_health(url: String, end: Instant) -> Latencies {
    // Each request comes by a connection of its own, so that accepting is measured too.
    let client = Client::builder().pool_max_idle_per_host(0).timeout(PATIENCE).build().unwrap();
    let mut latencies = Latencies::default();
    while Instant::now() < end {
        let start = Instant::now();
        let answer = client.get(&url).send().await;
        latencies.add(start, answer.is_ok_and(|answer| answer.status() == StatusCode::OK));
        tokio::time::sleep(PAUSE).await;
    }
    latencies
}
