//! Removals that the shared tier has not confirmed: they are tried until it does, as other nodes read what is there.

use std::collections::BTreeSet;
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
    keys: BTreeSet<String>,
    /// Of which there are few.
    families: BTreeSet<String>,
    /// Whether a task is trying.
    trying: bool,
}

impl Unremoved {
    /// Whether what the shared tier has under a key is not to be trusted.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.lock().keys.contains(key)
    }

    /// Remembers keys.
    pub(super) fn add_keys(self: &Arc<Self>, shared: &Arc<dyn CacheStore>, keys: &[String]) {
        let mut removals = self.0.lock();
        let room = MAX_KEYS.saturating_sub(removals.keys.len());
        if keys.len() > room {
            tracing::error!(
                MAX_KEYS,
                "too many changes not taken out of the cache; they show once it expires"
            );
        }
        removals.keys.extend(keys.iter().take(room).cloned());
        self.try_again(removals.trying, shared);
        removals.trying = true;
    }

    /// Remembers a family.
    pub(super) fn add_family(self: &Arc<Self>, shared: &Arc<dyn CacheStore>, family: &str) {
        let mut removals = self.0.lock();
        removals.families.insert(family.to_owned());
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
            (removals.keys.iter().cloned().collect::<Vec<_>>(), removals.families.clone())
        };
        if shared.remove(&keys).await.is_ok() {
            // One that was added again meanwhile was changed before that removal too, or is removed by its own.
            self.0.lock().keys.retain(|key| keys.binary_search(key).is_err());
        }
        for family in families {
            if shared.remove_all(&family).await.is_ok() {
                self.0.lock().families.remove(&family);
            }
        }
        let mut removals = self.0.lock();
        let done = removals.keys.is_empty() && removals.families.is_empty();
        removals.trying = !done;
        done
    }
}
