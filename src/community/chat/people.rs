//! Routes about who is in a group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::problem::Problem;
use mundotango_storage::{Page, StoreError, now};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::bodies::{MemberView, NewMembers, RoleBody};
use super::error::ChatError;
use super::kinds::Standing;
use super::live::channel_of;
use super::members::{Announce, MembersChange};
use super::room::MOST_OFFERS_OF_ONE;
use super::store::{Chat, Reach};
use super::updates::ChatUpdate;
use crate::community::accounts::restrictions::Ability;
use crate::community::effects::Effect;
use crate::community::graph::relations::{Relations, Sorts};
use crate::community::policy::Action;
use crate::community::{Community, Person};
use crate::texts::Id;

/// People of whom it is looked up beside each other whether they may be written to.
const AT_ONCE: usize = 16;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(set_role, remove))
}

/// Makes what the channel publishes of a change of members.
pub(super) fn announce(chat_id: &str) -> impl Announce + use<> {
    let id = chat_id.to_owned();
    move |change: &MembersChange| Effect::publish(channel_of(&id), &ChatUpdate::of_members(&id, change))
}

impl Community {
    /// Whether somebody may write to somebody else and add that one to groups: never where one of them has blocked the other or
    /// a stranger pauses, and else as they stand in their direct conversation, which is looked at where it was not read.
    pub(super) async fn reach(
        &self,
        by: &str,
        other: &str,
        known: Option<&Standing>,
    ) -> Result<Reach, StoreError> {
        let circle = self.circles.view(by).await?;
        if circle.keeps_apart(other) {
            return Ok(Reach::Never);
        }
        let reach = self.chat.store.may_reach(by, other, known).await?.among(&circle, other);
        // Who pauses is asked by nobody who would have to be accepted first.
        let is_refused = reach == Reach::Request && self.accounts.is_paused(other).await?;
        Ok(if is_refused { Reach::Never } else { reach })
    }

    /// The people behind ids, as somebody of this circle sees them: those who have blocked that one have no name.
    pub(super) async fn people_seen_in(
        &self,
        circle: &Relations,
        mut ids: Vec<String>,
    ) -> BTreeMap<String, Person> {
        ids.retain(|id| !circle.to(id).is(Sorts::BLOCKED_BY));
        self.people(ids).await
    }

    /// Refuses to offer groups to so many strangers, or to one for whose answer many of the user's groups wait already.
    async fn may_offer(&self, by: &str, strangers: &[String]) -> Result<(), Problem> {
        let open = self.chat.inboxes.offers_of(by, strangers).await?;
        if open.into_iter().any(|open| open >= MOST_OFFERS_OF_ONE) {
            let why =
                "5 of your groups wait for the answer of one of these people, which is as many as can be";
            return Err(ChatError::Full(why).into());
        }
        self.limits.offers(by, strangers.len()).await
    }

    /// Whether others hear at once what a user does in a conversation besides writing. In a direct one that is not accepted, or in
    /// which either keeps the other apart, nobody does.
    pub(super) async fn is_heard(&self, chat: &Chat, user_id: &str) -> Result<bool, StoreError> {
        let Some(other) = chat.other(user_id) else { return Ok(chat.head.standing == Standing::Open) };
        Ok(self.reach(user_id, other, Some(&chat.head.standing)).await? == Reach::Open)
    }

    /// Those of some users whom somebody may add to a group, each with whether it is only offered. It is an error where one
    /// cannot be added, alike whether there is no such user or the user does not want it.
    pub(super) async fn invited(
        &self,
        by: &str,
        users: Vec<String>,
        field: &'static str,
    ) -> Result<BTreeMap<String, bool>, Problem> {
        let users: BTreeSet<_> = users.into_iter().filter(|user| user != by).collect();
        let users: Vec<_> = users.into_iter().collect();
        let known = self.accounts.profiles(&users).await?.len();
        let reaches = users.iter().map(|user| self.reach(by, user, None));
        let reaches: Vec<_> =
            stream::iter(reaches.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
        if known < users.len() || reaches.contains(&Reach::Never) {
            return Err(ChatError::Field(field, "must be users whom you can add").into());
        }
        let invited: BTreeMap<_, _> =
            users.into_iter().zip(reaches).map(|(user, reach)| (user, reach == Reach::Request)).collect();
        let strangers = invited.iter().filter(|(_, is_offer)| **is_offer).map(|(user, _)| user.clone());
        self.may_offer(by, &strangers.collect::<Vec<_>>()).await?;
        Ok(invited)
    }
}

/// Who is in a conversation.
#[utoipa::path(
    get, path = "/api/chat/conversations/{id}/members", operation_id = "listMembers", tag = "chat",
    params(PageQuery),
    responses((status = OK, body = PageBody<MemberView>), (status = NOT_FOUND, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ListQuery { page: paging, .. }: ListQuery<Everything>,
) -> Result<Json<PageBody<MemberView>>, Problem> {
    community.chat_for(&id, &identity, Action::TakePart).await?;
    let request = paging.request();
    let (after, skip) = request.start.behind(Some)?;
    let (members, next) = community.chat.store.members(&id, after.as_deref(), skip + request.limit).await?;
    let members: Vec<_> = members.into_iter().skip(skip).collect();
    let ids = members.iter().map(|(user, _)| user.clone()).collect();
    let circle = community.circles.view(&identity.user_id).await?;
    let people = community.people_seen_in(&circle, ids).await;
    let items = members.into_iter().map(|(user_id, member)| MemberView {
        user: people.get(&user_id).cloned(),
        user_id,
        role: member.role,
        joined_at: member.joined_at.into(),
    });
    Ok(Json(paging.body(Page { items: items.collect(), next })))
}

/// Add people to a group; for its admins. Who does not know the caller finds it among the requests: there, 5 groups of one
/// caller wait for an answer at most, and a caller offers groups to 300 people a day. A group has 1000 members at most.
#[utoipa::path(
    post, path = "/api/chat/conversations/{id}/members", operation_id = "addMembers", tag = "chat",
    request_body = NewMembers,
    responses(
        (status = NO_CONTENT),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn add(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewMembers>,
) -> Result<StatusCode, Problem> {
    community.must_be_able(&identity.user_id, Ability::Messaging).await?;
    let (chat, _) = community.chat_for(&id, &identity, Action::Change).await?;
    let users = body.user_ids.0.into_iter().map(Id::into_string).collect();
    // Who is in it already is not asked again.
    let users = community.chat.store.outside(&id, users).await?;
    let people = community.invited(&identity.user_id, users, "userIds").await?;
    if !people.is_empty() {
        let by = identity.user_id.as_str();
        community.chat.store.add_members(&chat, by, people, now(), announce(&id)).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Give a member a role; for the owner. Who makes somebody else the owner is an admin then.
#[utoipa::path(
    patch, path = "/api/chat/conversations/{id}/members/{userId}", operation_id = "setMemberRole", tag = "chat",
    request_body = RoleBody,
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn set_role(
    identity: Identity,
    State(community): Shared,
    Path((id, user_id)): Path<(String, String)>,
    ValidJson(body): ValidJson<RoleBody>,
) -> Result<StatusCode, Problem> {
    let (chat, _) = community.chat_for(&id, &identity, Action::HandOver).await?;
    community.chat.store.set_role(&chat, &identity.user_id, &user_id, body.role.0, announce(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a member, or leave. Who is removed sees what was said until then, and hears and writes nothing more. Where the owner
/// leaves, the oldest admin owns the group, or else the oldest member.
#[utoipa::path(
    delete, path = "/api/chat/conversations/{id}/members/{userId}", operation_id = "removeMember", tag = "chat",
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    Path((id, user_id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    // Who leaves again has left.
    let action = if identity.user_id == user_id { Action::Read } else { Action::Change };
    let (chat, _) = community.chat_for(&id, &identity, action).await?;
    community.chat.store.remove_member(&chat, &identity.user_id, &user_id, announce(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
