//! A booking from the request to the end of the stay. Two partitions have a part in it: the listing, which has the nights, and the
//! booking, which has its own state. Each step is committed in one of them, and the other follows by a job that may be done any
//! number of times:
//!
//! - Asking, offering, confirming and expiring are changes of the **listing**: it decides alone who gets a night. The booking
//!   follows ([`Bookings::follow`]).
//! - Declining and cancelling are changes of the **booking**: they need no night. The listing then frees what the booking has
//!   ([`Bookings::release`]). A booking that was cancelled while the listing confirmed it stays cancelled.
//!
//! What is done in a request is done at once as well, so that its answer shows it; the job finds nothing to do then.

use std::sync::Arc;

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;

use super::announce::{self, People};
use super::reviews::Review;
use super::rules::{Booking, Step};
use super::store::BookingStore;
use crate::community::accounts::store::AccountStore;
use crate::community::effects::Effect;
use crate::community::housing::error::HousingError;
use crate::community::housing::listings::calendar::Stage;
use crate::community::housing::listings::requests::{Asked, Countered};
use crate::community::housing::listings::store::ListingStore;
use crate::community::housing::status::{Side, Status};
use crate::community::housing::terms::Request;
use crate::community::people_of;

/// Listings and bookings of a store.
#[derive(Clone)]
pub struct Bookings {
    /// The listings.
    pub listings: ListingStore,
    /// The bookings.
    pub store: BookingStore,
    accounts: AccountStore,
}

/// Counts a booking that came into a state.
fn count(status: Status) {
    mundotango_ops::metrics().housing_bookings_total.with_label_values(&[status.label().as_str()]).inc();
}

impl Bookings {
    /// Listings and bookings of a store.
    pub fn new(db: &Db) -> Self {
        Self {
            listings: ListingStore::new(db.clone()),
            store: BookingStore::new(db.clone()),
            accounts: AccountStore::new(db.clone()),
        }
    }

    async fn people(&self, request: &Request) -> Arc<People> {
        let both = vec![request.host_id.clone(), request.guest_id.clone()];
        Arc::new(people_of(&self.accounts, both).await)
    }

    /// Takes a step of a booking; the booking as it is then.
    async fn step(&self, booking: &Booking, step: Step, now: Timestamp) -> Result<Booking, HousingError> {
        let people = self.people(&booking.request).await;
        let effects = move |before: &Booking, after: &Booking| announce::stepped(before, after, &people, now);
        let stepped = self.store.step(&booking.id, step, now, effects).await?;
        let gone = || HousingError::from(StoreError::Damaged("a booking is gone".to_owned()));
        let stepped = stepped.ok_or_else(gone)?;
        if stepped.changed {
            count(stepped.booking.progress.status);
        }
        Ok(stepped.booking)
    }

    /// Asks for nights of a listing; `None` if there is none. Asking again under the same booking's id gets the same booking.
    pub async fn ask(
        &self,
        listing_id: &str,
        booking_id: &str,
        asked: Asked,
        now: Timestamp,
    ) -> Result<Option<Booking>, HousingError> {
        if let Some(known) = self.store.booking(booking_id).await? {
            return Ok(Some(known));
        }
        let Some(request) = self.listings.ask(listing_id, booking_id, asked, now).await? else {
            return Ok(None);
        };
        Ok(Some(self.open(booking_id, request).await?))
    }

    /// Makes the booking of a request.
    async fn open(&self, booking_id: &str, request: Request) -> Result<Booking, StoreError> {
        let (people, now) = (self.people(&request).await, request.created_at);
        let booking = Booking::new(booking_id.to_owned(), request);
        let effects = announce::requested(&booking, &people, now)?;
        let effects: Result<Vec<_>, _> = effects.iter().map(Effect::kept).collect();
        self.store.create(&booking, &effects?).await?;
        count(Status::Requested);
        Ok(booking)
    }

    /// Gives a booking its nights, by the host (`offers` is 0) or by the guest who agrees to an offer. Doing it again changes
    /// nothing.
    pub async fn confirm(
        &self,
        booking: &Booking,
        offers: u32,
        now: Timestamp,
    ) -> Result<Booking, HousingError> {
        let status = booking.status(now);
        if booking.progress.status == Status::Confirmed && booking.offers() == offers {
            return Ok(booking.clone());
        }
        if !status.is_pending() {
            return Err(HousingError::InState(status));
        }
        self.listings.confirm(&booking.request.listing_id, booking.which(), offers, now).await?;
        let after = self.follow_booking(booking, now).await?;
        match after.status(now) {
            Status::Confirmed => Ok(after),
            // The guest cancelled at the same moment.
            status => Err(HousingError::InState(status)),
        }
    }

    /// Offers other nights or another price.
    pub async fn counter(
        &self,
        booking: &Booking,
        countered: Countered,
        now: Timestamp,
    ) -> Result<Booking, HousingError> {
        let status = booking.status(now);
        if !status.is_pending() {
            return Err(HousingError::InState(status));
        }
        self.listings.counter(&booking.request.listing_id, &booking.id, countered, now).await?;
        self.follow_booking(booking, now).await
    }

    /// Says no to a request.
    pub async fn decline(
        &self,
        booking: &Booking,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<Booking, HousingError> {
        self.step(booking, Step::Decline(reason), now).await
    }

    /// Cancels a stay, or takes a request back.
    pub async fn cancel(
        &self,
        booking: &Booking,
        side: Side,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<Booking, HousingError> {
        self.step(booking, Step::Cancel(side, reason), now).await
    }

    /// Notes that a guest did not come.
    pub async fn note_no_show(&self, booking: &Booking, now: Timestamp) -> Result<Booking, HousingError> {
        self.step(booking, Step::NoShow, now).await
    }

    async fn follow_booking(&self, booking: &Booking, now: Timestamp) -> Result<Booking, HousingError> {
        let Request { listing_id, guest_id, .. } = &booking.request;
        let followed = self.follow(listing_id, guest_id, &booking.id, now).await?;
        Ok(followed.unwrap_or_else(|| booking.clone()))
    }

    /// Brings a booking to what the listing has decided of its request; the booking, if there is one.
    pub async fn follow(
        &self,
        listing_id: &str,
        guest_id: &str,
        booking_id: &str,
        now: Timestamp,
    ) -> Result<Option<Booking>, HousingError> {
        let waiting = self.listings.waiting(listing_id, guest_id, booking_id).await?;
        let known = self.store.booking(booking_id).await?;
        let Some(waiting) = waiting else { return Ok(known) };
        let mut booking = match known {
            Some(booking) => booking,
            // The node died before it made the booking.
            None => self.open(booking_id, waiting.request.clone()).await?,
        };
        if let Some(offer) = waiting.offer.filter(|offer| offer.number > booking.offers()) {
            booking = self.step(&booking, Step::Counter(Box::new(offer)), now).await?;
        }
        let decided = match waiting.stage {
            Stage::Open => None,
            Stage::Confirmed(at) => Some(Step::Confirm(at)),
            Stage::Superseded => Some(Step::Supersede),
            Stage::Expired => Some(Step::Expire),
        };
        if let Some(step) = decided {
            booking = self.step(&booking, step, now).await?;
        }
        if booking.progress.status.is_closed() {
            self.listings.release(listing_id, booking.which(), now).await?;
        }
        Ok(Some(booking))
    }

    /// Frees the nights of a booking that is closed, and forgets its request.
    pub async fn release(&self, booking_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let closed = self.store.booking(booking_id).await?;
        let Some(booking) = closed.filter(|booking| booking.progress.status.is_closed()) else {
            return Ok(());
        };
        self.listings.release(&booking.request.listing_id, booking.which(), now).await
    }

    /// Writes down what deadlines have made of a booking.
    pub async fn note_deadlines(&self, booking_id: &str, now: Timestamp) -> Result<(), HousingError> {
        let Some(booking) = self.store.booking(booking_id).await? else { return Ok(()) };
        match (booking.progress.status, booking.status(now)) {
            (stored, Status::Expired) if stored.is_pending() => {
                let (listing_id, which) = (&booking.request.listing_id, booking.which());
                // The listing decides: it may have confirmed the request in time.
                self.listings.expire(listing_id, which, now).await?;
                let followed = self.follow_booking(&booking, now).await?;
                if followed.progress.status.is_pending() && followed.status(now) == Status::Expired {
                    // The listing does not know of it any more.
                    self.step(&followed, Step::Expire, now).await?;
                }
            }
            (Status::Confirmed, Status::Completed) => {
                self.step(&booking, Step::Complete, now).await?;
            }
            _ => {}
        }
        let people = self.people(&booking.request).await;
        let effects = move |booking: &Booking, stars| announce::revealed(booking, stars, &people, now);
        self.store.reveal(booking_id, now, effects).await?;
        Ok(())
    }

    /// Writes a side's review; the booking as it is then.
    pub async fn review(
        &self,
        booking: &Booking,
        author: Side,
        review: Review,
    ) -> Result<Option<Booking>, HousingError> {
        let (people, now) = (self.people(&booking.request).await, review.written_at);
        let effects = move |booking: &Booking, stars| announce::revealed(booking, stars, &people, now);
        self.store.review(&booking.id, author, review, effects).await
    }

    /// Notes by `note` what happened to the money of a booking; the booking as it is then, `None` if there is none.
    pub(super) async fn note_money(
        &self,
        booking_id: &str,
        now: Timestamp,
        note: impl Fn(&mut Booking) -> bool + Send + 'static,
    ) -> Result<Option<Booking>, StoreError> {
        let Some(booking) = self.store.booking(booking_id).await? else { return Ok(None) };
        let people = self.people(&booking.request).await;
        let effects =
            move |before: &Booking, after: &Booking| announce::money_moved(before, after, &people, now);
        let noted = self.store.note_money(booking_id, note, effects).await?;
        Ok(noted.map(|noted| noted.booking))
    }
}
