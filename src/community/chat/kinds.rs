//! What is kept of conversations: a partition a conversation, one for each 1,000 messages of it, and one a user.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mundotango_storage::db::{Erasure, Export, Fields, Kind, Whose, key, number};
use serde::{Deserialize, Serialize};

use super::rules::{ChatRole, Raised, Spans};
use crate::community::policy::ChatPart;
use crate::community::posts::rules::ReactionType;
use crate::community::taken_away::TakenAway;

/// The conversations, with a row for each person who is or was in one.
pub static CHATS: Kind<ChatFacts, ChatHead, Member> = Kind::new(
    "chats",
    "a conversation: 3,000 people who are or were in it, of 1 KB, 3 MB",
    PERSONAL_OF_CHATS,
);
const PERSONAL_OF_CHATS: &[Fields] = &[
    Fields::of(
        Whose::RowUser,
        Export::Given,
        Erasure::RowRemoved,
        &["keys.m", "rows.m.role", "rows.m.joined_at", "rows.m.spans.*.from", "rows.m.spans.*.to"],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("who was added has it as the own list's"),
        Erasure::Anonymous("the group waits for the answer of who was added"),
        &["rows.m.offered_by"],
    ),
    Fields::of(
        Whose::Sides,
        Export::Given,
        Erasure::Anonymous("the conversation is the other side's too"),
        &["facts.pair.*", "head.standing.requested.by", "head.standing.declined.by"],
    ),
    Fields::of_nobody(&[
        "id",
        "facts.kind",
        "facts.created_at",
        "head.title",
        "head.history_for_new",
        "head.members",
        "head.known",
        "head.members_version",
        "head.block",
        "head.standing",
    ]),
];

/// The messages of conversations, 1,000 a partition. A full one takes no more.
pub static CHAT_BLOCKS: Kind<BlockFacts, BlockHead, BlockRow> = Kind::new(
    "chat_blocks",
    "1,000 messages of 0.3 to 30 KB with 20 earlier texts and 200 reactions each; usually 0.5 MB",
    PERSONAL_OF_BLOCKS,
);
const PERSONAL_OF_BLOCKS: &[Fields] = &[
    Fields::of(
        Whose::RowUser,
        Export::Given,
        Erasure::Anonymous("the place of the message is the others' too"),
        &["rows.s.message.author"],
    ),
    Fields::of(
        Whose::RowUser,
        Export::Given,
        Erasure::Emptied,
        &["rows.s.message.text", "rows.s.message.attachments.*"],
    ),
    Fields::of(
        Whose::RowUser,
        Export::Given,
        Erasure::Kept("as long as the conversation: it is the place of the message, and names nobody then"),
        &[
            "rows.s.message.id",
            "rows.s.message.at",
            "rows.s.message.reply_to",
            "rows.s.message.rev",
            "rows.s.message.edited_at",
            "rows.s.message.deleted_at",
        ],
    ),
    Fields::of(
        Whose::RowUser,
        Export::Given,
        Erasure::RowRemoved,
        &["keys.h", "rows.h.earlier.author", "rows.h.earlier.text", "rows.h.earlier.until"],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("it is in the message of its author"),
        Erasure::Anonymous("the message is its author's"),
        &["rows.s.message.mentions.*"],
    ),
    Fields::of(Whose::RowUser, Export::Given, Erasure::RowRemoved, &["keys.r", "rows.r.reaction"]),
    Fields::of_nobody(&[
        "id",
        "facts.first",
        "facts.opened_at",
        "head.count",
        "head.members_version",
        "head.raised.**",
        "keys.s",
        "rows.s.message.version",
        "rows.s.message.hidden_by.*",
        "rows.s.message.reactions.*",
        "keys.i",
        "rows.i.sent",
    ]),
];

/// What each user sees of the own conversations: a row for each.
pub static CHAT_INBOXES: Kind<(), InboxHead, Listed> =
    Kind::new("chat_inboxes", "a user: 2,000 conversations of 250 B, 500 KB", PERSONAL_OF_INBOXES).implicit();
const PERSONAL_OF_INBOXES: &[Fields] = &[
    Fields::of(
        Whose::User,
        Export::Given,
        Erasure::Removed,
        &[
            "id",
            "keys.c",
            "rows.c.state",
            "rows.c.read",
            "rows.c.read_version",
            "rows.c.last",
            "rows.c.at",
            "rows.c.archived",
            "rows.c.muted_until",
            "head.count",
            "head.requests",
        ],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("the group waits for the answer of the list's user"),
        Erasure::Anonymous("the group waits for the answer of the list's user"),
        &["rows.c.offered_by", "head.offers.*"],
    ),
    Fields::of(
        Whose::User,
        Export::NotGiven("it says only how far notifications are"),
        Erasure::Removed,
        &["rows.c.told"],
    ),
];

/// Of what kind a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChatKind {
    /// Between two people.
    Direct,
    /// Among up to 1,000.
    Group,
}

/// What never changes about a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatFacts {
    /// Of what kind it is.
    pub kind: ChatKind,
    /// When it was made.
    pub created_at: Timestamp,
    /// The two people of a direct one, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<[String; 2]>,
}

/// How two people stand to each other in their direct conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Both write.
    #[default]
    Open,
    /// One asked, and the other has not answered.
    Requested {
        /// Who asked.
        by: String,
    },
    /// One declined.
    Declined {
        /// Who declined.
        by: String,
    },
}

/// What changes about a conversation besides its members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatHead {
    /// What a group is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whether who joins sees what was said before.
    #[serde(default)]
    pub history_for_new: bool,
    /// How many are members.
    pub members: usize,
    /// How many are or were members.
    pub known: usize,
    /// Rises whenever somebody may write no more.
    pub members_version: u64,
    /// A block that there is: the last one, or one shortly before it.
    pub block: u64,
    /// How the two of a direct one stand to each other.
    #[serde(default)]
    pub standing: Standing,
}

/// A person who is or was in a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What the person is, or was last.
    pub role: ChatRole,
    /// The messages that the person sees.
    pub spans: Spans,
    /// Since when.
    pub joined_at: Timestamp,
    /// Who added the person, who does not know that one and has not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_by: Option<String>,
}

impl Member {
    /// Whether the person is a member now.
    pub fn is_member(&self) -> bool {
        self.spans.is_open()
    }
}

impl From<Option<&Member>> for ChatPart {
    fn from(member: Option<&Member>) -> Self {
        match member {
            Some(member) if member.is_member() => match member.role {
                ChatRole::Member => Self::Member,
                ChatRole::Admin => Self::Admin,
                ChatRole::Owner => Self::Owner,
            },
            Some(member) if !member.spans.is_empty() => Self::Former,
            _ => Self::None,
        }
    }
}

/// What never changes about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockFacts {
    /// The number of its first message.
    pub first: u64,
    /// When it was made.
    pub opened_at: Timestamp,
}

/// What changes about a block besides its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHead {
    /// How many messages it has.
    pub count: u64,
    /// Who has checked an earlier version of the members checks again before writing.
    pub members_version: u64,
    /// How far members' lists have heard of the messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised: Option<Raised>,
}

/// A row of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockRow {
    /// Below `s`, by number.
    Message(Box<Message>),
    /// Below `h`, by number and revision.
    Earlier(Earlier),
    /// Below `i`, by the id that its request gave it: the number of a message.
    Sent(u64),
    /// Below `r`, by number and user.
    Reaction(ReactionType),
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The id that its request gave it.
    pub id: String,
    /// Who wrote it.
    pub author: String,
    /// When.
    pub at: Timestamp,
    /// What it says; nothing where it is deleted, or is of attachments alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<String>,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// Members whom it mentions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// How often the text was changed.
    #[serde(default)]
    pub rev: u32,
    /// When it was changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<Timestamp>,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// How many reactions of each kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reactions: BTreeMap<ReactionType, u64>,
    /// Rises with each change of the message.
    #[serde(default)]
    pub version: u64,
    /// The decisions of the moderators that take it away: while one does, it is as if it were deleted.
    #[serde(default, skip_serializing_if = "TakenAway::is_empty")]
    pub hidden_by: TakenAway,
}

impl Message {
    /// Whether it is deleted, or a decision takes it away.
    pub fn is_gone(&self) -> bool {
        self.deleted_at.is_some() || !self.hidden_by.is_empty()
    }

    /// As it is seen: one that a decision takes away is as if it were deleted.
    #[must_use]
    pub fn seen(self) -> Self {
        if self.hidden_by.is_empty() || self.deleted_at.is_some() {
            return self;
        }
        Self {
            text: None,
            attachments: Vec::new(),
            mentions: Vec::new(),
            reactions: BTreeMap::new(),
            deleted_at: Some(self.at),
            ..self
        }
    }
}

/// A message with its number.
pub type Numbered = (u64, Message);

/// A text that a message had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Who wrote it.
    pub author: String,
    /// What it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Until when.
    pub until: Timestamp,
}

/// How many conversations a user has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxHead {
    /// In all.
    pub count: u64,
    /// Direct ones that wait for an answer.
    pub requests: u64,
    /// Of each group that waits for an answer, who offers it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offers: Vec<String>,
}

/// Whether a user took a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListState {
    /// Yes.
    Open,
    /// Somebody whom the user does not know asks.
    Request,
    /// No.
    Declined,
}

/// A conversation in a user's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Whether the user took it.
    pub state: ListState,
    /// The message up to which the user has read.
    pub read: u64,
    /// How often the user took that back: who read before hearing of it has not read again.
    #[serde(default)]
    pub read_version: u64,
    /// The last message that the list has heard of.
    pub last: u64,
    /// When something happened last.
    pub at: Timestamp,
    /// Whether it is put away.
    #[serde(default)]
    pub archived: bool,
    /// Until when nobody is notified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<Timestamp>,
    /// The last message that a notification was made for.
    #[serde(default)]
    pub told: u64,
    /// Who offers the group, while it waits for an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_by: Option<String>,
}

impl Listed {
    /// A row as it begins: nothing is read but what there was before, and nothing was told of.
    pub fn new(state: ListState, offered_by: Option<String>, read: u64, at: Timestamp) -> Self {
        Self {
            state,
            read,
            read_version: 0,
            last: 0,
            at,
            archived: false,
            muted_until: None,
            told: read,
            offered_by,
        }
    }

    /// Notes the user's answer.
    pub fn answer(&mut self, state: ListState) {
        (self.state, self.offered_by) = (state, None);
    }
}

/// The partition of a block.
pub fn block_id(chat_id: &str, block: u64) -> String {
    format!("{chat_id}:{block}")
}

/// The row of a member.
pub fn member_key(user_id: &str) -> String {
    key(&["m", user_id])
}

/// The row of a message.
pub fn message_key(seq: u64) -> String {
    key(&["s", &number(seq)])
}

/// The row of a message's earlier text.
pub fn earlier_key(seq: u64, rev: u32) -> String {
    key(&["h", &number(seq), &number(u64::from(rev))])
}

/// The row that tells which message a request made.
pub fn sent_key(id: &str) -> String {
    key(&["i", id])
}

/// The row of a user's reaction.
pub fn reaction_key(seq: u64, user_id: &str) -> String {
    key(&["r", &number(seq), user_id])
}

/// The row of a conversation in a list.
pub fn listed_key(chat_id: &str) -> String {
    key(&["c", chat_id])
}
