//! What clients send and see of comments.

use std::collections::BTreeMap;

use deserr::Deserr;
use mundotango_gateway::input::{BadFields, Choice, Maybe, Time};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::kind::Comment;
use super::lists::CommentOrder;
use crate::community::Person;
use crate::community::posts::bodies::{EntityView, entity_views};
use crate::community::posts::rules::ReactionType;
use crate::texts::{CommentText, Id};

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
pub(super) struct NewCommentBody {
    pub(super) content: CommentText,
    /// The comment that is answered. Answers stand three deep at most: who answers the third stands beside it.
    #[deserr(default)]
    #[schema(value_type = Option<Id>)]
    pub(super) parent_id: Maybe<Id>,
}

/// A change of a comment.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct CommentChange {
    pub(super) content: CommentText,
}

/// What a list of comments is narrowed to.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CommentsQuery {
    /// Only answers to this comment; comments that answer none if absent.
    #[deserr(default)]
    #[param(value_type = Option<Id>)]
    pub(super) parent: Option<Id>,
    /// The oldest first if absent.
    #[deserr(default)]
    #[param(value_type = Option<CommentOrder>, inline)]
    pub(super) order: Option<Choice<CommentOrder>>,
}

/// A comment, as everybody sees it who may read the post.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Comment)]
pub(in crate::community) struct CommentBody {
    pub(in crate::community) id: String,
    post_id: String,
    /// The comment that it stands below.
    #[schema(required = true)]
    parent_id: Option<String>,
    /// How deep it stands, from 1 to 3.
    depth: u32,
    /// Null where it was removed, and where the account is gone or cannot be read now.
    #[schema(required = true)]
    author: Option<Person>,
    /// Empty where it was removed.
    pub(in crate::community) content: String,
    /// What the words name.
    entities: Vec<EntityView>,
    /// Whether it was removed, and only its place is left for the answers.
    removed: bool,
    /// Whether there are answers, or were.
    has_answers: bool,
    /// Rises with each edit, from 1 on.
    revision: u32,
    created_at: Time,
    /// When it was edited last.
    #[schema(required = true)]
    edited_at: Option<Time>,
    /// How many reactions of each kind.
    #[schema(value_type = BTreeMap<String, u64>)]
    reactions: BTreeMap<ReactionType, u64>,
}

impl CommentBody {
    pub(super) fn new(
        comment: Comment,
        reactions: BTreeMap<ReactionType, u64>,
        people: &BTreeMap<String, Person>,
    ) -> Self {
        Self {
            id: comment.id.to_string(),
            parent_id: comment.above().map(|above| above.to_string()),
            post_id: comment.id.post,
            depth: comment.depth,
            author: comment.author_id.and_then(|id| people.get(&id).cloned()),
            entities: entity_views(&comment.content, &comment.mentions),
            content: comment.content,
            removed: comment.is_removed,
            has_answers: comment.is_answered,
            revision: comment.revision,
            created_at: comment.created_at.into(),
            edited_at: comment.edited_at.map(Into::into),
            reactions,
        }
    }
}

/// A comment, as the caller sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct SeenComment {
    #[serde(flatten)]
    pub(in crate::community) comment: CommentBody,
    /// The caller's own reaction.
    #[schema(required = true)]
    pub(super) my_reaction: Option<ReactionType>,
}

/// What `post:{id}` publishes of the comments on a public post.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum CommentMessage {
    /// There is a new comment.
    #[serde(rename = "comment.created")]
    Created { comment: CommentBody },
    /// A comment was edited.
    #[serde(rename = "comment.updated")]
    Updated { comment: CommentBody },
    /// A comment was removed.
    #[serde(rename = "comment.deleted")]
    Deleted {
        #[serde(rename = "postId")]
        post_id: String,
        #[serde(rename = "commentId")]
        comment_id: String,
        /// Whether its place is left, for the answers.
        #[serde(rename = "hasPlace")]
        has_place: bool,
    },
}
