//! Partitions and indexes in the embedded store.
//!
//! A kind's table: [`super::layout`].
//! An index's table: list, key → entry. Buckets are not needed here, as a table is one ordered map.
//! The outbox: shard, key → the partition and the effects of its change, in the transaction of that.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use fjall::Keyspace;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Shared;
use super::committer::Tx;
use super::expiry;
use super::keys::{behind, below};
use super::layout::{HeadRow, Keys};
use super::tables::Table;
use super::whole::EmbeddedWhole;
use crate::StoreError;
use crate::db::engine::{
    EntriesWanted, Entry, Freshness, OutboxRow, Partitions, Pending, RangeWanted, RowsWanted, Stored, Write,
};
use crate::db::whole::Whole;
use crate::db::{IndexSpec, KindSpec, OUTBOX, Order, key};
use crate::json::{decode, encode};

/// Rows of a deleted partition that are removed in one transaction, so that the committer serves others in between.
const PURGED_AT_ONCE: usize = 1000;

/// Effects in the outbox.
#[derive(Deserialize)]
struct EffectsRow {
    kind: String,
    id: String,
    effects: Box<RawValue>,
}

/// The same as it is written.
#[derive(Serialize)]
struct NewEffectsRow<'a> {
    kind: &'a str,
    id: &'a str,
    effects: &'a RawValue,
}

/// Effects on their way into the outbox: where they go, and what is written there.
type Effects = (Table, Vec<u8>, Bytes);

fn outbox_key(shard: u64, key: &str) -> Vec<u8> {
    entry_key(&shard.to_string(), key)
}

fn entry_key(list: &str, entry: &str) -> Vec<u8> {
    [below(&[&key(&[list])]).as_slice(), entry.as_bytes()].concat()
}

/// A row as it is read, unless it is past its end.
fn living(table: Table, row: &[u8]) -> Result<Option<Bytes>, StoreError> {
    Ok(expiry::living(table, row)?.map(Bytes::copy_from_slice))
}

fn put_entries(tx: &mut Tx<'_>, entries: Vec<(Table, Entry)>) {
    for (table, entry) in entries {
        tx.put_bytes(table, entry_key(&entry.list, &entry.key), entry.body.to_vec());
    }
}

fn put_effects(tx: &mut Tx<'_>, effects: Option<Effects>) {
    if let Some((table, key, body)) = effects {
        tx.put_bytes(table, key, body.into());
    }
}

/// The first rows of a range, in order or backwards.
fn read_range(
    table: Table,
    rows: &Keyspace,
    keys: &Keys,
    range: &RangeWanted,
    backwards: bool,
) -> Result<Vec<(String, Bytes)>, StoreError> {
    let (start, end) = (keys.row(&range.start), keys.row(&range.end));
    if start >= end {
        return Ok(Vec::new());
    }
    let read = |item: fjall::Guard| {
        let (key, row) = item.into_inner()?;
        let Some(row) = living(table, &row)? else { return Ok(None) };
        Ok(Some((keys.key_of(&key)?, row)))
    };
    let found = rows.range(start..end);
    if backwards {
        found.rev().map(read).filter_map(Result::transpose).take(range.limit).collect()
    } else {
        found.map(read).filter_map(Result::transpose).take(range.limit).collect()
    }
}

/// The keys between which a part of a list lies.
struct Stretch {
    /// How many bytes of a key name the list.
    list_bytes: usize,
    start: Vec<u8>,
    end: Vec<u8>,
    limit: usize,
}

impl Stretch {
    fn new(order: Order, wanted: &EntriesWanted<'_>) -> Self {
        let list = below(&[&key(&[wanted.list])]);
        let list_bytes = list.len();
        let (mut start, mut end) = (list.clone(), behind(&list));
        if let Some(after) = wanted.after {
            let after = [list.as_slice(), after.as_bytes()].concat();
            match order {
                Order::NewestFirst => end = after,
                Order::OldestFirst => start = [after.as_slice(), b"\0"].concat(),
            }
        }
        Self { list_bytes, start, end, limit: wanted.limit }
    }

    fn read(
        &self,
        table: Table,
        entries: &Keyspace,
        order: Order,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        if self.start >= self.end {
            return Ok(Vec::new());
        }
        let read = |item: fjall::Guard| {
            let (key, body) = item.into_inner()?;
            let Some(body) = living(table, &body)? else { return Ok(None) };
            let key = String::from_utf8(key.get(self.list_bytes..).unwrap_or_default().to_vec());
            let key = key.map_err(|error| StoreError::Damaged(error.to_string()))?;
            Ok(Some((key, body)))
        };
        let found = entries.range(self.start.as_slice()..self.end.as_slice());
        match order {
            Order::NewestFirst => {
                found.rev().map(read).filter_map(Result::transpose).take(self.limit).collect()
            }
            Order::OldestFirst => found.map(read).filter_map(Result::transpose).take(self.limit).collect(),
        }
    }
}

impl Shared {
    pub(super) fn table_of(&self, name: &'static str) -> Result<Table, StoreError> {
        let undeclared = || StoreError::Unavailable(format!("{name} is not in the schema of this store"));
        self.tables.of_schema(name).ok_or_else(undeclared)
    }

    fn kind_of(&self, name: &str) -> Option<&'static KindSpec> {
        self.kinds.iter().copied().find(|kind| kind.name == name)
    }

    fn tables_of(&self, entries: &[Entry]) -> Result<Vec<(Table, Entry)>, StoreError> {
        entries.iter().map(|entry| Ok((self.table_of(entry.index.name)?, entry.clone()))).collect()
    }

    fn effects_of(
        &self,
        kind: &KindSpec,
        id: &str,
        row: Option<&OutboxRow>,
    ) -> Result<Option<Effects>, StoreError> {
        let Some(row) = row else { return Ok(None) };
        let body = encode(&NewEffectsRow { kind: kind.name, id, effects: &row.effects })?;
        Ok(Some((self.table_of(OUTBOX.name)?, outbox_key(row.shard, &row.key), body)))
    }

    fn load_here(&self, table: Table, keys: &Keys, wanted: &[String]) -> Result<Stored, StoreError> {
        // The head first, so that no row is older than the version.
        let head = self.read::<HeadRow>(table, &keys.head())?.unwrap_or_default();
        let rows = self.tables.get(table);
        let get = |key: Vec<u8>| match rows.get(key)? {
            Some(row) => living(table, &row),
            None => Ok(None),
        };
        let mut stored = head.stored(get(keys.facts())?);
        for key in wanted {
            if let Some(row) = get(keys.row(key))? {
                stored.rows.insert(key.clone(), row);
            }
        }
        Ok(stored)
    }
}

#[async_trait]
impl Partitions for Arc<Shared> {
    async fn load(
        &self,
        kind: &'static KindSpec,
        id: &str,
        wanted: &RowsWanted,
        // What is visible here is on disk.
        _freshness: Freshness,
    ) -> Result<Stored, StoreError> {
        let (table, keys) = (self.table_of(kind.name)?, Keys::of(id));
        let mut stored = self.load_here(table, &keys, &wanted.keys)?;
        if !wanted.ranges.is_empty() {
            let ranges = wanted.ranges.clone();
            let read = move |tables: &super::Tables| {
                let rows = tables.get(table);
                ranges
                    .iter()
                    .map(|range| read_range(table, rows, &keys, range, false))
                    .collect::<Result<Vec<_>, _>>()
            };
            let limit = wanted.ranges.iter().map(|range| range.limit).sum();
            stored.rows.extend(self.scan(table, limit, read).await?.into_iter().flatten());
        }
        Ok(stored)
    }

    async fn load_all(&self, kind: &'static KindSpec, ids: &[String]) -> Result<Vec<Stored>, StoreError> {
        let table = self.table_of(kind.name)?;
        ids.iter().map(|id| self.load_here(table, &Keys::of(id), &[])).collect()
    }

    async fn row_of_all(
        &self,
        kind: &'static KindSpec,
        ids: &[String],
        key: &str,
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let table = self.table_of(kind.name)?;
        let rows = self.tables.get(table);
        let row = |id: &String| match rows.get(Keys::of(id).row(key))? {
            Some(row) => living(table, &row),
            None => Ok(None),
        };
        ids.iter().map(row).collect()
    }

    async fn row(&self, kind: &'static KindSpec, id: &str, key: &str) -> Result<Option<Bytes>, StoreError> {
        let (table, keys) = (self.table_of(kind.name)?, Keys::of(id));
        match self.tables.get(table).get(keys.row(key))? {
            Some(row) => living(table, &row),
            None => Ok(None),
        }
    }

    async fn rows(
        &self,
        kind: &'static KindSpec,
        id: &str,
        range: &RangeWanted,
        backwards: bool,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let (table, keys, range) = (self.table_of(kind.name)?, Keys::of(id), range.clone());
        let limit = range.limit;
        self.scan(table, limit, move |tables| read_range(table, tables.get(table), &keys, &range, backwards))
            .await
    }

    async fn insert(
        &self,
        kind: &'static KindSpec,
        id: &str,
        facts: Bytes,
        entries: &[Entry],
        outbox: Option<&OutboxRow>,
    ) -> Result<(), StoreError> {
        let (table, keys, entries) = (self.table_of(kind.name)?, Keys::of(id), self.tables_of(entries)?);
        let effects = self.effects_of(kind, id, outbox)?;
        self.write(table, move |tx| {
            put_entries(tx, entries);
            put_effects(tx, effects);
            tx.put_bytes(table, keys.facts(), facts.to_vec());
            Ok(())
        })
        .await
    }

    async fn compare_and_set(
        &self,
        kind: &'static KindSpec,
        id: &str,
        expected: u64,
        write: Write,
    ) -> Result<bool, StoreError> {
        let (table, keys) = (self.table_of(kind.name)?, Keys::of(id));
        let entries = self.tables_of(&write.entries)?;
        let effects = self.effects_of(kind, id, write.outbox.as_ref())?;
        let head: Option<Box<RawValue>> = write.head.as_deref().map(decode).transpose()?;
        self.write(table, move |tx| {
            let before = tx.get::<HeadRow>(table, &keys.head())?.unwrap_or_default();
            if before.version != expected {
                return Ok(false);
            }
            put_entries(tx, entries);
            put_effects(tx, effects);
            if let Some(facts) = write.facts {
                tx.put_bytes(table, keys.facts(), facts.to_vec());
            }
            for (key, row) in write.rows {
                match row {
                    Some(row) => tx.put_bytes(table, keys.row(&key), row.to_vec()),
                    None => tx.remove(table, keys.row(&key)),
                }
            }
            let head = HeadRow {
                version: expected + 1,
                marks: write.marks,
                deleted: write.deletes,
                head: head.filter(|_| !write.deletes),
            };
            tx.put(table, keys.head(), &head)?;
            Ok(true)
        })
        .await
    }

    async fn put_facts(&self, kind: &'static KindSpec, id: &str, facts: Bytes) -> Result<(), StoreError> {
        let (table, keys) = (self.table_of(kind.name)?, Keys::of(id));
        self.write(table, move |tx| {
            tx.put_bytes(table, keys.facts(), facts.to_vec());
            Ok(())
        })
        .await
    }

    async fn compare_and_forget(
        &self,
        kind: &'static KindSpec,
        id: &str,
        expected: u64,
    ) -> Result<bool, StoreError> {
        let (table, keys) = (self.table_of(kind.name)?, Keys::of(id));
        self.write(table, move |tx| {
            let before = tx.get::<HeadRow>(table, &keys.head())?.unwrap_or_default();
            if before.version != expected {
                return Ok(false);
            }
            tx.remove(table, keys.head());
            Ok(true)
        })
        .await
    }

    async fn purge(&self, kind: &'static KindSpec, id: &str) -> Result<(), StoreError> {
        let (table, keys) = (self.table_of(kind.name)?, Keys::of(id));
        loop {
            let keys = keys.clone();
            let removed = self.write(table, move |tx| {
                let start = keys.row("");
                let rows = tx.keys_between(table, &start, &behind(&start), PURGED_AT_ONCE)?;
                let removed = rows.len();
                for row in rows {
                    tx.remove(table, row);
                }
                if removed == 0 {
                    tx.remove(table, keys.facts());
                }
                Ok(removed)
            });
            if removed.await? == 0 {
                return Ok(());
            }
        }
    }

    async fn add_entries(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let entries = self.tables_of(entries)?;
        let Some((table, _)) = entries.first() else { return Ok(()) };
        self.write(*table, move |tx| {
            put_entries(tx, entries);
            Ok(())
        })
        .await
    }

    async fn remove_entries(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let entries = self.tables_of(entries)?;
        let Some((table, _)) = entries.first() else { return Ok(()) };
        self.write(*table, move |tx| {
            for (table, entry) in entries {
                tx.remove(table, entry_key(&entry.list, &entry.key));
            }
            Ok(())
        })
        .await
    }

    async fn remove_list(&self, index: &'static IndexSpec, list: &str) -> Result<(), StoreError> {
        let (table, start) = (self.table_of(index.name)?, below(&[&key(&[list])]));
        loop {
            let (start, end) = (start.clone(), behind(&start));
            let removed = self.write(table, move |tx| {
                let entries = tx.keys_between(table, &start, &end, PURGED_AT_ONCE)?;
                let removed = entries.len();
                for entry in entries {
                    tx.remove(table, entry);
                }
                Ok(removed)
            });
            if removed.await? == 0 {
                return Ok(());
            }
        }
    }

    async fn entries(
        &self,
        index: &'static IndexSpec,
        wanted: EntriesWanted<'_>,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        Ok(self.entries_of_all(index, &[wanted]).await?.into_iter().flatten().collect())
    }

    async fn entries_of_all(
        &self,
        index: &'static IndexSpec,
        wanted: &[EntriesWanted<'_>],
    ) -> Result<Vec<Vec<(String, Bytes)>>, StoreError> {
        let table = self.table_of(index.name)?;
        let stretches: Vec<_> = wanted.iter().map(|one| Stretch::new(index.order, one)).collect();
        // All at once: to begin a task costs more than to read a list.
        let limit = stretches.iter().map(|one| one.limit).sum();
        // Nearly all that was in the outbox is removed, and reading goes over it.
        let limit = if index.name == OUTBOX.name { usize::MAX } else { limit };
        self.scan(table, limit, move |tables| {
            let entries = tables.get(table);
            stretches.iter().map(|one| one.read(table, entries, index.order)).collect()
        })
        .await
    }

    async fn outbox(
        &self,
        shard: u64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        let wanted = EntriesWanted { list: &shard.to_string(), after, limit };
        let pending =
            self.entries(&OUTBOX, wanted).await?.into_iter().map(|(key, body)| match decode(&body) {
                Ok(EffectsRow { kind, id, effects }) => {
                    let effects = Ok(Some(Bytes::copy_from_slice(effects.get().as_bytes())));
                    Pending { kind: self.kind_of(&kind), id, key, effects }
                }
                Err(error) => Pending { kind: None, id: String::new(), key, effects: Err(error) },
            });
        Ok(pending.collect())
    }

    async fn carried_out(&self, shard: u64, keys: &[String]) -> Result<(), StoreError> {
        let (table, keys) = (self.table_of(OUTBOX.name)?, keys.to_vec());
        self.write(table, move |tx| {
            for key in keys {
                tx.remove(table, outbox_key(shard, &key));
            }
            Ok(())
        })
        .await
    }

    async fn outbox_is_empty_before(&self, _shard: u64, _key: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn whole(&self) -> Result<Arc<dyn Whole>, StoreError> {
        EmbeddedWhole::now(self)
    }
}
