//! Finding listings, the newest first. Whatever is asked, a page looks at a bounded number of entries and reads a bounded number
//! of listings: past either it ends early, with a cursor to go on.

use std::sync::Arc;

use futures_util::future::try_join_all;
use mundotango_storage::db::Db;
use mundotango_storage::{Page, PageRequest, StoreError};

use super::kind::{LISTINGS, Listing};
use super::lists::{self, LISTINGS_BY_PLACE, Listed, id_of, key_of};
use super::rules::AccommodationType;
use super::store::ListingStore;
use super::words::{Words, folded};
use crate::community::amount::Price;
use crate::community::graph::relations::Relations;
use crate::community::housing::stay::Stay;
use crate::community::location::Coordinates;
use crate::community::money::{Currency, Money};

/// Most entries that one page looks at.
const MOST_LOOKED_AT: usize = 2_000;
/// Entries that are read at a time.
const ENTRIES_AT_ONCE: usize = 200;
/// Most listings that one page reads: those whose entries fit, but whose nights or words may not.
const MOST_READ: usize = 300;
/// Listings that are read at a time.
const READ_AT_ONCE: usize = 50;

/// Which listings a list holds; `None` holds all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListingFilter {
    /// In this city, compared without case and accents.
    pub city: Option<String>,
    /// Of this kind.
    pub accommodation_type: Option<AccommodationType>,
    /// A night costs this at least, in the listing's currency.
    pub min_price: Option<Price>,
    /// A night costs this at most.
    pub max_price: Option<Price>,
    /// In this currency.
    pub currency: Option<Currency>,
    /// With all of these nights free, and taken as a stay.
    pub stay: Option<Stay>,
    /// With room for so many.
    pub guests: Option<u32>,
    /// Whose shown point is within this many kilometres of a point.
    pub near: Option<(Coordinates, f64)>,
    /// With these words in title or description.
    pub words: Option<Words>,
    /// Of this user, who also sees those that are paused.
    pub host_id: Option<String>,
    /// Of hosts who do not keep the reader out, and are not kept out by the reader.
    pub relations: Arc<Relations>,
}

impl ListingFilter {
    /// Whether a listing may be in the list, by its entry.
    fn holds_entry(&self, entry: &Listed) -> bool {
        let night = Money { minor: entry.price, currency: entry.currency }.amount().thousandths();
        let city = self.city.as_ref().map(|city| folded(city));
        self.accommodation_type.is_none_or(|wanted| wanted == entry.accommodation_type)
            && self.currency.is_none_or(|wanted| wanted == entry.currency)
            && self.min_price.is_none_or(|least| night >= least.thousandths())
            && self.max_price.is_none_or(|most| night <= most.thousandths())
            && self.guests.is_none_or(|guests| guests <= entry.max_guests)
            && self.stay.is_none_or(|stay| (entry.min_nights..=entry.max_nights).contains(&stay.nights()))
            && city.is_none_or(|city| entry.areas.contains(&city))
            && self
                .near
                .is_none_or(|(point, km)| entry.shown.is_some_and(|shown| shown.distance_km(point) <= km))
    }

    /// Whether a listing is in the list, but for its nights.
    fn holds(&self, listing: &Listing) -> bool {
        let details = &listing.details;
        let is_seen = match &self.host_id {
            Some(host_id) => *host_id == listing.host_id,
            None => listing.is_found(),
        };
        let has = |words: &Words| words.are_in(&[&details.title, &details.description]);
        let is_seen = is_seen && !self.relations.keeps_apart(&listing.host_id);
        is_seen && self.words.as_ref().is_none_or(has)
    }

    /// The lists that together hold all that the filter holds, as few entries as may be besides.
    fn lists(&self) -> Vec<String> {
        if let Some(host_id) = &self.host_id {
            return vec![lists::host_list(host_id)];
        }
        if let Some(cells) = self.near.and_then(|(point, km)| point.cells_within(km)) {
            return cells.iter().map(|cell| lists::cell_list(cell)).collect();
        }
        vec![self.city.as_ref().map_or_else(|| lists::ALL.to_owned(), |city| lists::city_list(&folded(city)))]
    }
}

/// A page on its way.
struct Gathering<'a> {
    store: &'a ListingStore,
    filter: &'a ListingFilter,
    limit: usize,
    /// Listings that are still to be left out.
    skip: usize,
    items: Vec<Listing>,
    looked_at: usize,
    read: usize,
    /// The key of the last entry that was looked at.
    after: Option<String>,
}

impl ListingStore {
    /// The listings that a filter holds, the newest first. The cursor is the key of the last entry that was looked at.
    pub async fn listings(
        &self,
        filter: &ListingFilter,
        page: PageRequest,
    ) -> Result<Page<Listing>, StoreError> {
        let (after, skip) = page.start.behind(|cursor| id_of(&cursor).is_some().then_some(cursor))?;
        let (limit, items, looked_at, read) = (page.limit, Vec::new(), 0, 0);
        let mut page = Gathering { store: self, filter, limit, skip, items, looked_at, read, after };
        let is_cut = page.walk().await?;
        Ok(Page { items: page.items, next: page.after.filter(|_| is_cut) })
    }

    /// Whether a listing's nights are free; true for no nights.
    async fn is_free(&self, id: &str, stay: Option<Stay>) -> Result<bool, StoreError> {
        let Some(stay) = stay else { return Ok(true) };
        Ok(self.nights(id, stay).await?.values().all(|night| night.taken.is_none()))
    }
}

impl Gathering<'_> {
    fn db(&self) -> &Db {
        &self.store.0
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.limit || self.looked_at >= MOST_LOOKED_AT || self.read >= MOST_READ
    }

    /// Walks the lists as one until the page is full; whether it stopped before their end.
    async fn walk(&mut self) -> Result<bool, StoreError> {
        let lists = self.filter.lists();
        let lists: Vec<_> = lists.iter().map(String::as_str).collect();
        loop {
            if self.is_full() {
                return Ok(true);
            }
            let entries =
                self.db().walk(&LISTINGS_BY_PLACE, &lists, self.after.as_deref(), ENTRIES_AT_ONCE).await?;
            self.looked_at += entries.items.len();
            let fit = entries.items.into_iter().filter(|(_, entry)| self.filter.holds_entry(entry));
            let keys: Vec<_> = fit.map(|(key, _)| key).collect();
            if self.take(keys).await? {
                return Ok(true);
            }
            if entries.next.is_none() {
                return Ok(false);
            }
            self.after = entries.next;
        }
    }

    /// Takes the listings to which keys lead, until the page is full; whether there are more of them.
    async fn take(&mut self, keys: Vec<String>) -> Result<bool, StoreError> {
        let mut keys = keys.into_iter().peekable();
        while keys.peek().is_some() {
            if self.is_full() {
                return Ok(true);
            }
            let wanted = self.skip.saturating_add(self.limit - self.items.len()).min(READ_AT_ONCE);
            let some: Vec<_> = keys.by_ref().take(wanted).collect();
            let ids: Vec<_> = some.iter().filter_map(|key| id_of(key).map(str::to_owned)).collect();
            self.read += ids.len();
            let found = ids.iter().zip(self.db().read_all(&LISTINGS, &ids).await?);
            // A listing that is not there yet is left out, and so is an entry of before it was changed.
            let is_current = |listing: &Listing| some.contains(&key_of(&listing.id, listing.entry));
            let listings: Vec<_> = found
                .filter_map(|(id, found)| Some(Listing::found(id, found?)))
                .filter(|listing| is_current(listing) && self.filter.holds(listing))
                .collect();
            let (store, stay) = (self.store, self.filter.stay);
            let free = try_join_all(listings.iter().map(|listing| store.is_free(&listing.id, stay))).await?;
            for (listing, _) in listings.into_iter().zip(free).filter(|(_, is_free)| *is_free) {
                if self.skip > 0 {
                    self.skip -= 1;
                } else {
                    self.items.push(listing);
                }
            }
            self.after = some.into_iter().last().or_else(|| self.after.take());
        }
        Ok(false)
    }
}
