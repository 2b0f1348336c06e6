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
use crate::events::{Event, EventFilter, EventStore, Rsvp, RsvpChoice, RsvpOutcome, RsvpStatus};
use crate::{Page, PageRequest, PageStart, StoreError};

/// Most events that one page looks at: past them it ends early, with a cursor to go on.
const MAX_LOOKED_AT: usize = 10_000;

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

fn cursor_of(event: &Event) -> String {
    format!("{}.{}", event.event_date.as_millisecond(), event.id)
}

fn read_cursor(cursor: &str) -> Result<Vec<u8>, StoreError> {
    let (millis, id) = cursor.split_once('.').ok_or(StoreError::BadCursor)?;
    Ok(keys::timed(millis.parse().map_err(|_| StoreError::BadCursor)?, id))
}

fn list(tables: &Tables, filter: &EventFilter, page: &PageRequest) -> Result<Page<Event>, StoreError> {
    let from = filter.from.map(|from| keys::timed(from.as_millisecond(), ""));
    let (start, mut skip) = match &page.start {
        PageStart::First => (from.map_or(Bound::Unbounded, Bound::Included), 0),
        PageStart::Skip(items) => (from.map_or(Bound::Unbounded, Bound::Included), *items),
        PageStart::After(cursor) => (Bound::Excluded(read_cursor(cursor)?), 0),
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
        let cursor = cursor_of(&event);
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

/// What a choice comes to, if that is not what stands already.
fn changes(previous: Option<RsvpStatus>, choice: RsvpChoice) -> bool {
    match (previous, choice) {
        // Who waits keeps the place in the queue.
        (Some(RsvpStatus::Going | RsvpStatus::Waitlisted), RsvpChoice::Going)
        | (Some(RsvpStatus::Maybe), RsvpChoice::Maybe)
        | (Some(RsvpStatus::Declined), RsvpChoice::Declined) => false,
        _ => true,
    }
}

struct Answering<'a, 'b> {
    tx: &'a mut Tx<'b>,
    row: EventRow,
    now: Timestamp,
}

impl Answering<'_, '_> {
    fn rsvp_key(&self, user_id: &str) -> Vec<u8> {
        keys::join(&[&self.row.event.id, user_id])
    }

    fn waitlist_key(&self, place: u64) -> Vec<u8> {
        keys::numbered(&[&self.row.event.id], place)
    }

    fn has_room(&self) -> bool {
        self.row.event.capacity.is_none_or(|capacity| self.row.event.counts.going < capacity)
    }

    fn leave(&mut self, before: &RsvpRow) {
        let counts = &mut self.row.event.counts;
        match before.rsvp.status {
            RsvpStatus::Going => counts.going = counts.going.saturating_sub(1),
            RsvpStatus::Maybe => counts.maybe = counts.maybe.saturating_sub(1),
            RsvpStatus::Waitlisted => counts.waitlisted = counts.waitlisted.saturating_sub(1),
            RsvpStatus::Declined => {}
        }
        if let Some(place) = before.place {
            let key = self.waitlist_key(place);
            self.tx.remove(Table::Waitlist, key);
        }
    }

    fn enter(&mut self, user_id: &str, choice: RsvpChoice) -> Result<Rsvp, StoreError> {
        let status = match choice {
            RsvpChoice::Going if self.has_room() => RsvpStatus::Going,
            RsvpChoice::Going => RsvpStatus::Waitlisted,
            RsvpChoice::Maybe => RsvpStatus::Maybe,
            RsvpChoice::Declined => RsvpStatus::Declined,
        };
        let place = (status == RsvpStatus::Waitlisted).then_some(self.row.next_place);
        if let Some(place) = place {
            self.row.next_place += 1;
            let key = self.waitlist_key(place);
            self.tx.put(Table::Waitlist, key, &user_id)?;
        }
        self.record(user_id, status, place)
    }

    fn record(&mut self, user_id: &str, status: RsvpStatus, place: Option<u64>) -> Result<Rsvp, StoreError> {
        let counts = &mut self.row.event.counts;
        match status {
            RsvpStatus::Going => counts.going += 1,
            RsvpStatus::Maybe => counts.maybe += 1,
            RsvpStatus::Waitlisted => counts.waitlisted += 1,
            RsvpStatus::Declined => {}
        }
        let rsvp = Rsvp {
            event_id: self.row.event.id.clone(),
            user_id: user_id.to_owned(),
            status,
            updated_at: self.now,
        };
        let key = self.rsvp_key(user_id);
        self.tx.put(Table::Rsvps, key, &RsvpRow { rsvp: rsvp.clone(), place })?;
        Ok(rsvp)
    }

    /// Gives a free place to the first on the waitlist.
    fn promote(&mut self) -> Result<Option<Rsvp>, StoreError> {
        if !self.has_room() {
            return Ok(None);
        }
        let prefix = keys::below(&[&self.row.event.id]);
        let Some(key) = self.tx.keys_below(Table::Waitlist, &prefix, 1)?.pop() else { return Ok(None) };
        let Some(user_id) = self.tx.get::<String>(Table::Waitlist, &key)? else { return Ok(None) };
        self.tx.remove(Table::Waitlist, key);
        let counts = &mut self.row.event.counts;
        counts.waitlisted = counts.waitlisted.saturating_sub(1);
        self.record(&user_id, RsvpStatus::Going, None).map(Some)
    }
}

fn answer(
    tx: &mut Tx<'_>,
    event_id: &str,
    user_id: &str,
    choice: RsvpChoice,
    now: Timestamp,
) -> Result<Option<RsvpOutcome>, StoreError> {
    let Some(row) = tx.get::<EventRow>(Table::Events, event_id.as_bytes())? else { return Ok(None) };
    let mut answering = Answering { tx, row, now };
    let key = answering.rsvp_key(user_id);
    let before = answering.tx.get::<RsvpRow>(Table::Rsvps, &key)?;
    let previous = before.as_ref().map(|before| before.rsvp.status);
    if let Some(before) = before {
        if !changes(previous, choice) {
            let event = answering.row.event;
            return Ok(Some(RsvpOutcome { rsvp: before.rsvp, previous, promoted: None, event }));
        }
        answering.leave(&before);
    }
    let rsvp = answering.enter(user_id, choice)?;
    let promoted = if previous == Some(RsvpStatus::Going) { answering.promote()? } else { None };
    let Answering { tx, row, .. } = answering;
    tx.put(Table::Events, event_id.as_bytes().to_vec(), &row)?;
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
