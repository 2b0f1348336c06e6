//! Commands: the requests of a client.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::filter::FilterNode;
use crate::json::{is_default, messages, raw};
use crate::publication::StreamPosition;

messages! {
    /// Opens the session; the first command of every connection.
    ConnectRequest {
        /// A JWT, or empty for an anonymous session.
        #[prost(string, tag = "1")] token: String,
        /// The application's own data.
        #[prost(bytes = "bytes", tag = "2")] #[serde(with = "raw")] data: Bytes,
        /// Where to recover server-side subscriptions from.
        #[prost(btree_map = "string, message", tag = "3")] subs: BTreeMap<String, SubscribeRequest>,
        /// The client library's name.
        #[prost(string, tag = "4")] name: String,
        /// The client library's version.
        #[prost(string, tag = "5")] version: String,
        /// Headers that a browser cannot set itself.
        #[prost(btree_map = "string, string", tag = "6")] headers: BTreeMap<String, String>,
    }
    /// Adds a channel to the session.
    SubscribeRequest {
        /// The channel's name.
        #[prost(string, tag = "1")] channel: String,
        /// A subscription JWT, or empty.
        #[prost(string, tag = "2")] token: String,
        /// True to catch up from `offset` in `epoch`.
        #[prost(bool, tag = "3")] recover: bool,
        /// The epoch of the client's position.
        #[prost(string, tag = "6")] epoch: String,
        /// The last publication that the client saw.
        #[prost(uint64, tag = "7")] offset: u64,
        /// The application's own data.
        #[prost(bytes = "bytes", tag = "8")] #[serde(with = "raw")] data: Bytes,
        /// Asks for a subscription whose holes are noticed.
        #[prost(bool, tag = "9")] positioned: bool,
        /// Asks for a subscription that can be recovered.
        #[prost(bool, tag = "10")] recoverable: bool,
        /// Asks for join and leave pushes.
        #[prost(bool, tag = "11")] join_leave: bool,
        /// The delta compression that the client can read.
        #[prost(string, tag = "12")] delta: String,
        /// Only publications whose tags fit are wanted.
        #[prost(message, optional, tag = "13")] tf: Option<FilterNode>,
        /// Wishes of newer clients: [`SubscribeRequest::REJECT_UNRECOVERED`]; unknown bits are ignored.
        #[prost(int64, tag = "14")] flag: i64,
        /// What is subscribed to: [`SubscribeRequest::STREAM`], or what only newer servers have.
        #[prost(int32, tag = "15")] #[serde(rename = "type")] kind: i32,
    }
    /// Takes a channel from the session.
    UnsubscribeRequest {
        /// The channel's name.
        #[prost(string, tag = "1")] channel: String,
    }
    /// Publishes into a channel.
    PublishRequest {
        /// The channel's name.
        #[prost(string, tag = "1")] channel: String,
        /// The payload.
        #[prost(bytes = "bytes", tag = "2")] #[serde(with = "raw")] data: Bytes,
    }
    /// Asks who is subscribed to a channel.
    PresenceRequest {
        /// The channel's name.
        #[prost(string, tag = "1")] channel: String,
    }
    /// Asks how many are subscribed to a channel.
    PresenceStatsRequest {
        /// The channel's name.
        #[prost(string, tag = "1")] channel: String,
    }
    /// Asks for a channel's kept publications.
    HistoryRequest {
        /// The channel's name.
        #[prost(string, tag = "1")] channel: String,
        /// How many at most; 0 asks for the position alone, below 0 for all that may be asked for.
        #[prost(int32, tag = "7")] limit: i32,
        /// Only publications past this position (before it, in reverse).
        #[prost(message, optional, tag = "8")] since: Option<StreamPosition>,
        /// Newest first.
        #[prost(bool, tag = "9")] reverse: bool,
    }
    /// Calls a method of the application.
    RpcRequest {
        /// The argument.
        #[prost(bytes = "bytes", tag = "1")] #[serde(with = "raw")] data: Bytes,
        /// The method's name.
        #[prost(string, tag = "2")] method: String,
    }
    /// Hands the application a message without an answer.
    SendRequest {
        /// The message.
        #[prost(bytes = "bytes", tag = "1")] #[serde(with = "raw")] data: Bytes,
    }
    /// Prolongs the connection with a new token.
    RefreshRequest {
        /// A connection JWT.
        #[prost(string, tag = "1")] token: String,
    }
    /// Prolongs a subscription with a new token.
    SubRefreshRequest {
        /// The channel's name.
        #[prost(string, tag = "1")] channel: String,
        /// A subscription JWT.
        #[prost(string, tag = "2")] token: String,
    }
}

impl SubscribeRequest {
    /// In `kind`: a stream of publications.
    pub const STREAM: i32 = 0;
    /// In `flag`: answer with error 112 instead of an unrecovered subscription.
    pub const REJECT_UNRECOVERED: i64 = 2;
}

/// A frame that a client posts to `/emulation`, because its transport carries only the server's messages.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EmulationRequest {
    /// The node that holds the session.
    #[prost(string, tag = "1")]
    pub node: String,
    /// The session's secret, from its connect result.
    #[prost(string, tag = "2")]
    pub session: String,
    /// A frame of commands.
    #[prost(bytes = "bytes", tag = "3")]
    pub data: Bytes,
}

/// One command as it stands on the wire: an id, and one of the payloads. Large payloads that come seldom are boxed, as
/// every command is moved several times on its way.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Command {
    /// Names the command in its reply; 0 for `send` and pongs.
    #[prost(uint32, tag = "1")]
    #[serde(skip_serializing_if = "is_default")]
    pub id: u32,
    /// See [`ConnectRequest`].
    #[prost(message, optional, boxed, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Box<ConnectRequest>>,
    /// See [`SubscribeRequest`].
    #[prost(message, optional, boxed, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<Box<SubscribeRequest>>,
    /// See [`UnsubscribeRequest`].
    #[prost(message, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<UnsubscribeRequest>,
    /// See [`PublishRequest`].
    #[prost(message, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<PublishRequest>,
    /// See [`PresenceRequest`].
    #[prost(message, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<PresenceRequest>,
    /// See [`PresenceStatsRequest`].
    #[prost(message, optional, tag = "9")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_stats: Option<PresenceStatsRequest>,
    /// See [`HistoryRequest`].
    #[prost(message, optional, boxed, tag = "10")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Box<HistoryRequest>>,
    /// See [`SendRequest`].
    #[prost(message, optional, tag = "12")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<SendRequest>,
    /// See [`RpcRequest`].
    #[prost(message, optional, tag = "13")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<RpcRequest>,
    /// See [`RefreshRequest`].
    #[prost(message, optional, tag = "14")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<RefreshRequest>,
    /// See [`SubRefreshRequest`].
    #[prost(message, optional, tag = "15")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_refresh: Option<SubRefreshRequest>,
}

/// A command's payload: the first that is set, in the order of the field numbers.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is documented at its request type")]
pub enum Request {
    Connect(Box<ConnectRequest>),
    Subscribe(Box<SubscribeRequest>),
    Unsubscribe(UnsubscribeRequest),
    Publish(PublishRequest),
    Presence(PresenceRequest),
    PresenceStats(PresenceStatsRequest),
    History(Box<HistoryRequest>),
    Send(SendRequest),
    Rpc(RpcRequest),
    Refresh(RefreshRequest),
    SubRefresh(SubRefreshRequest),
    /// No payload that this server knows; with id 0 it is a pong.
    Nothing,
}

impl Request {
    /// What commands are called in metrics and logs, each at the place of its [number](Self::number).
    pub const NAMES: [&'static str; 12] = [
        "connect",
        "subscribe",
        "unsubscribe",
        "publish",
        "presence",
        "presence_stats",
        "history",
        "send",
        "rpc",
        "refresh",
        "sub_refresh",
        "nothing",
    ];

    /// The command's number, from 0.
    pub fn number(&self) -> usize {
        match self {
            Self::Connect(_) => 0,
            Self::Subscribe(_) => 1,
            Self::Unsubscribe(_) => 2,
            Self::Publish(_) => 3,
            Self::Presence(_) => 4,
            Self::PresenceStats(_) => 5,
            Self::History(_) => 6,
            Self::Send(_) => 7,
            Self::Rpc(_) => 8,
            Self::Refresh(_) => 9,
            Self::SubRefresh(_) => 10,
            Self::Nothing => 11,
        }
    }

    /// The command's name in metrics and logs.
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.number()]
    }
}

impl Command {
    /// The payload alone.
    pub fn into_request(self) -> Request {
        None.or(self.connect.map(Request::Connect))
            .or(self.subscribe.map(Request::Subscribe))
            .or(self.unsubscribe.map(Request::Unsubscribe))
            .or(self.publish.map(Request::Publish))
            .or(self.presence.map(Request::Presence))
            .or(self.presence_stats.map(Request::PresenceStats))
            .or(self.history.map(Request::History))
            .or(self.send.map(Request::Send))
            .or(self.rpc.map(Request::Rpc))
            .or(self.refresh.map(Request::Refresh))
            .or(self.sub_refresh.map(Request::SubRefresh))
            .unwrap_or(Request::Nothing)
    }
}
