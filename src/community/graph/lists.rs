//! The lists of people whom a user has to do with. A user's own are for the user; whom somebody follows and by whom somebody is
//! followed is for that user's friends as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::Deserr;
use futures_util::FutureExt as _;
use futures_util::future::ready;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path};
use mundotango_gateway::input::{BadFields, Choice, Time};
use mundotango_gateway::problem::Problem;
use mundotango_storage::{Page, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::filling::filled;
use super::relations::{Relations, Sorts};
use super::rules::Friendship;
use crate::community::policy::{self, Action, Object, Viewer};
use crate::community::{Community, Person};

type Shared = State<Arc<Community>>;

/// Friends whose status is asked for at a time.
const STATUSES_AT_ONCE: usize = 1_000;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(followers))
        .routes(routes!(following))
        .routes(routes!(friends))
        .routes(routes!(requests))
        .routes(routes!(online))
        .routes(routes!(blocks))
        .routes(routes!(mutes))
}

/// Somebody on a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Listed {
    user_id: String,
    /// Null when the account is gone, cannot be read now, or is not to be seen.
    #[schema(required = true)]
    user: Option<Person>,
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Direction {
    /// The other: the caller has to answer.
    Incoming,
    /// The caller.
    Outgoing,
}

/// A request to be friends that nobody has answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FriendRequest {
    direction: Direction,
    #[serde(flatten)]
    other: Listed,
}

/// A friend who is online.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OnlineFriend {
    #[serde(flatten)]
    friend: Listed,
    /// Since when.
    online_since: Time,
}

/// What the list of requests is narrowed to.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RequestsQuery {
    /// Only these.
    #[deserr(default)]
    #[param(value_type = Option<Direction>)]
    direction: Option<Choice<Direction>>,
}

impl Community {
    /// The people of a page, by their ids. Those who have blocked the caller have no name.
    async fn listed(&self, mine: &Relations, page: Page<String>) -> Page<Listed> {
        let seen = page.items.iter().filter(|id| !mine.to(id).is(Sorts::BLOCKED_BY));
        let people = self.people(seen.cloned().collect()).await;
        page.map(|user_id| Listed { user: people.get(&user_id).cloned(), user_id })
    }

    /// The same of a list of somebody else, where strangers do not find who pauses.
    async fn listed_of_another(
        &self,
        identity: &Identity,
        mine: &Relations,
        page: Page<String>,
    ) -> Page<Listed> {
        let viewer = Viewer::from(identity).knowing(mine);
        let mut page = self.listed(mine, page).await;
        page.items.retain(|one| {
            let is_paused = one.user.as_ref().is_some_and(|person| person.is_paused);
            let somebody = Object::Somebody { user: &one.user_id, is_paused };
            policy::may(viewer, Action::Read, &somebody).is_allowed()
        });
        page
    }

    /// Answers with a page of the caller's relations of some sorts.
    async fn own_list(
        &self,
        identity: &Identity,
        sorts: Sorts,
        query: ListQuery<Everything>,
    ) -> Result<Json<PageBody<Listed>>, Problem> {
        let mine = self.circles.view(&identity.user_id).await?;
        let page = mine.page(sorts, query.page.request())?;
        Ok(Json(query.page.body(self.listed(&mine, page).await)))
    }

    /// The caller's relations, if the caller may see whom a user follows and by whom the user is followed.
    async fn reader_of(&self, identity: &Identity, id: &str) -> Result<Arc<Relations>, Problem> {
        let (_, _, theirs) = self.seen_user(identity, id).await?;
        let mine = self.circles.view(&identity.user_id).await?;
        // Of a friendship the user's own side decides.
        let is_friend = mine.is_friend(id) && theirs.friendship() == Friendship::Friends;
        let object = Object::Circle { owner: id, is_friend };
        policy::may(Viewer::from(identity).knowing(&mine), Action::Read, &object).allows("user")?;
        Ok(mine)
    }
}

fn without_hidden(mine: &Relations, page: Page<String>) -> Page<String> {
    let items = page.items.into_iter().filter(|id| !mine.keeps_apart(id));
    Page { items: items.collect(), next: page.next }
}

/// Who follows a user, the last one first; for the user and the user's friends. A page may end before it is full; its cursor goes on.
#[utoipa::path(
    get, path = "/api/users/{id}/followers", operation_id = "listFollowers", tag = "people", params(PageQuery),
    responses((status = OK, body = PageBody<Listed>), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem)),
)]
async fn followers(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<Listed>>, Problem> {
    let mine = community.reader_of(&identity, &id).await?;
    let (circles, mine, id) = (&community.circles, &mine, id.as_str());
    let read = |page| {
        async move { Ok::<_, StoreError>(without_hidden(mine, circles.followers(id, page).await?)) }.boxed()
    };
    let page = filled(query.page.request(), read).await?;
    Ok(Json(query.page.body(community.listed_of_another(&identity, mine, page).await)))
}

/// Whom a user follows, by their ids; for the user and the user's friends.
#[utoipa::path(
    get, path = "/api/users/{id}/following", operation_id = "listFollowing", tag = "people", params(PageQuery),
    responses((status = OK, body = PageBody<Listed>), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem)),
)]
async fn following(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<Listed>>, Problem> {
    let mine = community.reader_of(&identity, &id).await?;
    let theirs = community.circles.view(&id).await?;
    let read = |page| {
        let page = theirs.page(Sorts::FOLLOWED, page).map(|page| without_hidden(&mine, page));
        ready(page).boxed()
    };
    let page = filled(query.page.request(), read).await?;
    Ok(Json(query.page.body(community.listed_of_another(&identity, &mine, page).await)))
}

/// The caller's friends, by their ids.
#[utoipa::path(
    get, path = "/api/friends", operation_id = "listFriends", tag = "people", params(PageQuery),
    responses((status = OK, body = PageBody<Listed>), (status = BAD_REQUEST, body = Problem)),
)]
async fn friends(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<Listed>>, Problem> {
    community.own_list(&identity, Sorts::FRIENDS, query).await
}

/// Who asks the caller to be friends, and whom the caller asked; by their ids.
#[utoipa::path(
    get, path = "/api/friends/requests", operation_id = "listFriendRequests", tag = "people",
    params(RequestsQuery, PageQuery),
    responses((status = OK, body = PageBody<FriendRequest>), (status = BAD_REQUEST, body = Problem)),
)]
async fn requests(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter, page: paging }: ListQuery<RequestsQuery>,
) -> Result<Json<PageBody<FriendRequest>>, Problem> {
    let sorts = match filter.direction {
        Some(Choice(Direction::Incoming)) => Sorts::ASKED,
        Some(Choice(Direction::Outgoing)) => Sorts::REQUESTED,
        None => Sorts::ASKED.or(Sorts::REQUESTED),
    };
    let mine = community.circles.view(&identity.user_id).await?;
    let page = mine.page(sorts, paging.request())?;
    let page = community.listed(&mine, page).await.map(|other| {
        let is_incoming = mine.to(&other.user_id).is(Sorts::ASKED);
        let direction = if is_incoming { Direction::Incoming } else { Direction::Outgoing };
        FriendRequest { direction, other }
    });
    Ok(Json(paging.body(page)))
}

/// Which of the caller's friends are online, by their ids.
#[utoipa::path(
    get, path = "/api/friends/online", operation_id = "listFriendsOnline", tag = "people", params(PageQuery),
    responses((status = OK, body = PageBody<OnlineFriend>), (status = BAD_REQUEST, body = Problem)),
)]
async fn online(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<OnlineFriend>>, Problem> {
    let mine = community.circles.view(&identity.user_id).await?;
    let friends: Vec<_> = mine.all(Sorts::FRIENDS).map(str::to_owned).collect();
    let mut since = BTreeMap::new();
    for some in friends.chunks(STATUSES_AT_ONCE) {
        let statuses = community.hot.user_statuses(some).await?;
        since.extend(statuses.into_iter().filter_map(|(user, status)| Some((user, status.online_since?))));
    }
    let online = since.keys().map(|id| (id.clone(), Sorts::FRIENDS)).collect();
    let page = Relations::new(0, online).page(Sorts::FRIENDS, query.page.request())?;
    let page = community.listed(&mine, page).await;
    let Page { items, next } = page;
    let seen = items.into_iter().filter_map(|friend| {
        let online_since = (*since.get(&friend.user_id)?).into();
        Some(OnlineFriend { friend, online_since })
    });
    Ok(Json(query.page.body(Page { items: seen.collect(), next })))
}

/// Whom the caller has blocked, by their ids.
#[utoipa::path(
    get, path = "/api/blocks", operation_id = "listBlocks", tag = "people", params(PageQuery),
    responses((status = OK, body = PageBody<Listed>), (status = BAD_REQUEST, body = Problem)),
)]
async fn blocks(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<Listed>>, Problem> {
    community.own_list(&identity, Sorts::BLOCKED, query).await
}

/// Whom the caller has muted, by their ids.
#[utoipa::path(
    get, path = "/api/mutes", operation_id = "listMutes", tag = "people", params(PageQuery),
    responses((status = OK, body = PageBody<Listed>), (status = BAD_REQUEST, body = Problem)),
)]
async fn mutes(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<Listed>>, Problem> {
    community.own_list(&identity, Sorts::MUTED, query).await
}
