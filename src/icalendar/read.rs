//! Reading what calendar programs export. The bytes are a stranger's: how much there may be of anything is bounded, and what
//! cannot be taken is told of each event by itself.

use calcard::icalendar::{
    ICalendar, ICalendarComponent, ICalendarComponentType, ICalendarDuration, ICalendarEntry,
    ICalendarProperty, ICalendarStatus, ICalendarValue,
};
use calcard::{Entry, Parser};
use jiff::tz::TimeZone;
use jiff::{Span, ZonedDateTime};

use super::occurs::{Occurs, occurs, repeats_from, with_rules_as_they_are};
use super::times::{Flaw, Found, Zones, entry, first_text, text_of};

/// Most events of a file.
pub const MOST_EVENTS: usize = 200;
/// Most components of a file: events, their alarms, zones and their changes.
const MOST_COMPONENTS: usize = 5_000;
/// The property by which programs tell the zone of times that tell none.
const ZONE_OF_ALL: &str = "X-WR-TIMEZONE";

/// Why nothing of a file can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No calendar is in it.
    #[error("must be an iCalendar (RFC 5545) that begins with BEGIN:VCALENDAR")]
    NoCalendar,
    /// There are more events than are taken at once.
    #[error("must hold {MOST_EVENTS} events at most")]
    TooManyEvents,
    /// There are more components than any such file needs.
    #[error("must hold {MOST_COMPONENTS} components at most")]
    TooManyComponents,
}

/// An event of a file, with its texts as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its name in all calendars; empty where it has none.
    pub uid: String,
    /// What it is called.
    pub summary: String,
    /// What it is, at length.
    pub description: String,
    /// Where it is.
    pub location: String,
    /// Degrees north and east.
    pub point: Option<(f64, f64)>,
    /// Its kinds.
    pub categories: Vec<String>,
    /// Whether it does not take place.
    pub is_cancelled: bool,
    /// When it is.
    pub when: Result<Found, Flaw>,
    /// Whether it is a date of an event that repeats.
    pub is_one_date: bool,
    /// How often it takes place.
    pub occurs: Result<Occurs, Flaw>,
}

/// The events of a file. Times that tell no zone are on the clocks of this one; without it on those that the file names.
pub fn read(text: &str, zone: Option<&TimeZone>) -> Result<Vec<Item>, Unreadable> {
    let begins = |line: &&str| line.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("BEGIN:"));
    if text.lines().filter(begins).take(MOST_COMPONENTS + 1).count() > MOST_COMPONENTS {
        return Err(Unreadable::TooManyComponents);
    }
    let text = with_rules_as_they_are(text);
    let mut parser = Parser::new(&text);
    let (mut items, mut is_calendar) = (Vec::new(), false);
    for _ in 0..MOST_COMPONENTS {
        match parser.entry() {
            Entry::ICalendar(calendar) => {
                is_calendar = true;
                add_items(&calendar, zone, &mut items)?;
            }
            Entry::Eof => break,
            // Lines that are none, and cards.
            _ => {}
        }
    }
    if is_calendar { Ok(items) } else { Err(Unreadable::NoCalendar) }
}

fn add_items(calendar: &ICalendar, zone: Option<&TimeZone>, items: &mut Vec<Item>) -> Result<(), Unreadable> {
    let zones = Zones { named: calendar.build_tz_resolver(), default: None };
    let own = calendar.components.first().and_then(|whole| {
        let names_it = |entry: &&ICalendarEntry| match &entry.name {
            ICalendarProperty::Other(name) => name.eq_ignore_ascii_case(ZONE_OF_ALL),
            _ => false,
        };
        whole.entries.iter().find(names_it).and_then(first_text).and_then(|name| zones.find(name))
    });
    let zones = Zones { default: zone.cloned().or(own), ..zones };
    for component in &calendar.components {
        if component.component_type != ICalendarComponentType::VEvent {
            continue;
        }
        if items.len() >= MOST_EVENTS {
            return Err(Unreadable::TooManyEvents);
        }
        items.push(item(component, &zones));
    }
    Ok(())
}

fn item(component: &ICalendarComponent, zones: &Zones<'_>) -> Item {
    let text = |property: &ICalendarProperty| {
        entry(component, property).and_then(first_text).unwrap_or_default().to_owned()
    };
    let status = entry(component, &ICalendarProperty::Status).and_then(|entry| entry.values.first());
    let categories = component.entries.iter().filter(|entry| entry.name == ICalendarProperty::Categories);
    let categories = categories.flat_map(|entry| &entry.values).filter_map(text_of);
    let (mut when, mut occurs) = (when(component, zones), occurs(component, zones));
    if let (Ok(found), Ok(Occurs::Repeats { .. })) = (&mut when, &occurs)
        && let Err(flaw) = repeats_from(component, found)
    {
        occurs = Err(flaw);
    }
    Item {
        uid: text(&ICalendarProperty::Uid),
        summary: text(&ICalendarProperty::Summary),
        description: text(&ICalendarProperty::Description),
        location: text(&ICalendarProperty::Location),
        point: entry(component, &ICalendarProperty::Geo).and_then(point),
        categories: categories.map(str::to_owned).collect(),
        is_cancelled: matches!(status, Some(ICalendarValue::Status(ICalendarStatus::Cancelled))),
        when,
        is_one_date: entry(component, &ICalendarProperty::RecurrenceId).is_some(),
        occurs,
    }
}

fn point(entry: &ICalendarEntry) -> Option<(f64, f64)> {
    let [ICalendarValue::Float(latitude), ICalendarValue::Float(longitude)] = entry.values[..] else {
        return None;
    };
    let is_on_earth = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
    is_on_earth.then_some((latitude, longitude))
}

fn when(component: &ICalendarComponent, zones: &Zones<'_>) -> Result<Found, Flaw> {
    let start = entry(component, &ICalendarProperty::Dtstart).ok_or(Flaw::NoStart)?;
    let (start, all_day) = zones.time(start, "DTSTART")?;
    let end = if let Some(end) = entry(component, &ICalendarProperty::Dtend) {
        Some(zones.time(end, "DTEND")?.0.with_time_zone(start.time_zone().clone()))
    } else if let Some(lasts) = entry(component, &ICalendarProperty::Duration) {
        let Some(ICalendarValue::Duration(lasts)) = lasts.values.first() else {
            return Err(Flaw::NoTime("DURATION"));
        };
        Some(behind(&start, lasts).ok_or(Flaw::NoTime("DURATION"))?)
    } else if all_day {
        // Without an end it is that day (RFC 5545, 3.6.1).
        Some(start.tomorrow().map_err(|_| Flaw::NoTime("DTSTART"))?)
    } else {
        None
    };
    match end {
        Some(end) if end < start => Err(Flaw::EndsBefore),
        // What takes no time has no end.
        end => Ok(Found { end: end.filter(|end| *end > start), start, all_day }),
    }
}

/// So long behind a time: days and weeks by the calendar, the rest by the clock (RFC 5545, 3.3.6).
fn behind(start: &ZonedDateTime, lasts: &ICalendarDuration) -> Option<ZonedDateTime> {
    let ICalendarDuration { neg: is_before, weeks, days, hours, minutes, seconds } = lasts;
    let span = Span::new().try_weeks(*weeks).ok()?.try_days(*days).ok()?.try_hours(*hours).ok()?;
    let span = span.try_minutes(*minutes).ok()?.try_seconds(*seconds).ok()?;
    start.checked_add(if *is_before { span.negate() } else { span }).ok()
}

#[cfg(test)]
mod tests {
    use mundotango_storage::zone_named;

    use super::super::times::OneDate;
    use super::super::{Calendar, Entry as Written, Status, When};
    use super::*;

    fn file(properties: &str) -> String {
        format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\n{properties}END:VEVENT\r\nEND:VCALENDAR\r\n"
        )
    }

    fn when_of(properties: &str) -> Result<(String, Option<String>), Flaw> {
        let berlin = zone_named("Europe/Berlin").unwrap();
        let mut items = read(&file(properties), Some(&berlin)).unwrap();
        assert_eq!(items.len(), 1, "{properties}");
        items.remove(0).when.map(|found| (found.start.to_string(), found.end.map(|end| end.to_string())))
    }

    #[test]
    fn times_are_read_in_all_their_forms() {
        let hours = |start: &str, end: &str| Ok((start.to_owned(), Some(end.to_owned())));
        for (properties, wanted) in [
            (
                "DTSTART;TZID=America/Argentina/Buenos_Aires:20301204T220000\r\nDTEND;TZID=America/Argentina/Buenos_Aires:20301205T040000\r\n",
                hours(
                    "2030-12-04T22:00:00-03:00[America/Argentina/Buenos_Aires]",
                    "2030-12-05T04:00:00-03:00[America/Argentina/Buenos_Aires]",
                ),
            ),
            (
                "DTSTART:20301204T200000Z\r\nDURATION:PT6H30M\r\n",
                hours("2030-12-04T21:00:00+01:00[Europe/Berlin]", "2030-12-05T03:30:00+01:00[Europe/Berlin]"),
            ),
            (
                "DTSTART:20301204T200000\r\nDTEND:20301204T230000Z\r\n",
                hours("2030-12-04T20:00:00+01:00[Europe/Berlin]", "2030-12-05T00:00:00+01:00[Europe/Berlin]"),
            ),
            // Outlook's own names of zones.
            (
                "DTSTART;TZID=W. Europe Standard Time:20300704T200000\r\nDURATION:P1D\r\n",
                hours("2030-07-04T20:00:00+02:00[Europe/Berlin]", "2030-07-05T20:00:00+02:00[Europe/Berlin]"),
            ),
            // A festival from Thursday to Sunday.
            (
                "DTSTART;VALUE=DATE:20300704\r\nDTEND;VALUE=DATE:20300708\r\n",
                hours("2030-07-04T00:00:00+02:00[Europe/Berlin]", "2030-07-08T00:00:00+02:00[Europe/Berlin]"),
            ),
            (
                "DTSTART;VALUE=DATE:20300704\r\n",
                hours("2030-07-04T00:00:00+02:00[Europe/Berlin]", "2030-07-05T00:00:00+02:00[Europe/Berlin]"),
            ),
            // The clocks leave this hour out.
            (
                "DTSTART;TZID=Europe/Berlin:20260329T023000\r\n",
                Ok(("2026-03-29T03:30:00+02:00[Europe/Berlin]".to_owned(), None)),
            ),
            (
                "DTSTART:20301204T200000Z\r\nDTEND:20301204T200000Z\r\n",
                Ok(("2030-12-04T21:00:00+01:00[Europe/Berlin]".to_owned(), None)),
            ),
        ] {
            assert_eq!(when_of(properties), wanted, "{properties}");
        }
    }

    #[test]
    fn what_cannot_be_taken_says_why() {
        for (properties, flaw) in [
            ("", Flaw::NoStart),
            ("DTSTART;TZID=Mars/Phobos:20301204T200000\r\n", Flaw::UnknownZone("DTSTART")),
            ("DTSTART:20301304T200000Z\r\n", Flaw::NoTime("DTSTART")),
            ("DTSTART:soon\r\n", Flaw::NoTime("DTSTART")),
            ("DTSTART:20301204T200000Z\r\nDTEND:late\r\n", Flaw::NoTime("DTEND")),
            ("DTSTART:20301204T200000Z\r\nDTEND:20301204T190000Z\r\n", Flaw::EndsBefore),
            ("DTSTART:20301204T200000Z\r\nDURATION:-PT1H\r\n", Flaw::EndsBefore),
        ] {
            assert_eq!(when_of(properties), Err(flaw), "{properties}");
        }
        let floating = read(&file("DTSTART:20301204T200000\r\n"), None).unwrap().remove(0);
        assert_eq!(floating.when, Err(Flaw::NoZone("DTSTART")));
    }

    fn occurs_of(properties: &str) -> Result<Occurs, Flaw> {
        let berlin = zone_named("Europe/Berlin").unwrap();
        read(&file(properties), Some(&berlin)).unwrap().remove(0).occurs
    }

    #[test]
    fn how_an_event_repeats_is_read_whole() {
        assert_eq!(occurs_of("DTSTART:20301204T200000\r\n"), Ok(Occurs::Once));
        let start = "DTSTART;TZID=Europe/Berlin:20301204T200000\r\n";
        let rule = "RRULE:FREQ=WEEKLY;WKST=SU;UNT\r\n IL=20311231T225959Z;BYDAY=WE,\r\n FR\r\n";
        let left_out =
            "EXDATE;TZID=Europe/Berlin:20301206T200000,20301211T200000\r\nEXDATE;VALUE=DATE:20301213\r\n";
        let Ok(Occurs::Repeats { rule, except }) = occurs_of(&format!("{start}{rule}{left_out}")) else {
            panic!("it repeats")
        };
        assert_eq!(rule.days.len(), 2);
        assert!(rule.until.is_some());
        let time = |time: &str| OneDate::Time(time.parse().unwrap());
        let thirteenth = OneDate::Day(jiff::civil::date(2030, 12, 13));
        let wanted = ["2030-12-06T20:00+01:00[Europe/Berlin]", "2030-12-11T20:00+01:00[Europe/Berlin]"];
        assert_eq!(except, [time(wanted[0]), time(wanted[1]), thirteenth]);
        let date = occurs_of(&format!("{start}RECURRENCE-ID;TZID=Europe/Berlin:20301206T200000\r\n"));
        assert_eq!(date, Ok(Occurs::OneDate(time(wanted[0]))));
    }

    #[test]
    fn a_repetition_that_cannot_be_taken_says_why() {
        let bad = |why: &str| Flaw::BadRule(why.to_owned());
        for (properties, flaw) in [
            ("DTSTART:20301204T200000Z\r\nRDATE:20301211T200000Z\r\n", Flaw::NotTaken("RDATE")),
            ("DTSTART:20301204T200000Z\r\nEXRULE:FREQ=DAILY\r\n", Flaw::NotTaken("EXRULE")),
            ("DTSTART:20301204T200000Z\r\nRRULE:FREQ=DAILY;COUNT=0\r\n", bad("COUNT must be more than 0")),
            ("DTSTART:20301204T200000Z\r\nRRULE:FREQ=DAILY\r\nRRULE:FREQ=WEEKLY\r\n", bad("must be one")),
            (
                "DTSTART:20301204T200000Z\r\nRECURRENCE-ID;RANGE=THISANDFUTURE:20301204T200000Z\r\n",
                Flaw::AndFollowing,
            ),
            ("DTSTART;VALUE=DATE:20301204\r\nRRULE:FREQ=DAILY\r\n", Flaw::DaysRepeat),
            ("DTSTART;TZID=Europe/Berlin:20260329T023000\r\nRRULE:FREQ=DAILY\r\n", Flaw::LeftOut),
            ("DTSTART:20301204T200000Z\r\nRRULE:FREQ=DAILY\r\nEXDATE:never\r\n", Flaw::NoTime("EXDATE")),
        ] {
            assert_eq!(occurs_of(properties), Err(flaw), "{properties}");
        }
    }

    #[test]
    fn what_repeats_in_utc_does_so_on_the_clocks_of_utc() {
        let berlin = zone_named("Europe/Berlin").unwrap();
        let text = file("DTSTART:20301204T200000Z\r\nDURATION:PT2H\r\nRRULE:FREQ=WEEKLY\r\n");
        let found = read(&text, Some(&berlin)).unwrap().remove(0).when.unwrap();
        assert_eq!(found.start.to_string(), "2030-12-04T20:00:00+00:00[UTC]");
        assert_eq!(found.end.unwrap().to_string(), "2030-12-04T22:00:00+00:00[UTC]");
    }

    #[test]
    fn a_file_names_the_zone_of_times_that_tell_none() {
        let google = file("DTSTART:20301204T230000Z\r\nDTEND:20301205T050000Z\r\n")
            .replace("VERSION:2.0\r\n", "VERSION:2.0\r\nX-WR-TIMEZONE:America/Montevideo\r\n");
        let found = read(&google, None).unwrap().remove(0).when.unwrap();
        assert_eq!(found.start.to_string(), "2030-12-04T20:00:00-03:00[America/Montevideo]");
    }

    #[test]
    fn texts_are_read_as_they_were_meant() {
        let item = read(
            &file(
                "SUMMARY:Milonga\\, con\\n or\r\n questa 💃\r\nDESCRIPTION:a\\;b\\\\n\r\nLOCATION;LANGUAGE=es:La Viruta\r\n\
                 GEO:-34.59;-58.42\r\nCATEGORIES:Milonga,Tango\r\nSTATUS:CANCELLED\r\nDTSTART:20301204T200000Z\r\n",
            ),
            None,
        );
        let item = item.unwrap().remove(0);
        assert_eq!(item.uid, "1");
        assert_eq!(item.summary, "Milonga, con\n orquesta 💃");
        assert_eq!((item.description.as_str(), item.location.as_str()), ("a;b\\n", "La Viruta"));
        assert_eq!((item.point, item.is_cancelled), (Some((-34.59, -58.42)), true));
        assert_eq!(item.categories, ["Milonga", "Tango"]);
    }

    #[test]
    fn files_that_are_none_or_too_much_are_refused() {
        for text in ["", "\u{feff}", "{}", "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Ana\r\nEND:VCARD\r\n"] {
            assert_eq!(read(text, None), Err(Unreadable::NoCalendar), "{text:?}");
        }
        let many = |count: usize| file(&"END:VEVENT\r\nBEGIN:VEVENT\r\nUID:2\r\n".repeat(count - 1));
        assert_eq!(read(&many(MOST_EVENTS), None).unwrap().len(), MOST_EVENTS);
        assert_eq!(read(&many(MOST_EVENTS + 1), None), Err(Unreadable::TooManyEvents));
        assert_eq!(read(&"begin:X\n".repeat(MOST_COMPONENTS + 1), None), Err(Unreadable::TooManyComponents));
    }

    #[test]
    fn what_is_written_is_read() {
        let time = |time: &str| time.parse::<ZonedDateTime>().unwrap();
        let (start, end) =
            (time("2030-07-04T22:00+02:00[Europe/Berlin]"), time("2030-07-05T04:00+02:00[Europe/Berlin]"));
        let written = Written {
            uid: "01@example.com".to_owned(),
            sequence: 3,
            created: start.timestamp(),
            changed: start.timestamp(),
            stamp: start.timestamp(),
            when: When::Times { start: start.clone(), end: end.clone() },
            summary: "Milonga, con orquesta; \\ \"💃\"".to_owned(),
            description: format!("{}\n\n{}", "ñandú, ".repeat(60), "x".repeat(300)),
            location: "La Viruta\nArmenia 1366".to_owned(),
            point: Some((-34.59, -58.42)),
            url: "https://example.com/events/01".to_owned(),
            contact: Some("Ana, \"la ñata\"".to_owned()),
            category: Some("MILONGA".to_owned()),
            status: Status::Cancelled,
            is_busy: true,
            participants: None,
        };
        let entries = [written.clone()];
        let text = Calendar { name: Some("Mine"), method: None, entries: &entries }.text();
        let read = read(&text, None).unwrap().remove(0);
        assert_eq!(
            (&read.uid, &read.summary, &read.location),
            (&written.uid, &written.summary, &written.location)
        );
        assert_eq!((read.description, read.point), (written.description, written.point));
        assert_eq!(read.when, Ok(Found { start, end: Some(end), all_day: false }));
        assert!(read.is_cancelled);
    }
}
