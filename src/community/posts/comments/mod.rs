//! Comments on posts, and answers to them.

mod announce;
pub(in crate::community) mod bodies;
pub mod hiding;
pub mod kind;
pub mod leaving;
pub mod lists;
pub mod reactions;
pub mod rules;
pub mod store;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::try_join_all;
use mundotango_gateway::extract::{ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::{Page, StoreError, now};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::announce::{Concerned, announce_removed};
use self::bodies::{CommentBody, CommentChange, CommentsQuery, NewCommentBody, SeenComment};
use self::kind::Comment;
use self::rules::CommentId;
use self::store::NewComment;
use super::bodies::Reaction;
use super::mentions::Mentioned;
use super::post::{Post, Visibility};
use super::readers::{Reader, readable, readers_of};
use super::rules::ReactionType;
use crate::community::Community;
use crate::community::accounts::restrictions::Ability;
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::policy::{self, Action, Object, Viewer};
use crate::texts::{CommentText, Id};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(change, remove))
        .routes(routes!(react, take_back))
}

/// What was said in a comment, as policy looks at it: whoever may read the post may read it, unless its author is hidden.
fn object(comment: &Comment) -> Object<'_> {
    let author = comment.author_id.as_deref().unwrap_or_default();
    Object::Post { author, visibility: Visibility::Public }
}

fn may_see(reader: &Reader<'_>, comment: &Comment) -> bool {
    comment.is_removed || reader.may_see(&object(comment))
}

fn no_comment() -> Problem {
    Problem::not_found("comment")
}

impl Community {
    /// A comment that is not removed, whoever may see it, with its post.
    async fn comment_with_post(&self, id: &str) -> Result<(Post, Comment), Problem> {
        let id = CommentId::parse(id).ok_or_else(no_comment)?;
        let post = self.posts.post(&id.post).await?.ok_or_else(no_comment)?;
        let comment = self.comments.comment(&id).await?.filter(|comment| !comment.is_removed);
        Ok((post, comment.ok_or_else(no_comment)?))
    }

    /// A comment that a user may remove, as far as its place says, with its post: one that a decision takes away is there for its
    /// author alone.
    async fn comment_to_remove(&self, id: &str, user_id: &str) -> Result<(Post, Comment), Problem> {
        let id = CommentId::parse(id).ok_or_else(no_comment)?;
        let post = self.posts.post(&id.post).await?.ok_or_else(no_comment)?;
        let kept = self.comments.kept(&id).await?.filter(|comment| !comment.is_removed);
        let is_own = kept.as_ref().is_some_and(|comment| comment.author_id.as_deref() == Some(user_id));
        let comment = if is_own {
            kept
        } else {
            self.comments.comment(&id).await?.filter(|comment| !comment.is_removed)
        };
        Ok((post, comment.ok_or_else(no_comment)?))
    }

    /// A comment that a user sees, with its post.
    pub(in crate::community) async fn seen_comment(
        &self,
        id: &str,
        user_id: &str,
    ) -> Result<(Post, Comment), Problem> {
        let (post, comment) = self.comment_with_post(id).await?;
        let post = readable(&self.circles, user_id, Some(post)).await?.ok_or_else(no_comment)?;
        let reader = Reader::new(&self.circles, user_id).await?;
        let comment = Some(comment).filter(|comment| may_see(&reader, comment));
        Ok((post, comment.ok_or_else(no_comment)?))
    }

    async fn seen_comments(
        &self,
        comments: Vec<Comment>,
        user_id: &str,
    ) -> Result<Vec<SeenComment>, Problem> {
        let authors = comments.iter().filter_map(|comment| comment.author_id.clone());
        let people = self.people(authors.collect()).await;
        let ids: Vec<_> = comments.iter().map(|comment| comment.id.to_string()).collect();
        let reactions = self.comments.reactions(&ids, user_id).await?;
        let seen = comments.into_iter().zip(reactions).map(|(comment, (counts, own))| SeenComment {
            comment: CommentBody::new(comment, counts.reactions, &people),
            my_reaction: own,
        });
        Ok(seen.collect())
    }

    /// Those of some comments that a user sees, as they are now; no removed one.
    pub(in crate::community) async fn seen_comments_by_id(
        &self,
        ids: &[String],
        user_id: &str,
    ) -> Result<Vec<SeenComment>, Problem> {
        let ids: Vec<_> = ids.iter().filter_map(|id| CommentId::parse(id)).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let posts: BTreeSet<_> = ids.iter().map(|id| id.post.clone()).collect();
        let posts = self.readable_posts(&posts.into_iter().collect::<Vec<_>>(), user_id).await?;
        let read: BTreeSet<_> = posts.into_iter().map(|post| post.id).collect();
        let ids = ids.iter().filter(|id| read.contains(&id.post));
        let there = try_join_all(ids.map(|id| self.comments.comment(id))).await?.into_iter().flatten();
        let reader = Reader::new(&self.circles, user_id).await?;
        let seen = there.filter(|comment| !comment.is_removed && may_see(&reader, comment)).collect();
        self.seen_comments(seen, user_id).await
    }

    async fn one_comment(&self, comment: Comment, user_id: &str) -> Result<Json<SeenComment>, Problem> {
        let seen = self.seen_comments(vec![comment], user_id).await?;
        seen.into_iter().next().map(Json).ok_or_else(no_comment)
    }

    /// What is needed to tell of a comment.
    async fn concerned(
        &self,
        post: Post,
        answered: Option<Comment>,
        mentioned: Mentioned,
        by: &str,
    ) -> Result<Concerned, StoreError> {
        let people = self.people(vec![by.to_owned()]).await;
        let author = answered.as_ref().and_then(|answered| answered.author_id.clone());
        let told = mentioned.new.iter().cloned().chain(author).collect();
        // Who wrote the comment that is answered may not read the post any more.
        let readers = readers_of(&self.circles, &post, told).await?;
        let reads = |comment: &Comment| comment.author_id.as_ref().is_some_and(|id| readers.contains(id));
        let answered = answered.filter(reads);
        let mentioned = mentioned.new.intersection(&readers).cloned().collect();
        Ok(Concerned { post, answered, mentioned, people })
    }

    async fn react_to_comment(
        &self,
        id: &str,
        user_id: &str,
        reaction: Option<ReactionType>,
    ) -> Result<Json<SeenComment>, Problem> {
        let (_, comment) = self.seen_comment(id, user_id).await?;
        self.comments.react(&comment.id, user_id, reaction).await?.ok_or_else(no_comment)?;
        self.one_comment(comment, user_id).await
    }
}

/// The comments on a post, or the answers to one of them. What was removed keeps its place where there are answers.
#[utoipa::path(
    get, path = "/api/posts/{id}/comments", operation_id = "listComments", tag = "posts", params(CommentsQuery, PageQuery),
    responses(
        (status = OK, body = PageBody<SeenComment>),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    query: ListQuery<CommentsQuery>,
) -> Result<Json<PageBody<SeenComment>>, Problem> {
    let user = &identity.user_id;
    let post = community.readable_post(&id, user).await?;
    let parent = match query.filter.parent {
        None => 0,
        Some(parent) => {
            let parent = CommentId::parse(&parent.into_string()).filter(|parent| parent.post == post.id);
            let wrong = "must be the id of a comment on this post";
            parent.ok_or_else(|| Problem::invalid_field("parent", FieldCode::BadForm, wrong))?.number
        }
    };
    let order = query.filter.order.map(|choice| choice.0).unwrap_or_default();
    let reader = Reader::new(&community.circles, user).await?;
    let is_shown = |comment: &Comment| may_see(&reader, comment);
    let page = community.comments.list(&post.id, parent, order, query.page.request(), is_shown).await?;
    let items = community.seen_comments(page.items, user).await?;
    Ok(Json(query.page.body(Page { items, next: page.next })))
}

/// Comment a post, or answer a comment; at most 30 a minute. The post's author is told, who is answered, and who is mentioned.
#[utoipa::path(
    post, path = "/api/posts/{id}/comments", operation_id = "createComment", tag = "posts",
    params(IdempotencyKey), request_body = NewCommentBody,
    responses(
        (status = CREATED, body = SeenComment),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn create(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewCommentBody>,
) -> Result<(StatusCode, Json<SeenComment>), Problem> {
    community.must_be_able(&identity.user_id, Ability::Commenting).await?;
    let user = identity.user_id;
    let post = community.readable_post(&id, &user).await?;
    let answered = match body.parent_id.value().map(Id::into_string) {
        None => None,
        Some(parent) => {
            let (_, answered) = community.seen_comment(&parent, &user).await?;
            Some(answered)
                .filter(|answered| answered.id.post == post.id)
                .map_or_else(|| Err(no_comment()), |answered| Ok(Some(answered)))?
        }
    };
    community.limits.comment(&user).await?;
    let content = body.content.into_string();
    let mentioned = community.mentioned(&content, &user, &std::collections::BTreeMap::new()).await?;
    let new = NewComment {
        at: new_id.made_at(),
        request: new_id.into_text(),
        author_id: user.clone(),
        content,
        mentions: mentioned.ids.clone(),
    };
    let concerned = Arc::new(community.concerned(post, answered.clone(), mentioned, &user).await?);
    let effects = move |comment: &Comment| concerned.announce_new(comment);
    let added = community.comments.add(&id, new, answered.as_ref(), effects).await?;
    community.changed_posts.changed(&id);
    let comment = added.ok_or_else(|| Problem::not_found("post"))?;
    Ok((StatusCode::CREATED, community.one_comment(comment, &user).await?))
}

/// Change what a comment says; for its author. A comment has 50 revisions at most.
#[utoipa::path(
    patch, path = "/api/comments/{id}", operation_id = "changeComment", tag = "posts", request_body = CommentChange,
    responses(
        (status = OK, body = SeenComment),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn change(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<CommentChange>,
) -> Result<Json<SeenComment>, Problem> {
    community.must_be_able(&identity.user_id, Ability::Commenting).await?;
    let user = &identity.user_id;
    let (post, comment) = community.seen_comment(&id, user).await?;
    policy::may(Viewer::from(&identity), Action::Change, &object(&comment)).allows("comment")?;
    let content = CommentText::into_string(body.content);
    let mentioned = community.mentioned(&content, user, &comment.mentions).await?;
    let mentions = mentioned.ids.clone();
    let concerned = community.concerned(post, None, mentioned, user).await?;
    let effects = move |comment: &Comment| concerned.announce_edit(comment);
    let edited = community.comments.edit(&comment.id, content, mentions, now(), effects).await?;
    community.one_comment(edited.ok_or_else(no_comment)?, user).await
}

/// Remove a comment; for its author, the post's author, and moderators. Where there are answers, its place stays.
#[utoipa::path(
    delete, path = "/api/comments/{id}", operation_id = "deleteComment", tag = "posts",
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let (post, comment) = community.comment_to_remove(&id, &identity.user_id).await?;
    let viewer = Viewer::from(&identity);
    // Whose post it is may keep it clean, also where the comment's author hides from that user; who wrote it takes it back, also
    // where the post is hidden by now.
    let is_under_own = policy::may(viewer, Action::Change, &post.object()).is_allowed();
    if !is_under_own && comment.author_id.as_ref() != Some(&identity.user_id) {
        let is_public = post.visibility == Visibility::Public;
        let may_remove = policy::may(viewer, Action::Remove, &object(&comment));
        if !(is_public && may_remove.is_allowed()) {
            community.seen_comment(&id, &identity.user_id).await?;
            may_remove.allows("comment")?;
        }
    }
    // Moderators do this by the right that they have, which is written down.
    let author = comment.author_id.as_deref().filter(|author| !is_under_own && *author != identity.user_id);
    let act = author.map(|author| Act::by(&identity, "comment.removed", "comment", &id, now()).about(author));
    let (post_id, comment_id) = (post.id.clone(), comment.id.clone());
    let effects = move |has_place| {
        let mut effects = announce_removed(&post, &comment_id, has_place)?;
        effects.extend(act.clone().map(Effect::audit));
        Ok(effects)
    };
    let was_there = community.comments.remove(&comment.id, effects).await?;
    community.changed_posts.changed(&post_id);
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(no_comment()) }
}

/// React to a comment; again with another reaction replaces the one before.
#[utoipa::path(
    post, path = "/api/comments/{id}/react", operation_id = "reactToComment",
    tag = "posts", request_body = Reaction,
    responses(
        (status = OK, body = SeenComment),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn react(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<Reaction>,
) -> Result<Json<SeenComment>, Problem> {
    community.react_to_comment(&id, &identity.user_id, Some(body.reaction_type.0)).await
}

/// Take the own reaction to a comment back.
#[utoipa::path(
    delete, path = "/api/comments/{id}/react", operation_id = "removeCommentReaction", tag = "posts",
    responses((status = OK, body = SeenComment), (status = NOT_FOUND, body = Problem)),
)]
async fn take_back(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<SeenComment>, Problem> {
    community.react_to_comment(&id, &identity.user_id, None).await
}
