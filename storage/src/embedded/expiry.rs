//! What lives for a time in the embedded store.
//!
//! A row of a table with a time to live: end in milliseconds, and the row · expiries: end, table, key of the row
//!
//! A row past its end is read as absent at once, and removed later ([`super::sweeper`]). A row that is written again has
//! another end, and leaves an expiry behind that finds nothing.

use jiff::Timestamp;

use super::keys::timed;
use super::tables::Table;
use crate::StoreError;

/// Bytes of an end.
const END: usize = 8;

/// The time as ends have it.
pub(super) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// When a row ends that is written now, if it does.
pub(super) fn end_of_new(table: Table) -> Option<i64> {
    let ttl = i64::try_from(table.ttl()?.as_millis()).unwrap_or(i64::MAX);
    Some(now().saturating_add(ttl))
}

/// A row with its end.
pub(super) fn with_end(end: i64, row: &[u8]) -> Vec<u8> {
    [end.to_be_bytes().as_slice(), row].concat()
}

/// A row as it was written, unless it is past its end.
pub(super) fn living(table: Table, row: &[u8]) -> Result<Option<&[u8]>, StoreError> {
    if table.ttl().is_none() {
        return Ok(Some(row));
    }
    let (end, row) = split_end(row)?;
    Ok((end > now()).then_some(row))
}

/// The end of a row, and the row as it was written.
pub(super) fn split_end(row: &[u8]) -> Result<(i64, &[u8]), StoreError> {
    let (end, rest) = row.split_first_chunk::<END>().ok_or_else(|| damaged("a row that expires"))?;
    Ok((i64::from_be_bytes(*end), rest))
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} has no end"))
}

/// The key of an expiry.
pub(super) fn expiry(end: i64, table: Table, key: &[u8]) -> Vec<u8> {
    [timed(end, table.name()).as_slice(), b"\0", key].concat()
}

/// The table and the key of the row that an expiry is of.
pub(super) fn row_of(expiry: &[u8]) -> Result<(&str, &[u8]), StoreError> {
    let named = expiry.get(END..).unwrap_or_default();
    let at = named.iter().position(|byte| *byte == 0).ok_or_else(|| damaged("an expiry"))?;
    let (name, key) = named.split_at(at);
    let name = std::str::from_utf8(name).map_err(|error| StoreError::Damaged(error.to_string()))?;
    Ok((name, key.get(1..).unwrap_or_default()))
}
