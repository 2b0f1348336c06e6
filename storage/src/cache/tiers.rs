//! The two tiers together: one read of the store for many that ask at once, and changes that reach every node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::pending_removals::PendingRemovals;
use super::{CacheStore, Family, SETTLE};
use crate::StoreError;

/// How long the near tier keeps something: how stale a read can be if the word of a change is lost.
pub const NEAR_TTL: Duration = Duration::from_secs(5);
/// Largest near tier of a node, in bytes.
const NEAR_BYTES: u64 = 32 * 1024 * 1024;
/// Changes that are told apart; keys that share one only read once more than they had to.
const GENERATIONS: usize = 1024;

/// Who tells the other nodes what has changed.
#[async_trait]
pub trait Invalidations: Send + Sync {
    /// Tells them; they call [`Cache::forget`].
    async fn tell(&self, keys: &[String]);

    /// Whether what the others tell comes here now.
    fn are_heard(&self) -> bool;
}

/// What is read often.
pub struct Cache {
    near: moka::future::Cache<String, Bytes>,
    shared: Arc<dyn CacheStore>,
    pending_removals: Arc<PendingRemovals>,
    invalidations: OnceLock<Arc<dyn Invalidations>>,
    /// Raised by each change, so that a read that began before it is not kept.
    generations: Vec<AtomicU64>,
}

/// Why a read gave no value to keep.
enum NoValue {
    /// The store has none.
    Absent,
    Failed(StoreError),
}

impl Cache {
    /// A cache before a shared tier.
    pub fn new(shared: Arc<dyn CacheStore>) -> Self {
        Self::with_near(shared, NEAR_BYTES)
    }

    /// The same with a near tier of at most so many bytes; of none it only lets those that ask at once share one read.
    pub fn with_near(shared: Arc<dyn CacheStore>, bytes: u64) -> Self {
        let near = moka::future::Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &String, value: &Bytes| u32::try_from(key.len() + value.len()).unwrap_or(u32::MAX))
            .time_to_live(NEAR_TTL)
            .build();
        let generations = (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect();
        Self { near, shared, pending_removals: Arc::default(), invalidations: OnceLock::new(), generations }
    }

    /// Says who tells the other nodes. The first one counts.
    pub fn set_invalidations(&self, invalidations: Arc<dyn Invalidations>) {
        let _ = self.invalidations.set(invalidations);
    }

    fn generation(&self, key: &str) -> &AtomicU64 {
        let hash = key.bytes().fold(5381_usize, |hash, byte| hash.wrapping_mul(33) ^ usize::from(byte));
        &self.generations[hash % GENERATIONS]
    }

    /// What is kept, or else what `load` brings, which is asked once however many ask for it at the same time. What does
    /// not exist is not kept.
    pub async fn get_or_load<T: Serialize + DeserializeOwned>(
        &self,
        family: &Family<T>,
        id: &str,
        load: impl Future<Output = Result<Option<T>, StoreError>> + Send,
    ) -> Result<Option<T>, StoreError> {
        let key = family.key(id);
        let generation = self.generation(&key);
        let before = generation.load(Ordering::Acquire);
        let find = async {
            if !self.pending_removals.has(&key)
                && let Ok(Some(kept)) = self.shared.get(&key).await
                // Another version of this program may have written it; this one reads the store then.
                && serde_json::from_slice::<T>(&kept).is_ok()
            {
                return Ok(kept);
            }
            let started = Instant::now();
            let found = load.await.map_err(NoValue::Failed)?.ok_or(NoValue::Absent)?;
            let value = serde_json::to_vec(&found)
                .map(Bytes::from)
                .map_err(|error| NoValue::Failed(StoreError::Damaged(error.to_string())))?;
            // After a longer read the removal of an older value may be forgotten already, and the value be that one.
            let is_settled = started.elapsed() < SETTLE / 2;
            if is_settled && generation.load(Ordering::Acquire) == before {
                // Without the shared tier the next read is slower, that is all.
                let _ = self.shared.set(&key, value.clone(), family.ttl).await;
            }
            Ok(value)
        };
        self.forget_if_unheard(&key).await;
        let outcome = self.near.try_get_with_by_ref(&key, find).await;
        if generation.load(Ordering::Acquire) != before {
            // It changed meanwhile: what was found may be older than the change.
            self.near.invalidate(&key).await;
        }
        match outcome {
            Ok(value) => serde_json::from_slice(&value)
                .map(Some)
                .map_err(|error| StoreError::Damaged(error.to_string())),
            Err(nothing) => match &*nothing {
                NoValue::Absent => Ok(None),
                NoValue::Failed(error) => Err(error.clone()),
            },
        }
    }

    /// Takes a key from the near tier if it may have changed elsewhere without a word.
    async fn forget_if_unheard(&self, key: &str) {
        if self.invalidations.get().is_some_and(|invalidations| !invalidations.are_heard()) {
            self.near.invalidate(key).await;
        }
    }

    /// Takes away what has changed, here, in the shared tier, and on every node.
    pub async fn invalidate(&self, keys: &[String]) {
        self.forget(keys).await;
        if let Err(error) = self.shared.remove(keys).await {
            tracing::warn!(%error, "changes not taken out of the cache yet");
            self.pending_removals.add(&self.shared, keys);
        }
        // Again, as somebody may have read the shared tier before it was removed there.
        self.forget_everywhere(keys).await;
    }

    async fn forget_everywhere(&self, keys: &[String]) {
        self.forget(keys).await;
        if let Some(invalidations) = self.invalidations.get() {
            invalidations.tell(keys).await;
        }
    }

    /// Takes away from the near tier what has changed on another node.
    pub async fn forget(&self, keys: &[String]) {
        for key in keys {
            self.generation(key).fetch_add(1, Ordering::AcqRel);
            self.near.invalidate(key).await;
        }
    }
}
