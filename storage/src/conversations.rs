//! Users' conversations with agents, and their turns.
//!
//! A conversation has one writer at a time: who takes it over gets a [`Fence`], and every write names it. Once another has
//! taken over, writes under an older fence are refused, however late they come.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Page, PageRequest, StoreError};

/// A user's thread with an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Sorted by the time of its making.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Who answers.
    pub agent_id: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The right to write to a conversation, until somebody gets a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence(pub u64);

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Made by who says it, so that saying it again is noticed.
    pub id: String,
    /// Who says it.
    pub speaker: Speaker,
    /// What is said; what was said so far while it is not finished.
    pub content: String,
    /// Whether all is said.
    pub finished: bool,
    /// When it began.
    pub created_at: Timestamp,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced<T> {
    /// It is written.
    Written(T),
    /// Somebody has taken over: nothing is written.
    Refused,
}

/// The port to conversations. A conversation holds at most [`MAX_TURNS`].
#[async_trait]
pub trait ConversationStore: Send + Sync {
    /// Adds a conversation.
    async fn create_conversation(&self, conversation: Conversation) -> Result<(), StoreError>;

    /// The conversation with this id.
    async fn conversation(&self, id: &str) -> Result<Option<Conversation>, StoreError>;

    /// Takes the right to write; a higher fence than any before. `None` if there is no such conversation.
    async fn take_over(&self, id: &str) -> Result<Option<Fence>, StoreError>;

    /// Adds a turn behind the others; its place. The number that it brings is not looked at.
    async fn add_turn(&self, id: &str, fence: Fence, turn: Turn) -> Result<Fenced<u64>, StoreError>;

    /// Replaces what a turn says, and whether all is said.
    async fn set_turn(
        &self,
        id: &str,
        fence: Fence,
        number: u64,
        content: &str,
        finished: bool,
    ) -> Result<Fenced<()>, StoreError>;

    /// The turns in their order. The cursor is the last turn's number.
    async fn turns(&self, id: &str, page: PageRequest) -> Result<Page<Turn>, StoreError>;

    /// The last turns, in their order.
    async fn last_turns(&self, id: &str, most: usize) -> Result<Vec<Turn>, StoreError>;
}

/// Most turns of one conversation: what one partition of the store is allowed to grow to, at a few kilobytes each.
pub const MAX_TURNS: u64 = 10_000;
