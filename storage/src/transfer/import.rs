//! Writing a stream into a store that is empty.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::decode::{Block, Trailer};
use super::encode::Header;
use super::record::{Index, Kind, Record, Table};
use super::walk::count;
use super::{PUBLICATIONS, Total, Totals, TransferError, aside};
use crate::db::engine::{Entry, Stored};
use crate::db::whole::{Whole, WholeEntry, WholePublication};
use crate::db::{KindSpec, Schema};
use crate::history::HistoryRange;
use crate::{StoreError, Stores, now};

/// Publications that go so soon, in milliseconds, need not be found again.
const SOON_GONE: i64 = 5_000;
/// Publications of a channel that are looked for together.
const LOOKED_FOR: usize = 500;

/// How far an import has come, for one that goes on after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The stream that it reads.
    pub stream: String,
    /// The last block that is written.
    pub block: u64,
}

/// What became of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOutcome {
    /// The table's name.
    pub name: String,
    /// What the stream has of it.
    pub total: Total,
    /// Whether the store holds the same.
    pub is_equal: bool,
}

/// What became of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Table by table.
    pub tables: Vec<TableOutcome>,
    /// Publications that were past their end, or nearly, and are not in the store.
    pub expired: u64,
}

impl Outcome {
    /// Whether the store holds what the stream does.
    pub fn is_equal(&self) -> bool {
        self.tables.iter().all(|table| table.is_equal)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<20} {:>12} {:>12} {:>15}  checksum equal", "table", "partitions", "rows", "bytes")?;
        for TableOutcome { name, total, is_equal } in &self.tables {
            let equal = if *is_equal { "yes" } else { "NO" };
            let Total { partitions, rows, bytes, .. } = total;
            write!(f, "\n{name:<20} {partitions:>12} {rows:>12} {bytes:>15}  {equal}")?;
        }
        if self.expired > 0 {
            write!(f, "\n{} publications were past their end", self.expired)?;
        }
        Ok(())
    }
}

/// A partition whose rows come in several lines.
struct Open {
    kind: &'static KindSpec,
    id: String,
    /// All but its rows.
    stored: Stored,
}

/// What belongs to one partition: parts of its rows in order, and whether each completes it.
type OfPartition = (&'static KindSpec, String, Vec<(Stored, bool)>);

/// The records of a block by the way in which they are written.
#[derive(Default)]
struct Sorted {
    partitions: Vec<OfPartition>,
    entries: Vec<Entry>,
    publications: Vec<WholePublication>,
}

/// An import under way.
pub struct Import {
    stores: Stores,
    schema: Schema,
    whole: Arc<dyn Whole>,
    totals: Totals,
    open: Option<Open>,
    /// The last block that an import before has written.
    written: u64,
    expired: u64,
    /// Publications that were written and not found again.
    missing: u64,
}

impl Import {
    /// Begins an import of a stream into an empty store, or goes on with one that was interrupted.
    pub async fn begin(
        stores: &Stores,
        schema: &Schema,
        header: &Header,
        before: Option<&Progress>,
    ) -> Result<Self, TransferError> {
        let known: BTreeSet<_> = Table::all(schema).into_iter().map(Table::name).collect();
        if let Some(unknown) = header.tables.iter().find(|name| !known.contains(name.as_str())) {
            let by = &header.product;
            return Err(TransferError::Refused(format!(
                "the stream has a table {unknown:?}, which this version does not know: {by} wrote it"
            )));
        }
        let whole = stores.db.whole()?;
        match before {
            Some(before) if before.stream == header.stream => {}
            Some(_) => {
                return Err(TransferError::Refused("the import before was of another stream".to_owned()));
            }
            None => {
                if let Some(table) = first_used(&*whole, schema).await? {
                    return Err(TransferError::Refused(format!(
                        "the store is not empty: there is something in {table}; only an import of the same stream that \
                         was interrupted goes on (--resume)"
                    )));
                }
            }
        }
        let mut totals = Totals::default();
        for table in &header.tables {
            totals.of(table);
        }
        Ok(Self {
            stores: stores.clone(),
            schema: schema.clone(),
            whole,
            totals,
            open: None,
            written: before.map_or(0, |before| before.block),
            expired: 0,
            missing: 0,
        })
    }

    /// Writes a block, unless an import before did. When this returns the store has it.
    pub async fn block(&mut self, block: Block) -> Result<(), TransferError> {
        let (schema, number) = (self.schema.clone(), block.number);
        let (records, totals) = aside(move || {
            let (records, mut totals) = (block.records(&schema)?, Totals::default());
            for record in &records {
                totals.add(record);
            }
            Ok((records, totals))
        })
        .await?;
        self.totals.merge(&totals);
        // Also where it is written: a partition may go on in the next block.
        let sorted = self.sort(records)?;
        if number <= self.written {
            return Ok(());
        }
        let writes = sorted.partitions.into_iter().map(|(kind, id, parts)| {
            let whole = Arc::clone(&self.whole);
            async move {
                for (stored, is_whole) in parts {
                    whole.restore(kind, &id, &stored, is_whole).await?;
                }
                Ok::<_, StoreError>(())
            }
        });
        let at_once = self.whole.writes_at_once();
        stream::iter(writes).buffer_unordered(at_once).try_collect::<()>().await?;
        for some in sorted.entries.chunks(at_once) {
            self.stores.db.add_entries(some).await?;
        }
        self.keep(&sorted.publications).await
    }

    /// Looks whether the store holds what the stream says, by reading all of it.
    pub async fn finish(mut self, trailer: &Trailer) -> Result<Outcome, TransferError> {
        if self.open.is_some() || trailer.totals != self.totals {
            let why = "the stream does not hold what its trailer says".to_owned();
            return Err(TransferError::Refused(why));
        }
        let mut found = count(self.stores.db.whole()?, &self.schema).await?;
        let tables = trailer.totals.0.iter().map(|(name, total)| {
            // Publications may have gone since; each was looked for when it was written.
            let is_equal = if name == PUBLICATIONS { self.missing == 0 } else { found.of(name) == total };
            TableOutcome { name: name.clone(), total: *total, is_equal }
        });
        let tables = tables.collect();
        Ok(Outcome { tables, expired: std::mem::take(&mut self.expired) })
    }

    fn sort(&mut self, records: Vec<Record>) -> Result<Sorted, TransferError> {
        let mut sorted = Sorted::default();
        for record in records {
            match record {
                Record::Partition { kind: Kind(kind), id, stored, goes_on } => {
                    if let Some(open) = &self.open {
                        return Err(out_of_place(open.kind, &open.id));
                    }
                    if goes_on {
                        let stored = Stored { rows: BTreeMap::new(), ..stored.clone() };
                        self.open = Some(Open { kind, id: id.clone(), stored });
                    }
                    sorted.partitions.push((kind, id, vec![(stored, !goes_on)]));
                }
                Record::Rows { kind: Kind(kind), id, rows, goes_on } => {
                    let open = self.open.take().filter(|open| open.kind.name == kind.name && open.id == id);
                    let open = open.ok_or_else(|| out_of_place(kind, &id))?;
                    let part = (Stored { rows: rows.into_iter().collect(), ..open.stored.clone() }, !goes_on);
                    // One after the other, also where its first rows are in this block.
                    match sorted.partitions.last_mut() {
                        Some((last, last_id, parts)) if last.name == kind.name && *last_id == id => {
                            parts.push(part);
                        }
                        _ => sorted.partitions.push((kind, id, vec![part])),
                    }
                    self.open = goes_on.then_some(open);
                }
                Record::Entry { index: Index(index), entry } => {
                    let WholeEntry { list, key, body } = entry;
                    let no_key =
                        || StoreError::Damaged(format!("{key:?} is no key of the index {}", index.name));
                    let bucket = (index.bucket)(&key).ok_or_else(no_key)?;
                    sorted.entries.push(Entry { index, list, key, bucket, body });
                }
                Record::Publication(one) => sorted.publications.push(one),
            }
        }
        Ok(sorted)
    }

    /// Writes publications, and looks for them.
    async fn keep(&mut self, publications: &[WholePublication]) -> Result<(), TransferError> {
        if publications.is_empty() {
            return Ok(());
        }
        let now = now().as_millisecond();
        let (good, gone): (Vec<_>, Vec<_>) =
            publications.iter().cloned().partition(|one| one.end > now + SOON_GONE);
        self.expired += gone.len() as u64;
        self.whole.restore_publications(&good).await?;
        for of_channel in good.chunk_by(|a, b| a.channel == b.channel) {
            for some in of_channel.chunks(LOOKED_FOR) {
                self.missing += self.missing_of(some).await?;
            }
        }
        Ok(())
    }

    /// How many of a channel's publications are not in the store.
    async fn missing_of(&self, wanted: &[WholePublication]) -> Result<u64, TransferError> {
        let offsets = || wanted.iter().map(|one| one.offset);
        let (Some(first), Some(last)) = (offsets().min(), offsets().max()) else { return Ok(0) };
        let mut above = first.saturating_sub(1);
        let mut found: BTreeSet<(u64, Bytes)> = BTreeSet::new();
        // Offsets may have wide holes and a few epochs each, so that one page may not be enough.
        loop {
            let below = last.saturating_add(1);
            let range = HistoryRange { above, below, limit: 4 * LOOKED_FOR, reverse: false };
            let kept = self.stores.history.kept(&wanted[0].channel, range).await?;
            let Some(end) = kept.last().map(|last| last.offset).filter(|end| *end > above) else { break };
            above = end;
            found.extend(kept.into_iter().map(|one| (one.offset, Bytes::from(one.encode_to_vec()))));
        }
        let is_missing = |one: &&WholePublication| {
            let read = mundotango_protocol::Publication::decode(one.publication.clone());
            read.is_ok_and(|read| !found.contains(&(one.offset, Bytes::from(read.encode_to_vec()))))
        };
        Ok(wanted.iter().filter(is_missing).count() as u64)
    }
}

fn out_of_place(kind: &KindSpec, id: &str) -> TransferError {
    TransferError::Refused(format!(
        "the rows of {} {id:?} are not where they belong in the stream",
        kind.name
    ))
}

/// The first table that holds something.
async fn first_used(whole: &dyn Whole, schema: &Schema) -> Result<Option<&'static str>, TransferError> {
    for table in Table::all(schema) {
        let mut from = None;
        loop {
            let (used, next) = match table {
                Table::Kind(kind) => {
                    let page = whole.partitions(kind, from.as_deref()).await?;
                    (!page.items.is_empty(), page.next)
                }
                Table::Index(index) => {
                    let page = whole.entries(index, from.as_deref()).await?;
                    (!page.items.is_empty(), page.next)
                }
                Table::Publications => {
                    let page = whole.publications(from.as_deref()).await?;
                    (!page.items.is_empty(), page.next)
                }
            };
            if used {
                return Ok(Some(table.name()));
            }
            from = next;
            if from.is_none() {
                break;
            }
        }
    }
    Ok(None)
}
