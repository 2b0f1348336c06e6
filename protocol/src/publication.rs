//! The publications of a channel, and the clients that sent them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::json::{is_default, is_json, raw};

/// One message in a channel.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Publication {
    /// The application's payload; JSON for JSON connections.
    #[prost(bytes = "bytes", tag = "4")]
    #[serde(with = "raw")]
    pub data: Bytes,
    /// The client that published; absent when the server did.
    #[prost(message, optional, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<ClientInfo>,
    /// Place in the channel's history, from 1; 0 where the channel keeps none.
    #[prost(uint64, tag = "6")]
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
    /// Marks for filters.
    #[prost(btree_map = "string, string", tag = "7")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// True if `data` is a patch against the publication before.
    #[prost(bool, tag = "8")]
    #[serde(skip_serializing_if = "is_default")]
    pub delta: bool,
    /// When it was published, in Unix milliseconds; 0 where not kept.
    #[prost(int64, tag = "9")]
    #[serde(skip_serializing_if = "is_default")]
    pub time: i64,
    /// The channel, where the surrounding message does not say it.
    #[prost(string, tag = "10")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
}

/// A session as other clients see it.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientInfo {
    /// The user's id; empty for anonymous sessions, and always written in JSON.
    #[prost(string, tag = "1")]
    pub user: String,
    /// The session's id; always written in JSON.
    #[prost(string, tag = "2")]
    pub client: String,
    /// The application's data about the user, from the connection token.
    #[prost(bytes = "bytes", tag = "3")]
    #[serde(with = "raw", skip_serializing_if = "Bytes::is_empty")]
    pub conn_info: Bytes,
    /// The application's data about the user in this channel, from the subscription token.
    #[prost(bytes = "bytes", tag = "4")]
    #[serde(with = "raw", skip_serializing_if = "Bytes::is_empty")]
    pub chan_info: Bytes,
}

impl ClientInfo {
    /// Leaves out what JSON cannot carry: an info that was given as bytes.
    pub fn keep_json(&mut self) {
        for info in [&mut self.conn_info, &mut self.chan_info] {
            if !is_json(info) {
                info.clear();
            }
        }
    }
}

/// A place in a channel's history.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamPosition {
    /// The last publication seen; 0 before the first.
    #[prost(uint64, tag = "1")]
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
    /// The history's identity: offsets of different epochs do not compare.
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub epoch: String,
}
