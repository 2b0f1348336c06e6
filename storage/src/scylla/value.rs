//! Values between rows and the port's types.

use std::time::Duration;

use jiff::Timestamp;
use scylla::value::CqlTimestamp;

use crate::StoreError;

/// Longest TTL that servers take: 20 years.
const MAX_TTL_SECS: i64 = 20 * 365 * 24 * 60 * 60;

/// The bytes are not what this version writes.
pub(super) fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(what.to_string())
}

pub(super) fn to_cql(time: Timestamp) -> CqlTimestamp {
    CqlTimestamp(time.as_millisecond())
}

/// A count that was written as one.
pub(super) fn count<T: TryFrom<i64>>(number: i64) -> Result<T, StoreError> {
    T::try_from(number).map_err(|_| damaged(format!("{number} is no count")))
}

/// A limit that fits the wire.
pub(super) fn limit(items: usize) -> i32 {
    i32::try_from(items).unwrap_or(i32::MAX)
}

/// The TTL of a row that is to be there for a while; at least a second, as nought would mean for ever.
pub(super) fn ttl_of(duration: Duration) -> i32 {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    i32::try_from(seconds.clamp(1, MAX_TTL_SECS)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_never_nought_nor_too_long() {
        assert_eq!(ttl_of(Duration::ZERO), 1);
        assert_eq!(ttl_of(Duration::from_hours(1)), 3600);
        assert_eq!(i64::from(ttl_of(Duration::MAX)), MAX_TTL_SECS);
    }
}
