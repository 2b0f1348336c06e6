//! The embedded store as a whole: read in the order of keys, all of it as it was at one moment.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use fjall::{Keyspace, Readable as _, Snapshot};
use serde_json::value::RawValue;

use super::Shared;
use super::expiry::living;
use super::keys::{behind, below, numbered};
use super::layout::{HeadRow, Keys};
use super::tables::{Table, Tables};
use super::{history, marks};
use crate::StoreError;
use crate::db::engine::Stored;
use crate::db::whole::{Whole, WholeEntry, WholePartition, WholePublication, another_version};
use crate::db::{IndexSpec, KindSpec, key, last_part};
use crate::hex::{hex, unhex};
use crate::json::decode;
use crate::{Page, now};

/// Rows of a partition that come with it; the others are read page by page.
const FIRST_ROWS: usize = 64;
/// Rows of a page of one partition.
const ROWS: usize = 256;
/// Partitions, entries or publications of a page.
const ITEMS: usize = 1000;
/// Bytes after which a page ends.
const PAGE_BYTES: usize = 512 * 1024;
/// Partitions that are written together: what waits for the disk shares a commit.
const WRITES_AT_ONCE: usize = 512;
/// Stands between an id, or the name of a list or channel, and what follows.
const SEPARATOR: u8 = 0;

/// The store as it was when this was made.
pub(super) struct EmbeddedWhole {
    shared: Arc<Shared>,
    snapshot: Snapshot,
}

fn damaged(table: Table, what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} of {}", table.name()))
}

fn text(table: Table, bytes: &[u8]) -> Result<String, StoreError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| damaged(table, "a key"))
}

/// The first part of a key as it was before it was escaped, and what follows it.
fn split(table: Table, bytes: &[u8]) -> Result<(String, &[u8]), StoreError> {
    let end = bytes.iter().position(|byte| *byte == SEPARATOR).ok_or_else(|| damaged(table, "a key"))?;
    Ok((last_part(&text(table, &bytes[..end])?), &bytes[end + 1..]))
}

/// A page that grows until it is full.
struct Filling<T> {
    items: Vec<T>,
    most: usize,
    bytes: usize,
}

impl<T> Filling<T> {
    fn of(most: usize) -> Self {
        Self { items: Vec::new(), most, bytes: 0 }
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.most || self.bytes >= PAGE_BYTES
    }
}

fn read_partitions(
    snapshot: &Snapshot,
    rows: &Keyspace,
    table: Table,
    mut start: Vec<u8>,
    most: usize,
) -> Result<Page<WholePartition>, StoreError> {
    let mut page = Filling::<WholePartition>::of(most);
    'partition: loop {
        for item in snapshot.range(rows, start.clone()..marks::KEY.to_vec()) {
            let (key, value) = item.into_inner()?;
            let Some(value) = living(table, &value)? else { continue };
            let (id, rest) = split(table, &key)?;
            let keys = Keys::of(&id);
            if page.items.last().is_none_or(|last| last.id != id) {
                if page.is_full() {
                    let next = page.items.last().map(|last| last.id.clone());
                    return Ok(Page { items: page.items, next });
                }
                page.items.push(WholePartition { id, stored: Stored::default(), goes_on: false });
            }
            let Some(last) = page.items.last_mut() else { continue };
            page.bytes += key.len() + value.len();
            match rest.split_first() {
                Some((b'f', [])) => last.stored.facts = Some(Bytes::copy_from_slice(value)),
                Some((b'h', [])) => {
                    last.stored = decode::<HeadRow>(value)?.stored(last.stored.facts.take());
                }
                Some((b'r', _)) if last.stored.rows.len() == FIRST_ROWS => {
                    last.goes_on = true;
                    start = behind(&keys.0);
                    continue 'partition;
                }
                Some((b'r', row)) => {
                    last.stored.rows.insert(text(table, row)?, Bytes::copy_from_slice(value));
                }
                _ => return Err(damaged(table, "a key")),
            }
        }
        return Ok(Page { items: page.items, next: None });
    }
}

impl EmbeddedWhole {
    /// The store as it is now.
    pub(super) fn now(shared: &Arc<Shared>) -> Result<Arc<dyn Whole>, StoreError> {
        let database = shared.database.lock();
        let closed = || StoreError::Unavailable("store is closed".to_owned());
        let snapshot = database.as_ref().ok_or_else(closed)?.snapshot();
        Ok(Arc::new(Self { shared: Arc::clone(shared), snapshot }))
    }

    async fn read<T: Send + 'static>(
        &self,
        table: Table,
        read: impl FnOnce(&Tables, &Snapshot) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let snapshot = self.snapshot.clone();
        self.shared.scan(table, usize::MAX, move |tables| read(tables, &snapshot)).await
    }
}

#[async_trait]
impl Whole for EmbeddedWhole {
    async fn partitions(
        &self,
        kind: &'static KindSpec,
        from: Option<&str>,
    ) -> Result<Page<WholePartition>, StoreError> {
        let table = self.shared.table_of(kind.name)?;
        let start = from.map(|id| behind(&Keys::of(id).0)).unwrap_or_default();
        self.read(table, move |tables, snapshot| {
            read_partitions(snapshot, tables.get(table), table, start, ITEMS)
        })
        .await
    }

    async fn partition(&self, kind: &'static KindSpec, id: &str) -> Result<WholePartition, StoreError> {
        let (table, start) = (self.shared.table_of(kind.name)?, Keys::of(id));
        let id = id.to_owned();
        self.read(table, move |tables, snapshot| {
            let found = read_partitions(snapshot, tables.get(table), table, start.0, 1)?.items.pop();
            let none = WholePartition { id: id.clone(), stored: Stored::default(), goes_on: false };
            Ok(found.filter(|found| found.id == id).unwrap_or(none))
        })
        .await
    }

    async fn more_rows(
        &self,
        kind: &'static KindSpec,
        id: &str,
        // The moment is held fast.
        _version: u64,
        after: &str,
    ) -> Result<Option<Vec<(String, Bytes)>>, StoreError> {
        let (table, keys) = (self.shared.table_of(kind.name)?, Keys::of(id));
        let (own, start) = (keys.row("").len(), [keys.row(after).as_slice(), b"\0"].concat());
        let end = behind(&keys.row(""));
        self.read(table, move |tables, snapshot| {
            let (mut rows, mut bytes) = (Vec::new(), 0);
            for item in snapshot.range(tables.get(table), start..end) {
                let (key, value) = item.into_inner()?;
                let Some(value) = living(table, &value)? else { continue };
                bytes += key.len() + value.len();
                rows.push((text(table, key.get(own..).unwrap_or_default())?, Bytes::copy_from_slice(value)));
                if rows.len() == ROWS || bytes >= PAGE_BYTES {
                    break;
                }
            }
            Ok(Some(rows))
        })
        .await
    }

    async fn entries(
        &self,
        index: &'static IndexSpec,
        from: Option<&str>,
    ) -> Result<Page<WholeEntry>, StoreError> {
        let table = self.shared.table_of(index.name)?;
        // A position is the last list and key, escaped so that the first line break divides them.
        let start = match from.map(|from| from.split_once('\n').unwrap_or((from, ""))) {
            Some((list, last)) => [below(&[list]).as_slice(), last.as_bytes(), b"\0"].concat(),
            None => Vec::new(),
        };
        self.read(table, move |tables, snapshot| {
            let mut page = Filling::<WholeEntry>::of(ITEMS);
            for item in snapshot.range(tables.get(table), start..marks::KEY.to_vec()) {
                if page.is_full() {
                    let next = page.items.last();
                    let next = next.map(|last| format!("{}\n{}", key(&[&last.list]), last.key));
                    return Ok(Page { items: page.items, next });
                }
                let (bytes, body) = item.into_inner()?;
                let Some(body) = living(table, &body)? else { continue };
                let (list, entry) = split(table, &bytes)?;
                page.bytes += bytes.len() + body.len();
                let body = Bytes::copy_from_slice(body);
                page.items.push(WholeEntry { list, key: text(table, entry)?, body });
            }
            Ok(Page { items: page.items, next: None })
        })
        .await
    }

    async fn publications(&self, from: Option<&str>) -> Result<Page<WholePublication>, StoreError> {
        // A position is the last key, byte by byte.
        let start = match from {
            Some(last) => [unhex(last).ok_or(StoreError::BadCursor)?.as_slice(), b"\0"].concat(),
            None => Vec::new(),
        };
        self.read(Table::History, move |tables, snapshot| {
            let (mut page, mut last, now) = (Filling::of(ITEMS), Vec::new(), now().as_millisecond());
            for item in snapshot.range(tables.get(Table::History), start..marks::KEY.to_vec()) {
                if page.is_full() {
                    return Ok(Page { items: page.items, next: Some(hex(&last)) });
                }
                let (key, row) = item.into_inner()?;
                let (end, publication) = history::split_end(&row)?;
                page.bytes += key.len() + row.len();
                last = key.to_vec();
                if end <= now {
                    continue;
                }
                let channel_end = key.iter().position(|byte| *byte == SEPARATOR);
                let channel_end = channel_end.ok_or_else(|| history::damaged("a key"))?;
                let (offset, epoch) = key[channel_end + 1..]
                    .split_first_chunk::<8>()
                    .ok_or_else(|| history::damaged("a key"))?;
                page.items.push(WholePublication {
                    channel: text(Table::History, &key[..channel_end])?,
                    offset: u64::from_be_bytes(*offset),
                    epoch: text(Table::History, epoch)?,
                    end,
                    publication: Bytes::copy_from_slice(publication),
                });
            }
            Ok(Page { items: page.items, next: None })
        })
        .await
    }

    fn writes_at_once(&self) -> usize {
        WRITES_AT_ONCE
    }

    async fn restore(
        &self,
        kind: &'static KindSpec,
        id: &str,
        stored: &Stored,
        is_whole: bool,
    ) -> Result<(), StoreError> {
        let (table, keys) = (self.shared.table_of(kind.name)?, Keys::of(id));
        let (id, stored) = (id.to_owned(), stored.clone());
        let head: Option<Box<RawValue>> = stored.head.as_deref().map(decode).transpose()?;
        self.shared
            .write(table, move |tx| {
                let before = tx.get::<HeadRow>(table, &keys.head())?.unwrap_or_default();
                if before.version == stored.version && stored.version > 0 {
                    return Ok(());
                }
                if before.version != 0 {
                    return Err(another_version(kind, &id, before.version, stored.version));
                }
                for (key, row) in stored.rows {
                    tx.put_bytes(table, keys.row(&key), row.to_vec());
                }
                if !is_whole {
                    return Ok(());
                }
                if let Some(facts) = stored.facts {
                    tx.put_bytes(table, keys.facts(), facts.to_vec());
                }
                if stored.version > 0 {
                    let Stored { version, marks, deleted, .. } = stored;
                    tx.put(table, keys.head(), &HeadRow { version, marks, deleted, head })?;
                }
                Ok(())
            })
            .await
    }

    async fn restore_publications(&self, publications: &[WholePublication]) -> Result<(), StoreError> {
        let publications = publications.to_vec();
        self.shared
            .write(Table::History, move |tx| {
                for one in publications {
                    let mut key = numbered(&[&one.channel], one.offset);
                    key.extend(one.epoch.as_bytes());
                    history::put(tx, key, one.end, &one.publication)?;
                }
                Ok(())
            })
            .await
    }
}
