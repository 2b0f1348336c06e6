//! Durations as people write them in a configuration: `10s`, `1h 30m`, `7d`, `1y`. For `#[serde(with = …)]`.

use std::fmt;
use std::time::Duration;

use jiff::Span;
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::de::{self, Visitor};
use serde::{Deserializer, Serializer};

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no duration: write numbers with units (ms, s, m, h, d, w, y), such as \"10s\", \"1h 30m\" or \"7d\""
)]
pub struct DurationError(String);

/// Reads a duration. Days have 24 hours, months 30 days and years 365 days.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let read = || {
        let span: Span = text.trim().parse().ok()?;
        let days = i64::from(span.get_years()) * 365
            + i64::from(span.get_months()) * 30
            + i64::from(span.get_weeks()) * 7
            + i64::from(span.get_days());
        let seconds = (days * 24 + i64::from(span.get_hours())) * 3600;
        let seconds =
            seconds.checked_add(span.get_minutes().checked_mul(60)?)?.checked_add(span.get_seconds())?;
        let seconds = u64::try_from(seconds).ok()?;
        let parts = [
            Duration::from_millis(u64::try_from(span.get_milliseconds()).ok()?),
            Duration::from_micros(u64::try_from(span.get_microseconds()).ok()?),
            Duration::from_nanos(u64::try_from(span.get_nanoseconds()).ok()?),
        ];
        parts.into_iter().try_fold(Duration::from_secs(seconds), Duration::checked_add)
    };
    read().ok_or_else(|| DurationError(text.to_owned()))
}

/// Writes a duration so that [`parse`] reads it.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    friendly::serialize(duration, serializer)
}

/// Reads a duration by [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(DurationVisitor)
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"10s\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_of_people_are_read() {
        let hours = Duration::from_hours;
        for (text, duration) in [
            ("0s", Duration::ZERO),
            ("250ms", Duration::from_millis(250)),
            (" 1h 30m ", Duration::from_mins(90)),
            ("7d", hours(7 * 24)),
            ("2w", hours(14 * 24)),
            ("1y", hours(365 * 24)),
            ("87600h", hours(87_600)),
            ("PT10S", Duration::from_secs(10)),
        ] {
            assert_eq!(parse(text), Ok(duration), "{text}");
        }
        for text in ["", "10", "often", "-1s", "1 fortnight"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is no duration")), "{error}");
        }
    }
}
