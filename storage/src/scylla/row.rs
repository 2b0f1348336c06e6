//! The rows of a partition's table, and the values in them.

use bytes::Bytes;
use scylla::DeserializeRow;

use super::value::{count, damaged};
use crate::StoreError;
use crate::db::engine::Stored;

/// The key of the row that holds facts, head and version.
pub(super) const HEAD_KEY: &str = "";

#[derive(DeserializeRow)]
pub(super) struct PartitionRow {
    k: String,
    body: Option<String>,
    facts: Option<String>,
    head: Option<String>,
    version: Option<i64>,
    marks: Option<Vec<String>>,
    deleted: Option<bool>,
}

impl PartitionRow {
    /// Puts the row where it belongs in its partition.
    pub(super) fn put_into(self, stored: &mut Stored) -> Result<(), StoreError> {
        if self.k == HEAD_KEY {
            stored.facts = self.facts.map(Bytes::from);
            stored.head = self.head.map(Bytes::from);
            stored.version = count(self.version.unwrap_or_default())?;
            stored.marks = self.marks.unwrap_or_default();
            stored.deleted = self.deleted.unwrap_or_default();
        } else if let Some(body) = self.body {
            stored.rows.insert(self.k, Bytes::from(body));
        }
        Ok(())
    }
}

pub(super) fn text(bytes: &Bytes) -> Result<&str, StoreError> {
    std::str::from_utf8(bytes).map_err(damaged)
}

/// A version as it is compared: a partition that was never changed has none.
pub(super) fn version(number: u64) -> Result<Option<i64>, StoreError> {
    let number = i64::try_from(number).map_err(damaged)?;
    Ok((number > 0).then_some(number))
}
