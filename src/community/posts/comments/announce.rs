//! What comments cause: those who look at the post hear of them, and those whom they concern are told.

use std::collections::{BTreeMap, BTreeSet};

use mundotango_storage::StoreError;

use super::bodies::{CommentBody, CommentMessage};
use super::kind::Comment;
use super::rules::CommentId;
use crate::community::Person;
use crate::community::effects::Effect;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::Tell;
use crate::community::posts::announce::tell_mentioned;
use crate::community::posts::bodies::PostMessage;
use crate::community::posts::live::channel_of;
use crate::community::posts::post::{Post, Visibility, title_of};

/// Tells those who look at a post; of one that is not public, or may not be any more, only that something happened.
fn publish(post: &Post, message: &CommentMessage) -> Result<Effect, StoreError> {
    let (channel, changed) = (channel_of(&post.id), PostMessage::Changed { post_id: post.id.clone() });
    if post.visibility == Visibility::Public {
        Effect::publish_now(channel, message, &changed)
    } else {
        Effect::publish(channel, &changed)
    }
}

/// Whom a comment concerns.
#[derive(Clone, Debug)]
pub(super) struct Concerned {
    /// The post.
    pub(super) post: Post,
    /// The comment that is answered.
    pub(super) answered: Option<Comment>,
    /// Who is mentioned, was not before, and may read the post.
    pub(super) mentioned: BTreeSet<String>,
    /// The people that are shown.
    pub(super) people: BTreeMap<String, Person>,
}

impl Concerned {
    fn body(&self, comment: &Comment) -> CommentBody {
        CommentBody::new(comment.clone(), BTreeMap::new(), &self.people)
    }

    /// Each hears of a comment once: as of an answer, before a mention, before a comment on the own post.
    pub(super) fn announce_new(&self, comment: &Comment) -> Result<Vec<Effect>, StoreError> {
        let mut effects =
            vec![publish(&self.post, &CommentMessage::Created { comment: self.body(comment) })?];
        let Some(by) = comment.author_id.as_deref() else { return Ok(effects) };
        let tell = |kind, title| Tell {
            kind,
            thing: self.post.id.clone(),
            title,
            actor_id: Some(by.to_owned()),
            count: 1,
            stale_at: None,
        };
        let answered = self
            .answered
            .as_ref()
            .and_then(|answered| Some((answered.author_id.as_deref()?, title_of(&answered.content))));
        let answered = answered.filter(|(author, _)| *author != by);
        if let Some((author, title)) = &answered {
            effects.push(tell(NotificationKind::CommentReplied, title.clone()).effect(author)?);
        }
        let is_answered = |id: &str| answered.as_ref().is_some_and(|(author, _)| *author == id);
        let mentioned = self.mentioned.iter().filter(|id| !is_answered(id)).cloned().collect();
        effects.extend(self.tell_mentioned(by, &mentioned)?);
        let author = self.post.author_id.as_str();
        if author != by && !is_answered(author) && !mentioned.contains(author) {
            effects.push(tell(NotificationKind::CommentNew, self.post.title()).effect(author)?);
        }
        Ok(effects)
    }

    pub(super) fn announce_edit(&self, comment: &Comment) -> Result<Vec<Effect>, StoreError> {
        let mut effects =
            vec![publish(&self.post, &CommentMessage::Updated { comment: self.body(comment) })?];
        if let Some(by) = comment.author_id.as_deref() {
            effects.extend(self.tell_mentioned(by, &self.mentioned)?);
        }
        Ok(effects)
    }

    fn tell_mentioned(&self, by: &str, ids: &BTreeSet<String>) -> Result<Vec<Effect>, StoreError> {
        let by_name = self.people.get(by).map(|person| format!("@{}", person.username)).unwrap_or_default();
        tell_mentioned(&self.post.id, by, &by_name, ids)
    }
}

/// Tells those who look at a post to look again, as a comment is there again.
pub(super) fn announce_given_back(post: &Post) -> Result<Effect, StoreError> {
    Effect::publish(channel_of(&post.id), &PostMessage::Changed { post_id: post.id.clone() })
}

pub(super) fn announce_removed(
    post: &Post,
    id: &CommentId,
    has_place: bool,
) -> Result<Vec<Effect>, StoreError> {
    let (post_id, comment_id) = (post.id.clone(), id.to_string());
    Ok(vec![publish(post, &CommentMessage::Deleted { post_id, comment_id, has_place })?])
}

#[cfg(test)]
mod tests {
    use mundotango_storage::now;
    use serde_json::json;

    use super::*;
    use crate::community::posts::post::Text;
    use crate::relay::Attempt;

    #[test]
    fn what_is_said_of_a_comment_is_not_told_late() {
        let post = Post::made("1".to_owned(), "ana".to_owned(), Text::new("x", now()), Visibility::Public);
        let comment_id = CommentId { post: "1".to_owned(), number: 1, parent: 0 };
        let effects = announce_removed(&post, &comment_id, false).unwrap();
        assert_eq!(effects[0].said(Attempt::AtOnce)["type"], "comment.deleted");
        assert_eq!(effects[0].said(Attempt::Later), json!({"type": "post.changed", "postId": "1"}));
    }
}
