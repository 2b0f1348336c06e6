//! What was acknowledged is there after `kill -9`, counted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::server::{Server, User};

const WRITERS: usize = 64;
const KILLS: u64 = 20;
const CAPACITY: u64 = 5;
/// Longest time until a node that has started acknowledges a write, on a machine with much else to do.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);

/// What the server said that it has.
#[derive(Default)]
struct Acknowledged {
    posts: BTreeSet<String>,
    /// Event, user, status.
    rsvps: Vec<(String, String, String)>,
    /// E-mail addresses.
    registrations: Vec<String>,
}

struct Writer {
    number: usize,
    user: User,
    events: Arc<Vec<String>>,
    next: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<Acknowledged>>,
}

impl Writer {
    /// Writes until the server is gone.
    async fn write(&self, server: &Server) {
        loop {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let done = match self.number {
                // Few of them, as each hashes a password.
                0..4 => self.register(server, turn).await,
                4..34 => self.post(server, turn).await,
                _ => self.answer(server, turn).await,
            };
            if done.is_none() {
                return;
            }
        }
    }

    async fn call(&self, server: &Server, path: &str, body: Value) -> Option<(StatusCode, Value)> {
        let token = Some(self.user.token.as_str());
        let (status, answer) = server.try_call(Method::POST, path, token, Some(body)).await.ok()?;
        assert!(status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE, "{status}: {answer}");
        Some((status, answer)).filter(|(status, _)| status.is_success())
    }

    async fn register(&self, server: &Server, turn: u64) -> Option<()> {
        let email = format!("user{turn}@example.com");
        let body = json!({"email": email, "password": "abrazo-1234", "username": format!("user{turn}"), "fullName": "U"});
        let (status, _) = server.try_call(Method::POST, "/api/auth/register", None, Some(body)).await.ok()?;
        if status == StatusCode::CREATED {
            self.acknowledged.lock().await.registrations.push(email);
        }
        Some(())
    }

    async fn post(&self, server: &Server, turn: u64) -> Option<()> {
        let (_, post) = self.call(server, "/api/posts", json!({"content": turn.to_string()})).await?;
        let id = post["id"].as_str().unwrap().to_owned();
        assert!(self.acknowledged.lock().await.posts.insert(id), "an id twice");
        Some(())
    }

    async fn answer(&self, server: &Server, turn: u64) -> Option<()> {
        let event = &self.events[usize::try_from(turn).unwrap() % self.events.len()];
        let (_, rsvp) = self.call(server, &format!("/api/events/{event}/rsvp"), json!({})).await?;
        let status = rsvp["status"].as_str().unwrap().to_owned();
        self.acknowledged.lock().await.rsvps.push((event.clone(), self.user.id.clone(), status));
        Some(())
    }
}

async fn events(server: &Server, host: &User, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let body = json!({
            "title": format!("Event {number}"), "description": "", "eventDate": "2030-01-01T20:00:00Z",
            "location": "Here", "eventType": "practica", "capacity": CAPACITY,
        });
        let (status, event) = server.post("/api/events", host, body).await;
        assert_eq!(status, StatusCode::CREATED);
        ids.push(event["id"].as_str().unwrap().to_owned());
    }
    ids
}

/// All ids that a list gives, page by page.
pub async fn all(server: &Server, user: &User, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = server.get(&format!("{path}?limit=100{cursor}"), user).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let mut server = Server::start().await;
    let host = server.user("host", "user");
    let users: Vec<_> = (0..WRITERS).map(|number| server.user(&format!("writer-{number}"), "user")).collect();
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
    let next = Arc::new(AtomicU64::new(0));
    let mut all_events = Vec::new();
    for kill in 0..KILLS {
        // New events each time, so that there is always a race for the last places.
        let round_events = Arc::new(events(&server, &host, 8).await);
        all_events.extend(round_events.iter().cloned());
        let before = acknowledged.lock().await.posts.len();
        let shared = Arc::new(server);
        let writing: Vec<_> = users
            .iter()
            .enumerate()
            .map(|(number, user)| {
                let writer = Writer {
                    number,
                    user: user.clone(),
                    events: Arc::clone(&round_events),
                    next: Arc::clone(&next),
                    acknowledged: Arc::clone(&acknowledged),
                };
                let server = Arc::clone(&shared);
                tokio::spawn(async move { writer.write(&server).await })
            })
            .collect();
        // At a different point of the work each time, but never before there is something to lose.
        tokio::time::sleep(Duration::from_millis(200 + kill * 37 % 300)).await;
        let written = async {
            while acknowledged.lock().await.posts.len() == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(
            tokio::time::timeout(WRITTEN_WITHIN, written).await.is_ok(),
            "nothing is written, round {kill}"
        );
        shared.signal("KILL");
        for writer in writing {
            writer.await.unwrap();
        }
        server = Arc::into_inner(shared).unwrap();
        assert_eq!(server.wait_for_end().await.code(), None, "it was killed");
        server.start_again().await;
    }

    let acknowledged = acknowledged.lock().await;
    let reader = server.user("writer-4", "user");
    let posts: BTreeSet<_> = all(&server, &reader, "/api/posts")
        .await
        .iter()
        .map(|post| post["id"].as_str().unwrap().to_owned())
        .collect();
    let lost: Vec<_> = acknowledged.posts.difference(&posts).collect();
    assert!(lost.is_empty(), "{} of {} posts lost", lost.len(), acknowledged.posts.len());

    let mut standing: BTreeSet<(String, String, String)> = BTreeSet::new();
    for event in &all_events {
        let attendees = all(&server, &reader, &format!("/api/events/{event}/attendees")).await;
        let going = attendees.iter().filter(|attendee| attendee["status"] == "going").count() as u64;
        let waiting = attendees.iter().filter(|attendee| attendee["status"] == "waitlisted").count() as u64;
        assert!(going <= CAPACITY, "{going} go to an event for {CAPACITY}");
        let (_, event_now) = server.get(&format!("/api/events/{event}"), &reader).await;
        let counts = (event_now["counts"]["going"].as_u64(), event_now["counts"]["waitlisted"].as_u64());
        assert_eq!(counts, (Some(going), Some(waiting)), "counts and answers agree");
        standing.extend(attendees.iter().map(|attendee| {
            let text = |field: &str| attendee[field].as_str().unwrap().to_owned();
            (event.clone(), text("userId"), text("status"))
        }));
    }
    // Nobody gave a place back, so every answer stands as it was acknowledged.
    for answer in &acknowledged.rsvps {
        assert!(standing.contains(answer), "{answer:?} is lost");
    }

    for email in &acknowledged.registrations {
        let body =
            json!({"email": email, "password": "another-1234", "username": "taken-or-not", "fullName": "U"});
        let (status, answer) = server.call(Method::POST, "/api/auth/register", None, Some(body)).await;
        assert_eq!(status, StatusCode::CONFLICT, "{email} is lost: {answer}");
    }
    println!(
        "{KILLS} kills: {} posts, {} answers, {} registrations acknowledged, none lost",
        acknowledged.posts.len(),
        acknowledged.rsvps.len(),
        acknowledged.registrations.len()
    );
    assert!(!acknowledged.registrations.is_empty() && !acknowledged.rsvps.is_empty());
}
