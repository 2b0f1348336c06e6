//! A CQL server's tables as a whole: read by ranges of tokens, each partition by one statement where it is small.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use scylla::deserialize::row::DeserializeRow;
use scylla::response::PagingState;
use scylla::value::MaybeUnset;

use super::outbox::OUTBOX_KEY;
use super::query::{Change, Kind, Query};
use super::row::{HEAD_KEY, PartitionRow, text, version};
use super::session::Cql;
use super::value::{count, limit};
use crate::StoreError;
use crate::db::engine::Stored;
use crate::db::whole::{Whole, WholeEntry, WholePartition, WholePublication, another_version};
use crate::db::{IndexSpec, KindSpec};
use crate::hex::{hex, unhex};
use crate::{Page, now};

/// Parts of the ring, each of which is read by itself.
const RANGES: u64 = 16;
/// Partitions of a page; they are read at the same time.
const PARTITIONS: i32 = 64;
/// Rows of a partition that come with it.
const FIRST_ROWS: i32 = 64;
/// Rows of a page of one partition.
const ROWS: usize = 256;
/// Entries or publications of a page.
const ITEMS: i32 = 1000;
/// Partitions that are written at the same time.
const WRITES_AT_ONCE: usize = 32;
/// Most rows, and bytes of rows, that are written in one batch: servers refuse batches that are too large.
const BATCH_ROWS: usize = 100;
const BATCH_BYTES: usize = 128 * 1024;
/// How often a compare-and-set whose outcome is unknown is sent: it finds what it did the time before.
const TRIES: u32 = 6;

/// The tables of a keyspace.
pub(super) struct CqlWhole {
    cql: Arc<Cql>,
}

/// The tokens of a part of the ring: above the first, up to the second.
fn tokens(range: u64) -> (i64, i64) {
    let step = u64::MAX / RANGES + 1;
    let above = (range * step).cast_signed().wrapping_add(i64::MIN);
    let upto = if range + 1 == RANGES { i64::MAX } else { above.wrapping_add(step.cast_signed()) };
    (above, upto)
}

/// A position: the part of the ring, and the server's own position in there.
fn position(range: u64, paging: Option<&PagingState>) -> String {
    let bytes = paging.and_then(PagingState::as_bytes_slice).map(|bytes| hex(bytes));
    format!("{range}.{}", bytes.unwrap_or_default())
}

fn parse_position(text: &str) -> Option<(u64, PagingState)> {
    let (range, bytes) = text.split_once('.')?;
    let range = range.parse().ok().filter(|range| *range < RANGES)?;
    if bytes.is_empty() {
        return Some((range, PagingState::start()));
    }
    Some((range, PagingState::new_from_raw_bytes(unhex(bytes)?)))
}

impl CqlWhole {
    pub(super) fn new(cql: Arc<Cql>) -> Self {
        Self { cql }
    }

    /// A page of what a statement selects from one part of the ring after the other.
    async fn scan<R>(
        &self,
        query: &Query,
        from: Option<&str>,
        limit: i32,
    ) -> Result<(Vec<R>, Option<String>), StoreError>
    where
        R: for<'r> DeserializeRow<'r, 'r>,
    {
        let (range, paging) = match from {
            Some(from) => parse_position(from).ok_or(StoreError::BadCursor)?,
            None => (0, PagingState::start()),
        };
        let (rows, next) = self.cql.page(query, &tokens(range), paging, limit).await?;
        let next = match next {
            Some(paging) => Some(position(range, Some(&paging))),
            None => (range + 1 < RANGES).then(|| position(range + 1, None)),
        };
        Ok((rows, next))
    }

    /// The version of a partition, after every compare-and-set that was sent before if `settled`.
    async fn version_of(&self, kind: &KindSpec, id: &str, settled: bool) -> Result<u64, StoreError> {
        let text = format!("SELECT version FROM {} WHERE p = ? AND k = '{HEAD_KEY}'", kind.name);
        let how = if settled { Kind::SerialRead } else { Kind::Read };
        let row = self.cql.one::<(Option<i64>,)>(&Query::of(how, kind.name, text), (id,)).await?;
        count(row.and_then(|(version,)| version).unwrap_or_default())
    }

    /// Carries out a batch on a partition that was never changed; true if it was changed to this version already.
    async fn set_first<'c>(
        &self,
        kind: &'static KindSpec,
        id: &str,
        wanted: u64,
        changes: impl Fn() -> Result<Vec<Change<'c>>, StoreError> + Send + Sync,
    ) -> Result<bool, StoreError> {
        let mut tried = 0;
        loop {
            tried += 1;
            match self.cql.compare_and_set_together(changes()?).await {
                Ok(true) => return Ok(false),
                Ok(false) => match self.version_of(kind, id, true).await? {
                    found if found == wanted => return Ok(true),
                    // Nothing was there when it was compared: what ran before has not come to its end.
                    0 if tried < TRIES => {}
                    found => return Err(another_version(kind, id, found, wanted)),
                },
                Err(StoreError::Unknown(_)) if tried < TRIES => {}
                Err(error) => return Err(error),
            }
            self.cql.back_off(tried).await;
        }
    }
}

/// Rows in parts that fit a batch.
fn batches(rows: &std::collections::BTreeMap<String, Bytes>) -> Vec<Vec<(&String, &Bytes)>> {
    let (mut batches, mut bytes) = (vec![Vec::new()], 0);
    for (key, row) in rows {
        if let Some(last) = batches.last_mut()
            && (last.len() == BATCH_ROWS || (bytes + row.len() > BATCH_BYTES && !last.is_empty()))
        {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += row.len();
        if let Some(last) = batches.last_mut() {
            last.push((key, row));
        }
    }
    batches
}

#[async_trait]
impl Whole for CqlWhole {
    async fn partitions(
        &self,
        kind: &'static KindSpec,
        from: Option<&str>,
    ) -> Result<Page<WholePartition>, StoreError> {
        let text = format!("SELECT DISTINCT p FROM {} WHERE token(p) > ? AND token(p) <= ?", kind.name);
        let query = Query::of(Kind::Read, kind.name, text);
        let (ids, next) = self.scan::<(String,)>(&query, from, PARTITIONS).await?;
        let mut items = try_join_all(ids.iter().map(|(id,)| self.partition(kind, id))).await?;
        // Such as one of which only effects are left.
        items.retain(|one| one.goes_on || one.stored != Stored::default());
        Ok(Page { items, next })
    }

    async fn partition(&self, kind: &'static KindSpec, id: &str) -> Result<WholePartition, StoreError> {
        // Effects, which lie behind all rows, go by themselves and are not carried to another store.
        let text = format!(
            "SELECT k, body, facts, head, version, marks, deleted FROM {} WHERE p = ? AND k < '{OUTBOX_KEY}'",
            kind.name
        );
        let query = Query::of(Kind::Read, kind.name, text);
        let (rows, next) =
            self.cql.page::<PartitionRow>(&query, &(id,), PagingState::start(), FIRST_ROWS + 1).await?;
        let mut stored = Stored::default();
        rows.into_iter().try_for_each(|row| row.put_into(&mut stored))?;
        Ok(WholePartition { id: id.to_owned(), stored, goes_on: next.is_some() })
    }

    async fn more_rows(
        &self,
        kind: &'static KindSpec,
        id: &str,
        version: u64,
        after: &str,
    ) -> Result<Option<Vec<(String, Bytes)>>, StoreError> {
        let text =
            format!("SELECT k, body FROM {} WHERE p = ? AND k > ? AND k < '{OUTBOX_KEY}' LIMIT ?", kind.name);
        let query = Query::of(Kind::Read, kind.name, text);
        let rows = self.cql.rows::<(String, Option<String>)>(&query, (id, after, limit(ROWS))).await?;
        // After the rows, so that no row is newer than the version.
        let is_same = self.version_of(kind, id, false).await? == version;
        let rows = rows.into_iter().filter_map(|(key, body)| Some((key, Bytes::from(body?))));
        Ok(is_same.then(|| rows.collect()))
    }

    async fn entries(
        &self,
        index: &'static IndexSpec,
        from: Option<&str>,
    ) -> Result<Page<WholeEntry>, StoreError> {
        let text = format!(
            "SELECT l, k, body FROM {} WHERE token(l, bucket) > ? AND token(l, bucket) <= ?",
            index.name
        );
        let query = Query::of(Kind::Read, index.name, text);
        let (rows, next) = self.scan::<(String, String, String)>(&query, from, ITEMS).await?;
        let items = rows.into_iter().map(|(list, key, body)| WholeEntry { list, key, body: body.into() });
        Ok(Page { items: items.collect(), next })
    }

    async fn publications(&self, from: Option<&str>) -> Result<Page<WholePublication>, StoreError> {
        static ALL: Query = Query::read(
            "publications",
            "SELECT channel, number, epoch, publication, ttl(publication) FROM publications \
             WHERE token(channel, block) > ? AND token(channel, block) <= ?",
        );
        type Row = (String, i64, String, Vec<u8>, Option<i32>);
        let (rows, next) = self.scan::<Row>(&ALL, from, ITEMS).await?;
        let now = now().as_millisecond();
        let items = rows.into_iter().map(|(channel, offset, epoch, publication, seconds)| {
            let end = now.saturating_add(i64::from(seconds.unwrap_or(i32::MAX)).saturating_mul(1000));
            Ok(WholePublication {
                channel,
                offset: count(offset)?,
                epoch,
                end,
                publication: publication.into(),
            })
        });
        Ok(Page { items: items.collect::<Result<_, StoreError>>()?, next })
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
        let t = kind.name;
        let facts = stored.facts.as_ref().map(text).transpose()?;
        if stored.version == 0 && stored.rows.is_empty() {
            // As it was when it was created: facts alone, plainly.
            let insert = format!("INSERT INTO {t} (p, k, facts) VALUES (?, '{HEAD_KEY}', ?)");
            return match facts {
                Some(facts) => self.cql.write(&Query::of(Kind::Write, t, insert), (id, facts)).await,
                None => Ok(()),
            };
        }
        let head = stored.head.as_ref().map(text).transpose()?;
        let put = Query::of(Kind::Cas, t, format!("INSERT INTO {t} (p, k, body) VALUES (?, ?, ?)"));
        // Compares and changes nothing.
        let guard = format!("UPDATE {t} SET deleted = null WHERE p = ? AND k = '{HEAD_KEY}' IF version = ?");
        let guard = Query::of(Kind::Cas, t, guard);
        let last = format!(
            "UPDATE {t} SET facts = ?, head = ?, version = ?, marks = ?, deleted = ? \
             WHERE p = ? AND k = '{HEAD_KEY}' IF version = ?"
        );
        let last = Query::of(Kind::Cas, t, last);
        let (none, batches) = (version(0)?, batches(&stored.rows));
        let after = version(stored.version)?;
        for (number, rows) in batches.iter().enumerate() {
            let is_last = is_whole && number + 1 == batches.len();
            if rows.is_empty() && !is_last {
                continue;
            }
            let changes = || {
                let first = if is_last {
                    let facts = MaybeUnset::from_option(facts);
                    let head = MaybeUnset::from_option(head);
                    let deleted = MaybeUnset::from_option(stored.deleted.then_some(true));
                    Change::new(&last, (facts, head, after, &stored.marks, deleted, id, none))
                } else {
                    Change::new(&guard, (id, none))
                };
                let mut changes = vec![first];
                for (key, row) in rows {
                    changes.push(Change::new(&put, (id, *key, text(row)?)));
                }
                Ok(changes)
            };
            if self.set_first(kind, id, stored.version, changes).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn restore_publications(&self, publications: &[WholePublication]) -> Result<(), StoreError> {
        let now = now().as_millisecond();
        for some in publications.chunks(WRITES_AT_ONCE) {
            let keeping = some.iter().filter(|one| one.end > now).map(|one| {
                let ttl = Duration::from_millis((one.end - now).cast_unsigned());
                self.cql.keep_bytes(&one.channel, &one.epoch, one.offset, one.publication.to_vec(), ttl)
            });
            try_join_all(keeping).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_ring_are_all_of_it() {
        assert_eq!((tokens(0).0, tokens(RANGES - 1).1), (i64::MIN, i64::MAX));
        assert!((1..RANGES).all(|range| tokens(range - 1).1 == tokens(range).0));
        assert!((0..RANGES).all(|range| tokens(range).0 < tokens(range).1));
    }

    #[test]
    fn a_position_stays_good() {
        let paging = PagingState::new_from_raw_bytes(vec![0, 1, 254]);
        let (range, found) = parse_position(&position(7, Some(&paging))).unwrap();
        assert_eq!((range, found.as_bytes_slice()), (7, paging.as_bytes_slice()));
        assert!(parse_position(&position(8, None)).unwrap().1.as_bytes_slice().is_none());
        for bad in ["", "x", "16.", "1.0", "1.zz"] {
            assert!(parse_position(bad).is_none(), "{bad}");
        }
    }
}
