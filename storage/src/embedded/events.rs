//! Events in the embedded store.
//!
//! events: id → event and the next place on its waitlist · events_by_date: start in milliseconds, id → nothing ·
//! rsvps: event id, user id → answer and place on the waitlist · waitlist: event id, place → user id

use std::ops::Bound;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::committer::Tx;
use super::tables::{Table, Tables};
use super::{Shared, decode, keys};
use crate::events::{
    Event, EventFilter, EventStore, MAX_LOOKED_AT, Rsvp, RsvpChoice, RsvpOutcome, RsvpStatus, cursor,
    read_cursor,
};
use crate::rsvp_rules::{Places, changes};
use crate::{Page, PageRequest, PageStart, StoreError};

#[derive(Serialize, Deserialize)]
struct EventRow {
    event: Event,
    /// Rises with everybody who comes to the waitlist, so that clocks don't matter.
    next_place: u64,
}

#[derive(Serialize, Deserialize)]
struct RsvpRow {
    rsvp: Rsvp,
    /// The place on the waitlist.
    place: Option<u64>,
}

fn list(tables: &Tables, filter: &EventFilter, page: &PageRequest) -> Result<Page<Event>, StoreError> {
    let from = filter.from.map(|from| keys::timed(from.as_millisecond(), ""));
    let (start, mut skip) = match &page.start {
        PageStart::First => (from.map_or(Bound::Unbounded, Bound::Included), 0),
        PageStart::Skip(items) => (from.map_or(Bound::Unbounded, Bound::Included), *items),
        PageStart::After(cursor) => {
            let (millis, id) = read_cursor(cursor)?;
            (Bound::Excluded(keys::timed(millis, id)), 0)
        }
    };
    // The filter itself looks at the part of a millisecond.
    let end =
        filter.to.map_or(Bound::Unbounded, |to| Bound::Excluded(keys::timed(to.as_millisecond() + 1, "")));
    let mut items: Vec<Event> = Vec::with_capacity(page.limit);
    let mut last = None;
    for (looked_at, item) in tables.get(Table::EventsByDate).range::<Vec<u8>, _>((start, end)).enumerate() {
        let key = item.key()?;
        if looked_at == MAX_LOOKED_AT {
            return Ok(Page { items, next: last });
        }
        let (_, id) =
            keys::read_timed(&key).ok_or_else(|| StoreError::Damaged("key of an event".to_owned()))?;
        let Some(row) = tables.get(Table::Events).get(id)? else { continue };
        let event = decode::<EventRow>(&row)?.event;
        let cursor = cursor(event.event_date.as_millisecond(), &event.id);
        if filter.holds(&event) {
            if skip > 0 {
                skip -= 1;
            } else if items.len() == page.limit {
                return Ok(Page { items, next: last });
            } else {
                items.push(event);
            }
        }
        last = Some(cursor);
    }
    Ok(Page { items, next: None })
}

/// Writes an answer.
fn record(
    tx: &mut Tx<'_>,
    event_id: &str,
    user_id: &str,
    status: RsvpStatus,
    place: Option<u64>,
    now: Timestamp,
) -> Result<Rsvp, StoreError> {
    let rsvp = Rsvp { event_id: event_id.to_owned(), user_id: user_id.to_owned(), status, updated_at: now };
    tx.put(Table::Rsvps, keys::join(&[event_id, user_id]), &RsvpRow { rsvp: rsvp.clone(), place })?;
    Ok(rsvp)
}

/// Takes the first from the waitlist, if anybody waits.
fn take_first(tx: &mut Tx<'_>, event_id: &str) -> Result<Option<String>, StoreError> {
    let prefix = keys::below(&[event_id]);
    let Some(key) = tx.keys_below(Table::Waitlist, &prefix, 1)?.pop() else { return Ok(None) };
    let user_id = tx.get::<String>(Table::Waitlist, &key)?;
    tx.remove(Table::Waitlist, key);
    Ok(user_id)
}

fn answer(
    tx: &mut Tx<'_>,
    event_id: &str,
    user_id: &str,
    choice: RsvpChoice,
    now: Timestamp,
) -> Result<Option<RsvpOutcome>, StoreError> {
    let event_key = event_id.as_bytes();
    let Some(EventRow { mut event, next_place }) = tx.get(Table::Events, event_key)? else { return Ok(None) };
    let before = tx.get::<RsvpRow>(Table::Rsvps, &keys::join(&[event_id, user_id]))?;
    let previous = before.as_ref().map(|before| before.rsvp.status);
    let mut places = Places { capacity: event.capacity, counts: event.counts, next_place };
    if let Some(before) = before {
        if !changes(previous, choice) {
            return Ok(Some(RsvpOutcome { rsvp: before.rsvp, previous, promoted: None, event }));
        }
        places.leave(before.rsvp.status);
        if let Some(place) = before.place {
            tx.remove(Table::Waitlist, keys::numbered(&[event_id], place));
        }
    }
    let (status, place) = places.enter(choice);
    if let Some(place) = place {
        tx.put(Table::Waitlist, keys::numbered(&[event_id], place), &user_id)?;
    }
    let rsvp = record(tx, event_id, user_id, status, place, now)?;
    let first = if places.promotes(previous) { take_first(tx, event_id)? } else { None };
    let promoted = match first {
        Some(first) => {
            places.promote();
            Some(record(tx, event_id, &first, RsvpStatus::Going, None, now)?)
        }
        None => None,
    };
    event.counts = places.counts;
    let row = EventRow { event, next_place: places.next_place };
    tx.put(Table::Events, event_key.to_vec(), &row)?;
    Ok(Some(RsvpOutcome { rsvp, previous, promoted, event: row.event }))
}

#[async_trait]
impl EventStore for std::sync::Arc<Shared> {
    async fn create_event(&self, event: Event) -> Result<(), StoreError> {
        self.write(Table::Events, move |tx| {
            tx.put_key(Table::EventsByDate, keys::timed(event.event_date.as_millisecond(), &event.id));
            let key = event.id.clone().into_bytes();
            tx.put(Table::Events, key, &EventRow { event, next_place: 0 })
        })
        .await
    }

    async fn event(&self, id: &str) -> Result<Option<Event>, StoreError> {
        Ok(self.read::<EventRow>(Table::Events, id.as_bytes())?.map(|row| row.event))
    }

    async fn events(&self, filter: EventFilter, page: PageRequest) -> Result<Page<Event>, StoreError> {
        self.scan(Table::Events, move |tables| list(tables, &filter, &page)).await
    }

    async fn rsvp(
        &self,
        event_id: &str,
        user_id: &str,
        choice: RsvpChoice,
        now: Timestamp,
    ) -> Result<Option<RsvpOutcome>, StoreError> {
        let (event_id, user_id) = (event_id.to_owned(), user_id.to_owned());
        self.write(Table::Rsvps, move |tx| answer(tx, &event_id, &user_id, choice, now)).await
    }

    async fn rsvp_of(&self, event_id: &str, user_id: &str) -> Result<Option<Rsvp>, StoreError> {
        let row = self.read::<RsvpRow>(Table::Rsvps, &keys::join(&[event_id, user_id]))?;
        Ok(row.map(|row| row.rsvp))
    }

    async fn rsvps(&self, event_id: &str, page: PageRequest) -> Result<Page<Rsvp>, StoreError> {
        let prefix = keys::below(&[event_id]);
        let event_id = event_id.to_owned();
        self.scan(Table::Rsvps, move |tables| {
            let (start, skip) = match &page.start {
                PageStart::First => (Bound::Included(prefix.clone()), 0),
                PageStart::Skip(items) => (Bound::Included(prefix.clone()), *items),
                PageStart::After(user_id) => (Bound::Excluded(keys::join(&[&event_id, user_id])), 0),
            };
            let range = tables.get(Table::Rsvps).range::<Vec<u8>, _>((start, Bound::Unbounded));
            let mut items: Vec<Rsvp> = Vec::with_capacity(page.limit);
            for item in range.skip(skip) {
                let (key, row) = item.into_inner()?;
                if !key.starts_with(&prefix) {
                    break;
                }
                if items.len() == page.limit {
                    let next = items.last().map(|last| last.user_id.clone());
                    return Ok(Page { items, next });
                }
                items.push(decode::<RsvpRow>(&row)?.rsvp);
            }
            Ok(Page { items, next: None })
        })
        .await
    }
}
