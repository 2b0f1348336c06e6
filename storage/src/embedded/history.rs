//! Long histories in the embedded store.
//!
//! history: channel, offset, epoch → end in milliseconds, publication · history ends: end, key of the publication

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use mundotango_protocol::Publication;
use prost::Message as _;

use super::Shared;
use super::committer::Tx;
use super::keys::{numbered, timed};
use super::tables::Table;
use crate::StoreError;
use crate::history::{HistoryRange, HistoryStore, MAX_HISTORY_TTL};

/// How often publications past their end are cleared away, in milliseconds: with a new one.
const CLEARING_INTERVAL: i64 = 1000;
/// Most of them at a time.
const CLEARED_AT_ONCE: usize = 10_000;
/// Publications that are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: usize = 1000;

pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} of a history"))
}

/// The bytes of an index entry: those of a time sort as it does.
fn end_key(end: i64, key: &[u8]) -> Vec<u8> {
    let mut index = timed(end, "");
    index.extend(key);
    index
}

pub(super) fn split_end(bytes: &[u8]) -> Result<(i64, &[u8]), StoreError> {
    let (end, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| damaged("an entry"))?;
    Ok((i64::from_be_bytes(*end), rest))
}

/// Puts a publication in the place of one of the same key.
pub(super) fn put(tx: &mut Tx<'_>, key: Vec<u8>, end: i64, publication: &[u8]) -> Result<(), StoreError> {
    remove(tx, key.clone())?;
    tx.put_key(Table::HistoryEnds, end_key(end, &key));
    tx.put_bytes(Table::History, key, [&end.to_be_bytes(), publication].concat());
    Ok(())
}

fn remove(tx: &mut Tx<'_>, key: Vec<u8>) -> Result<(), StoreError> {
    if let Some(row) = tx.bytes(Table::History, &key)? {
        tx.remove(Table::HistoryEnds, end_key(split_end(&row)?.0, &key));
    }
    tx.remove(Table::History, key);
    Ok(())
}

/// How far publications past their end are cleared away.
#[derive(Default)]
pub(super) struct Cleared {
    /// When it was done last.
    at: i64,
    /// The last entry that was removed. All later ends are behind this one; before it lie only tombstones, which would cost
    /// time to read over.
    upto: Vec<u8>,
}

/// Removes the first of those that are past their end, of any channel. Returns the last one, to be noted once it is gone.
fn clear_away(tx: &mut Tx<'_>, cleared: &mut Cleared, now: i64) -> Result<Option<Vec<u8>>, StoreError> {
    if now - cleared.at < CLEARING_INTERVAL {
        return Ok(None);
    }
    cleared.at = now;
    let own = timed(0, "").len();
    let mut last = None;
    for index in tx.keys_between(Table::HistoryEnds, &cleared.upto, &timed(now, ""), CLEARED_AT_ONCE)? {
        last = Some(index.clone());
        let key = index.get(own..).ok_or_else(|| damaged("an entry"))?.to_vec();
        remove(tx, key)?;
        tx.remove(Table::HistoryEnds, index);
    }
    Ok(last)
}

#[async_trait]
impl HistoryStore for Arc<Shared> {
    async fn keep(
        &self,
        channel: &str,
        epoch: &str,
        publication: Publication,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let mut key = numbered(&[channel], publication.offset);
        key.extend(epoch.as_bytes());
        let now = Timestamp::now().as_millisecond();
        let ttl = i64::try_from(ttl.min(MAX_HISTORY_TTL).as_millis()).unwrap_or(i64::MAX);
        let end = now.saturating_add(ttl);
        let publication = publication.encode_to_vec();
        let shared = Self::clone(self);
        let kept = self.write(Table::History, move |tx| {
            let cleared = clear_away(tx, &mut shared.history_cleared.lock(), now)?;
            put(tx, key, end, &publication)?;
            Ok(cleared)
        });
        if let Some(upto) = kept.await? {
            self.history_cleared.lock().upto = upto;
        }
        Ok(())
    }

    async fn kept(&self, channel: &str, range: HistoryRange) -> Result<Vec<Publication>, StoreError> {
        if range.limit == 0 || range.below <= range.above.saturating_add(1) {
            return Ok(Vec::new());
        }
        // No epoch stands before the end of one offset's keys.
        let start = Bound::Included(numbered(&[channel], range.above + 1));
        let end = Bound::Excluded(numbered(&[channel], range.below));
        self.scan(Table::History, usize::MAX, move |tables| {
            let now = Timestamp::now().as_millisecond();
            let mut kept = Vec::new();
            let mut rows = tables.get(Table::History).range((start, end));
            while kept.len() < range.limit {
                let Some(row) = (if range.reverse { rows.next_back() } else { rows.next() }) else { break };
                let row = row.value()?;
                let (end, publication) = split_end(&row)?;
                if end > now {
                    let publication = Bytes::copy_from_slice(publication);
                    kept.push(Publication::decode(publication).map_err(|_| damaged("a publication"))?);
                }
            }
            Ok(kept)
        })
        .await
    }

    async fn forget(&self, channel: &str, upto: u64) -> Result<(), StoreError> {
        let mut start = numbered(&[channel], 0);
        let end = numbered(&[channel], upto.saturating_add(1));
        loop {
            let end = end.clone();
            let removed = self.write(Table::History, move |tx| {
                let keys = tx.keys_between(Table::History, &start, &end, FORGOTTEN_AT_ONCE)?;
                keys.iter().try_for_each(|key| remove(tx, key.clone()))?;
                Ok(keys)
            });
            let mut removed = removed.await?;
            if removed.len() < FORGOTTEN_AT_ONCE {
                return Ok(());
            }
            // On from the last one: those before it are traces that would have to be read over.
            start = removed.pop().unwrap_or_default();
        }
    }
}
