//! Users' conversations with agents, and their turns: a partition a conversation, a row a turn.
//!
//! A conversation has one writer at a time: who takes it over gets a [`Fence`], which every write names. Once another has
//! taken over, writes under an older fence are refused, however late they arrive.

use jiff::Timestamp;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Found, Kind, Part, RowRange, Wants, Whose, key, number, prefix,
};
use mundotango_storage::{Page, PageRequest, PageStart, StoreError};
use serde::{Deserialize, Serialize};

/// Most turns of one conversation: what one partition of the store may grow to, at a few kilobytes each.
pub const MAX_TURNS: u64 = 10_000;
/// Below this lie the turns, by number.
const TURNS: &str = "t";

/// The conversations.
pub static CONVERSATIONS: Kind<Facts, Head, Turn> =
    Kind::new("conversations", "a conversation: 10,000 turns of 4 KB, 40 MB", PERSONAL);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Author,
        Export::Given,
        Erasure::Removed,
        &[
            "id",
            "facts.user_id",
            "facts.agent_id",
            "facts.created_at",
            "keys.t",
            "rows.t.number",
            "rows.t.id",
            "rows.t.speaker",
            "rows.t.content",
            "rows.t.finished",
            "rows.t.created_at",
        ],
    ),
    Fields::of_nobody(&["head.fence", "head.turns"]),
];

/// What never changes about a conversation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    user_id: String,
    agent_id: String,
    created_at: Timestamp,
}

/// What changes about a conversation besides its turns.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Head {
    fence: Fence,
    turns: u64,
}

/// A user's thread with an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Sorted by the time of its making.
    pub id: String,
    /// The user whose conversation it is.
    pub user_id: String,
    /// The agent that answers.
    pub agent_id: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The right to write to a conversation, until somebody gets a higher one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence(pub u64);

/// The side that says a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The user.
    User,
    /// The agent.
    Agent,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Its place, from 1.
    pub number: u64,
    /// Made by the speaker, so that a turn that is sent twice is noticed.
    pub id: String,
    /// The side that says it.
    pub speaker: Speaker,
    /// What is said; what was said so far while it is not finished.
    pub content: String,
    /// Whether all is said.
    pub finished: bool,
    /// When it began.
    pub created_at: Timestamp,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// Somebody has taken the conversation over.
    #[error("another owner has taken the conversation over")]
    Fenced,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn turn_key(turn: u64) -> String {
    key(&[TURNS, &number(turn)])
}

fn check_fence<R>(part: &Part<'_, Facts, Head, R>, fence: Fence) -> Result<(), TurnError> {
    if part.head.fence == fence { Ok(()) } else { Err(TurnError::Fenced) }
}

/// The conversations of a store.
#[derive(Clone)]
pub struct ConversationStore(Db);

impl ConversationStore {
    /// The conversations of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Adds a conversation.
    pub async fn create(&self, conversation: &Conversation) -> Result<(), StoreError> {
        let Conversation { id, user_id, agent_id, created_at } = conversation.clone();
        self.0.create(&CONVERSATIONS, &id, &Facts { user_id, agent_id, created_at }, &[], &[]).await
    }

    /// The conversation with this id.
    pub async fn conversation(&self, id: &str) -> Result<Option<Conversation>, StoreError> {
        let found = self.0.read(&CONVERSATIONS, id).await?;
        Ok(found.map(|Found { facts: Facts { user_id, agent_id, created_at }, .. }| Conversation {
            id: id.to_owned(),
            user_id,
            agent_id,
            created_at,
        }))
    }

    /// Takes the right to write: a higher fence than any before. `None` if there is no such conversation.
    pub async fn take_over(&self, id: &str) -> Result<Option<Fence>, StoreError> {
        self.0
            .change(&CONVERSATIONS, id, Wants::head(), |part| {
                part.head.fence.0 += 1;
                Ok(Decision::Write(part.head.fence))
            })
            .await
    }

    /// Adds a turn behind the others; its number. The number that it brings is not looked at.
    pub async fn add_turn(&self, id: &str, fence: Fence, turn: Turn) -> Result<u64, TurnError> {
        let added = self.0.change(&CONVERSATIONS, id, Wants::head(), move |part| {
            check_fence(part, fence)?;
            if part.head.turns >= MAX_TURNS {
                return Err(TurnError::Store(StoreError::Full("the conversation")));
            }
            part.head.turns += 1;
            let number = part.head.turns;
            part.set(turn_key(number), Turn { number, ..turn.clone() });
            Ok(Decision::Write(number))
        });
        added.await?.ok_or(TurnError::Fenced)
    }

    /// Replaces what a turn says, and whether all is said.
    pub async fn set_turn(
        &self,
        id: &str,
        fence: Fence,
        number: u64,
        content: &str,
        finished: bool,
    ) -> Result<(), TurnError> {
        let (key, content) = (turn_key(number), content.to_owned());
        let set = self.0.change(&CONVERSATIONS, id, Wants::head().row(&key), move |part| {
            check_fence(part, fence)?;
            let Some(turn) = part.row(&key).cloned() else { return Ok::<_, TurnError>(Decision::Stands(())) };
            part.set(&key, Turn { content: content.clone(), finished, ..turn });
            Ok(Decision::Write(()))
        });
        set.await?.ok_or(TurnError::Fenced)
    }

    /// The turns in their order. The cursor is the last turn's number.
    pub async fn turns(&self, id: &str, page: PageRequest) -> Result<Page<Turn>, StoreError> {
        let after = match &page.start {
            PageStart::First => None,
            PageStart::After(cursor) => Some(turn_key(cursor.parse().map_err(|_| StoreError::BadCursor)?)),
            // Turns are numbered without a hole.
            PageStart::Skip(items) => Some(turn_key(*items as u64)),
        };
        let range = RowRange::first(prefix(&[TURNS]), page.limit).after(after);
        let turns = self.0.rows(&CONVERSATIONS, id, &range).await?;
        let next = turns.next.and_then(|_| turns.items.last().map(|(_, last)| last.number.to_string()));
        Ok(Page { items: turns.items.into_iter().map(|(_, turn)| turn).collect(), next })
    }

    /// The last turns, in their order.
    pub async fn last_turns(&self, id: &str, most: usize) -> Result<Vec<Turn>, StoreError> {
        let range = RowRange::last(prefix(&[TURNS]), most);
        let turns = self.0.rows(&CONVERSATIONS, id, &range).await?;
        Ok(turns.items.into_iter().rev().map(|(_, turn)| turn).collect())
    }
}
