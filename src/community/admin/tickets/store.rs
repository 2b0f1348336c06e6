//! Support tickets as they are kept: a row for each message.

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::db::{
    Erasure, Export, Fields, Kind, RowRange, Wants, Whose, key, last_part, number, prefix,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

use super::rules::{ANSWERED_WITHIN, Facts, Own, Voice, reopen, say};
use crate::community::admin::desk::{Case, Desk, Kept, Open, Step};
use crate::community::admin::error::WorkError;
use crate::community::admin::work::{Head, Workflow};
use crate::community::effects::Effect;

/// The tickets.
pub static TICKETS: Kind<Facts, Head<Own>, Row> =
    Kind::new("tickets", "a ticket: 501 messages of 5,000 characters, 10 MB, most far less", PERSONAL);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Author,
        Export::Given,
        Erasure::Removed,
        &[
            "facts.user_id",
            "facts.subject",
            "facts.text",
            "facts.created_at",
            "head.own.ended.how",
            "head.own.ended.at",
            "rows.m.message.id",
            "rows.m.message.at",
            "rows.m.message.voice",
            "rows.m.message.text",
        ],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("it is told by role"),
        Erasure::Anonymous("the answer is the member's too, whoever wrote it"),
        &["head.work.assignee", "rows.m.message.author"],
    ),
    Fields::of_nobody(&[
        "id",
        "head.work.state",
        "head.work.due",
        "head.work.version",
        "head.work.changed_at",
        "head.work.queued_at",
        "head.own.messages",
        "keys.m",
        "keys.i",
        "rows.i.number",
    ]),
];

/// A row of a ticket.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// Below `m`, by number.
    Message(Box<Message>),
    /// Below `i`, by id: the number of a message.
    Number(u64),
}

/// What somebody said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub author: String,
    /// As whom.
    pub voice: Voice,
    /// What.
    pub text: String,
}

/// The workflow of support tickets.
#[derive(Clone, Copy, Debug)]
pub struct Tickets;

impl Case for Tickets {
    type Facts = Facts;
    type Own = Own;
    type Row = Row;

    const WORKFLOW: Workflow = Workflow::Support;
    const WITHIN: SignedDuration = ANSWERED_WITHIN;
    const MOST_OPEN: usize = 20;
    const MANY: &'static str = "open tickets of yours";

    fn kind() -> &'static Kind<Facts, Head<Own>, Row> {
        &TICKETS
    }

    fn opened(facts: &Facts) -> (Timestamp, Option<&str>) {
        (facts.created_at, Some(&facts.user_id))
    }
}

fn message_key(place: u64) -> String {
    key(&["m", &number(place)])
}

impl Desk<Tickets> {
    /// The message of a ticket by its number; `None` if there is none.
    pub async fn message(&self, id: &str, place: u64) -> Result<Option<Message>, StoreError> {
        Ok(match self.db().row(&TICKETS, id, &message_key(place)).await? {
            Some(Row::Message(message)) => Some(*message),
            Some(Row::Number(_)) | None => None,
        })
    }

    /// Adds a message; the ticket as it is then, `None` if there is none. One with the id of a message that is there is that message.
    /// `effects` are what it causes, by its number.
    pub async fn say(
        &self,
        id: &str,
        step: Step,
        message: Message,
        effects: impl Fn(&Kept<Tickets>, u64) -> Result<Vec<Effect>, StoreError> + Send + 'static,
    ) -> Result<Option<Kept<Tickets>>, WorkError> {
        let known = key(&["i", &message.id]);
        let wants = Wants::head().row(&known);
        let rule = move |part: &mut Open<'_, Tickets>| {
            if part.row(&known).is_some() {
                return Ok(false);
            }
            let place = say(&mut part.head, message.voice, message.at)?;
            part.set(message_key(place), Row::Message(Box::new(message.clone())));
            part.set(&known, Row::Number(place));
            Ok(true)
        };
        self.change(id, step, wants, rule, move |case| effects(case, case.own.messages)).await
    }

    /// Opens a ticket again, if its user has room for it; as it is then, `None` if there is none. It goes back to whoever worked on it
    /// last if that is `staff`, and waits for somebody otherwise.
    pub async fn reopen(
        &self,
        ticket: &Kept<Tickets>,
        step: Step,
        staff: Option<String>,
        effects: impl Fn(&Kept<Tickets>) -> Result<Vec<Effect>, StoreError> + Send + 'static,
    ) -> Result<Option<Kept<Tickets>>, WorkError> {
        if ticket.work.is_done() {
            self.take_slot(&ticket.facts.user_id, &ticket.id, step.now).await?;
        }
        let rule = move |part: &mut Open<'_, Tickets>| {
            let is_reopened = reopen(&mut part.head, step.now)?;
            if is_reopened && part.head.work.assignee != staff {
                part.head.work.release();
            }
            Ok(is_reopened)
        };
        self.change(&ticket.id, step, Wants::head(), rule, effects).await
    }

    /// The messages of a ticket besides the first, in their order. Notes are left out where they are not to be seen, so a page may
    /// have fewer than its limit.
    pub async fn messages(
        &self,
        id: &str,
        with_notes: bool,
        page: PageRequest,
    ) -> Result<Page<Message>, StoreError> {
        let (after, skip) = page.start.behind(|place| Some(message_key(place.parse().ok()?)))?;
        let range = RowRange::first(prefix(&["m"]), skip + page.limit).after(after);
        let rows = self.db().rows(&TICKETS, id, &range).await?;
        let next = rows.next.and_then(|key| last_part(&key).parse::<u64>().ok());
        let messages = rows.items.into_iter().skip(skip).filter_map(|(_, row)| match row {
            Row::Message(message) if with_notes || message.voice != Voice::Note => Some(*message),
            Row::Message(_) | Row::Number(_) => None,
        });
        Ok(Page { items: messages.collect(), next: next.map(|place| place.to_string()) })
    }
}
