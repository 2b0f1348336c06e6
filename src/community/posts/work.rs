//! What is done after a post is gone: its reactions and comments go as well.

use std::time::Duration;

use async_trait::async_trait;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;
use serde::{Deserialize, Serialize};

use super::comments::store::CommentStore;
use super::store::{Post, PostStore};
use crate::community::effects::Effect;
use crate::community::notifications::tell::NOTIFICATION;

/// Removes what hung on a post.
static REMOVAL: JobKind<OfPost> =
    JobKind::new("post_removal", &NOTIFICATION, 1).timeout(Duration::from_mins(10)).attempts(20);

#[derive(Debug, Serialize, Deserialize)]
struct OfPost {
    post_id: String,
    #[serde(default)]
    has_poll: bool,
}

/// Has removed what hangs on a post that is deleted.
pub(super) fn remove_rest(post: &Post) -> Result<Effect, StoreError> {
    let job = REMOVAL.job(&OfPost { post_id: post.id.clone(), has_poll: post.poll.is_some() })?;
    Ok(Effect::job(job.group(post.id.as_str())))
}

/// The jobs of this file.
pub fn handled(pools: NewPools, db: &Db) -> NewPools {
    pools.handle(&REMOVAL, Rest::new(db))
}

/// What hangs on posts.
pub(super) struct Rest {
    posts: PostStore,
    comments: CommentStore,
}

impl Rest {
    pub(super) fn new(db: &Db) -> Self {
        Self { posts: PostStore::new(db.clone()), comments: CommentStore::new(db.clone()) }
    }

    /// Removes what hung on a post that is deleted. Doing it again changes nothing.
    pub(super) async fn remove(&self, post_id: &str, has_poll: bool) -> Result<(), StoreError> {
        self.comments.remove_all(post_id).await?;
        if has_poll {
            self.posts.delete_votes(post_id).await?;
        }
        self.posts.delete_reactions(post_id).await
    }
}

#[async_trait]
impl Handler<OfPost> for Rest {
    async fn run(&self, _: &Attempted, job: OfPost) -> Result<(), Failure> {
        Ok(self.remove(&job.post_id, job.has_poll).await?)
    }
}
