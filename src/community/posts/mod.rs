//! Posts: saying something, and saying what one thinks of it.

pub(super) mod live;
pub mod rules;
pub mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Time};
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::Page;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::rules::ReactionType;
use self::store::{Post, Visibility};
use super::effects::Effect;
use super::policy::{self, Action, Object, Viewer};
use super::search::sources::POST;
use super::{Community, Person, label};
use crate::texts::PostText;

type Shared = State<Arc<Community>>;

/// Where public posts are published.
const FEED_CHANNEL: &str = "posts:feed";

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(feed, create)).routes(routes!(read)).routes(routes!(react, take_back))
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct NewPost {
    content: PostText,
    /// Public if absent.
    #[deserr(default = Choice(Visibility::Public))]
    #[schema(value_type = Visibility, required = false)]
    visibility: Choice<Visibility>,
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
struct Reaction {
    #[schema(value_type = ReactionType)]
    reaction_type: Choice<ReactionType>,
}

/// A post, as everybody sees it who may.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PostBody {
    pub(super) id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    author: Option<Person>,
    pub(super) content: String,
    visibility: Visibility,
    created_at: Time,
    /// How many reactions of each kind.
    #[schema(value_type = BTreeMap<String, u64>)]
    reactions: BTreeMap<ReactionType, u64>,
}

/// A post, as the caller sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SeenPost {
    #[serde(flatten)]
    pub(super) post: PostBody,
    /// The caller's own reaction.
    #[schema(required = true)]
    my_reaction: Option<ReactionType>,
}

/// What `posts:feed` publishes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(super) enum PostMessage {
    /// There is a new public post.
    #[serde(rename = "post.created")]
    Created { post: PostBody },
}

impl PostBody {
    fn new(post: Post, reactions: BTreeMap<ReactionType, u64>, people: &BTreeMap<String, Person>) -> Self {
        Self {
            author: people.get(&post.author_id).cloned(),
            id: post.id,
            content: post.content,
            visibility: post.visibility,
            created_at: post.created_at.into(),
            reactions,
        }
    }
}

fn may_read(user_id: &str, post: &Post) -> bool {
    let object = Object::Post { author: &post.author_id, visibility: post.visibility };
    policy::may(Viewer::user(user_id), Action::Read, &object).is_allowed()
}

impl Community {
    /// A post that the user may read.
    pub(super) async fn readable_post(&self, id: &str, user_id: &str) -> Result<Post, Problem> {
        let post = self.posts.post(id).await?;
        post.filter(|post| may_read(user_id, post)).ok_or_else(|| Problem::not_found("post"))
    }

    /// The posts of these ids that the user may read, in the ids' order.
    pub(super) async fn seen_posts_by_id(
        &self,
        ids: &[String],
        user_id: &str,
    ) -> Result<Vec<SeenPost>, Problem> {
        let posts = self.posts.posts(ids).await?.into_iter().filter(|post| may_read(user_id, post));
        self.seen_posts(posts.collect(), user_id).await
    }

    async fn seen_posts(&self, posts: Vec<Post>, user_id: &str) -> Result<Vec<SeenPost>, Problem> {
        let people = self.people(posts.iter().map(|post| post.author_id.clone()).collect()).await;
        let ids: Vec<_> = posts.iter().map(|post| post.id.clone()).collect();
        let (counts, own) =
            tokio::try_join!(self.posts.reactions(&ids), self.posts.reactions_of(user_id, &ids))?;
        let seen = posts.into_iter().zip(counts).map(|(post, reactions)| SeenPost {
            my_reaction: own.get(&post.id).copied(),
            post: PostBody::new(post, reactions, &people),
        });
        Ok(seen.collect())
    }

    async fn react(
        &self,
        post_id: &str,
        user_id: &str,
        reaction: Option<ReactionType>,
    ) -> Result<Json<SeenPost>, Problem> {
        let post = self.readable_post(post_id, user_id).await?;
        let changed = self.posts.react(post_id, user_id, reaction).await?;
        if changed.ok_or_else(|| Problem::not_found("post"))?
            && let Some(reaction) = reaction
        {
            mundotango_ops::metrics().post_reactions_total.with_label_values(&[&label(reaction)]).inc();
        }
        let people = self.people(vec![post.author_id.clone()]).await;
        let counts = self.posts.reactions(std::slice::from_ref(&post.id)).await?.pop().unwrap_or_default();
        Ok(Json(SeenPost { post: PostBody::new(post, counts, &people), my_reaction: reaction }))
    }
}

/// The caller's feed, newest first.
#[utoipa::path(
    get, path = "/api/posts", operation_id = "listPosts", tag = "posts", params(PageQuery),
    responses((status = OK, body = PageBody<SeenPost>), (status = BAD_REQUEST, body = Problem)),
)]
async fn feed(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<SeenPost>>, Problem> {
    let page = community.posts.feed(&identity.user_id, query.page.request()).await?;
    let items = community.seen_posts(page.items, &identity.user_id).await?;
    Ok(Json(query.page.body(Page { items, next: page.next })))
}

/// Say something. Public posts are published to `posts:feed`.
#[utoipa::path(
    post, path = "/api/posts", operation_id = "createPost",
    tag = "posts", params(IdempotencyKey), request_body = NewPost,
    responses((status = CREATED, body = PostBody), (status = BAD_REQUEST, body = Problem)),
)]
async fn create(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewPost>,
) -> Result<(StatusCode, Json<PostBody>), Problem> {
    let post = Post {
        created_at: new_id.made_at(),
        id: new_id.into_text(),
        author_id: identity.user_id,
        content: body.content.into_string(),
        visibility: body.visibility.0,
    };
    let people = community.people(vec![post.author_id.clone()]).await;
    let body = PostBody::new(post.clone(), BTreeMap::new(), &people);
    let mut effects = Vec::new();
    if post.visibility == Visibility::Public {
        let message = PostMessage::Created { post: body.clone() };
        effects.push(Effect::publish(FEED_CHANNEL, &message)?.kept()?);
    }
    // Last, as nobody waits for it.
    effects.push(Effect::changed(POST, &post.id).kept()?);
    community.posts.create(&post, &effects).await?;
    mundotango_ops::metrics().posts_created_total.with_label_values(&[&label(post.visibility)]).inc();
    Ok((StatusCode::CREATED, Json(body)))
}

/// One post.
#[utoipa::path(
    get, path = "/api/posts/{id}", operation_id = "getPost", tag = "posts",
    responses((status = OK, body = SeenPost), (status = NOT_FOUND, body = Problem)),
)]
async fn read(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<SeenPost>, Problem> {
    let post = community.readable_post(&id, &identity.user_id).await?;
    let seen = community.seen_posts(vec![post], &identity.user_id).await?;
    seen.into_iter().next().map(Json).ok_or_else(|| Problem::not_found("post"))
}

/// React to a post; again with another reaction replaces the one before. `post:{id}` publishes the counts, at most four
/// times a second.
#[utoipa::path(
    post, path = "/api/posts/{id}/react", operation_id = "reactToPost",
    tag = "posts", request_body = Reaction,
    responses((status = OK, body = SeenPost), (status = NOT_FOUND, body = Problem)),
)]
async fn react(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<Reaction>,
) -> Result<Json<SeenPost>, Problem> {
    community.react(&id, &identity.user_id, Some(body.reaction_type.0)).await
}

/// Take the own reaction back.
#[utoipa::path(
    delete, path = "/api/posts/{id}/react", operation_id = "removeReaction", tag = "posts",
    responses((status = OK, body = SeenPost), (status = NOT_FOUND, body = Problem)),
)]
async fn take_back(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<SeenPost>, Problem> {
    community.react(&id, &identity.user_id, None).await
}
