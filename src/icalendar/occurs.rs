//! How often an event of a file takes place, and which of its dates do not.

use calcard::icalendar::{
    ICalendarComponent, ICalendarEntry, ICalendarParameterName, ICalendarProperty, ICalendarValue,
};
use jiff::tz::TimeZone;

use super::recurrence::Recurrence;
use super::times::{Flaw, Found, OneDate, Zones, date_of, entry, offset_of, text_of, time_of};

/// What stands before the name of a rule while the file is taken apart: the parser would cut its numbers short.
const AS_IT_IS: &str = "X-AS-IT-IS-";
/// The name of a rule that is kept as it is.
const RULE: &str = "X-AS-IT-IS-RRULE";

/// How often an event of a file takes place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occurs {
    /// Once.
    Once,
    /// By a rule.
    Repeats {
        /// The rule.
        rule: Box<Recurrence>,
        /// Dates that are left out.
        except: Vec<OneDate>,
    },
    /// It is a date of an event that repeats, which differs from the others.
    OneDate(OneDate),
}

/// The file with the rules of its events under another name. Zones keep theirs.
pub(super) fn with_rules_as_they_are(text: &str) -> String {
    let starts =
        |line: &str, with: &str| line.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let mut is_event = false;
    let mut written = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if starts(line, "BEGIN:VEVENT") || starts(line, "END:VEVENT") {
            is_event = starts(line, "BEGIN");
        }
        if is_event && starts(line, "RRULE") {
            written.push_str(AS_IT_IS);
        }
        written.push_str(line);
    }
    written
}

/// How often an event takes place, and which of its dates do not.
pub(super) fn occurs(component: &ICalendarComponent, zones: &Zones<'_>) -> Result<Occurs, Flaw> {
    let has = |property: &ICalendarProperty| entry(component, property).is_some();
    for (property, name) in [(ICalendarProperty::Rdate, "RDATE"), (ICalendarProperty::Exrule, "EXRULE")] {
        if has(&property) {
            return Err(Flaw::NotTaken(name));
        }
    }
    let is_rule = |entry: &&ICalendarEntry| match &entry.name {
        ICalendarProperty::Other(name) => name.eq_ignore_ascii_case(RULE),
        name => *name == ICalendarProperty::Rrule,
    };
    let mut rules = component.entries.iter().filter(is_rule);
    let rule = rules.next();
    if rules.next().is_some() {
        return Err(Flaw::BadRule("must be one".to_owned()));
    }
    if let Some(date) = entry(component, &ICalendarProperty::RecurrenceId) {
        if date.params.iter().any(|parameter| parameter.name == ICalendarParameterName::Range) {
            return Err(Flaw::AndFollowing);
        }
        if rule.is_some() {
            return Err(Flaw::BadRule("a date of an event that repeats does not repeat".to_owned()));
        }
        let mut dates = zones.dates(date, "RECURRENCE-ID")?;
        return dates.pop().map(Occurs::OneDate).ok_or(Flaw::NoTime("RECURRENCE-ID"));
    }
    let Some(rule) = rule else { return Ok(Occurs::Once) };
    let texts: Option<Vec<_>> = rule.values.iter().map(text_of).collect();
    let texts = texts.ok_or_else(|| Flaw::BadRule("cannot be read".to_owned()))?;
    let rule = Box::new(Recurrence::read(texts.into_iter()).map_err(Flaw::BadRule)?);
    let mut except = Vec::new();
    for entry in component.entries.iter().filter(|entry| entry.name == ICalendarProperty::Exdate) {
        except.extend(zones.dates(entry, "EXDATE")?);
    }
    Ok(Occurs::Repeats { rule, except })
}

/// Holds the first date of an event that repeats to what a rule can begin with. One in UTC repeats in UTC, whatever its users see.
pub(super) fn repeats_from(component: &ICalendarComponent, found: &mut Found) -> Result<(), Flaw> {
    if found.all_day {
        return Err(Flaw::DaysRepeat);
    }
    let start = entry(component, &ICalendarProperty::Dtstart).and_then(|entry| entry.values.first());
    let Some(ICalendarValue::PartialDateTime(told)) = start else { return Err(Flaw::NoStart) };
    if offset_of(told).is_some() {
        found.start = found.start.with_time_zone(TimeZone::UTC);
        found.end = found.end.as_ref().map(|end| end.with_time_zone(TimeZone::UTC));
        return Ok(());
    }
    let shown = date_of(told).zip(time_of(told)).map(|(date, time)| date.to_datetime(time));
    if shown == Some(found.start.datetime()) { Ok(()) } else { Err(Flaw::LeftOut) }
}
