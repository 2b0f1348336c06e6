//! Removes rows past their end: a thread that sends the committer small transactions, so that no caller pays for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use parking_lot::Mutex;

use super::committer::{Committer, Tx};
use super::expiry::{now, row_of, split_end};
use super::keys::timed;
use super::tables::Table;
use crate::StoreError;

/// Rows that are removed in one transaction.
const REMOVED_AT_ONCE: usize = 1000;
/// How often it is looked whether rows are past their end.
const LOOK: Duration = Duration::from_secs(1);
/// The same while there are more of them than one transaction removes.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Removes the first rows past their end, from an expiry on. The last expiry that it looked at, if there may be more.
fn remove_some(tx: &mut Tx<'_>, from: &[u8]) -> Result<Removed, StoreError> {
    let now = now();
    let due = tx.keys_between(Table::Expiries, from, &timed(now, ""), REMOVED_AT_ONCE)?;
    let removed = Removed { upto: due.last().cloned(), is_all: due.len() < REMOVED_AT_ONCE };
    for expiry in due {
        let (name, key) = row_of(&expiry)?;
        // A table of another version of the schema is left as it is.
        if let Some(table) = tx.table_of_schema(name).filter(|table| table.ttl().is_some()) {
            let key = key.to_vec();
            let row = tx.row(table, &key)?;
            if row.is_some_and(|row| split_end(&row).is_ok_and(|(end, _)| end <= now)) {
                tx.remove(table, key);
            }
        }
        tx.remove(Table::Expiries, expiry);
    }
    Ok(removed)
}

struct Removed {
    upto: Option<Vec<u8>>,
    is_all: bool,
}

/// How far rows past their end were removed.
#[derive(Default)]
struct Progress {
    /// The last expiry that was removed: before it lie only tombstones, which would cost time to read over.
    upto: Vec<u8>,
    has_more: bool,
}

/// The thread that removes rows past their end.
pub(super) struct Sweeper {
    thread: Mutex<Option<JoinHandle<()>>>,
    stop: Arc<AtomicBool>,
}

impl Sweeper {
    pub(super) fn start(committer: Arc<Committer>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("sweeper".to_owned())
            .spawn(move || sweep(&committer, || stopped.load(Ordering::Relaxed)))?;
        Ok(Self { thread: Mutex::new(Some(thread)), stop })
    }

    /// Ends the thread, which then no longer has the store.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.lock().take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("sweeper panicked");
            }
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn sweep(committer: &Committer, is_stopped: impl Fn() -> bool) {
    let progress = Arc::new(Mutex::new(Progress::default()));
    let is_waiting = Arc::new(AtomicBool::new(false));
    while !is_stopped() {
        let pause = if progress.lock().has_more { LOOK_AGAIN } else { LOOK };
        thread::park_timeout(pause);
        // One transaction at a time: the committer may be busy with those of callers.
        if is_stopped() || is_waiting.swap(true, Ordering::Relaxed) {
            continue;
        }
        let (from, seen) = (progress.lock().upto.clone(), Arc::clone(&progress));
        let waiting = Waiting(Arc::clone(&is_waiting));
        committer.post(
            move |tx| remove_some(tx, &from),
            move |outcome| {
                let _waiting = waiting;
                let mut progress = seen.lock();
                match outcome {
                    Ok(Removed { upto, is_all }) => {
                        progress.has_more = !is_all;
                        if let Some(upto) = upto {
                            progress.upto = upto;
                        }
                    }
                    Err(error) => {
                        progress.has_more = false;
                        tracing::debug!(%error, "rows past their end not removed");
                    }
                }
            },
        );
    }
}

/// A transaction that was sent; once it is dropped, done or not, the next one may be.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::db::{Decision, Index, Kind, Order, Schema, Wants};
    use crate::embedded::{EmbeddedOptions, EmbeddedStore, marks};

    static PASSING: Kind<(), u64, u64> =
        Kind::new("passing", "a test's", &[]).implicit().ttl(Duration::from_secs(2));
    static LOG: Index<()> =
        Index::new("log", "a test's", |_| Some(0), Order::OldestFirst, &[]).ttl(Duration::from_secs(2));

    fn open(path: &Path) -> EmbeddedStore {
        let schema = Schema { kinds: vec![PASSING.spec()], indexes: vec![LOG.spec()] };
        EmbeddedStore::open(path, &EmbeddedOptions::default(), &schema).unwrap()
    }

    /// How many rows there are in each table, without the marks.
    fn rows(store: &EmbeddedStore) -> [usize; 3] {
        let tables = &store.shared.tables;
        let of_schema = ["passing", "log"].map(|name| tables.of_schema(name).unwrap());
        [of_schema[0], of_schema[1], Table::Expiries]
            .map(|table| tables.get(table).range(..marks::KEY.to_vec()).count())
    }

    async fn write(store: &EmbeddedStore, times: usize) {
        let db = store.stores().db;
        for time in 0..times {
            let writing = db.change(&PASSING, "one", Wants::head(), move |part| {
                part.head += 1;
                part.set(time.to_string(), 1);
                part.enter(LOG.entry("list", &time.to_string(), &())?);
                Ok::<_, StoreError>(Decision::Write(part.head))
            });
            writing.await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_past_its_end_is_removed_also_after_a_restart_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        // More than one transaction removes: an expiry for each row, entry and head.
        write(&store, REMOVED_AT_ONCE / 2).await;
        assert!(rows(&store)[2] > REMOVED_AT_ONCE);
        store.close();
        drop(store);
        let store = open(folder.path());
        let started = std::time::Instant::now();
        while rows(&store) != [0, 0, 0] {
            assert!(started.elapsed() < Duration::from_secs(30), "{:?} are left", rows(&store));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        write(&store, 1).await;
        let found = store.stores().db.read(&PASSING, "one").await.unwrap().unwrap();
        assert_eq!((found.head, found.version), (1, 1), "it is as new");
        assert_eq!(rows(&store), [2, 1, 3]);
    }
}
