//! Many subscribers that do what SDKs do: they come back after a cut, on whichever node answers, and recover.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::server::until;

/// Pause before a subscriber that was cut comes back; the SDKs' is random too.
const COME_BACK: Duration = Duration::from_millis(50);
/// How long a connection may take to open.
const OPEN_WITHIN: Duration = Duration::from_secs(2);

/// One subscriber, and what it got.
pub struct Subscriber {
    addresses: Arc<Vec<SocketAddr>>,
    /// The node that it is at, or goes to next.
    at: usize,
    token: String,
    pub channel: String,
    epoch: String,
    offset: u64,
    /// The data of all publications, in the order in which they came.
    pub numbers: Vec<u64>,
    /// How often it recovered.
    pub recovered: usize,
    /// How long each absence took.
    pub absences: Vec<Duration>,
    cut_at: Option<Instant>,
    subscribed_once: bool,
}

struct Shared {
    ready: AtomicUsize,
    here: AtomicUsize,
    done: AtomicBool,
}

/// Subscribers that run by themselves.
pub struct Crowd {
    shared: Arc<Shared>,
    running: JoinSet<Subscriber>,
    count: usize,
}

impl Crowd {
    /// Starts subscribers, spread over nodes and channels, and waits until all are there.
    pub async fn gather(
        count: usize,
        addresses: Vec<SocketAddr>,
        token: &str,
        channel: impl Fn(usize) -> String,
    ) -> Self {
        let shared = Arc::new(Shared {
            ready: AtomicUsize::new(0),
            here: AtomicUsize::new(0),
            done: AtomicBool::new(false),
        });
        let addresses = Arc::new(addresses);
        let mut running = JoinSet::new();
        for number in 0..count {
            let mut subscriber = Subscriber {
                addresses: Arc::clone(&addresses),
                at: number % addresses.len(),
                token: token.to_owned(),
                channel: channel(number),
                epoch: String::new(),
                offset: 0,
                numbers: Vec::new(),
                recovered: 0,
                absences: Vec::new(),
                cut_at: None,
                subscribed_once: false,
            };
            let shared = Arc::clone(&shared);
            running.spawn(async move {
                while !shared.done.load(Ordering::Relaxed) {
                    subscriber.connection(&shared).await;
                    if subscriber.cut_at.is_none() {
                        subscriber.cut_at = Some(Instant::now());
                    }
                    subscriber.at += 1;
                    tokio::time::sleep(COME_BACK).await;
                }
                subscriber
            });
        }
        let crowd = Self { shared, running, count };
        until("all are there", async || (crowd.shared.ready.load(Ordering::Relaxed) == count).then_some(()))
            .await;
        crowd
    }

    /// How many are subscribed now.
    pub fn here(&self) -> usize {
        self.shared.here.load(Ordering::Relaxed)
    }

    /// Waits until all are there again.
    pub async fn all_back(&self) {
        until("all are back", async || (self.here() == self.count).then_some(())).await;
    }

    /// Sends all home and returns them.
    pub async fn end(mut self) -> Vec<Subscriber> {
        self.shared.done.store(true, Ordering::Relaxed);
        let mut all = Vec::with_capacity(self.count);
        while let Some(subscriber) = self.running.join_next().await {
            all.push(subscriber.unwrap());
        }
        all
    }
}

/// Counts a subscriber as here for as long as it is.
struct Here<'a>(&'a AtomicUsize);

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Subscriber {
    /// One connection, until it ends.
    async fn connection(&mut self, shared: &Shared) -> Option<()> {
        let url = format!("ws://{}/connection/websocket", self.addresses[self.at % self.addresses.len()]);
        let (mut socket, _) = tokio::time::timeout(OPEN_WITHIN, connect_async(url)).await.ok()?.ok()?;
        let connect = json!({"id": 1, "connect": {"token": self.token}});
        let mut subscribe = json!({"channel": self.channel});
        if self.subscribed_once {
            subscribe["recover"] = json!(true);
            subscribe["offset"] = json!(self.offset);
            subscribe["epoch"] = json!(self.epoch);
        }
        let commands = format!("{connect}\n{}", json!({"id": 2, "subscribe": subscribe}));
        socket.send(Message::text(commands)).await.ok()?;
        let mut here = None;
        loop {
            let next = tokio::time::timeout(Duration::from_millis(200), socket.next()).await;
            let message = match next {
                Err(_) if shared.done.load(Ordering::Relaxed) => return None,
                Err(_) => continue,
                Ok(message) => message?.ok()?,
            };
            let Message::Text(text) = message else { continue };
            for reply in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                let reply = reply.unwrap();
                // A node that goes away or has lost a part says so, and the client comes again elsewhere.
                if !reply["error"].is_null() {
                    assert_eq!(reply["error"]["temporary"], true, "{reply}");
                    return None;
                }
                if reply == json!({}) {
                    socket.send(Message::text("{}")).await.ok()?;
                }
                if let Some(result) = reply.get("subscribe") {
                    self.subscribed(result, shared);
                    shared.here.fetch_add(1, Ordering::Relaxed);
                    here = Some(Here(&shared.here));
                }
                if reply["push"].get("unsubscribe").is_some() {
                    return None;
                }
                self.take(&reply["push"]["pub"]);
            }
            let _ = &here;
        }
    }

    fn subscribed(&mut self, result: &Value, shared: &Shared) {
        if self.subscribed_once {
            assert_eq!(result["recovered"], true, "{result}");
            self.recovered += 1;
            self.absences.extend(self.cut_at.map(|at| at.elapsed()));
        } else {
            self.subscribed_once = true;
            self.offset = result["offset"].as_u64().unwrap_or_default();
            shared.ready.fetch_add(1, Ordering::Relaxed);
        }
        self.cut_at = None;
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
