//! What of an event in a file tells times, and on whose clocks they are.

use calcard::common::PartialDateTime;
use calcard::icalendar::timezone::TzResolver;
use calcard::icalendar::{ICalendarComponent, ICalendarEntry, ICalendarProperty, ICalendarValue};
use jiff::ZonedDateTime;
use jiff::civil::{Date, Time};
use jiff::tz::{Offset, TimeZone};
use mundotango_storage::zone_named;

/// Why an event of a file cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Its rule cannot be read.
    #[error("RRULE: {0}")]
    BadRule(String),
    /// Its dates follow something else than a rule.
    #[error("{0}: is not taken; dates follow one RRULE, without those of EXDATE")]
    NotTaken(&'static str),
    /// It changes a date and all behind it.
    #[error("RECURRENCE-ID: RANGE is not taken; a date is changed alone")]
    AndFollowing,
    /// It repeats, and is whole days.
    #[error("DTSTART: whole days that repeat are not taken; tell a time")]
    DaysRepeat,
    /// It repeats from a time on that its clocks do not show.
    #[error("DTSTART: the clocks leave this time out; let a rule begin on another day")]
    LeftOut,
    /// Nothing says when it is.
    #[error("DTSTART: is missing")]
    NoStart,
    /// A time is none.
    #[error("{0}: is no time")]
    NoTime(&'static str),
    /// The time is that of whatever clocks there are.
    #[error("{0}: tells no zone; say by timeZone in whose the file is")]
    NoZone(&'static str),
    /// Nobody knows the zone.
    #[error("{0}: has a TZID that is no zone of the IANA database")]
    UnknownZone(&'static str),
    /// It ends before it begins.
    #[error("DTEND: is before DTSTART")]
    EndsBefore,
}

/// When an event of a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// When it starts.
    pub start: ZonedDateTime,
    /// When it ends, if that is told.
    pub end: Option<ZonedDateTime>,
    /// Whether it is whole days, from one midnight to another.
    pub all_day: bool,
}

/// A date of an event that repeats, by when the rule has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneDate {
    /// The one of that day.
    Day(Date),
    /// The one that starts then.
    Time(ZonedDateTime),
}

pub(super) fn entry<'a>(
    component: &'a ICalendarComponent,
    property: &ICalendarProperty,
) -> Option<&'a ICalendarEntry> {
    component.entries.iter().find(|entry| entry.name == *property)
}

pub(super) fn text_of(value: &ICalendarValue) -> Option<&str> {
    match value {
        ICalendarValue::Text(text) => Some(text),
        _ => None,
    }
}

pub(super) fn first_text(entry: &ICalendarEntry) -> Option<&str> {
    entry.values.first().and_then(text_of)
}

/// The zones of a file.
pub(super) struct Zones<'a> {
    /// Those that it describes, and those of other programs.
    pub(super) named: TzResolver<&'a str>,
    /// That of times which tell none.
    pub(super) default: Option<TimeZone>,
}

impl Zones<'_> {
    /// The zone that a file means by a name, which may be one of Windows.
    pub(super) fn find(&self, name: &str) -> Option<TimeZone> {
        zone_named(name).or_else(|| zone_named(&self.named.resolve(name)?.name()?))
    }

    /// The time of a property, and whether it is a date alone, which is midnight then.
    pub(super) fn time(
        &self,
        entry: &ICalendarEntry,
        property: &'static str,
    ) -> Result<(ZonedDateTime, bool), Flaw> {
        let value = entry.values.first().ok_or(Flaw::NoTime(property))?;
        self.time_of(entry, value, property)
    }

    /// The dates that a property names.
    pub(super) fn dates(&self, entry: &ICalendarEntry, property: &'static str) -> Result<Vec<OneDate>, Flaw> {
        let date = |value: &ICalendarValue| match value {
            // A date alone is in no zone.
            ICalendarValue::PartialDateTime(time) if time.hour.is_none() => {
                date_of(time).map(OneDate::Day).ok_or(Flaw::NoTime(property))
            }
            value => Ok(OneDate::Time(self.time_of(entry, value, property)?.0)),
        };
        entry.values.iter().map(date).collect()
    }

    /// The time of one of a property's values, likewise.
    pub(super) fn time_of(
        &self,
        entry: &ICalendarEntry,
        value: &ICalendarValue,
        property: &'static str,
    ) -> Result<(ZonedDateTime, bool), Flaw> {
        let no_time = || Flaw::NoTime(property);
        let ICalendarValue::PartialDateTime(time) = value else { return Err(no_time()) };
        let date = date_of(time).ok_or_else(no_time)?;
        let default = || self.default.clone();
        if time.hour.is_none() {
            let zone = default().ok_or(Flaw::NoZone(property))?;
            let midnight = date.to_zoned_datetime(zone).map_err(|_| no_time())?;
            return Ok((midnight, true));
        }
        let local = date.to_datetime(time_of(time).ok_or_else(no_time)?);
        if let Some(offset) = offset_of(time) {
            let point = offset.to_timestamp(local).map_err(|_| no_time())?;
            // Programs tell in UTC what their users see on the clocks of the calendar's zone.
            return Ok((point.to_zoned_datetime(default().unwrap_or(TimeZone::UTC)), false));
        }
        let zone = match entry.tz_id() {
            Some(name) => self.find(name).ok_or(Flaw::UnknownZone(property))?,
            None => default().ok_or(Flaw::NoZone(property))?,
        };
        // In a gap it is as long after it as it stands in it, and of an hour that comes twice it is the first (3.3.5).
        Ok((local.to_zoned_datetime(zone).map_err(|_| no_time())?, false))
    }
}

pub(super) fn date_of(time: &PartialDateTime) -> Option<Date> {
    let year = i16::try_from(time.year?).ok()?;
    Date::new(year, i8::try_from(time.month?).ok()?, i8::try_from(time.day?).ok()?).ok()
}

pub(super) fn time_of(time: &PartialDateTime) -> Option<Time> {
    let part = |part: Option<u8>| i8::try_from(part.unwrap_or_default()).ok();
    // A leap second is as good as the second before it.
    Time::new(part(time.hour)?, part(time.minute)?, part(time.second)?.min(59), 0).ok()
}

pub(super) fn offset_of(time: &PartialDateTime) -> Option<Offset> {
    let seconds = i32::from(time.tz_hour?) * 3600 + i32::from(time.tz_minute.unwrap_or_default()) * 60;
    Offset::from_seconds(if time.tz_minus { -seconds } else { seconds }).ok()
}
