//! What a listing is, and for whom.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::fuzz::Fuzzed;
use crate::community::housing::error::HousingError;
use crate::community::housing::stay::{HORIZON, Stay};
use crate::community::housing::terms::CancellationPolicy;
use crate::community::location::Location;
use crate::community::money::{Currency, Money};

/// Photos of a listing at most.
pub const MOST_PHOTOS: usize = 20;
/// The longest stay that a host can allow, and the longest shortest one.
pub const LONGEST_STAY: u32 = 365;
/// Guests that a listing has room for at most.
pub const MOST_GUESTS: u32 = 50;

/// What kind of place it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccommodationType {
    /// A flat of one's own.
    #[default]
    Apartment,
    /// A room of one's own.
    Room,
    /// A house of one's own.
    House,
    /// A bed in a room with others.
    Shared,
}

/// Whether a listing takes requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListingStatus {
    /// It is found, and takes requests.
    #[default]
    Active,
    /// Only its host finds it, and it takes none. Bookings that there are stay.
    Paused,
}

/// What a place has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Amenity {
    Wifi,
    Kitchen,
    PrivateBathroom,
    BedLinen,
    Towels,
    WashingMachine,
    Dryer,
    Heating,
    AirConditioning,
    Desk,
    Breakfast,
    Parking,
    Bicycle,
    Elevator,
    StepFreeAccess,
    Balcony,
    Garden,
    DanceFloor,
    Mirror,
    PetsAllowed,
    ChildrenWelcome,
    SmokingAllowed,
    LateCheckIn,
    LuggageStorage,
}

impl Amenity {
    /// How many there are.
    pub const COUNT: usize = 24;
}

/// What a host says of a place, and can change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// What it is called.
    pub title: String,
    /// What it is.
    pub description: String,
    /// What kind it is.
    pub accommodation_type: AccommodationType,
    /// Where it is. Only the host and guests of confirmed bookings see this.
    pub location: Location,
    /// The point that everybody else sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuzzed: Option<Fuzzed>,
    /// What a night costs where it has no price of its own, in minor units.
    pub price: u64,
    /// The currency of all its prices.
    pub currency: Currency,
    /// The IANA name of its time zone: on that calendar its nights are.
    pub time_zone: String,
    /// For how many there is room.
    pub max_guests: u32,
    /// The fewest nights of a stay.
    pub min_nights: u32,
    /// The most.
    pub max_nights: u32,
    /// What it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amenities: Vec<Amenity>,
    /// What guests keep to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub house_rules: Option<String>,
    /// Addresses of pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub photos: Vec<String>,
    /// How one gets in. Shown as the location is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_in: Option<String>,
    /// What is paid back to a guest who cancels.
    pub cancellation_policy: CancellationPolicy,
    /// Whether it takes requests.
    pub status: ListingStatus,
}

impl Details {
    /// A price of it.
    pub fn money(&self, minor: u64) -> Money {
        Money { minor, currency: self.currency }
    }

    /// Fails for a stay that this place does not take, whether or not its nights are free.
    pub fn takes(&self, stay: Stay, guests: u32, today: Date) -> Result<(), HousingError> {
        if guests > self.max_guests {
            let message = format!("must be {} at most: there is no room for more", self.max_guests);
            return Err(HousingError::unsuitable("guests", message));
        }
        self.takes_nights(stay, today)
    }

    /// The same for nights that the host offers.
    pub fn takes_nights(&self, stay: Stay, today: Date) -> Result<(), HousingError> {
        if stay.from < today {
            return Err(HousingError::unsuitable("from", "must not be in the past"));
        }
        if stay.to > today.saturating_add(HORIZON) {
            let message = format!("must be within {} days from today", HORIZON.as_hours() / 24);
            return Err(HousingError::unsuitable("to", message));
        }
        if !self.takes_length(stay.nights()) {
            let message = format!("must be {} to {} nights after from", self.min_nights, self.max_nights);
            return Err(HousingError::unsuitable("to", message));
        }
        Ok(())
    }

    /// Whether a stay of so many nights is taken.
    pub fn takes_length(&self, nights: u32) -> bool {
        (self.min_nights..=self.max_nights).contains(&nights)
    }
}

/// What guests have said of a place by numbers of stars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratings {
    /// How many have.
    pub count: u32,
    /// Their stars together.
    pub sum: u32,
}

impl Ratings {
    /// Adds a guest's.
    pub fn add(&mut self, stars: u32) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(stars);
    }

    /// The mean, if there is any.
    pub fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| f64::from(self.sum) / f64::from(self.count))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::super::super::stay::days_later;
    use super::*;

    #[test]
    fn a_place_takes_stays_that_suit_it() {
        let details = Details { max_guests: 2, min_nights: 2, max_nights: 30, ..Details::default() };
        let today = date(2030, 5, 10);
        let field = |first: i32, nights: i32, guests| {
            let from = days_later(today, first);
            let stay = Stay::new(from, days_later(from, nights)).unwrap();
            match details.takes(stay, guests, today) {
                Ok(()) => None,
                Err(HousingError::Unsuitable(error)) => Some(error.field),
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(field(0, 2, 2), None);
        for (first, nights, guests, wrong) in
            [(0, 2, 3, "guests"), (-1, 2, 1, "from"), (0, 1, 1, "to"), (0, 31, 1, "to"), (549, 2, 1, "to")]
        {
            assert_eq!(field(first, nights, guests).as_deref(), Some(wrong), "{first} {nights} {guests}");
        }
    }

    #[test]
    fn ratings_have_a_mean() {
        let mut ratings = Ratings::default();
        assert_eq!(ratings.mean(), None);
        ratings.add(5);
        ratings.add(4);
        assert_eq!(ratings.mean(), Some(4.5));
    }
}
