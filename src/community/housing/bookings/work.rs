//! Who does the jobs that carry what happened in one partition to another.

use std::sync::Arc;

use async_trait::async_trait;
use mundotango_jobs::{Attempted, Failure, Handler, NewPools};
use mundotango_storage::db::Db;
use mundotango_storage::now;

use super::saga::Bookings;
use crate::community::housing::error::HousingError;
use crate::community::housing::jobs::{
    DEADLINE, FOLLOW, Follow, OfBooking, RATE, RELEASE, Rate, UNLIST, Unlist,
};

/// The jobs of listings and bookings.
pub fn handled(pools: NewPools, db: &Db) -> NewPools {
    let bookings = Arc::new(Bookings::new(db));
    let own = || Own(Arc::clone(&bookings));
    pools
        .handle(&FOLLOW, own())
        .handle(&RELEASE, Release(own()))
        .handle(&DEADLINE, Deadline(own()))
        .handle(&RATE, own())
        .handle(&UNLIST, own())
}

struct Own(Arc<Bookings>);
struct Release(Own);
struct Deadline(Own);

impl From<HousingError> for Failure {
    fn from(error: HousingError) -> Self {
        Self::retry(error)
    }
}

#[async_trait]
impl Handler<Follow> for Own {
    async fn run(&self, _: &Attempted, job: Follow) -> Result<(), Failure> {
        self.0.follow(&job.listing_id, &job.guest_id, &job.booking_id, now()).await?;
        Ok(())
    }
}

#[async_trait]
impl Handler<OfBooking> for Release {
    async fn run(&self, _: &Attempted, job: OfBooking) -> Result<(), Failure> {
        let Own(bookings) = &self.0;
        Ok(bookings.release(&job.booking_id, now()).await?)
    }
}

#[async_trait]
impl Handler<OfBooking> for Deadline {
    async fn run(&self, _: &Attempted, job: OfBooking) -> Result<(), Failure> {
        let Own(bookings) = &self.0;
        Ok(bookings.note_deadlines(&job.booking_id, now()).await?)
    }
}

#[async_trait]
impl Handler<Rate> for Own {
    async fn run(&self, _: &Attempted, job: Rate) -> Result<(), Failure> {
        Ok(self.0.listings.rate(&job.listing_id, &job.booking_id, job.stars).await?)
    }
}

#[async_trait]
impl Handler<Unlist> for Own {
    async fn run(&self, _: &Attempted, job: Unlist) -> Result<(), Failure> {
        Ok(self.0.listings.unlist(&job).await?)
    }
}
