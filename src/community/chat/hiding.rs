//! Messages that decisions of the moderators take away. Until the time to appeal is over they are hidden, not deleted, so that an
//! appeal has something to give back: for all it is as if they were deleted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Wants};

use super::announce::{DELETED, EDITED, announce};
use super::blocks::Block;
use super::error::ChatError;
use super::kinds::Message;
use super::store::ChatStore;
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::search::kinds::{MESSAGE, message_of};
use crate::community::taken_away::Change;

/// Hides messages, and gives them back.
#[derive(Clone)]
pub struct HiddenMessages(ChatStore);

/// A message that is not there has nothing that could be hidden.
fn gone(outcome: Result<Message, ChatError>) -> Result<(), StoreError> {
    match outcome {
        Err(ChatError::Store(error)) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl HiddenMessages {
    /// Those of a store.
    pub fn new(db: &Db) -> Self {
        Self(ChatStore::new(db.clone()))
    }

    /// Hides a message. Doing it again changes nothing.
    pub async fn hide(&self, id: &str, decision: &str, act: Act) -> Result<(), StoreError> {
        let (Some((chat, seq)), decision) = (message_of(id), decision.to_owned()) else { return Ok(()) };
        let searched = Effect::changed(MESSAGE, id);
        let rule = move |part: &mut Block<'_>, message: &mut Message| {
            if message.deleted_at.is_some() || message.hidden_by.take(&decision)? == Change::None {
                return Ok(false);
            }
            part.emit(&searched)?;
            part.emit(&Effect::audit(act.clone()))?;
            Ok(true)
        };
        let announce = announce(chat, BTreeMap::new(), DELETED);
        gone(self.0.change_message(chat, seq, Wants::head(), announce, rule).await)
    }

    /// Has this decision hide a message no longer: it is shown again unless another one hides it.
    pub async fn show(&self, id: &str, decision: &str, act: Act) -> Result<(), StoreError> {
        let (Some((chat, seq)), decision) = (message_of(id), decision.to_owned()) else { return Ok(()) };
        let searched = Effect::changed(MESSAGE, id);
        let rule = move |part: &mut Block<'_>, message: &mut Message| {
            let change = message.hidden_by.give_back(&decision);
            if change == Change::Turned {
                part.emit(&searched)?;
                part.emit(&Effect::audit(act.clone()))?;
            }
            Ok(change != Change::None)
        };
        // Those who are in the conversation now read it again, each as far as they may.
        let announce = announce(chat, BTreeMap::new(), EDITED);
        gone(self.0.change_message(chat, seq, Wants::head(), announce, rule).await)
    }

    /// Deletes a message that this decision has hidden, once nothing can bring it back.
    pub async fn delete_hidden(
        &self,
        id: &str,
        decision: &str,
        act: Act,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (Some((chat, seq)), decision) = (message_of(id), decision.to_owned()) else { return Ok(()) };
        let is_wanted = move |part: &mut Block<'_>, message: &Message| {
            if !message.hidden_by.has(&decision) {
                return Ok(false);
            }
            part.emit(&Effect::audit(act.clone()))?;
            Ok(true)
        };
        let announce = announce(chat, BTreeMap::new(), DELETED);
        gone(self.0.delete_if(chat, seq, now, announce, is_wanted).await)
    }
}
