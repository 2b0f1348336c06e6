//! The social graph: who follows whom, who are friends, and who keeps whom out.

pub(in crate::community) mod announce;
pub mod error;
mod filling;
mod jobs;
mod leaving;
mod lists;
pub(in crate::community) mod reading;
pub mod relations;
pub mod rules;
pub mod store;
mod view;
mod work;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::Path;
use mundotango_gateway::problem::Problem;
use mundotango_storage::now;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use filling::filled;
pub use work::handled;

use self::rules::{Act, Friendship, Tie};
use super::Community;
use super::accounts::PublicUser;
use super::policy::{self, Action, Object, Viewer};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(user))
        .routes(routes!(follow, unfollow))
        .routes(routes!(befriend, unfriend))
        .routes(routes!(block, unblock))
        .routes(routes!(mute, unmute))
        .merge(lists::router())
}

/// How the caller and another user stand to each other.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RelationBody {
    /// The caller follows the user.
    following: bool,
    /// The user follows the caller.
    follows_me: bool,
    friend: Friendship,
    /// The caller has muted the user.
    muted: bool,
    /// The caller has blocked the user.
    blocked: bool,
}

impl RelationBody {
    fn new(mine: &Tie, theirs: &Tie) -> Self {
        Self {
            following: mine.follow.is_some(),
            follows_me: theirs.follow.is_some(),
            friend: mine.friendship(),
            muted: mine.mute.is_some(),
            blocked: mine.block.is_some(),
        }
    }
}

/// A user, as the caller sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SeenUser {
    #[serde(flatten)]
    public: PublicUser,
    /// How many follow the user.
    followers: u64,
    /// How many the user follows.
    following: u32,
    /// Null for the caller.
    #[schema(required = true)]
    relation: Option<RelationBody>,
}

impl Community {
    /// Both sides of what is between the caller and another, as each of them has it now.
    async fn relation(&self, me: &str, other: &str) -> Result<(Tie, Tie), Problem> {
        Ok(tokio::try_join!(self.circles.tie(me, other), self.circles.tie(other, me))?)
    }

    /// The user, if the caller may know of the user.
    pub(super) async fn seen_user(
        &self,
        identity: &Identity,
        id: &str,
    ) -> Result<(PublicUser, Tie, Tie), Problem> {
        self.met_user(identity, id, true).await
    }

    /// The same; also a user whose profile is paused, unless that hides it.
    pub(super) async fn met_user(
        &self,
        identity: &Identity,
        id: &str,
        pause_hides: bool,
    ) -> Result<(PublicUser, Tie, Tie), Problem> {
        let (mine, theirs) = self.relation(&identity.user_id, id).await?;
        // Asked of both sides: a copy may be late.
        let is_kept_out = mine.theirs.block || theirs.block.is_some();
        let is_friend = [&mine, &theirs].into_iter().all(|tie| tie.friendship() == Friendship::Friends);
        let user = self.accounts.profiles(&[id.to_owned()]).await?.pop();
        let user = user.ok_or_else(|| Problem::not_found("user"))?;
        // Whom a user asks to be friends can look at who asks, and agree.
        let is_paused =
            pause_hides && user.paused_since.is_some() && theirs.friendship() != Friendship::Requested;
        let profile = Object::Profile { owner: id, is_kept_out, is_paused, is_friend };
        policy::may(Viewer::from(identity), Action::Read, &profile).allows("user")?;
        Ok((PublicUser::seen(user, Viewer::from(identity), is_friend), mine, theirs))
    }

    /// Begins something with another user, whom the caller has to see.
    async fn begin(&self, identity: &Identity, id: &str, act: Act) -> Result<Json<RelationBody>, Problem> {
        // Who pauses is asked for nothing, and can still be kept away.
        let pause_hides = matches!(act, Act::Follow(_) | Act::Befriend);
        self.met_user(identity, id, pause_hides).await?;
        self.circles.act(&identity.user_id, id, act, now()).await?;
        let (mine, theirs) = self.relation(&identity.user_id, id).await?;
        Ok(Json(RelationBody::new(&mine, &theirs)))
    }

    /// Ends something with another user. It says nothing of whether there is such a user.
    async fn end(&self, identity: &Identity, id: &str, act: Act) -> Result<StatusCode, Problem> {
        self.circles.act(&identity.user_id, id, act, now()).await?;
        Ok(StatusCode::NO_CONTENT)
    }
}

/// Another user, and how the caller stands to the user.
#[utoipa::path(
    get, path = "/api/users/{id}", operation_id = "getUser", tag = "users",
    responses((status = OK, body = SeenUser), (status = NOT_FOUND, body = Problem)),
)]
async fn user(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<SeenUser>, Problem> {
    let (public, mine, theirs) = community.seen_user(&identity, &id).await?;
    let (followers, head) =
        tokio::try_join!(community.circles.follower_count(&id), community.circles.head(&id))?;
    let relation = (identity.user_id != id).then(|| RelationBody::new(&mine, &theirs));
    Ok(Json(SeenUser { public, followers, following: head.counts.following, relation }))
}

/// Follow a user; at most 7500.
#[utoipa::path(
    put, path = "/api/users/{id}/follow", operation_id = "followUser", tag = "people",
    responses((status = OK, body = RelationBody), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)),
)]
async fn follow(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<RelationBody>, Problem> {
    community.begin(&identity, &id, Act::Follow(mundotango_protocol::new_id())).await
}

/// Follow a user no longer.
#[utoipa::path(
    delete, path = "/api/users/{id}/follow", operation_id = "unfollowUser", tag = "people",
    responses((status = NO_CONTENT), (status = FORBIDDEN, body = Problem)),
)]
async fn unfollow(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    community.end(&identity, &id, Act::Unfollow).await
}

/// Ask a user to be friends, or agree to it; at most 200 requests wait for an answer at a time, and nobody has more than 5000
/// friends. Two who ask each other are friends. A request that is declined stays unanswered.
#[utoipa::path(
    put, path = "/api/users/{id}/friend", operation_id = "askFriend", tag = "people",
    responses((status = OK, body = RelationBody), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)),
)]
async fn befriend(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<RelationBody>, Problem> {
    community.begin(&identity, &id, Act::Befriend).await
}

/// Take a request back, decline one, or end a friendship.
#[utoipa::path(
    delete, path = "/api/users/{id}/friend", operation_id = "removeFriend", tag = "people",
    responses((status = NO_CONTENT), (status = FORBIDDEN, body = Problem)),
)]
async fn unfriend(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    community.end(&identity, &id, Act::Unfriend).await
}

/// Block a user: neither sees the other any more, and what was between them ends. Blocked and muted users are at most 10000.
#[utoipa::path(
    put, path = "/api/users/{id}/block", operation_id = "blockUser", tag = "people",
    responses((status = OK, body = RelationBody), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)),
)]
async fn block(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<RelationBody>, Problem> {
    community.begin(&identity, &id, Act::Block).await
}

/// Block a user no longer. What the block ended stays ended.
#[utoipa::path(
    delete, path = "/api/users/{id}/block", operation_id = "unblockUser", tag = "people",
    responses((status = NO_CONTENT), (status = FORBIDDEN, body = Problem)),
)]
async fn unblock(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    community.end(&identity, &id, Act::Unblock).await
}

/// Mute a user, who does not learn of it: nothing of the user is in the caller's feed or among the caller's notifications.
#[utoipa::path(
    put, path = "/api/users/{id}/mute", operation_id = "muteUser", tag = "people",
    responses((status = OK, body = RelationBody), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)),
)]
async fn mute(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<RelationBody>, Problem> {
    community.begin(&identity, &id, Act::Mute).await
}

/// Mute a user no longer.
#[utoipa::path(
    delete, path = "/api/users/{id}/mute", operation_id = "unmuteUser", tag = "people",
    responses((status = NO_CONTENT), (status = FORBIDDEN, body = Problem)),
)]
async fn unmute(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    community.end(&identity, &id, Act::Unmute).await
}
