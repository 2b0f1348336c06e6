//! What clients write and read of conversations; `updates.rs` has what channels publish of them.

use std::collections::BTreeMap;

use deserr::{Deserr, ValuePointerRef};
use mundotango_gateway::input::{BadFields, Choice, Given, Maybe, Param, Time, UpTo, Whole};
use mundotango_gateway::problem::{FieldCode, FieldError};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::kinds::{ChatKind, ListState, Listed, Numbered};
use super::rules::{ChatRole, MOST_ADDED, MOST_ATTACHMENTS, MOST_MENTIONS};
use crate::community::Person;
use crate::community::posts::rules::ReactionType;
use crate::texts::{AttachmentAddress, Id, MessageText, Title};

/// The number of a message.
type Seq = Whole<1, { u32::MAX }>;

/// A conversation to begin: with somebody, or a group.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = one_kind -> BadFields)]
#[schema(rename_all = "camelCase", example = json!({"title": "Tango camp", "memberIds": [], "historyForNew": false}))]
pub(super) struct NewConversation {
    /// The other person of a direct conversation.
    #[deserr(default)]
    #[schema(value_type = Option<Id>)]
    pub(super) user_id: Maybe<Id>,
    /// What a group is called.
    #[deserr(default)]
    #[schema(value_type = Option<Title>)]
    pub(super) title: Maybe<Title>,
    /// Who is in the group beside the caller; more can be added later.
    #[deserr(default)]
    #[schema(value_type = Vec<Id>, max_items = 100, required = false)]
    pub(super) member_ids: Given<UpTo<Id, MOST_ADDED>>,
    /// Whether those who join the group later see what was said before. Not, if absent.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    pub(super) history_for_new: Given<bool>,
}

fn one_kind(body: NewConversation, _at: ValuePointerRef<'_>) -> Result<NewConversation, BadFields> {
    let wrong = |field, code, message| Err(FieldError::new(field, code, message).into());
    match (&body.user_id, &body.title) {
        (Maybe::Value(_), Maybe::Value(_)) => {
            wrong("title", FieldCode::Contradiction, "does not go together with userId")
        }
        (Maybe::Value(_), _) if body.member_ids.0.is_some() || body.history_for_new.0.is_some() => {
            wrong("userId", FieldCode::Contradiction, "does not go together with what groups have")
        }
        (Maybe::Value(_), _) | (_, Maybe::Value(_)) => Ok(body),
        _ => wrong("title", FieldCode::Missing, "is required where there is no userId"),
    }
}

/// What is to change about a group.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
pub(super) struct ConversationChange {
    /// What it is called.
    #[deserr(default)]
    #[schema(value_type = Title, required = false)]
    pub(super) title: Given<Title>,
    /// Whether those who join see what was said before.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    pub(super) history_for_new: Given<bool>,
}

/// A message to send.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = says_something -> BadFields)]
#[schema(rename_all = "camelCase", example = json!({"text": "See you at the milonga?"}))]
pub(super) struct NewMessageBody {
    /// What it says; not needed beside attachments.
    #[deserr(default)]
    #[schema(value_type = Option<MessageText>)]
    pub(super) text: Maybe<MessageText>,
    /// Addresses of what goes with it.
    #[deserr(default)]
    #[schema(value_type = Vec<AttachmentAddress>, max_items = 10, required = false)]
    pub(super) attachments: Given<UpTo<AttachmentAddress, MOST_ATTACHMENTS>>,
    /// The number of the message that it answers.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub(super) reply_to: Maybe<Seq>,
    /// Members whom it mentions.
    #[deserr(default)]
    #[schema(value_type = Vec<Id>, max_items = 10, required = false)]
    pub(super) mentions: Given<UpTo<Id, MOST_MENTIONS>>,
}

fn says_something(body: NewMessageBody, _at: ValuePointerRef<'_>) -> Result<NewMessageBody, BadFields> {
    let has_attachments = body.attachments.0.as_ref().is_some_and(|list| !list.0.is_empty());
    if matches!(body.text, Maybe::Value(_)) || has_attachments {
        Ok(body)
    } else {
        Err(FieldError::new("text", FieldCode::Missing, "is required where there are no attachments").into())
    }
}

/// What a message is to say.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct MessageChange {
    pub(super) text: MessageText,
}

/// A message's number.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct Marker {
    #[schema(value_type = u32, minimum = 1)]
    pub(super) seq: Seq,
}

/// The message up to which was read.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct ReadTo {
    #[schema(value_type = u32, minimum = 1)]
    pub(super) seq: Seq,
    /// The `readVersion` that the device knew when it was read. Where messages were said to be unread since, nothing changes.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 0, required = false)]
    pub(super) version: Given<Whole<0, { u32::MAX }>>,
}

/// What somebody thinks of a message.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
pub(super) struct MessageReaction {
    #[schema(value_type = ReactionType)]
    pub(super) reaction_type: Choice<ReactionType>,
}

/// People to add to a group.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase", example = json!({"userIds": ["01a22267-5695-774a-9335-497936266a2f"]}))]
pub(super) struct NewMembers {
    #[schema(value_type = Vec<Id>, max_items = 100)]
    pub(super) user_ids: UpTo<Id, MOST_ADDED>,
}

/// What a member is to be.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct RoleBody {
    #[schema(value_type = ChatRole)]
    pub(super) role: Choice<ChatRole>,
}

/// Whether the caller is notified.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct Mute {
    pub(super) muted: bool,
    /// For how long; for ever if absent.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 1, maximum = 8760, required = false)]
    pub(super) hours: Given<Whole<1, 8_760>>,
}

/// Whether the caller puts it away.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct Archive {
    pub(super) archived: bool,
}

/// What the list of conversations is narrowed to.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConversationsQuery {
    /// Which of them; `inbox` if absent.
    #[deserr(default)]
    #[param(value_type = Option<ChatFolder>)]
    pub(super) folder: Option<Choice<ChatFolder>>,
}

/// Which messages are wanted; the last ones where it does not say.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MessagesQuery {
    /// Those before this number, the last one first.
    #[deserr(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 4_294_967_295_u32)]
    pub(super) before: Option<Param<Seq>>,
    /// Those after this number, the first one first.
    #[deserr(default)]
    #[param(value_type = Option<u32>, minimum = 0, maximum = 4_294_967_295_u32)]
    pub(super) after: Option<Param<Whole<0, { u32::MAX }>>>,
    /// Most messages; 50 if absent.
    #[deserr(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub(super) limit: Option<Param<Whole<1, 200>>>,
}

/// Where a user keeps a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::community) enum ChatFolder {
    /// Those that the user takes part in.
    Inbox,
    /// Those of people whom the user does not know, which wait for an answer.
    Requests,
    /// Those that the user put away.
    Archived,
    /// Those that the user declined.
    Declined,
}

impl ChatFolder {
    pub(super) fn of(row: &Listed) -> Self {
        match row.state {
            ListState::Request => Self::Requests,
            ListState::Declined => Self::Declined,
            ListState::Open if row.archived => Self::Archived,
            ListState::Open => Self::Inbox,
        }
    }
}

/// A message, as all see it who may.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct MessageView {
    /// Its number: messages of a conversation are numbered from 1 on, without holes. Order by it, and not by times.
    pub(super) seq: u64,
    id: String,
    author_id: String,
    /// Null when the account is gone, cannot be read now, or is not to be seen.
    #[schema(required = true)]
    author: Option<Person>,
    /// Null where it is deleted, or is of attachments alone.
    #[schema(required = true)]
    text: Option<String>,
    attachments: Vec<String>,
    /// The number of the message that it answers.
    #[schema(required = true)]
    reply_to: Option<u64>,
    mentions: Vec<String>,
    /// How many reactions of each kind.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(super) reactions: BTreeMap<ReactionType, u64>,
    created_at: Time,
    #[schema(required = true)]
    edited_at: Option<Time>,
    /// Whether it is deleted: its place stays.
    deleted: bool,
    /// Rises with each change of the message: drop what is older than what you have.
    pub(super) version: u64,
}

impl MessageView {
    pub(super) fn new((seq, message): &Numbered, people: &BTreeMap<String, Person>) -> Self {
        let message = message.clone();
        Self {
            seq: *seq,
            author: people.get(&message.author).cloned(),
            id: message.id,
            author_id: message.author,
            text: message.text,
            attachments: message.attachments,
            reply_to: message.reply_to,
            mentions: message.mentions,
            reactions: message.reactions,
            created_at: message.at.into(),
            edited_at: message.edited_at.map(Time::from),
            deleted: message.deleted_at.is_some(),
            version: message.version,
        }
    }
}

/// A message, as the caller sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct SeenMessage {
    #[serde(flatten)]
    pub(super) message: MessageView,
    /// The caller's own reaction.
    #[schema(required = true)]
    pub(super) my_reaction: Option<ReactionType>,
}

/// A message that was found, and where it is said.
#[derive(Debug)]
pub(in crate::community) struct FoundMessage {
    /// Its id among all messages.
    pub(in crate::community) id: String,
    /// The conversation.
    pub(in crate::community) conversation_id: String,
    pub(in crate::community) message: SeenMessage,
}

impl FoundMessage {
    /// What it says.
    pub(in crate::community) fn text(&self) -> &str {
        self.message.message.text.as_deref().unwrap_or_default()
    }
}

/// Some messages of a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessagesBody {
    /// The last one first; with `after` the first one first.
    pub(super) items: Vec<SeenMessage>,
    /// Whether there may be more in the same direction: go on with the number of the last of these.
    pub(super) has_more: bool,
    /// The number of the last message that the caller sees; 0 if there is none.
    pub(super) last_seq: u64,
}

/// A conversation, as the caller sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConversationView {
    pub(super) id: String,
    pub(super) kind: ChatKind,
    /// What a group is called.
    #[schema(required = true)]
    pub(super) title: Option<String>,
    /// The other person, or some of a group; without those who are gone or not to be seen.
    pub(super) people: Vec<Person>,
    pub(super) member_count: usize,
    /// What the caller is in it; null for who left or was removed.
    #[schema(required = true)]
    pub(super) role: Option<ChatRole>,
    /// Whether those who join see what was said before.
    pub(super) history_for_new: bool,
    pub(super) folder: ChatFolder,
    /// Whether the other side has yet to accept: one message may be sent before that, and sending another is refused with
    /// `request_pending`.
    pub(super) pending: bool,
    /// Until when the caller is not notified.
    #[schema(required = true)]
    pub(super) muted_until: Option<Time>,
    #[schema(required = true)]
    pub(super) last_message: Option<MessageView>,
    /// The number of the last message that the caller sees; 0 if there is none.
    pub(super) last_seq: u64,
    /// The message up to which the caller has read.
    pub(super) read_seq: u64,
    /// Rises when the caller says on some device that messages are unread again.
    pub(super) read_version: u64,
    /// Messages of others that the caller has not read.
    pub(super) unread: u64,
    /// Whether there may be more than `unread` says: no more than 100 are counted.
    pub(super) unread_is_capped: bool,
    pub(super) created_at: Time,
    /// When somebody wrote last, or the caller joined.
    pub(super) active_at: Time,
}

/// Up to where somebody has read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReadMarker {
    pub(super) user_id: String,
    pub(super) seq: u64,
}

/// A conversation, with how far others have read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConversationPage {
    #[serde(flatten)]
    pub(super) conversation: ConversationView,
    /// Of those who accepted; none where more than 50 are members.
    pub(super) read_markers: Vec<ReadMarker>,
}

/// Somebody in a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemberView {
    pub(super) user_id: String,
    /// Null when the account is gone, cannot be read now, or is not to be seen.
    #[schema(required = true)]
    pub(super) user: Option<Person>,
    pub(super) role: ChatRole,
    pub(super) joined_at: Time,
}

/// Where the caller has read, and what is unread since.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReadView {
    pub(super) read_seq: u64,
    /// Rises when messages are said to be unread again: what was read before a device heard of it does not count.
    pub(super) read_version: u64,
    pub(super) unread: u64,
    pub(super) unread_is_capped: bool,
}
