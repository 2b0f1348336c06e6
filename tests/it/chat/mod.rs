//! People write to each other: who hears what, once each, and who does not.

mod crowd;
mod live;
mod reads;
mod requests;
mod searching;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::server::{Server, User, until};

const CONVERSATIONS: &str = "/api/chat/conversations";

/// The path of something of a conversation.
pub fn of(id: &str, part: &str) -> String {
    format!("{CONVERSATIONS}/{id}/{part}")
}

pub fn id_of(thing: &Value) -> String {
    thing["id"].as_str().unwrap_or_else(|| panic!("no id: {thing}")).to_owned()
}

/// Calls what has to work; the answer.
pub async fn done(server: &Server, method: Method, path: &str, user: &User, body: Value) -> Value {
    let body = Some(body).filter(|body| !body.is_null());
    let (status, answer) = server.call(method.clone(), path, Some(&user.token), body).await;
    assert!(status.is_success(), "{method} {path}: {status} {answer}");
    answer
}

/// Begins a group of its owner and others.
async fn group(server: &Server, owner: &User, others: &[&User]) -> String {
    let members: Vec<_> = others.iter().map(|user| &user.id).collect();
    let body = json!({"title": "Camp", "memberIds": members});
    id_of(&done(server, Method::POST, CONVERSATIONS, owner, body).await)
}

/// Begins a direct conversation, and has the other side accept it.
async fn acquainted(server: &Server, one: &User, other: &User) -> String {
    let chat = id_of(&done(server, Method::POST, CONVERSATIONS, one, json!({"userId": other.id})).await);
    done(server, Method::POST, &of(&chat, "accept"), other, Value::Null).await;
    chat
}

async fn say(server: &Server, chat: &str, user: &User, text: &str) -> Value {
    done(server, Method::POST, &of(chat, "messages"), user, json!({"text": text})).await
}

/// The texts of all messages that a user sees, in order.
async fn texts(server: &Server, chat: &str, user: &User) -> Vec<String> {
    let page = done(server, Method::GET, &of(chat, "messages?after=0&limit=200"), user, Value::Null).await;
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["text"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The list of a user, by conversation.
async fn listed(server: &Server, user: &User, folder: &str) -> HashMap<String, Value> {
    let page =
        done(server, Method::GET, &format!("{CONVERSATIONS}?folder={folder}"), user, Value::Null).await;
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| (id_of(item), item.clone())).collect()
}

/// A socket of a user, with all that came on it.
pub struct Line {
    commands: mpsc::UnboundedSender<String>,
    replies: Arc<Mutex<HashMap<u64, Value>>>,
    pub pushes: Arc<Mutex<Vec<(Instant, Value)>>>,
    last: AtomicU64,
}

impl Line {
    pub async fn open(server: &Server, user: &User) -> Self {
        let (socket, _) = connect_async(server.websocket_url()).await.unwrap();
        let (mut writer, mut reader) = socket.split();
        let (commands, mut queue) = mpsc::unbounded_channel::<String>();
        let replies = Arc::<Mutex<HashMap<u64, Value>>>::default();
        let pushes = Arc::<Mutex<Vec<(Instant, Value)>>>::default();
        tokio::spawn(async move {
            while let Some(command) = queue.recv().await {
                if writer.send(Message::text(command)).await.is_err() {
                    break;
                }
            }
        });
        let (known, pushed, pongs) = (Arc::clone(&replies), Arc::clone(&pushes), commands.clone());
        tokio::spawn(async move {
            while let Some(Ok(message)) = reader.next().await {
                let Message::Text(text) = message else { continue };
                for reply in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                    let mut reply = reply.unwrap();
                    if reply == json!({}) {
                        let _ = pongs.send("{}".to_owned());
                    } else if let Some(id) = reply["id"].as_u64() {
                        known.lock().insert(id, reply);
                    } else {
                        pushed.lock().push((Instant::now(), reply["push"].take()));
                    }
                }
            }
        });
        let line = Self { commands, replies, pushes, last: AtomicU64::new(0) };
        let reply = line.ask(json!({"connect": {"token": user.token}})).await;
        assert!(reply["connect"].is_object(), "{reply}");
        line
    }

    /// Sends a command; its reply.
    pub async fn ask(&self, mut command: Value) -> Value {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        command["id"] = json!(id);
        self.commands.send(command.to_string()).unwrap();
        until("the reply comes", async || self.replies.lock().remove(&id)).await
    }

    pub async fn subscribe(&self, channel: &str) -> Value {
        self.ask(json!({"subscribe": {"channel": channel}})).await
    }

    /// The messages that a channel published, with the times when they came.
    pub fn published(&self, channel: &str) -> Vec<(Instant, Value)> {
        let pushes = self.pushes.lock();
        let of_channel = pushes.iter().filter(|(_, push)| push["channel"] == channel);
        let published = of_channel.filter(|(_, push)| push["pub"].is_object());
        published.map(|(at, push)| (*at, push["pub"]["data"].clone())).collect()
    }

    /// Those of one type.
    pub fn of_type(&self, channel: &str, name: &str) -> Vec<Value> {
        let published = self.published(channel).into_iter();
        published.map(|(_, message)| message).filter(|message| message["type"] == name).collect()
    }
}

/// A member of a community, who is in no group yet.
async fn register_all(server: &Server, names: &[&str]) -> Vec<User> {
    let mut users = Vec::new();
    for name in names {
        users.push(server.register(name).await);
    }
    users
}

async fn refused(
    server: &Server,
    method: Method,
    path: &str,
    user: &User,
    body: Value,
) -> (StatusCode, Value) {
    let body = Some(body).filter(|body| !body.is_null());
    let (status, mut answer) = server.call(method, path, Some(&user.token), body).await;
    assert!(status.is_client_error(), "{path}: {status} {answer}");
    (status, answer["code"].take())
}
