//! Chat: direct conversations and groups.
//!
//! - `rules.rs`: who sees what, what is unread, who may remove whom. `room.rs`: what makes room for what in a list. `telling.rs`: of
//!   which messages somebody is notified.
//! - `kinds.rs`: what is kept. `store.rs`, `members.rs`, `blocks.rs`, `history.rs`, `inbox.rs`: conversations, who is in them, messages,
//!   and users' lists of them. `jobs.rs`: the jobs between these, which `work.rs` does. `updates.rs`: what channels publish.
//! - `views.rs`: conversations as a user sees them. `lists.rs`, `people.rs`, `messages.rs`: routes. `live.rs`: the channel.
//! - `searching.rs`: where a user searches, and what of that which was found the user sees.

mod announce;
pub mod blocks;
pub(in crate::community) mod bodies;
pub mod error;
pub mod hiding;
pub mod history;
pub mod inbox;
mod jobs;
pub mod kinds;
pub mod leaving;
mod lists;
mod live;
pub mod members;
mod messages;
mod people;
pub mod room;
pub mod rules;
mod searching;
pub mod store;
mod telling;
pub(in crate::community) mod updates;
mod views;
mod work;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use mundotango_actors::Engine;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::db::Db;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::bodies::{ConversationChange, ConversationPage, ConversationView, NewConversation};
use self::error::ChatError;
use self::inbox::{InboxStore, News};
use self::kinds::{ChatHead, ListState, Listed, Member};
use self::live::channel_of;
use self::store::{Chat, ChatStore, Reach};
use self::updates::{ChatUpdate, ListUpdate};
pub use self::work::handled;
use super::Community;
use super::accounts::restrictions::Ability;
use super::effects::Effect;
use super::policy::{self, Action, Object};
use crate::texts::{Id, Title};

type Shared = State<Arc<Community>>;

/// What the routes need.
pub struct Chats {
    store: ChatStore,
    inboxes: InboxStore,
    engine: Arc<Engine>,
}

impl Chats {
    /// The conversations of a store. Their channels are open from then on.
    pub fn start(db: &Db, engine: &Arc<Engine>) -> Self {
        let store = ChatStore::new(db.clone());
        live::start(&store, engine);
        Self { store, inboxes: InboxStore::new(db.clone()), engine: Arc::clone(engine) }
    }
}

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(read, change))
        .merge(lists::router())
        .merge(people::router())
        .merge(messages::router())
}

impl Community {
    /// A conversation and what the caller is in it, if the caller may do something there.
    async fn chat_for(
        &self,
        id: &str,
        identity: &Identity,
        action: Action,
    ) -> Result<(Chat, Member), Problem> {
        let hidden = || Problem::not_found("conversation");
        let (chat, member) = self.chat.store.chat(id, &identity.user_id).await?.ok_or_else(hidden)?;
        let object = Object::Conversation { part: member.as_ref().into() };
        policy::may(identity.into(), action, &object).allows("conversation")?;
        Ok((chat, member.ok_or_else(hidden)?))
    }

    /// Puts a conversation that the user began into the user's list.
    async fn list_own(&self, chat: &Chat, user_id: &str, now: Timestamp) -> Result<(), Problem> {
        let news = News { last: 0, at: now, state: ListState::Open, offered_by: None, joins: false, read: 0 };
        let (chat_id, user) = (chat.id.clone(), user_id.to_owned());
        let follows =
            move |_: Option<&Listed>, row: &Listed| Ok(vec![ListUpdate::of(&chat_id, row).effect(&user)?]);
        Ok(self.chat.inboxes.hear(user_id, &chat.id, news, follows).await?)
    }

    async fn begin_direct(
        &self,
        identity: &Identity,
        other: Id,
        now: Timestamp,
    ) -> Result<(Chat, bool), Problem> {
        let (by, other) = (identity.user_id.as_str(), other.into_string());
        if other == by {
            return Err(ChatError::Field("userId", "must be somebody else").into());
        }
        // A conversation that there is goes on while one of the two pauses.
        self.known_user(identity, &other, false).await?;
        let reach = self.reach(by, &other, None).await?;
        // Who may not write keeps the conversation that there was, and begins none.
        let id = store::direct_id(by, &other);
        if reach != Reach::Open && self.chat.store.chat(&id, by).await?.is_none() {
            if reach == Reach::Never {
                return Err(Problem::not_found("user"));
            }
            let is_verified = self.accounts.user(by).await?.is_some_and(|user| user.is_verified);
            self.limits.request(by, is_verified).await?;
        }
        let are_friends = self.circles.view(by).await?.is_friend(&other);
        let (chat, is_new) = self.chat.store.create_direct(by, &other, are_friends, now).await?;
        self.list_own(&chat, by, now).await?;
        Ok((chat, is_new))
    }

    async fn begin_group(
        &self,
        by: &str,
        id: &str,
        title: Title,
        members: Vec<Id>,
        history_for_new: bool,
        now: Timestamp,
    ) -> Result<Chat, Problem> {
        let members = members.into_iter().map(Id::into_string).collect();
        let people = self.invited(by, members, "memberIds").await?;
        let title = title.into_string();
        let (chat, _) = self.chat.store.create_group(id, by, title, history_for_new, now).await?;
        self.list_own(&chat, by, now).await?;
        if !people.is_empty() {
            self.chat.store.add_members(&chat, by, people, now, people::announce(id)).await?;
        }
        Ok(chat)
    }
}

/// Begin a conversation. With `userId` it is the direct one with that user, which there is once, whoever begins it. With
/// `title` it is a new group. Who does not know the caller is asked, and takes part after accepting.
#[utoipa::path(
    post, path = "/api/chat/conversations", operation_id = "createConversation",
    tag = "chat", params(IdempotencyKey), request_body = NewConversation,
    responses(
        (status = CREATED, body = ConversationView),
        (status = OK, description = "The two have this conversation already.", body = ConversationView),
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
    ValidJson(body): ValidJson<NewConversation>,
) -> Result<(StatusCode, Json<ConversationView>), Problem> {
    community.must_be_able(&identity.user_id, Ability::Messaging).await?;
    let (now, id, by) = (new_id.made_at(), new_id.into_text(), identity.user_id.as_str());
    let (chat, is_new) = match (body.user_id.value(), body.title.value()) {
        (Some(other), _) => Box::pin(community.begin_direct(&identity, other, now)).await?,
        (None, Some(title)) => {
            let members = body.member_ids.0.map(|list| list.0).unwrap_or_default();
            let history = body.history_for_new.0.unwrap_or_default();
            (Box::pin(community.begin_group(by, &id, title, members, history, now)).await?, true)
        }
        (None, None) => return Err(ChatError::Field("title", "is required").into()),
    };
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(community.conversation_view(&chat.id, by).await?)))
}

/// One conversation, for those who are in it, and for those who were.
#[utoipa::path(
    get, path = "/api/chat/conversations/{id}", operation_id = "getConversation", tag = "chat",
    responses((status = OK, body = ConversationPage), (status = NOT_FOUND, body = Problem)),
)]
async fn read(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<ConversationPage>, Problem> {
    let (chat, member) = community.chat_for(&id, &identity, Action::Read).await?;
    let conversation = community.conversation_view(&id, &identity.user_id).await?;
    let read_markers =
        if member.is_member() { community.read_markers(&chat, &identity.user_id).await? } else { Vec::new() };
    Ok(Json(ConversationPage { conversation, read_markers }))
}

/// Change a group's title, or what those see who join; for its admins.
#[utoipa::path(
    patch, path = "/api/chat/conversations/{id}", operation_id = "changeConversation", tag = "chat",
    request_body = ConversationChange,
    responses(
        (status = OK, body = ConversationView),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn change(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<ConversationChange>,
) -> Result<Json<ConversationView>, Problem> {
    community.must_be_able(&identity.user_id, Ability::Messaging).await?;
    community.chat_for(&id, &identity, Action::Change).await?;
    let conversation_id = id.clone();
    let announce = move |head: &ChatHead| {
        let update = ChatUpdate::Changed {
            conversation_id: conversation_id.clone(),
            title: head.title.clone(),
            history_for_new: head.history_for_new,
        };
        Effect::publish(channel_of(&conversation_id), &update)
    };
    let title = body.title.0.map(Title::into_string);
    community.chat.store.change_group(&id, title, body.history_for_new.0, announce).await?;
    Ok(Json(community.conversation_view(&id, &identity.user_id).await?))
}
