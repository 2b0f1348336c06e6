//! Places to stay, stays there, and what both sides say of them.

use anyhow::Context as _;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_storage::db::Db;

use super::{Generator, as_sent};
use crate::community::housing::bookings::reviews::Review;
use crate::community::housing::bookings::rules::Booking;
use crate::community::housing::bookings::saga::Bookings;
use crate::community::housing::listings::fuzz::{Chance, Fuzzed};
use crate::community::housing::listings::kind::Listing;
use crate::community::housing::listings::requests::Asked;
use crate::community::housing::listings::rules::{AccommodationType, Details};
use crate::community::housing::status::Side;
use crate::community::housing::stay::{self, Stay};
use crate::community::location::{Coordinates, Location};
use crate::community::money::Currency;
use crate::seed::draw::Draw;
use crate::seed::plan::Plan;
use crate::seed::words::{self, Town};
use crate::texts::{City, Description, Place, ReviewText, Title};

/// Users for each place to stay.
const USERS_A_PLACE: u64 = 25;
/// How long ago the youngest place was offered, and the oldest before that.
const OFFERED: SignedDuration = SignedDuration::from_hours(70 * 24);
const OFFERED_OVER: SignedDuration = SignedDuration::from_hours(20 * 24);
/// Most stays of a place that are over.
const STAYS: u64 = 3;
/// Days from the first night of one stay to that of the next, which more nights than a stay has lie between.
const DAYS_A_STAY: i32 = 12;
/// How long before the first night somebody asks, and how long the host takes to answer.
const ASKED_BEFORE_DAYS: i32 = 10;
const ANSWERED_AFTER: SignedDuration = SignedDuration::from_hours(5);
/// Of a hundred stays, of how many both sides say something.
const REVIEWED: u64 = 70;
const TYPES: [(&AccommodationType, &str); 4] = [
    (&AccommodationType::Room, "Room"),
    (&AccommodationType::Apartment, "Flat"),
    (&AccommodationType::Shared, "Bed"),
    (&AccommodationType::House, "House"),
];

fn places(plan: &Plan) -> u64 {
    (plan.users / USERS_A_PLACE).max(1)
}

/// When a place was offered, its id, and by whom.
fn offered(plan: &Plan, place: u64) -> (Timestamp, String, u64) {
    let mut draw = plan.draw("place times", place);
    let latest = plan.at.checked_sub(OFFERED).unwrap_or(Timestamp::UNIX_EPOCH);
    let at = Plan::before(&mut draw, latest, OFFERED_OVER);
    let id = draw.id(at);
    (at, id, draw.below(plan.users))
}

/// Where a place is, and the numbers of all else of it.
fn town(plan: &Plan, place: u64) -> (&'static Town, Draw) {
    let mut draw = plan.draw("places", place);
    (words::place(&mut draw), draw)
}

/// A number from 0 to 1.
fn share(draw: &mut Draw) -> f64 {
    draw.below(1_000) as f64 / 1_000.0
}

/// Makes places to stay.
pub(super) struct Places(Bookings);

impl Places {
    pub(super) fn new(db: &Db) -> Self {
        Self(Bookings::new(db))
    }
}

#[async_trait]
impl Generator for Places {
    fn name(&self) -> &'static str {
        "places to stay"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        places(plan)
    }

    async fn step(&self, plan: &Plan, number: u64) -> anyhow::Result<u64> {
        let (town, mut draw) = town(plan, number);
        let (created_at, id, host) = offered(plan, number);
        let (accommodation_type, called) = draw.popular_one(&TYPES);
        let title: Title = as_sent(format!("{called} near {}", words::venue(&mut draw)))?;
        let description: Description = as_sent(words::room(&mut draw))?;
        let text: Place = as_sent(format!("Via {}, {}", 1 + draw.below(200), town.name))?;
        let city: City = as_sent(town.name)?;
        // A few kilometres around the middle of the city.
        let coordinates = Coordinates {
            latitude: town.latitude + (share(&mut draw) - 0.5) / 15.0,
            longitude: town.longitude + (share(&mut draw) - 0.5) / 15.0,
        };
        let chance = Chance { direction: share(&mut draw), distance: share(&mut draw) };
        let details = Details {
            title: title.into_string(),
            description: description.into_string(),
            accommodation_type: **accommodation_type,
            location: Location {
                text: text.into_string(),
                city: Some(city.into_string()),
                coordinates: Some(coordinates),
            },
            fuzzed: Some(Fuzzed::draw(coordinates, chance)),
            price: 2_000 + 500 * draw.below(12),
            currency: Currency::default(),
            time_zone: town.zone.to_owned(),
            max_guests: 2,
            min_nights: 1,
            max_nights: 30,
            ..Details::default()
        };
        self.0.listings.create(&Listing::new(id, plan.user_id(host), created_at, details)).await?;
        Ok(1)
    }
}

/// Makes the stays of a place in one step, one after the other, as they take nights from each other.
pub(super) struct Stays(Bookings);

impl Stays {
    pub(super) fn new(db: &Db) -> Self {
        Self(Bookings::new(db))
    }

    /// A stay that was asked for and confirmed.
    async fn stay(
        &self,
        (listing, guest_id): (&str, String),
        stay: Stay,
        draw: &mut Draw,
        zone: &str,
    ) -> anyhow::Result<Booking> {
        let asked_at = stay::begins(stay::days_later(stay.from, -ASKED_BEFORE_DAYS), 9, zone);
        let id = draw.id(asked_at);
        let message = Some(words::request(draw).to_owned());
        let asked = Asked { guest_id, stay, guests: 1, message, expected: None };
        let booking = Box::pin(self.0.ask(listing, &id, asked, asked_at)).await?;
        let booking = booking.context("a place is missing")?;
        let answered_at = asked_at.checked_add(ANSWERED_AFTER)?;
        Ok(Box::pin(self.0.confirm(&booking, 0, answered_at)).await?)
    }

    /// What both sides say of a stay that is over.
    async fn review(&self, booking: &Booking, at: Timestamp, draw: &mut Draw) -> anyhow::Result<()> {
        let guests = 3 + u32::try_from(draw.below(3))?;
        for (side, stars) in [(Side::Guest, guests), (Side::Host, 5)] {
            let text: ReviewText = as_sent(words::review(draw, side == Side::Guest))?;
            // Each side says it once, also where the run is done again.
            if !booking.has_reviewed(side) {
                let (text, private, reply) = (text.into_string(), None, None);
                let review = Review { stars, text, private, written_at: at, reply };
                Box::pin(self.0.review(booking, side, review)).await?;
            }
        }
        Ok(self.0.listings.rate(&booking.request.listing_id, &booking.id, guests).await?)
    }
}

#[async_trait]
impl Generator for Stays {
    fn name(&self) -> &'static str {
        "stays"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        places(plan)
    }

    async fn step(&self, plan: &Plan, number: u64) -> anyhow::Result<u64> {
        let (_, listing, host) = offered(plan, number);
        if plan.users < 2 {
            return Ok(0);
        }
        let (mut draw, zone) = (plan.draw("stays", number), town(plan, number).0.zone);
        let today = stay::today(zone, plan.at);
        let count = draw.below(STAYS + 1);
        // The newest is to come.
        for place in 0..=count {
            let days = i32::try_from(place)? * DAYS_A_STAY;
            let from = stay::days_later(today, 5 - days);
            let nights = 2 + i32::try_from(draw.below(4))?;
            let nights = Stay::new(from, stay::days_later(from, nights)).context("a stay has nights")?;
            let guest = (host + 1 + draw.below(plan.users - 1)) % plan.users;
            let booking = self.stay((listing.as_str(), plan.user_id(guest)), nights, &mut draw, zone).await?;
            if place > 0 && draw.percent(REVIEWED) {
                // Some hours after the stay is over.
                let at = stay::begins(stay::days_later(nights.to, 1), 18, zone);
                self.review(&booking, at, &mut draw).await?;
            }
        }
        Ok(count + 1)
    }
}
