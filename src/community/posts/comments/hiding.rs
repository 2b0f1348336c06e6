//! Comments that decisions of the moderators take away. Until the time to appeal is over they are hidden, not removed, so that an
//! appeal has something to give back: for all it is as if they were removed, and their authors can remove them for good.

use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Wants};

use super::announce::{announce_given_back, announce_removed};
use super::kind::{COMMENTS, Row, key_of, part_id};
use super::rules::{CommentId, part_of};
use super::store::{CommentStore, is_there, searched};
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::posts::post::Post;
use crate::community::posts::store::PostStore;
use crate::community::taken_away::Change;

/// Hides comments, and gives them back.
#[derive(Clone)]
pub struct HiddenComments {
    posts: PostStore,
    comments: CommentStore,
}

impl HiddenComments {
    /// Those of a store.
    pub fn new(db: &Db) -> Self {
        Self { posts: PostStore::new(db.clone()), comments: CommentStore::new(db.clone()) }
    }

    /// A comment's id and its post, which may be gone.
    async fn find(&self, comment_id: &str) -> Result<Option<(CommentId, Option<Post>)>, StoreError> {
        let Some(id) = CommentId::parse(comment_id) else { return Ok(None) };
        let post = self.posts.post(&id.post).await?;
        Ok(Some((id, post)))
    }

    /// Hides a comment; whether this decision is a new one that does.
    pub async fn hide(&self, comment_id: &str, decision: &str, act: Act) -> Result<bool, StoreError> {
        let Some((id, post)) = self.find(comment_id).await? else { return Ok(false) };
        let (row, decision) = (key_of(&id), decision.to_owned());
        let part = part_id(&id.post, part_of(id.number));
        let hidden = self.comments.db().change(&COMMENTS, &part, Wants::head().row(&row), move |part| {
            let Some(Row::Comment(mut stored)) = part.row(&row).cloned().filter(is_there) else {
                return Ok::<_, StoreError>(Decision::Stands(false));
            };
            match stored.hidden_by.take(&decision)? {
                Change::None => return Ok(Decision::Stands(false)),
                Change::Noted => {}
                Change::Turned => {
                    part.head.there = part.head.there.saturating_sub(1);
                    if let Some(post) = &post {
                        for effect in announce_removed(post, &id, stored.is_answered)? {
                            part.emit(&effect)?;
                        }
                    }
                }
            }
            part.set(&row, Row::Comment(stored));
            part.emit(&searched(&id))?;
            part.emit(&Effect::audit(act.clone()))?;
            Ok(Decision::Write(true))
        });
        Ok(hidden.await?.unwrap_or_default())
    }

    /// Has this decision hide a comment no longer; whether it is shown again by that. While another one hides it, it is not.
    pub async fn show(&self, comment_id: &str, decision: &str, act: Act) -> Result<bool, StoreError> {
        let Some((id, post)) = self.find(comment_id).await? else { return Ok(false) };
        let (row, decision) = (key_of(&id), decision.to_owned());
        let part = part_id(&id.post, part_of(id.number));
        let shown = self.comments.db().change(&COMMENTS, &part, Wants::head().row(&row), move |part| {
            let Some(Row::Comment(mut stored)) = part.row(&row).cloned().filter(is_there) else {
                return Ok::<_, StoreError>(Decision::Stands(false));
            };
            let change = stored.hidden_by.give_back(&decision);
            if change == Change::None {
                return Ok(Decision::Stands(false));
            }
            part.set(&row, Row::Comment(stored));
            if change == Change::Noted {
                return Ok(Decision::Write(false));
            }
            part.head.there += 1;
            if let Some(post) = &post {
                part.emit(&announce_given_back(post)?)?;
            }
            part.emit(&searched(&id))?;
            part.emit(&Effect::audit(act.clone()))?;
            Ok(Decision::Write(true))
        });
        Ok(shown.await?.unwrap_or_default())
    }

    /// Removes a comment that this decision has hidden, once nothing can bring it back; whether it did.
    pub async fn remove_hidden(
        &self,
        comment_id: &str,
        decision: &str,
        act: Act,
    ) -> Result<bool, StoreError> {
        let Some(id) = CommentId::parse(comment_id) else { return Ok(false) };
        let effects = move |_has_place| Ok(vec![Effect::audit(act.clone())]);
        self.comments.remove_if(&id, Some(decision.to_owned()), effects).await
    }
}
