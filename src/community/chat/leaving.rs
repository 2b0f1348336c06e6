//! What becomes of conversations and messages when somebody leaves the community.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;

use super::announce::{DELETED, REACTED, announce};
use super::error::ChatError;
use super::people;
use super::store::ChatStore;
use crate::community::accounts::store::AccountStore;
use crate::community::people_of;

/// What those who leave wrote, and where they were.
pub struct LeavingMembers {
    chats: ChatStore,
    accounts: AccountStore,
}

/// What is refused was done before, or is gone.
fn refused<T>(outcome: Result<T, ChatError>) -> Result<(), StoreError> {
    match outcome {
        Err(ChatError::Store(error)) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl LeavingMembers {
    /// Those of a store.
    pub fn new(db: &Db) -> Self {
        Self { chats: ChatStore::new(db.clone()), accounts: AccountStore::new(db.clone()) }
    }

    /// Takes a user out of a conversation. Doing it again changes nothing.
    pub async fn take_out(&self, chat_id: &str, user_id: &str) -> Result<(), StoreError> {
        self.chats.forget_member(chat_id, user_id, people::announce(chat_id)).await
    }

    /// Deletes those of a block's rows that are a user's messages, and takes the user's reactions back. Doing it again changes
    /// nothing.
    pub async fn take_out_of_block(
        &self,
        block: &str,
        rows: &[String],
        user_id: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some((chat_id, _)) = block.rsplit_once(':') else { return Ok(()) };
        for row in rows {
            let mut parts = row.split('/');
            let (Some(below), Some(Ok(seq))) = (parts.next(), parts.next().map(str::parse::<u64>)) else {
                continue;
            };
            match below {
                "s" => self.delete(chat_id, seq, user_id, now).await?,
                "r" => self.take_reaction_back(chat_id, seq, user_id).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn delete(&self, chat_id: &str, seq: u64, user_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let message = self.chats.kept_message(chat_id, seq).await?;
        if message.is_none_or(|message| message.author != user_id || message.deleted_at.is_some()) {
            return Ok(());
        }
        let announce = announce(chat_id, BTreeMap::new(), DELETED);
        refused(self.chats.delete(chat_id, seq, now, announce).await)
    }

    async fn take_reaction_back(&self, chat_id: &str, seq: u64, user_id: &str) -> Result<(), StoreError> {
        let Some(message) = self.chats.message(chat_id, seq).await? else { return Ok(()) };
        let people = people_of(&self.accounts, vec![message.author]).await;
        let announce = announce(chat_id, people, REACTED);
        refused(self.chats.react(chat_id, seq, user_id, None, announce).await)
    }
}
