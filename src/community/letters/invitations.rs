//! Letters that calendar programs read as well (iMIP, RFC 6047): an event gets into the calendar of who is going, moves in it, and
//! leaves it. And the letter to who has just said to come, for those who want one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};

use super::events::{letter, tell};
use super::{Letters, Own, Reader};
use crate::community::effects::Effect;
use crate::community::events::answers::RsvpOutcome;
use crate::community::events::calendar_entry;
use crate::community::events::rules::RsvpStatus;
use crate::community::events::store::Event;
use crate::community::notifications::kinds::{NotificationKind, Ways};
use crate::email::{Address, Invitation, Letter, Mailbox};
use crate::icalendar::{self, Calendar, Method, Participants};

/// To somebody who has said to come to an event.
static GOING: JobKind<Going> = letter("rsvp_letter").useless_after(Duration::from_hours(24));

/// How long a further answer is waited for before the letter is sent.
const SENT_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// That a user said to come.
#[derive(Debug, Serialize, Deserialize)]
struct Going {
    user_id: String,
    event_id: String,
    /// When the user said so: the letter is of no use after another answer.
    answered_at: Timestamp,
}

/// Tells a user of the own answer, by the ways by which the user wants that.
pub(in crate::community) fn going(outcome: &RsvpOutcome, ways: Ways) -> Result<Vec<Effect>, StoreError> {
    let (rsvp, event) = (&outcome.rsvp, &outcome.event);
    if !matches!(rsvp.status, RsvpStatus::Going | RsvpStatus::Waitlisted) {
        return Ok(Vec::new());
    }
    let mut effects = Vec::new();
    if ways.in_app || ways.push {
        let told = tell(event, NotificationKind::EventGoing, Some(event.when.over_at()));
        effects.push(told.effect(&rsvp.user_id)?);
    }
    if ways.email {
        let payload =
            Going { user_id: rsvp.user_id.clone(), event_id: event.id.clone(), answered_at: rsvp.updated_at };
        let job = GOING.job(&payload)?.due(rsvp.updated_at + SENT_AFTER);
        effects.push(Effect::job(job.group(event.id.as_str())));
    }
    Ok(effects)
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    pools.handle(&GOING, Own(Arc::clone(letters)))
}

#[async_trait]
impl Handler<Going> for Own {
    async fn run(&self, attempted: &Attempted, job: Going) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(event) = letters.events.event(&job.event_id).await? else { return Ok(()) };
        let Some(answer) = letters.events.rsvp_of(&job.event_id, &job.user_id).await? else { return Ok(()) };
        let status_waiting = match answer.status {
            RsvpStatus::Going => false,
            RsvpStatus::Waitlisted => true,
            RsvpStatus::Held | RsvpStatus::Maybe | RsvpStatus::Declined => return Ok(()),
        };
        let stands = answer.updated_at == job.answered_at && event.takes_place();
        if !stands || event.when.over_at() <= now() {
            return Ok(());
        }
        let kind = NotificationKind::EventGoing;
        let Some(reader) = letters.guest(&job.user_id, &job.event_id, kind).await? else { return Ok(()) };
        let (name, lines) = (reader.name(), letters.lines_of(&event, &reader));
        let letter = Letter::RsvpConfirmed { name, event: lines, status_waiting };
        letters.send_inviting(attempted, &reader, &letter, &event).await
    }
}

impl Letters {
    /// Sends a letter about an event, with what it means to the calendar of its reader. Only who is going has the event in a
    /// calendar by letters.
    pub(super) async fn send_inviting(
        &self,
        attempted: &Attempted,
        reader: &Reader,
        letter: &Letter,
        event: &Event,
    ) -> Result<(), Failure> {
        let answer = self.events.rsvp_of(&event.id, &reader.user.id).await?;
        let is_going = answer.is_some_and(|answer| answer.status == RsvpStatus::Going);
        let made = attempted.enqueued_at();
        let method = if event.cancelled.is_some() { Method::Cancel } else { Method::Request };
        let events = std::slice::from_ref(event);
        let invitation = is_going.then(|| self.invitation_to(method, events, reader, made));
        self.send_with(attempted, reader, &reader.user.email, letter, invitation.as_ref()).await
    }

    /// Events as they are now, for the calendar of who is going. They come from the sender of the letter, as programs take changes
    /// from nobody else.
    pub(super) fn invitation_to(
        &self,
        method: Method,
        events: &[Event],
        reader: &Reader,
        made: Timestamp,
    ) -> Invitation {
        let address = reader.user.email.parse::<Address>();
        let participants = Participants {
            organizer: mailbox(&self.from),
            attendee: icalendar::Mailbox {
                name: Some(reader.name()),
                address: address.map_or_else(|_| reader.user.email.clone(), |address| address.to_string()),
            },
        };
        let entry = |event: &Event| {
            let going = Some(RsvpStatus::Going);
            let mut entry = calendar_entry::entry(event, going, None, &self.site, reader.language);
            entry.stamp = made;
            entry.participants = Some(participants.clone());
            entry
        };
        let entries: Vec<_> = events.iter().map(entry).collect();
        let calendar = Calendar { name: None, method: Some(method), entries: &entries }.text();
        Invitation { method, calendar }
    }
}

fn mailbox(mailbox: &Mailbox) -> icalendar::Mailbox {
    let name = mailbox.name.as_ref().map(|name| name.as_str().to_owned());
    icalendar::Mailbox { name, address: mailbox.address.as_str().to_owned() }
}
