//! Hot state: the recent history of channels, and who is in them.
//!
//! It may be lost as a whole: the epoch of a channel's history changes then, and clients learn it.

mod archived;
mod memory;
mod redis;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_protocol::{ClientInfo, Publication, StreamPosition};

pub use archived::ArchivedHotState;
pub use memory::MemoryHotState;
use rand::RngExt as _;
use rand::distr::Alphanumeric;
pub use redis::RedisHotState;

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
    /// How long each is kept in the store as well; `None` where nothing is.
    pub archive_ttl: Option<Duration>,
    /// What a call does where the channel has no history.
    pub if_missing: IfMissing,
}

/// What a call does where the channel has no history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMissing {
    /// The history starts with the offset after this one.
    StartAt(u64),
    /// The call fails with [`StoreError::NotBegun`].
    Fail,
}

impl HistoryLimits {
    /// Limits of a history that is hot alone.
    pub const fn new(size: usize, ttl: Duration, meta_ttl: Duration) -> Self {
        Self { size, ttl, meta_ttl, archive_ttl: None, if_missing: IfMissing::StartAt(0) }
    }

    /// These limits, where the store keeps each publication for so long as well.
    #[must_use]
    pub const fn archived(mut self, ttl: Duration) -> Self {
        self.archive_ttl = Some(ttl);
        if self.meta_ttl.as_secs() < ttl.as_secs() {
            self.meta_ttl = ttl;
        }
        self
    }
}

/// A publication to be put into a channel's history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Append {
    /// The publication; its offset is set by history.
    pub publication: Publication,
    /// How much the channel keeps; `None` where it keeps nothing.
    pub limits: Option<HistoryLimits>,
    /// Names the publication for [`IDEMPOTENCY_TTL`], so that sending it again does not publish it again.
    pub idempotency_key: Option<String>,
    /// The version of what the publication tells; one that is not newer than the last is not published.
    pub version: Option<Version>,
}

impl Append {
    /// A publication of a channel that keeps so much.
    pub fn new(publication: Publication, limits: Option<HistoryLimits>) -> Self {
        Self { publication, limits, ..Self::default() }
    }
}

/// The version of a channel's content. Versions of different epochs do not compare: the later one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Grows with the content.
    pub number: u64,
    /// Whose numbers these are.
    pub epoch: String,
}

/// What became of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It stands here now; the default position where the channel keeps no history.
    New(StreamPosition),
    /// It was published before, here, under the same idempotency key.
    Repeated(StreamPosition),
    /// The channel has a newer version; the position is its top.
    Outdated(StreamPosition),
}

impl Appended {
    /// The position that it speaks of.
    pub fn into_position(self) -> StreamPosition {
        match self {
            Self::New(position) | Self::Repeated(position) | Self::Outdated(position) => position,
        }
    }
}

/// How long a publication's idempotency key is remembered.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_mins(5);

/// When a user was here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserStatus {
    /// Since when the user has had a session without a break; `None` if there is none now.
    pub online_since: Option<Timestamp>,
    /// When the last session began or ended.
    pub last_seen: Timestamp,
}

/// How long it is remembered when a user was here.
pub const USER_STATUS_TTL: Duration = Duration::from_hours(30 * 24);

/// How often something may be done: `limit` times at once, and then evenly over the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Times in each window; at least 1.
    pub limit: u32,
    /// The window.
    pub window: Duration,
}

/// Long enough that two histories of a channel never share an epoch by chance.
const EPOCH_LENGTH: usize = 8;

/// The epoch of a history that another node cannot derive.
fn new_epoch() -> String {
    rand::rng().sample_iter(Alphanumeric).take(EPOCH_LENGTH).map(char::from).collect()
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

/// A session that is in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The session's id.
    pub client: String,
    /// What others may know of the session.
    pub info: ClientInfo,
}

/// How many are in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PresenceStats {
    /// Sessions.
    pub clients: u32,
    /// Different users among them.
    pub users: u32,
}

/// What a node learns by its heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Whether hot state has lost what this node said: it was lost as a whole, or other nodes took this one for dead. The
    /// node has to say again which users are online, and who is present.
    pub forgotten: bool,
    /// Nodes that have been silent for [`NODE_SILENCE`], for [`HotState::forget_node`].
    pub silent: Vec<String>,
    /// Other nodes that have beaten within [`NODE_ALIVE`].
    pub alive: Vec<String>,
}

/// How long a node is silent before it is taken for dead.
pub const NODE_SILENCE: Duration = Duration::from_mins(2);
/// A node that beat this long ago, or later, is alive.
pub const NODE_ALIVE: Duration = Duration::from_secs(5);

/// The port to hot state. Each call about one channel's history is one atomic step.
#[async_trait]
pub trait HotState: Send + Sync {
    /// Gives a publication the channel's next offset (from 1, no gap, no twin) and keeps it, unless it was published
    /// before or is outdated.
    async fn append(&self, channel: &str, append: Append) -> Result<Appended, StoreError>;

    /// Reads history. A channel without one has an epoch all the same, so that a client can recover from its start; the
    /// first publication has that epoch. Nothing is kept for a channel that is only read.
    async fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        limits: HistoryLimits,
    ) -> Result<HistoryPage, StoreError>;

    /// Begins another epoch of a channel's history: what was kept is forgotten, offsets go on. For a history that lacks a
    /// publication, so that nobody recovers past the hole. A history that has this epoch already is left as it is, so
    /// that several nodes may ask for the same.
    async fn renew_history(
        &self,
        channel: &str,
        epoch: &str,
        limits: HistoryLimits,
    ) -> Result<(), StoreError>;

    /// Forgets a channel's publications; offset and epoch stay.
    async fn remove_history(&self, channel: &str, limits: HistoryLimits) -> Result<(), StoreError>;

    /// Says that sessions are in a channel, for as long as `ttl` unless said again.
    async fn add_presence(&self, channel: &str, present: &[Present], ttl: Duration)
    -> Result<(), StoreError>;

    /// Says that sessions left a channel.
    async fn remove_presence(&self, channel: &str, clients: &[String]) -> Result<(), StoreError>;

    /// Who is in a channel, by session id.
    async fn presence(&self, channel: &str) -> Result<BTreeMap<String, ClientInfo>, StoreError>;

    /// How many are in a channel, without reading who.
    async fn presence_stats(&self, channel: &str) -> Result<PresenceStats, StoreError>;

    /// Says that the first session on this node began for each of the users (`online`), or the last one ended.
    async fn set_users_online(&self, users: &[String], online: bool) -> Result<(), StoreError>;

    /// [`set_users_online`](Self::set_users_online) for one user.
    async fn set_user_online(&self, user: &str, online: bool) -> Result<(), StoreError> {
        self.set_users_online(&[user.to_owned()], online).await
    }

    /// When users were here; who was not within [`USER_STATUS_TTL`] is not in the answer.
    async fn user_statuses(&self, users: &[String]) -> Result<BTreeMap<String, UserStatus>, StoreError>;

    /// Says that the node lives. Every node calls this every few seconds.
    async fn beat(&self) -> Result<Beat, StoreError>;

    /// Clears away what a dead node said of presence and of users, in small steps. Returns the sessions that were removed
    /// by this call, with their channels. A call that failed is made up for by calling again; [`beat`](Self::beat) goes
    /// on naming the node until then.
    async fn forget_node(&self, node: &str) -> Result<Vec<(String, ClientInfo)>, StoreError>;

    /// Takes one from the quota of a key; after how long there is one again if there is none now.
    async fn take(&self, key: &str, quota: Quota) -> Result<Option<Duration>, StoreError>;
}
