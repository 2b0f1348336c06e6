//! Listings: making them, changing them, and their calendars.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use mundotango_gateway::input::Maybe;
use mundotango_gateway::problem::{FieldCode, FieldError};
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, RowRange, Wants, key, prefix};

use super::calendar::{Calendar, Night};
use super::kind::{Facts, Head, LISTINGS, Listing, NIGHTS, Open, Row, STARS, night_key};
use super::lists::{self, LISTINGS_BY_PLACE, Listed};
use super::rows::{date_of, read, rows_of, wants, write};
use super::rules::Details;
use crate::community::amount::{Price, too_fine};
use crate::community::effects::Effect;
use crate::community::housing::error::HousingError;
use crate::community::housing::jobs::{self, Unlist};
use crate::community::housing::stay::{self, HORIZON, Stay};
use crate::community::search::kinds::HOUSING;

/// A change of nights; what is absent stays.
#[derive(Clone, Copy, Debug)]
pub struct NightsChange {
    /// Whether they are blocked.
    pub blocked: Option<bool>,
    /// The price of each, in the listing's currency; null for the usual one.
    pub price: Maybe<Price>,
}

/// The lists that have a listing.
fn lists_of(listed: &Listed, host_id: &str) -> BTreeSet<String> {
    listed.lists().into_iter().chain([lists::host_list(host_id)]).collect()
}

/// The listings of a store.
#[derive(Clone)]
pub struct ListingStore(pub(super) Db);

impl ListingStore {
    /// The listings of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Adds a listing. Its id is a UUID of version 7; doing it again changes nothing.
    pub async fn create(&self, listing: &Listing) -> Result<(), StoreError> {
        let Listing { id, host_id, created_at, details, entry, version, ratings, .. } = listing.clone();
        let listed = Listed::of(&details);
        let entries = lists::entries(&lists_of(&listed, &host_id), &lists::key_of(&id, entry), &listed)?;
        let facts = Facts { host_id, created_at };
        let head = Head { details, entry, version, ratings, ..Head::default() };
        let changed = [Effect::changed(HOUSING, &id).kept()?];
        let creating =
            self.0.create_once_with_effects(&LISTINGS, &id, &facts, &head, &[], &entries, &changed);
        creating.await.map(drop)
    }

    /// The listing with this id.
    pub async fn listing(&self, id: &str) -> Result<Option<Listing>, StoreError> {
        Ok(self.0.read(&LISTINGS, id).await?.map(|found| Listing::found(id, found)))
    }

    /// The listings with these ids, `None` for those that are not there.
    pub async fn all(&self, ids: &[String]) -> Result<Vec<Option<Listing>>, StoreError> {
        let read = ids.iter().zip(self.0.read_all(&LISTINGS, ids).await?);
        Ok(read.map(|(id, found)| Some(Listing::found(id, found?))).collect())
    }

    /// Changes what a host says of a place; as it is then, `None` if there is none. `details` makes the new ones of those that
    /// are.
    pub async fn change(
        &self,
        id: &str,
        details: impl Fn(&Details) -> Result<Details, HousingError> + Send + 'static,
    ) -> Result<Option<Listing>, HousingError> {
        let listing_id = id.to_owned();
        let rule = move |part: &mut Open<'_>| {
            if !part.head.hidden_by.is_empty() {
                return Err(HousingError::NotNow("a decision of the moderators has taken this place away"));
            }
            let after = details(&part.head.details)?;
            let before = std::mem::replace(&mut part.head.details, after);
            if part.head.details == before {
                return Ok(Decision::Stands(Listing::of(&listing_id, part.facts.clone(), part.head.clone())));
            }
            part.head.version += 1;
            part.emit(&Effect::changed(HOUSING, &listing_id))?;
            let (gone, listed) = (Listed::of(&before), Listed::of(&part.head.details));
            if gone != listed {
                let host_id = &part.facts.host_id;
                let gone = Unlist {
                    lists: lists_of(&gone, host_id).into_iter().collect(),
                    key: lists::key_of(&listing_id, part.head.entry),
                    listed: gone,
                };
                part.head.entry += 1;
                let key = lists::key_of(&listing_id, part.head.entry);
                for entry in lists::entries(&lists_of(&listed, host_id), &key, &listed)? {
                    part.enter(entry);
                }
                part.emit(&jobs::unlist(&gone)?)?;
            }
            Ok(Decision::Write(Listing::of(&listing_id, part.facts.clone(), part.head.clone())))
        };
        self.0.change(&LISTINGS, id, Wants::head(), rule).await
    }

    /// Takes entries out of lists that lead to a listing as it was.
    pub(in crate::community::housing) async fn unlist(&self, gone: &Unlist) -> Result<(), StoreError> {
        let entries = gone.lists.iter().map(|list| LISTINGS_BY_PLACE.entry(list, &gone.key, &gone.listed));
        self.0.remove_entries(&entries.collect::<Result<Vec<_>, _>>()?).await
    }

    /// Those of some nights that differ, by date.
    pub async fn nights(&self, id: &str, nights: Stay) -> Result<BTreeMap<Date, Night>, StoreError> {
        let range = RowRange::first(prefix(&[NIGHTS]), rows_of(nights));
        let range = range.after(Some(night_key(stay::days_later(nights.from, -1))));
        let rows = self.0.rows(&LISTINGS, id, &range).await?.items.into_iter();
        let differing = rows.filter_map(|(key, row)| match row {
            Row::Night(night) => Some((date_of(&key)?, night)),
            Row::Waiting(_) | Row::Stars(_) => None,
        });
        Ok(differing.filter(|(date, _)| nights.holds(*date)).collect())
    }

    /// Changes nights; whether there is such a listing. Nights that are booked stay booked.
    pub async fn set_nights(
        &self,
        id: &str,
        nights: Stay,
        change: NightsChange,
        now: Timestamp,
    ) -> Result<bool, HousingError> {
        let rule = move |part: &mut Open<'_>| {
            let today = stay::today(&part.head.details.time_zone, now);
            if nights.from < today {
                return Err(HousingError::unsuitable("from", "must not be in the past"));
            }
            if nights.to > today.saturating_add(HORIZON) {
                let message = format!("must be within {} days from today", HORIZON.as_hours() / 24);
                return Err(HousingError::unsuitable("to", message));
            }
            let price = match change.price {
                Maybe::Absent => Maybe::Absent,
                Maybe::Null => Maybe::Null,
                Maybe::Value(price) => {
                    let currency = part.head.details.currency;
                    let wrong = || FieldError::new("price", FieldCode::BadForm, too_fine(currency));
                    let fits = price.of(currency).ok_or_else(|| HousingError::Unsuitable(wrong()));
                    Maybe::Value(fits?)
                }
            };
            let before = Calendar { nights: read(part, nights).nights, ..Calendar::default() };
            let mut after = before.clone();
            after.set(nights, change.blocked, price);
            let differs = write(part, &before, &after, now);
            Ok(if differs { Decision::Write(()) } else { Decision::Stands(()) })
        };
        Ok(self.0.change(&LISTINGS, id, wants(nights), rule).await?.is_some())
    }

    /// Counts a guest's stars, once for a booking.
    pub async fn rate(&self, id: &str, booking_id: &str, stars: u32) -> Result<(), StoreError> {
        let row = key(&[STARS, booking_id]);
        let rated = self.0.change(&LISTINGS, id, Wants::head().row(&row), move |part: &mut Open<'_>| {
            if part.row(&row).is_some() {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.set(&row, Row::Stars(stars));
            part.head.ratings.add(stars);
            part.head.version += 1;
            Ok(Decision::Write(()))
        });
        rated.await.map(drop)
    }
}
