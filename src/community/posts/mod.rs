//! Posts: saying something, and saying what one thinks of it.

mod announce;
pub(super) mod bodies;
mod changing;
pub mod comments;
pub mod editing;
pub(super) mod entities;
pub mod feeds;
pub mod hiding;
pub mod leaving;
pub(super) mod live;
pub(super) mod mentions;
pub mod polls;
pub mod post;
pub mod previews;
mod readers;
pub mod rules;
pub mod store;
pub mod timeline;
pub mod visibility;
pub mod work;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Paging, Path, ValidJson};
use mundotango_gateway::problem::{Code, FieldCode, Problem};
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::db::time_of_id;
use mundotango_storage::{Page, PageStart};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::announce::{announce_new, tell_mentioned};
use self::bodies::{
    FeedBody, FeedQuery, NewParts, NewPost, PostBody, PostCounts, Reaction, SeenPost, key_of,
};
use self::post::Post;
use self::readers::Reader;
use self::rules::ReactionType;
use super::accounts::restrictions::Ability;
use super::effects::Effect;
use super::{Community, label};
use crate::texts::FeedPlace;

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(feed, create))
        .routes(routes!(read))
        .routes(routes!(of_author))
        .routes(routes!(react, take_back))
        .merge(changing::router())
        .merge(comments::router())
        .merge(polls::router())
        .merge(timeline::router())
}

impl Community {
    /// A post that the user may read.
    pub(super) async fn readable_post(&self, id: &str, user_id: &str) -> Result<Post, Problem> {
        let post = self.posts.post(id).await?;
        readers::readable(&self.circles, user_id, post).await?.ok_or_else(|| Problem::not_found("post"))
    }

    /// The posts of these ids that the user may read, in the ids' order.
    pub(super) async fn readable_posts(&self, ids: &[String], user_id: &str) -> Result<Vec<Post>, Problem> {
        let reader = Reader::new(&self.circles, user_id).await?;
        Ok(reader.readable(self.posts.posts(ids).await?).await?)
    }

    /// The same, as the user sees them.
    pub(super) async fn seen_posts_by_id(
        &self,
        ids: &[String],
        user_id: &str,
    ) -> Result<Vec<SeenPost>, Problem> {
        self.seen_posts(self.readable_posts(ids, user_id).await?, user_id).await
    }

    pub(super) async fn seen_posts(&self, posts: Vec<Post>, user_id: &str) -> Result<Vec<SeenPost>, Problem> {
        let people = self.people(posts.iter().map(|post| post.author_id.clone()).collect()).await;
        let ids: Vec<_> = posts.iter().map(|post| post.id.clone()).collect();
        let (reactions, comments, own) = tokio::try_join!(
            self.posts.reactions(&ids),
            self.comments.counts(&ids),
            self.posts.reactions_of(user_id, &ids)
        )?;
        let mut polls = self.poll_states(&posts, user_id).await?;
        let counts = reactions.into_iter().zip(comments);
        let seen = posts.into_iter().zip(counts).map(|(post, (reactions, comments))| SeenPost {
            my_reaction: own.get(&post.id).copied(),
            poll_state: polls.remove(&post.id),
            post: PostBody::new(post, PostCounts { reactions, comments }, &people),
        });
        Ok(seen.collect())
    }

    /// What of the user's feed is newer than a place that the user knows.
    async fn newer_posts(
        &self,
        user_id: &str,
        after: FeedPlace,
        paging: &Paging,
    ) -> Result<FeedBody, Problem> {
        let (told, page) = (after.into_string(), paging.request());
        if page.start != PageStart::First {
            let message = "does not go together with cursor and page";
            return Err(Problem::invalid_field("after", FieldCode::Contradiction, message));
        }
        let after = if time_of_id(&told).is_some() { Some(told.clone()) } else { paging.open_mark(&told) };
        let after = after.ok_or_else(|| {
            let message = "must be the id of a post, or the `newest` of an answer before";
            Problem::invalid_field("after", FieldCode::BadForm, message)
        })?;
        let reader = Reader::new(&self.circles, user_id).await?;
        let (friends, is_wanted) = (reader.friends_in_feed(), |post: &Post| reader.wants(post));
        let newer = self.posts.newer(user_id, &friends, &after, page.limit, is_wanted).await?;
        let newer = newer.ok_or_else(|| {
            let detail = "too much is newer than that: begin with the first page";
            Problem::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
        })?;
        let posts = reader.confirmed(newer.items).await?;
        let newest = if newer.newest == after {
            Some(told)
        } else if posts.iter().any(|post| post.id == newer.newest) {
            Some(newer.newest)
        } else {
            paging.seal_mark(&newer.newest)
        };
        let items = self.seen_posts(posts, user_id).await?;
        Ok(FeedBody { items, next_cursor: None, newest, gap: newer.has_more })
    }

    async fn counts_of(&self, post_id: &str) -> Result<PostCounts, Problem> {
        let id = [post_id.to_owned()];
        let (reactions, comments) = tokio::try_join!(self.posts.reactions(&id), self.comments.counts(&id))?;
        let reactions = reactions.into_iter().next().unwrap_or_default();
        Ok(PostCounts { reactions, comments: comments.first().copied().unwrap_or_default() })
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
        let counts = self.counts_of(&post.id).await?;
        let poll_state = self.poll_states(std::slice::from_ref(&post), user_id).await?.remove(&post.id);
        Ok(Json(SeenPost { post: PostBody::new(post, counts, &people), my_reaction: reaction, poll_state }))
    }
}

/// The caller's feed, newest first.
#[utoipa::path(
    get, path = "/api/posts", operation_id = "listPosts", tag = "posts", params(FeedQuery, PageQuery),
    responses(
        (status = OK, body = FeedBody),
        (status = BAD_REQUEST, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn feed(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<FeedQuery>,
) -> Result<Json<FeedBody>, Problem> {
    let (user, request) = (&identity.user_id, query.page.request());
    if let Some(after) = query.filter.after {
        return community.newer_posts(user, after, &query.page).await.map(Json);
    }
    let is_first = request.start == PageStart::First;
    let reader = Reader::new(&community.circles, user).await?;
    let is_wanted = |post: &Post| reader.wants(post);
    let page = if let Some(tag) = query.filter.tag {
        let tag = key_of(tag).map_err(|wrong| Problem::invalid(vec![wrong]))?;
        community.posts.posts_about(&tag, request, is_wanted).await?
    } else {
        community.posts.feed(user, &reader.friends_in_feed(), request, is_wanted).await?
    };
    let posts = reader.confirmed(page.items).await?;
    let newest = posts.first().filter(|_| is_first).map(|post| post.id.clone());
    let items = community.seen_posts(posts, user).await?;
    let PageBody { items, next_cursor } = query.page.body(Page { items, next: page.next });
    Ok(Json(FeedBody { items, next_cursor, newest, gap: false }))
}

/// The posts of a user that the caller may read, newest first.
#[utoipa::path(
    get, path = "/api/users/{id}/posts", operation_id = "listUserPosts", tag = "posts", params(PageQuery),
    responses((status = OK, body = PageBody<SeenPost>), (status = BAD_REQUEST, body = Problem)),
)]
async fn of_author(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<SeenPost>>, Problem> {
    let user = &identity.user_id;
    let reader = Reader::new(&community.circles, user).await?;
    let page = community.posts.posts_of(&id, query.page.request(), |post| reader.may_read(post)).await?;
    let items = community.seen_posts(reader.confirmed(page.items).await?, user).await?;
    Ok(Json(query.page.body(Page { items, next: page.next })))
}

/// Say something, and ask something with it. Public posts are published to `posts:feed`; who is mentioned and may read it is told.
#[utoipa::path(
    post, path = "/api/posts", operation_id = "createPost",
    tag = "posts", params(IdempotencyKey), request_body = NewPost,
    responses(
        (status = CREATED, body = PostBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn create(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewPost>,
) -> Result<(StatusCode, Json<PostBody>), Problem> {
    community.must_be_able(&identity.user_id, Ability::Posting).await?;
    let parts = body.parts(new_id.made_at()).map_err(|wrong| Problem::invalid(vec![wrong]))?;
    let NewParts { mut text, visibility, poll, without_preview } = parts;
    let author = identity.user_id;
    let mentioned = community.mentioned(&text.content, &author, &text.mentions).await?;
    text.mentions = mentioned.ids;
    let post = Post::made(new_id.into_text(), author.clone(), text, visibility);
    let post = Post { poll, without_preview, ..post };
    let people = community.people(vec![author.clone()]).await;
    let told = readers::readers_of(&community.circles, &post, mentioned.new).await?;
    let by_name = people.get(&author).map(|person| format!("@{}", person.username)).unwrap_or_default();
    let mut effects = announce_new(&post, &people)?;
    effects.extend(tell_mentioned(&post.id, &author, &by_name, &told)?);
    if post.wanted_link().is_some() && community.may_preview(&author).await {
        effects.extend(previews::caused_by(&post)?);
    }
    let effects = effects.iter().map(Effect::kept).collect::<Result<Vec<_>, _>>()?;
    community.posts.create(&post, &effects).await?;
    mundotango_ops::metrics().posts_created_total.with_label_values(&[&label(post.visibility)]).inc();
    Ok((StatusCode::CREATED, Json(PostBody::new(post, PostCounts::default(), &people))))
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
