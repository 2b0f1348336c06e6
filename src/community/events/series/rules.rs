//! Which dates a rule gives, and when each of them is on the clocks of its venue.
//!
//! Each date is worked out from its own civil time, and never from the date before it, so that no change of the clocks moves
//! the dates behind it. A month without the day that a rule names is skipped (RFC 5545, 3.3.10).

use std::collections::BTreeSet;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::community::events::schedule::Schedule;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Weekday)]
#[expect(missing_docs, reason = "they are the days' own names")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Day {
    /// All of them, from Monday on.
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// The day of the week of a date.
    pub fn of(date: Date) -> Self {
        match date.weekday() {
            Weekday::Monday => Self::Monday,
            Weekday::Tuesday => Self::Tuesday,
            Weekday::Wednesday => Self::Wednesday,
            Weekday::Thursday => Self::Thursday,
            Weekday::Friday => Self::Friday,
            Weekday::Saturday => Self::Saturday,
            Weekday::Sunday => Self::Sunday,
        }
    }

    fn weekday(self) -> Weekday {
        match self {
            Self::Monday => Weekday::Monday,
            Self::Tuesday => Weekday::Tuesday,
            Self::Wednesday => Weekday::Wednesday,
            Self::Thursday => Weekday::Thursday,
            Self::Friday => Weekday::Friday,
            Self::Saturday => Weekday::Saturday,
            Self::Sunday => Weekday::Sunday,
        }
    }
}

/// Which days of a day, a week or a month there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeats {
    /// Each day.
    Daily,
    /// These days of the week.
    Weekly(BTreeSet<Day>),
    /// The day of the month with this number.
    MonthlyDay(i8),
    /// The so manieth of a day of the week in the month, counted from its end where the number is negative.
    MonthlyWeekday(i8, Day),
}

/// When a rule ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// Never.
    #[default]
    Never,
    /// With this date, on the clocks of the venue.
    Until(Date),
    /// After so many dates, those that are left out among them.
    After(u32),
}

/// By what rule dates follow each other. It gives no day two dates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Which days there are.
    pub repeats: Repeats,
    /// Of how many days, weeks or months one has them. Weeks begin on Monday.
    pub interval: u32,
    /// When the rule ends.
    #[serde(default)]
    pub ends: Ends,
    /// Dates that are left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub excluded: BTreeSet<Date>,
}

/// So many days.
fn days(number: impl Into<i64>) -> Option<Span> {
    Span::new().try_days(number).ok()
}

/// The date so many days later, or the last one that there is.
pub fn later(date: Date, number: u32) -> Date {
    days(number).map_or(Date::MAX, |days| date.saturating_add(days))
}

/// The date so many days earlier, or the first one that there is.
pub fn earlier(date: Date, number: u32) -> Date {
    days(number).map_or(Date::MIN, |days| date.saturating_sub(days))
}

/// The date so many months later, or the last one that there is.
pub fn months_later(date: Date, number: u32) -> Date {
    Span::new().try_months(number).map_or(Date::MAX, |months| date.saturating_add(months))
}

impl Rule {
    /// The dates that the rule gives from its first one on and up to another, in order.
    pub fn dates(&self, first: Date, last: Date) -> impl Iterator<Item = Date> {
        let (last, most) = match self.ends {
            Ends::Never => (last, u32::MAX),
            Ends::Until(until) => (last.min(until), u32::MAX),
            Ends::After(count) => (last, count),
        };
        (0_i64..)
            .map_while(move |period| self.period(first, period))
            .take_while(move |begins| *begins <= last)
            .flat_map(move |begins| self.dates_of(begins))
            .skip_while(move |date| *date < first)
            .take_while(move |date| *date <= last)
            .zip(0..most)
            .map(|(date, _)| date)
            .filter(move |date| !self.excluded.contains(date))
    }

    /// Whether a date is one that the rule gives, were it the first.
    pub fn fits(&self, date: Date) -> bool {
        self.dates(date, date).next().is_some()
    }

    /// The first date from one on that fits the rule.
    pub fn first_from(&self, date: Date) -> Option<Date> {
        // Between the fifth of a day of the week in a month, or two 29s of February, there are some years at the most.
        let each = Self { interval: 1, ..self.clone() };
        each.dates(date, later(date, 9 * 366)).next()
    }

    /// When a date's day, week or month begins: dates of the same one take each other's place where a rule is changed.
    pub fn period_of(&self, date: Date) -> Date {
        match self.repeats {
            Repeats::Daily => date,
            Repeats::Weekly(_) => earlier(date, date.weekday().to_monday_zero_offset().unsigned_abs().into()),
            Repeats::MonthlyDay(_) | Repeats::MonthlyWeekday(..) => date.first_of_month(),
        }
    }

    /// When the so manieth day, week or month begins that has dates; the first one of all holds the first date.
    fn period(&self, first: Date, number: i64) -> Option<Date> {
        let steps = number.checked_mul(self.interval.into())?;
        let step = match self.repeats {
            Repeats::Daily => Span::new().try_days(steps),
            Repeats::Weekly(_) => Span::new().try_weeks(steps),
            Repeats::MonthlyDay(_) | Repeats::MonthlyWeekday(..) => Span::new().try_months(steps),
        };
        self.period_of(first).checked_add(step.ok()?).ok()
    }

    /// The dates of a day, week or month.
    fn dates_of(&self, begins: Date) -> Vec<Date> {
        match &self.repeats {
            Repeats::Daily => vec![begins],
            Repeats::Weekly(on) => {
                let week = (0_u8..).zip(Day::ALL).filter(|(_, day)| on.contains(day));
                week.filter_map(|(number, _)| begins.checked_add(days(number)?).ok()).collect()
            }
            Repeats::MonthlyDay(day) => Date::new(begins.year(), begins.month(), *day).into_iter().collect(),
            Repeats::MonthlyWeekday(nth, day) => {
                begins.nth_weekday_of_month(*nth, day.weekday()).into_iter().collect()
            }
        }
    }
}

/// From when to when a date of a series is, as its venue's clocks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// When it starts.
    pub start: Time,
    /// When it ends, if that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// When a date of a series ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How many days after its start.
    pub days: u32,
    /// At what time.
    pub time: Time,
}

impl Times {
    /// When a date is. A time that the clocks leave out is read by the offset before the gap, so it lies as long after the gap
    /// as it stood in it; of one that they show twice it is the first (RFC 5545, 3.3.5). `None` past the end of all times.
    pub fn on(&self, date: Date, zone: &TimeZone) -> Option<Schedule> {
        let starts = date.to_datetime(self.start);
        let start = zone.to_ambiguous_zoned_datetime(starts).compatible().ok()?;
        let Some(End { days: number, time }) = self.end else { return Some(Schedule::times(start, None)) };
        let ends = date.checked_add(days(number)?).ok()?.to_datetime(time);
        let end = zone.to_ambiguous_zoned_datetime(ends).compatible().ok()?;
        if end > start {
            return Some(Schedule::times(start, Some(end)));
        }
        // The start was put off past the end, as it lay in a gap: then it lasts as long as it says.
        let end = start.checked_add(ends.duration_since(starts)).ok()?;
        Some(Schedule::times(start, Some(end)))
    }

    /// Whether dates end after they start.
    pub fn is_in_order(&self) -> bool {
        self.end.is_none_or(|end| end.days > 0 || end.time > self.start)
    }

    /// How many days after a start, where nobody says so: an end that is no later in the day is on the next one.
    pub fn days_to(start: Time, end: Time) -> u32 {
        u32::from(end <= start)
    }
}

/// The dates that take place, from the rule's first one on and up to another. Where a zone leaves out a whole day (Samoa, 30
/// December 2011), what is on that day comes at the same instant as what is on the next one: then that one alone is there.
pub fn occurrences(rule: &Rule, times: &Times, zone: &TimeZone, first: Date, last: Date) -> Vec<Date> {
    let starts = |date| times.on(date, zone).map(|when: Schedule| when.starts_at());
    let mut taking_place = Vec::new();
    let mut before: Option<(Date, Timestamp)> = None;
    for (date, start) in rule.dates(first, later(last, 1)).map_while(|date| Some((date, starts(date)?))) {
        taking_place.extend(before.filter(|(_, before)| *before < start).map(|(date, _)| date));
        before = Some((date, start));
    }
    taking_place.extend(before.map(|(date, _)| date));
    taking_place.retain(|date| *date <= last);
    taking_place
}

#[cfg(test)]
mod tests {
    use jiff::civil::{date, time};
    use mundotango_storage::zone_named;
    use proptest::prelude::*;

    use super::*;

    const BERLIN: &str = "Europe/Berlin";

    fn rule(repeats: Repeats, interval: u32, ends: Ends) -> Rule {
        Rule { repeats, interval, ends, excluded: BTreeSet::new() }
    }

    fn texts(dates: impl IntoIterator<Item = Date>) -> Vec<String> {
        dates.into_iter().map(|date| date.to_string()).collect()
    }

    fn starts(name: &str, start: Time, dates: &[Date]) -> Vec<String> {
        let (times, zone) = (Times { start, end: None }, zone_named(name).unwrap());
        dates.iter().map(|date| times.on(*date, &zone).unwrap().start.to_string()).collect()
    }

    #[test]
    fn t13_a_weekly_date_stays_on_the_same_clock_over_a_change_of_clocks() {
        let on = Repeats::Weekly([Day::Saturday].into());
        let dates: Vec<_> = rule(on, 1, Ends::Never).dates(date(2026, 10, 24), date(2026, 10, 31)).collect();
        let shown = ["2026-10-24T21:00:00+02:00[Europe/Berlin]", "2026-10-31T21:00:00+01:00[Europe/Berlin]"];
        assert_eq!(starts(BERLIN, time(21, 0, 0, 0), &dates), shown);
    }

    #[test]
    fn t14_a_gap_puts_off_one_date_alone_and_a_fold_takes_the_first() {
        let dates = [date(2026, 3, 28), date(2026, 3, 29), date(2026, 3, 30)];
        let shown = [
            "2026-03-28T02:30:00+01:00[Europe/Berlin]",
            "2026-03-29T03:30:00+02:00[Europe/Berlin]",
            "2026-03-30T02:30:00+02:00[Europe/Berlin]",
        ];
        assert_eq!(starts(BERLIN, time(2, 30, 0, 0), &dates), shown);
        let fold = starts(BERLIN, time(2, 30, 0, 0), &[date(2026, 10, 25)]);
        assert_eq!(fold, ["2026-10-25T02:30:00+02:00[Europe/Berlin]"]);
        // Midnight itself is left out in Santiago.
        let midnight = starts("America/Santiago", time(0, 15, 0, 0), &[date(2026, 9, 6)]);
        assert_eq!(midnight, ["2026-09-06T01:15:00-03:00[America/Santiago]"]);
    }

    #[test]
    fn t14_a_milonga_keeps_the_end_that_its_clock_shows() {
        let zone = zone_named(BERLIN).unwrap();
        let end = Some(End { days: 1, time: time(4, 0, 0, 0) });
        let times = Times { start: time(22, 0, 0, 0), end };
        for (day, hours) in [(date(2026, 3, 27), 6), (date(2026, 3, 28), 5), (date(2026, 10, 24), 7)] {
            let when = times.on(day, &zone).unwrap();
            let end = when.end.unwrap();
            assert_eq!(end.time(), time(4, 0, 0, 0), "{day}");
            assert_eq!(end.duration_since(&when.start).as_hours(), hours, "{day}");
        }
        // In the gap, and over before it begins by the clocks.
        let end = Some(End { days: 0, time: time(3, 15, 0, 0) });
        let when = Times { start: time(2, 30, 0, 0), end }.on(date(2026, 3, 29), &zone).unwrap();
        assert_eq!(when.end.unwrap().duration_since(&when.start).as_mins(), 45);
    }

    #[test]
    fn t15_the_last_friday_is_one_of_the_local_month() {
        let last_friday = rule(Repeats::MonthlyWeekday(-1, Day::Friday), 1, Ends::Never);
        let dates: Vec<_> = last_friday.dates(date(2026, 1, 30), date(2026, 5, 31)).collect();
        assert_eq!(
            texts(dates.clone()),
            ["2026-01-30", "2026-02-27", "2026-03-27", "2026-04-24", "2026-05-29"]
        );
        // By UTC the one of January is on the 31st, a Saturday.
        let shown = starts("America/Argentina/Buenos_Aires", time(23, 30, 0, 0), &dates[..1]);
        assert_eq!(shown, ["2026-01-30T23:30:00-03:00[America/Argentina/Buenos_Aires]"]);
    }

    #[test]
    fn months_without_the_day_are_skipped() {
        let on_the_31st = rule(Repeats::MonthlyDay(31), 1, Ends::After(4));
        let dates = on_the_31st.dates(date(2026, 1, 31), date(2027, 12, 31));
        assert_eq!(texts(dates), ["2026-01-31", "2026-03-31", "2026-05-31", "2026-07-31"]);
        let fifth = rule(Repeats::MonthlyWeekday(5, Day::Friday), 1, Ends::Never);
        assert_eq!(
            texts(fifth.dates(date(2026, 1, 30), date(2026, 7, 31))),
            ["2026-01-30", "2026-05-29", "2026-07-31"]
        );
        let leap = rule(Repeats::MonthlyDay(29), 12, Ends::Never);
        assert_eq!(texts(leap.dates(date(2028, 2, 29), date(2034, 1, 1))), ["2028-02-29", "2032-02-29"]);
    }

    #[test]
    fn intervals_count_weeks_from_monday_and_what_is_left_out_counts() {
        let mut fortnightly = rule(Repeats::Weekly([Day::Tuesday, Day::Sunday].into()), 2, Ends::After(4));
        // A Sunday: the Tuesday of its week is gone.
        let dates = fortnightly.dates(date(2026, 11, 29), date(2027, 6, 1));
        assert_eq!(texts(dates), ["2026-11-29", "2026-12-08", "2026-12-13", "2026-12-22"]);
        fortnightly.excluded.insert(date(2026, 12, 8));
        let dates = fortnightly.dates(date(2026, 11, 29), date(2027, 6, 1));
        assert_eq!(texts(dates), ["2026-11-29", "2026-12-13", "2026-12-22"]);
        fortnightly.ends = Ends::Until(date(2026, 12, 13));
        let dates = fortnightly.dates(date(2026, 11, 29), date(2027, 6, 1));
        assert_eq!(texts(dates), ["2026-11-29", "2026-12-13"]);
        assert!(fortnightly.fits(date(2026, 12, 1)) && !fortnightly.fits(date(2026, 12, 2)));
        assert_eq!(fortnightly.first_from(date(2026, 12, 2)), Some(date(2026, 12, 6)));
    }

    #[test]
    fn a_day_that_a_zone_leaves_out_makes_no_twins() {
        let (apia, times) =
            (zone_named("Pacific/Apia").unwrap(), Times { start: time(20, 0, 0, 0), end: None });
        let daily = rule(Repeats::Daily, 1, Ends::Never);
        let (first, last) = (date(2011, 12, 28), date(2012, 1, 1));
        let dates = occurrences(&daily, &times, &apia, first, last);
        assert_eq!(texts(dates), ["2011-12-28", "2011-12-29", "2011-12-31", "2012-01-01"]);
        // Nobody takes it for another's twin because the list ends there.
        let dates = occurrences(&daily, &times, &apia, first, date(2011, 12, 30));
        assert_eq!(texts(dates), ["2011-12-28", "2011-12-29"]);
        // Alone it is put off by a day, and takes place.
        let fridays = rule(Repeats::Weekly([Day::Friday].into()), 1, Ends::Never);
        let dates = occurrences(&fridays, &times, &apia, date(2011, 12, 23), date(2012, 1, 6));
        assert_eq!(texts(dates.clone()), ["2011-12-23", "2011-12-30", "2012-01-06"]);
        let shown = starts("Pacific/Apia", times.start, &dates[1..2]);
        assert_eq!(shown, ["2011-12-31T20:00:00+14:00[Pacific/Apia]"]);
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let day = || (0..7_usize).prop_map(|number| Day::ALL[number]);
        let repeats = prop_oneof![
            Just(Repeats::Daily),
            prop::collection::btree_set(day(), 1..=7).prop_map(Repeats::Weekly),
            (1..=31_i8).prop_map(Repeats::MonthlyDay),
            (prop_oneof![1..=5_i8, -5..=-1_i8], day())
                .prop_map(|(nth, day)| Repeats::MonthlyWeekday(nth, day)),
        ];
        let ends = prop_oneof![
            Just(Ends::Never),
            (0..800_u32).prop_map(|number| Ends::Until(later(date(2026, 1, 1), number))),
            (1..=366_u32).prop_map(Ends::After),
        ];
        let excluded = prop::collection::btree_set(0..800_u32, 0..20);
        let excluded =
            excluded.prop_map(|all| all.into_iter().map(|number| later(date(2026, 1, 1), number)).collect());
        (repeats, 1..=12_u32, ends, excluded).prop_map(|(repeats, interval, ends, excluded)| Rule {
            repeats,
            interval,
            ends,
            excluded,
        })
    }

    proptest! {
        #[test]
        fn dates_rise_and_are_within_their_bounds(rule in any_rule(), from in 0..400_u32, minute in 0..1440_i32) {
            let from = later(date(2026, 1, 1), from);
            let last = later(from, 800);
            let dates: Vec<_> = rule.dates(from, last).collect();
            prop_assert!(dates.is_sorted_by(|a, b| a < b), "{dates:?}");
            prop_assert!(dates.iter().all(|date| (from..=last).contains(date) && !rule.excluded.contains(date)));
            if let Ends::After(count) = rule.ends {
                prop_assert!(dates.len() <= count as usize);
            }
            if let Ends::Until(until) = rule.ends {
                prop_assert!(dates.iter().all(|date| *date <= until));
            }
            let mut weeks = std::collections::BTreeMap::<Date, u32>::new();
            for date in &dates {
                *weeks.entry(earlier(*date, date.weekday().to_monday_zero_offset().unsigned_abs().into())).or_default() += 1;
            }
            prop_assert!(weeks.values().all(|count| *count <= 7));
            if let Some(first) = rule.first_from(from) {
                prop_assert!(rule.fits(first));
            }
            let start = Time::midnight().wrapping_add(jiff::SignedDuration::from_mins(minute.into()));
            let (times, zone) = (Times { start, end: None }, zone_named("Australia/Lord_Howe").unwrap());
            let instants: Vec<_> = occurrences(&rule, &times, &zone, from, last)
                .into_iter()
                .map(|date| times.on(date, &zone).unwrap().starts_at())
                .collect();
            prop_assert!(instants.is_sorted_by(|a, b| a < b));
        }
    }
}
