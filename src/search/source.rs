//! Where documents come from: the things of a kind, as the store has them now.

use async_trait::async_trait;
use futures_util::future::try_join_all;
use mundotango_storage::db::{Db, Found, Kind};
use mundotango_storage::{Page, StoreError};
use serde::de::DeserializeOwned;

use super::document::Document;

/// Things that are read at the same time.
const AT_ONCE: usize = 16;

/// Things of a kind that are searched for.
#[async_trait]
pub trait Source: Send + Sync {
    /// The name of the kind.
    fn kind(&self) -> &'static str;

    /// The documents of these things as they are now, in the ids' order; `None` of those that are gone.
    async fn documents(&self, ids: &[String]) -> Result<Vec<Option<Document>>, StoreError>;

    /// A page of the ids of all things, behind the position that the page before gave.
    async fn ids(&self, from: Option<&str>) -> Result<Page<String>, StoreError>;
}

/// Things of which each is a partition, whose facts and head make its document.
pub struct Partitions<F: 'static, H: 'static, R: 'static> {
    db: Db,
    name: &'static str,
    kind: &'static Kind<F, H, R>,
    document: fn(&str, Found<F, H>) -> Document,
}

impl<F, H, R> Partitions<F, H, R> {
    /// Things under a name, and what makes a document of one.
    pub fn new(
        db: &Db,
        name: &'static str,
        kind: &'static Kind<F, H, R>,
        document: fn(&str, Found<F, H>) -> Document,
    ) -> Self {
        Self { db: db.clone(), name, kind, document }
    }

    async fn document(&self, id: &str) -> Result<Option<Document>, StoreError>
    where
        F: DeserializeOwned,
        H: Default + DeserializeOwned,
        R: DeserializeOwned,
    {
        // Past the cache: what this finds stays in the index.
        match self.db.read_with(self.kind, id, &[]).await {
            Ok(found) => Ok(found.map(|(found, _)| (self.document)(id, found))),
            Err(StoreError::Damaged(error)) => {
                tracing::error!(error, kind = self.name, id, "left out of the search index");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl<F, H, R> Source for Partitions<F, H, R>
where
    F: DeserializeOwned + Send + 'static,
    H: Default + DeserializeOwned + Send + 'static,
    R: DeserializeOwned + Send + 'static,
{
    fn kind(&self) -> &'static str {
        self.name
    }

    async fn documents(&self, ids: &[String]) -> Result<Vec<Option<Document>>, StoreError> {
        let mut documents = Vec::with_capacity(ids.len());
        for some in ids.chunks(AT_ONCE) {
            documents.extend(try_join_all(some.iter().map(|id| self.document(id))).await?);
        }
        Ok(documents)
    }

    async fn ids(&self, from: Option<&str>) -> Result<Page<String>, StoreError> {
        Ok(self.db.scan(self.kind, from).await?.map(|(id, _)| id))
    }
}
