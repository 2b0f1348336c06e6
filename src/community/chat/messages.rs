//! Routes about messages, and who types.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mundotango_gateway::extract::{Path, ValidJson, ValidQuery};
use mundotango_gateway::input::{Given, UpTo, Whole};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::{StoreError, now};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::announce::{CREATED, DELETED, EDITED, REACTED, Update, announce};
use super::blocks::{Announce, NewMessage};
use super::bodies::{
    MessageChange, MessageReaction, MessageView, MessagesBody, MessagesQuery, NewMessageBody, SeenMessage,
};
use super::error::ChatError;
use super::history::Direction;
use super::kinds::{ListState, Member, Message, Numbered};
use super::live::publish;
use super::rules::{BEFORE_ACCEPTED, SMALL};
use super::store::{Chat, Reach};
use super::updates::ChatUpdate;
use crate::community::Community;
use crate::community::accounts::restrictions::Ability;
use crate::community::policy::{self, Action, Object};
use crate::community::posts::rules::ReactionType;
use crate::texts::{AttachmentAddress, Id, MessageText};

/// Messages of a page where the client does not say.
const USUAL: usize = 50;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list, send))
        .routes(routes!(edit, delete))
        .routes(routes!(react, take_back))
        .routes(routes!(typing))
}

/// The number in a path.
fn number_of(seq: &str) -> Result<u64, Problem> {
    seq.parse().map_err(|_| Problem::not_found("message"))
}

/// What clients send as a list.
fn listed<T, const MOST: usize>(list: Given<UpTo<T, MOST>>, text: fn(T) -> String) -> Vec<String> {
    list.0.map(|list| list.0.into_iter().map(text).collect()).unwrap_or_default()
}

impl Community {
    /// Makes what a conversation's channel publishes of messages of an author, who has no name there for somebody who is kept apart.
    async fn announce_message(
        &self,
        chat: &Chat,
        author: &str,
        update: Update,
    ) -> Result<impl Announce + use<>, StoreError> {
        let is_apart = match chat.other(author) {
            Some(other) => self.circles.view(author).await?.keeps_apart(other),
            None => false,
        };
        let named = if is_apart { Vec::new() } else { vec![author.to_owned()] };
        Ok(announce(&chat.id, self.people(named).await, update))
    }

    /// A message that the caller sees, if the caller may do something with it.
    pub(in crate::community) async fn message_for(
        &self,
        id: &str,
        seq: u64,
        identity: &Identity,
        action: Action,
    ) -> Result<(Chat, Message), Problem> {
        let (chat, member) = self.chat_for(id, identity, Action::Read).await?;
        let message = self.chat.store.message(id, seq).await?.filter(|_| member.spans.sees(seq));
        let message = message.ok_or_else(|| Problem::not_found("message"))?;
        let object = Object::ChatMessage { author: &message.author, part: Some(&member).into() };
        policy::may(identity.into(), action, &object).allows("message")?;
        Ok((chat, message))
    }

    /// Messages before one, as far as the caller sees them and they are not deleted; the oldest first.
    pub(in crate::community) async fn messages_before(
        &self,
        id: &str,
        seq: u64,
        identity: &Identity,
        limit: usize,
    ) -> Result<Vec<Message>, Problem> {
        let (_, member) = self.chat_for(id, identity, Action::Read).await?;
        let store = &self.chat.store;
        let read = store.messages(id, &member.spans, seq, Direction::Before(seq), limit).await?;
        let said = read.into_iter().rev().map(|(_, message)| message);
        Ok(said.filter(|message| message.deleted_at.is_none()).collect())
    }

    /// Refuses what would tell the other side of a direct conversation something that it does not want to hear.
    async fn must_be_heard(&self, chat: &Chat, user_id: &str) -> Result<(), Problem> {
        if chat.other(user_id).is_some() && !self.is_heard(chat, user_id).await? {
            return Err(ChatError::Pending.into());
        }
        Ok(())
    }

    /// Messages as a user sees them, with the own reactions.
    pub(super) async fn seen_messages(
        &self,
        chat_id: &str,
        messages: Vec<Numbered>,
        user_id: &str,
    ) -> Result<Vec<SeenMessage>, Problem> {
        let own = self.chat.store.reactions_of(chat_id, user_id, &messages).await?;
        let authors = messages.iter().map(|(_, message)| message.author.clone()).collect();
        let circle = self.circles.view(user_id).await?;
        let people = self.people_seen_in(&circle, authors).await;
        let seen = messages.iter().zip(own).map(|(message, my_reaction)| SeenMessage {
            message: MessageView::new(message, &people),
            my_reaction,
        });
        Ok(seen.collect())
    }

    async fn seen_message(
        &self,
        chat_id: &str,
        message: Numbered,
        user_id: &str,
    ) -> Result<Json<SeenMessage>, Problem> {
        let seen = self.seen_messages(chat_id, vec![message], user_id).await?.pop();
        seen.map(Json).ok_or_else(|| Problem::not_found("message"))
    }

    /// How many messages there may be before one that a user sends; as many as there are where the other side knows the user.
    /// Who writes to somebody who asked accepts that.
    async fn most_before(&self, chat: &Chat, member: &Member, user_id: &str) -> Result<Option<u64>, Problem> {
        let Some(other) = chat.other(user_id) else {
            let row = self.chat.inboxes.listed(user_id, &chat.id).await?;
            if member.offered_by.is_some() || row.is_some_and(|row| row.state != ListState::Open) {
                self.accept_chat(chat, member, user_id).await?;
            }
            return Ok(None);
        };
        match self.reach(user_id, other, Some(&chat.head.standing)).await? {
            Reach::Open => {
                if chat.waits_for(user_id) {
                    self.accept_chat(chat, member, user_id).await?;
                }
                Ok(None)
            }
            Reach::Request => Ok(Some(BEFORE_ACCEPTED)),
            // As if the other side had not answered: who declined is not told of.
            Reach::Never => Ok(Some(0)),
        }
    }

    async fn react_to_message(
        &self,
        id: &str,
        seq: &str,
        identity: &Identity,
        reaction: Option<ReactionType>,
    ) -> Result<Json<SeenMessage>, Problem> {
        let (seq, user_id) = (number_of(seq)?, identity.user_id.as_str());
        let (chat, before) = self.message_for(id, seq, identity, Action::TakePart).await?;
        if reaction.is_some() {
            self.must_be_heard(&chat, user_id).await?;
        }
        let announce = self.announce_message(&chat, &before.author, REACTED).await?;
        let message = self.chat.store.react(id, seq, user_id, reaction, announce).await?;
        self.seen_message(id, (seq, message), user_id).await
    }
}

/// Messages of a conversation, as far as the caller was a member when they were sent: the last ones, those before a number, or
/// those after one.
#[utoipa::path(
    get, path = "/api/chat/conversations/{id}/messages", operation_id = "listMessages", tag = "chat",
    params(MessagesQuery),
    responses(
        (status = OK, body = MessagesBody),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidQuery(query): ValidQuery<MessagesQuery>,
) -> Result<Json<MessagesBody>, Problem> {
    let direction = match (query.before, query.after) {
        (Some(_), Some(_)) => {
            let message = "does not go together with before";
            return Err(Problem::invalid_field("after", FieldCode::Contradiction, message));
        }
        (_, Some(after)) => Direction::After(u64::from(after.0.get())),
        (before, None) => Direction::Before(before.map_or(u64::MAX, |before| u64::from(before.0.get()))),
    };
    let limit = query.limit.map_or(USUAL, |limit| limit.0.count());
    let (chat, member) = community.chat_for(&id, &identity, Action::Read).await?;
    let store = &community.chat.store;
    let last_seq = member.spans.last(store.last(&id, chat.head.block).await?);
    let mut messages = store.messages(&id, &member.spans, last_seq, direction, limit + 1).await?;
    let has_more = messages.len() > limit;
    messages.truncate(limit);
    let items = community.seen_messages(&id, messages, &identity.user_id).await?;
    Ok(Json(MessagesBody { items, has_more, last_seq }))
}

/// Send a message. Take one idempotency key for each message that is written, and keep it for every try: then it is sent once.
#[utoipa::path(
    post, path = "/api/chat/conversations/{id}/messages", operation_id = "sendMessage",
    tag = "chat", params(IdempotencyKey), request_body = NewMessageBody,
    responses(
        (status = CREATED, body = SeenMessage),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn send(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewMessageBody>,
) -> Result<(StatusCode, Json<SeenMessage>), Problem> {
    community.must_be_able(&identity.user_id, Ability::Messaging).await?;
    let (chat, member) = community.chat_for(&id, &identity, Action::TakePart).await?;
    let user_id = identity.user_id.as_str();
    let new = NewMessage {
        at: new_id.made_at(),
        id: new_id.into_text(),
        author: user_id.to_owned(),
        text: body.text.value().map(MessageText::into_string),
        attachments: listed(body.attachments, AttachmentAddress::into_string),
        reply_to: body.reply_to.value().map(|seq| u64::from(Whole::get(seq))),
        mentions: listed(body.mentions, Id::into_string),
        most_before: community.most_before(&chat, &member, user_id).await?,
    };
    let announce = community.announce_message(&chat, user_id, CREATED).await?;
    let message = Box::pin(community.chat.store.send(&id, new, announce)).await?;
    Ok((StatusCode::CREATED, community.seen_message(&id, message, user_id).await?))
}

/// Change what a message says; for its author. What it said is kept.
#[utoipa::path(
    patch, path = "/api/chat/conversations/{id}/messages/{seq}", operation_id = "changeMessage", tag = "chat",
    request_body = MessageChange,
    responses(
        (status = OK, body = SeenMessage),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn edit(
    identity: Identity,
    State(community): Shared,
    Path((id, seq)): Path<(String, String)>,
    ValidJson(body): ValidJson<MessageChange>,
) -> Result<Json<SeenMessage>, Problem> {
    community.must_be_able(&identity.user_id, Ability::Messaging).await?;
    let seq = number_of(&seq)?;
    let (chat, _) = community.message_for(&id, seq, &identity, Action::Change).await?;
    community.must_be_heard(&chat, &identity.user_id).await?;
    let announce = community.announce_message(&chat, &identity.user_id, EDITED).await?;
    let message = community.chat.store.edit(&id, seq, body.text.into_string(), now(), announce).await?;
    community.seen_message(&id, (seq, message), &identity.user_id).await
}

/// Delete a message; for its author, and for a group's admins. Its place stays.
#[utoipa::path(
    delete, path = "/api/chat/conversations/{id}/messages/{seq}", operation_id = "deleteMessage", tag = "chat",
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn delete(
    identity: Identity,
    State(community): Shared,
    Path((id, seq)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let seq = number_of(&seq)?;
    let (chat, before) = community.message_for(&id, seq, &identity, Action::Remove).await?;
    let announce = community.announce_message(&chat, &before.author, DELETED).await?;
    community.chat.store.delete(&id, seq, now(), announce).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// React to a message; again with another reaction replaces the one before. 200 people can react to one.
#[utoipa::path(
    put, path = "/api/chat/conversations/{id}/messages/{seq}/reaction", operation_id = "reactToMessage",
    tag = "chat", request_body = MessageReaction,
    responses(
        (status = OK, body = SeenMessage),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn react(
    identity: Identity,
    State(community): Shared,
    Path((id, seq)): Path<(String, String)>,
    ValidJson(body): ValidJson<MessageReaction>,
) -> Result<Json<SeenMessage>, Problem> {
    community.react_to_message(&id, &seq, &identity, Some(body.reaction_type.0)).await
}

/// Take the own reaction to a message back.
#[utoipa::path(
    delete, path = "/api/chat/conversations/{id}/messages/{seq}/reaction",
    operation_id = "removeMessageReaction", tag = "chat",
    responses(
        (status = OK, body = SeenMessage),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn take_back(
    identity: Identity,
    State(community): Shared,
    Path((id, seq)): Path<(String, String)>,
) -> Result<Json<SeenMessage>, Problem> {
    community.react_to_message(&id, &seq, &identity, None).await
}

/// Say that the caller types. Others are told once in three seconds at most, and not where more than 50 are members.
#[utoipa::path(
    post, path = "/api/chat/conversations/{id}/typing", operation_id = "typeInConversation", tag = "chat",
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn typing(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let (chat, _) = community.chat_for(&id, &identity, Action::TakePart).await?;
    let is_told = chat.head.members <= SMALL && community.is_heard(&chat, &identity.user_id).await?;
    if is_told && community.limits.typing(&id, &identity.user_id).await {
        let update = ChatUpdate::Typing { conversation_id: id.clone(), user_id: identity.user_id };
        publish(&community.chat.engine, &id, &update).await;
    }
    Ok(StatusCode::NO_CONTENT)
}
