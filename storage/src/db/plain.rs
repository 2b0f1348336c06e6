//! Partitions and entries as JSON, whatever their types: for what goes over all kinds, also those that it has never heard of.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use super::engine::{EntriesWanted, Entry, Freshness, RowsWanted, Stored};
use super::whole::{WholeEntry, WholePartition};
use super::{Db, IndexSpec, KindSpec};
use crate::json::{decode, encode};
use crate::{Page, StoreError};

/// How often a large partition is read that changes meanwhile.
const TRIES: usize = 20;
/// Entries that are moved together.
const MOVED_AT_ONCE: usize = 500;

/// A partition with some of its rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plain {
    /// Its id.
    pub id: String,
    /// What was written when it was created; none for a kind whose partitions are not created.
    pub facts: Option<Value>,
    /// The head; none before the first change.
    pub head: Option<Value>,
    /// The rows that were read, by key.
    pub rows: BTreeMap<String, Value>,
}

impl Plain {
    pub(super) fn of(id: &str, stored: &Stored) -> Result<Self, StoreError> {
        let value = |body: &Option<Bytes>| body.as_deref().map(decode).transpose();
        let rows = stored.rows.iter().map(|(key, row)| Ok((key.clone(), decode(row)?)));
        Ok(Self {
            id: id.to_owned(),
            facts: value(&stored.facts)?,
            head: value(&stored.head)?,
            rows: rows.collect::<Result<_, StoreError>>()?,
        })
    }
}

/// A partition that a scan came by, of which nothing is looked at yet.
#[derive(Debug)]
pub struct Sighting(WholePartition);

impl Sighting {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.0.id
    }
}

/// An entry of an index.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainEntry {
    /// The list that it is in.
    pub list: String,
    /// Where it stands there.
    pub key: String,
    /// What it says.
    pub entry: Value,
}

impl PlainEntry {
    /// The entry, to be written or removed.
    pub fn of(&self, index: &'static IndexSpec) -> Result<Entry, StoreError> {
        let bucket = (index.bucket)(&self.key).ok_or_else(|| {
            StoreError::Damaged(format!("{:?} is no key of the index {}", self.key, index.name))
        })?;
        let (list, key) = (self.list.clone(), self.key.clone());
        Ok(Entry { index, list, key, bucket, body: encode(&self.entry)? })
    }
}

fn text_mentions(body: &[u8], mentions: &(dyn Fn(&str) -> bool + Send + Sync)) -> bool {
    std::str::from_utf8(body).is_ok_and(mentions)
}

impl Db {
    /// A page of all partitions of a kind, behind the position that the page before gave. A page may be empty though there is
    /// a next one.
    pub async fn sightings(
        &self,
        kind: &'static KindSpec,
        from: Option<&str>,
    ) -> Result<Page<Sighting>, StoreError> {
        let page = self.engine.whole()?.partitions(kind, from).await?;
        Ok(Page { items: page.items.into_iter().map(Sighting).collect(), next: page.next })
    }

    /// Reads a partition on, if something in it is mentioned: with all rows if it is in id, facts or head, and else with those
    /// rows that mention it. `None` if nothing does, or the partition is not there any more.
    pub async fn open(
        &self,
        kind: &'static KindSpec,
        Sighting(mut one): Sighting,
        mentions: &(dyn Fn(&str) -> bool + Send + Sync),
    ) -> Result<Option<Plain>, StoreError> {
        if one.stored.deleted && one.stored.facts.is_some() {
            // Whoever deleted it did not come to its end.
            self.engine.purge(kind, &one.id).await?;
        }
        let whole = self.engine.whole()?;
        for _ in 0..TRIES {
            let stored = &one.stored;
            if !stored.exists(kind) {
                return Ok(None);
            }
            let in_body =
                |body: &Option<Bytes>| body.as_ref().is_some_and(|body| text_mentions(body, mentions));
            let all = mentions(&one.id) || in_body(&stored.facts) || in_body(&stored.head);
            let is_wanted = |key: &str, row: &Bytes| all || mentions(key) || text_mentions(row, mentions);
            let mut last = stored.rows.last_key_value().map(|(key, _)| key.clone()).unwrap_or_default();
            let mut rows = stored.rows.clone();
            rows.retain(|key, row| is_wanted(key, row));
            let (mut goes_on, mut is_one_version) = (one.goes_on, true);
            while goes_on {
                let Some(more) = whole.more_rows(kind, &one.id, stored.version, &last).await? else {
                    is_one_version = false;
                    break;
                };
                goes_on = !more.is_empty();
                for (key, row) in more {
                    last.clone_from(&key);
                    if is_wanted(&key, &row) {
                        rows.insert(key, row);
                    }
                }
            }
            if is_one_version {
                let is_seen = all || !rows.is_empty();
                let stored = Stored { rows, ..stored.clone() };
                return if is_seen { Plain::of(&one.id, &stored).map(Some) } else { Ok(None) };
            }
            one = whole.partition(kind, &one.id).await?;
        }
        Err(StoreError::Unavailable(format!("{} {:?} changes while it is read", kind.name, one.id)))
    }

    /// A partition with the rows of these keys that are there; `None` if there is none.
    pub async fn plain(
        &self,
        kind: &'static KindSpec,
        id: &str,
        keys: &[String],
    ) -> Result<Option<Plain>, StoreError> {
        let stored = self.acknowledged(kind, id, keys).await?;
        if stored.exists(kind) { Plain::of(id, &stored).map(Some) } else { Ok(None) }
    }

    /// Whether a partition was there and was deleted: nothing leads to it any more. One that is still to be created is not.
    pub async fn is_deleted(&self, kind: &'static KindSpec, id: &str) -> Result<bool, StoreError> {
        Ok(self.acknowledged(kind, id, &[]).await?.deleted)
    }

    async fn acknowledged(
        &self,
        kind: &'static KindSpec,
        id: &str,
        keys: &[String],
    ) -> Result<Stored, StoreError> {
        let wanted = RowsWanted { keys: keys.to_vec(), ranges: Vec::new() };
        self.engine.load(kind, id, &wanted, Freshness::Acknowledged).await
    }

    /// A page of all entries of an index, of whatever list, behind the position that the page before gave. One that is damaged
    /// holds the others up no more than it has to.
    pub async fn plain_entries(
        &self,
        index: &'static IndexSpec,
        from: Option<&str>,
    ) -> Result<Page<Result<PlainEntry, StoreError>>, StoreError> {
        let page = self.engine.whole()?.entries(index, from).await?;
        Ok(page.map(|WholeEntry { list, key, body }| match decode(&body) {
            Ok(entry) => Ok(PlainEntry { list, key, entry }),
            Err(error) => Err(StoreError::Damaged(format!("{key:?} of {list:?}: {error}"))),
        }))
    }

    /// Has the entries of a list of an index in another list from now on. Nothing may be added to it any more. Doing it again
    /// changes nothing.
    pub async fn move_list(&self, index: &'static IndexSpec, list: &str, to: &str) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let wanted = EntriesWanted { list, after: after.as_deref(), limit: MOVED_AT_ONCE };
            let found = self.engine.entries(index, wanted).await?;
            let Some((last, _)) = found.last() else { break };
            after = Some(last.clone());
            let moved = found.into_iter().map(|(key, body)| {
                let bucket = (index.bucket)(&key).unwrap_or_default();
                Entry { index, list: to.to_owned(), key, bucket, body }
            });
            self.engine.add_entries(&moved.collect::<Vec<_>>()).await?;
        }
        self.engine.remove_list(index, list).await
    }

    /// Removes a list of an index with all that is in it. Nothing may be added to it any more.
    pub async fn remove_list(&self, index: &'static IndexSpec, list: &str) -> Result<(), StoreError> {
        self.engine.remove_list(index, list).await
    }
}
