//! Events behind the cache.

use async_trait::async_trait;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::Cached;
use crate::cache::{EVENT, EVENTS_LIST};
use crate::events::{Event, EventFilter, EventStore, Rsvp, RsvpChoice, RsvpOutcome};
use crate::{Page, PageRequest, StoreError};

#[async_trait]
impl EventStore for Cached<dyn EventStore> {
    async fn create_event(&self, event: Event) -> Result<(), StoreError> {
        let outcome = self.store.create_event(event).await;
        // Also after an error, as it may have been done.
        self.cache.invalidate_all(&EVENTS_LIST).await;
        outcome
    }

    async fn event(&self, id: &str) -> Result<Option<Event>, StoreError> {
        self.cache.get_or_load(&EVENT, id, self.store.event(id)).await
    }

    async fn events(&self, filter: EventFilter, page: PageRequest) -> Result<Page<Event>, StoreError> {
        let asked = serde_json::to_string(&(&filter, &page)).map_err(|_| StoreError::BadCursor)?;
        let mut read = None;
        let load = async {
            let page = read.insert(self.store.events(filter, page).await?);
            let items = page.items.iter().map(|event| event.id.clone()).collect();
            Ok(Some(Page { items, next: page.next.clone() }))
        };
        let list = self.cache.get_or_load_of(&EVENTS_LIST, &asked, load).await?;
        if let Some(page) = read {
            return Ok(page);
        }
        // Ids alone are kept, so an answer to an event takes no list away.
        let list = list.unwrap_or(Page { items: Vec::new(), next: None });
        let events = try_join_all(list.items.iter().map(|id| self.event(id))).await?;
        Ok(Page { items: events.into_iter().flatten().collect(), next: list.next })
    }

    async fn rsvp(
        &self,
        event_id: &str,
        user_id: &str,
        choice: RsvpChoice,
        now: Timestamp,
    ) -> Result<Option<RsvpOutcome>, StoreError> {
        let outcome = self.store.rsvp(event_id, user_id, choice, now).await;
        // Also after an error, as it may have been done.
        self.cache.invalidate(&[EVENT.key(event_id)]).await;
        outcome
    }

    async fn rsvp_of(&self, event_id: &str, user_id: &str) -> Result<Option<Rsvp>, StoreError> {
        self.store.rsvp_of(event_id, user_id).await
    }

    async fn rsvps(&self, event_id: &str, page: PageRequest) -> Result<Page<Rsvp>, StoreError> {
        self.store.rsvps(event_id, page).await
    }
}
