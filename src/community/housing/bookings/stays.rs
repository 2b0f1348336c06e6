//! Stays as what is paid for. A confirmed stay is the guest's already: it is paid for before or after it, and what was paid goes back
//! by the rules of cancelling.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::problem::Problem;
use mundotango_jobs::Failure;
use mundotango_storage::db::Db;
use mundotango_storage::now;

use super::bill;
use super::rules::Booking;
use super::saga::Bookings;
use crate::community::housing::status::Status;
use crate::community::payments::payable::{Payable, not_payable};
use crate::community::payments::quote::{Line, Quote};
use crate::community::payments::reads::Payment;
use crate::community::payments::state::Place;
use crate::community::policy::{self, Action, Object, Viewer};

/// Longer than any page to pay on, as nights that are confirmed are not let go.
const HELD: SignedDuration = SignedDuration::from_hours(48);

/// The stays of all guests.
pub struct Stays {
    bookings: Bookings,
}

impl Stays {
    /// The stays of a store.
    pub fn new(db: &Db) -> Self {
        Self { bookings: Bookings::new(db) }
    }

    async fn note(
        &self,
        booking_id: &str,
        note: impl Fn(&mut Booking) -> bool + Send + 'static,
    ) -> Result<Option<Booking>, Failure> {
        Ok(self.bookings.note_money(booking_id, now(), note).await?)
    }
}

/// Why a booking is not to be paid; nothing where it is.
fn refusal(booking: &Booking, now: Timestamp) -> Option<&'static str> {
    match (booking.status(now), booking.progress.bill.payment) {
        (Status::Requested | Status::Countered, _) => Some("it can be paid for once it is confirmed"),
        (Status::Confirmed | Status::Completed | Status::NoShow, payment) => match payment {
            bill::Payment::Due => None,
            bill::Payment::None => Some("this stay costs nothing"),
            bill::Payment::Paid | bill::Payment::RefundDue => Some("this stay is paid for"),
            bill::Payment::Refunded => Some("this stay was paid for, and the money went back"),
        },
        (Status::Declined | Status::Superseded | Status::Expired | Status::Cancelled, _) => {
            Some("there is no such stay any more")
        }
    }
}

#[async_trait]
impl Payable for Stays {
    async fn quote(&self, booking_id: &str, payer: &str) -> Result<Quote, Problem> {
        let now = now();
        let booking = self.bookings.store.booking(booking_id).await?;
        let booking = booking.ok_or_else(|| Problem::not_found("booking"))?;
        let object = Object::GuestsPart { host: &booking.request.host_id, guest: &booking.request.guest_id };
        policy::may(Viewer::user(payer), Action::Change, &object).allows("booking")?;
        if let Some(why) = refusal(&booking, now) {
            return Err(not_payable(why));
        }
        let (stay, total) = (booking.stay(), booking.quote().total());
        Ok(Quote {
            payee: booking.request.host_id.clone(),
            title: booking.request.title.clone(),
            currency: total.currency,
            lines: vec![Line {
                name: format!("{}, {} – {}", booking.request.title, stay.from, stay.to),
                unit: total.minor,
                quantity: 1,
            }],
            held_until: now.saturating_add(HELD).unwrap_or(Timestamp::MAX),
        })
    }

    async fn paid(&self, booking_id: &str, payment: &Payment) -> Result<Place, Failure> {
        let (id, now) = (payment.id.clone(), now());
        let pays = move |booking: &mut Booking| {
            let status = booking.status(now);
            booking.progress.bill.paid(&id, status)
        };
        let booking = self.note(booking_id, pays).await?;
        let has = booking.is_some_and(|booking| booking.progress.bill.is_paid_by(&payment.id));
        Ok(if has { Place::Taken } else { Place::NoRoom })
    }

    /// The stay is the guest's, paid for or not: the host may cancel it.
    async fn released(&self, _: &str, _: &Payment) -> Result<(), Failure> {
        Ok(())
    }

    async fn went_back(&self, booking_id: &str, payment: &Payment) -> Result<(), Failure> {
        let (id, minor) = (payment.id.clone(), payment.head.refunded);
        let goes_back = move |booking: &mut Booking| {
            let total = booking.quote().total();
            booking.progress.bill.went_back(&id, minor, total)
        };
        self.note(booking_id, goes_back).await.map(drop)
    }
}
