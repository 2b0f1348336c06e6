//! An engine as a whole: reading all that it holds, in pages, and writing it again into another.
//!
//! Pages are bounded by what is in them, not by how large a partition is: of a large one a scan gives the first rows, and
//! the rest is read page by page.

use async_trait::async_trait;
use bytes::Bytes;

use super::kind::{IndexSpec, KindSpec};
use super::stored::Stored;
use crate::{Page, StoreError};

/// A partition as a scan reads it, at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WholePartition {
    pub(crate) id: String,
    /// All but those rows that [`Whole::more_rows`] has to read.
    pub(crate) stored: Stored,
    /// Whether there may be rows behind the last one.
    pub(crate) goes_on: bool,
}

/// An entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WholeEntry {
    pub(crate) list: String,
    pub(crate) key: String,
    pub(crate) body: Bytes,
}

/// A publication of a long history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WholePublication {
    pub(crate) channel: String,
    pub(crate) offset: u64,
    pub(crate) epoch: String,
    /// When it goes, in Unix milliseconds.
    pub(crate) end: i64,
    /// As the engine keeps it: fields that this version does not know are in it too.
    pub(crate) publication: Bytes,
}

/// All that an engine holds. A position is a text of the engine's own, which stays good when the program is started anew.
/// A page may be empty though there is a next one.
#[async_trait]
pub(crate) trait Whole: Send + Sync {
    /// A page of the partitions of a kind behind a position, deleted ones too.
    async fn partitions(
        &self,
        kind: &'static KindSpec,
        from: Option<&str>,
    ) -> Result<Page<WholePartition>, StoreError>;

    /// One partition; as if it had never been written if it is not there.
    async fn partition(&self, kind: &'static KindSpec, id: &str) -> Result<WholePartition, StoreError>;

    /// A page of a partition's rows behind a key; empty at the end. `None` if the partition no longer has this version.
    async fn more_rows(
        &self,
        kind: &'static KindSpec,
        id: &str,
        version: u64,
        after: &str,
    ) -> Result<Option<Vec<(String, Bytes)>>, StoreError>;

    /// A page of the entries of an index behind a position.
    async fn entries(
        &self,
        index: &'static IndexSpec,
        from: Option<&str>,
    ) -> Result<Page<WholeEntry>, StoreError>;

    /// A page of the publications of all long histories behind a position, without those past their end.
    async fn publications(&self, from: Option<&str>) -> Result<Page<WholePublication>, StoreError>;

    /// How many partitions are best written at the same time.
    fn writes_at_once(&self) -> usize;

    /// Writes rows of a partition, and if these complete it (`is_whole`) all else, in the way in which each was written
    /// first. Doing it again changes nothing; a partition that has another version already is an error.
    async fn restore(
        &self,
        kind: &'static KindSpec,
        id: &str,
        stored: &Stored,
        is_whole: bool,
    ) -> Result<(), StoreError>;

    /// Writes publications. Doing it again changes nothing.
    async fn restore_publications(&self, publications: &[WholePublication]) -> Result<(), StoreError>;
}

/// The error of a partition that is not what is to be restored.
pub(crate) fn another_version(kind: &KindSpec, id: &str, found: u64, wanted: u64) -> StoreError {
    StoreError::Unavailable(format!(
        "{} {id:?} has version {found} and not {wanted}: something else writes to this store",
        kind.name
    ))
}
