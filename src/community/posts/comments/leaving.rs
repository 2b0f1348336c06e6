//! What becomes of comments, and of reactions to them, when who wrote them leaves the community.

use mundotango_storage::StoreError;
use mundotango_storage::db::Db;

use super::announce::announce_removed;
use super::kind::id_of;
use super::rules::CommentId;
use super::store::CommentStore;
use crate::community::posts::store::PostStore;

/// The comments of those who leave.
pub struct LeavingCommenters {
    posts: PostStore,
    comments: CommentStore,
}

impl LeavingCommenters {
    /// Those of a store.
    pub fn new(db: &Db) -> Self {
        Self { posts: PostStore::new(db.clone()), comments: CommentStore::new(db.clone()) }
    }

    /// Removes those of a part's rows that are a user's comments: where there are answers, a place stays, without words and author.
    /// Doing it again changes nothing.
    pub async fn take_out(&self, part: &str, rows: &[String], user_id: &str) -> Result<(), StoreError> {
        let Some((post_id, _)) = part.rsplit_once(':') else { return Ok(()) };
        let post = self.posts.post(post_id).await?;
        for id in rows.iter().filter_map(|row| id_of(post_id, row)) {
            let comment = self.comments.kept(&id).await?;
            if comment.is_none_or(|comment| comment.author_id.as_deref() != Some(user_id)) {
                continue;
            }
            let (post, comment_id) = (post.clone(), id.clone());
            let effects = move |has_place| match &post {
                Some(post) => announce_removed(post, &comment_id, has_place),
                None => Ok(Vec::new()),
            };
            self.comments.remove(&id, effects).await?;
        }
        Ok(())
    }

    /// Takes a user's reaction to a comment back.
    pub async fn take_reaction_back(&self, comment_id: &str, user_id: &str) -> Result<(), StoreError> {
        let Some(id) = CommentId::parse(comment_id) else { return Ok(()) };
        self.comments.react(&id, user_id, None).await.map(drop)
    }
}
