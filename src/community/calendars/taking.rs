//! Taking one event of a file: it is made, changed or cancelled under its name.

use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_storage::db::time_of_id;
use mundotango_storage::{StoreError, now};

use super::imported::Known;
use super::report::{ImportedItem, Outcome, Refused};
use super::wanted::Wanted;
use crate::community::Community;
use crate::community::events::announce::{announce_cancelled, announce_change};
use crate::community::events::editing::Change;
use crate::community::events::rules::{Cancelled, Settings};
use crate::community::events::store::{Edited, Event, EventError, EventType};
use crate::community::policy::Action;
use crate::icalendar::Item;

/// Why what was a series does not become one event.
const REPEATED_BEFORE: &str = "RRULE: is missing; the event of this UID was imported as one that repeats";

/// What became of an event of a file, and which one it is here.
pub(super) type Taken = Result<(Outcome, String), Refused>;

/// What a change of an event was refused for; a store that fails is no matter of one event.
fn refused(error: EventError) -> Result<Refused, StoreError> {
    match error {
        EventError::Store(error) => Err(error),
        error => Ok(Refused(error.to_string())),
    }
}

impl Community {
    /// Takes one event of a file.
    pub(super) async fn take_in(
        &self,
        identity: &Identity,
        item: &Item,
        otherwise: EventType,
        now: Timestamp,
    ) -> Result<ImportedItem, StoreError> {
        Ok(match self.try_to_take(identity, item, otherwise, now).await? {
            Ok((outcome, event_id)) => {
                ImportedItem { event_id: Some(event_id), ..ImportedItem::taken(&item.uid, outcome) }
            }
            Err(refused) => ImportedItem::refused(&item.uid, refused),
        })
    }

    async fn try_to_take(
        &self,
        identity: &Identity,
        item: &Item,
        otherwise: EventType,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let user_id = &identity.user_id;
        let known = match self.imported.known(user_id, &item.uid).await? {
            Some(Known::Event(id)) => self.events.event(&id).await?,
            Some(Known::Series { .. }) => return Ok(Err(REPEATED_BEFORE.into())),
            None => None,
        };
        if let Some(event) = &known
            && !self.events.may(identity.into(), Action::Change, event).await?.is_allowed()
        {
            return Ok(Err("UID: the event of this name is another user's by now".into()));
        }
        match (known, item.is_cancelled) {
            (None, true) => Ok(Err("STATUS: it is cancelled, and was never here".into())),
            (Some(event), true) => self.cancel_imported(event, now).await,
            (known, false) => match (Wanted::read(item, otherwise, now), known) {
                (Err(refused), _) => Ok(Err(refused)),
                (Ok(wanted), Some(event)) => self.change_imported(event, wanted, now).await,
                (Ok(wanted), None) => self.make_imported(user_id, &item.uid, wanted).await,
            },
        }
    }

    async fn make_imported(&self, user_id: &str, uid: &str, wanted: Wanted) -> Result<Taken, StoreError> {
        let new = Known::Event(mundotango_protocol::new_id());
        let Known::Event(id) = self.imported.claim(user_id, uid, new).await? else {
            return Ok(Err(REPEATED_BEFORE.into()));
        };
        let created_at = time_of_id(&id).unwrap_or_else(now);
        let edited = Edited { plan: wanted.plan, settings: Settings::default() };
        let event = Event::made(id.clone(), user_id.to_owned(), wanted.event_type, edited, created_at);
        self.give_event(event).await?;
        Ok(Ok((Outcome::Created, id)))
    }

    pub(super) async fn change_imported(
        &self,
        before: Event,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let people = self.people(vec![before.host_id.clone()]).await;
        let effects = move |change: &Change| announce_change(change, &people, now);
        let edit = move |before: Edited| Edited { plan: wanted.over(before.plan), ..before };
        match self.events.change(&before.id, now, edit, effects).await {
            // What was read of it before may be a moment old, which makes a change of none at worst.
            Ok(Some(after)) if after.changed_at == before.changed_at => {
                Ok(Ok((Outcome::Unchanged, before.id)))
            }
            Ok(_) => Ok(Ok((Outcome::Changed, before.id))),
            Err(error) => refused(error).map(Err),
        }
    }

    async fn cancel_imported(&self, event: Event, now: Timestamp) -> Result<Taken, StoreError> {
        let people = self.people(vec![event.host_id.clone()]).await;
        let effects = move |after: &Event| announce_cancelled(after, &people);
        match self.events.cancel(&event.id, Cancelled { at: now, reason: None }, effects).await {
            Ok(_) => Ok(Ok((Outcome::Cancelled, event.id))),
            Err(error) => refused(error).map(Err),
        }
    }
}
