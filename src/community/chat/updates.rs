//! What channels publish of conversations: their own, and the personal ones of those who have them in their lists.

use std::collections::BTreeMap;

use mundotango_gateway::input::Time;
use mundotango_storage::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::bodies::{ChatFolder, MessageView};
use super::kinds::Listed;
use super::members::MembersChange;
use super::rules::ChatRole;
use crate::community::effects::Effect;
use crate::community::personal_channel;
use crate::community::posts::rules::ReactionType;

/// What `chat:{conversationId}` publishes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum ChatUpdate {
    /// There is a new message.
    #[serde(rename = "message.created")]
    Created {
        #[serde(rename = "conversationId")]
        conversation_id: String,
        message: MessageView,
    },
    /// A message says something else, or is new and told late: ask for what it says, as not every member sees each message.
    #[serde(rename = "message.edited")]
    Edited {
        #[serde(rename = "conversationId")]
        conversation_id: String,
        /// The message's number.
        seq: u64,
        /// The message's version.
        version: u64,
    },
    /// A message is deleted.
    #[serde(rename = "message.deleted")]
    Deleted {
        #[serde(rename = "conversationId")]
        conversation_id: String,
        message: MessageView,
    },
    /// The reactions to a message changed.
    #[serde(rename = "message.reacted")]
    Reacted {
        #[serde(rename = "conversationId")]
        conversation_id: String,
        /// The message's number.
        seq: u64,
        /// The message's version.
        version: u64,
        /// How many reactions of each kind.
        #[schema(value_type = BTreeMap<String, u64>)]
        reactions: BTreeMap<ReactionType, u64>,
    },
    /// Somebody types: it ends by itself after five seconds, or with a message of that user.
    #[serde(rename = "typing")]
    Typing {
        #[serde(rename = "conversationId")]
        conversation_id: String,
        #[serde(rename = "userId")]
        user_id: String,
    },
    /// Somebody has read up to a message.
    #[serde(rename = "read")]
    Read {
        #[serde(rename = "conversationId")]
        conversation_id: String,
        #[serde(rename = "userId")]
        user_id: String,
        seq: u64,
    },
    /// People joined.
    #[serde(rename = "member.added")]
    MemberAdded {
        #[serde(rename = "conversationId")]
        conversation_id: String,
        #[serde(rename = "userIds")]
        user_ids: Vec<String>,
    },
    /// Somebody left or was removed.
    #[serde(rename = "member.removed")]
    MemberRemoved {
        #[serde(rename = "conversationId")]
        conversation_id: String,
        #[serde(rename = "userId")]
        user_id: String,
        /// Who owns the group now, where the owner left.
        #[schema(required = true)]
        #[serde(rename = "ownerId")]
        owner_id: Option<String>,
    },
    /// Somebody has another role.
    #[serde(rename = "member.changed")]
    MemberChanged {
        #[serde(rename = "conversationId")]
        conversation_id: String,
        #[serde(rename = "userId")]
        user_id: String,
        role: ChatRole,
    },
    /// The group is called otherwise, or shows those who join something else.
    #[serde(rename = "conversation.changed")]
    Changed {
        #[serde(rename = "conversationId")]
        conversation_id: String,
        #[schema(required = true)]
        title: Option<String>,
        #[serde(rename = "historyForNew")]
        history_for_new: bool,
    },
}

impl ChatUpdate {
    pub(super) fn of_members(chat_id: &str, change: &MembersChange) -> Self {
        let conversation_id = chat_id.to_owned();
        match change.clone() {
            MembersChange::Added(user_ids) => Self::MemberAdded { conversation_id, user_ids },
            MembersChange::Removed { user_id, owner } => {
                Self::MemberRemoved { conversation_id, user_id, owner_id: owner }
            }
            MembersChange::Role { user_id, role } => Self::MemberChanged { conversation_id, user_id, role },
        }
    }
}

/// What the personal channel publishes of the own list of conversations.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum ListUpdate {
    /// A conversation stands otherwise in the list. Of new messages it is told once a second at most, in large groups less often.
    #[serde(rename = "chat.listed")]
    Listed {
        #[serde(rename = "conversationId")]
        conversation_id: String,
        folder: ChatFolder,
        #[serde(rename = "lastSeq")]
        last_seq: u64,
        #[serde(rename = "readSeq")]
        read_seq: u64,
        /// Rises when messages are said to be unread again.
        #[serde(rename = "readVersion")]
        read_version: u64,
        #[serde(rename = "activeAt")]
        active_at: Time,
    },
}

impl ListUpdate {
    pub(super) fn of(chat_id: &str, row: &Listed) -> Self {
        Self::Listed {
            conversation_id: chat_id.to_owned(),
            folder: ChatFolder::of(row),
            last_seq: row.last,
            read_seq: row.read,
            read_version: row.read_version,
            active_at: row.at.into(),
        }
    }

    /// Publishes it to a user.
    pub(super) fn effect(&self, user_id: &str) -> Result<Effect, StoreError> {
        Effect::publish(personal_channel(user_id), self)
    }
}
