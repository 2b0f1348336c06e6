//! Tickets: places at events that cost something, as what is paid for. Who answers such an event holds a place for a while, and
//! takes it for good by paying.

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_gateway::problem::Problem;
use mundotango_jobs::Failure;
use mundotango_storage::db::Db;
use mundotango_storage::now;

use super::announce::announce_answer;
use super::answers::RsvpOutcome;
use super::rules::{RsvpChoice, RsvpStatus};
use super::seating::{PaidTicket, Rsvp};
use super::store::{EventError, EventStore};
use crate::community::letters;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::preferences::PreferenceStore;
use crate::community::payments::payable::{Payable, not_payable};
use crate::community::payments::quote::{Line, Quote, SHORTEST_HOLD};
use crate::community::payments::reads::Payment;
use crate::community::payments::state::Place;

/// The tickets of all events.
pub struct Tickets {
    events: EventStore,
    preferences: PreferenceStore,
}

impl Tickets {
    /// The tickets of a store's events.
    pub fn new(db: &Db) -> Self {
        Self { events: EventStore::new(db.clone()), preferences: PreferenceStore::new(db.clone()) }
    }

    /// The place that is held for a user, and until when: a hold that is too short to be paid begins anew if nobody waits.
    async fn held(
        &self,
        event_id: &str,
        user_id: &str,
        now: Timestamp,
    ) -> Result<(Rsvp, Timestamp), Problem> {
        let mut answer = self.events.rsvp_of(event_id, user_id).await?;
        let until = answer.as_ref().and_then(|answer| answer.held_until).filter(|until| *until > now);
        if until.is_some_and(|until| until.duration_since(now) < SHORTEST_HOLD) {
            let choice = RsvpChoice::Going;
            let again = self.events.rsvp(event_id, user_id, choice, now, announce_answer).await?;
            answer = again.map(|outcome| outcome.rsvp);
        }
        let Some(answer) = answer else { return Err(no_place()) };
        match (answer.status, answer.held_until) {
            (RsvpStatus::Held, Some(until)) if until > now => Ok((answer, until)),
            (RsvpStatus::Going, _) => Err(not_payable("you have a place")),
            (RsvpStatus::Waitlisted, _) => {
                Err(not_payable("you wait for a place: it is paid for once one is held for you"))
            }
            (RsvpStatus::Held | RsvpStatus::Maybe | RsvpStatus::Declined, _) => Err(no_place()),
        }
    }
}

fn no_place() -> Problem {
    not_payable("no place is held for you: answer the event first")
}

#[async_trait]
impl Payable for Tickets {
    async fn quote(&self, event_id: &str, payer: &str) -> Result<Quote, Problem> {
        let now = now();
        let event = self.events.event(event_id).await?.ok_or_else(|| Problem::not_found("event"))?;
        if event.is_draft {
            return Err(EventError::Draft.into());
        }
        if event.is_suspended {
            return Err(Problem::not_found("event"));
        }
        if event.cancelled.is_some() {
            return Err(EventError::Cancelled.into());
        }
        if event.when.over_at() <= now {
            return Err(EventError::Over.into());
        }
        let (answer, held_until) = self.held(event_id, payer, now).await?;
        let price =
            event.settings.ticket.ok_or_else(|| not_payable("a place at this event costs nothing"))?;
        Ok(Quote {
            payee: event.host_id,
            title: event.title.clone(),
            currency: price.currency,
            lines: vec![Line {
                name: event.title,
                unit: price.minor,
                quantity: answer.party.heads().total(),
            }],
            held_until,
        })
    }

    async fn paid(&self, event_id: &str, payment: &Payment) -> Result<Place, Failure> {
        let facts = &payment.facts;
        let ways = self.preferences.of(&facts.payer).await?.ways(NotificationKind::EventGoing);
        let effects = move |outcome: &RsvpOutcome| {
            let mut effects = announce_answer(outcome)?;
            effects.extend(letters::invitations::going(outcome, ways)?);
            Ok(effects)
        };
        let people = facts.lines.iter().fold(0, |sum: u32, line| sum.saturating_add(line.quantity));
        let ticket = PaidTicket { payment: payment.id.clone(), people };
        let seated = self.events.take_paid(event_id, &facts.payer, ticket, now(), effects).await?;
        Ok(if seated.flatten().is_some() { Place::Taken } else { Place::NoRoom })
    }

    /// The hold ends by itself, and until then the payer may try again. A job gives the place to who waits for it.
    async fn released(&self, _: &str, _: &Payment) -> Result<(), Failure> {
        Ok(())
    }
}
