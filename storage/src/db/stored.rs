//! A partition as engines hold it, in bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::kind::KindSpec;
use crate::StoreError;
use crate::json::decode;

/// Marks that a partition remembers: the last one of each of the last so many writers (nodes). As many other nodes may change
/// it after a change before a look-up can no longer tell whether that was carried out.
pub(crate) const MARKS: usize = 32;

/// A partition as the engine holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// What was written when it was created.
    pub(crate) facts: Option<Bytes>,
    /// The head as the last change left it; none before the first change.
    pub(crate) head: Option<Bytes>,
    /// Rises by one with each change; 0 before the first.
    pub(crate) version: u64,
    /// The mark of the last change of each writer, newest last; at most [`MARKS`].
    pub(crate) marks: Vec<String>,
    /// Whether it was deleted. Its id is never used again.
    pub(crate) deleted: bool,
    /// The wanted rows that are there.
    pub(crate) rows: BTreeMap<String, Bytes>,
}

impl Stored {
    /// Whether there is such a partition.
    pub(crate) fn exists(&self, kind: &KindSpec) -> bool {
        !self.deleted && (self.facts.is_some() || kind.implicit)
    }

    /// The facts of a partition that exists.
    pub(crate) fn decode_facts<F: DeserializeOwned>(&self) -> Result<F, StoreError> {
        // A kind whose partitions are not created has facts that `null` stands for.
        decode(self.facts.as_deref().unwrap_or(b"null"))
    }

    /// The head of a partition that exists.
    pub(crate) fn decode_head<H: Default + DeserializeOwned>(&self) -> Result<H, StoreError> {
        Ok(self.head.as_deref().map(decode).transpose()?.unwrap_or_default())
    }
}
