//! Partitions and indexes on a CQL server: a table a kind, a table an index, and beside that one the buckets of each list.
//!
//! What a partition has besides its rows lies in the row of the empty key, so that one statement reads it together with rows.
//! Facts are written plainly and never compared; all else is only ever compared and set, in one batch of the partition.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use moka::future::Cache;
use scylla::DeserializeRow;

use super::outbox::{Lead, OUTBOX_KEY, bucket_of, effects_key};
use super::query::Change;
use super::row::{HEAD_KEY, PartitionRow, text, version};
use super::session::Cql;
use super::statements::{OfIndex, OfKind};
use super::value::{count, limit};
use super::whole::CqlWhole;
use crate::StoreError;
use crate::db::engine::{
    EntriesWanted, Entry, Freshness, OutboxRow, Partitions, Pending, RangeWanted, RowsWanted, Stored, Write,
};
use crate::db::whole::Whole;
use crate::db::{IndexSpec, KindSpec, OUTBOX, Order, Schema};

/// Rows of a deleted partition that are removed together.
const PURGED_AT_ONCE: i32 = 100;
/// Keys that are read by one statement: ScyllaDB refuses more than 100 (`max_clustering_key_restrictions_per_query`).
const KEYS_AT_ONCE: usize = 100;
/// Buckets that are read at a time.
const BUCKETS: usize = 64;
/// Buckets of which a node remembers that it listed them.
const REMEMBERED: u64 = 20_000;

#[derive(DeserializeRow)]
struct HeadRow {
    p: String,
    facts: Option<String>,
    head: Option<String>,
    version: Option<i64>,
    marks: Option<Vec<String>>,
    deleted: Option<bool>,
}

/// Partitions and indexes of a schema on CQL servers.
pub(super) struct CqlPartitions {
    cql: Arc<Cql>,
    kinds: HashMap<&'static str, OfKind>,
    indexes: HashMap<&'static str, OfIndex>,
    /// The buckets that this node has listed; where they expire, in which period.
    listed: Cache<(&'static str, String, i64, u64), ()>,
    /// From when on periods are counted.
    made: Instant,
}

impl CqlPartitions {
    pub(super) fn new(cql: Arc<Cql>, schema: &Schema) -> Self {
        let kinds = schema.kinds.iter().map(|kind| (kind.name, OfKind::new(kind))).collect();
        let indexes = schema.all_indexes().map(|index| (index.name, OfIndex::new(index))).collect();
        Self { cql, kinds, indexes, listed: Cache::new(REMEMBERED), made: Instant::now() }
    }

    fn kind(&self, kind: &KindSpec) -> Result<&OfKind, StoreError> {
        let undeclared =
            || StoreError::Unavailable(format!("{} is not in the schema of this store", kind.name));
        self.kinds.get(kind.name).ok_or_else(undeclared)
    }

    fn index(&self, index: &IndexSpec) -> Result<&OfIndex, StoreError> {
        let undeclared =
            || StoreError::Unavailable(format!("{} is not in the schema of this store", index.name));
        self.indexes.get(index.name).ok_or_else(undeclared)
    }

    async fn add_entry(&self, entry: &Entry) -> Result<(), StoreError> {
        let query = self.index(entry.index)?;
        // A listed bucket lives twice as long as an entry, so listing it once a lifetime of entries is enough.
        let period = entry.index.ttl.map_or(0, |ttl| self.made.elapsed().as_secs() / ttl.as_secs().max(1));
        let bucket = (entry.index.name, entry.list.clone(), entry.bucket, period);
        // Before the entry: an entry in a bucket that is not listed would not be found.
        if self.listed.get(&bucket).await.is_none() {
            self.cql.write(&query.list_bucket, (&entry.list, entry.bucket)).await?;
            self.listed.insert(bucket, ()).await;
        }
        self.cql.write(&query.add, (&entry.list, entry.bucket, &entry.key, text(&entry.body)?)).await
    }

    /// Writes all entries that a write needs before it.
    async fn enter(
        &self,
        kind: &KindSpec,
        id: &str,
        entries: &[Entry],
        outbox: Option<&OutboxRow>,
    ) -> Result<(), StoreError> {
        let effects = async {
            match outbox {
                Some(row) => self.add_entry(&Lead::entry(kind, id, row)?).await,
                None => Ok(()),
            }
        };
        let entered = tokio::try_join!(self.add_entries(entries), effects);
        entered.map(drop).map_err(StoreError::without_effect)
    }

    async fn pending(&self, key: String, lead: &Bytes) -> Pending {
        let (kind, id) = match Lead::read(lead) {
            Ok(Lead { kind, id }) => (self.kinds.get(&*kind), id.into_owned()),
            Err(error) => return Pending { kind: None, id: String::new(), key, effects: Err(error) },
        };
        let Some(of) = kind else { return Pending { kind: None, id, key, effects: Ok(None) } };
        let row = self.cql.one::<(Option<String>,)>(&of.effects, (&id, effects_key(&key))).await;
        let effects = row.map(|row| row.and_then(|(body,)| body).map(Bytes::from));
        Pending { kind: Some(of.spec), id, key, effects }
    }

    /// The first buckets of a list, from the one of a key on.
    async fn buckets(&self, of: &OfIndex, list: &str, from: Option<i64>) -> Result<Vec<i64>, StoreError> {
        let buckets = match from {
            Some(from) => self.cql.rows::<(i64,)>(&of.buckets_behind, (list, from, limit(BUCKETS))).await?,
            None => self.cql.rows::<(i64,)>(&of.first_buckets, (list, limit(BUCKETS))).await?,
        };
        Ok(buckets.into_iter().map(|(bucket,)| bucket).collect())
    }
}

#[async_trait]
impl Partitions for CqlPartitions {
    async fn load(
        &self,
        kind: &'static KindSpec,
        id: &str,
        wanted: &RowsWanted,
        freshness: Freshness,
    ) -> Result<Stored, StoreError> {
        let of = self.kind(kind)?;
        let (load, range) = match freshness {
            Freshness::Acknowledged => (&of.load, &of.range),
            Freshness::Settled => (&of.load_settled, &of.range_settled),
        };
        let mut stored = Stored::default();
        // The head with the first of them, so that no row is older than the version.
        let mut keys: Vec<&str> = vec![HEAD_KEY];
        keys.extend(wanted.keys.iter().map(String::as_str));
        for some in keys.chunks(KEYS_AT_ONCE) {
            for row in self.cql.rows::<PartitionRow>(load, (id, some.to_vec())).await? {
                row.put_into(&mut stored)?;
            }
        }
        // After the head, so that who changes the partition in between makes the compare-and-set fail.
        for one in &wanted.ranges {
            let values = (id, &one.start, &one.end, limit(one.limit));
            let rows = self.cql.rows::<(String, Option<String>)>(range, values).await?;
            stored.rows.extend(rows.into_iter().filter_map(|(key, body)| Some((key, Bytes::from(body?)))));
        }
        Ok(stored)
    }

    async fn row(&self, kind: &'static KindSpec, id: &str, key: &str) -> Result<Option<Bytes>, StoreError> {
        let row = self.cql.one::<(Option<String>,)>(&self.kind(kind)?.row, (id, key)).await?;
        Ok(row.and_then(|(body,)| body).map(Bytes::from))
    }

    async fn load_all(&self, kind: &'static KindSpec, ids: &[String]) -> Result<Vec<Stored>, StoreError> {
        // One statement, and the server that gets it asks for all partitions at once: cheaper than as many requests.
        let rows = self.cql.rows::<HeadRow>(&self.kind(kind)?.load_all, (ids,)).await?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in rows {
            let stored = Stored {
                facts: row.facts.map(Bytes::from),
                head: row.head.map(Bytes::from),
                version: count(row.version.unwrap_or_default())?,
                marks: row.marks.unwrap_or_default(),
                deleted: row.deleted.unwrap_or_default(),
                rows: BTreeMap::new(),
            };
            found.insert(row.p, stored);
        }
        Ok(ids.iter().map(|id| found.get(id).cloned().unwrap_or_default()).collect())
    }

    async fn row_of_all(
        &self,
        kind: &'static KindSpec,
        ids: &[String],
        key: &str,
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let rows =
            self.cql.rows::<(String, Option<String>)>(&self.kind(kind)?.row_of_all, (ids, key)).await?;
        let found: HashMap<_, _> = rows.into_iter().collect();
        Ok(ids.iter().map(|id| found.get(id).cloned().flatten().map(Bytes::from)).collect())
    }

    async fn rows(
        &self,
        kind: &'static KindSpec,
        id: &str,
        range: &RangeWanted,
        backwards: bool,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let of = self.kind(kind)?;
        let query = if backwards { &of.range_backwards } else { &of.range };
        let values = (id, &range.start, &range.end, limit(range.limit));
        let rows = self.cql.rows::<(String, Option<String>)>(query, values).await?;
        Ok(rows.into_iter().filter_map(|(key, body)| Some((key, Bytes::from(body?)))).collect())
    }

    async fn insert(
        &self,
        kind: &'static KindSpec,
        id: &str,
        facts: Bytes,
        entries: &[Entry],
        outbox: Option<&OutboxRow>,
    ) -> Result<(), StoreError> {
        // First what leads to the partition: readers leave out what leads nowhere, and no partition that is there cannot be
        // found. Not a logged batch, which fails for as long as the servers take one that died for alive.
        self.enter(kind, id, entries, outbox).await?;
        let of = self.kind(kind)?;
        let Some(row) = outbox else { return self.cql.write(&of.insert, (id, text(&facts)?)).await };
        let facts = Change::new(&of.insert, (id, text(&facts)?));
        let effects = Change::new(&of.insert_effects, (id, effects_key(&row.key), row.effects.get()));
        self.cql.write_together(vec![facts, effects]).await
    }

    async fn compare_and_set(
        &self,
        kind: &'static KindSpec,
        id: &str,
        expected: u64,
        write: Write,
    ) -> Result<bool, StoreError> {
        let of = self.kind(kind)?;
        self.enter(kind, id, &write.entries, write.outbox.as_ref()).await?;
        let (before, after) = (version(expected)?, version(expected + 1)?);
        let (head, marks) = (write.head.as_ref().map(text).transpose()?, &write.marks);
        let first = match &write.facts {
            _ if write.deletes => Change::new(&of.delete, (after, marks, id, before)),
            Some(facts) => Change::new(&of.set_all, (text(facts)?, head, after, marks, id, before)),
            None => Change::new(&of.set_head, (head, after, marks, id, before)),
        };
        let mut changes = vec![first];
        for (key, row) in &write.rows {
            changes.push(match row {
                Some(row) => Change::new(&of.put, (id, key, text(row)?)),
                None => Change::new(&of.remove, (id, key)),
            });
        }
        if let Some(row) = &write.outbox {
            changes.push(Change::new(&of.put_effects, (id, effects_key(&row.key), row.effects.get())));
        }
        self.cql.compare_and_set_together(changes).await
    }

    async fn put_facts(&self, kind: &'static KindSpec, id: &str, facts: Bytes) -> Result<(), StoreError> {
        let of = self.kind(kind)?;
        // Later than those that are there were written, also where the clock of who wrote them was ahead.
        let written = self.cql.one::<(Option<i64>,)>(&of.facts_written_at, (id,)).await?;
        let micros = written.and_then(|(micros,)| micros).unwrap_or_default();
        self.cql.write_at(&of.insert, (id, text(&facts)?), micros.saturating_add(1)).await
    }

    async fn compare_and_forget(
        &self,
        kind: &'static KindSpec,
        id: &str,
        expected: u64,
    ) -> Result<bool, StoreError> {
        let forget = Change::new(&self.kind(kind)?.forget, (id, version(expected)?));
        self.cql.compare_and_set_together(vec![forget]).await
    }

    async fn purge(&self, kind: &'static KindSpec, id: &str) -> Result<(), StoreError> {
        let of = self.kind(kind)?;
        loop {
            // All keys but the empty one and those of effects, which may still have to be carried out.
            let rows = self
                .cql
                .rows::<(String, Option<String>)>(&of.range, (id, "\0", OUTBOX_KEY, PURGED_AT_ONCE))
                .await?;
            if rows.is_empty() {
                break;
            }
            let mut changes = vec![Change::new(&of.still_deleted, (id,))];
            changes.extend(rows.iter().map(|(key, _)| Change::new(&of.remove, (id, key))));
            self.cql.compare_and_set_together(changes).await?;
        }
        // Later than they were written, also where the clock of who wrote them was ahead.
        let written = self.cql.one::<(Option<i64>,)>(&of.facts_written_at, (id,)).await?;
        match written.and_then(|(micros,)| micros) {
            Some(micros) => self.cql.write_at(&of.remove_facts, (id,), micros.saturating_add(1)).await,
            None => Ok(()),
        }
    }

    async fn add_entries(&self, entries: &[Entry]) -> Result<(), StoreError> {
        try_join_all(entries.iter().map(|entry| self.add_entry(entry))).await.map(drop)
    }

    async fn remove_entries(&self, entries: &[Entry]) -> Result<(), StoreError> {
        for entry in entries {
            let query = &self.index(entry.index)?.remove;
            self.cql.write(query, (&entry.list, entry.bucket, &entry.key)).await?;
        }
        Ok(())
    }

    async fn remove_list(&self, index: &'static IndexSpec, list: &str) -> Result<(), StoreError> {
        let of = self.index(index)?;
        let mut from = None;
        loop {
            let buckets = self.buckets(of, list, from).await?;
            for bucket in &buckets {
                self.cql.write(&of.remove_bucket, (list, bucket)).await?;
            }
            let next = match index.order {
                Order::NewestFirst => buckets.last().and_then(|last| last.checked_sub(1)),
                Order::OldestFirst => buckets.last().and_then(|last| last.checked_add(1)),
            };
            if next.is_none() || buckets.len() < BUCKETS {
                break;
            }
            from = next;
        }
        // The buckets are named last: what is left after a crash is still found.
        self.cql.write(&of.forget_list, (list,)).await?;
        self.listed.invalidate_all();
        Ok(())
    }

    async fn entries(
        &self,
        index: &'static IndexSpec,
        wanted: EntriesWanted<'_>,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let of = self.index(index)?;
        let mut from = wanted.after.and_then(index.bucket);
        let mut found = Vec::new();
        loop {
            let buckets = self.buckets(of, wanted.list, from).await?;
            for bucket in &buckets {
                let left = limit(wanted.limit - found.len());
                let list = wanted.list;
                let rows = match wanted.after {
                    Some(after) => {
                        self.cql.rows::<(String, String)>(&of.behind, (list, bucket, after, left)).await?
                    }
                    None => self.cql.rows::<(String, String)>(&of.first, (list, bucket, left)).await?,
                };
                found.extend(rows.into_iter().map(|(key, body)| (key, Bytes::from(body))));
                if found.len() >= wanted.limit {
                    return Ok(found);
                }
            }
            let Some(last) = buckets.last().filter(|_| buckets.len() == BUCKETS) else { return Ok(found) };
            let next = match index.order {
                Order::NewestFirst => last.checked_sub(1),
                Order::OldestFirst => last.checked_add(1),
            };
            if next.is_none() {
                return Ok(found);
            }
            from = next;
        }
    }

    async fn outbox(
        &self,
        shard: u64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        let list = shard.to_string();
        let entries = self.entries(&OUTBOX, EntriesWanted { list: &list, after, limit }).await?;
        Ok(join_all(entries.into_iter().map(async |(key, lead)| self.pending(key, &lead).await)).await)
    }

    async fn carried_out(&self, shard: u64, keys: &[String]) -> Result<(), StoreError> {
        let (of, list) = (self.index(&OUTBOX)?, shard.to_string());
        let mut by_bucket = BTreeMap::<_, Vec<_>>::new();
        for key in keys {
            let bucket = bucket_of(key)?;
            by_bucket.entry(bucket).or_default().push(Change::new(&of.remove, (&list, bucket, key)));
        }
        // A bucket is a partition: one write for all that goes from it.
        try_join_all(by_bucket.into_values().map(|removed| self.cql.write_together(removed))).await.map(drop)
    }

    async fn outbox_is_empty_before(&self, shard: u64, key: &str) -> Result<(), StoreError> {
        let of = self.index(&OUTBOX)?;
        self.cql.write(&of.forget_buckets, (shard.to_string(), bucket_of(key)?)).await
    }

    fn whole(&self) -> Result<Arc<dyn Whole>, StoreError> {
        Ok(Arc::new(CqlWhole::new(Arc::clone(&self.cql))))
    }
}
