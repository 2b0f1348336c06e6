//! What requests and answers about support tickets look like.

use std::collections::BTreeMap;

use deserr::Deserr;
use mundotango_gateway::input::{BadFields, Choice, Time};
use mundotango_storage::now;
use serde::Serialize;
use utoipa::ToSchema;

use super::rules::{End, Voice};
use super::store::{Message, Tickets};
use crate::community::Person;
use crate::community::admin::bodies::{Version, WorkBody};
use crate::community::admin::desk::Kept;
use crate::texts::{TicketText, Title};

/// What somebody needs help with.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({"subject": "My ticket for Saturday", "text": "I paid, and have no place."}))]
pub(super) struct NewTicket {
    /// What it is about, in a line.
    pub(super) subject: Title,
    pub(super) text: TicketText,
}

/// To whom the staff says something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TicketReplyTo)]
pub(super) enum To {
    /// To the member, who is told of it.
    #[default]
    Member,
    /// To the staff alone: a note.
    Staff,
}

/// What is said in a ticket.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct TicketReplyBody {
    pub(super) text: TicketText,
    /// To whom the staff says it; to the member if absent. Members say what they say to the staff.
    #[deserr(default)]
    #[schema(value_type = To, required = false)]
    pub(super) to: Choice<To>,
    /// The version that the caller saw: where there is another one by now, nothing is said.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 0, required = false)]
    pub(super) version: Version,
}

/// A step of the member's own.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct OwnStep {
    /// The version that the caller saw: where there is another one by now, nothing is done.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 0, required = false)]
    pub(super) version: Version,
}

/// Whose tickets are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TicketsOf)]
pub(super) enum Of {
    /// The caller's own.
    Me,
    /// All; for the staff.
    All,
}

/// A ticket.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TicketBody {
    id: String,
    subject: String,
    /// The first message.
    text: String,
    /// The member; null when the account is gone or cannot be read now.
    #[schema(required = true)]
    member: Option<Person>,
    /// Whether the staff has resolved it, or the member has closed it; null while it goes on.
    #[schema(required = true)]
    ended: Option<End>,
    /// When it ended. For 14 days from then on it can be opened again.
    #[schema(required = true)]
    ended_at: Option<Time>,
    #[serde(flatten)]
    work: WorkBody,
}

impl TicketBody {
    /// As members of the staff see it, or its member.
    pub(super) fn new(case: &Kept<Tickets>, is_staff: bool, people: &BTreeMap<String, Person>) -> Self {
        Self {
            id: case.id.clone(),
            subject: case.facts.subject.clone(),
            text: case.facts.text.clone(),
            member: people.get(&case.facts.user_id).cloned(),
            ended: case.own.ended.map(|ended| ended.how),
            ended_at: case.own.ended.map(|ended| ended.at.into()),
            work: WorkBody::new(case, is_staff, now()),
        }
    }
}

/// A message of a ticket.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TicketMessage {
    id: String,
    at: Time,
    /// As whom it was said.
    voice: Voice,
    /// Who said it; null for members where the staff did.
    #[schema(required = true)]
    author_id: Option<String>,
    text: String,
}

impl TicketMessage {
    /// As members of the staff see it, or the ticket's member.
    pub(super) fn new(message: Message, is_staff: bool) -> Self {
        let is_shown = is_staff || message.voice == Voice::Member;
        Self {
            id: message.id,
            at: message.at.into(),
            voice: message.voice,
            author_id: Some(message.author).filter(|_| is_shown),
            text: message.text,
        }
    }
}
