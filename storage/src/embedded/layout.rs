//! How a partition lies in its kind's table: id, `f` → facts · id, `h` → version, marks and head · id, `r`, key → row.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::keys::below;
use crate::StoreError;
use crate::db::engine::Stored;
use crate::db::key;

/// A head with what belongs to it.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct HeadRow {
    pub(super) version: u64,
    pub(super) marks: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) deleted: bool,
    pub(super) head: Option<Box<RawValue>>,
}

impl HeadRow {
    /// The partition with this head and these facts, and no rows yet.
    pub(super) fn stored(self, facts: Option<Bytes>) -> Stored {
        Stored {
            facts,
            head: self.head.map(|head| Bytes::copy_from_slice(head.get().as_bytes())),
            version: self.version,
            marks: self.marks,
            deleted: self.deleted,
            rows: BTreeMap::new(),
        }
    }
}

/// The keys of one partition.
#[derive(Clone)]
pub(super) struct Keys(pub(super) Vec<u8>);

impl Keys {
    pub(super) fn of(id: &str) -> Self {
        // An id may hold any text; what separates the parts of keys here is escaped in it.
        Self(below(&[&key(&[id])]))
    }

    pub(super) fn facts(&self) -> Vec<u8> {
        [self.0.as_slice(), b"f"].concat()
    }

    pub(super) fn head(&self) -> Vec<u8> {
        [self.0.as_slice(), b"h"].concat()
    }

    pub(super) fn row(&self, key: &str) -> Vec<u8> {
        [self.0.as_slice(), b"r", key.as_bytes()].concat()
    }

    /// The key that a row's key ends with.
    pub(super) fn key_of(&self, row: &[u8]) -> Result<String, StoreError> {
        let key = row.get(self.0.len() + 1..).unwrap_or_default();
        String::from_utf8(key.to_vec()).map_err(|error| StoreError::Damaged(error.to_string()))
    }
}
