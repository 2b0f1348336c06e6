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

/// When an event is, for calendars.
pub fn when(schedule: &Schedule) -> When {
    if let Some((first, last)) = schedule.days() {
        return When::Days { first, last };
    }
    let Schedule { start, end, .. } = schedule;
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
        when: when(&event.when),
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
        Schedule::times(start.parse().unwrap(), end.map(|end| end.parse().unwrap()))
    }

    #[test]
    fn an_event_always_has_an_end() {
        let untold = schedule("2026-12-04T22:00-03:00[America/Argentina/Buenos_Aires]", None);
        let When::Times { start, end } = when(&untold) else { panic!("it has times") };
        assert_eq!(end.duration_since(&start), SHOWN_FOR);
        let told =
            schedule("2026-12-04T22:00+01:00[Europe/Berlin]", Some("2026-12-05T04:00+01:00[Europe/Berlin]"));
        let When::Times { end, .. } = when(&told) else { panic!("it has times") };
        assert_eq!(Some(end), told.end);
    }
}
