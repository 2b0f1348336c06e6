//! Hours, days, weeks and months as the clocks of a time zone show them: days of 23 to 25 hours, and zones
//! that are not whole hours from UTC.

use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _, ZonedDateTime};
use serde::Deserialize;

use super::slots::Slot;

/// How long a point of a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
pub(super) enum Step {
    /// A quarter of an hour.
    #[serde(rename = "15m")]
    Quarter,
    /// An hour by the zone's clocks: one that a clock repeats is two.
    #[serde(rename = "hour")]
    Hour,
    /// From midnight to midnight by the zone's clocks.
    #[serde(rename = "day")]
    Day,
    /// An ISO week, from Monday on.
    #[serde(rename = "week")]
    Week,
    /// A month of the calendar.
    #[serde(rename = "month")]
    Month,
}

impl Step {
    /// Whether it may be longer than a day.
    pub(super) fn is_long(self) -> bool {
        matches!(self, Self::Week | Self::Month)
    }
}

/// A period of time, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Period {
    /// Its slots.
    pub(super) slots: Range<Slot>,
    /// Its beginning in the zone: a date for a day and more, and a time with its offset for less.
    pub(super) label: String,
}

/// The periods that a range of slots touches, each as a whole; `None` if they are more than `most`.
pub(super) fn periods(range: &Range<Slot>, step: Step, zone: &TimeZone, most: usize) -> Option<Vec<Period>> {
    let mut periods = Vec::new();
    let mut begin = begin_of(range.start, step, zone);
    while begin.slot < range.end {
        if periods.len() == most {
            return None;
        }
        let next = next(&begin, step, zone);
        // A zone whose history is not of quarters could make an empty one; the calendar ends in the year
        // 9999.
        if next.slot <= begin.slot {
            return None;
        }
        periods.push(Period { slots: begin.slot..next.slot, label: label(&begin, step, zone) });
        begin = next;
    }
    Some(periods)
}

/// Where a period begins.
struct Begin {
    slot: Slot,
    /// Of a day and more.
    date: Date,
}

fn local(slot: Slot, zone: &TimeZone) -> ZonedDateTime {
    slot.begin().to_zoned_datetime(zone.clone())
}

fn at_date(date: Date, zone: &TimeZone) -> Begin {
    // The first moment of a day is not midnight where a clock skips it.
    let slot = date
        .to_zoned_datetime(zone.clone())
        .and_then(|day| day.start_of_day())
        .map(|day| Slot::of(day.timestamp()));
    Begin { slot: slot.unwrap_or(Slot(u32::MAX)), date }
}

fn begin_of(slot: Slot, step: Step, zone: &TimeZone) -> Begin {
    let date = local(slot, zone).date();
    match step {
        Step::Quarter => Begin { slot, date },
        Step::Hour => {
            let mut begin = slot;
            while begin.0 > 0 && !begins_hour(begin, zone) {
                begin = Slot(begin.0 - 1);
            }
            Begin { slot: begin, date }
        }
        Step::Day => at_date(date, zone),
        Step::Week => {
            let since_monday = date.weekday().to_monday_zero_offset();
            at_date(date.saturating_sub(i64::from(since_monday).days()), zone)
        }
        Step::Month => at_date(date.first_of_month(), zone),
    }
}

fn next(begin: &Begin, step: Step, zone: &TimeZone) -> Begin {
    let later = |span: Span| at_date(begin.date.saturating_add(span), zone);
    match step {
        Step::Quarter => Begin { slot: Slot(begin.slot.0.saturating_add(1)), date: begin.date },
        Step::Hour => {
            let mut slot = Slot(begin.slot.0.saturating_add(1));
            while slot.0 < u32::MAX && !begins_hour(slot, zone) {
                slot = Slot(slot.0 + 1);
            }
            Begin { slot, date: begin.date }
        }
        Step::Day => later(1.day()),
        Step::Week => later(1.week()),
        Step::Month => later(1.month()),
    }
}

/// Whether the zone's clocks show a full hour, or another hour than a slot before: they may be put forward
/// into one.
fn begins_hour(slot: Slot, zone: &TimeZone) -> bool {
    let now = local(slot, zone);
    if now.minute() == 0 {
        return true;
    }
    let before = local(Slot(slot.0.saturating_sub(1)), zone);
    (now.date(), now.hour()) != (before.date(), before.hour())
}

fn label(begin: &Begin, step: Step, zone: &TimeZone) -> String {
    match step {
        Step::Quarter | Step::Hour => local(begin.slot, zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        Step::Day | Step::Week | Step::Month => begin.date.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(from: &str, to: &str, step: Step, zone: &str) -> Vec<Period> {
        let zone = TimeZone::get(zone).unwrap();
        let slot = |text: &str| {
            let time: jiff::civil::DateTime = text.parse().unwrap();
            Slot::of(time.to_zoned_datetime(zone.clone()).unwrap().timestamp())
        };
        periods(&(slot(from)..slot(to)), step, &zone, 1_000).unwrap()
    }

    /// How long each is, in quarters of an hour.
    fn lengths(periods: &[Period]) -> Vec<u32> {
        periods.iter().map(|period| period.slots.end.0 - period.slots.start.0).collect()
    }

    #[test]
    fn t52_a_day_has_the_hours_that_the_clocks_give_it() {
        for (from, to, zone, quarters) in [
            ("2026-03-07", "2026-03-10", "America/New_York", [96, 92, 96]),
            ("2026-10-31", "2026-11-03", "America/New_York", [96, 100, 96]),
            // Half an hour of summer time.
            ("2026-10-03", "2026-10-06", "Australia/Lord_Howe", [96, 94, 96]),
            ("2026-04-04", "2026-04-07", "Australia/Lord_Howe", [96, 98, 96]),
            ("2026-06-01", "2026-06-04", "Asia/Tehran", [96, 96, 96]),
            ("2026-06-01", "2026-06-04", "Asia/Kathmandu", [96, 96, 96]),
            // The clocks skip midnight.
            ("2026-04-23", "2026-04-26", "Africa/Cairo", [96, 92, 96]),
        ] {
            assert_eq!(lengths(&of(from, to, Step::Day, zone)), quarters, "{zone} {from}");
        }
    }

    #[test]
    fn t52_days_of_zones_between_the_hours_begin_at_their_own_midnight() {
        for (zone, begins) in [
            ("Asia/Tehran", "2026-05-31T20:30:00Z"),
            ("Asia/Kathmandu", "2026-05-31T18:15:00Z"),
            ("Australia/Lord_Howe", "2026-05-31T13:30:00Z"),
        ] {
            let days = of("2026-06-01T05:00", "2026-06-01T06:00", Step::Day, zone);
            assert_eq!((days.len(), days[0].slots.start.begin().to_string().as_str()), (1, begins), "{zone}");
            let hours = of("2026-06-01", "2026-06-02", Step::Hour, zone);
            assert_eq!(lengths(&hours), [4; 24], "{zone}");
            assert!(hours[0].label.starts_with("2026-06-01T00:00:00+"), "{}", hours[0].label);
        }
    }

    #[test]
    fn t52_no_hour_is_lost_or_mixed_with_another_when_clocks_are_put() {
        let labels =
            |periods: &[Period]| -> Vec<String> { periods.iter().map(|one| one.label.clone()).collect() };
        let spring = of("2026-03-08", "2026-03-09", Step::Hour, "America/New_York");
        assert_eq!((spring.len(), lengths(&spring)), (23, vec![4; 23]));
        assert_eq!(labels(&spring)[1..3], ["2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00"]);
        let autumn = of("2026-11-01", "2026-11-02", Step::Hour, "America/New_York");
        assert_eq!((autumn.len(), lengths(&autumn)), (25, vec![4; 25]));
        assert_eq!(labels(&autumn)[1..3], ["2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00"]);
        let half = of("2026-10-04", "2026-10-05", Step::Hour, "Australia/Lord_Howe");
        assert_eq!(lengths(&half)[1..4], [4, 2, 4]);
        assert_eq!(labels(&half)[2], "2026-10-04T02:30:00+11:00");
        let back = of("2026-04-05", "2026-04-06", Step::Hour, "Australia/Lord_Howe");
        assert_eq!((back.len(), lengths(&back)[1]), (24, 6), "the clocks show half of the hour twice");
    }

    #[test]
    fn weeks_begin_on_mondays_and_months_have_their_days() {
        let weeks = of("2026-12-30", "2027-01-05", Step::Week, "Europe/Berlin");
        let labels: Vec<_> = weeks.iter().map(|week| week.label.as_str()).collect();
        assert_eq!(labels, ["2026-12-28", "2027-01-04"]);
        let months = of("2026-01-31", "2026-04-01", Step::Month, "Asia/Kathmandu");
        assert_eq!(lengths(&months), [31 * 96, 28 * 96, 31 * 96]);
        let months = of("2026-03-01", "2026-03-02", Step::Month, "America/New_York");
        assert_eq!(lengths(&months), [31 * 96 - 4]);
    }

    #[test]
    fn periods_follow_each_other_and_are_no_more_than_may_be() {
        let zone = TimeZone::get("America/Argentina/Buenos_Aires").unwrap();
        let range = Slot(2_000_001)..Slot(2_000_900);
        for step in [Step::Quarter, Step::Hour, Step::Day, Step::Week, Step::Month] {
            let all = periods(&range, step, &zone, 1_000).unwrap();
            assert!(all[0].slots.start <= range.start && all.last().unwrap().slots.end >= range.end);
            assert!(all.windows(2).all(|two| two[0].slots.end == two[1].slots.start), "{step:?}");
            assert!(periods(&range, step, &zone, all.len()).is_some());
            assert!(periods(&range, step, &zone, all.len() - 1).is_none());
        }
        let end = Slot(u32::MAX - 5)..Slot(u32::MAX);
        for step in [Step::Quarter, Step::Hour, Step::Day, Step::Month] {
            let _ = periods(&end, step, &zone, 10);
        }
    }
}
