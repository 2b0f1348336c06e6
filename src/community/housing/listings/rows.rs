//! From a listing's rows to a [`Calendar`], and back.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use mundotango_storage::db::{Wants, last_part, prefix};

use super::calendar::{Calendar, MOST_WAITING, Waiting};
use super::kind::{NIGHTS, Open, Row, WAITING, confirmed_key, night_key, request_key};
use crate::community::housing::stay::{self, Stay};

/// Requests that are read: one more than there are.
const ALL_WAITING: usize = MOST_WAITING + 1;
/// The first nights of a listing, of which those of the past are removed.
const OLDEST: usize = 50;

/// Which request of a listing.
#[derive(Clone, Debug)]
pub struct Which {
    /// The guest's.
    pub guest_id: String,
    /// That became this booking.
    pub booking_id: String,
    /// For these nights, as far as the booking knows.
    pub stay: Stay,
}

/// One row more than there are nights, so that the whole of a stay is read.
pub(super) fn rows_of(stay: Stay) -> usize {
    usize::try_from(stay.nights()).unwrap_or(usize::MAX).saturating_add(1)
}

/// What a change of these nights reads.
pub(super) fn wants(stay: Stay) -> Wants {
    let nights = Wants::head().between(&night_key(stay.from), &night_key(stay.to), rows_of(stay));
    nights.first(&prefix(&[WAITING]), ALL_WAITING).first(&prefix(&[NIGHTS]), OLDEST)
}

/// The same with a booking's own request, wherever it lies.
pub(super) fn wants_of(which: &Which) -> Wants {
    wants(which.stay).row(confirmed_key(&which.guest_id, &which.booking_id))
}

/// The nights of a stay, and all requests that wait.
pub(super) fn read(part: &mut Open<'_>, stay: Stay) -> Calendar {
    let mut calendar = Calendar::default();
    for (key, row) in part.between(&night_key(stay.from), &night_key(stay.to), rows_of(stay)) {
        if let (Row::Night(night), Some(date)) = (row, date_of(&key)) {
            calendar.nights.insert(date, night.clone());
        }
    }
    for (key, row) in part.first(&prefix(&[WAITING]), ALL_WAITING) {
        if let Row::Waiting(waiting) = row {
            calendar.requests.insert(last_part(&key), (**waiting).clone());
        }
    }
    calendar
}

/// The same with a booking's own request, and the nights that this is about.
pub(super) fn read_of(part: &mut Open<'_>, which: &Which) -> Calendar {
    let own = part.row(&confirmed_key(&which.guest_id, &which.booking_id)).cloned();
    let mut calendar = read(part, which.stay);
    if let Some(Row::Waiting(own)) = own {
        calendar.requests.insert(which.booking_id.clone(), *own);
    }
    match calendar.requests.get(&which.booking_id).map(Waiting::stay) {
        // The booking does not know of the last offer yet.
        Some(other) if other != which.stay => Calendar { nights: read(part, other).nights, ..calendar },
        _ => calendar,
    }
}

/// The date of a night's key.
pub(super) fn date_of(key: &str) -> Option<Date> {
    last_part(key).parse().ok()
}

/// Writes what differs, and removes nights of the past; whether anything did.
pub(super) fn write(part: &mut Open<'_>, before: &Calendar, after: &Calendar, now: Timestamp) -> bool {
    if before == after {
        return false;
    }
    let today = stay::today(&part.head.details.time_zone, now);
    let oldest = part.first(&prefix(&[NIGHTS]), OLDEST).into_iter().map(|(key, _)| key);
    let past: Vec<_> = oldest.filter(|key| date_of(key).is_some_and(|date| date < today)).collect();
    for key in past {
        part.remove(key);
    }
    let dates: BTreeSet<_> = before.nights.keys().chain(after.nights.keys()).collect();
    for date in dates {
        match (before.nights.get(date), after.nights.get(date)) {
            (before, after) if before == after => {}
            (_, Some(night)) => part.set(night_key(*date), Row::Night(night.clone())),
            (_, None) => part.remove(night_key(*date)),
        }
    }
    for (id, waiting) in &before.requests {
        // One that is confirmed lies elsewhere.
        if after.requests.get(id) != Some(waiting) {
            part.remove(request_key(id, waiting));
        }
    }
    for (id, waiting) in &after.requests {
        if before.requests.get(id) != Some(waiting) {
            part.set(request_key(id, waiting), Row::Waiting(Box::new(waiting.clone())));
        }
    }
    true
}
