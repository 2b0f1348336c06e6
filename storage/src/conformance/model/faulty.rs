//! An engine whose calls fail by chance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::super::db::LATE;
use super::super::new_id;
use super::Mutant;
use crate::StoreError;
use crate::db::engine::{
    EntriesWanted, Entry, Freshness, OutboxRow, Partitions, Pending, RangeWanted, RowsWanted, Stored, Write,
};
use crate::db::whole::Whole;
use crate::db::{IndexSpec, KindSpec};

/// An engine whose calls fail by chance.
pub(super) struct Faulty {
    pub(super) engine: Arc<dyn Partitions>,
    pub(super) chance: Mutex<StdRng>,
    pub(super) faults: Arc<AtomicU64>,
    pub(super) mutant: Option<Mutant>,
}

/// What happens to a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It never arrives.
    Dropped,
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It is carried out after its caller was told that nobody knows.
    Late,
}

fn lost() -> StoreError {
    StoreError::Unknown("the answer is lost".to_owned())
}

impl Faulty {
    fn fault(&self) -> Fault {
        let fault = match self.chance.lock().random_range(0..20) {
            0 => Fault::Dropped,
            1 => Fault::AnswerLost,
            2 => Fault::Late,
            _ => return Fault::None,
        };
        self.faults.fetch_add(1, Ordering::Relaxed);
        fault
    }

    fn delay(&self) -> Duration {
        LATE.mul_f64(self.chance.lock().random_range(0.0..1.0))
    }
}

async fn set(
    engine: Arc<dyn Partitions>,
    kind: &'static KindSpec,
    id: String,
    mut expected: u64,
    mut write: Write,
    mutant: Option<Mutant>,
) -> Result<bool, StoreError> {
    let outbox = write.outbox.take_if(|_| mutant == Some(Mutant::OutboxIsWrittenAfter));
    if mutant == Some(Mutant::VersionIsNotCompared) {
        expected = engine.load(kind, &id, &RowsWanted::default(), Freshness::Settled).await?.version;
    }
    let is_set = engine.compare_and_set(kind, &id, expected, write).await?;
    // As if some nodes died right after the change.
    if is_set && outbox.is_some() && !expected.is_multiple_of(5) {
        let after = Write { outbox, ..Write::default() };
        engine.compare_and_set(kind, &format!("{id}-{}", new_id()), 0, after).await?;
    }
    Ok(is_set)
}

#[async_trait]
impl Partitions for Faulty {
    async fn load(
        &self,
        kind: &'static KindSpec,
        id: &str,
        wanted: &RowsWanted,
        freshness: Freshness,
    ) -> Result<Stored, StoreError> {
        if self.chance.lock().random_range(0..30) == 0 {
            self.faults.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::Unavailable("the read fails".to_owned()));
        }
        let mut stored = self.engine.load(kind, id, wanted, freshness).await?;
        if self.mutant == Some(Mutant::MarksAreLost) {
            stored.marks.clear();
        }
        Ok(stored)
    }

    async fn row(&self, kind: &'static KindSpec, id: &str, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.engine.row(kind, id, key).await
    }

    async fn rows(
        &self,
        kind: &'static KindSpec,
        id: &str,
        range: &RangeWanted,
        backwards: bool,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.engine.rows(kind, id, range, backwards).await
    }

    async fn insert(
        &self,
        kind: &'static KindSpec,
        id: &str,
        facts: Bytes,
        entries: &[Entry],
        outbox: Option<&OutboxRow>,
    ) -> Result<(), StoreError> {
        let fault = self.fault();
        let (engine, id) = (Arc::clone(&self.engine), id.to_owned());
        let (entries, outbox) = (entries.to_vec(), outbox.cloned());
        let insert = async move { engine.insert(kind, &id, facts, &entries, outbox.as_ref()).await };
        match fault {
            Fault::None => insert.await,
            Fault::Dropped => Err(lost()),
            Fault::AnswerLost => {
                insert.await?;
                Err(lost())
            }
            Fault::Late => {
                let delay = self.delay();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = insert.await;
                });
                Err(lost())
            }
        }
    }

    async fn compare_and_set(
        &self,
        kind: &'static KindSpec,
        id: &str,
        expected: u64,
        write: Write,
    ) -> Result<bool, StoreError> {
        let fault = self.fault();
        let (engine, id, mutant) = (Arc::clone(&self.engine), id.to_owned(), self.mutant);
        match fault {
            Fault::None => set(engine, kind, id, expected, write, mutant).await,
            Fault::Dropped => Err(lost()),
            Fault::AnswerLost => {
                set(engine, kind, id, expected, write, mutant).await?;
                Err(lost())
            }
            Fault::Late => {
                let delay = self.delay();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = set(engine, kind, id, expected, write, mutant).await;
                });
                Err(lost())
            }
        }
    }

    async fn purge(&self, kind: &'static KindSpec, id: &str) -> Result<(), StoreError> {
        self.engine.purge(kind, id).await
    }

    async fn add_entries(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.engine.add_entries(entries).await
    }

    async fn remove_entries(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.engine.remove_entries(entries).await
    }

    async fn put_facts(&self, kind: &'static KindSpec, id: &str, facts: Bytes) -> Result<(), StoreError> {
        self.engine.put_facts(kind, id, facts).await
    }

    async fn compare_and_forget(
        &self,
        kind: &'static KindSpec,
        id: &str,
        expected: u64,
    ) -> Result<bool, StoreError> {
        self.engine.compare_and_forget(kind, id, expected).await
    }

    async fn remove_list(&self, index: &'static IndexSpec, list: &str) -> Result<(), StoreError> {
        self.engine.remove_list(index, list).await
    }

    async fn entries(
        &self,
        index: &'static IndexSpec,
        wanted: EntriesWanted<'_>,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.engine.entries(index, wanted).await
    }

    async fn outbox(
        &self,
        shard: u64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        self.engine.outbox(shard, after, limit).await
    }

    async fn carried_out(&self, shard: u64, keys: &[String]) -> Result<(), StoreError> {
        if self.fault() != Fault::None {
            return Err(StoreError::Unavailable("what was carried out is not removed".to_owned()));
        }
        self.engine.carried_out(shard, keys).await
    }

    async fn outbox_is_empty_before(&self, shard: u64, key: &str) -> Result<(), StoreError> {
        self.engine.outbox_is_empty_before(shard, key).await
    }

    fn whole(&self) -> Result<Arc<dyn Whole>, StoreError> {
        self.engine.whole()
    }
}
