//! Conversations as a user sees them: with the last message, and what is unread.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mundotango_gateway::problem::Problem;
use mundotango_storage::StoreError;

use super::bodies::{ChatFolder, ConversationView, MessageView, ReadMarker};
use super::kinds::{ListState, Listed, Member, Numbered};
use super::rules::SMALL;
use super::store::{Chat, Reach, reach_of};
use crate::community::graph::relations::Relations;
use crate::community::{Community, Person};

/// Conversations that are looked at beside each other.
const AT_ONCE: usize = 16;
/// People of a group whom lists name.
const NAMED: usize = 4;

/// A conversation with all that a user sees of it at once.
struct Looked {
    chat: Chat,
    member: Member,
    row: Listed,
    others: Vec<String>,
    last: u64,
    last_message: Option<Numbered>,
    unread: (u64, bool),
}

/// The row of a conversation that is in no list.
pub(super) fn unlisted(chat: &Chat, member: &Member, user_id: &str) -> Listed {
    let state = chat.state_for(user_id, member);
    Listed::new(state, member.offered_by.clone(), member.spans.unseen(), member.joined_at)
}

impl Community {
    async fn look(
        &self,
        chat: Chat,
        member: Member,
        row: Option<Listed>,
        user_id: &str,
    ) -> Result<Looked, StoreError> {
        let store = &self.chat.store;
        let row = row.unwrap_or_else(|| unlisted(&chat, &member, user_id));
        let last = member.spans.last(store.last(&chat.id, chat.head.block).await?);
        let last_message = match last {
            0 => None,
            last => store.message(&chat.id, last).await?.map(|message| (last, message)),
        };
        let unread = store.unread(&chat.id, user_id, &member.spans, row.read, last).await?;
        let others = match chat.other(user_id) {
            Some(other) => vec![other.to_owned()],
            None if member.is_member() => {
                let mut some = store.some_members(&chat.id).await?;
                some.retain(|user| user != user_id);
                some.truncate(NAMED);
                some
            }
            // Who is gone does not see who is there now.
            None => Vec::new(),
        };
        Ok(Looked { chat, member, row, others, last, last_message, unread })
    }

    /// Conversations as a user sees them.
    pub(super) async fn conversation_views(
        &self,
        chats: Vec<(Chat, Member, Option<Listed>)>,
        user_id: &str,
    ) -> Result<Vec<ConversationView>, Problem> {
        let each = chats.into_iter().map(|(chat, member, row)| self.look(chat, member, row, user_id));
        let looked: Vec<_> = stream::iter(each.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
        let ids = looked.iter().flat_map(|one: &Looked| {
            let author = one.last_message.as_ref().map(|(_, message)| message.author.clone());
            one.others.iter().cloned().chain(author)
        });
        let circle = self.circles.view(user_id).await?;
        let people = self.people_seen_in(&circle, ids.collect()).await;
        Ok(looked.into_iter().map(|one| one.view(&people, &circle, user_id)).collect())
    }

    /// One conversation as a user sees it.
    pub(super) async fn conversation_view(
        &self,
        id: &str,
        user_id: &str,
    ) -> Result<ConversationView, Problem> {
        let hidden = || Problem::not_found("conversation");
        let (chat, member) = self.chat.store.chat(id, user_id).await?.ok_or_else(hidden)?;
        let row = self.chat.inboxes.listed(user_id, id).await?;
        let views = vec![(chat, member.ok_or_else(hidden)?, row)];
        self.conversation_views(views, user_id).await?.pop().ok_or_else(hidden)
    }

    /// How far those have read who accepted a conversation, as a user of it is told; none of large groups, and none of somebody from
    /// whom the user is kept apart.
    pub(super) async fn read_markers(&self, chat: &Chat, user_id: &str) -> Result<Vec<ReadMarker>, Problem> {
        if chat.head.members > SMALL || !self.is_heard(chat, user_id).await? {
            return Ok(Vec::new());
        }
        let members = self.chat.store.all_members(&chat.id).await?;
        let users: Vec<_> = members.into_iter().map(|(user, _)| user).collect();
        let rows = self.chat.inboxes.listed_by_all(&users, &chat.id).await?;
        let markers = users.into_iter().zip(rows).filter_map(|(user_id, row)| {
            let row = row.filter(|row| row.state == ListState::Open && row.read > 0)?;
            Some(ReadMarker { user_id, seq: row.read })
        });
        Ok(markers.collect())
    }
}

impl Looked {
    fn view(self, people: &BTreeMap<String, Person>, circle: &Relations, user_id: &str) -> ConversationView {
        let Self { chat, member, row, others, last, last_message, unread } = self;
        // What sending is refused by: a block looks as if there were no answer yet.
        let pending = chat.other(user_id).is_some_and(|other| {
            reach_of(Some(&chat.head.standing), user_id).among(circle, other) != Reach::Open
        });
        let written_at = last_message.as_ref().map(|(_, message)| message.at);
        ConversationView {
            folder: ChatFolder::of(&row),
            pending,
            people: others.iter().filter_map(|user| people.get(user).cloned()).collect(),
            role: member.is_member().then_some(member.role),
            member_count: chat.head.members,
            muted_until: row.muted_until.map(Into::into),
            last_message: last_message.map(|message| MessageView::new(&message, people)),
            last_seq: last,
            read_seq: row.read,
            read_version: row.read_version,
            unread: unread.0,
            unread_is_capped: unread.1,
            created_at: chat.facts.created_at.into(),
            active_at: written_at.unwrap_or(row.at).max(row.at).into(),
            id: chat.id,
            kind: chat.facts.kind,
            title: chat.head.title,
            history_for_new: chat.head.history_for_new,
        }
    }
}
