//! Group commit: one thread runs all transactions, and those that wait while the disk syncs share the next commit.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::{Database, PersistMode};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::expiry;
use super::folder::Presence;
use super::marks;
use super::space::Space;
use super::tables::{Table, Tables};
use super::watch::Failure;
use super::witness::Witness;
use crate::StoreError;
use crate::json::{decode, encode};

/// Transactions that may wait; callers wait for a place then.
const QUEUE_CAPACITY: usize = 4096;
/// Most transactions that share a commit.
const MAX_BATCH: usize = 1024;
/// How long the next transactions are waited for where several shared the last commit and fewer are there now: less than a
/// commit takes, and it saves whole ones. Who writes alone never waits.
const GATHERING: Duration = Duration::from_micros(100);
/// How long a caller waits for a place in the queue, and for the commit.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells a caller what came of its transaction once the commit is done.
type Completion = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Runs a transaction; whether to keep what it wrote.
type Job = Box<dyn FnOnce(&mut Tx<'_>) -> (bool, Completion) + Send>;
/// Rows by key that are not in the database yet; `None` for those that are to go.
type Writes = BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>;

pub(super) struct Committer {
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    status: Arc<Status>,
    space: Space,
}

struct Status {
    failure: Arc<Failure>,
    commits: AtomicU64,
}

/// What a committer writes to.
pub(super) struct Target {
    pub(super) database: Database,
    pub(super) tables: Tables,
    pub(super) space: Space,
    pub(super) witness: Witness,
    pub(super) presence: Presence,
    pub(super) failure: Arc<Failure>,
}

impl Committer {
    pub(super) fn start(target: Target) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_CAPACITY);
        let space = target.space.clone();
        let status = Arc::new(Status { failure: Arc::clone(&target.failure), commits: AtomicU64::default() });
        let worker = Worker { target, status: Arc::clone(&status) };
        let thread =
            std::thread::Builder::new().name("committer".to_owned()).spawn(move || worker.run(jobs))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), status, space })
    }

    pub(super) fn failure(&self) -> Option<String> {
        let full = || self.space.check().err().map(|error| error.to_string());
        self.status.failure.get().cloned().or_else(full)
    }

    pub(super) fn commits(&self) -> u64 {
        self.status.commits.load(Ordering::Relaxed)
    }

    /// Takes no more transactions, and waits for those that were taken.
    pub(super) fn close(&self) {
        drop(self.queue.lock().take());
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("committer panicked");
        }
    }

    /// Runs a transaction that nobody waits for, and tells what came of it; both are dropped if there is no place in the
    /// queue, or the store is closed.
    pub(super) fn post<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
        told: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        let job: Job = Box::new(move |tx| {
            let outcome = change(tx);
            (outcome.is_ok(), Box::new(move |committed| told(committed.and(outcome))))
        });
        if let Some(queue) = self.queue.lock().as_ref() {
            // There is another time.
            let _ = queue.try_send(job);
        }
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let unavailable = |why: &str| StoreError::Unavailable(why.to_owned());
        if let Some(failure) = self.status.failure.get() {
            return Err(StoreError::Unavailable(failure.clone()));
        }
        let queue = self.queue.lock().clone().ok_or_else(|| unavailable("store is closed"))?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            let outcome = change(tx);
            let keep = outcome.is_ok();
            // A caller that stopped waiting is told nothing.
            (keep, Box::new(move |committed| drop(answer.send(committed.and(outcome)))))
        });
        match queue.send_timeout(job, PATIENCE).await {
            Ok(()) => {}
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => return Err(unavailable("store is overloaded")),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => return Err(unavailable("store is closed")),
        }
        drop(queue);
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(unavailable("transaction failed")),
            Err(_) => Err(StoreError::Unknown("the commit takes too long".to_owned())),
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.close();
    }
}

struct Worker {
    target: Target,
    status: Arc<Status>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.status.failure.set("the committer panicked");
        }
    }
}

impl Worker {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut waiting = Vec::with_capacity(MAX_BATCH);
        let mut last_size = 0;
        while jobs.blocking_recv_many(&mut waiting, MAX_BATCH) > 0 {
            if waiting.len() < last_size {
                std::thread::sleep(GATHERING);
                while waiting.len() < MAX_BATCH
                    && let Ok(job) = jobs.try_recv()
                {
                    waiting.push(job);
                }
            }
            let batch_size = waiting.len();
            last_size = batch_size;
            let mut pending = Writes::new();
            let mut completions = Vec::with_capacity(batch_size);
            for job in waiting.drain(..) {
                let mut tx = Tx { tables: &self.target.tables, pending: &pending, own: Writes::new() };
                // A panic harms the transaction that it is in: its caller's answer is dropped with it.
                if let Ok((keep, completion)) = catch_unwind(AssertUnwindSafe(|| job(&mut tx))) {
                    let own = tx.own;
                    if keep {
                        pending.extend(own);
                    }
                    completions.push(completion);
                } else {
                    tracing::error!("transaction panicked");
                }
            }
            let committed = self.commit(pending, batch_size);
            for completion in completions {
                completion(committed.clone());
            }
        }
    }

    fn commit(&mut self, writes: Writes, batch_size: usize) -> Result<(), StoreError> {
        if let Some(failure) = self.status.failure.get() {
            return Err(StoreError::Unavailable(failure.clone()));
        }
        if writes.is_empty() {
            return Ok(());
        }
        let target = &mut self.target;
        if let Err(why) = target.presence.check() {
            self.status.failure.set(&why);
            return Err(StoreError::Unavailable(why));
        }
        target.space.check()?;
        let committed = target.write(writes).map_err(|why| {
            // After a failed sync nobody knows what the disk holds: only a restart reads it again.
            self.status.failure.set(&why);
            StoreError::Unknown(why)
        });
        self.status.commits.fetch_add(1, Ordering::Relaxed);
        let metrics = mundotango_ops::metrics();
        metrics.store_commits_total.inc();
        metrics.store_commit_batch_size.observe(batch_size as f64);
        committed
    }
}

impl Target {
    fn write(&mut self, writes: Writes) -> Result<(), String> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        let number = self.witness.next_number();
        let mut marked = Vec::new();
        for ((table, key), row) in writes {
            let keyspace = self.tables.get(table);
            // They come sorted by their tables.
            if marked.last() != Some(&keyspace.id()) {
                marked.push(keyspace.id());
                batch.insert(keyspace, marks::KEY, self.witness.mark(keyspace.id(), number).encode());
            }
            match row {
                Some(row) => batch.insert(keyspace, key, row),
                None => batch.remove(keyspace, key),
            }
        }
        batch.commit().map_err(|error| format!("commit failed: {error}"))?;
        self.witness.committed(&marked, number).map_err(|error| format!("witness not written: {error}"))?;
        // The folder may have been taken away meanwhile.
        self.presence.check()
    }
}

/// A transaction: it sees the database, what shares its commit and came before, and what it wrote itself.
pub(super) struct Tx<'a> {
    tables: &'a Tables,
    pending: &'a Writes,
    own: Writes,
}

impl Tx<'_> {
    /// The row of a key.
    pub(super) fn get<T: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.bytes(table, key)?.map(|bytes| decode(&bytes)).transpose()
    }

    /// A row as it was written, unless it is past its end.
    pub(super) fn bytes(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.row(table, key)?;
        if table.ttl().is_none() {
            return Ok(row);
        }
        row.map(|row| Ok(expiry::living(table, &row)?.map(<[u8]>::to_vec))).transpose().map(Option::flatten)
    }

    /// A row as it lies in the table, with its end if it has one.
    pub(super) fn row(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let place = (table, key.to_vec());
        match self.own.get(&place).or_else(|| self.pending.get(&place)) {
            Some(written) => Ok(written.clone()),
            None => Ok(self.tables.get(table).get(key)?.map(|row| row.to_vec())),
        }
    }

    /// The first `most` keys from `start` on and before `end`.
    pub(super) fn keys_between(
        &self,
        table: Table,
        start: &[u8],
        end: &[u8],
        most: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = BTreeMap::new();
        for writes in [self.pending, &self.own] {
            for ((_, key), row) in writes.range((table, start.to_vec())..(table, end.to_vec())) {
                keys.insert(key.clone(), row.is_some());
            }
        }
        let mut found = 0;
        for item in self.tables.get(table).range(start..end) {
            if found == most {
                break;
            }
            let key = item.key()?.to_vec();
            // What was written since counts, not what the database has.
            found += usize::from(*keys.entry(key).or_insert(true));
        }
        Ok(keys.into_iter().filter(|(_, lives)| *lives).map(|(key, _)| key).take(most).collect())
    }

    /// Puts a row in the place of a key's.
    pub(super) fn put<T: Serialize>(
        &mut self,
        table: Table,
        key: Vec<u8>,
        row: &T,
    ) -> Result<(), StoreError> {
        self.put_bytes(table, key, encode(row)?.into());
        Ok(())
    }

    /// Puts a key without a row of its own: an entry of an index.
    pub(super) fn put_key(&mut self, table: Table, key: Vec<u8>) {
        self.put_bytes(table, key, Vec::new());
    }

    /// Puts bytes in the place of a key's.
    pub(super) fn put_bytes(&mut self, table: Table, key: Vec<u8>, mut row: Vec<u8>) {
        if let Some(end) = expiry::end_of_new(table) {
            self.own.insert((Table::Expiries, expiry::expiry(end, table, &key)), Some(Vec::new()));
            row = expiry::with_end(end, &row);
        }
        self.own.insert((table, key), Some(row));
    }

    /// The table of a kind or an index, if it is in the schema.
    pub(super) fn table_of_schema(&self, name: &str) -> Option<Table> {
        self.tables.of_schema(name)
    }

    /// Removes a key.
    pub(super) fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.own.insert((table, key), None);
    }
}
