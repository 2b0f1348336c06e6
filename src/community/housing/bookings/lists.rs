//! The lists in which bookings and reviews are found.

use jiff::Timestamp;
use jiff::civil::Date;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Entry, Fields, Index, Order, day_of_id, key, last_part, number};

use super::rules::Booking;
use crate::community::housing::status::Side;

/// A user's bookings: `guest:` and `host:` with the user's id. By booking, so by the time at which they were asked for.
pub static BOOKINGS_BY_USER: Index<()> = Index::new(
    "bookings_by_user",
    "a year of a user: 5,000 entries of 80 B, 400 KB",
    |key| Some(day_of_id(key)? / DAYS_OF_A_YEAR),
    Order::NewestFirst,
    Fields::AS_TARGET,
);

/// A user's stays that were confirmed, as guest and as host: a list is the user's id. By check-in day, then by booking.
pub static STAYS_BY_DAY: Index<()> = Index::new(
    "stays_by_day",
    "a year of a user: 800 entries of 80 B, 64 KB",
    |key| Some(i64::from(day_of(key)?.year())),
    Order::OldestFirst,
    Fields::AS_TARGET,
);

/// Reviews that are shown: `listing:` with its id, of its guests; `guest:` with a user's id, of hosts; `host:`, of guests. By the
/// time since when they are shown, then by booking.
pub static REVIEWS_BY_SUBJECT: Index<()> = Index::new(
    "reviews_by_subject",
    "a year of a subject: 800 entries of 100 B, 80 KB",
    |key| i64::try_from(shown_at(key)? / MILLIS_OF_A_YEAR).ok(),
    Order::NewestFirst,
    Fields::AS_TARGET,
);

const DAYS_OF_A_YEAR: i64 = 366;
const MILLIS_OF_A_YEAR: u64 = 366 * 24 * 60 * 60 * 1000;
/// Characters of a day, and of a number, in a key.
const DAY: usize = 10;
const NUMBER: usize = 20;

/// The day with which a key begins.
pub(super) fn day_of(key: &str) -> Option<Date> {
    key.get(..DAY)?.parse().ok()
}

/// The time with which a key begins, in milliseconds.
fn shown_at(key: &str) -> Option<u64> {
    key.get(..NUMBER)?.parse().ok()
}

/// The list of a user's bookings on a side.
pub(super) fn of_user(side: Side, user_id: &str) -> String {
    format!("{}:{user_id}", side.name())
}

/// The list of the reviews of a listing.
pub(super) fn of_listing(listing_id: &str) -> String {
    format!("listing:{listing_id}")
}

/// The key of a stay.
pub(super) fn stay_key(booking: &Booking) -> String {
    key(&[&booking.stay().from.to_string(), &booking.id])
}

/// The key of a review that is shown since a time.
pub(super) fn review_key(booking_id: &str, revealed_at: Timestamp) -> String {
    key(&[&number(revealed_at.as_millisecond().unsigned_abs()), booking_id])
}

/// The booking to which a key of stays or reviews leads.
pub(super) fn booking_of(key: &str) -> String {
    last_part(key)
}

/// The entries of a booking that was just asked for.
pub(super) fn asked(booking: &Booking) -> Result<Vec<Entry>, StoreError> {
    let of = |side| BOOKINGS_BY_USER.entry(of_user(side, booking.user(side)), &booking.id, &());
    Side::BOTH.into_iter().map(of).collect()
}

/// The entries of a stay that is confirmed.
pub(super) fn confirmed(booking: &Booking) -> Result<Vec<Entry>, StoreError> {
    let key = stay_key(booking);
    Side::BOTH.into_iter().map(|side| STAYS_BY_DAY.entry(booking.user(side), &key, &())).collect()
}

/// The entries of the reviews of a stay, which are shown since a time.
pub(super) fn revealed(booking: &Booking, at: Timestamp) -> Result<Vec<Entry>, StoreError> {
    let key = review_key(&booking.id, at);
    let mut lists = Vec::new();
    for author in Side::BOTH.into_iter().filter(|side| booking.has_reviewed(*side)) {
        lists.push(of_user(author.other(), booking.user(author.other())));
        if author == Side::Guest {
            lists.push(of_listing(&booking.request.listing_id));
        }
    }
    lists.into_iter().map(|list| REVIEWS_BY_SUBJECT.entry(list, &key, &())).collect()
}

#[cfg(test)]
mod tests {
    use mundotango_protocol::new_id;

    use super::super::rules::tests::booking;
    use super::*;

    #[test]
    fn keys_sort_by_day_and_by_time() {
        let (id, mut booking) = (new_id(), booking());
        booking.id.clone_from(&id);
        assert_eq!(booking_of(&stay_key(&booking)), id);
        assert_eq!(day_of(&stay_key(&booking)), Some(booking.stay().from));
        assert!((STAYS_BY_DAY.spec().bucket)("2030-05-12").is_some(), "a day alone is where a list begins");
        let at = |text: &str| review_key(&id, text.parse().unwrap());
        assert!(at("2030-05-12T00:00:00Z") < at("2030-05-12T00:00:00.001Z"));
        assert_eq!(booking_of(&at("2030-05-12T00:00:00Z")), id);
        for wrong in ["", "x", "2030-13-01/x"] {
            assert!((STAYS_BY_DAY.spec().bucket)(wrong).is_none(), "{wrong}");
            assert!((REVIEWS_BY_SUBJECT.spec().bucket)(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_guests_review_is_of_the_host_and_of_the_place() {
        let mut booking = booking();
        booking.progress.reviews.guest = true;
        let at = "2030-05-20T00:00:00Z".parse().unwrap();
        assert_eq!(revealed(&booking, at).unwrap().len(), 2);
        booking.progress.reviews.host = true;
        assert_eq!(revealed(&booking, at).unwrap().len(), 3);
    }
}
