//! What a file says of each of its names: one event, or one that repeats with its dates. Nothing of an event that repeats is taken
//! where a part of it is not understood.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use super::report::Refused;
use super::rrule::rule_of;
use super::wanted::Wanted;
use crate::community::events::schedule::Schedule;
use crate::community::events::series::hosted::MOST_LIVE;
use crate::community::events::series::imported::FromFile;
use crate::community::events::series::planning::{MOST_DAYS, rest_from};
use crate::community::events::series::rules::{End, Ends, Rule, Times, earlier, later};
use crate::community::events::store::EventType;
use crate::icalendar::{Item, Occurs, OneDate, Recurrence};

/// Longest name of an event in a file, in bytes.
const MAX_UID_BYTES: usize = 1_000;
/// How many years ago a rule may begin: its dates are counted from there.
const MOST_YEARS: i16 = 30;
/// How many years ahead a date may lie that is told of by itself: the rule is counted up to there.
const MOST_YEARS_AHEAD: u32 = 10;
/// Most dates that a series counts or leaves out.
const MOST_DATES: usize = 366;
/// For how long a first date is looked for that is not left out, in days.
const LOOKED_AHEAD: u32 = 3 * 366;

/// What a file says of one name.
pub(super) struct Named {
    pub(super) uid: String,
    pub(super) said: Said,
    /// How many of its dates are told of by themselves.
    pub(super) dates: usize,
    /// How many events have the name of an event before them.
    pub(super) twins: usize,
}

/// What an event of a file is.
pub(super) enum Said {
    /// It takes place once.
    Once(Box<Item>),
    /// It repeats.
    Repeats(Box<Repeating>),
    /// It cannot be taken.
    Refused(Refused),
    /// There are dates of it alone.
    Nothing,
}

/// An event that repeats.
pub(super) enum Repeating {
    /// It goes on.
    GoesOn(Box<WantedSeries>),
    /// It does not take place.
    Cancelled,
}

/// What a series is to be.
pub(super) struct WantedSeries {
    pub(super) file: FromFile,
    /// The rule as the file has it, from which its rest follows each day anew.
    pub(super) digest: String,
    /// Dates that differ from the others.
    pub(super) dates: Vec<WantedDate>,
}

/// A date that differs from the others.
pub(super) struct WantedDate {
    /// When the rule has it.
    pub(super) original: DateTime,
    pub(super) becomes: Result<DateBecomes, Refused>,
}

/// What a date of a series is to be.
pub(super) enum DateBecomes {
    /// It has something of its own.
    Own(Box<Wanted>),
    /// It is left out.
    LeftOut,
}

/// What of a file has one name.
#[derive(Default)]
struct Group {
    uid: String,
    main: Option<Item>,
    dates: Vec<Item>,
    twins: usize,
}

/// What a file says of each of its names, in its order.
pub(super) fn by_name(items: Vec<Item>, otherwise: EventType, now: Timestamp) -> Vec<Named> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for item in items {
        let place = *places.entry(item.uid.clone()).or_insert(groups.len());
        // Those without a name have nothing in common.
        if place == groups.len() || item.uid.is_empty() {
            groups.push(Group { uid: item.uid.clone(), ..Group::default() });
        }
        let place = if item.uid.is_empty() { groups.len() - 1 } else { place };
        let Some(group) = groups.get_mut(place) else { continue };
        if item.is_one_date {
            group.dates.push(item);
        } else if group.main.is_none() {
            group.main = Some(item);
        } else {
            group.twins += 1;
        }
    }
    let mut series = 0;
    let named = groups.into_iter().map(|Group { uid, main, dates, twins }| {
        let count = dates.len();
        let said = match main {
            _ if uid.is_empty() || uid.len() > MAX_UID_BYTES => {
                let why = format!("UID: must be there, with {MAX_UID_BYTES} bytes at most");
                Said::Refused(Refused(why))
            }
            None => Said::Nothing,
            Some(item) => said(item, &dates, otherwise, now),
        };
        if matches!(&said, Said::Repeats(_)) {
            series += 1;
        }
        let is_too_many = matches!(&said, Said::Repeats(_)) && series > MOST_LIVE;
        let too_many = || Refused(format!("RRULE: {MOST_LIVE} events of a file may repeat"));
        let said = if is_too_many { Said::Refused(too_many()) } else { said };
        Named { uid, said, dates: count, twins }
    });
    named.collect()
}

fn said(item: Item, dates: &[Item], otherwise: EventType, now: Timestamp) -> Said {
    let read = match &item.occurs {
        Err(flaw) => Err(Refused(flaw.to_string())),
        Ok(Occurs::Once | Occurs::OneDate(_)) => return Said::Once(Box::new(item)),
        Ok(Occurs::Repeats { .. }) if item.is_cancelled => Ok(Repeating::Cancelled),
        Ok(Occurs::Repeats { rule, except }) => {
            let wanted = WantedSeries::read(&item, rule, except, dates, otherwise, now);
            wanted.map(|wanted| Repeating::GoesOn(Box::new(wanted)))
        }
    };
    match read {
        Ok(repeating) => Said::Repeats(Box::new(repeating)),
        Err(refused) => Said::Refused(refused),
    }
}

/// When the dates of a series start and end whose first one is this.
fn times_of(when: &Schedule) -> Result<Times, Refused> {
    let date = when.start.date();
    let end = when.end.as_ref().map(|end| {
        let days = date.until(end.date()).map_or(0, |span| span.get_days());
        End { days: u32::try_from(days).unwrap_or_default(), time: end.time() }
    });
    let times = Times { start: when.start.time(), end };
    if end.is_some_and(|end| end.days > MOST_DAYS) {
        return Err(Refused(format!("DTEND: must be {MOST_DAYS} days after DTSTART at most")));
    }
    if !times.is_in_order() {
        return Err("DTEND: must be later on the clocks than DTSTART, or on a later day".into());
    }
    Ok(times)
}

/// The day of a date that a file names.
fn day_of(named: &OneDate, times: &Times, zone: &TimeZone) -> Option<Date> {
    match named {
        OneDate::Day(day) => Some(*day),
        OneDate::Time(time) => {
            let day = time.with_time_zone(zone.clone()).date();
            // A time that the clocks leave out may be put off into the next day.
            let starts =
                |day: &Date| times.on(*day, zone).is_some_and(|when| when.starts_at() == time.timestamp());
            [day, earlier(day, 1)].into_iter().find(starts)
        }
    }
}

impl WantedSeries {
    fn read(
        item: &Item,
        recurrence: &Recurrence,
        except: &[OneDate],
        dates: &[Item],
        otherwise: EventType,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        let Wanted { plan, event_type } = Wanted::whenever(item, otherwise)?;
        let (begins, zone) = (plan.when.start.date(), plan.when.start.time_zone().clone());
        let zone_name = plan.when.zone_name().to_owned();
        let times = times_of(&plan.when)?;
        let today = now.to_zoned_datetime(zone.clone()).date();
        if begins.year() < today.year() - MOST_YEARS {
            return Err(Refused(format!(
                "DTSTART: must be {MOST_YEARS} years ago at most, where it repeats"
            )));
        }
        let mut rule = rule_of(recurrence, &plan.when.start)?;
        if !rule.fits(begins) {
            return Err("DTSTART: must be one of the dates that RRULE gives".into());
        }
        let mut excluded: BTreeSet<_> = except.iter().filter_map(|one| day_of(one, &times, &zone)).collect();
        let mut named_days = BTreeSet::new();
        for date in dates {
            named_days.extend(day_of(one_date(date)?, &times, &zone));
        }
        // All of them by one way through the rule, however many they are and however far away.
        let mut given: BTreeSet<_> = up_to_the_last(&rule, begins, &named_days, today)
            .filter(|day| named_days.contains(day) && !excluded.contains(day))
            .collect();
        let (mut wanted, mut broken) = (Vec::new(), Vec::new());
        for date in dates {
            let named = one_date(date)?;
            let Some(day) = day_of(named, &times, &zone).filter(|day| given.remove(day)) else {
                let why = "RECURRENCE-ID: must name a date that RRULE gives, and once";
                wanted.push(WantedDate { original: shown(named, &zone), becomes: Err(why.into()) });
                continue;
            };
            let original = day.to_datetime(times.start);
            match becomes(date, otherwise, now) {
                Ok(becomes) => wanted.push(WantedDate { original, becomes: Ok(becomes) }),
                Err(Refused(why)) => {
                    let refused = Refused(format!("RECURRENCE-ID {original}: {why}"));
                    broken.push((day, refused.clone()));
                    wanted.push(WantedDate { original, becomes: Err(refused) });
                }
            }
        }
        let left_out = wanted.iter().filter(|one| matches!(one.becomes, Ok(DateBecomes::LeftOut)));
        excluded.extend(left_out.map(|one| one.original.date()));
        rule.excluded = excluded;
        let digest = digest_of(&rule, begins);
        let (rule, first) = what_is_left(&rule, begins, &times, &zone, now)?;
        // The date would be as the rule has it, and that is wrong.
        if let Some((_, refused)) = broken.into_iter().find(|(day, _)| *day >= first) {
            return Err(refused);
        }
        for one in &mut wanted {
            if one.original.date() < first && matches!(one.becomes, Ok(DateBecomes::Own(_))) {
                one.becomes = Err("RECURRENCE-ID: the date is over".into());
            }
        }
        let file = FromFile {
            title: plan.title,
            description: plan.description,
            location: plan.location,
            event_type,
            zone: zone_name,
            times,
            rule,
            first,
        };
        Ok(Self { file, digest, dates: wanted })
    }
}

/// The dates of a rule up to the last one of some that lies no more years ahead than a date may.
fn up_to_the_last<'a>(
    rule: &'a Rule,
    begins: Date,
    named: &BTreeSet<Date>,
    today: Date,
) -> impl Iterator<Item = Date> + use<'a> {
    let furthest = later(today.max(begins), MOST_YEARS_AHEAD * 366);
    let last = named.range(..=furthest).next_back().copied();
    last.into_iter().flat_map(move |last| rule.dates(begins, last))
}

fn one_date(item: &Item) -> Result<&OneDate, Refused> {
    match &item.occurs {
        Ok(Occurs::OneDate(named)) => Ok(named),
        Ok(_) => Err("RECURRENCE-ID: cannot be read".into()),
        Err(flaw) => Err(Refused(flaw.to_string())),
    }
}

fn becomes(item: &Item, otherwise: EventType, now: Timestamp) -> Result<DateBecomes, Refused> {
    if item.is_cancelled {
        return Ok(DateBecomes::LeftOut);
    }
    let wanted = Wanted::whenever(item, otherwise)?;
    // It took place at another time.
    let is_over = wanted.plan.when.over_at() <= now;
    Ok(if is_over { DateBecomes::LeftOut } else { DateBecomes::Own(Box::new(wanted)) })
}

/// When a date is that no rule gives, as it is told of.
fn shown(named: &OneDate, zone: &TimeZone) -> DateTime {
    match named {
        OneDate::Day(day) => day.at(0, 0, 0, 0),
        OneDate::Time(time) => time.with_time_zone(zone.clone()).datetime(),
    }
}

/// The rule from the first date on that is not over.
fn what_is_left(
    rule: &Rule,
    begins: Date,
    times: &Times,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<(Rule, Date), Refused> {
    let over = || Refused::from("RRULE: all dates are over");
    let today = now.to_zoned_datetime(zone.clone()).date();
    let from = earlier(today, MOST_DAYS + 2).max(begins);
    let (mut rest, mut first) = rest_from(rule, begins, from).ok_or_else(over)?;
    while times.on(first, zone).ok_or_else(over)?.over_at() <= now {
        (rest, first) = rest_from(&rest, first, later(first, 1)).ok_or_else(over)?;
    }
    if matches!(rest.ends, Ends::After(count) if count as usize > MOST_DATES) {
        return Err(Refused(format!("RRULE: COUNT must leave {MOST_DATES} dates at most")));
    }
    if rest.excluded.len() > MOST_DATES {
        return Err(Refused(format!("EXDATE: must leave out {MOST_DATES} dates at most")));
    }
    if rest.dates(first, later(first, LOOKED_AHEAD)).next().is_none() {
        return Err("EXDATE: leaves no date of the RRULE".into());
    }
    Ok((rest, first))
}

/// What tells one rule from another, from which a series follows.
fn digest_of(rule: &Rule, begins: Date) -> String {
    let text = serde_json::to_string(rule).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{begins} {text}")))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::community::events::series::rules::Repeats;
    use crate::icalendar::read;

    /// What a file says of the name `1`, on Friday, 6 December 2030.
    fn series(properties: &str) -> Result<WantedSeries, String> {
        let file = format!(
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Milonga\r\nLOCATION:Ballhaus\r\n{properties}END:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        let now: Timestamp = "2030-12-06T12:00:00Z".parse().unwrap();
        let mut named = by_name(read(&file, None).unwrap(), EventType::Milonga, now);
        assert_eq!(named.len(), 1, "{file}");
        match named.remove(0).said {
            Said::Repeats(repeating) => match *repeating {
                Repeating::GoesOn(wanted) => Ok(*wanted),
                Repeating::Cancelled => panic!("it goes on"),
            },
            Said::Refused(Refused(why)) => Err(why),
            Said::Once(_) | Said::Nothing => panic!("it repeats"),
        }
    }

    /// A fortnightly milonga on Wednesdays since 6 November 2030, and more of the file.
    fn fortnightly(more: &str) -> Result<WantedSeries, String> {
        series(&format!(
            "DTSTART;TZID=Europe/Berlin:20301106T210000\r\nDTEND;TZID=Europe/Berlin:20301107T030000\r\n{more}"
        ))
    }

    const OTHER: &str = "END:VEVENT\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Gala\r\nDTSTART;TZID=Europe/Berlin:20301219T220000\r\n";

    #[test]
    fn a_rule_of_the_past_begins_with_its_next_date_and_counts_on() {
        let rule = "RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=8\r\nEXDATE;TZID=Europe/Berlin:20301120T210000\r\n";
        let wanted = fortnightly(rule).ok().unwrap();
        assert_eq!(wanted.file.first, date(2030, 12, 18), "6 and 20 November and 4 December are over");
        assert_eq!((wanted.file.rule.ends, wanted.file.rule.excluded.len()), (Ends::After(5), 0));
        assert_eq!(wanted.file.times.end, Some(End { days: 1, time: jiff::civil::time(3, 0, 0, 0) }));
        // The rest is another one each day, and the rule of the file is not.
        let left_out =
            fortnightly(&format!("{rule}EXDATE;TZID=Europe/Berlin:20301218T210000\r\n")).ok().unwrap();
        assert_eq!(left_out.file.first, date(2030, 12, 18), "the weeks between stay the same");
        assert_eq!(left_out.file.rule.excluded, [date(2030, 12, 18)].into());
        assert_ne!(left_out.digest, wanted.digest);
    }

    #[test]
    fn dates_of_its_own_are_known_by_their_days_and_broken_ones_break_all() {
        let rule = "RRULE:FREQ=WEEKLY;INTERVAL=2\r\n";
        let with = |id: &str, place: &str| {
            fortnightly(&format!("{rule}{OTHER}{place}RECURRENCE-ID;TZID=Europe/Berlin:{id}T210000\r\n"))
        };
        let own = with("20301218", "LOCATION:Club\r\n").ok().unwrap();
        let [WantedDate { original, becomes: Ok(DateBecomes::Own(date)) }] = &own.dates[..] else {
            panic!("one date")
        };
        assert_eq!(
            (original.to_string().as_str(), date.plan.title.as_str()),
            ("2030-12-18T21:00:00", "Gala")
        );
        assert!(
            with("20301218", "").err().unwrap().starts_with("RECURRENCE-ID 2030-12-18T21:00:00: LOCATION")
        );
        let none = with("20301211", "LOCATION:Club\r\n").ok().unwrap();
        assert!(none.dates[0].becomes.is_err(), "the rule does not give it");
        let over = with("20301106", "LOCATION:Club\r\n").ok().unwrap();
        assert!(over.dates[0].becomes.is_err(), "it is over");
    }

    #[test]
    fn dates_at_the_end_of_time_do_not_have_a_rule_counted_up_to_there() {
        let daily =
            Rule { repeats: Repeats::Daily, interval: 1, ends: Ends::Never, excluded: BTreeSet::new() };
        let (begins, today) = (date(2000, 12, 6), date(2030, 12, 6));
        let far = BTreeSet::from([date(2031, 1, 1), date(9999, 12, 31)]);
        let counted: Vec<_> = up_to_the_last(&daily, begins, &far, today).collect();
        assert_eq!(counted.last(), Some(&date(2031, 1, 1)));
        assert_eq!(up_to_the_last(&daily, begins, &BTreeSet::from([Date::MAX]), today).count(), 0);
        // A file of them, each named twice, and one that is given.
        let own = |day: &str| format!("{OTHER}LOCATION:Club\r\nRECURRENCE-ID;VALUE=DATE:{day}\r\n");
        let many = [own("20301218"), own("99991231")].concat().repeat(2);
        let wanted = fortnightly(&format!("RRULE:FREQ=WEEKLY;INTERVAL=2\r\n{many}")).ok().unwrap();
        let is_taken: Vec<_> = wanted.dates.iter().map(|date| date.becomes.is_ok()).collect();
        assert_eq!(is_taken, [true, false, false, false]);
    }

    #[test]
    fn what_leaves_no_date_or_too_many_is_refused() {
        for (more, why) in [
            ("RRULE:FREQ=WEEKLY;COUNT=2\r\n", "RRULE: all dates are over"),
            ("RRULE:FREQ=WEEKLY;UNTIL=20301201T000000Z\r\n", "RRULE: all dates are over"),
            ("RRULE:FREQ=WEEKLY;UNTIL=20301001T000000Z\r\n", "DTSTART"),
            ("RRULE:FREQ=DAILY;COUNT=500\r\n", "RRULE: COUNT"),
            ("RRULE:FREQ=WEEKLY;COUNT=6\r\nEXDATE;VALUE=DATE:20301211\r\n", "EXDATE"),
        ] {
            let error = fortnightly(more).err().unwrap();
            assert!(error.starts_with(why), "{more}: {error}");
        }
        let long_ago = "DTSTART;TZID=Europe/Berlin:19991103T210000\r\nRRULE:FREQ=WEEKLY\r\n";
        assert!(series(long_ago).err().unwrap().starts_with("DTSTART"));
    }
}
