//! A worker process: some of the sessions. It takes its part from its parent as JSON lines, and answers in kind.
//!
//! Order of a run: [`Part`] in, `Ready` out, `Go` in, publications for a while, [`Outcome`] out.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Client, Publisher, Way};
use crate::dialect::Dialect;
use crate::token::Signer;

/// Connects that a worker has under way at the same time.
const CONNECTING_AT_ONCE: usize = 64;
/// How long after the last publication stragglers are waited for.
const STRAGGLERS: Duration = Duration::from_secs(10);

/// What a worker does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) path: String,
    /// Whose certificates servers have; without one there is no TLS.
    pub(crate) authority: Option<PathBuf>,
    pub(crate) dialect: Dialect,
    /// Signs a token for each session; without one they connect anonymously.
    pub(crate) secret: Option<String>,
    /// The last byte of the loopback address that its connections come from.
    pub(crate) source: u8,
    /// Where each of its subscribers connects, and its channel.
    pub(crate) subscriptions: Vec<(SocketAddr, String)>,
    /// Where each of its publishers connects, and its channels.
    pub(crate) publishers: Vec<(SocketAddr, Vec<String>)>,
    /// Publications that every subscriber has to get.
    pub(crate) expected_each: usize,
    /// Publications of each publisher.
    pub(crate) publications_each: usize,
    /// Microseconds between two publications of one publisher.
    pub(crate) interval_micros: u64,
    /// Bytes of payload beside the time stamp.
    pub(crate) payload_bytes: usize,
}

/// What a worker's sessions saw.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) delivered: usize,
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) latency_nanos: Vec<u64>,
    /// The last delivery, in nanoseconds of the Unix clock.
    pub(crate) last_nanos: u64,
}

/// The payload of a publication of this load maker.
#[derive(Serialize, Deserialize)]
struct Payload {
    /// When it was sent, in nanoseconds of the Unix clock.
    sent: u64,
    /// Which publisher and which publication, to tell twins.
    id: (String, usize),
    pad: String,
}

/// Nanoseconds of the Unix clock: both ends of a run are on one machine.
pub(crate) fn now_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs as a worker until its part is done.
pub(crate) fn run() -> anyhow::Result<()> {
    let part: Part = serde_json::from_str(&hear()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let part = Arc::new(part);
        let (subscribers, publishers) = connect(&part).await?;
        let go = async move {
            say(&json!("ready"))?;
            // Sessions that wait have to answer pings, so this must not block them.
            tokio::task::spawn_blocking(hear).await?
        };
        let outcome = work(&part, subscribers, publishers, go).await?;
        say(&serde_json::to_value(outcome)?)
    })
}

/// The next line of the parent.
fn hear() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    anyhow::ensure!(!line.is_empty(), "the parent is gone");
    Ok(line)
}

fn say(value: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

async fn connect(part: &Arc<Part>) -> anyhow::Result<(Vec<Client>, Vec<(Vec<String>, Publisher)>)> {
    let way = Way::new(&part.path, part.dialect, part.source, part.authority.as_deref())?;
    let places = Arc::new(Semaphore::new(CONNECTING_AT_ONCE));
    let mut connecting = JoinSet::new();
    for (number, (server, channel)) in part.subscriptions.iter().cloned().enumerate() {
        let place = Arc::clone(&places).acquire_owned().await?;
        let (part, way) = (Arc::clone(part), way.clone());
        connecting.spawn(async move {
            let token = token(&part, number)?;
            let channel = Some(channel.as_str());
            let client = Client::open(server, &way, &token, channel).await;
            drop(place);
            client
        });
    }
    let mut subscribers = Vec::new();
    while let Some(connected) = connecting.join_next().await {
        subscribers.push(connected??);
    }
    let mut publishers = Vec::new();
    for (number, (server, channels)) in part.publishers.iter().enumerate() {
        let token = token(part, part.subscriptions.len() + number)?;
        let publisher = Publisher::open(*server, &way, &token).await?;
        publishers.push((channels.clone(), publisher));
    }
    Ok((subscribers, publishers))
}

fn token(part: &Part, number: usize) -> anyhow::Result<String> {
    let Some(secret) = &part.secret else { return Ok(String::new()) };
    Signer::new(secret).token(&format!("load-{}-{number}", part.source))
}

async fn work(
    part: &Arc<Part>,
    subscribers: Vec<Client>,
    publishers: Vec<(Vec<String>, Publisher)>,
    go: impl Future<Output = anyhow::Result<String>>,
) -> anyhow::Result<Outcome> {
    let (published, last_published) = watch::channel(None);
    let mut reading = JoinSet::new();
    for client in subscribers {
        reading.spawn(read(client, part.expected_each, last_published.clone()));
    }
    go.await?;
    let mut publishing = JoinSet::new();
    for (number, (channels, publisher)) in publishers.into_iter().enumerate() {
        publishing.spawn(publish(publisher, Arc::clone(part), channels, number));
    }
    // Kept open, as closing them would be work for the server while it is measured.
    let mut open = Vec::new();
    while let Some(client) = publishing.join_next().await {
        open.push(client??);
    }
    let run = Duration::from_micros(part.interval_micros * part.publications_each as u64);
    let until = if part.publishers.is_empty() { Instant::now() + run } else { Instant::now() };
    published.send_replace(Some(until + STRAGGLERS));
    let mut outcome = Outcome::default();
    while let Some(seen) = reading.join_next().await {
        let seen = seen?;
        outcome.delivered += seen.delivered;
        outcome.lost += seen.lost;
        outcome.doubled += seen.doubled;
        outcome.latency_nanos.extend(seen.latency_nanos);
        outcome.last_nanos = outcome.last_nanos.max(seen.last_nanos);
    }
    Ok(outcome)
}

async fn publish(
    mut publisher: Publisher,
    part: Arc<Part>,
    channels: Vec<String>,
    number: usize,
) -> anyhow::Result<Publisher> {
    let interval = Duration::from_micros(part.interval_micros);
    // Publishers that all send at the same moment would measure their own queue.
    let start = Instant::now() + interval.mul_f64(number as f64 / part.publishers.len().max(1) as f64);
    for sequence in 0..part.publications_each {
        publisher.idle_until(start + interval * u32::try_from(sequence)?).await?;
        let id = (format!("{}-{number}", part.source), sequence);
        let payload = Payload { sent: now_nanos(), id, pad: "x".repeat(part.payload_bytes) };
        let channel = &channels[sequence % channels.len()];
        publisher.publish(channel, Bytes::from(serde_json::to_vec(&payload)?)).await?;
    }
    Ok(publisher)
}

/// Reads until all that has to come has come, or until the time for stragglers is over.
async fn read(mut client: Client, expected: usize, mut stop: watch::Receiver<Option<Instant>>) -> Outcome {
    let mut seen = std::collections::HashSet::new();
    let mut outcome = Outcome::default();
    while outcome.delivered < expected {
        let deadline = async {
            let at = match stop.wait_for(Option::is_some).await {
                Ok(at) => at.unwrap_or_else(Instant::now),
                Err(_) => Instant::now(),
            };
            tokio::time::sleep_until(at).await;
        };
        let publication = tokio::select! {
            publication = client.publication() => publication,
            () = deadline => break,
        };
        let Ok(publication) = publication.inspect_err(|error| eprintln!("subscriber: {error:#}")) else {
            break;
        };
        let now = now_nanos();
        let Ok(payload) = serde_json::from_slice::<Payload>(&publication) else { continue };
        if !seen.insert(payload.id) {
            outcome.doubled += 1;
            continue;
        }
        outcome.delivered += 1;
        outcome.latency_nanos.push(now.saturating_sub(payload.sent));
        outcome.last_nanos = now;
    }
    outcome.lost = expected - outcome.delivered;
    outcome
}
