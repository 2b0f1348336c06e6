//! The events of a person: those that the person answered, and those that the person gives, by the time they start.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::{Page, PageRequest, PageStart, StoreError};

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
        let (list, user) = (guest_list(user_id), user_id.to_owned());
        let now = mundotango_storage::now();
        let is_current = move |key: &str, event: &Event| {
            key_of(event) == key || now.duration_since(event.changed_at) < FOUND_AFTER_MOVE
        };
        let answered = async |events: Vec<Event>| {
            let ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
            let answers = self.rsvps_of(&ids, &user).await?;
            let both = events.into_iter().zip(answers).filter_map(|(event, rsvp)| Some((event, rsvp?)));
            Ok(both.filter(|(_, rsvp)| rsvp.status != RsvpStatus::Declined).collect())
        };
        self.walk_person(&list, from, page, is_current, answered).await
    }

    /// The events that a user owns, likewise; drafts among them.
    pub async fn of_host(
        &self,
        user_id: &str,
        from: Timestamp,
        page: PageRequest,
    ) -> Result<Page<Event>, StoreError> {
        let list = host_list(user_id);
        let is_current = |key: &str, event: &Event| key_of(event) == key && event.host_id == user_id;
        self.walk_person(&list, from, page, is_current, async |events| Ok(events)).await
    }

    /// Leads users to an event that is at another time.
    pub async fn lead_again(&self, event: &Event, users: &[&str]) -> Result<(), StoreError> {
        let entries = users.iter().map(|user| guest_entry(user, event)).collect::<Result<Vec<_>, _>>()?;
        self.db().add_entries(&entries).await
    }

    async fn walk_person<T>(
        &self,
        list: &str,
        from: Timestamp,
        page: PageRequest,
        is_current: impl Fn(&str, &Event) -> bool,
        finish: impl AsyncFn(Vec<Event>) -> Result<Vec<T>, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        let (mut after, mut skip) = match page.start {
            // Before the first event of that time.
            PageStart::First => (sortable(from), 0),
            PageStart::Skip(items) => (sortable(from), items),
            PageStart::After(cursor) if id_of(&cursor).is_some() => (cursor, 0),
            PageStart::After(_) => return Err(StoreError::BadCursor),
        };
        let (mut items, mut looked_at, mut seen) = (Vec::new(), 0, HashSet::new());
        while items.len() < page.limit && looked_at < MAX_LOOKED_AT {
            let most = page.limit + skip - items.len();
            let found = self.db().walk(&EVENTS_OF_PEOPLE, &[list], Some(&after), most).await?;
            looked_at += found.items.len();
            let known = found.items.iter().filter_map(|(key, _)| id_of(key).map(|id| (key, id.to_owned())));
            let (keys, ids): (Vec<_>, Vec<_>) = known.unzip();
            let read = self.db().read_all(&EVENTS, &ids).await?;
            let events = keys.into_iter().zip(&ids).zip(read).filter_map(|((key, id), found)| {
                let event = Event::new(id, found?);
                (is_current(key, &event) && seen.insert(event.id.clone())).then_some(event)
            });
            let finished = finish(events.collect()).await?;
            let skipped = skip.min(finished.len());
            skip -= skipped;
            items.extend(finished.into_iter().skip(skipped));
            match found.next {
                Some(next) => after = next,
                None => return Ok(Page { items, next: None }),
            }
        }
        Ok(Page { items, next: Some(after) })
    }
}
