//! The ends of tokens: Unix seconds, as tokens write them, on the clocks of sessions and of clients.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Seconds until a Unix time, at least 1 so that "expires now" is not read as "never".
fn seconds_until(unix_seconds: u64) -> u32 {
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    u32::try_from(unix_seconds.saturating_sub(now).max(1)).unwrap_or(u32::MAX)
}

/// The time of this process for a Unix time, and some grace.
pub(super) fn instant_of(unix_seconds: u64, grace: Duration) -> Instant {
    // Far times are cut, as instants can't hold all of them.
    const FAR: u32 = 10 * 365 * 24 * 3600;
    Instant::now() + Duration::from_secs(seconds_until(unix_seconds).min(FAR).into()) + grace
}

/// True if there is an end, and in how many seconds it comes.
pub(super) fn ttl_of(expires_at: Option<u64>) -> (bool, u32) {
    (expires_at.is_some(), expires_at.map(seconds_until).unwrap_or_default())
}
