//! The time as stores keep it.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// The program's own database of time zones, so that every node knows the same names, whatever the machine has installed.
pub static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The time zone of this name; `None` where the database has none, and for rules that are written out.
pub fn zone_named(name: &str) -> Option<TimeZone> {
    ZONES.get(name).ok().filter(|zone| zone.iana_name().is_some() && !zone.is_unknown())
}

/// The time now, to the millisecond: every engine keeps times to the millisecond, so one that is stored should have no
/// more than that, or it would come back different.
pub fn now() -> Timestamp {
    to_the_millisecond(Timestamp::now())
}

/// A time to the millisecond, as it is kept.
pub fn to_the_millisecond(time: Timestamp) -> Timestamp {
    // A time's own milliseconds are always in range.
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_below_the_millisecond() {
        assert_eq!(now().subsec_nanosecond() % 1_000_000, 0);
        let time: Timestamp = "2026-11-24T02:10:18.123456789Z".parse().unwrap();
        assert_eq!(to_the_millisecond(time).to_string(), "2026-11-24T02:10:18.123Z");
    }
}
