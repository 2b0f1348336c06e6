//! Removals that the shared tier has not confirmed: they are tried until it does, as other nodes read what is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::CacheStore;

/// Keys that are remembered; past them a change shows late, once what is kept expires.
const MAX_KEYS: usize = 10_000;
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Default)]
pub(super) struct PendingRemovals(Mutex<Removals>);

#[derive(Default)]
struct Removals {
    /// Each with how often it failed, so that one which fails while it is tried again is not taken for done.
    pending: BTreeMap<String, u64>,
    /// Whether a task is trying.
    trying: bool,
}

impl PendingRemovals {
    /// Whether what the shared tier has is not to be trusted.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.lock().pending.contains_key(key)
    }

    /// Remembers removals, and tries them until they are done.
    pub(super) fn add(self: &Arc<Self>, shared: &Arc<dyn CacheStore>, failed: &[String]) {
        let mut removals = self.0.lock();
        for key in failed {
            if let Some(failures) = removals.pending.get_mut(key) {
                *failures += 1;
            } else if removals.pending.len() < MAX_KEYS {
                removals.pending.insert(key.clone(), 1);
            } else {
                tracing::error!(key, "too many changes not taken out of the cache; it shows once it expires");
            }
        }
        if !std::mem::replace(&mut removals.trying, true) {
            tokio::spawn(try_until_done(Arc::downgrade(self), Arc::clone(shared)));
        }
    }

    /// Tries all; whether none is left.
    async fn attempt(&self, shared: &dyn CacheStore) -> bool {
        let pending = self.0.lock().pending.clone();
        for (key, failures) in pending {
            if shared.remove(std::slice::from_ref(&key)).await.is_err() {
                break;
            }
            let mut removals = self.0.lock();
            if removals.pending.get(&key) == Some(&failures) {
                removals.pending.remove(&key);
            }
        }
        let mut removals = self.0.lock();
        removals.trying = !removals.pending.is_empty();
        !removals.trying
    }
}

async fn try_until_done(pending: Weak<PendingRemovals>, shared: Arc<dyn CacheStore>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(pending) = pending.upgrade() else { return };
        if pending.attempt(&*shared).await {
            return;
        }
    }
}
