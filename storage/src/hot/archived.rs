//! Hot state with a store behind it, for the channels whose history is to be kept for long.
//!
//! Hot state gives offsets and answers for recent publications; the store has all. When hot state was lost, or came back
//! older than it was, a history goes on under a new epoch, far behind the last offset in the store: publications that were
//! on their way to the store then are never written over.

mod unkept;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mundotango_protocol::{ClientInfo, Publication};

use self::unkept::{Unkept, UnkeptPublication};
use super::{
    Append, Appended, Beat, HistoryLimits, HistoryPage, HistoryQuery, HotState, IfMissing, PresenceStats,
    Present, Quota, UserStatus,
};
use crate::StoreError;
use crate::history::{HistoryRange, HistoryStore};

/// More publications than can be on their way into one history.
const OFFSETS_LEFT_OUT: u64 = 1_000_000;
/// Most publications that are read from the store where no limit was given. The rest is left out then, newest first.
const MAX_READ: usize = 1000;

/// Hot state and the store of long histories as one.
pub struct ArchivedHotState {
    hot: Arc<dyn HotState>,
    store: Arc<dyn HistoryStore>,
    unkept: Arc<Unkept>,
}

impl ArchivedHotState {
    /// Puts a store behind hot state.
    pub fn new(hot: Arc<dyn HotState>, store: Arc<dyn HistoryStore>) -> Self {
        let unkept = Arc::new(Unkept::new(Arc::clone(&store)));
        Self { hot, store, unkept }
    }

    /// Limits with which a history that hot state does not know goes on.
    async fn going_on(&self, channel: &str, limits: HistoryLimits) -> Result<HistoryLimits, StoreError> {
        let range = HistoryRange { above: 0, below: u64::MAX, limit: 1, reverse: true };
        let last = self.store.kept(channel, range).await?;
        let start = last.first().map_or(0, |last| last.offset.saturating_add(OFFSETS_LEFT_OUT));
        Ok(HistoryLimits { if_missing: IfMissing::StartAt(start), ..limits })
    }

    async fn append_hot(
        &self,
        channel: &str,
        append: Append,
        limits: HistoryLimits,
    ) -> Result<Appended, StoreError> {
        let known = HistoryLimits { if_missing: IfMissing::Fail, ..limits };
        match self.hot.append(channel, Append { limits: Some(known), ..append.clone() }).await {
            Err(StoreError::NotBegun) => {
                let limits = self.going_on(channel, limits).await?;
                self.hot.append(channel, Append { limits: Some(limits), ..append }).await
            }
            outcome => outcome,
        }
    }

    async fn hot_history(
        &self,
        channel: &str,
        query: HistoryQuery,
        limits: HistoryLimits,
    ) -> Result<HistoryPage, StoreError> {
        let known = HistoryLimits { if_missing: IfMissing::Fail, ..limits };
        match self.hot.history(channel, query, known).await {
            Err(StoreError::NotBegun) => {
                let limits = self.going_on(channel, limits).await?;
                self.hot.history(channel, query, limits).await
            }
            outcome => outcome,
        }
    }

    /// Whether the store has a publication at an offset.
    async fn is_kept(&self, channel: &str, offset: u64) -> Result<bool, StoreError> {
        let (above, below) = (offset.saturating_sub(1), offset.saturating_add(1));
        let range = HistoryRange { above, below, limit: 1, reverse: false };
        Ok(!self.store.kept(channel, range).await?.is_empty())
    }

    /// The publication that hot state has at an offset.
    async fn hot_at(
        &self,
        channel: &str,
        offset: u64,
        limits: HistoryLimits,
    ) -> Result<Option<Publication>, StoreError> {
        let query = HistoryQuery { since: Some(offset.saturating_sub(1)), limit: Some(1), reverse: false };
        let found = self.hot_history(channel, query, limits).await?.publications.pop();
        Ok(found.filter(|found| found.offset == offset))
    }

    /// The publications asked for that are older than those that hot state has.
    async fn older(
        &self,
        channel: &str,
        query: HistoryQuery,
        page: &HistoryPage,
    ) -> Result<Vec<Publication>, StoreError> {
        let past_top = page.position.offset.saturating_add(1);
        let (above, below, room) = if query.reverse {
            let first = query.since.unwrap_or(past_top).min(past_top);
            let below = page.publications.last().map_or(first, |oldest| oldest.offset);
            (0, below, query.limit.map(|limit| limit.saturating_sub(page.publications.len())))
        } else {
            let below = page.publications.first().map_or(past_top, |oldest| oldest.offset);
            (query.since.unwrap_or(0), below, query.limit)
        };
        let limit = room.unwrap_or(MAX_READ);
        if limit == 0 || below <= above.saturating_add(1) {
            return Ok(Vec::new());
        }
        self.store.kept(channel, HistoryRange { above, below, limit, reverse: query.reverse }).await
    }
}

#[async_trait]
impl HotState for ArchivedHotState {
    async fn append(&self, channel: &str, append: Append) -> Result<Appended, StoreError> {
        let archived = append.limits.and_then(|limits| Some((limits, limits.archive_ttl?)));
        let Some((limits, ttl)) = archived else { return self.hot.append(channel, append).await };
        let publication = append.publication.clone();
        let appended = self.append_hot(channel, append, limits).await?;
        let (Appended::New(position) | Appended::Repeated(position) | Appended::Outdated(position)) =
            &appended;
        let publication = match &appended {
            Appended::New(_) => Some(publication),
            // The store may have failed the first time.
            _ if self.is_kept(channel, position.offset).await? => None,
            Appended::Repeated(_) => Some(publication),
            // Another publication is at the top, or this one, which a call before may not have kept.
            Appended::Outdated(_) => self.hot_at(channel, position.offset, limits).await?,
        };
        let Some(publication) = publication else { return Ok(appended) };
        let publication = Publication { offset: position.offset, ..publication };
        match self.store.keep(channel, &position.epoch, publication.clone(), ttl).await {
            Ok(()) => Ok(appended),
            // The publication has its offset and may be read from hot state, so it has to reach the store too: otherwise
            // the long history has a hole.
            Err(error) => {
                let (channel, epoch) = (channel.to_owned(), position.epoch.clone());
                self.unkept.keep_later(UnkeptPublication { channel, epoch, publication, ttl });
                Err(StoreError::Unknown(error.to_string()))
            }
        }
    }

    async fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        limits: HistoryLimits,
    ) -> Result<HistoryPage, StoreError> {
        if limits.archive_ttl.is_none() {
            return self.hot.history(channel, query, limits).await;
        }
        let mut page = self.hot_history(channel, query, limits).await?;
        let older = self.older(channel, query, &page).await?;
        if query.reverse {
            page.publications.extend(older);
        } else if !older.is_empty() {
            let is_cut = query.limit.is_none() && older.len() == MAX_READ;
            let newer = std::mem::replace(&mut page.publications, older);
            // A page has no hole of ours.
            page.publications.extend(newer.into_iter().filter(|_| !is_cut));
            page.publications.truncate(query.limit.unwrap_or(usize::MAX));
        }
        Ok(page)
    }

    async fn renew_history(
        &self,
        channel: &str,
        epoch: &str,
        limits: HistoryLimits,
    ) -> Result<(), StoreError> {
        if limits.archive_ttl.is_none() {
            return self.hot.renew_history(channel, epoch, limits).await;
        }
        let known = HistoryLimits { if_missing: IfMissing::Fail, ..limits };
        match self.hot.renew_history(channel, epoch, known).await {
            Err(StoreError::NotBegun) => {
                let limits = self.going_on(channel, limits).await?;
                self.hot.renew_history(channel, epoch, limits).await
            }
            outcome => outcome,
        }
    }

    async fn remove_history(&self, channel: &str, limits: HistoryLimits) -> Result<(), StoreError> {
        if limits.archive_ttl.is_none() {
            return self.hot.remove_history(channel, limits).await;
        }
        let nothing = HistoryQuery { limit: Some(0), ..HistoryQuery::default() };
        let upto = self.hot_history(channel, nothing, limits).await?.position.offset;
        self.hot.remove_history(channel, limits).await?;
        self.unkept.forget(channel, upto);
        // Later publications stay.
        self.store.forget(channel, upto).await
    }

    async fn add_presence(
        &self,
        channel: &str,
        present: &[Present],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        self.hot.add_presence(channel, present, ttl).await
    }

    async fn remove_presence(&self, channel: &str, clients: &[String]) -> Result<(), StoreError> {
        self.hot.remove_presence(channel, clients).await
    }

    async fn presence(&self, channel: &str) -> Result<BTreeMap<String, ClientInfo>, StoreError> {
        self.hot.presence(channel).await
    }

    async fn presence_stats(&self, channel: &str) -> Result<PresenceStats, StoreError> {
        self.hot.presence_stats(channel).await
    }

    async fn set_users_online(&self, users: &[String], online: bool) -> Result<(), StoreError> {
        self.hot.set_users_online(users, online).await
    }

    async fn user_statuses(&self, users: &[String]) -> Result<BTreeMap<String, UserStatus>, StoreError> {
        self.hot.user_statuses(users).await
    }

    async fn beat(&self) -> Result<Beat, StoreError> {
        self.hot.beat().await
    }

    async fn forget_node(&self, node: &str) -> Result<Vec<(String, ClientInfo)>, StoreError> {
        self.hot.forget_node(node).await
    }

    async fn take(&self, key: &str, quota: Quota) -> Result<Option<Duration>, StoreError> {
        self.hot.take(key, quota).await
    }
}
