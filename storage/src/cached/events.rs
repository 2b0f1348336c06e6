//! Events behind the cache.

use async_trait::async_trait;
use jiff::Timestamp;

use super::Cached;
use crate::cache::EVENT;
use crate::events::{Event, EventFilter, EventStore, Rsvp, RsvpChoice, RsvpOutcome};
use crate::{Page, PageRequest, StoreError};

#[async_trait]
impl EventStore for Cached<dyn EventStore> {
    async fn create_event(&self, event: Event) -> Result<(), StoreError> {
        self.store.create_event(event).await
    }

    async fn event(&self, id: &str) -> Result<Option<Event>, StoreError> {
        self.cache.get_or_load(&EVENT, id, self.store.event(id)).await
    }

    async fn events(&self, filter: EventFilter, page: PageRequest) -> Result<Page<Event>, StoreError> {
        self.store.events(filter, page).await
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
