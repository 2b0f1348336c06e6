//! Posts that decisions of the moderators take away. Until the time to appeal is over they are hidden, not deleted, so that an
//! appeal has something to give back. A hidden post is there for its author alone, as a private one is, and cannot be changed. It is
//! shown again once no decision hides it any more.

use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Wants};

use super::announce::{announce_deleted, announce_hidden, announce_shown};
use super::post::Post;
use super::store::{POSTS, PostStore};
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::taken_away::Change;

impl PostStore {
    /// Hides a post; whether this decision is a new one that does.
    pub async fn hide(&self, id: &str, decision: &str, act: Act) -> Result<bool, StoreError> {
        let (post_id, decision) = (id.to_owned(), decision.to_owned());
        let hidden = self.db().change(&POSTS, id, Wants::head(), move |part| {
            // As it was, for whom it is hidden now.
            let before = Post::in_part(&post_id, part);
            match part.head.hidden_by.take(&decision)? {
                Change::None => return Ok::<_, StoreError>(Decision::Stands(false)),
                Change::Noted => {}
                Change::Turned => {
                    for effect in announce_hidden(&before)? {
                        part.emit(&effect)?;
                    }
                    part.head.audience_version += 1;
                }
            }
            part.emit(&Effect::audit(act.clone()))?;
            Ok(Decision::Write(true))
        });
        Ok(hidden.await?.unwrap_or_default())
    }

    /// Has this decision hide a post no longer; whether it is shown again by that. While another one hides it, it is not.
    pub async fn show(&self, id: &str, decision: &str, act: Act) -> Result<bool, StoreError> {
        let (post_id, decision) = (id.to_owned(), decision.to_owned());
        let shown = self.db().change(&POSTS, id, Wants::head(), move |part| {
            match part.head.hidden_by.give_back(&decision) {
                Change::None => return Ok::<_, StoreError>(Decision::Stands(false)),
                Change::Noted => return Ok(Decision::Write(false)),
                Change::Turned => {}
            }
            part.head.audience_version += 1;
            for effect in announce_shown(&Post::in_part(&post_id, part))? {
                part.emit(&effect)?;
            }
            part.emit(&Effect::audit(act.clone()))?;
            Ok(Decision::Write(true))
        });
        Ok(shown.await?.unwrap_or_default())
    }

    /// Deletes a post that this decision has hidden, once nothing can bring it back; whether it did.
    pub async fn delete_hidden(&self, id: &str, decision: &str, act: Act) -> Result<bool, StoreError> {
        let (post_id, decision) = (id.to_owned(), decision.to_owned());
        let deleted = self.db().change(&POSTS, id, Wants::head(), move |part| {
            if !part.head.hidden_by.has(&decision) {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            for effect in announce_deleted(&Post::in_part(&post_id, part))? {
                part.emit(&effect)?;
            }
            part.emit(&Effect::audit(act.clone()))?;
            Ok(Decision::Delete(true))
        });
        Ok(deleted.await?.unwrap_or_default())
    }
}
