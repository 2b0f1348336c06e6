//! Scanning all partitions of a kind, and all entries of an index.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::read::{Found, found, readable};
use super::whole::{Whole, WholeEntry};
use super::{Db, Index, Kind};
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

    /// The engine as a whole, as it is now where it can hold a moment fast.
    pub(crate) fn whole(&self) -> Result<Arc<dyn Whole>, StoreError> {
        self.engine.whole()
    }
}
