//! From the rule of a file (`RRULE`) to that of a series: the same dates, or why there are none. See docs/calendars.md.

use std::collections::BTreeSet;

use jiff::ZonedDateTime;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use super::report::Refused;
use crate::community::events::series::rules::{Day, Ends, Repeats, Rule, earlier};
use crate::icalendar::{Frequency, Recurrence, Until};

/// Most days, weeks or months of which one has dates.
const MOST_INTERVAL: u32 = 99;
/// What of a month can be named.
const ONE_DAY: &str = "RRULE: must name one day of a month: BYMONTHDAY from 1 to 31, or BYDAY from 1 to 5 or -1 to -5 as in -1FR";

/// The rule of a series that gives the same dates from a start on.
pub(super) fn rule_of(found: &Recurrence, start: &ZonedDateTime) -> Result<Rule, Refused> {
    let date = start.date();
    let is_of_months = matches!(found.frequency, Frequency::Monthly | Frequency::Yearly);
    let is_yearly = found.frequency == Frequency::Yearly;
    if !is_yearly && !found.months.is_empty() {
        return Err("RRULE: BYMONTH is taken with FREQ=YEARLY alone".into());
    }
    if is_yearly && !found.months.is_empty() && found.months != [date.month()] {
        return Err("RRULE: BYMONTH must be the one month of DTSTART".into());
    }
    let is_in_a_month = !(found.month_days.is_empty() && found.positions.is_empty());
    if !is_of_months && is_in_a_month {
        return Err("RRULE: BYMONTHDAY and BYSETPOS are taken with FREQ=MONTHLY and YEARLY alone".into());
    }
    if !is_of_months && found.days.iter().any(|(ordinal, _)| *ordinal != 0) {
        return Err("RRULE: BYDAY with a number is taken with FREQ=MONTHLY and YEARLY alone".into());
    }
    let repeats = match found.frequency {
        Frequency::Daily if found.days.is_empty() => Repeats::Daily,
        // Each day that is one of some days of the week.
        Frequency::Daily if found.interval == 1 => Repeats::Weekly(days_of(found)),
        Frequency::Daily => return Err("RRULE: BYDAY with FREQ=DAILY is taken with INTERVAL=1 alone".into()),
        Frequency::Weekly if found.days.is_empty() => Repeats::Weekly([Day::of(date)].into()),
        Frequency::Weekly if found.interval > 1 && !is_same_from_monday(found) => {
            return Err("RRULE: WKST must be MO, as BYDAY and INTERVAL mean other dates with it".into());
        }
        Frequency::Weekly => Repeats::Weekly(days_of(found)),
        Frequency::Monthly | Frequency::Yearly => of_months(found, date)?,
    };
    let interval = found.interval.saturating_mul(if is_yearly { 12 } else { 1 });
    if interval > MOST_INTERVAL {
        return Err(Refused(format!(
            "RRULE: INTERVAL must be {MOST_INTERVAL} days, weeks or months at most"
        )));
    }
    let ends = match (found.count, found.until) {
        (Some(count), _) => Ends::After(count),
        (None, Some(until)) => Ends::Until(last_day(until, start).ok_or("RRULE: UNTIL is past all times")?),
        (None, None) => Ends::Never,
    };
    Ok(Rule { repeats, interval, ends, excluded: BTreeSet::new() })
}

const fn day_of(weekday: Weekday) -> Day {
    match weekday {
        Weekday::Monday => Day::Monday,
        Weekday::Tuesday => Day::Tuesday,
        Weekday::Wednesday => Day::Wednesday,
        Weekday::Thursday => Day::Thursday,
        Weekday::Friday => Day::Friday,
        Weekday::Saturday => Day::Saturday,
        Weekday::Sunday => Day::Sunday,
    }
}

fn days_of(found: &Recurrence) -> BTreeSet<Day> {
    found.days.iter().map(|(_, weekday)| day_of(*weekday)).collect()
}

/// Whether weeks that begin on another day than Monday hold the same of the days.
fn is_same_from_monday(found: &Recurrence) -> bool {
    let begins = day_of(found.week_start);
    let days = days_of(found);
    days.iter().all(|day| *day < begins) || days.iter().all(|day| *day >= begins)
}

/// The one day of a month.
fn of_months(found: &Recurrence, date: Date) -> Result<Repeats, Refused> {
    let is_in_one_month = found.frequency == Frequency::Monthly || !found.months.is_empty();
    let nth = |number: i16, weekday| {
        let number = i8::try_from(number).ok().filter(|number| (1..=5).contains(&number.unsigned_abs()));
        number.map(|number| Repeats::MonthlyWeekday(number, day_of(weekday)))
    };
    let repeats = match (&found.days[..], &found.month_days[..], &found.positions[..]) {
        ([], [], []) => return Ok(Repeats::MonthlyDay(date.day())),
        ([], [day @ 1..=31], []) => Some(Repeats::MonthlyDay(*day)),
        ([(0, weekday)], [], [position]) => nth(*position, *weekday),
        ([(ordinal, weekday)], [], []) => nth((*ordinal).into(), *weekday),
        _ => None,
    };
    if !is_in_one_month {
        return Err("RRULE: BYDAY and BYMONTHDAY with FREQ=YEARLY need the BYMONTH of DTSTART".into());
    }
    repeats.ok_or_else(|| ONE_DAY.into())
}

/// The last day on which a date may start.
fn last_day(until: Until, start: &ZonedDateTime) -> Option<Date> {
    let zone = start.time_zone();
    let at = match until {
        Until::Day(day) => return Some(day),
        Until::Local(local) => local.to_zoned_datetime(zone.clone()).ok()?,
        Until::Utc(local) => local.to_zoned_datetime(TimeZone::UTC).ok()?.with_time_zone(zone.clone()),
    };
    let that_day = at.date().to_datetime(start.time()).to_zoned_datetime(zone.clone()).ok()?;
    Some(if that_day.timestamp() <= at.timestamp() { at.date() } else { earlier(at.date(), 1) })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::community::events::series::rules::later;
    use crate::icalendar::{Occurs, read};

    /// Wednesday, 4 December 2030, at nine in the evening.
    const START: &str = "2030-12-04T21:00+01:00[Europe/Berlin]";

    fn found(rule: &str) -> Recurrence {
        let file = format!(
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;TZID=Europe/Berlin:20301204T210000\r\nRRULE:{rule}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        let Ok(Occurs::Repeats { rule, .. }) = read(&file, None).unwrap().remove(0).occurs else {
            panic!("{file} repeats")
        };
        *rule
    }

    fn rule(text: &str) -> Result<Rule, String> {
        rule_of(&found(text), &START.parse().unwrap()).map_err(|Refused(why)| why)
    }

    #[test]
    fn rules_that_series_know_are_theirs() {
        let weekly = |days: &[Day]| Repeats::Weekly(days.iter().copied().collect());
        let (wed, fri) = (Day::Wednesday, Day::Friday);
        for (text, repeats, interval, ends) in [
            ("FREQ=DAILY;INTERVAL=3", Repeats::Daily, 3, Ends::Never),
            ("FREQ=DAILY;BYDAY=WE,FR", weekly(&[wed, fri]), 1, Ends::Never),
            ("FREQ=WEEKLY", weekly(&[wed]), 1, Ends::Never),
            ("FREQ=WEEKLY;WKST=SU;INTERVAL=2;BYDAY=WE,FR", weekly(&[wed, fri]), 2, Ends::Never),
            ("FREQ=WEEKLY;COUNT=10;BYDAY=WE", weekly(&[wed]), 1, Ends::After(10)),
            // In Berlin it is already the next day, and the date of that day is later.
            ("FREQ=WEEKLY;UNTIL=20310101T230000Z", weekly(&[wed]), 1, Ends::Until(date(2031, 1, 1))),
            ("FREQ=WEEKLY;UNTIL=20310101T200000Z", weekly(&[wed]), 1, Ends::Until(date(2031, 1, 1))),
            ("FREQ=WEEKLY;UNTIL=20310101T195959Z", weekly(&[wed]), 1, Ends::Until(date(2030, 12, 31))),
            ("FREQ=WEEKLY;UNTIL=20310101T210000", weekly(&[wed]), 1, Ends::Until(date(2031, 1, 1))),
            ("FREQ=WEEKLY;UNTIL=20310101", weekly(&[wed]), 1, Ends::Until(date(2031, 1, 1))),
            ("FREQ=MONTHLY", Repeats::MonthlyDay(4), 1, Ends::Never),
            ("FREQ=MONTHLY;BYMONTHDAY=31", Repeats::MonthlyDay(31), 1, Ends::Never),
            ("FREQ=MONTHLY;BYDAY=1WE", Repeats::MonthlyWeekday(1, wed), 1, Ends::Never),
            ("FREQ=MONTHLY;BYDAY=-1FR", Repeats::MonthlyWeekday(-1, fri), 1, Ends::Never),
            ("FREQ=MONTHLY;BYDAY=FR;BYSETPOS=2", Repeats::MonthlyWeekday(2, fri), 1, Ends::Never),
            ("FREQ=YEARLY", Repeats::MonthlyDay(4), 12, Ends::Never),
            ("FREQ=YEARLY;BYMONTH=12;BYDAY=1WE", Repeats::MonthlyWeekday(1, wed), 12, Ends::Never),
        ] {
            let wanted = Rule { repeats, interval, ends, excluded: BTreeSet::new() };
            assert_eq!(rule(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn rules_that_series_do_not_know_are_refused_by_their_part() {
        for (text, part) in [
            ("FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=SU,WE", "WKST"),
            ("FREQ=WEEKLY;BYDAY=1WE", "BYDAY"),
            ("FREQ=WEEKLY;BYMONTH=12", "BYMONTH"),
            ("FREQ=WEEKLY;BYSETPOS=1;BYDAY=WE,FR", "BYSETPOS"),
            ("FREQ=DAILY;BYMONTHDAY=4", "BYMONTHDAY"),
            ("FREQ=DAILY;INTERVAL=2;BYDAY=WE", "BYDAY"),
            ("FREQ=DAILY;INTERVAL=100", "INTERVAL"),
            ("FREQ=MONTHLY;BYMONTHDAY=-1", "BYMONTHDAY"),
            ("FREQ=MONTHLY;BYMONTHDAY=4,18", "BYMONTHDAY"),
            ("FREQ=MONTHLY;BYDAY=1WE,3WE", "BYDAY"),
            ("FREQ=MONTHLY;BYDAY=WE", "BYDAY"),
            ("FREQ=MONTHLY;BYDAY=WE;BYMONTHDAY=13", "BYDAY"),
            ("FREQ=MONTHLY;BYDAY=MO,TU,WE;BYSETPOS=1", "BYDAY"),
            ("FREQ=YEARLY;BYDAY=1WE", "BYMONTH"),
            ("FREQ=YEARLY;BYMONTHDAY=4", "BYMONTH"),
            ("FREQ=YEARLY;BYMONTH=3,12", "BYMONTH"),
            ("FREQ=YEARLY;INTERVAL=9", "INTERVAL"),
        ] {
            let why = rule(text).expect_err(text);
            assert!(why.starts_with("RRULE: ") && why.contains(part), "{text}: {why}");
        }
    }

    /// Whether a day is one of a rule, as RFC 5545 says it and without any step from one date to the next.
    fn is_a_date(found: &Recurrence, first: Date, day: Date) -> bool {
        let interval = i64::from(found.interval);
        let monday = |date: Date| earlier(date, date.weekday().to_monday_zero_offset().unsigned_abs().into());
        let days = |from: Date, to: Date| i64::from(from.until(to).unwrap().get_days());
        let months = i64::from(day.year() - first.year()) * 12 + i64::from(day.month() - first.month());
        match found.frequency {
            Frequency::Daily => days(first, day) % interval == 0,
            Frequency::Weekly => {
                days(monday(first), monday(day)) / 7 % interval == 0
                    && found.days.iter().any(|(_, weekday)| *weekday == day.weekday())
            }
            Frequency::Monthly | Frequency::Yearly => {
                let is_day = match found.days.first() {
                    Some((ordinal, weekday)) if *ordinal > 0 => {
                        day.weekday() == *weekday && (day.day() - 1) / 7 + 1 == *ordinal
                    }
                    Some((ordinal, weekday)) => {
                        let left = day.days_in_month() - day.day();
                        day.weekday() == *weekday && left / 7 + 1 == -*ordinal
                    }
                    None => found.month_days == [day.day()],
                };
                months % interval == 0 && is_day
            }
        }
    }

    proptest! {
        #[test]
        fn a_series_has_the_dates_that_the_file_means(
            kind in 0..4_u8, interval in 1..6_u32, days in 1..128_u8, nth in prop_oneof![1..=5_i8, -5..=-1_i8],
            month_day in 1..=31_i8, ends in 0..3_u8, count in 1..40_u32,
        ) {
            let names = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
            let some: Vec<_> = (0..7).filter(|bit| days & (1 << bit) != 0).map(|bit| names[bit]).collect();
            let parts = match kind {
                0 => "FREQ=DAILY".to_owned(),
                1 => format!("FREQ=WEEKLY;BYDAY={}", some.join(",")),
                2 => format!("FREQ=MONTHLY;BYDAY={nth}{}", some[0]),
                _ => format!("FREQ=MONTHLY;BYMONTHDAY={month_day}"),
            };
            let ends = match ends {
                0 => String::new(),
                1 => format!(";COUNT={count}"),
                _ => ";UNTIL=20320315T120000Z".to_owned(),
            };
            let found = found(&format!("{parts};INTERVAL={interval}{ends}"));
            let start = date(2030, 12, 4);
            // A file begins with a date of its rule.
            let mut all = (0..2_000).map(|number| later(start, number));
            let first = all.find(|day| is_a_date(&Recurrence { interval: 1, ..found.clone() }, *day, *day)).unwrap();
            let begins = first.at(21, 0, 0, 0).in_tz("Europe/Berlin").unwrap();
            let rule = rule_of(&found, &begins).unwrap();
            let last = later(first, 900);
            let wanted = (0..=900).map(|number| later(first, number)).filter(|day| is_a_date(&found, first, *day));
            let wanted = wanted.filter(|day| found.until.is_none() || *day < date(2032, 3, 15));
            let wanted: Vec<_> = wanted.take(found.count.map_or(usize::MAX, |count| count as usize)).collect();
            prop_assert_eq!(rule.dates(first, last).collect::<Vec<_>>(), wanted);
        }
    }
}
