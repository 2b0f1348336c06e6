//! Lists of events by the time they start: of all, of a city, of what is near to a point.
//!
//! Each entry tells what filters ask for, so that no event is read that is not in the list, and a page looks at a bounded
//! number of entries whatever is asked.

use jiff::Timestamp;
use mundotango_storage::db::{
    Db, Entry, Erasure, Export, Fields, Index, Order, Whose, day_of_id, key, number,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

use super::schedule::{LONGEST, UNTOLD};
use super::store::{EVENTS, Event, EventStore, EventType};
use crate::community::location::{Coordinates, Location};

/// The lists: `all`; `city:` with the name in lower case; `no-city` of locations that tell no city apart; `cell:` with the
/// cell of one degree. Each once more with `long:` before its name, of those that last longer than most. By start, then by id.
pub static EVENTS_BY_START: Index<Listed> = Index::new(
    "events_by_start",
    "30 days of a list: 100,000 entries of 300 B, 30 MB",
    bucket,
    Order::OldestFirst,
    Fields::AS_TARGET,
);

/// The lists: `guest:` and `host:` with the id of the user. By start, then by id.
pub static EVENTS_OF_PEOPLE: Index<Nothing> = Index::new(
    "events_of_people",
    "30 days of a person: 1,000 entries of 100 B, 100 KB",
    bucket,
    Order::OldestFirst,
    PERSONAL,
);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[Fields::of(
    Whose::User,
    Export::NotGiven("the events and answers are"),
    Erasure::Removed,
    &["list", "key", "entry.**"],
)];

/// An entry's key tells all.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Nothing {}

/// Most entries that one page looks at: past them it ends early, with a cursor to go on.
const MAX_LOOKED_AT: usize = 2_000;
/// Entries that are read at a time where filters leave some out.
const READ_AT_ONCE: usize = 200;
const MILLIS_OF_A_BUCKET: u64 = 30 * 24 * 60 * 60 * 1000;
/// Digits of a start in a key.
const DIGITS: usize = 20;

/// What an entry tells of an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    event_type: EventType,
    location: Location,
    /// Builds before there were schedules did not write it.
    #[serde(default = "unknown")]
    over_at: Timestamp,
}

/// Later than any time that is asked for.
fn unknown() -> Timestamp {
    Timestamp::MAX
}

impl Listed {
    fn of(event: &Event) -> Self {
        let (event_type, location) = (event.event_type, event.location.clone());
        Self { event_type, location, over_at: event.when.over_at() }
    }
}

/// Which events a list holds; `None` holds all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFilter {
    /// In this city, compared without case; found in the location's text where no city is told apart.
    pub city: Option<String>,
    /// Of this kind.
    pub event_type: Option<EventType>,
    /// Over later than this.
    pub still_on: Option<Timestamp>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Within this many kilometres of a point; events without coordinates are out.
    pub near: Option<(Coordinates, f64)>,
    /// Also those that do not take place.
    pub with_cancelled: bool,
}

impl EventFilter {
    /// Whether an event is in the list.
    pub fn holds(&self, event: &Event) -> bool {
        let start = event.when.starts_at();
        self.holds_entry(&Listed::of(event))
            && self.from.is_none_or(|from| start >= from)
            && self.to.is_none_or(|to| start < to)
            && !event.is_suspended
            && (self.with_cancelled || event.cancelled.is_none())
    }

    fn holds_entry(&self, entry: &Listed) -> bool {
        self.event_type.is_none_or(|wanted| wanted == entry.event_type)
            && self.still_on.is_none_or(|time| entry.over_at > time)
            && self.city.as_ref().is_none_or(|city| entry.location.is_in(city))
            && self.near.is_none_or(|(point, km)| {
                entry.location.coordinates.is_some_and(|coordinates| coordinates.distance_km(point) <= km)
            })
    }

    /// The lists that together hold all that the filter holds, as few entries as may be besides.
    fn lists(&self) -> Vec<String> {
        if let Some(cells) = self.near.and_then(|(point, km)| point.cells_within(km)) {
            return cells.into_iter().map(|cell| cell_list(&cell)).collect();
        }
        match &self.city {
            Some(city) => vec![city_list(city), NO_CITY.to_owned()],
            None => vec![ALL.to_owned()],
        }
    }
}

const ALL: &str = "all";
const NO_CITY: &str = "no-city";

fn city_list(city: &str) -> String {
    format!("city:{}", city.to_lowercase())
}

/// The same list of those that last longer than most, which are found though they began long ago.
fn long(list: &str) -> String {
    format!("long:{list}")
}

fn cell_list(cell: &str) -> String {
    format!("cell:{cell}")
}

/// A start that sorts as the time does, also before 1970.
pub(super) fn sortable(start: Timestamp) -> String {
    number(start.as_millisecond().cast_unsigned() ^ (1 << 63))
}

pub(super) fn bucket(key: &str) -> Option<i64> {
    let start: u64 = key.get(..DIGITS)?.parse().ok()?;
    i64::try_from(start / MILLIS_OF_A_BUCKET).ok()
}

/// The id of the event to which an entry of this key leads.
pub(super) fn id_of(key: &str) -> Option<&str> {
    bucket(key)?;
    key.get(DIGITS..)?.strip_prefix('/').filter(|id| day_of_id(id).is_some())
}

/// The key of an event's entries.
pub(super) fn key_of(event: &Event) -> String {
    key(&[&sortable(event.when.starts_at()), &event.id])
}

/// The entries that lead to an event.
fn entries(event: &Event) -> Result<Vec<Entry>, StoreError> {
    let listed = Listed::of(event);
    let at = key_of(event);
    let mut lists = vec![ALL.to_owned()];
    lists.push(event.location.city.as_ref().map_or_else(|| NO_CITY.to_owned(), |city| city_list(city)));
    lists.extend(event.location.coordinates.map(|point| cell_list(&point.cell())));
    if event.when.is_long() {
        let long: Vec<_> = lists.iter().map(|list| long(list)).collect();
        lists.extend(long);
    }
    lists.into_iter().map(|list| EVENTS_BY_START.entry(list, &at, &listed)).collect()
}

pub(super) fn guest_list(user_id: &str) -> String {
    format!("guest:{user_id}")
}

pub(super) fn host_list(user_id: &str) -> String {
    format!("host:{user_id}")
}

/// Leads a user who answered to an event.
pub(super) fn guest_entry(user_id: &str, event: &Event) -> Result<Entry, StoreError> {
    EVENTS_OF_PEOPLE.entry(guest_list(user_id), &key_of(event), &Nothing {})
}

/// Leads the owner to an event.
pub(super) fn host_entry(event: &Event) -> Result<Entry, StoreError> {
    EVENTS_OF_PEOPLE.entry(host_list(&event.host_id), &key_of(event), &Nothing {})
}

/// The events that a filter holds, soonest first. The cursor is the key of the last entry that was looked at.
async fn events(db: &Db, filter: &EventFilter, page: PageRequest) -> Result<Page<Event>, StoreError> {
    let (after, skip) = page.start.behind(|cursor| id_of(&cursor).is_some().then_some(cursor))?;
    let lists = filter.lists();
    let end = filter.to.map(sortable);
    let mut page = Gathering { db, filter, limit: page.limit, skip, items: Vec::new(), looked_at: 0, after };
    let before = |time: Timestamp, lasts| time.saturating_sub(lasts).unwrap_or(Timestamp::MIN);
    // Only a long event that began before this may still be on.
    let recent = filter.still_on.map(|time| before(time, UNTOLD));
    if let Some((time, recent)) = filter.still_on.zip(recent) {
        let lists = lists.iter().map(|list| long(list)).collect();
        let from = filter.from.into_iter().fold(before(time, LONGEST), Timestamp::max);
        let end = end.iter().cloned().fold(sortable(recent), Ord::min);
        if page.walk(lists, Some(sortable(from)), Some(&end)).await? {
            return Ok(page.cut());
        }
    }
    // Behind this, and before the first event of that time.
    let from = filter.from.into_iter().chain(recent).max().map(sortable);
    if page.walk(lists, from, end.as_deref()).await? {
        return Ok(page.cut());
    }
    Ok(Page { items: page.items, next: None })
}

/// The entries that lead to an event. Nobody but its hosts is led to a draft.
pub(super) fn all_entries(event: &Event) -> Result<Vec<Entry>, StoreError> {
    let mut entries = if event.is_draft { Vec::new() } else { entries(event)? };
    entries.push(host_entry(event)?);
    Ok(entries)
}

impl EventStore {
    /// Events by the time they start, soonest first.
    pub async fn events(&self, filter: &EventFilter, page: PageRequest) -> Result<Page<Event>, StoreError> {
        events(self.db(), filter, page).await
    }
}

/// A page on its way.
struct Gathering<'a> {
    db: &'a Db,
    filter: &'a EventFilter,
    limit: usize,
    /// Events that are still to be left out.
    skip: usize,
    items: Vec<Event>,
    looked_at: usize,
    /// The key of the last entry that was looked at.
    after: Option<String>,
}

impl Gathering<'_> {
    /// The page, where there may be more behind it.
    fn cut(self) -> Page<Event> {
        Page { items: self.items, next: self.after }
    }

    /// Walks several lists as one, from behind `start` and from behind what was looked at; whether it stopped before `end`.
    async fn walk(
        &mut self,
        lists: Vec<String>,
        start: Option<String>,
        end: Option<&str>,
    ) -> Result<bool, StoreError> {
        let lists: Vec<_> = lists.iter().map(String::as_str).collect();
        let mut after = start.max(self.after.clone());
        if end.zip(after.as_deref()).is_some_and(|(end, after)| after >= end) {
            return Ok(false);
        }
        loop {
            if self.items.len() >= self.limit || self.looked_at >= MAX_LOOKED_AT {
                return Ok(true);
            }
            let entries = self.db.walk(&EVENTS_BY_START, &lists, after.as_deref(), READ_AT_ONCE).await?;
            let mut held = Vec::new();
            let mut is_over = entries.next.is_none();
            for (key, entry) in entries.items {
                if end.is_some_and(|end| key.as_str() >= end) {
                    is_over = true;
                    break;
                }
                self.looked_at += 1;
                if self.filter.holds_entry(&entry) {
                    held.push(key);
                }
            }
            if self.take(held).await? {
                return Ok(true);
            }
            if is_over {
                return Ok(false);
            }
            after = entries.next;
            self.after.clone_from(&after);
        }
    }

    /// Takes the events to which keys lead, until the page is full; whether there are more of them.
    async fn take(&mut self, held: Vec<String>) -> Result<bool, StoreError> {
        let skipped = self.skip.min(held.len());
        self.skip -= skipped;
        let mut held = held.into_iter().skip(skipped).peekable();
        while self.items.len() < self.limit && held.peek().is_some() {
            let some: Vec<_> = held.by_ref().take(self.limit - self.items.len()).collect();
            let known = some.iter().filter_map(|key| id_of(key).map(|id| (key, id.to_owned())));
            let (keys, ids): (Vec<_>, Vec<_>) = known.unzip();
            let found = keys.iter().zip(&ids).zip(self.db.read_all(&EVENTS, &ids).await?);
            // An event that is not there yet or no longer is left out, so is an entry of before the event was moved.
            let is_current = |key: &str, event: &Event| key_of(event) == key && self.filter.holds(event);
            self.items.extend(found.filter_map(|((key, id), found)| {
                found.map(|found| Event::new(id, found)).filter(|event| is_current(key, event))
            }));
            self.after = some.into_iter().last().or_else(|| self.after.take());
        }
        Ok(held.peek().is_some())
    }
}
