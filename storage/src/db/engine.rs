//! What an engine has to do for partitions and indexes, in bytes. Types, rules, retries and the cache are above it, written
//! once; each engine is a few hundred lines below it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use serde_json::value::RawValue;

use super::kind::{IndexSpec, KindSpec};
pub(crate) use super::stored::{MARKS, Stored};
use super::whole::Whole;
use crate::StoreError;

/// Partitions that are read at the same time.
pub(crate) const AT_ONCE: usize = 32;

/// Rows of a partition that are to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowsWanted {
    /// Single rows, by key.
    pub(crate) keys: Vec<String>,
    /// The first rows of ranges.
    pub(crate) ranges: Vec<RangeWanted>,
}

/// The first rows of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeWanted {
    /// The first key that belongs to it.
    pub(crate) start: String,
    /// The first key that no longer does.
    pub(crate) end: String,
    /// Most rows that are read.
    pub(crate) limit: usize,
}

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// What is acknowledged.
    Acknowledged,
    /// What any compare-and-set did that was sent before, also one whose outcome nobody was told.
    Settled,
}

/// One compare-and-set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Write {
    /// Facts, where the change creates the partition, or writes again what expires.
    pub(crate) facts: Option<Bytes>,
    /// The new head; none where nothing has changed yet.
    pub(crate) head: Option<Bytes>,
    /// The marks, this change's being the last.
    pub(crate) marks: Vec<String>,
    /// Whether it deletes the partition.
    pub(crate) deletes: bool,
    /// Rows that are put (`Some`) or removed (`None`).
    pub(crate) rows: BTreeMap<String, Option<Bytes>>,
    /// Entries that lead to the partition, which are written before the change: a reader leaves out what leads nowhere.
    pub(crate) entries: Vec<Entry>,
    /// What the change causes.
    pub(crate) outbox: Option<OutboxRow>,
}

/// Effects that are written with what causes them, and an entry before that leads to them.
#[derive(Clone, Debug)]
pub(crate) struct OutboxRow {
    pub(crate) shard: u64,
    /// A new id, so that keys sort by time.
    pub(crate) key: String,
    /// A JSON list.
    pub(crate) effects: Arc<RawValue>,
}

/// An entry of the outbox.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// None for a kind that is not in the schema, such as one of a newer version.
    pub(crate) kind: Option<&'static KindSpec>,
    pub(crate) id: String,
    pub(crate) key: String,
    /// The effects that it leads to; none where there are none, or not yet. What cannot be read harms no other entry.
    pub(crate) effects: Result<Option<Bytes>, StoreError>,
}

/// An entry of an index.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(crate) index: &'static IndexSpec,
    /// Which list of the index.
    pub(crate) list: String,
    pub(crate) key: String,
    pub(crate) bucket: i64,
    pub(crate) body: Bytes,
}

/// A part of a list of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntriesWanted<'a> {
    pub(crate) list: &'a str,
    /// The key behind which the part begins; the beginning without it.
    pub(crate) after: Option<&'a str>,
    pub(crate) limit: usize,
}

/// The engine's side of partitions and indexes.
#[async_trait]
pub(crate) trait Partitions: Send + Sync {
    /// Reads a partition and the wanted rows. No row is older than the version that it comes with.
    async fn load(
        &self,
        kind: &'static KindSpec,
        id: &str,
        wanted: &RowsWanted,
        freshness: Freshness,
    ) -> Result<Stored, StoreError>;

    /// Reads one row, and nothing else of its partition.
    async fn row(&self, kind: &'static KindSpec, id: &str, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// Reads several partitions without their rows, in the ids' order. There are [`AT_ONCE`] at most.
    async fn load_all(&self, kind: &'static KindSpec, ids: &[String]) -> Result<Vec<Stored>, StoreError> {
        let none = RowsWanted::default();
        try_join_all(ids.iter().map(|id| self.load(kind, id, &none, Freshness::Acknowledged))).await
    }

    /// Reads the rows of one key of several partitions, in the ids' order. There are [`AT_ONCE`] at most.
    async fn row_of_all(
        &self,
        kind: &'static KindSpec,
        ids: &[String],
        key: &str,
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        try_join_all(ids.iter().map(|id| self.row(kind, id, key))).await
    }

    /// Reads rows of a range in the order of their keys, or the other way round.
    async fn rows(
        &self,
        kind: &'static KindSpec,
        id: &str,
        range: &RangeWanted,
        backwards: bool,
    ) -> Result<Vec<(String, Bytes)>, StoreError>;

    /// Writes entries that lead to a new partition, and then its facts together with what they cause, all plainly.
    async fn insert(
        &self,
        kind: &'static KindSpec,
        id: &str,
        facts: Bytes,
        entries: &[Entry],
        outbox: Option<&OutboxRow>,
    ) -> Result<(), StoreError>;

    /// Carries out a change if the version still is the expected one; whether it was.
    async fn compare_and_set(
        &self,
        kind: &'static KindSpec,
        id: &str,
        expected: u64,
        write: Write,
    ) -> Result<bool, StoreError>;

    /// Puts other facts in the place of those that are there. Facts are never compared, so this goes with a compare-and-set
    /// that raised the version.
    async fn put_facts(&self, kind: &'static KindSpec, id: &str, facts: Bytes) -> Result<(), StoreError>;

    /// Removes a partition that has neither facts nor rows without leaving anything, if the version still is the expected
    /// one, which is not 0; whether it was. What is written next is its first version.
    async fn compare_and_forget(
        &self,
        kind: &'static KindSpec,
        id: &str,
        expected: u64,
    ) -> Result<bool, StoreError>;

    /// Removes the rows of a deleted partition, and its facts last: facts that are still there tell that this was not
    /// finished. Doing it again changes nothing.
    async fn purge(&self, kind: &'static KindSpec, id: &str) -> Result<(), StoreError>;

    /// Writes entries, plainly: doing it again changes nothing.
    async fn add_entries(&self, entries: &[Entry]) -> Result<(), StoreError>;

    /// Removes entries, plainly.
    async fn remove_entries(&self, entries: &[Entry]) -> Result<(), StoreError>;

    /// Removes a list with all its entries, and what leads to it. Doing it again changes nothing.
    async fn remove_list(&self, index: &'static IndexSpec, list: &str) -> Result<(), StoreError>;

    /// Reads a part of a list, in the order of the index.
    async fn entries(
        &self,
        index: &'static IndexSpec,
        wanted: EntriesWanted<'_>,
    ) -> Result<Vec<(String, Bytes)>, StoreError>;

    /// The same of several lists, in their order.
    async fn entries_of_all(
        &self,
        index: &'static IndexSpec,
        wanted: &[EntriesWanted<'_>],
    ) -> Result<Vec<Vec<(String, Bytes)>>, StoreError> {
        try_join_all(wanted.iter().map(|one| self.entries(index, one.clone()))).await
    }

    /// What is in a shard of the outbox behind a key, the oldest first.
    async fn outbox(&self, shard: u64, after: Option<&str>, limit: usize)
    -> Result<Vec<Pending>, StoreError>;

    /// Removes what was carried out. Doing it again changes nothing.
    async fn carried_out(&self, shard: u64, keys: &[String]) -> Result<(), StoreError>;

    /// Nothing is left in a shard before a key: what is only there to find it may go.
    async fn outbox_is_empty_before(&self, shard: u64, key: &str) -> Result<(), StoreError>;

    /// All that the engine holds: as of now where it can hold a moment fast.
    fn whole(&self) -> Result<Arc<dyn Whole>, StoreError>;
}
