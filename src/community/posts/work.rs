//! What is done after a post is gone: its reactions and comments go as well. And after others may read it: its comments are searched
//! by those.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;
use serde::{Deserialize, Serialize};

use super::comments::store::CommentStore;
use super::store::{Post, PostStore};
use crate::community::effects::Effect;
use crate::community::notifications::tell::NOTIFICATION;
use crate::community::search::kinds::COMMENT;
use crate::search::log::{Change, ChangeLog};

/// Removes what hung on a post.
static REMOVAL: JobKind<OfPost> =
    JobKind::new("post_removal", &NOTIFICATION, 1).timeout(Duration::from_mins(10)).attempts(20);

/// Has the search indexes look at the comments on a post anew.
static COMMENTS_SEARCHED: JobKind<OfPost> =
    JobKind::new("post_comments_searched", &NOTIFICATION, 1).timeout(Duration::from_mins(10)).attempts(20);

/// Comments that are noted beside each other.
const NOTED_AT_ONCE: usize = 50;

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

/// Has the comments on a post found by those who may read it now, and by nobody else.
pub(super) fn search_comments(post_id: &str) -> Result<Effect, StoreError> {
    let job = COMMENTS_SEARCHED.job(&OfPost { post_id: post_id.to_owned(), has_poll: false })?;
    Ok(Effect::job(job.group(post_id)))
}

/// The jobs of this file.
pub fn handled(pools: NewPools, db: &Db) -> NewPools {
    let searched = Searched { comments: CommentStore::new(db.clone()), changes: ChangeLog::new(db.clone()) };
    pools.handle(&REMOVAL, Rest::new(db)).handle(&COMMENTS_SEARCHED, searched)
}

/// Notes the comments on posts in the log of what is searched for.
struct Searched {
    comments: CommentStore,
    changes: ChangeLog,
}

#[async_trait]
impl Handler<OfPost> for Searched {
    async fn run(&self, _: &Attempted, job: OfPost) -> Result<(), Failure> {
        let mut part = 0;
        while let Some(ids) = self.comments.ids_of(&job.post_id, part).await? {
            let changes = ids.iter().map(|id| Change { kind: COMMENT.to_owned(), id: id.to_string() });
            for some in changes.collect::<Vec<_>>().chunks(NOTED_AT_ONCE) {
                try_join_all(some.iter().map(|change| self.changes.note(change))).await?;
            }
            part += 1;
        }
        Ok(())
    }
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
