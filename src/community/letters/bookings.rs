//! Letters about bookings: what the other side did, and what is on soon. Each is judged again when it is written, so that nobody
//! reads of what is no longer so.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::db::outbox_key;
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};

use super::events::letter;
use super::{Letters, Own, Reader};
use crate::community::effects::Effect;
use crate::community::housing::bookings::rules::Booking;
use crate::community::housing::status::{Side, Status};
use crate::community::housing::stay;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::{NOTIFICATION, Tell};
use crate::email::{BookingStep, Language, Letter};

/// To one side of a booking.
static STEP: JobKind<ToSide> = letter("booking_letter").useless_after(Duration::from_hours(72));
/// Reminds one side of a booking.
static REMINDER: JobKind<Remind> =
    JobKind::new("booking_reminder", &NOTIFICATION, 1).useless_after(Duration::from_hours(18));

/// What a side is reminded of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::community) enum Reminder {
    /// That the stay begins tomorrow.
    Arrival,
    /// That the side has not written a review.
    Review,
}

impl Reminder {
    const fn step(self) -> BookingStep {
        match self {
            Self::Arrival => BookingStep::Arrival,
            Self::Review => BookingStep::Completed,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct ToSide {
    booking_id: String,
    side: Side,
    step: BookingStep,
}

#[derive(Debug, Serialize, Deserialize)]
struct Remind {
    booking_id: String,
    side: Side,
    what: Reminder,
    /// When it was to be.
    at: Timestamp,
}

/// The letter to one side of what has happened.
pub(in crate::community) fn step(
    booking: &Booking,
    side: Side,
    step: BookingStep,
) -> Result<Effect, StoreError> {
    let payload = ToSide { booking_id: booking.id.clone(), side, step };
    Ok(Effect::job(STEP.job(&payload)?.group(booking.id.as_str())))
}

/// Reminds one side, so many days after check-in or check-out; nothing where that is over.
pub(in crate::community) fn reminder(
    booking: &Booking,
    what: Reminder,
    side: Side,
    days: i32,
    now: Timestamp,
) -> Result<Option<Effect>, StoreError> {
    let stay = booking.stay();
    let at = match what {
        Reminder::Arrival => booking.reminder(stay.from, days),
        Reminder::Review => booking.reminder(stay.to, days),
    };
    if at <= now {
        return Ok(None);
    }
    let job = REMINDER.job(&Remind { booking_id: booking.id.clone(), side, what, at })?;
    Ok(Some(Effect::job(job.due(at).group(booking.id.as_str()))))
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    let own = || Own(Arc::clone(letters));
    pools.handle(&STEP, own()).handle(&REMINDER, own())
}

/// The kind of notification that tells of a step.
const fn kind_of(step: BookingStep) -> NotificationKind {
    match step {
        BookingStep::Requested => NotificationKind::BookingRequested,
        BookingStep::Countered => NotificationKind::BookingCountered,
        BookingStep::Confirmed | BookingStep::Accepted => NotificationKind::BookingConfirmed,
        BookingStep::Declined => NotificationKind::BookingDeclined,
        BookingStep::Superseded => NotificationKind::BookingSuperseded,
        BookingStep::Expired => NotificationKind::BookingExpired,
        BookingStep::Cancelled => NotificationKind::BookingCancelled,
        BookingStep::Arrival => NotificationKind::BookingReminder,
        BookingStep::Completed => NotificationKind::ReviewDue,
    }
}

/// When the check-in day is over.
fn arrived_by(booking: &Booking) -> Timestamp {
    stay::begins(stay::days_later(booking.stay().from, 1), 0, &booking.request.time_zone)
}

/// Whether a step is still how the booking stands, as far as a side is concerned.
fn is_so(booking: &Booking, side: Side, step: BookingStep, now: Timestamp) -> bool {
    let status = booking.status(now);
    match step {
        BookingStep::Requested => status == Status::Requested,
        BookingStep::Countered => status == Status::Countered,
        BookingStep::Confirmed | BookingStep::Accepted => status == Status::Confirmed,
        BookingStep::Declined => status == Status::Declined,
        BookingStep::Superseded => status == Status::Superseded,
        BookingStep::Expired => status == Status::Expired,
        BookingStep::Cancelled => status == Status::Cancelled,
        BookingStep::Arrival => status == Status::Confirmed && now < arrived_by(booking),
        BookingStep::Completed => booking.may_review(side, now).is_ok(),
    }
}

#[async_trait]
impl Handler<ToSide> for Own {
    async fn run(&self, attempted: &Attempted, job: ToSide) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(booking) = letters.bookings.booking(&job.booking_id).await? else { return Ok(()) };
        if !is_so(&booking, job.side, job.step, now()) {
            return Ok(());
        }
        let user_id = booking.user(job.side);
        let reader = letters.guest(user_id, &booking.id, kind_of(job.step)).await?;
        let Some(reader) = reader else { return Ok(()) };
        let letter = letters.booking_letter(&booking, job.side, job.step, &reader).await?;
        letters.send(attempted, &reader, &letter).await
    }
}

#[async_trait]
impl Handler<Remind> for Own {
    async fn run(&self, attempted: &Attempted, job: Remind) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(booking) = letters.bookings.booking(&job.booking_id).await? else { return Ok(()) };
        if !is_so(&booking, job.side, job.what.step(), now()) {
            return Ok(());
        }
        // Whoever does this job again finds the jobs that are there, or were done.
        let since = outbox_key(job.at.max(attempted.enqueued_at()));
        let id = format!("{since}.{}.{}", booking.id, job.side.name());
        let told = Tell {
            kind: kind_of(job.what.step()),
            thing: booking.id.clone(),
            title: booking.request.title.clone(),
            actor_id: None,
            count: 1,
            stale_at: Some(match job.what {
                Reminder::Arrival => arrived_by(&booking),
                Reminder::Review => booking.reveals_by(),
            }),
        };
        let told = told.job(booking.user(job.side))?;
        letters.jobs.enqueue_as(format!("{id}.n"), told).await.map_err(Failure::retry)?;
        let payload = ToSide { booking_id: booking.id.clone(), side: job.side, step: job.what.step() };
        let letter = STEP.job(&payload)?.group(booking.id.as_str());
        letters.jobs.enqueue_as(id, letter).await.map(drop).map_err(Failure::retry)
    }
}

/// How somebody is called whose account is gone.
const fn somebody(language: Language) -> &'static str {
    match language {
        Language::En => "a former member",
        Language::Es => "una persona que ya no está en MundoTango",
    }
}

impl Letters {
    async fn booking_letter(
        &self,
        booking: &Booking,
        side: Side,
        step: BookingStep,
        reader: &Reader,
    ) -> Result<Letter, StoreError> {
        let other = [booking.user(side.other()).to_owned()];
        let other = self.accounts.profiles(&other).await?.pop().map(|other| other.full_name);
        let stay = booking.stay();
        let place = match step {
            BookingStep::Confirmed | BookingStep::Arrival => self.address(booking).await?,
            _ => None,
        };
        Ok(Letter::BookingStep {
            name: reader.name(),
            step,
            listing: booking.request.title.clone(),
            nights: self.dates.days(stay.from, stay.to, reader.language),
            place,
            other: other.unwrap_or_else(|| somebody(reader.language).to_owned()),
            url: format!("{}/bookings/{}", self.public_url, booking.id),
        })
    }

    /// Where a guest sleeps whose stay is confirmed.
    async fn address(&self, booking: &Booking) -> Result<Option<String>, StoreError> {
        let listing = self.listings.listing(&booking.request.listing_id).await?;
        Ok(listing.map(|listing| {
            let location = listing.details.location;
            match location.city {
                Some(city) if !location.text.contains(&city) => format!("{}, {city}", location.text),
                _ => location.text,
            }
        }))
    }
}
