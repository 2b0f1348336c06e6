//! A lock for each key, so that those that write the same thing wait for each other instead of colliding.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// Locks by key. A key takes memory only while somebody has its lock or waits for it.
#[derive(Debug, Default)]
pub(crate) struct KeyedLock {
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl KeyedLock {
    /// Waits for a key's turn; those that wait come in order. Dropping what this returns ends the turn.
    pub(crate) async fn lock(&self, key: String) -> Turn<'_> {
        let lock = Arc::clone(self.locks.lock().entry(key.clone()).or_default());
        // Made before waiting, so that who stops to wait leaves nothing behind.
        let place = Place { locks: self, key, lock: Some(Arc::clone(&lock)) };
        let guard = lock.lock_owned().await;
        Turn { _guard: guard, _place: place }
    }

    #[cfg(test)]
    fn keys(&self) -> usize {
        self.locks.lock().len()
    }
}

/// A key's turn.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    // Dropped in this order: the lock is free before its entry is looked at.
    _guard: OwnedMutexGuard<()>,
    _place: Place<'a>,
}

#[derive(Debug)]
struct Place<'a> {
    locks: &'a KeyedLock,
    key: String,
    lock: Option<Arc<tokio::sync::Mutex<()>>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut locks = self.locks.locks.lock();
        drop(self.lock.take());
        // Copies are made under the map's lock only, so one that is alone stays alone.
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_at_a_time_for_each_key() {
        let (locks, inside) = (Arc::new(KeyedLock::default()), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let (locks, inside) = (Arc::clone(&locks), Arc::clone(&inside));
                tokio::spawn(async move {
                    let _turn = locks.lock("a".to_owned()).await;
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(locks.keys(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn other_keys_do_not_wait_and_nothing_stays_behind() {
        let locks = KeyedLock::default();
        let first = locks.lock("a".to_owned()).await;
        let other = locks.lock("b".to_owned()).await;
        assert!(timeout(Duration::from_secs(1), locks.lock("a".to_owned())).await.is_err());
        assert_eq!(locks.keys(), 2);
        drop(other);
        drop(first);
        assert_eq!(locks.keys(), 0);
    }
}
