//! Replies and pushes of the server.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::json::{is_default, is_json, messages, raw};
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
        /// True if the same command may work later.
        #[prost(bool, tag = "3")] temporary: bool,
    }
    /// The session is open.
    ConnectResult {
        /// The session's id.
        #[prost(string, tag = "1")] client: String,
        /// The server's name and version.
        #[prost(string, tag = "2")] version: String,
        /// True if the client has to refresh its token.
        #[prost(bool, tag = "3")] expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "4")] ttl: u32,
        /// The application's own data.
        #[prost(bytes = "bytes", tag = "5")] #[serde(with = "raw")] data: Bytes,
        /// The channels that the server subscribed the session to.
        #[prost(btree_map = "string, message", tag = "6")] subs: BTreeMap<String, SubscribeResult>,
        /// Seconds between the server's pings.
        #[prost(uint32, tag = "7")] ping: u32,
        /// True if the server wants pongs.
        #[prost(bool, tag = "8")] pong: bool,
        /// The secret of an emulated session.
        #[prost(string, tag = "9")] session: String,
        /// The node of an emulated session.
        #[prost(string, tag = "10")] node: String,
    }
    /// The channel is added.
    SubscribeResult {
        /// True if the client has to refresh the subscription's token.
        #[prost(bool, tag = "1")] expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "2")] ttl: u32,
        /// True if the subscription can be recovered.
        #[prost(bool, tag = "3")] recoverable: bool,
        /// The epoch of the channel's history.
        #[prost(string, tag = "6")] epoch: String,
        /// The publications that the client missed, oldest first.
        #[prost(message, repeated, tag = "7")] publications: Vec<Publication>,
        /// True if the client missed nothing but `publications`.
        #[prost(bool, tag = "8")] recovered: bool,
        /// The top of the history, or the requested offset when recovered.
        #[prost(uint64, tag = "9")] offset: u64,
        /// True if holes in the stream are noticed.
        #[prost(bool, tag = "10")] positioned: bool,
        /// The application's own data.
        #[prost(bytes = "bytes", tag = "11")] #[serde(with = "raw")] data: Bytes,
        /// True if the client asked to recover.
        #[prost(bool, tag = "12")] was_recovering: bool,
        /// True if publications may come as patches.
        #[prost(bool, tag = "13")] delta: bool,
    }
    /// The token is accepted.
    RefreshResult {
        /// The session's id.
        #[prost(string, tag = "1")] client: String,
        /// The server's name and version.
        #[prost(string, tag = "2")] version: String,
        /// True if the new token expires too.
        #[prost(bool, tag = "3")] expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "4")] ttl: u32,
    }
    /// The subscription's token is accepted.
    SubRefreshResult {
        /// True if the new token expires too.
        #[prost(bool, tag = "1")] expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "2")] ttl: u32,
    }
    /// The answer of a method.
    RpcResult {
        /// The answer.
        #[prost(bytes = "bytes", tag = "1")] #[serde(with = "raw")] data: Bytes,
    }
    /// A client joined the channel.
    Join {
        /// The client.
        #[prost(message, optional, tag = "1")] info: Option<ClientInfo>,
    }
    /// A client left the channel.
    Leave {
        /// The client.
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
        /// True if the subscription can be recovered.
        #[prost(bool, tag = "1")] recoverable: bool,
        /// The epoch of the channel's history.
        #[prost(string, tag = "4")] epoch: String,
        /// The top of the history.
        #[prost(uint64, tag = "5")] offset: u64,
        /// True if holes in the stream are noticed.
        #[prost(bool, tag = "6")] positioned: bool,
        /// The application's own data.
        #[prost(bytes = "bytes", tag = "7")] #[serde(with = "raw")] data: Bytes,
    }
    /// The server prolonged the connection.
    RefreshPush {
        /// True if the connection expires.
        #[prost(bool, tag = "1")] expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "2")] ttl: u32,
    }
    /// The server ends the connection; only transports without a close frame carry this push.
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
        /// True if the connection expires.
        #[prost(bool, tag = "5")] expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "6")] ttl: u32,
        /// Seconds between the server's pings.
        #[prost(uint32, tag = "7")] ping: u32,
        /// True if the server wants pongs.
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

/// The clients of a channel. Its fields are always written in JSON.
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

    /// The reply without what JSON cannot carry: publications of lists, infos of clients, and data beside a result. A
    /// client that missed a binary publication in this way goes on with the others.
    pub(crate) fn into_json_part(mut self) -> Self {
        if let Some(connect) = &mut self.connect {
            keep_json(&mut connect.data);
            connect.subs.values_mut().for_each(SubscribeResult::keep_json);
        }
        if let Some(subscribe) = &mut self.subscribe {
            subscribe.keep_json();
        }
        if let Some(presence) = &mut self.presence {
            presence.presence.values_mut().for_each(ClientInfo::keep_json);
        }
        if let Some(history) = &mut self.history {
            keep_json_publications(&mut history.publications);
        }
        if let Some(push) = &mut self.push {
            push.keep_json();
        }
        self
    }

    /// Tells of something that happened in a channel.
    pub fn push(channel: &str, push: Push) -> Self {
        Self { push: Some(Push { channel: channel.to_owned(), ..push }), ..Self::default() }
    }
}

fn keep_json(data: &mut Bytes) {
    if !is_json(data) {
        data.clear();
    }
}

fn keep_json_publications(publications: &mut Vec<Publication>) {
    publications.retain(|publication| is_json(&publication.data));
    publications
        .iter_mut()
        .filter_map(|publication| publication.info.as_mut())
        .for_each(ClientInfo::keep_json);
}

impl SubscribeResult {
    fn keep_json(&mut self) {
        keep_json(&mut self.data);
        keep_json_publications(&mut self.publications);
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
    /// Leaves out what JSON cannot carry, but for the payload of a publication or of a message: without its payload
    /// such a push says nothing.
    fn keep_json(&mut self) {
        let infos = [
            self.publication.as_mut().and_then(|publication| publication.info.as_mut()),
            self.join.as_mut().and_then(|join| join.info.as_mut()),
            self.leave.as_mut().and_then(|leave| leave.info.as_mut()),
        ];
        infos.into_iter().flatten().for_each(ClientInfo::keep_json);
        if let Some(subscribe) = &mut self.subscribe {
            keep_json(&mut subscribe.data);
        }
        if let Some(connect) = &mut self.connect {
            keep_json(&mut connect.data);
            connect.subs.values_mut().for_each(SubscribeResult::keep_json);
        }
    }

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
