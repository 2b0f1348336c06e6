//! Letters about support tickets: what the other side answered.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use super::events::letter;
use super::{Letters, Own};
use crate::community::admin::tickets::rules::Voice;
use crate::community::effects::Effect;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::roles::Role;
use crate::email::Letter;

/// To one side of a ticket, of what the other side said.
static REPLY: JobKind<ToSide> = letter("ticket_letter").useless_after(Duration::from_hours(7 * 24));

#[derive(Debug, Serialize, Deserialize)]
struct ToSide {
    ticket_id: String,
    user_id: String,
    /// The number of the message.
    number: u64,
}

/// The letter that tells a user of a message in a ticket.
pub(in crate::community) fn reply(ticket: &str, user: &str, number: u64) -> Result<Effect, StoreError> {
    let payload = ToSide { ticket_id: ticket.to_owned(), user_id: user.to_owned(), number };
    Ok(Effect::job(REPLY.job(&payload)?.group(ticket)))
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    pools.handle(&REPLY, Own(Arc::clone(letters)))
}

/// Whether somebody reads what is said in a member's ticket: the member, and who is of the staff now.
fn reads(user_id: &str, role: Role, member: &str) -> bool {
    user_id == member || role >= Role::Moderator
}

#[async_trait]
impl Handler<ToSide> for Own {
    async fn run(&self, attempted: &Attempted, job: ToSide) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(ticket) = letters.tickets.case(&job.ticket_id).await? else { return Ok(()) };
        let said = letters.tickets.message(&ticket.id, job.number).await?;
        let Some(said) = said.filter(|said| said.voice != Voice::Note) else { return Ok(()) };
        let kind = NotificationKind::TicketReplied;
        let reader = letters.guest(&job.user_id, &ticket.id, kind).await?;
        let member = &ticket.facts.user_id;
        let Some(reader) = reader.filter(|reader| reads(&reader.user.id, reader.user.role, member)) else {
            return Ok(());
        };
        let letter = Letter::TicketReply {
            name: reader.name(),
            subject: ticket.facts.subject,
            reply: said.text,
            url: format!("{}/support/tickets/{}", letters.public_url, ticket.id),
        };
        letters.send(attempted, &reader, &letter).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_of_the_staff_any_more_gets_no_letter_of_a_members() {
        assert!(reads("mia", Role::Moderator, "ana") && reads("eva", Role::Admin, "ana"));
        assert!(!reads("mia", Role::User, "ana"));
        assert!(reads("ana", Role::User, "ana"));
    }
}
