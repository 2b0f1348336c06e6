//! The events of a person: those that the person answered, and those that the person gives, by the time they start.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::{Page, PageRequest, StoreError};

use super::listing::{EVENTS_OF_PEOPLE, guest_entry, guest_list, host_list, id_of, key_of, sortable};
use super::rules::RsvpStatus;
use super::seating::Rsvp;
use super::store::{EVENTS, Event, EventStore};

/// Most entries that one page looks at: past them it ends early, with a cursor to go on.
const MAX_LOOKED_AT: usize = 1_000;
/// So long after a move an event is found where it was as well: those who answered get new entries by a job.
const FOUND_AFTER_MOVE: SignedDuration = SignedDuration::from_hours(1);

impl EventStore {
    /// The events that a user answered and did not decline, with the answers, from a time on, soonest first; those that do not
    /// take place among them. The cursor is the key of the last entry that was looked at.
    pub async fn of_user(
        &self,
        user_id: &str,
        from: Timestamp,
        page: PageRequest,
    ) -> Result<Page<(Event, Rsvp)>, StoreError> {
        let now = mundotango_storage::now();
        let is_current = move |key: &str, event: &Event| {
            key_of(event) == key || now.duration_since(event.changed_at) < FOUND_AFTER_MOVE
        };
        let mut walk = Walk::begin(guest_list(user_id), from, page)?;
        while let Some(events) = walk.read_on(self, is_current).await? {
            let ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
            let answers = self.rsvps_of(&ids, user_id).await?;
            let both = events.into_iter().zip(answers).filter_map(|(event, rsvp)| Some((event, rsvp?)));
            walk.take(both.filter(|(_, rsvp)| rsvp.status != RsvpStatus::Declined).collect());
        }
        Ok(walk.into_page())
    }

    /// The events that a user owns, likewise; drafts among them.
    pub async fn of_host(
        &self,
        user_id: &str,
        from: Timestamp,
        page: PageRequest,
    ) -> Result<Page<Event>, StoreError> {
        let owner = user_id.to_owned();
        let is_current = move |key: &str, event: &Event| key_of(event) == key && event.host_id == owner;
        let mut walk = Walk::begin(host_list(user_id), from, page)?;
        while let Some(events) = walk.read_on(self, &is_current).await? {
            walk.take(events);
        }
        Ok(walk.into_page())
    }

    /// Leads users to an event that is at another time.
    pub async fn lead_again(&self, event: &Event, users: &[&str]) -> Result<(), StoreError> {
        let entries = users.iter().map(|user| guest_entry(user, event)).collect::<Result<Vec<_>, _>>()?;
        self.db().add_entries(&entries).await
    }
}

/// A page of a person's list on its way.
struct Walk<T> {
    list: String,
    limit: usize,
    skip: usize,
    items: Vec<T>,
    looked_at: usize,
    /// An event that was moved may be met twice.
    seen: HashSet<String>,
    /// Behind which entry to go on; `None` behind the last.
    after: Option<String>,
}

impl<T> Walk<T> {
    fn begin(list: String, from: Timestamp, page: PageRequest) -> Result<Self, StoreError> {
        let (after, skip) = page.start.behind(|cursor| id_of(&cursor).is_some().then_some(cursor))?;
        // Else before the first event of that time.
        let after = after.unwrap_or_else(|| sortable(from));
        let (items, seen) = (Vec::new(), HashSet::new());
        Ok(Self { list, limit: page.limit, skip, items, looked_at: 0, seen, after: Some(after) })
    }

    /// The events of the next entries; `None` where the page is full, or has looked at as many as it may.
    async fn read_on(
        &mut self,
        store: &EventStore,
        is_current: impl Fn(&str, &Event) -> bool,
    ) -> Result<Option<Vec<Event>>, StoreError> {
        if self.items.len() >= self.limit || self.looked_at >= MAX_LOOKED_AT {
            return Ok(None);
        }
        let Some(after) = self.after.take() else { return Ok(None) };
        let most = self.limit + self.skip - self.items.len();
        let found = store.db().walk(&EVENTS_OF_PEOPLE, &[&self.list], Some(&after), most).await?;
        self.looked_at += found.items.len();
        self.after = found.next;
        let known =
            found.items.into_iter().filter_map(|(key, _)| id_of(&key).map(str::to_owned).map(|id| (key, id)));
        let (keys, ids): (Vec<_>, Vec<_>) = known.unzip();
        let read = store.db().read_all(&EVENTS, &ids).await?;
        let events = keys.iter().zip(&ids).zip(read).filter_map(|((key, id), found)| {
            let event = Event::new(id, found?);
            (is_current(key, &event) && self.seen.insert(event.id.clone())).then_some(event)
        });
        Ok(Some(events.collect()))
    }

    fn take(&mut self, read: Vec<T>) {
        let skipped = self.skip.min(read.len());
        self.skip -= skipped;
        self.items.extend(read.into_iter().skip(skipped));
    }

    fn into_page(self) -> Page<T> {
        Page { items: self.items, next: self.after }
    }
}
