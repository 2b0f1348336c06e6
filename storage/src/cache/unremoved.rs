//! Removals that the shared tier has not confirmed: they are tried until it does, as other nodes read what is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::CacheStore;

/// Keys that are remembered; past them a change shows late, once what is kept expires.
const MAX_KEYS: usize = 10_000;
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Default)]
pub(super) struct Unremoved(Mutex<Removals>);

#[derive(Default)]
struct Removals {
    /// Each with how often it failed, so that one which fails while it is tried again is not taken for done.
    keys: BTreeMap<String, u64>,
    /// The same of families, of which there are few.
    families: BTreeMap<String, u64>,
    /// Whether a task is trying.
    trying: bool,
}

impl Unremoved {
    /// Whether what the shared tier has under a key is not to be trusted.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.lock().keys.contains_key(key)
    }

    /// Whether what the shared tier has of a family is not to be trusted.
    pub(super) fn has_family(&self, family: &str) -> bool {
        self.0.lock().families.contains_key(family)
    }

    /// Remembers keys.
    pub(super) fn add_keys(self: &Arc<Self>, shared: &Arc<dyn CacheStore>, keys: &[String]) {
        let mut removals = self.0.lock();
        for key in keys {
            if let Some(failed) = removals.keys.get_mut(key) {
                *failed += 1;
            } else if removals.keys.len() < MAX_KEYS {
                removals.keys.insert(key.clone(), 1);
            } else {
                tracing::error!(key, "too many changes not taken out of the cache; it shows once it expires");
            }
        }
        self.try_again(removals.trying, shared);
        removals.trying = true;
    }

    /// Remembers a family.
    pub(super) fn add_family(self: &Arc<Self>, shared: &Arc<dyn CacheStore>, family: &str) {
        let mut removals = self.0.lock();
        *removals.families.entry(family.to_owned()).or_default() += 1;
        self.try_again(removals.trying, shared);
        removals.trying = true;
    }

    fn try_again(self: &Arc<Self>, trying: bool, shared: &Arc<dyn CacheStore>) {
        if !trying {
            let (unremoved, shared) = (Arc::downgrade(self), Arc::clone(shared));
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(PAUSE).await;
                    let Some(unremoved) = unremoved.upgrade() else { return };
                    if unremoved.attempt(&*shared).await {
                        return;
                    }
                }
            });
        }
    }

    /// Tries all; whether none is left.
    async fn attempt(&self, shared: &dyn CacheStore) -> bool {
        let (keys, families) = {
            let removals = self.0.lock();
            (removals.keys.clone(), removals.families.clone())
        };
        for (key, failed) in keys {
            if shared.remove(std::slice::from_ref(&key)).await.is_err() {
                break;
            }
            let mut removals = self.0.lock();
            if removals.keys.get(&key) == Some(&failed) {
                removals.keys.remove(&key);
            }
        }
        for (family, failed) in families {
            if shared.remove_all(&family).await.is_ok() {
                let mut removals = self.0.lock();
                if removals.families.get(&family) == Some(&failed) {
                    removals.families.remove(&family);
                }
            }
        }
        let mut removals = self.0.lock();
        let done = removals.keys.is_empty() && removals.families.is_empty();
        removals.trying = !done;
        done
    }
}
