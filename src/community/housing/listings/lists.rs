//! The lists in which listings are found: of all, of a city, of what is near to a point, of a host.
//!
//! An entry tells what filters ask for, so that few listings are read that are not in the answer. It never changes: a listing
//! that does gets a new one under the next number, and readers leave out those of other numbers until a job removes them.

use std::collections::BTreeSet;

use mundotango_storage::StoreError;
use mundotango_storage::db::{Entry, Fields, Index, Order, day_of_id, key, number};
use serde::{Deserialize, Serialize};

use super::rules::{AccommodationType, Details};
use super::words::{areas, folded};
use crate::community::location::Coordinates;
use crate::community::money::Currency;

/// The lists: `all`; `city:` with the folded name; `cell:` with the cell of one degree in which the shown point lies; `host:`
/// with a user's id. By the time at which a listing was made.
pub static LISTINGS_BY_PLACE: Index<Listed> = Index::new(
    "listings_by_place",
    "30 days of a list: 50,000 entries of 300 B, 15 MB",
    bucket,
    Order::NewestFirst,
    Fields::AS_TARGET,
);

const DAYS_OF_A_BUCKET: i64 = 30;
/// Characters of an id.
const ID: usize = 36;

/// The list of all.
pub(super) const ALL: &str = "all";

/// What an entry tells of a listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// What kind of place it is.
    pub accommodation_type: AccommodationType,
    /// What a night usually costs, in minor units.
    pub price: u64,
    /// Of this currency.
    pub currency: Currency,
    /// For how many there is room.
    pub max_guests: u32,
    /// The fewest nights of a stay.
    pub min_nights: u32,
    /// The most.
    pub max_nights: u32,
    /// The places where it is, folded.
    pub areas: Vec<String>,
    /// The point that everybody sees.
    pub shown: Option<Coordinates>,
}

impl Listed {
    /// What an entry tells of a listing with these details.
    pub fn of(details: &Details) -> Self {
        Self {
            accommodation_type: details.accommodation_type,
            price: details.price,
            currency: details.currency,
            max_guests: details.max_guests,
            min_nights: details.min_nights,
            max_nights: details.max_nights,
            areas: areas(&details.location).iter().map(|area| folded(area)).collect(),
            shown: details.fuzzed.map(|fuzzed| fuzzed.shown),
        }
    }

    /// The lists that have it, besides the host's.
    pub(super) fn lists(&self) -> BTreeSet<String> {
        let cities = self.areas.iter().map(|area| city_list(area));
        let cell = self.shown.map(|point| cell_list(&point.cell()));
        cities.chain(cell).chain([ALL.to_owned()]).collect()
    }
}

/// The list of a city, of which the name is folded.
pub(super) fn city_list(city: &str) -> String {
    format!("city:{city}")
}

pub(super) fn cell_list(cell: &str) -> String {
    format!("cell:{cell}")
}

pub(super) fn host_list(host_id: &str) -> String {
    format!("host:{host_id}")
}

fn bucket(key: &str) -> Option<i64> {
    Some(day_of_id(key.get(..ID)?)? / DAYS_OF_A_BUCKET)
}

/// The key of a listing's entries of one number.
pub(super) fn key_of(listing_id: &str, entry: u64) -> String {
    key(&[listing_id, &number(entry)])
}

/// The listing to which entries of a key lead.
pub fn id_of(key: &str) -> Option<&str> {
    bucket(key)?;
    let (id, entry) = key.split_once('/')?;
    (id.len() == ID && entry.parse::<u64>().is_ok()).then_some(id)
}

/// The entries that lead to a listing.
pub(super) fn entries(
    lists: &BTreeSet<String>,
    key: &str,
    listed: &Listed,
) -> Result<Vec<Entry>, StoreError> {
    lists.iter().map(|list| LISTINGS_BY_PLACE.entry(list, key, listed)).collect()
}

#[cfg(test)]
mod tests {
    use mundotango_protocol::new_id;

    use super::*;
    use crate::community::location::Location;

    #[test]
    fn keys_lead_to_listings_and_nothing_else_is_a_key() {
        let id = new_id();
        assert_eq!(id_of(&key_of(&id, 7)), Some(id.as_str()));
        for wrong in ["", "x", &id, &format!("{id}/"), &format!("{id}/x"), &format!("x/{id}")] {
            assert_eq!(id_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_listing_is_in_the_list_of_each_of_its_places() {
        let location =
            Location { text: "Defensa 755, San Telmo, São Paulo".to_owned(), ..Location::default() };
        let listed = Listed::of(&Details { location, ..Details::default() });
        let lists: Vec<_> = listed.lists().into_iter().collect();
        assert_eq!(lists, ["all", "city:san telmo", "city:sao paulo"]);
    }
}
