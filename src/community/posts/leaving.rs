//! What becomes of posts, and of reactions to them, when somebody leaves the community.

use mundotango_storage::StoreError;
use mundotango_storage::db::Db;

use super::announce::announce_deleted;
use super::store::PostStore;
use super::work::Rest;

/// The posts of those who leave.
pub struct LeavingAuthors {
    posts: PostStore,
    rest: Rest,
}

impl LeavingAuthors {
    /// Those of a store.
    pub fn new(db: &Db) -> Self {
        Self { posts: PostStore::new(db.clone()), rest: Rest::new(db) }
    }

    /// Takes a post away, with its comments and all reactions. Doing it again changes nothing.
    pub async fn take_away(&self, post_id: &str) -> Result<(), StoreError> {
        let has_poll = self.posts.post_now(post_id).await?.is_some_and(|post| post.poll.is_some());
        self.posts.delete(post_id, announce_deleted).await?;
        // A job does it as well, but later: the round is to find nothing of it.
        self.rest.remove(post_id, has_poll).await
    }

    /// Takes a user's reaction to a post back.
    pub async fn take_reaction_back(&self, post_id: &str, user_id: &str) -> Result<(), StoreError> {
        self.posts.react(post_id, user_id, None).await.map(drop)
    }

    /// Takes a user's vote in the poll of a post back.
    pub async fn take_vote_back(&self, post_id: &str, user_id: &str) -> Result<(), StoreError> {
        self.posts.vote(post_id, user_id, None).await.map(drop)
    }
}
