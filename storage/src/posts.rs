//! Posts and the reactions to them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Page, PageRequest, StoreError};

/// One post.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// Sorted by the time of its making.
    pub id: String,
    /// Who wrote it.
    pub author_id: String,
    /// What it says.
    pub content: String,
    /// Who may read it.
    pub visibility: Visibility,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many reactions of each kind; kinds without any are absent.
    #[serde(default)]
    pub reactions: BTreeMap<ReactionType, u64>,
}

/// Who may read a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everybody.
    Public,
    /// The author and the author's friends.
    Friends,
    /// The author.
    Private,
}

/// What a reader thinks of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ReactionType {
    Heart,
    Like,
    Celebrate,
    Laugh,
    Support,
}

/// What came of a reaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reacted {
    /// The post with its counts after the change.
    pub post: Post,
    /// The user's reaction before.
    pub previous: Option<ReactionType>,
}

/// The port to posts.
#[async_trait]
pub trait PostStore: Send + Sync {
    /// Adds a post.
    async fn create_post(&self, post: Post) -> Result<(), StoreError>;

    /// The post with this id.
    async fn post(&self, id: &str) -> Result<Option<Post>, StoreError>;

    /// What a user sees, newest first: public posts, and all of the user's own.
    async fn feed(&self, user_id: &str, page: PageRequest) -> Result<Page<Post>, StoreError>;

    /// Puts a user's reaction in the place of the one before; `None` takes it back. `None` if there is no such post.
    /// The counts change with the reaction in one step.
    async fn react(
        &self,
        post_id: &str,
        user_id: &str,
        reaction: Option<ReactionType>,
    ) -> Result<Option<Reacted>, StoreError>;

    /// A user's reactions to these posts, by post id; posts without one are absent.
    async fn reactions_of(
        &self,
        user_id: &str,
        post_ids: &[String],
    ) -> Result<BTreeMap<String, ReactionType>, StoreError>;
}
