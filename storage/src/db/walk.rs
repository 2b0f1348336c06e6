//! Walking indexes: one list, or several as one.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::engine::{EntriesWanted, Entry};
use super::read::readable;
use super::{Db, Index, Order};
use crate::json::encode;
use crate::{Page, StoreError};

impl<E: Serialize> Index<E> {
    /// An entry of a list. Its key is where it stands, so an index never has two entries of one key in a list.
    pub fn entry(&'static self, list: impl Into<String>, key: &str, entry: &E) -> Result<Entry, StoreError> {
        let spec = self.spec();
        let bucket = (spec.bucket)(key)
            .ok_or_else(|| StoreError::Damaged(format!("{key:?} is no key of the index {}", spec.name)))?;
        Ok(Entry { index: spec, list: list.into(), key: key.to_owned(), bucket, body: encode(entry)? })
    }
}

impl Db {
    /// Writes entries. Writing them again changes nothing.
    pub async fn add_entries(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.engine.add_entries(entries).await
    }

    /// Removes entries. An entry that is removed may not be written again: a CQL server whose clock is behind would keep it
    /// away.
    pub async fn remove_entries(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.engine.remove_entries(entries).await
    }

    /// Entries of several lists of an index as one list, in the index's order, behind a key. The cursor is the last key.
    pub async fn walk<E: DeserializeOwned>(
        &self,
        index: &'static Index<E>,
        lists: &[&str],
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<(String, E)>, StoreError> {
        let spec = index.spec();
        if after.is_some_and(|key| (spec.bucket)(key).is_none()) {
            return Err(StoreError::BadCursor);
        }
        let limit_of_each = limit.saturating_add(1);
        let wanted = lists.iter().map(|list| EntriesWanted { list, after, limit: limit_of_each });
        let wanted: Vec<_> = wanted.collect();
        let read = self.engine.entries_of_all(spec, &wanted).await?;
        let mut all: Vec<_> = read.into_iter().flatten().collect();
        match spec.order {
            Order::NewestFirst => all.sort_by(|a, b| b.0.cmp(&a.0)),
            Order::OldestFirst => all.sort_by(|a, b| a.0.cmp(&b.0)),
        }
        all.dedup_by(|a, b| a.0 == b.0);
        let is_cut = all.len() > limit;
        all.truncate(limit);
        let next = all.last().filter(|_| is_cut).map(|(key, _)| key.clone());
        let list = lists.join(", ");
        let items = all.into_iter().filter_map(|entry| readable(spec.name, &list, entry));
        Ok(Page { items: items.collect(), next })
    }
}
