//! What is slow on a node, as its lists say it. Nodes of neighbouring versions send it to each other: fields are only added.

use std::borrow::Cow;

use jiff::Timestamp;
use mundotango_storage::db::HotPartition;
use serde::{Deserialize, Serialize};

/// What an actor does at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doing {
    /// The kind of message that it handles.
    pub kind: Cow<'static, str>,
    /// Since when.
    pub since: Timestamp,
}

/// A session whose socket does not take what is written to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowSession {
    /// Its id.
    pub client: String,
    /// The user; empty for anonymous ones and those that are not connected yet.
    pub user: String,
    /// How it is connected.
    pub transport: Cow<'static, str>,
    /// Bytes that wait.
    pub waiting_bytes: usize,
    /// Bytes that may wait; one more ends the session.
    pub limit_bytes: usize,
    /// Messages that wait.
    pub waiting_messages: usize,
    /// Since when something waits without a break.
    pub since: Timestamp,
}

/// An actor with messages that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongMailbox {
    /// The kind of actor.
    pub kind: Cow<'static, str>,
    /// Its name in the tree.
    pub name: String,
    /// Messages that wait.
    pub waiting: usize,
    /// Messages that may wait.
    pub bound: Option<usize>,
}

/// How long messages of a kind take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowHandler {
    /// The kind of actor that handles them.
    pub actor_kind: Cow<'static, str>,
    /// The kind of message.
    pub kind: Cow<'static, str>,
    /// How many were handled.
    pub count: usize,
    /// The time that 99 % of them took at most, in microseconds.
    pub p99_micros: u32,
    /// The longest that one took, in microseconds.
    pub longest_micros: u32,
    /// What all of them took together, in microseconds.
    pub total_micros: u64,
}

/// How long an actor was busy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowActor {
    /// Its kind.
    pub kind: Cow<'static, str>,
    /// Its name in the tree.
    pub name: String,
    /// How many messages it handled.
    pub count: usize,
    /// What they took together, with the one that it handles now, in microseconds.
    pub total_micros: u64,
    /// The longest that one took, in microseconds.
    pub longest_micros: u64,
    /// What it does at the moment.
    pub doing: Option<Doing>,
}

/// A channel with many subscribers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeChannel {
    /// Its name.
    pub name: String,
    /// Its subscribers on this node.
    pub subscribers: usize,
}

/// What is slow on a node, the worst first in each list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SlowView {
    /// When this was looked at.
    pub at: Timestamp,
    /// Since when handled messages are counted: the flight recorder keeps the newest, and of them those of the last ten
    /// minutes count.
    pub since: Timestamp,
    /// By bytes that wait.
    pub sessions: Vec<SlowSession>,
    /// By messages that wait.
    pub mailboxes: Vec<LongMailbox>,
    /// By the time that 99 % took at most.
    pub handlers: Vec<SlowHandler>,
    /// By the time that they were busy.
    pub actors: Vec<SlowActor>,
    /// By subscribers.
    pub channels: Vec<LargeChannel>,
    /// By how many changes met there.
    pub partitions: Vec<HotPartition>,
}
