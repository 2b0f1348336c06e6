//! The messages between nodes, in JSON. A node ignores fields that it does not know, and refuses a request that it does
//! not know by its name, so nodes of neighbouring versions can talk. Fields are only ever added.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use mundotango_protocol::StreamPosition;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base64_bytes;
use crate::handle::{ServerSubscription, Whose};

/// A node's heartbeat, once a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its id: another one at every start.
    pub id: String,
    /// Its name, which its operator gives.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// Sessions that it has.
    pub sessions: usize,
    /// Users that have a session there.
    pub users: usize,
    /// Channels with a subscriber there.
    pub channels: usize,
    /// Subscriptions to all of them.
    pub subscriptions: usize,
    /// True if it is going away.
    pub draining: bool,
    /// True if it takes sessions that come, as far as it knows itself; nodes of versions before this never say so.
    #[serde(default)]
    pub accepts: bool,
    /// True if it is gone now.
    #[serde(default)]
    pub gone: bool,
    /// Digests of the settings that all nodes have to agree on, by what they are of.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// How much a node has to do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) sessions: usize,
    pub(crate) users: usize,
    pub(crate) channels: usize,
    pub(crate) subscriptions: usize,
}

/// A question to an actor that exists once in the cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) kind: String,
    pub(crate) id: String,
    #[serde(with = "base64_bytes")]
    pub(crate) message: Bytes,
}

/// A request to a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum NodeRequest {
    /// Subscribe sessions to a channel.
    Subscribe {
        whose: Whose,
        channel: String,
        subscription: Box<ServerSubscription>,
        recover: Option<StreamPosition>,
    },
    /// Take sessions out of a channel.
    Unsubscribe { whose: Whose, channel: String },
    /// End sessions, but not the spared ones.
    Disconnect { whose: Whose, code: u16, reason: String, spared: Vec<String> },
    /// Set when sessions expire.
    Refresh {
        whose: Whose,
        expires_at: Option<u64>,
        #[serde(with = "optional_bytes", default)]
        info: Option<Bytes>,
    },
    /// Send the clients of sessions a message.
    Message {
        whose: Whose,
        #[serde(with = "base64_bytes")]
        data: Bytes,
    },
    /// List sessions.
    Sessions { whose: Whose },
    /// Count the subscribers of channels.
    Channels { pattern: String },
    /// Return the supervision tree.
    Tree { most_children: usize },
    /// Look closely at an actor, by its kind and name in the tree.
    Actor { kind: String, name: String },
    /// Say what is slow.
    Slow,
    /// Ask an actor that has its place on this node.
    Owned(Question),
    /// Say whether this node runs an actor. Answered beside the actor's mailbox, so a busy owner is known to live.
    Owns { kind: String, id: String },
    /// Give the data to the handler of the topic.
    Topic {
        topic: String,
        #[serde(with = "base64_bytes")]
        data: Bytes,
    },
}

impl NodeRequest {
    /// What is asked, as in its JSON.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Subscribe { .. } => "subscribe",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::Disconnect { .. } => "disconnect",
            Self::Refresh { .. } => "refresh",
            Self::Message { .. } => "message",
            Self::Sessions { .. } => "sessions",
            Self::Channels { .. } => "channels",
            Self::Tree { .. } => "tree",
            Self::Actor { .. } => "actor",
            Self::Slow => "slow",
            Self::Owned(_) => "owned",
            Self::Owns { .. } => "owns",
            Self::Topic { .. } => "topic",
        }
    }
}

/// A request on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope<T> {
    /// The node that asks.
    pub(crate) from: String,
    pub(crate) request: T,
}

/// The answer of a node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// The node that answers.
    pub(crate) node: String,
    /// The result.
    #[serde(default)]
    pub(crate) answer: Value,
    /// Why the node refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// Bytes that may be absent.
mod optional_bytes {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Wrapped(#[serde(with = "crate::base64_bytes")] Bytes);

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.clone().map(Wrapped).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
    }
}
