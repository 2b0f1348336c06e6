//! The jobs that carry what happened in one partition to another: of a listing to its bookings, and back. Each is done as often
//! as it takes, and doing it again changes nothing. Who does them is in `bookings/work.rs`.

use jiff::Timestamp;
use mundotango_jobs::JobKind;
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use super::listings::lists::Listed;
use crate::community::effects::Effect;
use crate::community::notifications::tell::NOTIFICATION;

/// Brings a booking to what the listing decided of its request.
pub(super) static FOLLOW: JobKind<Follow> = JobKind::new("booking_follow", &NOTIFICATION, 1);
/// Frees the nights of a booking that is closed, and forgets its request.
pub(super) static RELEASE: JobKind<OfBooking> = JobKind::new("booking_release", &NOTIFICATION, 1);
/// Writes down what a deadline has made of a booking.
pub(super) static DEADLINE: JobKind<OfBooking> = JobKind::new("booking_deadline", &NOTIFICATION, 1);
/// Counts a guest's stars in the listing's.
pub(super) static RATE: JobKind<Rate> = JobKind::new("listing_rating", &NOTIFICATION, 1);
/// Takes entries out of lists that lead to a listing as it was.
pub(super) static UNLIST: JobKind<Unlist> = JobKind::new("listing_unlist", &NOTIFICATION, 1);

/// A request, and the booking that it is to become.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "they are ids of different things")]
pub(super) struct Follow {
    pub(super) listing_id: String,
    pub(super) guest_id: String,
    pub(super) booking_id: String,
}

/// One booking.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OfBooking {
    pub(super) booking_id: String,
}

/// A guest's stars.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rate {
    pub(super) listing_id: String,
    pub(super) booking_id: String,
    pub(super) stars: u32,
}

/// Entries of one key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Unlist {
    pub(super) lists: Vec<String>,
    pub(super) key: String,
    pub(super) listed: Listed,
}

/// Brings a booking to what the listing decided; not before a time, if one is given.
pub(super) fn follow(job: &Follow, at: Option<Timestamp>) -> Result<Effect, StoreError> {
    let new = FOLLOW.job(job)?.group(job.listing_id.as_str());
    Ok(Effect::job(match at {
        Some(at) => new.due(at),
        None => new,
    }))
}

/// Frees the nights of a booking.
pub(super) fn release(booking_id: &str) -> Result<Effect, StoreError> {
    let job = RELEASE.job(&OfBooking { booking_id: booking_id.to_owned() })?;
    Ok(Effect::job(job.group(booking_id)))
}

/// Looks at a booking when a deadline is over.
pub(super) fn deadline(booking_id: &str, at: Timestamp) -> Result<Effect, StoreError> {
    let job = DEADLINE.job(&OfBooking { booking_id: booking_id.to_owned() })?;
    Ok(Effect::job(job.due(at).group(booking_id)))
}

/// Counts a guest's stars.
pub(super) fn rate(listing_id: &str, booking_id: &str, stars: u32) -> Result<Effect, StoreError> {
    let job = Rate { listing_id: listing_id.to_owned(), booking_id: booking_id.to_owned(), stars };
    Ok(Effect::job(RATE.job(&job)?.group(listing_id)))
}

/// Takes entries out of lists.
pub(super) fn unlist(job: &Unlist) -> Result<Effect, StoreError> {
    Ok(Effect::job(UNLIST.job(job)?.group(job.key.as_str())))
}
