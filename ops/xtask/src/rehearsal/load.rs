//! What users do all the while, through the balancer, and what they see of a deployment.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::agent::{self, Conversation};
use super::door::Door;
use super::shared::Shared;
use super::sockets::{self, Subscriber};

/// Sessions with recovery. With fewer than a hundred a node nodes shed none.
const SESSIONS: usize = 300;
/// Their channels.
pub(super) const CHANNELS: u64 = 20;
/// Users who write posts, one after the other.
const WRITERS: usize = 10;
/// Conversations with an agent.
const CONVERSATIONS: usize = 2;
/// The stack of a thread, of which there are many.
const STACK_BYTES: usize = 512 * 1024;
/// What all users log in with.
pub(super) const PASSWORD: &str = "abrazo-1234";
/// The key of the server API.
pub(super) const API_KEY: &str = "the key of a rehearsal";
/// The most failures that are told one by one.
const TOLD: usize = 20;

/// Everybody who uses the community.
pub(super) struct Load {
    shared: Arc<Shared>,
    subscribers: Vec<JoinHandle<Subscriber>>,
    publisher: JoinHandle<u64>,
    writers: Vec<JoinHandle<Vec<String>>>,
    registrar: JoinHandle<Vec<String>>,
    others: Vec<JoinHandle<()>>,
    conversations: Vec<JoinHandle<Conversation>>,
    token: String,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) requests: u64,
    pub(super) longest: Duration,
    pub(super) failures: Vec<String>,
    pub(super) published: u64,
    pub(super) sessions: usize,
    pub(super) moves: usize,
    pub(super) posts: usize,
    pub(super) answers: usize,
    pub(super) refused_logins: u64,
    pub(super) sent_again: u64,
    /// The addresses of those who registered: each is owed one letter.
    pub(super) registered: Vec<String>,
}

fn spawn<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<JoinHandle<T>> {
    Ok(thread::Builder::new().stack_size(STACK_BYTES).spawn(what)?)
}

/// Makes an account; its token.
fn register(door: &Door, name: &str) -> anyhow::Result<(u16, Value)> {
    let account = json!({
        "email": email(name), "password": PASSWORD, "username": name, "fullName": name,
    });
    door.post("/api/auth/register", &[("idempotency-key", name)], &account)
}

pub(super) fn email(name: &str) -> String {
    format!("{name}@example.com")
}

impl Load {
    /// Starts everybody, and waits until all sessions are subscribed.
    pub(super) fn start(url: &str, prefix: &str) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::new(url, prefix));
        let door = Door::new(url);
        let (status, body) = register(&door, &format!("{prefix}-user"))?;
        let token = body["token"].as_str().with_context(|| format!("{status} {body}"))?.to_owned();
        let mut subscribers = Vec::with_capacity(SESSIONS);
        for number in 0..SESSIONS {
            let (shared, token) = (Arc::clone(&shared), token.clone());
            let channel = u64::try_from(number)? % CHANNELS;
            subscribers.push(spawn(move || sockets::subscriber(&shared, &token, channel))?);
        }
        while shared.subscribed.load(Ordering::Relaxed) < u64::try_from(SESSIONS)? {
            anyhow::ensure!(
                subscribers.iter().all(|one| !one.is_finished()),
                "a subscriber ended before all were there"
            );
            thread::sleep(Duration::from_millis(20));
        }
        let with = |what: fn(&Shared, &str)| {
            let (shared, token) = (Arc::clone(&shared), token.clone());
            spawn(move || what(&shared, &token))
        };
        let others = vec![with(read)?, with(log_in)?];
        let publisher = spawn({
            let shared = Arc::clone(&shared);
            move || publish(&shared)
        })?;
        let registrar = spawn({
            let shared = Arc::clone(&shared);
            move || register_many(&shared)
        })?;
        let writer = |number: usize| {
            let (shared, token) = (Arc::clone(&shared), token.clone());
            spawn(move || write(&shared, &token, number))
        };
        let writers = (0..WRITERS).map(writer).collect::<anyhow::Result<_>>()?;
        let conversation = |number: usize| {
            let (shared, token) = (Arc::clone(&shared), token.clone());
            spawn(move || agent::talk(&shared, &token, number))
        };
        let conversations = (0..CONVERSATIONS).map(conversation).collect::<anyhow::Result<_>>()?;
        Ok(Self { shared, subscribers, publisher, writers, registrar, others, conversations, token })
    }

    /// Says whether what runs refuses logins, so that such a refusal is no surprise.
    pub(super) fn logins_are_broken(&self, broken: bool) {
        self.shared.logins_broken.store(broken, Ordering::Relaxed);
    }

    /// Ends everybody and adds up what they saw.
    pub(super) fn end(self) -> anyhow::Result<Outcome> {
        let gone = |_| anyhow::anyhow!("a thread of the load panicked");
        self.shared.publishing_ended.store(true, Ordering::Relaxed);
        let published = self.publisher.join().map_err(gone)?;
        // The last publications are on their way.
        thread::sleep(Duration::from_secs(2));
        self.shared.ended.store(true, Ordering::Relaxed);
        let (mut moves, mut sessions) = (0, 0);
        for subscriber in self.subscribers {
            let subscriber = subscriber.join().map_err(gone)?;
            moves += subscriber.recovered;
            sessions += 1;
            let owed = (0..published).filter(|number| number % CHANNELS == subscriber.channel);
            if !subscriber.numbers.iter().copied().eq(owed) {
                let (channel, got) = (subscriber.channel, subscriber.numbers.len());
                self.shared
                    .failed(format!("room:{channel}: {got} publications of {published} lost or doubled"));
            }
        }
        let door = Door::new(&self.shared.url);
        let mut posts = 0;
        for writer in self.writers {
            for post in writer.join().map_err(gone)? {
                let path = format!("/api/posts/{post}");
                self.shared.asked("a written post", || door.get(&path, Some(&self.token)), &[200]);
                posts += 1;
            }
        }
        for other in self.others {
            other.join().map_err(gone)?;
        }
        let mut answers = 0;
        for conversation in self.conversations {
            answers += conversation.join().map_err(gone)?.answers;
        }
        let mut registered = self.registrar.join().map_err(gone)?;
        registered.push(email(&format!("{}-user", self.shared.prefix)));
        let mut failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Outcome {
            requests: self.shared.requests.load(Ordering::Relaxed),
            longest: Duration::from_millis(self.shared.longest_ms.load(Ordering::Relaxed)),
            failures: std::mem::take(&mut *failures),
            published,
            sessions,
            moves,
            posts,
            answers,
            refused_logins: self.shared.refused_logins.load(Ordering::Relaxed),
            sent_again: self.shared.sent_again.load(Ordering::Relaxed),
            registered,
        })
    }
}

impl Outcome {
    /// An error if anybody noticed anything.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let told = self.failures.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>();
        anyhow::ensure!(told.is_empty(), "{} failures:\n{}", self.failures.len(), told.join("\n"));
        anyhow::ensure!(
            self.published > 0 && self.posts > 0 && self.answers > 0 && self.moves >= self.sessions,
            "{} publications, {} posts, {} answers, {} moves: too little was tried",
            self.published,
            self.posts,
            self.answers,
            self.moves
        );
        Ok(())
    }
}

/// Publishes numbers into all channels in turn; how many.
fn publish(shared: &Shared) -> u64 {
    let door = Door::new(&shared.url);
    let mut number: u64 = 0;
    while !shared.publishing_ended.load(Ordering::Relaxed) {
        let key = format!("{}-{number}", shared.prefix);
        let body = json!({
            "channel": format!("room:{}", number % CHANNELS), "data": number, "idempotency_key": key,
        });
        let send = || door.post("/api/publish", &[("x-api-key", API_KEY)], &body);
        if let Some(answer) = shared.asked("a publication", send, &[200])
            && !answer["error"].is_null()
        {
            shared.failed(format!("a publication: {answer}"));
        }
        number += 1;
        thread::sleep(Duration::from_millis(400));
    }
    number
}

/// Writes posts; their ids.
fn write(shared: &Shared, token: &str, number: usize) -> Vec<String> {
    let door = Door::new(&shared.url);
    let bearer = format!("Bearer {token}");
    let mut posts = Vec::new();
    while shared.goes_on() {
        let key = format!("{}-post-{number}-{}", shared.prefix, posts.len());
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key.as_str())];
        let body = json!({ "content": key, "visibility": "private" });
        let post = shared.asked("a new post", || door.post("/api/posts", &headers, &body), &[201]);
        posts.extend(post.and_then(|post| Some(post["id"].as_str()?.to_owned())));
        thread::sleep(Duration::from_millis(500));
    }
    posts
}

/// Makes accounts, each of which is owed a letter; their addresses.
fn register_many(shared: &Shared) -> Vec<String> {
    let door = Door::new(&shared.url);
    let mut registered = Vec::new();
    while shared.goes_on() {
        let name = format!("{}-{}", shared.prefix, registered.len());
        if shared.asked("a registration", || register(&door, &name), &[201]).is_some() {
            registered.push(email(&name));
        }
        thread::sleep(Duration::from_secs(1));
    }
    registered
}

/// Reads what a page shows.
fn read(shared: &Shared, token: &str) {
    let door = Door::new(&shared.url);
    for path in ["/api/users/me", "/api/posts", "/api/events", "/api/notifications"].iter().cycle() {
        if !shared.goes_on() {
            return;
        }
        shared.asked(path, || door.get(path, Some(token)), &[200]);
        thread::sleep(Duration::from_millis(300));
    }
}

/// Logs in now and then.
fn log_in(shared: &Shared, _: &str) {
    let door = Door::new(&shared.url);
    let body = json!({ "email": email(&format!("{}-user", shared.prefix)), "password": PASSWORD });
    while shared.goes_on() {
        let broken = shared.logins_broken.load(Ordering::Relaxed);
        let right: &[u16] = if broken { &[200, 429] } else { &[200] };
        let answer = shared.asked("a login", || door.post("/api/auth/login", &[], &body), right);
        if answer.is_some_and(|answer| answer["token"].is_null()) {
            shared.refused_logins.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_secs(4));
    }
}
