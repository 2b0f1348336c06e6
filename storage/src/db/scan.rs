//! Scanning all partitions of a kind, and all entries of an index.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::personal::StoredParts;
use super::read::{Found, found, readable};
use super::whole::{Whole, WholeEntry, WholePartition};
use super::{Db, Index, IndexSpec, Kind, KindSpec};
use crate::json::decode;
use crate::{Page, StoreError};

impl Db {
    /// A page of all partitions of a kind that exist, in the engine's order, behind the position that the page before gave.
    /// A page may be empty though there is a next one. Partitions made meanwhile may be among them or not.
    pub async fn scan<F, H, R>(
        &self,
        kind: &'static Kind<F, H, R>,
        from: Option<&str>,
    ) -> Result<Page<(String, Found<F, H>)>, StoreError>
    where
        F: DeserializeOwned,
        H: Default + DeserializeOwned,
    {
        let page = self.engine.whole()?.partitions(kind.spec(), from).await?;
        let items = page.items.into_iter().filter_map(|one| match found(kind.spec(), &one.stored) {
            Ok(found) => Some((one.id, found?)),
            Err(error) => {
                tracing::error!(%error, kind = kind.spec().name, id = one.id, "left out of a scan");
                None
            }
        });
        Ok(Page { items: items.collect(), next: page.next })
    }

    /// A page of all entries of an index, of whatever list, with the names of list and key, behind the position that the page
    /// before gave; in no order that means anything.
    pub async fn scan_entries<E: DeserializeOwned>(
        &self,
        index: &'static Index<E>,
        from: Option<&str>,
    ) -> Result<Page<(String, String, E)>, StoreError> {
        let page = self.engine.whole()?.entries(index.spec(), from).await?;
        let items = page.items.into_iter().filter_map(|WholeEntry { list, key, body }| {
            let (key, entry) = readable(index.spec().name, &list, (key, body))?;
            Some((list, key, entry))
        });
        Ok(Page { items: items.collect(), next: page.next })
    }

    /// A page of all that is stored of a kind, whatever its types, behind the position that the page before gave.
    pub async fn scan_parts(
        &self,
        kind: &'static KindSpec,
        from: Option<&str>,
    ) -> Result<Page<StoredParts>, StoreError> {
        let whole = self.engine.whole()?;
        let page = whole.partitions(kind, from).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for one in page.items {
            items.push(parts_of(&*whole, kind, one).await?);
        }
        Ok(Page { items, next: page.next })
    }

    /// The same of an index.
    pub async fn scan_parts_of_entries(
        &self,
        index: &'static IndexSpec,
        from: Option<&str>,
    ) -> Result<Page<StoredParts>, StoreError> {
        let page = self.engine.whole()?.entries(index, from).await?;
        let parts = page.items.into_iter().map(|WholeEntry { list, key, body }| {
            let mut parts = StoredParts::default();
            parts.add("list", list.into());
            parts.add("key", key.into());
            parts.add("entry", decode(&body)?);
            Ok(parts)
        });
        Ok(Page { items: parts.collect::<Result<_, StoreError>>()?, next: page.next })
    }

    /// The engine as a whole, as it is now where it can hold a moment fast.
    pub(crate) fn whole(&self) -> Result<Arc<dyn Whole>, StoreError> {
        self.engine.whole()
    }
}

/// How often a large partition is read that changes meanwhile.
const TRIES: usize = 20;

/// The parts of a partition, with those rows that the scan did not give.
async fn parts_of(
    whole: &dyn Whole,
    kind: &'static KindSpec,
    mut one: WholePartition,
) -> Result<StoredParts, StoreError> {
    for _ in 0..TRIES {
        let id = one.id.clone();
        if let Some(parts) = parts_of_one_version(whole, kind, one).await? {
            return Ok(parts);
        }
        one = whole.partition(kind, &id).await?;
    }
    Err(StoreError::Unavailable(format!("{} {:?} changes while it is read", kind.name, one.id)))
}

/// The same; `None` if the partition was changed before all rows were read.
async fn parts_of_one_version(
    whole: &dyn Whole,
    kind: &'static KindSpec,
    one: WholePartition,
) -> Result<Option<StoredParts>, StoreError> {
    let WholePartition { id, stored, mut goes_on } = one;
    let mut parts = StoredParts::default();
    parts.add("id", id.as_str().into());
    for (part, body) in [("facts", &stored.facts), ("head", &stored.head)] {
        if let Some(body) = body {
            parts.add(part, decode(body)?);
        }
    }
    let mut last = String::new();
    for (key, row) in stored.rows {
        parts.add_row(&key, decode(&row)?);
        last = key;
    }
    while goes_on {
        let Some(more) = whole.more_rows(kind, &id, stored.version, &last).await? else { return Ok(None) };
        goes_on = !more.is_empty();
        for (key, row) in more {
            parts.add_row(&key, decode(&row)?);
            last = key;
        }
    }
    Ok(Some(parts))
}
