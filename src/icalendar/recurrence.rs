//! How an event of a file repeats, as its `RRULE` says (RFC 5545, 3.3.10). It is read here and strictly: a part that is dropped or
//! cut short would make other dates than those that the file means.

use std::collections::BTreeSet;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Weekday};

/// How often dates come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frequency {
    /// Each so many days.
    Daily,
    /// Each so many weeks.
    Weekly,
    /// Each so many months.
    Monthly,
    /// Each so many years.
    Yearly,
}

/// The last time at which there may be a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// A whole day.
    Day(Date),
    /// A time of the event's own clocks.
    Local(DateTime),
    /// A time in UTC.
    Utc(DateTime),
}

/// A rule by which an event repeats, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recurrence {
    /// How often dates come.
    pub frequency: Frequency,
    /// Of how many days, weeks, months or years one has dates.
    pub interval: u32,
    /// How many dates there are.
    pub count: Option<u32>,
    /// When the last one may be.
    pub until: Option<Until>,
    /// Days of the week, each with the number of it in its month or year; 0 for each of them.
    pub days: Vec<(i8, Weekday)>,
    /// Days of the month, counted from its end where they are negative.
    pub month_days: Vec<i8>,
    /// Months of the year.
    pub months: Vec<i8>,
    /// Which of the dates of a period there are, counted from its end where they are negative.
    pub positions: Vec<i16>,
    /// The day with which weeks begin.
    pub week_start: Weekday,
}

/// Why a rule is none.
type Why = String;

/// A whole number, without a sign unless it may be negative.
fn number<T: FromStr>(text: &str, name: &str) -> Result<T, Why> {
    text.trim().trim_start_matches('+').parse().map_err(|_| format!("{name} is no number that it can be"))
}

fn numbers<T: FromStr>(text: &str, name: &str) -> Result<Vec<T>, Why> {
    text.split(',').map(|one| number(one, name)).collect()
}

fn positive(text: &str, name: &str) -> Result<u32, Why> {
    match number::<u32>(text, name)? {
        0 => Err(format!("{name} must be more than 0")),
        some => Ok(some),
    }
}

fn weekday(text: &str) -> Result<Weekday, Why> {
    Ok(match text.to_ascii_uppercase().as_str() {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return Err("BYDAY and WKST hold days as MO, TU and so on".to_owned()),
    })
}

/// A day as `FR`, `1FR` or `-1FR`.
fn day(text: &str) -> Result<(i8, Weekday), Why> {
    let text = text.trim();
    let at = text.len().saturating_sub(2);
    let (ordinal, name) = text.split_at_checked(at).ok_or("BYDAY is no list of days")?;
    let ordinal = match ordinal {
        "" => 0,
        some => i8::try_from(positive(some.trim_start_matches('-'), "BYDAY")?)
            .map_err(|_| "BYDAY counts too far")?,
    };
    let is_from_end = text.starts_with('-');
    Ok((if is_from_end { -ordinal } else { ordinal }, weekday(name)?))
}

fn until(text: &str) -> Result<Until, Why> {
    let bad = || "UNTIL is no time".to_owned();
    let (local, is_utc) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, true),
        None => (text, false),
    };
    if local.len() == 8 && !is_utc {
        return Date::strptime("%Y%m%d", local).map(Until::Day).map_err(|_| bad());
    }
    if local.len() != 15 {
        return Err(bad());
    }
    // A `t` is as good as a `T`.
    let local = DateTime::strptime("%Y%m%dT%H%M%S", local.to_ascii_uppercase()).map_err(|_| bad())?;
    Ok(if is_utc { Until::Utc(local) } else { Until::Local(local) })
}

impl Recurrence {
    /// Reads the parts of a rule, such as `FREQ=WEEKLY`. Fails with what is wrong, and with each part that this does not know.
    pub(super) fn read<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Self, Why> {
        let (mut frequency, mut seen) = (None, BTreeSet::new());
        let mut rule = Self {
            frequency: Frequency::Daily,
            interval: 1,
            count: None,
            until: None,
            days: Vec::new(),
            month_days: Vec::new(),
            months: Vec::new(),
            positions: Vec::new(),
            week_start: Weekday::Monday,
        };
        for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or("has a part that is no NAME=value")?;
            let name = name.trim().to_ascii_uppercase();
            let value = value.trim();
            if !seen.insert(name.clone()) {
                return Err(format!("has {name} twice"));
            }
            match name.as_str() {
                "FREQ" => {
                    frequency = Some(match value.to_ascii_uppercase().as_str() {
                        "DAILY" => Frequency::Daily,
                        "WEEKLY" => Frequency::Weekly,
                        "MONTHLY" => Frequency::Monthly,
                        "YEARLY" => Frequency::Yearly,
                        _ => return Err("FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY".to_owned()),
                    });
                }
                "INTERVAL" => rule.interval = positive(value, "INTERVAL")?,
                "COUNT" => rule.count = Some(positive(value, "COUNT")?),
                "UNTIL" => rule.until = Some(until(value)?),
                "BYDAY" => rule.days = value.split(',').map(day).collect::<Result<_, _>>()?,
                "BYMONTHDAY" => rule.month_days = numbers(value, "BYMONTHDAY")?,
                "BYMONTH" => rule.months = numbers(value, "BYMONTH")?,
                "BYSETPOS" => rule.positions = numbers(value, "BYSETPOS")?,
                "WKST" => rule.week_start = weekday(value)?,
                _ => {
                    let allowed =
                        "FREQ, INTERVAL, COUNT, UNTIL, BYDAY, BYMONTHDAY, BYMONTH, BYSETPOS and WKST are";
                    // What stands there is a stranger's, and of any length.
                    let name: String = name.chars().filter(char::is_ascii_graphic).take(20).collect();
                    return Err(format!("{name} is not taken; {allowed}"));
                }
            }
        }
        rule.frequency = frequency.ok_or("FREQ is missing")?;
        if rule.count.is_some() && rule.until.is_some() {
            return Err("COUNT and UNTIL do not go together".to_owned());
        }
        Ok(rule)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn read(rule: &str) -> Result<Recurrence, Why> {
        Recurrence::read(rule.split(';'))
    }

    #[test]
    fn all_parts_of_a_rule_are_read() {
        let rule =
            read("FREQ=MONTHLY;INTERVAL=2;COUNT=9;WKST=SU;BYDAY=1FR,-1su,TU;BYMONTH=3;BYSETPOS=-1").unwrap();
        assert_eq!((rule.frequency, rule.interval, rule.count), (Frequency::Monthly, 2, Some(9)));
        assert_eq!(rule.days, [(1, Weekday::Friday), (-1, Weekday::Sunday), (0, Weekday::Tuesday)]);
        assert_eq!((rule.months, rule.positions, rule.week_start), (vec![3], vec![-1], Weekday::Sunday));
        let until = |text: &str| read(&format!("FREQ=DAILY;UNTIL={text}")).unwrap().until;
        assert_eq!(until("20301224"), Some(Until::Day(date(2030, 12, 24))));
        assert_eq!(until("20301224T200000"), Some(Until::Local(date(2030, 12, 24).at(20, 0, 0, 0))));
        assert_eq!(until("20301224T200000Z"), Some(Until::Utc(date(2030, 12, 24).at(20, 0, 0, 0))));
    }

    #[test]
    fn what_is_not_understood_is_never_left_out() {
        for (rule, why) in [
            ("", "FREQ"),
            ("FREQ=SECONDLY", "FREQ"),
            ("FREQ=DAILY;COUNT=0", "COUNT"),
            ("FREQ=DAILY;COUNT=-3", "COUNT"),
            ("FREQ=DAILY;INTERVAL=99999999999", "INTERVAL"),
            ("FREQ=DAILY;COUNT=2;UNTIL=20301224", "COUNT and UNTIL"),
            ("FREQ=DAILY;COUNT=2;COUNT=3", "has COUNT twice"),
            ("FREQ=DAILY;BYHOUR=9", "BYHOUR"),
            ("FREQ=DAILY;RSCALE=HEBREW", "RSCALE"),
            ("FREQ=MONTHLY;BYMONTHDAY=257", "BYMONTHDAY"),
            ("FREQ=WEEKLY;BYDAY=friday", "BYDAY"),
            ("FREQ=WEEKLY;BYDAY=ñ", "BYDAY"),
            ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL"),
            ("FREQ=DAILY;UNTIL=20301324", "UNTIL"),
            ("FREQ", "has a part"),
        ] {
            let error = read(rule).unwrap_err();
            assert!(error.starts_with(why), "{rule}: {error}");
        }
    }
}
