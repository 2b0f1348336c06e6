//! Notifications on a whole server: the list, what connected devices hear at once, and what is pushed to the
//! others.

mod browser_push;
mod devices;
mod inbox;
mod ladder;
mod reads;
mod services;
mod storm;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use mundotango_gateway::tokens::Tokens;
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::AbortHandle;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::jobs::{path_of, retry};
use crate::server::{Server, User, until};

/// Signs the tokens of all users here: who is notified needs no account.
const SECRET: &str = "a secret that all users of these tests share";
/// Whom push services may contact.
const SUBJECT: &str = "mailto:ops@example.com";
/// The queue of what users are told.
const QUEUE: &str = "/api/admin/jobs/queues/notification";
/// The queue of what goes to their devices by push services.
const PUSHES: &str = "/api/admin/jobs/queues/push";
/// Where all notifications are marked.
const READ_ALL: &str = "/api/notifications/read-all";

/// A user without an account.
fn member(id: &str) -> User {
    with_role(id, "user")
}

fn with_role(id: &str, role: &str) -> User {
    let tokens = Tokens::new(SECRET.as_bytes(), Duration::from_hours(1));
    User { id: id.to_owned(), token: tokens.issue(id, role, None).unwrap(), refresh_token: String::new() }
}

/// The value of a metric, given with its labels.
async fn sample(server: &Server, name: &str) -> Option<u64> {
    let answer = server.http.get(server.url("/metrics")).send().await.unwrap();
    let text = answer.text().await.unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// A server that pushes to services on this machine, and those who use it.
struct Site {
    server: Server,
    root: User,
    /// Gives all events.
    host: User,
    /// Has places at events, and gives them back.
    holder: User,
}

impl Site {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more settings.
    async fn start_with(settings: &[(&str, &str)]) -> Self {
        let own = [("AUTH__SECRET", SECRET), ("PUSH__SUBJECT", SUBJECT), ("PUSH__PRIVATE_ENDPOINTS", "true")];
        let server = Server::start_with(&[&own, settings].concat()).await;
        Self { server, root: with_role("root", "admin"), host: member("host"), holder: member("holder") }
    }

    /// An event of a host's; its id.
    async fn event(&self, host: &User, title: &str, capacity: Option<u32>) -> String {
        let event = json!({
            "title": title, "eventDate": "2040-05-01T20:00:00Z", "eventType": "milonga",
            "location": "Salon Canning", "capacity": capacity,
        });
        let (status, event) = self.server.post("/api/events", host, event).await;
        assert_eq!(status, StatusCode::CREATED, "{event}");
        event["id"].as_str().unwrap().to_owned()
    }

    async fn answer(&self, event: &str, user: &User, status: &str) {
        let path = format!("/api/events/{event}/rsvp");
        let (code, answer) = self.server.post(&path, user, json!({"status": status})).await;
        assert_eq!(code, StatusCode::OK, "{answer}");
    }

    /// Has a guest wait for the only place at an event, and get it.
    async fn promote_at(&self, event: &str, guest: &User) {
        for (user, status) in [(&self.holder, "going"), (guest, "going"), (&self.holder, "declined")] {
            self.answer(event, user, status).await;
        }
    }

    /// The same at a new event; its id.
    async fn promote(&self, guest: &User, title: &str) -> String {
        let event = self.event(&self.host, title, Some(1)).await;
        self.promote_at(&event, guest).await;
        event
    }

    /// The same, and what the guest is told of it.
    async fn told(&self, guest: &User, title: &str) -> Value {
        let event = self.promote(guest, title).await;
        self.unread_of(guest, &event).await
    }

    /// Waits until a user has an unread notification of an event.
    async fn unread_of(&self, user: &User, event: &str) -> Value {
        until(&format!("{} is told of {event}", user.id), async || {
            let mut listed = self.list(user).await.into_iter();
            listed.find(|one| one["thing"] == event && one["read"] == false)
        })
        .await
    }

    /// All notifications of a user that has at most a hundred.
    async fn list(&self, user: &User) -> Vec<Value> {
        let (status, mut page) = self.server.get("/api/notifications?limit=100", user).await;
        assert_eq!((status, &page["nextCursor"]), (StatusCode::OK, &Value::Null), "{page}");
        serde_json::from_value(page["items"].take()).unwrap()
    }

    async fn unread_count(&self, user: &User) -> u64 {
        let (status, answer) = self.server.get("/api/notifications/unread-count", user).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["unread"].as_u64().unwrap()
    }

    /// Posts what works; the answer.
    async fn post(&self, path: &str, user: &User, body: Value) -> Value {
        let (status, answer) = self.server.post(path, user, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    async fn read(&self, user: &User, id: &Value) -> Value {
        self.post(&format!("/api/notifications/{}/read", id.as_str().unwrap()), user, json!({})).await
    }

    async fn prefer(&self, user: &User, change: Value) {
        let path = "/api/notifications/preferences";
        let (status, answer) = self.server.call(Method::PATCH, path, Some(&user.token), Some(change)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    /// Registers a device; as the user sees it.
    async fn register(&self, user: &User, device: Value) -> Value {
        let (status, device) = self.server.post("/api/push/devices", user, device).await;
        assert_eq!(status, StatusCode::CREATED, "{device}");
        device
    }

    async fn devices(&self, user: &User) -> Vec<Value> {
        let (status, mut devices) = self.server.get("/api/push/devices", user).await;
        assert_eq!(status, StatusCode::OK, "{devices}");
        serde_json::from_value(devices["items"].take()).unwrap()
    }

    /// The delayed jobs of a kind that are for a user or about an event.
    async fn delayed_jobs(&self, kind: &str, of: &str) -> Vec<Value> {
        let queue = if kind.starts_with("push") { PUSHES } else { QUEUE };
        let (status, page) = self.server.get(&format!("{queue}?state=delayed&limit=100"), &self.root).await;
        assert_eq!((status, &page["nextCursor"]), (StatusCode::OK, &Value::Null), "{page}");
        let is_wanted = |job: &&Value| {
            let payload = &job["payload"];
            job["kind"] == kind && (payload["user_id"] == of || payload["event_id"] == of)
        };
        page["items"].as_array().unwrap().iter().filter(is_wanted).cloned().collect()
    }

    /// Waits until there is such a job.
    async fn delayed(&self, kind: &str, of: &str) -> Value {
        until(&format!("a job {kind} of {of}"), async || self.delayed_jobs(kind, of).await.pop()).await
    }

    /// Gives a delayed job its turn; the job after it, if it is not done.
    async fn turn(&self, job: &Value) -> Option<Value> {
        retry(&self.server, &self.root, job).await;
        until("the job had its turn", async || {
            let (status, job) = self.server.get(&path_of(job), &self.root).await;
            match status {
                StatusCode::NOT_FOUND => Some(None),
                _ => (job["state"] == "delayed" || job["state"] == "dead").then_some(Some(job)),
            }
        })
        .await
    }

    /// Has the next push to a user's devices made now; its job after it, if it is not done.
    async fn push_now(&self, user: &User) -> Option<Value> {
        let job = self.delayed("push", &user.id).await;
        self.turn(&job).await
    }

    /// Has the host of an event told now of the answers to it.
    async fn tell_of_answers(&self, event: &str) {
        let job = self.delayed("event_answers", event).await;
        assert_eq!(self.turn(&job).await, None);
    }

    /// How many jobs of a kind were done.
    async fn done(&self, kind: &str) -> u64 {
        let name = format!(r#"background_jobs_total{{job_type="{kind}",status="success"}}"#);
        sample(&self.server, &name).await.unwrap()
    }

    /// Pauses or resumes the queue of pushes.
    async fn pause_pushes(&self, paused: bool) {
        let change = Some(json!({"paused": paused}));
        let (status, queue) = self.server.call(Method::PATCH, PUSHES, Some(&self.root.token), change).await;
        assert_eq!((status, &queue["paused"]), (StatusCode::OK, &json!(paused)), "{queue}");
    }
}

/// A device that is connected, and what it hears of notifications on the user's own channel.
struct Connected {
    heard: Arc<Mutex<Vec<Value>>>,
    /// So many were looked at.
    seen: usize,
    task: AbortHandle,
}

impl Connected {
    async fn new(site: &Site, user: &User) -> Self {
        let (mut socket, _) = connect_async(site.server.websocket_url()).await.unwrap();
        let connect = json!({"id": 1, "connect": {"token": user.token}});
        socket.send(Message::text(connect.to_string())).await.unwrap();
        let (heard, channel) = (Arc::<Mutex<Vec<Value>>>::default(), format!("#{}", user.id));
        let (noted, (connected, reply)) = (Arc::clone(&heard), tokio::sync::oneshot::channel());
        let task = tokio::spawn(async move {
            let mut connected = Some(connected);
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                for reply in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                    let mut reply = reply.unwrap();
                    if reply == json!({}) {
                        // The server asks whether the device is still there.
                        socket.send(Message::text("{}")).await.unwrap();
                    } else if reply["id"] == 1 {
                        connected.take().unwrap().send(reply).unwrap();
                    } else if reply["push"]["channel"] == channel {
                        let data = reply["push"]["pub"]["data"].take();
                        if data["type"].as_str().is_some_and(|kind| kind.starts_with("notification")) {
                            noted.lock().push(data);
                        }
                    }
                }
            }
        });
        let reply = reply.await.unwrap();
        let own = &reply["connect"]["subs"][format!("#{}", user.id)];
        assert!(own.is_object(), "the server subscribes users to their own channel: {reply}");
        Self { heard, seen: 0, task: task.abort_handle() }
    }

    /// The next message.
    async fn next(&mut self) -> Value {
        let next =
            until("a device hears something", async || self.heard.lock().get(self.seen).cloned()).await;
        self.seen += 1;
        next
    }

    /// How many are unread, as far as the device knows.
    fn unread(&self) -> u64 {
        self.heard.lock().last().map_or(0, |last| last["unread"].as_u64().unwrap())
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.task.abort();
    }
}
