//! The caller's list of conversations, and what the caller alone says of one: read, unread, muted, put away, accepted, declined.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::Whole;
use mundotango_gateway::problem::Problem;
use mundotango_storage::{Page, StoreError, now};
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::{
    Archive, ChatFolder, ConversationView, ConversationsQuery, Marker, Mute, ReadTo, ReadView,
};
use super::kinds::{ChatKind, ListState, Listed, Member};
use super::live::channel_of;
use super::rules::{ReadUpTo, SMALL};
use super::store::Chat;
use super::updates::{ChatUpdate, ListUpdate};
use super::views::unlisted;
use super::{Shared, people};
use crate::community::Community;
use crate::community::effects::Effect;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::policy::Action;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read_to))
        .routes(routes!(unread))
        .routes(routes!(mute))
        .routes(routes!(archive))
        .routes(routes!(accept))
        .routes(routes!(decline))
}

/// Where a row stands in a list: the last one in which something happened comes first.
fn place(row: &Listed, id: &str) -> (i64, String) {
    (-row.at.as_millisecond(), id.to_owned())
}

fn read_place(cursor: &str) -> Option<(i64, String)> {
    let (at, id) = cursor.split_once('/')?;
    Some((at.parse().ok()?, id.to_owned()))
}

impl Community {
    /// Changes the caller's row of a conversation; as it is then.
    async fn change_row(
        &self,
        chat: &Chat,
        member: &Member,
        user_id: &str,
        rule: impl FnMut(&mut Listed) + Send + 'static,
        tells_others: bool,
    ) -> Result<Listed, Problem> {
        let absent = unlisted(chat, member, user_id);
        let (chat_id, user) = (chat.id.clone(), user_id.to_owned());
        let follows = move |before: Option<&Listed>, row: &Listed| {
            let mut effects = vec![ListUpdate::of(&chat_id, row).effect(&user)?];
            // Who has not accepted does not show what was read.
            if tells_others
                && row.state == ListState::Open
                && before.is_none_or(|before| before.read < row.read)
            {
                let update = ChatUpdate::Read {
                    conversation_id: chat_id.clone(),
                    user_id: user.clone(),
                    seq: row.read,
                };
                effects.push(Effect::publish(channel_of(&chat_id), &update)?);
            }
            Ok::<_, StoreError>(effects)
        };
        Ok(self.chat.inboxes.change(user_id, &chat.id, absent, rule, follows).await?)
    }

    /// Moves the caller's marker in a conversation by a rule, which gets where it is and the last message; where it is then, and what
    /// is unread. Going forward, it may be told to others.
    async fn move_marker(
        &self,
        identity: &Identity,
        id: &str,
        rule: impl Fn(ReadUpTo, u64) -> ReadUpTo + Send + 'static,
        goes_forward: bool,
    ) -> Result<Json<ReadView>, Problem> {
        let user_id = identity.user_id.as_str();
        let (chat, member) = self.chat_for(id, identity, Action::Read).await?;
        let last = member.spans.last(self.chat.store.last(id, chat.head.block).await?);
        let tells_others = goes_forward
            && member.is_member()
            && chat.head.members <= SMALL
            && self.is_heard(&chat, user_id).await?;
        let change = move |row: &mut Listed| {
            let marker = rule(ReadUpTo { seq: row.read, version: row.read_version }, last);
            (row.read, row.read_version) = (marker.seq, marker.version);
        };
        let row = self.change_row(&chat, &member, user_id, change, tells_others).await?;
        if goes_forward && row.read >= last {
            self.mark_thing_read(user_id, NotificationKind::MessageNew, id).await?;
        }
        let unread = self.chat.store.unread(id, user_id, &member.spans, row.read, last).await?;
        Ok(Json(ReadView {
            read_seq: row.read,
            read_version: row.read_version,
            unread: unread.0,
            unread_is_capped: unread.1,
        }))
    }

    /// Accepts a conversation that waits for a user.
    pub(super) async fn accept_chat(
        &self,
        chat: &Chat,
        member: &Member,
        user_id: &str,
    ) -> Result<(), Problem> {
        match chat.facts.kind {
            ChatKind::Direct => self.chat.store.answer(&chat.id, user_id, true).await?,
            ChatKind::Group => self.chat.store.accept_offer(&chat.id, user_id).await?,
        }
        self.change_row(chat, member, user_id, |row| row.answer(ListState::Open), false).await?;
        Ok(())
    }
}

/// The caller's conversations, the one in which somebody wrote last first. In large groups the order may be some seconds late.
/// A page may have fewer than asked for.
#[utoipa::path(
    get, path = "/api/chat/conversations", operation_id = "listConversations", tag = "chat",
    params(ConversationsQuery, PageQuery),
    responses((status = OK, body = PageBody<ConversationView>), (status = BAD_REQUEST, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter, page: paging }: ListQuery<ConversationsQuery>,
) -> Result<Json<PageBody<ConversationView>>, Problem> {
    let folder = filter.folder.map_or(ChatFolder::Inbox, |folder| folder.0);
    let user_id = identity.user_id.as_str();
    let request = paging.request();
    let (after, skip) = request.start.behind(Some)?;
    let after = after.map(|cursor| read_place(&cursor).ok_or(StoreError::BadCursor)).transpose()?;
    let rows = community.chat.inboxes.all(user_id).await?.into_iter();
    let mut rows: Vec<_> = rows
        .filter(|(_, row)| ChatFolder::of(row) == folder)
        .map(|(id, row)| (place(&row, &id), row))
        .filter(|(place, _)| after.as_ref().is_none_or(|after| place > after))
        .collect();
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    let is_cut = rows.len() > skip + request.limit;
    let rows: Vec<_> = rows.into_iter().skip(skip).take(request.limit).collect();
    let next = rows.last().filter(|_| is_cut).map(|((at, id), _)| format!("{at}/{id}"));
    let ids: Vec<_> = rows.iter().map(|((_, id), _)| id.clone()).collect();
    let mut rows: std::collections::BTreeMap<_, _> =
        rows.into_iter().map(|((_, id), row)| (id, row)).collect();
    let chats = community.chat.store.chats(&ids, user_id).await?.into_iter();
    let chats = chats.map(|(chat, member)| {
        let row = rows.remove(&chat.id);
        (chat, member, row)
    });
    let items = community.conversation_views(chats.collect(), user_id).await?;
    Ok(Json(paging.body(Page { items, next })))
}

/// Say that the caller has read up to a message, on all devices. It goes forward only. With `version`, it changes nothing where
/// the caller said on another device meanwhile that messages are unread.
#[utoipa::path(
    put, path = "/api/chat/conversations/{id}/read", operation_id = "markConversationRead", tag = "chat",
    request_body = ReadTo,
    responses((status = OK, body = ReadView), (status = NOT_FOUND, body = Problem)),
)]
async fn read_to(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<ReadTo>,
) -> Result<Json<ReadView>, Problem> {
    let (seq, known) = (u64::from(body.seq.get()), body.version.0.map(|known| u64::from(known.get())));
    community.move_marker(&identity, &id, move |marker, last| marker.read(seq, known, last), true).await
}

/// Say that messages are unread from one on, on all devices. `readVersion` rises where that takes something back.
#[utoipa::path(
    put, path = "/api/chat/conversations/{id}/unread", operation_id = "markConversationUnread", tag = "chat",
    request_body = Marker,
    responses((status = OK, body = ReadView), (status = NOT_FOUND, body = Problem)),
)]
async fn unread(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<Marker>,
) -> Result<Json<ReadView>, Problem> {
    let seq = u64::from(body.seq.get());
    community.move_marker(&identity, &id, move |marker, _| marker.unread(seq), false).await
}

/// Be notified of a conversation, or not.
#[utoipa::path(
    put, path = "/api/chat/conversations/{id}/mute", operation_id = "muteConversation", tag = "chat",
    request_body = Mute,
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem)),
)]
async fn mute(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<Mute>,
) -> Result<StatusCode, Problem> {
    let (chat, member) = community.chat_for(&id, &identity, Action::Read).await?;
    let hours = body.hours.0.map(Whole::get);
    let until = match hours {
        Some(hours) => now() + SignedDuration::from_hours(i64::from(hours)),
        None => Timestamp::MAX,
    };
    let muted_until = body.muted.then_some(until);
    let rule = move |row: &mut Listed| row.muted_until = muted_until;
    community.change_row(&chat, &member, &identity.user_id, rule, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Put a conversation away, or take it back. Nobody is notified of what was put away.
#[utoipa::path(
    put, path = "/api/chat/conversations/{id}/archive", operation_id = "archiveConversation", tag = "chat",
    request_body = Archive,
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem)),
)]
async fn archive(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<Archive>,
) -> Result<StatusCode, Problem> {
    let (chat, member) = community.chat_for(&id, &identity, Action::Read).await?;
    let rule = move |row: &mut Listed| row.archived = body.archived;
    community.change_row(&chat, &member, &identity.user_id, rule, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Accept a conversation that somebody asked for, or a group. Writing to it accepts it as well.
#[utoipa::path(
    post, path = "/api/chat/conversations/{id}/accept", operation_id = "acceptConversation", tag = "chat",
    responses(
        (status = OK, body = ConversationView),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn accept(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<ConversationView>, Problem> {
    let (chat, member) = community.chat_for(&id, &identity, Action::TakePart).await?;
    community.accept_chat(&chat, &member, &identity.user_id).await?;
    Ok(Json(community.conversation_view(&id, &identity.user_id).await?))
}

/// Decline a conversation that somebody asked for; nobody is told. A group is left.
#[utoipa::path(
    post, path = "/api/chat/conversations/{id}/decline", operation_id = "declineConversation", tag = "chat",
    responses(
        (status = NO_CONTENT),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn decline(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let (chat, member) = community.chat_for(&id, &identity, Action::TakePart).await?;
    let user_id = identity.user_id.as_str();
    match chat.facts.kind {
        ChatKind::Direct => community.chat.store.answer(&id, user_id, false).await?,
        ChatKind::Group => {
            community.chat.store.remove_member(&chat, user_id, user_id, people::announce(&id)).await?;
        }
    }
    community.change_row(&chat, &member, user_id, |row| row.answer(ListState::Declined), false).await?;
    Ok(StatusCode::NO_CONTENT)
}
