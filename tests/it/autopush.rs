//! A push service for a real Firefox: Mozilla's WebSocket protocol (autopush) on the browser's side, web push
//! over TLS on the senders' side. It cannot read messages: the browser alone has the keys.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::{SinkExt as _, StreamExt as _};
use mundotango_protocol::new_id;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::push_service::{Answer, Asked, PushService, status};

/// What endpoints begin with; the channel of a subscription follows.
const ENDPOINTS: &str = "/wpush/v2/";
/// The code of a message that the browser has decrypted and given to the service worker.
pub const DELIVERED: u64 = 100;

#[derive(Default)]
struct Shared {
    /// The keys of senders, by the channels of subscriptions. What is not here was never there, or is gone.
    senders: Mutex<BTreeMap<String, String>>,
    /// The way to the browser, while it is connected.
    browser: Mutex<Option<UnboundedSender<Value>>>,
    /// The browser's codes of what became of messages.
    acknowledged: Mutex<Vec<u64>>,
}

/// A push service for one browser. It ends with its value.
pub struct Autopush {
    senders_side: PushService,
    /// Where the browser connects.
    url: String,
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Autopush {
    pub async fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let forwarding = Arc::clone(&shared);
        let senders_side = PushService::of_browsers_over_tls(move |asked| forward(asked, &forwarding)).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let (endpoints, serving) = (senders_side.url(ENDPOINTS), Arc::clone(&shared));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, endpoints.clone(), Arc::clone(&serving)));
            }
        });
        Self { senders_side, url, shared, task: task.abort_handle() }
    }

    /// What Firefox has to know of this service, as preferences.
    pub fn preferences(&self) -> [(&'static str, Value); 2] {
        [("dom.push.serverURL", json!(self.url)), ("dom.push.testing.allowInsecureServerURL", json!(true))]
    }

    /// The certificate of the authority that senders have to trust.
    pub fn authority(&self) -> PathBuf {
        self.senders_side.path("ca.pem")
    }

    /// All that senders asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.senders_side.asked()
    }

    /// What the browser said of messages, in the order in which it did.
    pub fn acknowledged(&self) -> Vec<u64> {
        self.shared.acknowledged.lock().clone()
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> usize {
        self.shared.senders.lock().len()
    }
}

impl Drop for Autopush {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes a message for the browser (RFC 8030, 5).
fn forward(asked: &Asked, shared: &Shared) -> Answer {
    let channel = asked.path.strip_prefix(ENDPOINTS).unwrap_or_default();
    let Some(sender) = shared.senders.lock().get(channel).cloned() else { return status(410) };
    if asked.vapid().1 != sender {
        return status(403);
    }
    let Ok(ttl) = asked.header("ttl").parse::<u64>() else { return status(400) };
    let message = json!({
        "messageType": "notification", "channelID": channel, "version": new_id(), "ttl": ttl,
        "data": BASE64_URL_SAFE_NO_PAD.encode(&asked.body),
        "headers": {"encoding": asked.header("content-encoding")},
    });
    let is_forwarded = shared.browser.lock().as_ref().is_some_and(|browser| browser.send(message).is_ok());
    status(if is_forwarded { 201 } else { 503 })
}

/// Serves the browser until it goes away.
async fn serve(stream: TcpStream, endpoints: String, shared: Arc<Shared>) {
    let Ok(socket) = accept_async(stream).await else { return };
    let (mut sink, mut source) = socket.split();
    let (browser, mut messages) = unbounded_channel();
    loop {
        let message = tokio::select! {
            message = messages.recv() => message,
            received = source.next() => match received {
                Some(Ok(Message::Text(text))) => {
                    answer(&serde_json::from_str(&text).unwrap(), &endpoints, &browser, &shared)
                }
                Some(Ok(_)) => None,
                _ => return,
            },
        };
        let Some(message) = message else { continue };
        if sink.send(Message::text(message.to_string())).await.is_err() {
            return;
        }
    }
}

/// The answer to what the browser said, where it awaits one.
fn answer(said: &Value, endpoints: &str, browser: &UnboundedSender<Value>, shared: &Shared) -> Option<Value> {
    let channel = said["channelID"].as_str().unwrap_or_default();
    let mut answer = json!({"messageType": said["messageType"], "status": 200});
    match said["messageType"].as_str() {
        Some("hello") => {
            *shared.browser.lock() = Some(browser.clone());
            answer["uaid"] = said["uaid"].as_str().map_or_else(|| json!(new_id()), Value::from);
            answer["use_webpush"] = json!(true);
        }
        Some("register") => {
            let sender = said["key"].as_str().unwrap_or_default().trim_end_matches('=');
            shared.senders.lock().insert(channel.to_owned(), sender.to_owned());
            answer["channelID"] = json!(channel);
            answer["pushEndpoint"] = json!(format!("{endpoints}{channel}"));
        }
        Some("unregister") => {
            shared.senders.lock().remove(channel);
            answer["channelID"] = json!(channel);
        }
        Some("ack") => {
            let updates = said["updates"].as_array().unwrap();
            shared.acknowledged.lock().extend(updates.iter().map(|update| update["code"].as_u64().unwrap()));
            return None;
        }
        // The service worker failed.
        Some("nack") => {
            shared.acknowledged.lock().push(said["code"].as_u64().unwrap());
            return None;
        }
        Some(_) => return None,
        // The browser asks whether the service is still there.
        None => return Some(json!({})),
    }
    Some(answer)
}
