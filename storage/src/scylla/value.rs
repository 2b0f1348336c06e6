//! Values between rows and the port's types.

use std::time::Duration;

use jiff::Timestamp;
use scylla::value::CqlTimestamp;

use crate::StoreError;

/// How long rows stay that nobody needs any more, so that clocks that differ lose none: their readers look at the time.
const TTL_SLACK_SECS: i64 = 60;
/// Longest TTL that servers take: 20 years.
const MAX_TTL_SECS: i64 = 20 * 365 * 24 * 60 * 60;

/// The bytes are not what this version writes.
pub(super) fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(what.to_string())
}

pub(super) fn to_cql(time: Timestamp) -> CqlTimestamp {
    CqlTimestamp(time.as_millisecond())
}

pub(super) fn from_cql(time: CqlTimestamp) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(time.0).map_err(damaged)
}

/// A count that was written as one.
pub(super) fn count<T: TryFrom<i64>>(number: i64) -> Result<T, StoreError> {
    T::try_from(number).map_err(|_| damaged(format!("{number} is no count")))
}

/// A limit that fits the wire.
pub(super) fn limit(items: usize) -> i32 {
    i32::try_from(items).unwrap_or(i32::MAX)
}

/// How long a row has to live to be there for a while, as [`ttl_until`].
pub(super) fn ttl_of(duration: Duration) -> i32 {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    i32::try_from(seconds.clamp(1, MAX_TTL_SECS)).unwrap_or(i32::MAX)
}

/// How long a row has to live to be there until a time; at least a second, as nought would mean for ever.
pub(super) fn ttl_until(time: Timestamp) -> i32 {
    let seconds = time.as_second().saturating_sub(Timestamp::now().as_second());
    i32::try_from(seconds.saturating_add(TTL_SLACK_SECS).clamp(1, MAX_TTL_SECS)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_ttl_is_never_nought_nor_too_long() {
        let now = Timestamp::now();
        assert_eq!(ttl_until(now - SignedDuration::from_hours(1)), 1);
        let hour = ttl_until(now + SignedDuration::from_hours(1));
        assert!((3600..=3660).contains(&hour), "{hour}");
        assert_eq!(i64::from(ttl_until(Timestamp::MAX)), MAX_TTL_SECS);
    }
}
