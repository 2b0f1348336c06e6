//! One read for all who ask for the same at the same time.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Reads that are under way, by what is read.
#[derive(Default)]
pub(in crate::community) struct Reading(Mutex<HashMap<String, Waiting>>);

/// Those who ask for the same.
#[derive(Default)]
struct Waiting {
    count: usize,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// That somebody asks, until that is over or given up.
struct Asking<'a> {
    reading: &'a Reading,
    key: &'a str,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut all = self.reading.0.lock();
        let is_last = all.get_mut(self.key).is_some_and(|waiting| {
            waiting.count -= 1;
            waiting.count == 0
        });
        if is_last {
            all.remove(self.key);
        }
    }
}

impl Reading {
    /// What is known, or what is read: others who ask for the same wait for that read, and look then at what is known. `read` has to
    /// make known what it read. Where it fails or is given up, the next one reads.
    pub(in crate::community) async fn shared<T, E>(
        &self,
        key: &str,
        known: impl Fn() -> Option<T>,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let turn = {
            let mut all = self.0.lock();
            let waiting = all.entry(key.to_owned()).or_default();
            waiting.count += 1;
            Arc::clone(&waiting.turn)
        };
        let _asking = Asking { reading: self, key };
        let _alone = turn.lock().await;
        match known() {
            Some(known) => Ok(known),
            None => read.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    #[derive(Default)]
    struct Store {
        reading: Reading,
        reads: AtomicUsize,
        known: Mutex<Option<usize>>,
    }

    impl Store {
        async fn get(&self, key: &str) -> Result<usize, ()> {
            let read = async {
                let number = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                *self.known.lock() = Some(number);
                Ok(number)
            };
            self.reading.shared(key, || *self.known.lock(), read).await
        }
    }

    #[tokio::test]
    async fn all_who_ask_at_the_same_time_share_one_read() {
        let store = Store::default();
        let found = join_all((0..100).map(|_| store.get("ana"))).await;
        assert!(found.iter().all(|found| *found == Ok(1)), "{found:?}");
        assert!(store.reading.0.lock().is_empty(), "nothing is left of those who asked");
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_read_to_the_next() {
        let store = Store::default();
        let mut first = Box::pin(store.get("ana"));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(store.get("ana"));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(second.await, Ok(2));
        assert!(store.reading.0.lock().is_empty());
    }

    #[tokio::test]
    async fn a_read_that_fails_is_its_callers_alone() {
        let store = Store::default();
        let failing = store.reading.shared("ana", || None, async { Err::<usize, ()>(()) });
        let (failed, found) = tokio::join!(failing, store.get("ana"));
        assert_eq!((failed, found), (Err(()), Ok(1)));
    }
}
