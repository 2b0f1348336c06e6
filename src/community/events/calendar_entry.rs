//! An event as calendars show it.

use jiff::SignedDuration;

use super::rules::RsvpStatus;
use super::schedule::Schedule;
use super::store::Event;
use crate::community::label;
use crate::community::site::Site;
use crate::email::Language;
use crate::icalendar::{Entry, Status, When};

/// How long an event without an end is in calendars: each entry has an end, as programs differ in what they make of one without.
/// An evening of dancing, and not as long as it is taken to be on at most.
pub const SHOWN_FOR: SignedDuration = SignedDuration::from_hours(4);

/// When an event is, for calendars. One of whole days begins at one midnight and ends at another.
pub fn when(schedule: &Schedule, all_day: bool) -> When {
    let Schedule { start, end } = schedule;
    if all_day {
        let before_the_end = |end: &jiff::ZonedDateTime| end.checked_sub(SignedDuration::from_nanos(1));
        let last = end.as_ref().and_then(|end| before_the_end(end).ok()).map(|last| last.date());
        return When::Days {
            first: start.date(),
            last: last.map_or(start.date(), |last| last.max(start.date())),
        };
    }
    let end = end.clone().unwrap_or_else(|| start.saturating_add(SHOWN_FOR));
    When::Times { start: start.clone(), end }
}

/// An event for the calendar of a user who answered it so, or did not.
pub fn entry(
    event: &Event,
    answer: Option<RsvpStatus>,
    host: Option<&str>,
    site: &Site,
    language: Language,
) -> Entry {
    let url = site.event_page(&event.id);
    let reason = event.cancelled.as_ref().and_then(|cancelled| cancelled.reason.as_deref());
    // Google shows no URL beside the description.
    let description = [reason.unwrap_or_default(), &event.description, &url];
    let description: Vec<_> = description.into_iter().filter(|part| !part.is_empty()).collect();
    let status = match (&event.cancelled, answer) {
        (Some(_), _) => Status::Cancelled,
        (None, Some(RsvpStatus::Maybe | RsvpStatus::Waitlisted | RsvpStatus::Held)) => Status::Tentative,
        (None, _) => Status::Confirmed,
    };
    let summary = match (status, language) {
        // Outlook does not look at the status.
        (Status::Cancelled, Language::En) => format!("Cancelled: {}", event.title),
        (Status::Cancelled, Language::Es) => format!("Cancelado: {}", event.title),
        _ => event.title.clone(),
    };
    Entry {
        uid: site.uid(&event.id),
        sequence: event.sequence,
        created: event.created_at,
        changed: event.changed_at,
        stamp: event.changed_at,
        when: when(&event.when, false),
        summary,
        description: description.join("\n\n"),
        location: event.location.text.clone(),
        point: event.location.coordinates.map(|point| (point.latitude, point.longitude)),
        url,
        contact: host.map(str::to_owned),
        category: Some(label(event.event_type).to_uppercase()),
        status,
        is_busy: answer == Some(RsvpStatus::Going) && event.cancelled.is_none(),
        participants: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(start: &str, end: Option<&str>) -> Schedule {
        Schedule { start: start.parse().unwrap(), end: end.map(|end| end.parse().unwrap()) }
    }

    #[test]
    fn an_event_always_has_an_end() {
        let untold = schedule("2026-12-04T22:00-03:00[America/Argentina/Buenos_Aires]", None);
        let When::Times { start, end } = when(&untold, false) else { panic!("it has times") };
        assert_eq!(end.duration_since(&start), SHOWN_FOR);
        let told =
            schedule("2026-12-04T22:00+01:00[Europe/Berlin]", Some("2026-12-05T04:00+01:00[Europe/Berlin]"));
        let When::Times { end, .. } = when(&told, false) else { panic!("it has times") };
        assert_eq!(Some(end), told.end);
    }

    #[test]
    fn whole_days_are_those_between_two_midnights() {
        let days = |start: &str, end: Option<&str>| {
            let at = |date: &str| format!("{date}T00:00[America/Santiago]");
            let When::Days { first, last } = when(&schedule(&at(start), end.map(at).as_deref()), true) else {
                panic!("it is days")
            };
            (first.to_string(), last.to_string())
        };
        let pair = |first: &str, last: &str| (first.to_owned(), last.to_owned());
        assert_eq!(days("2026-03-05", Some("2026-03-09")), pair("2026-03-05", "2026-03-08"));
        assert_eq!(days("2026-03-05", Some("2026-03-06")), pair("2026-03-05", "2026-03-05"));
        assert_eq!(days("2026-03-05", None), pair("2026-03-05", "2026-03-05"));
        // Midnight of the last day is left out by the clocks.
        assert_eq!(days("2026-09-04", Some("2026-09-07")), pair("2026-09-04", "2026-09-06"));
    }
}
