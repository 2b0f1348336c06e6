//! A stay as calendars show it: whole days, from the first night to the last.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mundotango_storage::StoreError;

use super::may_know_the_place;
use super::rules::Booking;
use crate::community::housing::listings::kind::Listing;
use crate::community::housing::status::{Side, Status};
use crate::community::housing::stay;
use crate::community::policy::Viewer;
use crate::community::site::Site;
use crate::community::{Community, Person};
use crate::email::Language;
use crate::icalendar::{self, Entry, When};

/// How a stay stands in a calendar.
const fn shown(status: Status) -> icalendar::Status {
    match status {
        Status::Requested | Status::Countered => icalendar::Status::Tentative,
        Status::Confirmed | Status::Completed | Status::NoShow => icalendar::Status::Confirmed,
        Status::Declined | Status::Superseded | Status::Expired | Status::Cancelled => {
            icalendar::Status::Cancelled
        }
    }
}

fn summary(status: icalendar::Status, side: Side, title: &str, other: &str, language: Language) -> String {
    let what = match (side, language) {
        _ if other.is_empty() => title.to_owned(),
        (Side::Guest, Language::En) => format!("Stay with {other}: {title}"),
        (Side::Guest, Language::Es) => format!("Estancia con {other}: {title}"),
        (Side::Host, Language::En) => format!("Guest {other}: {title}"),
        (Side::Host, Language::Es) => format!("Huésped {other}: {title}"),
    };
    match (status, language) {
        // Outlook does not look at the status.
        (icalendar::Status::Cancelled, Language::En) => format!("Cancelled: {what}"),
        (icalendar::Status::Cancelled, Language::Es) => format!("Cancelado: {what}"),
        _ => what,
    }
}

/// A booking for the calendar of the user on one of its sides. `place` is where the stay is, for who may know.
fn entry(
    booking: &Booking,
    side: Side,
    other: Option<&Person>,
    place: Option<&Listing>,
    (site, language, now): (&Site, Language, Timestamp),
) -> Entry {
    let (status, url) = (shown(booking.status(now)), site.booking_page(&booking.id));
    let (request, progress) = (&booking.request, &booking.progress);
    let other = other.map(|person| person.full_name.as_str());
    let changed = progress.passed.last().map_or(request.created_at, |passed| passed.at);
    let check_in = place.and_then(|place| place.details.check_in.as_deref()).unwrap_or_default();
    let description = [progress.reason.as_deref().unwrap_or_default(), check_in, &url];
    let description: Vec<_> = description.into_iter().filter(|part| !part.is_empty()).collect();
    let stay = booking.stay();
    Entry {
        uid: site.uid(&booking.id),
        sequence: u32::try_from(progress.version).unwrap_or(u32::MAX),
        created: request.created_at,
        changed,
        stamp: changed,
        when: When::Days { first: stay.from, last: stay::days_later(stay.to, -1) },
        summary: summary(status, side, &request.title, other.unwrap_or_default(), language),
        description: description.join("\n\n"),
        location: place.map(|place| place.details.location.text.clone()).unwrap_or_default(),
        point: None,
        url,
        contact: other.map(str::to_owned),
        category: Some("STAY".to_owned()),
        status,
        // Whose place is taken may be anywhere.
        is_busy: side == Side::Guest && status == icalendar::Status::Confirmed,
        participants: None,
    }
}

impl Community {
    /// A user's bookings as the user's calendar shows them now.
    pub(in crate::community) async fn stay_entries(
        &self,
        user_id: &str,
        bookings: &[Booking],
        language: Language,
        now: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        let may_know_the_place =
            |booking: &Booking| may_know_the_place(booking, Viewer::user(user_id), user_id, now);
        let places: BTreeSet<_> = bookings
            .iter()
            .filter(|booking| may_know_the_place(booking))
            .map(|booking| booking.request.listing_id.clone())
            .collect();
        let places: Vec<_> = places.into_iter().collect();
        let read = self.housing.listings.all(&places).await?;
        let places: BTreeMap<_, _> =
            read.into_iter().flatten().map(|listing| (listing.id.clone(), listing)).collect();
        let sides = bookings.iter().filter_map(|booking| Some((booking, booking.side_of(user_id)?)));
        let sides: Vec<_> = sides.collect();
        let others = sides.iter().map(|(booking, side)| booking.user(side.other()).to_owned());
        let people = self.people(others.collect()).await;
        let entries = sides.into_iter().map(|(booking, side)| {
            let other = people.get(booking.user(side.other()));
            let place = places.get(&booking.request.listing_id).filter(|_| may_know_the_place(booking));
            entry(booking, side, other, place, (&self.site, language, now))
        });
        Ok(entries.collect())
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::rules::tests::booking;
    use super::*;
    use crate::community::housing::bookings::rules::Step;
    use crate::email::MailOptions;

    #[test]
    fn a_stay_is_its_nights_and_stands_as_the_booking_does() {
        let site = Site::of(&MailOptions {
            public_url: "https://tango.example".to_owned(),
            ..MailOptions::default()
        });
        let site = site.unwrap();
        let mut booking = booking();
        let begin = booking.request.created_at;
        let at = |hours| begin + SignedDuration::from_hours(hours);
        let shown =
            |booking: &Booking, side, now| entry(booking, side, None, None, (&site, Language::Es, now));
        let asked = shown(&booking, Side::Host, at(0));
        assert_eq!((asked.status, asked.is_busy), (icalendar::Status::Tentative, false));
        let When::Days { first, last } = asked.when else { panic!("it is days") };
        let stay = booking.stay();
        assert_eq!((first, stay::days_later(last, 1)), (stay.from, stay.to));
        assert_eq!((asked.uid, asked.location), (format!("{}@tango.example", booking.id), String::new()));

        booking.take(&Step::Confirm(at(1)), at(1)).unwrap();
        let confirmed = shown(&booking, Side::Guest, at(1));
        assert_eq!((confirmed.status, confirmed.is_busy), (icalendar::Status::Confirmed, true));
        assert!(confirmed.sequence > asked.sequence && confirmed.changed == at(1));
        booking.take(&Step::Cancel(Side::Host, Some("Agua.".to_owned())), at(2)).unwrap();
        let cancelled = shown(&booking, Side::Guest, at(3));
        assert_eq!((cancelled.status, cancelled.is_busy), (icalendar::Status::Cancelled, false));
        assert!(cancelled.summary.starts_with("Cancelado: ") && cancelled.description.starts_with("Agua."));
    }
}
