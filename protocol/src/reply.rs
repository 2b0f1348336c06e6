//! What the server answers and pushes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::json::{is_default, messages, raw};
use crate::publication::{ClientInfo, Publication};

messages! {
    /// A result without fields.
    Empty {}
    /// Why a command failed.
    ErrorReply {
        /// See [`ErrorCode`](crate::ErrorCode); 400–1999 belong to the application.
        #[prost(uint32, tag = "1")] code: u32,
        /// For people.
        #[prost(string, tag = "2")] message: String,
        /// Whether the same command may work later.
        #[prost(bool, tag = "3")] temporary: bool,
    }
    /// The session is open.
    ConnectResult {
        /// The session's id.
        #[prost(string, tag = "1")] client: String,
        /// The server's name and version.
        #[prost(string, tag = "2")] version: String,
        /// Whether the client has to refresh its token.
        #[prost(bool, tag = "3")] expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "4")] ttl: u32,
        /// The application's own data.
        #[prost(bytes = "bytes", tag = "5")] #[serde(with = "raw")] data: Bytes,
        /// The channels that the server subscribed the session to.
        #[prost(btree_map = "string, message", tag = "6")] subs: BTreeMap<String, SubscribeResult>,
        /// Seconds between the server's pings.
        #[prost(uint32, tag = "7")] ping: u32,
        /// Whether the server wants pongs.
        #[prost(bool, tag = "8")] pong: bool,
        /// The secret of an emulated session.
        #[prost(string, tag = "9")] session: String,
        /// The node of an emulated session.
        #[prost(string, tag = "10")] node: String,
    }
    /// The channel is added.
    SubscribeResult {
        /// Whether the client has to refresh the subscription's token.
        #[prost(bool, tag = "1")] expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "2")] ttl: u32,
        /// Whether the subscription can be recovered.
        #[prost(bool, tag = "3")] recoverable: bool,
        /// The epoch of the channel's history.
        #[prost(string, tag = "6")] epoch: String,
        /// What the client missed, oldest first.
        #[prost(message, repeated, tag = "7")] publications: Vec<Publication>,
        /// Whether `publications` is all that the client missed.
        #[prost(bool, tag = "8")] recovered: bool,
        /// The top of the history, or the requested offset when recovered.
        #[prost(uint64, tag = "9")] offset: u64,
        /// Whether holes in the stream are noticed.
        #[prost(bool, tag = "10")] positioned: bool,
        /// The application's own data.
        #[prost(bytes = "bytes", tag = "11")] #[serde(with = "raw")] data: Bytes,
        /// Whether the client asked to recover.
        #[prost(bool, tag = "12")] was_recovering: bool,
        /// Whether publications may come as patches.
        #[prost(bool, tag = "13")] delta: bool,
    }
    /// The token is accepted.
    RefreshResult {
        /// The session's id.
        #[prost(string, tag = "1")] client: String,
        /// The server's name and version.
        #[prost(string, tag = "2")] version: String,
        /// Whether the new token expires too.
        #[prost(bool, tag = "3")] expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "4")] ttl: u32,
    }
    /// The subscription's token is accepted.
    SubRefreshResult {
        /// Whether the new token expires too.
        #[prost(bool, tag = "1")] expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "2")] ttl: u32,
    }
    /// What a method answered.
    RpcResult {
        /// The answer.
        #[prost(bytes = "bytes", tag = "1")] #[serde(with = "raw")] data: Bytes,
    }
    /// A client joined the channel.
    Join {
        /// Who.
        #[prost(message, optional, tag = "1")] info: Option<ClientInfo>,
    }
    /// A client left the channel.
    Leave {
        /// Who.
        #[prost(message, optional, tag = "1")] info: Option<ClientInfo>,
    }
    /// The server took the subscription away.
    UnsubscribePush {
        /// See [`UnsubscribeCode`](crate::UnsubscribeCode).
        #[prost(uint32, tag = "2")] code: u32,
        /// For people.
        #[prost(string, tag = "3")] reason: String,
    }
    /// A message from the application to this client alone.
    Message {
        /// The message.
        #[prost(bytes = "bytes", tag = "1")] #[serde(with = "raw")] data: Bytes,
    }
    /// The server subscribed the session to a channel.
    SubscribePush {
        /// Whether the subscription can be recovered.
        #[prost(bool, tag = "1")] recoverable: bool,
        /// The epoch of the channel's history.
        #[prost(string, tag = "4")] epoch: String,
        /// The top of the history.
        #[prost(uint64, tag = "5")] offset: u64,
        /// Whether holes in the stream are noticed.
        #[prost(bool, tag = "6")] positioned: bool,
        /// The application's own data.
        #[prost(bytes = "bytes", tag = "7")] #[serde(with = "raw")] data: Bytes,
    }
    /// The server prolonged the connection.
    RefreshPush {
        /// Whether it expires.
        #[prost(bool, tag = "1")] expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "2")] ttl: u32,
    }
    /// The server ends the connection; only transports without a close frame are told so.
    DisconnectPush {
        /// See [`Disconnect`](crate::Disconnect).
        #[prost(uint32, tag = "1")] code: u32,
        /// For people.
        #[prost(string, tag = "2")] reason: String,
    }
    /// A session of a unidirectional transport is open.
    ConnectPush {
        /// The session's id.
        #[prost(string, tag = "1")] client: String,
        /// The server's name and version.
        #[prost(string, tag = "2")] version: String,
        /// The application's own data.
        #[prost(bytes = "bytes", tag = "3")] #[serde(with = "raw")] data: Bytes,
        /// The channels that the server subscribed the session to.
        #[prost(btree_map = "string, message", tag = "4")] subs: BTreeMap<String, SubscribeResult>,
        /// Whether the connection expires.
        #[prost(bool, tag = "5")] expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "6")] ttl: u32,
        /// Seconds between the server's pings.
        #[prost(uint32, tag = "7")] ping: u32,
        /// Whether the server wants pongs.
        #[prost(bool, tag = "8")] pong: bool,
        /// The session's secret, for the server API.
        #[prost(string, tag = "9")] session: String,
        /// The session's node.
        #[prost(string, tag = "10")] node: String,
    }
    /// Something that happened, in a channel or to the connection.
    Push {
        /// Where; empty for the connection's own pushes.
        #[prost(string, tag = "2")] channel: String,
        /// A publication.
        #[prost(message, optional, tag = "4")] #[serde(rename = "pub")] publication: Option<Publication>,
        /// A client joined.
        #[prost(message, optional, tag = "5")] join: Option<Join>,
        /// A client left.
        #[prost(message, optional, tag = "6")] leave: Option<Leave>,
        /// The server took the subscription away.
        #[prost(message, optional, tag = "7")] unsubscribe: Option<UnsubscribePush>,
        /// A message to this client alone.
        #[prost(message, optional, tag = "8")] message: Option<Message>,
        /// The server subscribed the session.
        #[prost(message, optional, tag = "9")] subscribe: Option<SubscribePush>,
        /// The session is open.
        #[prost(message, optional, tag = "10")] connect: Option<ConnectPush>,
        /// The server ends the connection.
        #[prost(message, optional, tag = "11")] disconnect: Option<DisconnectPush>,
        /// The server prolonged the connection.
        #[prost(message, optional, tag = "12")] refresh: Option<RefreshPush>,
    }
    /// One message of the server: an answer, a push, or (empty) a ping.
    Reply {
        /// The command's id; 0 for pushes and pings.
        #[prost(uint32, tag = "1")] id: u32,
        /// Why the command failed.
        #[prost(message, optional, tag = "2")] error: Option<ErrorReply>,
        /// Something happened.
        #[prost(message, optional, tag = "4")] push: Option<Push>,
        /// Answers a connect.
        #[prost(message, optional, tag = "5")] connect: Option<ConnectResult>,
        /// Answers a subscribe.
        #[prost(message, optional, tag = "6")] subscribe: Option<SubscribeResult>,
        /// Answers an unsubscribe.
        #[prost(message, optional, tag = "7")] unsubscribe: Option<Empty>,
        /// Answers a publish.
        #[prost(message, optional, tag = "8")] publish: Option<Empty>,
        /// Answers a presence.
        #[prost(message, optional, tag = "9")] presence: Option<PresenceResult>,
        /// Answers a presence_stats.
        #[prost(message, optional, tag = "10")] presence_stats: Option<PresenceStatsResult>,
        /// Answers a history.
        #[prost(message, optional, tag = "11")] history: Option<HistoryResult>,
        /// Answers an rpc.
        #[prost(message, optional, tag = "13")] rpc: Option<RpcResult>,
        /// Answers a refresh.
        #[prost(message, optional, tag = "14")] refresh: Option<RefreshResult>,
        /// Answers a sub_refresh.
        #[prost(message, optional, tag = "15")] sub_refresh: Option<SubRefreshResult>,
    }
}

/// Who is subscribed. Its fields are always written in JSON.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PresenceResult {
    /// By the session's id.
    #[prost(btree_map = "string, message", tag = "1")]
    pub presence: BTreeMap<String, ClientInfo>,
}

/// How many are subscribed. Its fields are always written in JSON.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PresenceStatsResult {
    /// Sessions.
    #[prost(uint32, tag = "1")]
    pub num_clients: u32,
    /// Different users among them.
    #[prost(uint32, tag = "2")]
    pub num_users: u32,
}

/// A part of a channel's history. `publications` is always written in JSON.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryResult {
    /// In the order asked for.
    #[prost(message, repeated, tag = "1")]
    pub publications: Vec<Publication>,
    /// The history's identity.
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub epoch: String,
    /// The top of the history.
    #[prost(uint64, tag = "3")]
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
}

impl Reply {
    /// The server's ping.
    pub fn ping() -> Self {
        Self::default()
    }

    /// Answers a command with an error.
    pub fn error(id: u32, error: impl Into<ErrorReply>) -> Self {
        Self { id, error: Some(error.into()), ..Self::default() }
    }

    /// Tells of something that happened in a channel.
    pub fn push(channel: &str, push: Push) -> Self {
        Self { push: Some(Push { channel: channel.to_owned(), ..push }), ..Self::default() }
    }
}

impl From<ConnectResult> for ConnectPush {
    fn from(result: ConnectResult) -> Self {
        let ConnectResult { client, version, expires, ttl, data, subs, ping, session, node, .. } = result;
        // Nobody can answer a ping of a unidirectional transport.
        Self { client, version, data, subs, expires, ttl, ping, pong: false, session, node }
    }
}

impl Push {
    /// The server ends the connection.
    pub fn disconnect(reason: &crate::DisconnectReason) -> Self {
        let disconnect = DisconnectPush { code: reason.code().into(), reason: reason.reason().to_owned() };
        Self { disconnect: Some(disconnect), ..Self::default() }
    }

    /// A publication.
    pub fn publication(publication: Publication) -> Self {
        Self { publication: Some(publication), ..Self::default() }
    }

    /// A message to one client alone.
    pub fn message(data: Bytes) -> Self {
        Self { message: Some(Message { data }), ..Self::default() }
    }

    /// A client joined.
    pub fn join(info: ClientInfo) -> Self {
        Self { join: Some(Join { info: Some(info) }), ..Self::default() }
    }

    /// A client left.
    pub fn leave(info: ClientInfo) -> Self {
        Self { leave: Some(Leave { info: Some(info) }), ..Self::default() }
    }

    /// The server took the subscription away.
    pub fn unsubscribe(code: crate::UnsubscribeCode) -> Self {
        let unsubscribe = UnsubscribePush { code: code.code(), reason: code.to_string() };
        Self { unsubscribe: Some(unsubscribe), ..Self::default() }
    }
}
