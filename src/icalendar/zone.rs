//! `VTIMEZONE`: the rules of a zone, written out, as Outlook takes no zone whose rules do not stand in the calendar.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::line::Lines;

/// Most changes of the clocks that are written; what a calendar shows lies within a few years.
const MOST: usize = 64;
/// Who asks about a time before the first change gets the offset that was there before it.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A change of the clocks.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    at: Timestamp,
    before: Offset,
    after: Offset,
    name: String,
}

/// A day of each year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Yearly {
    month: i8,
    /// Which of the month's; -1 is the last.
    nth: i8,
    weekday: Weekday,
    time: Time,
}

impl Change {
    /// What the clocks show at that moment, before they are changed.
    fn onset(&self) -> DateTime {
        self.before.to_datetime(self.at)
    }

    fn is_forward(&self) -> bool {
        self.after.seconds() > self.before.seconds()
    }

    fn yearly(&self) -> Yearly {
        let onset = self.onset();
        let date = onset.date();
        let is_last = date.day() + 7 > date.days_in_month();
        let nth = if is_last { -1 } else { (date.day() - 1) / 7 + 1 };
        Yearly { month: date.month(), nth, weekday: date.weekday(), time: onset.time() }
    }

    /// The same change in another year, by a rule.
    fn in_year(&self, rule: Yearly, year: i16) -> Option<Self> {
        let month = Date::new(year, rule.month, 1).ok()?;
        let onset = month.nth_weekday_of_month(rule.nth, rule.weekday).ok()?.to_datetime(rule.time);
        Some(Self { at: self.before.to_timestamp(onset).ok()?, ..self.clone() })
    }

    fn write(&self, lines: &mut Lines, onset: DateTime, rule: Option<Yearly>) {
        // Which of the two is which decides nothing: the offsets do.
        let kind = if self.is_forward() { "DAYLIGHT" } else { "STANDARD" };
        lines.value("BEGIN", kind);
        lines.value("DTSTART", onset.strftime("%Y%m%dT%H%M%S"));
        lines.value("TZOFFSETFROM", offset(self.before));
        lines.value("TZOFFSETTO", offset(self.after));
        lines.text("TZNAME", &self.name);
        if let Some(rule) = rule {
            let day = match rule.weekday {
                Weekday::Monday => "MO",
                Weekday::Tuesday => "TU",
                Weekday::Wednesday => "WE",
                Weekday::Thursday => "TH",
                Weekday::Friday => "FR",
                Weekday::Saturday => "SA",
                Weekday::Sunday => "SU",
            };
            let value = format!("FREQ=YEARLY;BYMONTH={};BYDAY={}{day}", rule.month, rule.nth);
            lines.value("RRULE", value);
        }
        lines.value("END", kind);
    }
}

fn offset(offset: Offset) -> String {
    let seconds = offset.seconds().unsigned_abs();
    let sign = if offset.seconds() < 0 { '-' } else { '+' };
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let rest = if rest == 0 { String::new() } else { format!("{rest:02}") };
    format!("{sign}{hours:02}{minutes:02}{rest}")
}

/// The moment before another.
fn before(time: Timestamp) -> Timestamp {
    time.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MIN)
}

/// The changes of a zone's clocks: up to two before a time, and those behind it up to another.
fn changes(zone: &TimeZone, from: Timestamp, until: Timestamp) -> (Vec<Change>, Vec<Change>) {
    let change = |at: Timestamp, after: Offset, name: &str| Change {
        at,
        before: zone.to_offset(before(at)),
        after,
        name: name.to_owned(),
    };
    let next = from.saturating_add(SignedDuration::from_nanos(1)).unwrap_or(from);
    let earlier = zone.preceding(next).take(2);
    let mut earlier: Vec<_> =
        earlier.map(|one| change(one.timestamp(), one.offset(), one.abbreviation())).collect();
    earlier.reverse();
    let later = zone.following(from).take_while(|one| one.timestamp() <= until).take(MOST);
    let later = later.map(|one| change(one.timestamp(), one.offset(), one.abbreviation())).collect();
    (earlier, later)
}

/// The rules by which the last two changes go on, one to each side, if all later ones up to a time are as they say.
fn rules(earlier: &[Change], later: &[Change], from: Timestamp, until: Timestamp) -> Option<[Yearly; 2]> {
    let [one, other] = earlier else { return None };
    let year = |time: Timestamp| time.to_zoned_datetime(TimeZone::UTC).year();
    let is_pair = one.is_forward() != other.is_forward() && one.before == other.after;
    if !is_pair || year(from) - year(one.at) > 2 {
        return None;
    }
    let rules = [one.yearly(), other.yearly()];
    let years = year(one.at)..=year(until) + 1;
    let said = years.flat_map(|year| {
        [(one, rules[0]), (other, rules[1])]
            .into_iter()
            .filter_map(move |(change, rule)| change.in_year(rule, year))
    });
    let mut said: Vec<_> = said.filter(|change| change.at > from && change.at <= until).collect();
    said.sort_by_key(|change| change.at);
    (said == later).then_some(rules)
}

/// Writes the rules of a zone as they are from one time to another. They are written as rules of each year where they are that,
/// as Outlook knows no others, and one by one where they are not.
pub(super) fn write(lines: &mut Lines, zone: &TimeZone, name: &str, from: Timestamp, until: Timestamp) {
    let (earlier, later) = changes(zone, from, until);
    lines.value("BEGIN", "VTIMEZONE");
    lines.text("TZID", name);
    if let Some(rules) = rules(&earlier, &later, from, until) {
        for (change, rule) in earlier.iter().zip(rules) {
            change.write(lines, change.onset(), Some(rule));
        }
    } else {
        let info = zone.to_offset_info(from);
        let (here, called) = (info.offset(), info.abbreviation().to_owned());
        match earlier.last().filter(|change| change.onset() >= EPOCH) {
            Some(change) => change.write(lines, change.onset(), None),
            None => Change { at: from, before: here, after: here, name: called }.write(lines, EPOCH, None),
        }
        for change in &later {
            change.write(lines, change.onset(), None);
        }
    }
    lines.value("END", "VTIMEZONE");
}

#[cfg(test)]
mod tests {
    use mundotango_storage::zone_named;

    use super::*;

    fn written(name: &str, from: &str, until: &str) -> String {
        let mut lines = Lines::default();
        write(&mut lines, &zone_named(name).unwrap(), name, from.parse().unwrap(), until.parse().unwrap());
        lines.into_text().replace("\r\n", "\n")
    }

    #[test]
    fn clocks_that_change_alike_each_year_have_rules() {
        assert_eq!(
            written("Europe/Berlin", "2026-07-01T00:00:00Z", "2027-09-01T00:00:00Z"),
            "BEGIN:VTIMEZONE\nTZID:Europe/Berlin\n\
             BEGIN:STANDARD\nDTSTART:20251026T030000\nTZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nTZNAME:CET\n\
             RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\nEND:STANDARD\n\
             BEGIN:DAYLIGHT\nDTSTART:20260329T020000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nTZNAME:CEST\n\
             RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\nEND:DAYLIGHT\nEND:VTIMEZONE\n"
        );
        let new_york = written("America/New_York", "2026-12-01T00:00:00Z", "2027-12-01T00:00:00Z");
        assert!(
            new_york.contains("BYMONTH=3;BYDAY=2SU") && new_york.contains("BYMONTH=11;BYDAY=1SU"),
            "{new_york}"
        );
        let lord_howe = written("Australia/Lord_Howe", "2026-12-01T00:00:00Z", "2027-12-01T00:00:00Z");
        assert!(lord_howe.contains("TZOFFSETFROM:+1030\nTZOFFSETTO:+1100"), "{lord_howe}");
    }

    #[test]
    fn clocks_that_stay_have_one_entry() {
        assert_eq!(
            written("Asia/Tokyo", "2026-07-01T00:00:00Z", "2027-09-01T00:00:00Z"),
            "BEGIN:VTIMEZONE\nTZID:Asia/Tokyo\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0900\n\
             TZOFFSETTO:+0900\nTZNAME:JST\nEND:STANDARD\nEND:VTIMEZONE\n"
        );
    }

    #[test]
    fn clocks_that_follow_the_moon_are_written_out() {
        // Morocco put its clocks back for Ramadan until 2026.
        let casablanca = written("Africa/Casablanca", "2024-01-01T00:00:00Z", "2025-12-31T00:00:00Z");
        assert!(!casablanca.contains("RRULE"), "{casablanca}");
        assert!(
            casablanca.matches("BEGIN:STANDARD").count() + casablanca.matches("BEGIN:DAYLIGHT").count() >= 5
        );
    }

    /// What a reader gets who knows nothing but what is written: the offset of the last onset before a time.
    fn offset_by(changes: &[(DateTime, Offset, Offset)], local: DateTime) -> Offset {
        let last = changes.iter().rev().find(|(onset, ..)| *onset <= local);
        last.map_or(changes[0].1, |(_, _, after)| *after)
    }

    #[test]
    fn a_reader_finds_the_offsets_that_the_zone_has() {
        let (from, until): (Timestamp, Timestamp) =
            ("2026-01-15T12:00:00Z".parse().unwrap(), "2028-03-01T00:00:00Z".parse().unwrap());
        for name in [
            "Europe/Berlin",
            "Europe/Dublin",
            "America/New_York",
            "America/Argentina/Buenos_Aires",
            "America/Santiago",
            "Australia/Lord_Howe",
            "Africa/Casablanca",
            "Africa/Cairo",
            "Asia/Kathmandu",
            "Pacific/Apia",
        ] {
            let zone = zone_named(name).unwrap();
            let (earlier, later) = changes(&zone, from, until);
            let of = |change: &Change| (change.onset(), change.before, change.after);
            let mut all: Vec<_> = match rules(&earlier, &later, from, until) {
                Some(rules) => {
                    let years = earlier.iter().zip(rules).flat_map(|(change, rule)| {
                        (2025..=2028).filter_map(move |year| change.in_year(rule, year))
                    });
                    years.filter(|change| change.at >= earlier[0].at).map(|change| of(&change)).collect()
                }
                None => earlier.last().into_iter().chain(&later).map(of).collect(),
            };
            all.sort_by_key(|(onset, ..)| *onset);
            let mut time = from;
            while time < until {
                let local = zone.to_offset(time).to_datetime(time);
                if !all.is_empty() && zone.to_ambiguous_timestamp(local).compatible().unwrap() == time {
                    assert_eq!(offset_by(&all, local), zone.to_offset(time), "{name} {local}");
                }
                time += SignedDuration::from_mins(7 * 60 + 13);
            }
        }
    }
}
