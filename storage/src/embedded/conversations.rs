//! Conversations in the embedded store.
//!
//! conversations: id → conversation, fence, number of turns · turns: conversation id, number → turn

use std::ops::Bound;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::committer::Tx;
use super::tables::Table;
use super::{Shared, decode, keys};
use crate::conversations::{Conversation, ConversationStore, Fence, Fenced, MAX_TURNS, Turn};
use crate::{Page, PageRequest, PageStart, StoreError};

#[derive(Serialize, Deserialize)]
struct Row {
    conversation: Conversation,
    fence: Fence,
    turns: u64,
}

fn turn_key(id: &str, number: u64) -> Vec<u8> {
    keys::numbered(&[id], number)
}

/// The row, if the fence is the newest.
fn own_row(tx: &mut Tx<'_>, id: &str, fence: Fence) -> Result<Option<Row>, StoreError> {
    let row = tx.get::<Row>(Table::Conversations, id.as_bytes())?;
    Ok(row.filter(|row| row.fence == fence))
}

#[async_trait]
impl ConversationStore for std::sync::Arc<Shared> {
    async fn create_conversation(&self, conversation: Conversation) -> Result<(), StoreError> {
        self.write(Table::Conversations, move |tx| {
            let key = conversation.id.clone().into_bytes();
            tx.put(Table::Conversations, key, &Row { conversation, fence: Fence(0), turns: 0 })
        })
        .await
    }

    async fn conversation(&self, id: &str) -> Result<Option<Conversation>, StoreError> {
        Ok(self.read::<Row>(Table::Conversations, id.as_bytes())?.map(|row| row.conversation))
    }

    async fn take_over(&self, id: &str) -> Result<Option<Fence>, StoreError> {
        let key = id.as_bytes().to_vec();
        self.write(Table::Conversations, move |tx| {
            let Some(mut row) = tx.get::<Row>(Table::Conversations, &key)? else { return Ok(None) };
            row.fence.0 += 1;
            tx.put(Table::Conversations, key, &row)?;
            Ok(Some(row.fence))
        })
        .await
    }

    async fn add_turn(&self, id: &str, fence: Fence, turn: Turn) -> Result<Fenced<u64>, StoreError> {
        let id = id.to_owned();
        self.write(Table::Turns, move |tx| {
            let Some(mut row) = own_row(tx, &id, fence)? else { return Ok(Fenced::Refused) };
            if row.turns >= MAX_TURNS {
                return Err(StoreError::Full("the conversation"));
            }
            row.turns += 1;
            let number = row.turns;
            tx.put(Table::Turns, turn_key(&id, number), &Turn { number, ..turn })?;
            tx.put(Table::Conversations, id.into_bytes(), &row)?;
            Ok(Fenced::Written(number))
        })
        .await
    }

    async fn set_turn(
        &self,
        id: &str,
        fence: Fence,
        number: u64,
        content: &str,
        finished: bool,
    ) -> Result<Fenced<()>, StoreError> {
        let (id, content) = (id.to_owned(), content.to_owned());
        self.write(Table::Turns, move |tx| {
            if own_row(tx, &id, fence)?.is_none() {
                return Ok(Fenced::Refused);
            }
            let key = turn_key(&id, number);
            if let Some(turn) = tx.get::<Turn>(Table::Turns, &key)? {
                tx.put(Table::Turns, key, &Turn { content, finished, ..turn })?;
            }
            Ok(Fenced::Written(()))
        })
        .await
    }

    async fn turns(&self, id: &str, page: PageRequest) -> Result<Page<Turn>, StoreError> {
        let first = match &page.start {
            PageStart::First => 0,
            PageStart::After(cursor) => {
                cursor.parse::<u64>().map_err(|_| StoreError::BadCursor)?.saturating_add(1)
            }
            PageStart::Skip(items) => *items as u64 + 1,
        };
        let (start, end) = (turn_key(id, first), turn_key(id, u64::MAX));
        self.scan(Table::Turns, move |tables| {
            let range = tables.get(Table::Turns).range((Bound::Included(start), Bound::Included(end)));
            let mut items: Vec<Turn> = Vec::with_capacity(page.limit);
            for item in range {
                if items.len() == page.limit {
                    let next = items.last().map(|last| last.number.to_string());
                    return Ok(Page { items, next });
                }
                items.push(decode(&item.value()?)?);
            }
            Ok(Page { items, next: None })
        })
        .await
    }

    async fn last_turns(&self, id: &str, most: usize) -> Result<Vec<Turn>, StoreError> {
        let (start, end) = (turn_key(id, 0), turn_key(id, u64::MAX));
        self.scan(Table::Turns, move |tables| {
            let range = tables.get(Table::Turns).range((Bound::Included(start), Bound::Included(end)));
            let mut turns =
                range.rev().take(most).map(|item| decode(&item.value()?)).collect::<Result<Vec<_>, _>>()?;
            turns.reverse();
            Ok(turns)
        })
        .await
    }
}
