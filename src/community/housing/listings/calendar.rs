//! A listing's nights, and the requests for them, as pure rules. All that gives a night to somebody goes through here, within
//! one change of the listing, so no night is ever given twice.
//!
//! A request that waits for an answer takes no night: any number of them may overlap. Confirming takes all nights of a stay or
//! none, and supersedes what overlaps.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use mundotango_gateway::input::Maybe;
use serde::{Deserialize, Serialize};

use crate::community::housing::error::HousingError;
use crate::community::housing::status::Status;
use crate::community::housing::stay::Stay;
use crate::community::housing::terms::{Offer, Request};
use crate::community::money::Money;

/// Requests that a listing keeps at most before they are answered: one more is refused.
pub const MOST_WAITING: usize = 100;
/// Requests of one guest among them.
pub const MOST_OF_ONE_GUEST: usize = 5;
/// Offers that a host can make for one booking.
pub const MOST_OFFERS: u32 = 10;

/// What differs about a night. One that is free, at the usual price, has no row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Night {
    /// Who has it, if it is not free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// Its own price. It counts while it is in the listing's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
}

impl Night {
    /// What it costs.
    pub fn price_or(&self, usual: Money) -> Money {
        self.price.filter(|price| price.currency == usual.currency).unwrap_or(usual)
    }
}

/// Why a night is not free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Taken {
    /// The host does not offer it.
    Blocked,
    /// It belongs to the booking with this id.
    Booked(String),
}

/// A request as the listing knows it. Until it is answered the listing decides what becomes of it, and the booking follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What the guest asks for.
    pub request: Request,
    /// What the host offers instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Offer>,
    /// What became of it.
    pub stage: Stage,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It waits for an answer.
    Open,
    /// It has the nights since then.
    Confirmed(Timestamp),
    /// Another one got a night of it.
    Superseded,
    /// Nobody answered in time.
    Expired,
}

impl Waiting {
    /// A request that was just made.
    pub fn new(request: Request) -> Self {
        Self { request, offer: None, stage: Stage::Open }
    }

    /// The nights that it is about now.
    pub fn stay(&self) -> Stay {
        self.offer.as_ref().map_or(self.request.stay, |offer| offer.stay)
    }

    /// Until when it can be answered.
    pub fn answer_by(&self) -> Timestamp {
        self.offer.as_ref().map_or(self.request.answer_by, |offer| offer.answer_by)
    }

    /// The number of the last offer; 0 where there is none.
    pub fn offers(&self) -> u32 {
        self.offer.as_ref().map_or(0, |offer| offer.number)
    }

    /// Fails unless it can still be answered.
    fn open(&self, now: Timestamp) -> Result<(), HousingError> {
        match self.stage {
            Stage::Open if now < self.answer_by() => Ok(()),
            Stage::Open | Stage::Expired => Err(HousingError::InState(Status::Expired)),
            Stage::Confirmed(_) => Err(HousingError::InState(Status::Confirmed)),
            Stage::Superseded => Err(HousingError::InState(Status::Superseded)),
        }
    }
}

/// What a change of a listing has read of its nights and requests, and leaves of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calendar {
    /// Nights that have a row.
    pub nights: BTreeMap<Date, Night>,
    /// Requests, by the ids of their bookings.
    pub requests: BTreeMap<String, Waiting>,
}

impl Calendar {
    /// The first night of a stay that is not free.
    pub fn first_taken(&self, stay: Stay) -> Option<Date> {
        let mut nights = self.nights.range(stay.from..stay.to);
        nights.find(|(_, night)| night.taken.is_some()).map(|(date, _)| *date)
    }

    /// Fails unless all nights of a stay are free.
    pub fn free(&self, stay: Stay) -> Result<(), HousingError> {
        self.first_taken(stay).map_or(Ok(()), |date| Err(HousingError::NightTaken(date)))
    }

    /// What a night costs, in minor units of the currency of the usual price.
    pub fn price(&self, date: Date, usual: Money) -> u64 {
        self.nights.get(&date).map_or(usual.minor, |night| night.price_or(usual).minor)
    }

    /// Takes a request. It takes no night.
    pub fn ask(&mut self, booking_id: &str, request: Request) -> Result<(), HousingError> {
        self.free(request.stay)?;
        let of_guest = |one: &&Waiting| one.request.guest_id == request.guest_id && one.stage == Stage::Open;
        if self.requests.len() >= MOST_WAITING
            || self.requests.values().filter(of_guest).count() >= MOST_OF_ONE_GUEST
        {
            return Err(HousingError::TooManyRequests);
        }
        self.requests.insert(booking_id.to_owned(), Waiting::new(request));
        Ok(())
    }

    /// Notes what the host offers instead, of which the number is given here.
    pub fn offer(&mut self, booking_id: &str, offer: Offer, now: Timestamp) -> Result<(), HousingError> {
        self.free(offer.stay)?;
        let waiting = self.waiting(booking_id, now)?;
        let number = waiting.offers() + 1;
        if number > MOST_OFFERS {
            return Err(HousingError::TooManyOffers);
        }
        waiting.offer = Some(Offer { number, ..offer });
        Ok(())
    }

    /// Gives the nights to a booking: all of them, or none. `offers` is the number of the offer that was agreed to, 0 for the
    /// request itself. The bookings that lose a night by it are returned.
    pub fn confirm(
        &mut self,
        booking_id: &str,
        offers: u32,
        now: Timestamp,
    ) -> Result<Vec<String>, HousingError> {
        let waiting = self.waiting(booking_id, now)?;
        if waiting.offers() != offers {
            return Err(HousingError::OfferChanged);
        }
        let stay = waiting.stay();
        self.free(stay)?;
        for date in stay.dates() {
            self.nights.entry(date).or_default().taken = Some(Taken::Booked(booking_id.to_owned()));
        }
        let mut superseded = Vec::new();
        for (id, other) in &mut self.requests {
            if id == booking_id {
                other.stage = Stage::Confirmed(now);
            } else if other.open(now).is_ok() && other.stay().overlaps(stay) {
                other.stage = Stage::Superseded;
                superseded.push(id.clone());
            }
        }
        Ok(superseded)
    }

    /// Ends a request that nobody answered in time.
    pub fn expire(&mut self, booking_id: &str, now: Timestamp) {
        let waiting = self.requests.get_mut(booking_id);
        if let Some(waiting) = waiting.filter(|one| one.stage == Stage::Open && now >= one.answer_by()) {
            waiting.stage = Stage::Expired;
        }
    }

    /// Forgets a booking's request, and frees the nights that are its own.
    pub fn release(&mut self, booking_id: &str) {
        self.requests.remove(booking_id);
        for night in self.nights.values_mut() {
            if matches!(&night.taken, Some(Taken::Booked(owner)) if owner == booking_id) {
                night.taken = None;
            }
        }
        self.tidy();
    }

    /// Blocks nights, or offers them again, and gives them a price of their own, or the usual one. Nights that are booked stay
    /// booked.
    pub fn set(&mut self, stay: Stay, blocked: Option<bool>, price: Maybe<Money>) {
        for date in stay.dates() {
            let night = self.nights.entry(date).or_default();
            match (blocked, &night.taken) {
                (Some(true), None) => night.taken = Some(Taken::Blocked),
                (Some(false), Some(Taken::Blocked)) => night.taken = None,
                _ => {}
            }
            price.set(&mut night.price);
        }
        self.tidy();
    }

    /// Leaves out nights that are as all others.
    fn tidy(&mut self) {
        self.nights.retain(|_, night| *night != Night::default());
    }

    fn waiting(&mut self, booking_id: &str, now: Timestamp) -> Result<&mut Waiting, HousingError> {
        // Who released it has closed the booking first.
        let gone = HousingError::NotNow("the request is closed");
        let waiting = self.requests.get_mut(booking_id).ok_or(gone)?;
        waiting.open(now)?;
        Ok(waiting)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::SignedDuration;
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::community::housing::stay::days_later;
    use crate::community::housing::terms::{CancellationPolicy, Quote};
    use crate::community::money::Currency;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_900_000_000).unwrap() + SignedDuration::from_hours(hours)
    }

    /// A stay that begins so many days after a certain one.
    fn stay(first: i32, nights: i32) -> Stay {
        let from = days_later(date(2030, 5, 1), first);
        Stay::new(from, days_later(from, nights)).unwrap()
    }

    pub(crate) fn request(guest_id: &str, stay: Stay, now: Timestamp) -> Request {
        Request {
            listing_id: "listing".to_owned(),
            title: "Room in San Telmo".to_owned(),
            host_id: "host".to_owned(),
            guest_id: guest_id.to_owned(),
            created_at: now,
            time_zone: "America/Argentina/Buenos_Aires".to_owned(),
            stay,
            guests: 1,
            quote: Quote::of(stay, Currency::default(), |_| 4_000),
            policy: CancellationPolicy::Moderate.into(),
            message: None,
            answer_by: now + SignedDuration::from_hours(48),
        }
    }

    fn offer(stay: Stay, now: Timestamp) -> Offer {
        let quote = Quote::of(stay, Currency::default(), |_| 3_500);
        Offer { number: 0, stay, quote, message: None, answer_by: now + SignedDuration::from_hours(48) }
    }

    #[test]
    fn pending_requests_overlap_and_one_of_them_is_confirmed() {
        let mut calendar = Calendar::default();
        for (guest, first, nights) in [("a", 0, 3), ("b", 2, 2), ("c", 3, 2)] {
            calendar.ask(guest, request(guest, stay(first, nights), at(0))).unwrap();
        }
        assert_eq!(calendar.confirm("a", 0, at(1)).unwrap(), ["b"], "c comes on the day on which a leaves");
        assert_eq!(calendar.requests["b"].stage, Stage::Superseded);
        assert_eq!(calendar.confirm("b", 0, at(1)), Err(HousingError::InState(Status::Superseded)));
        assert_eq!(calendar.confirm("c", 0, at(1)).unwrap(), [""; 0]);
        let taken = calendar.ask("d", request("d", stay(1, 1), at(1)));
        assert_eq!(taken, Err(HousingError::NightTaken(date(2030, 5, 2))));
        calendar.release("a");
        calendar.ask("d", request("d", stay(1, 1), at(1))).unwrap();
        assert_eq!(calendar.nights.len(), 2, "only c's nights are left");
    }

    #[test]
    fn an_answer_comes_in_time_or_not_at_all() {
        let mut calendar = Calendar::default();
        calendar.ask("a", request("a", stay(0, 1), at(0))).unwrap();
        calendar.expire("a", at(47));
        assert_eq!(calendar.requests["a"].stage, Stage::Open);
        assert_eq!(calendar.confirm("a", 0, at(48)), Err(HousingError::InState(Status::Expired)));
        calendar.expire("a", at(48));
        assert_eq!(calendar.confirm("a", 0, at(1)), Err(HousingError::InState(Status::Expired)));
        assert!(calendar.nights.is_empty());
    }

    #[test]
    fn a_guest_agrees_to_the_offer_that_the_guest_has_seen() {
        let mut calendar = Calendar::default();
        calendar.ask("a", request("a", stay(0, 3), at(0))).unwrap();
        calendar.offer("a", offer(stay(5, 2), at(1)), at(1)).unwrap();
        assert_eq!(calendar.confirm("a", 0, at(2)), Err(HousingError::OfferChanged));
        calendar.offer("a", offer(stay(6, 2), at(2)), at(2)).unwrap();
        assert_eq!(calendar.confirm("a", 1, at(3)), Err(HousingError::OfferChanged));
        calendar.confirm("a", 2, at(3)).unwrap();
        assert_eq!(calendar.nights.keys().copied().collect::<Vec<_>>(), [date(2030, 5, 7), date(2030, 5, 8)]);
        for _ in 2..MOST_OFFERS {
            assert!(calendar.offer("a", offer(stay(20, 1), at(3)), at(3)).is_err(), "it is confirmed");
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut calendar = Calendar::default();
        for number in 0..MOST_OF_ONE_GUEST {
            calendar.ask(&number.to_string(), request("a", stay(0, 1), at(0))).unwrap();
        }
        let refused = Err(HousingError::TooManyRequests);
        assert_eq!(calendar.ask("x", request("a", stay(0, 1), at(0))), refused);
        for number in MOST_OF_ONE_GUEST..MOST_WAITING {
            let guest = format!("guest {number}");
            calendar.ask(&guest, request(&guest, stay(0, 1), at(0))).unwrap();
        }
        assert_eq!(calendar.ask("x", request("b", stay(0, 1), at(0))), refused);
    }

    #[test]
    fn blocking_leaves_guests_their_nights() {
        let mut calendar = Calendar::default();
        calendar.ask("a", request("a", stay(1, 1), at(0))).unwrap();
        calendar.confirm("a", 0, at(1)).unwrap();
        let euros = |minor| Money { minor, currency: Currency::default() };
        calendar.set(stay(0, 4), Some(true), Maybe::Value(euros(9_000)));
        assert_eq!(calendar.nights[&date(2030, 5, 2)].taken, Some(Taken::Booked("a".to_owned())));
        assert_eq!(calendar.price(date(2030, 5, 4), euros(4_000)), 9_000);
        let pesos = Money { minor: 4_000, currency: Currency::parse("ARS").unwrap() };
        assert_eq!(calendar.price(date(2030, 5, 4), pesos), 4_000, "the host changed the currency");
        calendar.set(stay(0, 4), Some(false), Maybe::Absent);
        assert_eq!(calendar.first_taken(stay(0, 4)), Some(date(2030, 5, 2)));
        calendar.release("a");
        calendar.set(stay(0, 4), None, Maybe::Null);
        assert_eq!(calendar, Calendar::default(), "nothing is kept of nights that are as all others");
    }

    #[derive(Clone, Debug)]
    enum Act {
        Ask { id: u8, first: i32, nights: i32 },
        Offer { id: u8, first: i32, nights: i32 },
        Confirm { id: u8, offers: u32 },
        Release(u8),
        Set { first: i32, nights: i32, blocked: bool },
        Expire(u8),
        Wait(i64),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let (id, first, nights) = (0..8_u8, 0..20_i32, 1..6_i32);
        let act = prop_oneof![
            4 => (id.clone(), first.clone(), nights.clone()).prop_map(|(id, first, nights)| Act::Ask { id, first, nights }),
            2 => (id.clone(), first.clone(), nights.clone()).prop_map(|(id, first, nights)| Act::Offer { id, first, nights }),
            4 => (id.clone(), 0..3_u32).prop_map(|(id, offers)| Act::Confirm { id, offers }),
            1 => id.clone().prop_map(Act::Release),
            1 => (first, nights, any::<bool>()).prop_map(|(first, nights, blocked)| Act::Set { first, nights, blocked }),
            1 => id.prop_map(Act::Expire),
            1 => (1..30_i64).prop_map(Act::Wait),
        ];
        prop::collection::vec(act, 1..60)
    }

    proptest! {
        /// Trap 25: whatever happens in whatever order, each confirmed booking has all of its nights, and no night has two.
        #[test]
        fn no_night_is_given_twice(acts in acts()) {
            let (mut calendar, mut hours) = (Calendar::default(), 0);
            for act in acts {
                let (before, now) = (calendar.clone(), at(hours));
                let refused = match act {
                    Act::Ask { id, .. } if calendar.requests.contains_key(&id.to_string()) => false,
                    Act::Ask { id, first, nights } => {
                        let id = id.to_string();
                        calendar.ask(&id, request(&id, stay(first, nights), now)).is_err()
                    }
                    Act::Offer { id, first, nights } => {
                        calendar.offer(&id.to_string(), offer(stay(first, nights), now), now).is_err()
                    }
                    Act::Confirm { id, offers } => calendar.confirm(&id.to_string(), offers, now).is_err(),
                    Act::Release(id) => {
                        calendar.release(&id.to_string());
                        false
                    }
                    Act::Set { first, nights, blocked } => {
                        calendar.set(stay(first, nights), Some(blocked), Maybe::Absent);
                        false
                    }
                    Act::Expire(id) => {
                        calendar.expire(&id.to_string(), now);
                        false
                    }
                    Act::Wait(more) => {
                        hours += more;
                        false
                    }
                };
                if refused {
                    prop_assert_eq!(&calendar, &before, "what is refused changes nothing");
                }
                let mut given = BTreeMap::new();
                for (id, waiting) in &calendar.requests {
                    if matches!(waiting.stage, Stage::Confirmed(_)) {
                        for date in waiting.stay().dates() {
                            prop_assert_eq!(given.insert(date, id.clone()), None, "{} has two guests", date);
                        }
                    }
                }
                let booked: BTreeMap<_, _> = calendar
                    .nights
                    .iter()
                    .filter_map(|(date, night)| match &night.taken {
                        Some(Taken::Booked(id)) => Some((*date, id.clone())),
                        Some(Taken::Blocked) | None => None,
                    })
                    .collect();
                prop_assert_eq!(booked, given);
            }
        }
    }
}
