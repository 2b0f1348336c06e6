//! Long histories: what namespaces keep for days or years, past what is hot.

use std::time::Duration;

use async_trait::async_trait;
use mundotango_protocol::Publication;

use crate::StoreError;

/// Longest time that a publication can be kept: twice as long is what servers take as a TTL.
pub const MAX_HISTORY_TTL: Duration = Duration::from_hours(10 * 365 * 24);

/// Which publications of a channel to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryRange {
    /// Only those past this offset.
    pub above: u64,
    /// Only those before this offset.
    pub below: u64,
    /// Most publications.
    pub limit: usize,
    /// Newest first.
    pub reverse: bool,
}

/// The port to long histories. Offsets come from hot state, which is asked first for what is recent.
#[async_trait]
pub trait HistoryStore: Send + Sync {
    /// Keeps a publication at its offset for as long as `ttl`, at most [`MAX_HISTORY_TTL`]. Keeping it again is the
    /// same; of two with one offset in different epochs both are kept.
    async fn keep(
        &self,
        channel: &str,
        epoch: &str,
        publication: Publication,
        ttl: Duration,
    ) -> Result<(), StoreError>;

    /// Reads publications in the order asked for, of whatever epoch.
    async fn kept(&self, channel: &str, range: HistoryRange) -> Result<Vec<Publication>, StoreError>;

    /// Forgets a channel's publications up to this offset. Takes its time where there are many.
    async fn forget(&self, channel: &str, upto: u64) -> Result<(), StoreError>;
}
