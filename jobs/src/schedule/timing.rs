//! When a schedule's occurrences are: by a cron expression in a time zone, or at equal distances.

use std::cmp::Ordering;
use std::time::Duration;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{CivilDate, CivilDateTime, CivilTime, Cron, CronDateTime, JobType, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use mundotango_storage::zone_named;

/// Why a schedule cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTiming {
    /// The expression is none.
    #[error("`{expression}` is no cron expression of five fields: {why}")]
    Expression {
        /// The expression.
        expression: String,
        /// What is wrong with it.
        why: String,
    },
    /// No zone of the IANA database has this name.
    #[error("`{0}` is no time zone of the IANA database")]
    Zone(String),
    /// An interval is a whole number of seconds, from one second to a year.
    #[error("an interval is a whole number of seconds, from one second to a year")]
    Interval,
}

/// The longest interval.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// When occurrences are.
#[derive(Clone, Debug)]
pub enum Timing {
    /// By a cron expression, on the clocks of a zone. A fixed time that the clocks leave out is moved to the first instant
    /// after the gap; one that they show twice is used once, the first time. Expressions with `*` or steps in hours or
    /// minutes go on through the repeated hour.
    Cron {
        /// The expression, as it was written.
        expression: String,
        /// What it means.
        cron: Box<Cron>,
        /// On whose clocks.
        zone: TimeZone,
    },
    /// At equal distances, counted from the Unix epoch. No clock of a zone matters.
    Every(SignedDuration),
}

impl Timing {
    /// By a cron expression of five fields (minute, hour, day of the month, month, day of the week) in a zone of the IANA
    /// database.
    pub fn cron(expression: &str, zone: &str) -> Result<Self, BadTiming> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let bad = |error: CronError| BadTiming::Expression {
            expression: expression.to_owned(),
            why: error.to_string(),
        };
        let cron = parser.parse(expression).map_err(bad)?;
        let zone = zone_named(zone).ok_or_else(|| BadTiming::Zone(zone.to_owned()))?;
        Ok(Self::Cron { expression: expression.to_owned(), cron: Box::new(cron), zone })
    }

    /// At equal distances.
    pub fn every(interval: Duration) -> Result<Self, BadTiming> {
        if interval.subsec_nanos() != 0 || interval < Duration::from_secs(1) || interval > LONGEST {
            return Err(BadTiming::Interval);
        }
        SignedDuration::try_from(interval).map(Self::Every).map_err(|_| BadTiming::Interval)
    }

    /// The first occurrence after a time; `None` where there is none for years.
    pub fn after(&self, time: Timestamp) -> Option<Occurrence> {
        match self {
            Self::Cron { cron, zone, .. } => {
                let start = OnClocks(time.to_zoned_datetime(zone.clone()));
                let OnClocks(next) = cron.find_next_occurrence(&start, false).ok()?;
                Some(Occurrence { at: next.timestamp(), local: next.datetime() })
            }
            Self::Every(interval) => {
                let past = time.as_second().rem_euclid(interval.as_secs());
                let at = Timestamp::from_second(time.as_second() - past).ok()?.checked_add(*interval).ok()?;
                Some(Occurrence { at, local: at.to_zoned_datetime(TimeZone::UTC).datetime() })
            }
        }
    }

    /// The name of the zone whose clocks count.
    pub fn zone(&self) -> &str {
        match self {
            Self::Cron { zone, .. } => zone.iana_name().unwrap_or("UTC"),
            Self::Every(_) => "UTC",
        }
    }

    /// Whether an occurrence stands at a time of day that each day has at most once: if a government moves its clocks
    /// meanwhile, the same local time is the same occurrence.
    pub(super) fn is_once_a_day(&self, local: DateTime) -> bool {
        match self {
            Self::Cron { cron, zone, .. } => {
                let repeats =
                    matches!(zone.to_ambiguous_zoned_datetime(local).offset(), AmbiguousOffset::Fold { .. });
                cron.determine_job_type() == JobType::FixedTime || !repeats
            }
            Self::Every(_) => false,
        }
    }
}

/// One time at which a schedule fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The instant.
    pub at: Timestamp,
    /// What the clocks of the schedule's zone show then.
    pub local: DateTime,
}

/// A time on the clocks of a zone, as the cron library walks over it.
#[derive(Clone)]
struct OnClocks(ZonedDateTime);

fn civil_of(time: DateTime) -> Result<CivilDateTime, CronError> {
    let part = |part: i8| u32::try_from(part).map_err(|_| CronError::InvalidDate);
    let date = CivilDate::from_ymd(time.year().into(), part(time.month())?, part(time.day())?)?;
    let clock = CivilTime::from_hms_opt(part(time.hour())?, part(time.minute())?, part(time.second())?);
    Ok(CivilDateTime::new(date, clock.ok_or(CronError::InvalidTime)?))
}

fn datetime_of(civil: CivilDateTime) -> Result<DateTime, CronError> {
    let part = |part: u32| i8::try_from(part).map_err(|_| CronError::InvalidDate);
    let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
    let (month, day) = (part(civil.month())?, part(civil.day())?);
    let (hour, minute, second) = (part(civil.hour())?, part(civil.minute())?, part(civil.second())?);
    DateTime::new(year, month, day, hour, minute, second, 0).map_err(|_| CronError::InvalidDate)
}

impl CronDateTime for OnClocks {
    fn to_civil(&self) -> CivilDateTime {
        // A date of jiff is always one of croner.
        civil_of(self.0.datetime()).unwrap_or_else(|_| {
            CivilDateTime::new(CivilDate::from_parts_unchecked(1970, 1, 1), CivilTime::MIDNIGHT)
        })
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(self.0.weekday().to_sunday_zero_offset().unsigned_abs().into())
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let ambiguous = self.0.time_zone().to_ambiguous_zoned_datetime(datetime_of(civil)?);
        let own =
            |zoned: Result<ZonedDateTime, jiff::Error>| zoned.map(Self).map_err(|_| CronError::InvalidTime);
        Ok(match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => Resolution::Single(own(ambiguous.unambiguous())?),
            AmbiguousOffset::Fold { .. } => {
                Resolution::Ambiguous(own(ambiguous.clone().earlier())?, own(ambiguous.later())?)
            }
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The occurrences in a span, as instants.
    fn between(timing: &Timing, from: &str, to: &str) -> Vec<String> {
        let (mut at, end): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
        let mut found = Vec::new();
        while let Some(next) = timing.after(at).filter(|next| next.at < end) {
            found.push(next.at.to_string());
            at = next.at;
        }
        found
    }

    #[test]
    fn t23_a_fixed_time_in_a_gap_comes_after_it_and_one_that_is_shown_twice_comes_once() {
        let new_york = Timing::cron("30 2 * * *", "America/New_York").unwrap();
        let spring = between(&new_york, "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z");
        assert_eq!(spring, ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]);
        let twice = Timing::cron("30 1 * * *", "America/New_York").unwrap();
        let autumn = between(&twice, "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z");
        assert_eq!(autumn, ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]);
    }

    #[test]
    fn t24_a_day_without_midnight_is_not_left_out() {
        let midnight = Timing::cron("0 0 * * *", "America/Santiago").unwrap();
        let around = between(&midnight, "2026-09-05T00:00:00Z", "2026-09-08T00:00:00Z");
        assert_eq!(around, ["2026-09-05T04:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"]);
    }

    #[test]
    fn each_half_hour_goes_on_through_the_hour_that_is_shown_twice() {
        let half_hours = Timing::cron("*/30 * * * *", "Australia/Lord_Howe").unwrap();
        let autumn = between(&half_hours, "2026-04-04T14:00:00Z", "2026-04-04T17:00:00Z");
        assert_eq!(autumn.len(), 5, "one each half an hour: {autumn:?}");
    }

    #[test]
    fn an_interval_knows_no_clocks() {
        let timing = Timing::every(Duration::from_mins(15)).unwrap();
        let autumn = between(&timing, "2026-11-01T04:00:00Z", "2026-11-01T08:00:00Z");
        assert_eq!(autumn.len(), 15);
        assert_eq!(autumn.first().map(String::as_str), Some("2026-11-01T04:15:00Z"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_word() {
        for expression in ["", "* * *", "61 * * * *", "0 0 0 * * *", "5/5 * * * *", "0 0 31 2 x"] {
            let refused = Timing::cron(expression, "UTC");
            assert!(matches!(refused, Err(BadTiming::Expression { .. })), "{expression}");
        }
        assert_eq!(Timing::cron("0 0 * * *", "CEST").unwrap_err(), BadTiming::Zone("CEST".to_owned()));
        for interval in [Duration::ZERO, Duration::from_millis(1500), Duration::from_hours(24 * 400)] {
            assert_eq!(Timing::every(interval).unwrap_err(), BadTiming::Interval);
        }
        // There is no 30 February, and looking for one ends.
        assert_eq!(Timing::cron("0 0 30 2 *", "UTC").unwrap().after(Timestamp::UNIX_EPOCH), None);
    }
}
