//! Hot state: the recent history of channels, and who is in them.
//!
//! It may be lost as a whole: the epoch of a channel's history changes then, and clients learn it.

mod memory;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use mundotango_protocol::{ClientInfo, Publication, StreamPosition};

pub use memory::MemoryHotState;

use crate::StoreError;

/// How much history a channel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Most publications kept.
    pub size: usize,
    /// How long each is kept.
    pub ttl: Duration,
    /// How long offset and epoch are remembered after the last publication.
    pub meta_ttl: Duration,
}

/// Which part of a channel's history to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only publications past this offset (in reverse: below it).
    pub since: Option<u64>,
    /// Most publications; `None` for all that are kept.
    pub limit: Option<usize>,
    /// Newest first.
    pub reverse: bool,
}

/// A part of a channel's history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryPage {
    /// In the order asked for, offsets set.
    pub publications: Vec<Publication>,
    /// The top of the history: the offset of the newest publication ever appended, and the epoch.
    pub position: StreamPosition,
}

/// How many are in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PresenceStats {
    /// Sessions.
    pub clients: u32,
    /// Different users among them.
    pub users: u32,
}

/// The port to hot state. Each call is one atomic step.
#[async_trait]
pub trait HotState: Send + Sync {
    /// Gives a publication the channel's next offset (from 1, no gap, no twin) and keeps it. Returns its position.
    async fn append(
        &self,
        channel: &str,
        publication: Publication,
        limits: HistoryLimits,
    ) -> Result<StreamPosition, StoreError>;

    /// Reads history. A channel without one gets an epoch now, so that a client can recover from its start.
    async fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        meta_ttl: Duration,
    ) -> Result<HistoryPage, StoreError>;

    /// Forgets a channel's publications; offset and epoch stay.
    async fn remove_history(&self, channel: &str) -> Result<(), StoreError>;

    /// Says that a session is in a channel, for as long as `ttl` unless said again.
    async fn add_presence(
        &self,
        channel: &str,
        client: &str,
        info: ClientInfo,
        ttl: Duration,
    ) -> Result<(), StoreError>;

    /// Says that a session left a channel.
    async fn remove_presence(&self, channel: &str, client: &str) -> Result<(), StoreError>;

    /// Who is in a channel, by session id.
    async fn presence(&self, channel: &str) -> Result<BTreeMap<String, ClientInfo>, StoreError>;

    /// How many are in a channel, without reading who.
    async fn presence_stats(&self, channel: &str) -> Result<PresenceStats, StoreError>;
}
