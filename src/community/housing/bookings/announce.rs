//! What a change of a booking causes: messages to both sides, notifications, letters, and the jobs that look again when a deadline
//! is over.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;

use super::bill::Payment;
use super::bodies::{BookingBody, BookingMessage};
use super::rules::Booking;
use crate::community::effects::Effect;
use crate::community::housing::jobs;
use crate::community::housing::status::{Side, Status};
use crate::community::letters::bookings::{self as letters, Reminder};
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::Tell;
use crate::community::payments::causes;
use crate::community::payments::quote::Purpose;
use crate::community::{Person, personal_channel};
use crate::email::BookingStep;

/// How long after a deadline a job looks, so that it is over on the clocks of all nodes.
const LOOKED_AT_AFTER: SignedDuration = SignedDuration::from_secs(1);
/// When those who have not written a review are reminded, in days after check-out.
const REVIEW_REMINDERS: [i32; 3] = [1, 7, 13];

/// The people by their ids.
pub(super) type People = BTreeMap<String, Person>;

/// Tells both sides on all of their devices.
fn publish(
    booking: &Booking,
    message: impl Fn(Box<BookingBody>) -> BookingMessage,
    people: &People,
    now: Timestamp,
) -> Result<Vec<Effect>, StoreError> {
    let message = message(Box::new(BookingBody::new(booking, people, now)));
    let tell = |side| Effect::publish(personal_channel(booking.user(side)), &message);
    Side::BOTH.into_iter().map(tell).collect()
}

fn changed(booking: &Booking, people: &People, now: Timestamp) -> Result<Vec<Effect>, StoreError> {
    publish(booking, |booking| BookingMessage::Changed { booking }, people, now)
}

fn deadline(booking: &Booking, at: Timestamp) -> Result<Effect, StoreError> {
    jobs::deadline(&booking.id, at.saturating_add(LOOKED_AT_AFTER).unwrap_or(Timestamp::MAX))
}

/// Tells a side by a notification.
fn notification(
    booking: &Booking,
    side: Side,
    kind: NotificationKind,
    stale_at: Option<Timestamp>,
) -> Result<Effect, StoreError> {
    let told = Tell {
        kind,
        thing: booking.id.clone(),
        title: booking.request.title.clone(),
        actor_id: Some(booking.user(side.other()).to_owned()),
        count: 1,
        stale_at,
    };
    told.effect(booking.user(side))
}

/// Tells a side by a notification, and by a letter.
fn tell(
    booking: &Booking,
    side: Side,
    kind: NotificationKind,
    step: BookingStep,
    stale_at: Option<Timestamp>,
) -> Result<[Effect; 2], StoreError> {
    Ok([notification(booking, side, kind, stale_at)?, letters::step(booking, side, step)?])
}

/// What a new request causes.
pub(super) fn requested(
    booking: &Booking,
    people: &People,
    now: Timestamp,
) -> Result<Vec<Effect>, StoreError> {
    let mut effects = publish(booking, |booking| BookingMessage::Requested { booking }, people, now)?;
    let by = Some(booking.answer_by());
    let kind = NotificationKind::BookingRequested;
    effects.extend(tell(booking, Side::Host, kind, BookingStep::Requested, by)?);
    effects.push(deadline(booking, booking.answer_by())?);
    Ok(effects)
}

/// What a step from one state to the next causes.
pub(super) fn stepped(
    before: &Booking,
    after: &Booking,
    people: &People,
    now: Timestamp,
) -> Result<Vec<Effect>, StoreError> {
    let status = after.progress.status;
    let mut effects = changed(after, people, now)?;
    if status.is_closed() {
        effects.push(jobs::release(&after.id)?);
    }
    // Who waited for the other side.
    let waited = if before.progress.status == Status::Countered { Side::Host } else { Side::Guest };
    match status {
        Status::Countered => {
            let (kind, by) = (NotificationKind::BookingCountered, after.answer_by());
            effects.extend(tell(after, Side::Guest, kind, BookingStep::Countered, Some(by))?);
            effects.push(deadline(after, by)?);
        }
        Status::Confirmed => {
            let (kind, until) = (NotificationKind::BookingConfirmed, after.completes_at());
            effects.extend(tell(after, Side::Guest, kind, BookingStep::Confirmed, Some(until))?);
            if waited == Side::Host {
                effects.extend(tell(after, Side::Host, kind, BookingStep::Accepted, Some(until))?);
            }
            effects.extend(letters::reminder(after, Reminder::Arrival, Side::Guest, -1, now)?);
            effects.push(deadline(after, until)?);
        }
        Status::Declined => {
            let kind = NotificationKind::BookingDeclined;
            effects.extend(tell(after, Side::Guest, kind, BookingStep::Declined, None)?);
        }
        Status::Superseded => {
            let kind = NotificationKind::BookingSuperseded;
            effects.extend(tell(after, Side::Guest, kind, BookingStep::Superseded, None)?);
        }
        Status::Expired => {
            let kind = NotificationKind::BookingExpired;
            effects.extend(tell(after, waited, kind, BookingStep::Expired, None)?);
        }
        Status::Cancelled => {
            let by = after.progress.passed.last().and_then(|passed| passed.by);
            if let Some(other) = by.map(Side::other) {
                let kind = NotificationKind::BookingCancelled;
                effects.extend(tell(after, other, kind, BookingStep::Cancelled, None)?);
            }
            if let Some((payment, minor)) = after.progress.bill.owed() {
                effects.push(Effect::job(causes::owed(payment, &after.id, Some(minor))?));
            }
            if before.progress.bill.payment == Payment::Due {
                let guest = after.request.guest_id.as_str();
                effects.push(Effect::job(causes::page_ends(Purpose::Booking, &after.id, guest)?));
            }
        }
        Status::Completed => {
            for side in Side::BOTH {
                for days in REVIEW_REMINDERS {
                    effects.extend(letters::reminder(after, Reminder::Review, side, days, now)?);
                }
            }
            effects.push(deadline(after, after.reveals_by())?);
        }
        Status::Requested | Status::NoShow => {}
    }
    Ok(effects)
}

/// The effects of money that came for a booking or went back: both sides are told, and the host gets a notification of what came.
pub(super) fn money_moved(
    before: &Booking,
    booking: &Booking,
    people: &People,
    now: Timestamp,
) -> Result<Vec<Effect>, StoreError> {
    let mut effects = changed(booking, people, now)?;
    if before.progress.bill.payment == Payment::Due {
        effects.push(notification(booking, Side::Host, NotificationKind::BookingPaid, None)?);
    }
    Ok(effects)
}

/// What it causes that the reviews of a stay are shown: `stars` are those that the guest gave.
pub(super) fn revealed(
    booking: &Booking,
    stars: Option<u32>,
    people: &People,
    now: Timestamp,
) -> Result<Vec<Effect>, StoreError> {
    let mut effects = changed(booking, people, now)?;
    if let Some(stars) = stars {
        effects.push(jobs::rate(&booking.request.listing_id, &booking.id, stars)?);
    }
    for side in Side::BOTH.into_iter().filter(|side| booking.has_reviewed(side.other())) {
        effects.push(notification(booking, side, NotificationKind::ReviewsRevealed, None)?);
    }
    Ok(effects)
}
