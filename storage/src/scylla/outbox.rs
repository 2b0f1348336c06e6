//! Where the effects of changes lie on a CQL server, and what leads to them.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::value::damaged;
use crate::StoreError;
use crate::db::engine::{Entry, OutboxRow};
use crate::db::{KindSpec, OUTBOX};
use crate::json::{decode, encode};

/// Below this lie the effects of changes, by their place in the outbox, behind all rows that features have. Only what leads
/// to them is removed: another compare-and-set for each would cost as much as the change itself.
pub(super) const OUTBOX_KEY: &str = "~outbox/";
/// How long effects are kept; as long may all nodes be away.
pub(super) const OUTBOX_TTL: Duration = Duration::from_hours(7 * 24);

/// The partition whose change has effects, as an entry names it.
#[derive(Serialize, Deserialize)]
pub(super) struct Lead<'a> {
    pub(super) kind: Cow<'a, str>,
    pub(super) id: Cow<'a, str>,
}

impl Lead<'_> {
    /// The entry that leads to the effects of a change.
    pub(super) fn entry(kind: &KindSpec, id: &str, row: &OutboxRow) -> Result<Entry, StoreError> {
        let body = encode(&Lead { kind: Cow::Borrowed(kind.name), id: Cow::Borrowed(id) })?;
        let bucket = bucket_of(&row.key)?;
        Ok(Entry { index: &OUTBOX, list: row.shard.to_string(), key: row.key.clone(), bucket, body })
    }

    /// Reads what an entry says.
    pub(super) fn read(body: &Bytes) -> Result<Lead<'static>, StoreError> {
        decode(body)
    }
}

/// The key of the row that holds the effects of a place.
pub(super) fn effects_key(place: &str) -> String {
    format!("{OUTBOX_KEY}{place}")
}

/// The bucket of a place.
pub(super) fn bucket_of(place: &str) -> Result<i64, StoreError> {
    (OUTBOX.bucket)(place).ok_or_else(|| damaged(format!("{place:?} is no place in the outbox")))
}
