//! Changing a post, what it said before, and taking it away.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::problem::{Code, Problem};
use mundotango_storage::{StoreError, now};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::announce::{announce_deleted, announce_edit, tell_mentioned};
use super::bodies::{PostChange, RevisionBody, RevisionsBody, SeenPost};
use super::editing::{Edit, EditError};
use super::mentions::Mentioned;
use super::post::Post;
use super::previews;
use super::previews::links::first_link;
use super::readers::readers_of;
use crate::community::Community;
use crate::community::accounts::restrictions::Ability;
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::policy::{self, Action, Viewer};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(change, delete)).routes(routes!(revisions))
}

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Outdated => {
                let detail = "the post was changed meanwhile: read it, and change what it is now";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Conflict)
            }
            EditError::TakenAway => {
                let detail =
                    "the moderators have taken the post away: `GET /api/moderation/decisions` says why";
                Self::new(StatusCode::CONFLICT, detail)
            }
            EditError::TooManyRevisions => {
                let detail = "a post has 50 revisions at most";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
            }
            EditError::TooManyAudiences => {
                let detail = "who may read the post was changed 50 times: it can be shown to fewer alone";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
            }
            EditError::Store(error) => error.into(),
        }
    }
}

impl Community {
    /// A post of which the caller may do something.
    async fn post_for(&self, id: &str, identity: &Identity, action: Action) -> Result<Post, Problem> {
        let post = self.posts.post(id).await?.ok_or_else(|| Problem::not_found("post"))?;
        let mine = self.circles.view(&identity.user_id).await?;
        policy::may(Viewer::from(identity).knowing(&mine), action, &post.object()).allows("post")?;
        Ok(post)
    }
}

/// Change a post; for its author. What it said before stays to be seen: `GET /api/posts/{id}/revisions`. A post can be shown to
/// fewer as well: whoever may not see it any more is told that it is gone. A post has 50 revisions at most, and is shown
/// to more people until that was changed 50 times.
#[utoipa::path(
    patch, path = "/api/posts/{id}", operation_id = "changePost", tag = "posts", request_body = PostChange,
    responses(
        (status = OK, body = SeenPost),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn change(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<PostChange>,
) -> Result<Json<SeenPost>, Problem> {
    community.must_be_able(&identity.user_id, Ability::Posting).await?;
    let before = community.post_for(&id, &identity, Action::Change).await?;
    let mut edit = body.edit();
    let mut mentioned = Mentioned::default();
    if let Some((content, mentions)) = &mut edit.words {
        mentioned = community.mentioned(content, &identity.user_id, &before.text.mentions).await?;
        mentions.clone_from(&mentioned.ids);
    }
    let visibility = edit.visibility.unwrap_or(before.visibility);
    let told = Post { visibility, ..before.clone() };
    let told = readers_of(&community.circles, &told, mentioned.new).await?;
    let people = community.people(vec![before.author_id.clone()]).await;
    let counts = community.counts_of(&id).await?;
    // An edit that gives the text another link, or shows it to everybody, has that looked at.
    let words = edit.words.as_ref().map_or(&before.text.content, |(content, _)| content);
    let may_preview = first_link(words).is_some() && community.may_preview(&identity.user_id).await;
    let by = identity.user_id.clone();
    let by_name = people.get(&by).map(|person| format!("@{}", person.username)).unwrap_or_default();
    let effects = {
        let (people, counts) = (people.clone(), counts.clone());
        move |edit: &Edit| {
            let mut effects = announce_edit(edit, &counts, &people)?;
            // Where another edit came between that was for others, nobody knows any more who of these may read it.
            if edit.after.visibility == visibility {
                effects.extend(tell_mentioned(&edit.after.id, &by, &by_name, &told)?);
            }
            if may_preview {
                effects.extend(previews::caused_by(&edit.after)?);
            }
            Ok::<_, StoreError>(effects)
        }
    };
    let after = community.posts.edit(&id, edit, now(), effects).await?;
    let after = after.ok_or_else(|| Problem::not_found("post"))?;
    let seen = community.seen_posts(vec![after], &identity.user_id).await?;
    seen.into_iter().next().map(Json).ok_or_else(|| Problem::not_found("post"))
}

/// Take a post away, with its comments and reactions; for its author and moderators.
#[utoipa::path(
    delete, path = "/api/posts/{id}", operation_id = "deletePost", tag = "posts",
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn delete(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let post = community.post_for(&id, &identity, Action::Remove).await?;
    // Moderators do this by the right that they have, which is written down.
    let act = (post.author_id != identity.user_id)
        .then(|| Act::by(&identity, "post.removed", "post", &id, now()).about(&post.author_id));
    let effects = move |post: &Post| {
        let mut effects = announce_deleted(post)?;
        effects.extend(act.clone().map(Effect::audit));
        Ok(effects)
    };
    let was_there = community.posts.delete(&id, effects).await?;
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("post")) }
}

/// What a post said, the newest first. Readers see it from the revision on that was the newest when it was shown to more people
/// last: what was written for few is not told to those who came later. Its author sees all.
#[utoipa::path(
    get, path = "/api/posts/{id}/revisions", operation_id = "listPostRevisions", tag = "posts",
    responses((status = OK, body = RevisionsBody), (status = NOT_FOUND, body = Problem)),
)]
async fn revisions(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<RevisionsBody>, Problem> {
    let post = community.readable_post(&id, &identity.user_id).await?;
    let is_own = policy::may(Viewer::user(&identity.user_id), Action::Change, &post.object()).is_allowed();
    let from = if is_own { 0 } else { post.shown_from };
    let revisions = community.posts.revisions(&id).await?.into_iter();
    // One that came since the post was read may be for others.
    let shown = revisions.filter(|(revision, _)| (from..=post.revision).contains(revision));
    let items = shown.map(|(revision, text)| RevisionBody::new(revision, text)).collect();
    Ok(Json(RevisionsBody { items }))
}
