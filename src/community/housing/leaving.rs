//! What becomes of stays when somebody leaves the community.

use jiff::Timestamp;
use mundotango_storage::db::{Db, last_part};
use mundotango_storage::{PageRequest, PageStart, StoreError};

use super::bookings::rules::Booking;
use super::bookings::saga::Bookings;
use super::error::HousingError;
use super::status::{Side, Status};

/// Bookings that are looked at together.
const AT_ONCE: usize = 50;

/// The stays of those who leave.
pub struct LeavingGuests(Bookings);

impl LeavingGuests {
    /// Those of a store.
    pub fn new(db: &Db) -> Self {
        Self(Bookings::new(db))
    }

    /// Takes back what a user asked for, says no to those who ask the user, and cancels stays that are to come, by the rules of
    /// cancelling that each has. Doing it again changes nothing.
    pub async fn settle(&self, user_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let open = [Status::Requested, Status::Countered, Status::Confirmed];
        let mut start = PageStart::First;
        loop {
            let page = PageRequest { start, limit: AT_ONCE };
            let page = self.0.store.bookings(user_id, &Side::BOTH, &open, now, page).await?;
            for booking in page.items {
                self.close(&booking, user_id, now).await?;
            }
            let Some(next) = page.next else { return Ok(()) };
            start = PageStart::After(next);
        }
    }

    async fn close(&self, booking: &Booking, user_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let Some(side) = booking.side_of(user_id) else { return Ok(()) };
        let closed = match side {
            Side::Host if booking.status(now).is_pending() => self.0.decline(booking, None, now).await,
            side => self.0.cancel(booking, side, None, now).await,
        };
        // A stay that has begun goes on to its end.
        closed.err().and_then(HousingError::of_store).map_or(Ok(()), Err)
    }

    /// Has a listing forget the requests of these rows that are closed, with the nights that they have.
    pub async fn take_out(
        &self,
        listing_id: &str,
        rows: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for row in rows {
            let Some(booking) = self.0.store.booking(&last_part(row)).await? else { continue };
            if booking.status(now).is_closed() {
                self.0.listings.release(listing_id, booking.which(), now).await?;
            }
        }
        Ok(())
    }
}
