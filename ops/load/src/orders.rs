//! What parent and workers tell each other, as JSON lines on a worker's standard input and output.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::latencies::Latencies;
use crate::wire::Encoding;

/// How often something happened, by what it was.
pub type Counts = BTreeMap<String, u64>;

/// What a worker is to do next. It answers each with one line, a `Result`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Open sessions; answered with [`Opened`].
    Open(OpenOrder),
    /// Have sessions publish; answered with [`Published`].
    Publish(PublishOrder),
    /// Wait for deliveries; answered with [`Collected`].
    Collect(CollectOrder),
}

/// Where sessions connect to, and as whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// The WebSocket URL.
    pub url: String,
    /// Where its host is.
    pub address: SocketAddr,
    /// How sessions write their messages.
    pub encoding: Encoding,
    /// Signs the sessions' tokens; without it they are anonymous.
    pub secret: Option<String>,
    /// Time to open one session, and for anything else that has to come.
    pub patience: Duration,
}

/// See [`Order::Open`].
#[derive(Debug, Serialize, Deserialize)]
pub struct OpenOrder {
    /// The server.
    pub target: Target,
    /// The address that the sockets leave from: each one has its own ports.
    pub source: Option<Ipv4Addr>,
    /// The sessions to open.
    pub sessions: Vec<SessionPlan>,
    /// Most sessions that are being opened at the same time.
    pub concurrency: usize,
    /// Time between two sessions, where they are not opened as fast as the server takes them.
    pub interval: Option<Duration>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPlan {
    /// Names the session and its user.
    pub number: u32,
    /// What it subscribes to, as an index and a name; publishers subscribe to nothing.
    pub channel: Option<(usize, String)>,
}

/// See [`Order::Publish`].
#[derive(Debug, Serialize, Deserialize)]
pub struct PublishOrder {
    /// All channels. The publication with the number `n` goes to the channel `n` modulo their count.
    pub channels: Vec<String>,
    /// The sessions of this worker that publish.
    pub publishers: Vec<Publisher>,
    /// How many sessions publish in all workers: a publisher's next number is this much higher.
    pub stride: u64,
    /// How many publications each publisher makes.
    pub count: u64,
    /// When publication 0 is due, in Unix nanoseconds.
    pub start_nanos: u64,
    /// Time between two publications of the fleet.
    pub interval: Duration,
    /// Size of a publication's data in bytes.
    pub payload_bytes: usize,
    /// Time for the last answers.
    pub patience: Duration,
}

/// One publishing session.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Publisher {
    /// The session's number.
    pub session: u32,
    /// The number of its first publication.
    pub first: u64,
}

/// See [`Order::Collect`].
#[derive(Debug, Serialize, Deserialize)]
pub struct CollectOrder {
    /// How many deliveries this worker should see in all.
    pub expected: u64,
    /// Time without any delivery after which the others are lost.
    pub patience: Duration,
}

/// The sessions that were asked for are open, or not.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Opened {
    /// Sessions that are connected and subscribed.
    pub opened: u64,
    /// Those that are not, by the reason.
    pub failures: Counts,
    /// Time from a socket's first packet to the subscription.
    pub latencies: Latencies,
    /// When the first was begun, in Unix nanoseconds.
    pub started_nanos: u64,
    /// When the last was open, in Unix nanoseconds.
    pub ended_nanos: u64,
}

/// The publications that were asked for are made, or not.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Published {
    /// How many were acknowledged, by the channel's index.
    pub acknowledged: Vec<u64>,
    /// Those that were not, by the reason.
    pub refusals: Counts,
    /// When the first was sent, in Unix nanoseconds; 0 for never.
    pub started_nanos: u64,
    /// When the last was sent, in Unix nanoseconds; 0 for never.
    pub ended_nanos: u64,
}

/// What the sessions got so far.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Collected {
    /// Publications that arrived, each counted once a session.
    pub deliveries: u64,
    /// Publications that a session got again.
    pub duplicates: u64,
    /// Publications that a session got after a later one of the same publisher.
    pub disordered: u64,
    /// Time from sending a publication to each delivery.
    pub latencies: Latencies,
    /// When the last one arrived, in Unix nanoseconds; 0 for never.
    pub ended_nanos: u64,
    /// Sessions that the server ended, by the reason.
    pub disconnects: Counts,
}

fn add_counts(into: &mut Counts, from: Counts) {
    for (what, count) in from {
        *into.entry(what).or_default() += count;
    }
}

/// The earlier of two times, where 0 is none.
fn earlier(one: u64, other: u64) -> u64 {
    if one == 0 || other == 0 { one.max(other) } else { one.min(other) }
}

impl Opened {
    /// Adds another worker's answer.
    pub fn merge(&mut self, other: Self) {
        self.opened += other.opened;
        add_counts(&mut self.failures, other.failures);
        self.latencies.merge(&other.latencies);
        self.started_nanos = earlier(self.started_nanos, other.started_nanos);
        self.ended_nanos = self.ended_nanos.max(other.ended_nanos);
    }
}

impl Published {
    /// Adds another worker's answer.
    pub fn merge(&mut self, other: Self) {
        self.acknowledged.resize(self.acknowledged.len().max(other.acknowledged.len()), 0);
        for (sum, count) in self.acknowledged.iter_mut().zip(other.acknowledged) {
            *sum += count;
        }
        add_counts(&mut self.refusals, other.refusals);
        self.started_nanos = earlier(self.started_nanos, other.started_nanos);
        self.ended_nanos = self.ended_nanos.max(other.ended_nanos);
    }
}

impl Collected {
    /// Adds another worker's answer.
    pub fn merge(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.duplicates += other.duplicates;
        self.disordered += other.disordered;
        self.latencies.merge(&other.latencies);
        self.ended_nanos = self.ended_nanos.max(other.ended_nanos);
        add_counts(&mut self.disconnects, other.disconnects);
    }
}

/// Now, in Unix nanoseconds: the one clock that all processes of a machine share.
pub fn now_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
