//! Searching in messages: in which conversations somebody may search, and what of that which was found is seen.
//!
//! The index knows what was said where, and not by whom it is seen. So a search names the conversations and the numbers that
//! the caller sees there, and each hit is read and judged once more by the spans as they are then.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mundotango_gateway::Identity;
use mundotango_gateway::problem::Problem;

use super::bodies::FoundMessage;
use super::kinds::{ListState, Member};
use super::store::Chat;
use crate::community::Community;
use crate::community::policy::{self, Action, Object};
use crate::community::search::kinds::{message_id, message_of};
use crate::search::filter::SeenThread;

/// Conversations in which one search looks: those in which something happened last.
const MOST_SEARCHED: usize = 1_000;
/// Conversations of which messages are read beside each other.
const AT_ONCE: usize = 8;

fn thread_of(id: String, member: &Member) -> SeenThread {
    SeenThread { id, seen: member.spans.ranges().collect() }
}

impl Community {
    /// The conversations in which a user searches: those that the user took, the last ones of the list.
    pub(in crate::community) async fn searched_chats(
        &self,
        user_id: &str,
    ) -> Result<Vec<SeenThread>, Problem> {
        let mut rows = self.chat.inboxes.all(user_id).await?;
        rows.retain(|(_, row)| row.state == ListState::Open);
        rows.sort_by_key(|(_, row)| Reverse(row.at));
        rows.truncate(MOST_SEARCHED);
        let ids: Vec<_> = rows.into_iter().map(|(id, _)| id).collect();
        let members = self.chat.store.memberships(&ids, user_id).await?;
        let threads = ids.into_iter().zip(members);
        Ok(threads.filter_map(|(id, member)| Some(thread_of(id, &member?))).collect())
    }

    /// One conversation, if the caller may read in it.
    pub(in crate::community) async fn searched_chat(
        &self,
        id: &str,
        identity: &Identity,
    ) -> Result<SeenThread, Problem> {
        let (chat, member) = self.chat_for(id, identity, Action::Read).await?;
        Ok(thread_of(chat.id, &member))
    }

    /// Those of some messages that the caller sees, as they are now; no deleted one.
    pub(in crate::community) async fn seen_messages_by_id(
        &self,
        ids: &[String],
        identity: &Identity,
    ) -> Result<Vec<FoundMessage>, Problem> {
        let mut by_chat: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (chat_id, seq) in ids.iter().filter_map(|id| message_of(id)) {
            by_chat.entry(chat_id.to_owned()).or_default().push(seq);
        }
        if by_chat.is_empty() {
            return Ok(Vec::new());
        }
        let chat_ids: Vec<_> = by_chat.keys().cloned().collect();
        let chats = self.chat.store.chats(&chat_ids, &identity.user_id).await?.into_iter();
        let each = chats.map(|(chat, member)| {
            let seqs = by_chat.remove(&chat.id).unwrap_or_default();
            self.seen_in(chat, member, seqs, identity)
        });
        let seen = stream::iter(each.collect::<Vec<_>>()).buffered(AT_ONCE);
        let seen: Vec<Vec<FoundMessage>> = seen.try_collect().await?;
        Ok(seen.into_iter().flatten().collect())
    }

    async fn seen_in(
        &self,
        chat: Chat,
        member: Member,
        mut seqs: Vec<u64>,
        identity: &Identity,
    ) -> Result<Vec<FoundMessage>, Problem> {
        let object = Object::Conversation { part: Some(&member).into() };
        if !policy::may(identity.into(), Action::Read, &object).is_allowed() {
            return Ok(Vec::new());
        }
        seqs.retain(|seq| member.spans.sees(*seq));
        let messages = self.chat.store.messages_at(&chat.id, &seqs).await?;
        let said = messages.into_iter().filter(|(_, message)| message.deleted_at.is_none()).collect();
        let seen = self.seen_messages(&chat.id, said, &identity.user_id).await?.into_iter();
        let found = seen.map(|message| FoundMessage {
            id: message_id(&chat.id, message.message.seq),
            conversation_id: chat.id.clone(),
            message,
        });
        Ok(found.collect())
    }
}
