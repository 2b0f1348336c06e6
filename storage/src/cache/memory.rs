//! The shared tier of a node that shares with nobody.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use moka::Expiry;
use moka::ops::compute::Op;

use super::{CacheStore, SETTLE};
use crate::StoreError;

/// A cache in the process' memory, bounded in bytes: what is used least goes first.
pub struct MemoryCache {
    entries: moka::future::Cache<String, Entry>,
}

#[derive(Clone)]
enum Entry {
    Kept(Bytes, Duration),
    /// Removed a moment ago.
    Removed,
}

struct OwnTime;

impl Expiry<String, Entry> for OwnTime {
    fn expire_after_create(&self, _key: &String, entry: &Entry, _at: Instant) -> Option<Duration> {
        Some(entry.time())
    }

    fn expire_after_update(
        &self,
        _key: &String,
        entry: &Entry,
        _at: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.time())
    }
}

impl Entry {
    fn time(&self) -> Duration {
        match self {
            Self::Kept(_, ttl) => *ttl,
            Self::Removed => SETTLE,
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Kept(value, _) => value.len(),
            Self::Removed => 0,
        }
    }
}

impl MemoryCache {
    /// A cache of at most so many bytes.
    pub fn new(bytes: u64) -> Self {
        let entries = moka::future::Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &String, entry: &Entry| {
                u32::try_from(key.len() + entry.weight()).unwrap_or(u32::MAX)
            })
            .expire_after(OwnTime)
            .build();
        Self { entries }
    }
}

#[async_trait]
impl CacheStore for MemoryCache {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.entries.get(key).await.and_then(|entry| match entry {
            Entry::Kept(value, _) => Some(value),
            Entry::Removed => None,
        }))
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        let keep = |known: Option<moka::Entry<String, Entry>>| {
            let removed = known.is_some_and(|known| matches!(known.into_value(), Entry::Removed));
            std::future::ready(if removed { Op::Nop } else { Op::Put(Entry::Kept(value, ttl)) })
        };
        self.entries.entry_by_ref(key).and_compute_with(keep).await;
        Ok(())
    }

    async fn remove(&self, keys: &[String]) -> Result<(), StoreError> {
        for key in keys {
            self.entries.insert(key.clone(), Entry::Removed).await;
        }
        Ok(())
    }
}
