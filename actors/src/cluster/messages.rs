//! What nodes say to each other, in JSON: what a node does not know it leaves out, and a request that it does not know
//! it refuses by name, so that nodes of neighbouring versions can talk. Fields are only ever added.

use bytes::Bytes;
use jiff::Timestamp;
use mundotango_protocol::StreamPosition;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::Whose;
use crate::placement::Question;
use crate::session::ServerSubscription;

/// What a node says of itself, once a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its id: another one at every start.
    pub id: String,
    /// What its operator calls it.
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
    /// Whether it is going away.
    pub draining: bool,
    /// Whether it is gone now.
    #[serde(default)]
    pub gone: bool,
}

/// Something that a node is to do, or to tell.
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
    /// Tell of sessions.
    Sessions { whose: Whose },
    /// Tell which channels have subscribers, and how many.
    Channels { pattern: String },
    /// Tell of the supervision tree.
    Tree { most_children: usize },
    /// Ask an actor that is to be on this node.
    Owned(Question),
    /// Give this to who handles its topic.
    Topic {
        topic: String,
        #[serde(with = "base64_bytes")]
        data: Bytes,
    },
}

/// A request on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked<T> {
    /// The node that asks.
    pub(crate) from: String,
    pub(crate) request: T,
}

/// What a node answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// The node that answers.
    pub(crate) node: String,
    /// What came of it.
    #[serde(default)]
    pub(crate) answer: Value,
    /// Why nothing came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// Bytes as base64.
pub(crate) mod base64_bytes {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use bytes::Bytes;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Bytes::from).map_err(de::Error::custom)
    }
}

/// Bytes that may be absent.
mod optional_bytes {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Wrapped(#[serde(with = "super::base64_bytes")] Bytes);

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.clone().map(Wrapped).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
    }
}
