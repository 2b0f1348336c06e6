//! One channel's history in memory.

use std::collections::VecDeque;

use mundotango_protocol::{Publication, StreamPosition};
use tokio::time::Instant;

use crate::hot::{HistoryLimits, HistoryQuery, Version};

pub(super) struct History {
    pub(super) epoch: String,
    pub(super) top: u64,
    pub(super) kept: VecDeque<Kept>,
    pub(super) version: Option<Version>,
    /// When offset and epoch are forgotten.
    pub(super) forget_at: Instant,
}

pub(super) struct Kept {
    pub(super) publication: Publication,
    pub(super) expires_at: Instant,
}

impl History {
    pub(super) fn new(epoch: String, top: u64, forget_at: Instant) -> Self {
        Self { epoch, top, kept: VecDeque::new(), version: None, forget_at }
    }

    pub(super) fn position(&self) -> StreamPosition {
        StreamPosition { offset: self.top, epoch: self.epoch.clone() }
    }

    pub(super) fn append(&mut self, mut publication: Publication, limits: HistoryLimits, now: Instant) {
        self.top += 1;
        publication.offset = self.top;
        self.kept.push_back(Kept { publication, expires_at: now + limits.ttl });
        while self.kept.len() > limits.size {
            self.kept.pop_front();
        }
        self.forget_at = now + limits.meta_ttl;
        self.expire(now);
    }

    /// Whether a version is not newer than the last one.
    pub(super) fn is_outdated(&self, version: &Version) -> bool {
        self.version.as_ref().is_some_and(|last| last.epoch == version.epoch && version.number <= last.number)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while self.kept.front().is_some_and(|kept| kept.expires_at <= now) {
            self.kept.pop_front();
        }
    }

    pub(super) fn read(&self, query: HistoryQuery) -> Vec<Publication> {
        let limit = query.limit.unwrap_or(usize::MAX);
        let publications = self.kept.iter().map(|kept| &kept.publication);
        if query.reverse {
            let before = query.since.unwrap_or(u64::MAX);
            publications.rev().filter(|kept| kept.offset < before).take(limit).cloned().collect()
        } else {
            // Offsets have no gap, so the place of the first wanted one is known without a search.
            let first = self.kept.front().map_or(0, |kept| kept.publication.offset);
            let skip = query.since.map_or(0, |since| since.saturating_add(1).saturating_sub(first));
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            publications.skip(skip).take(limit).cloned().collect()
        }
    }
}
