//! Answers to events: who comes, who waits, and who moves up.

use jiff::Timestamp;
use mundotango_storage::db::{Decision, RowRange, Wants, last_part, prefix};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::Serialize;

use super::counts::TellCounts;
use super::listing;
use super::live_counts;
use super::places::Limit;
use super::rules::{By, NewAnswer, RsvpStatus};
use super::seating::{
    ANSWERS, EventPart, PaidTicket, Promoted, Rsvp, answer, answer_key, answer_of, below, promote, rsvp_of,
    seat_paid, waiting_key,
};
use super::store::{EVENTS, Event, EventError, EventStore, Row, not_suspended, still_to_come};
use crate::community::label;

/// Further behind in a line nobody is told how far.
pub const FURTHEST_POSITION: usize = 500;

/// What came of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct RsvpOutcome {
    /// The user's answer as it stands.
    pub rsvp: Rsvp,
    /// The user's status before.
    pub previous: Option<RsvpStatus>,
    /// Those who waited and got the places that this answer freed.
    pub promoted: Promoted,
    /// The limit that keeps the user waiting.
    pub waits_for: Option<Limit>,
    /// The event with its counts after the change.
    pub event: Event,
    /// When the host is to be told of the answer, where that is still to be arranged.
    pub tell_host: Option<Timestamp>,
    /// When those who look at lists are to be told of the counts, where that is still to be arranged.
    pub tell_counts: Option<TellCounts>,
}

impl RsvpOutcome {
    /// Counts it.
    pub(super) fn count(&self) {
        let (event_type, status) = (label(self.event.event_type), label(self.rsvp.status));
        let promoted = self.promoted.answers.iter().map(|_| "promoted");
        for action in promoted.chain([status.as_str()]) {
            let labels = [event_type.as_str(), action];
            mundotango_ops::metrics().event_rsvps_total.with_label_values(&labels).inc();
        }
    }
}

impl EventStore {
    /// Records a user's answer; `None` if there is no such event.
    ///
    /// However many race, no limit is exceeded: who comes too late is waitlisted, in the order of coming. Places that are
    /// given back go to the first who wait in the same step. Saying again what stands already changes nothing. `effects` are
    /// what an answer that is new causes. What is over or cancelled takes none.
    pub async fn rsvp<E: Serialize>(
        &self,
        event_id: &str,
        user_id: &str,
        new: impl Into<NewAnswer>,
        now: Timestamp,
        effects: impl Fn(&RsvpOutcome) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<RsvpOutcome>, EventError> {
        self.answer(event_id, user_id, By::User(new.into()), now, effects).await
    }

    /// The same for whoever answers.
    pub(super) async fn answer<E: Serialize>(
        &self,
        event_id: &str,
        user_id: &str,
        by: By,
        now: Timestamp,
        effects: impl Fn(&RsvpOutcome) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<RsvpOutcome>, EventError> {
        let (id, user, new) = (event_id.to_owned(), user_id.to_owned(), by.answer());
        let wants = Wants::head().row(answer_key(user_id));
        self.db()
            .change(&EVENTS, event_id, wants, move |part| {
                let before = answer_of(part, &user);
                let previous = before.as_ref().map(|before| before.status);
                let (answered, is_new) = match before.filter(|before| by.leaves(before.status)) {
                    Some(before) => (before, false),
                    None => answer(part, &user, &new, now)?,
                };
                // Nobody moves up at an event that is taken away.
                let moves_up = is_new && not_suspended(part).is_ok();
                let mut promoted = if moves_up { promote(part, &id, now) } else { Promoted::default() };
                // Who joined a line may have moved up at once, past those who wait for the other role.
                let own = promoted.answers.iter().position(|rsvp| rsvp.user_id == user);
                let rsvp = match own {
                    Some(at) => promoted.answers.remove(at),
                    None => rsvp_of(&id, &user, answered),
                };
                // Who toggles an answer does not tell the host each time.
                let owner = part.facts.owner(&part.head);
                let tells = previous.is_none() && rsvp.status != RsvpStatus::Declined && user != owner;
                let tell_host = if is_new && tells && by.tells() { part.head.note_untold(now) } else { None };
                let waits_for = waits_for(part, &rsvp);
                let tell_counts = if is_new { live_counts::note(part, now) } else { None };
                let event = Event::in_part(&id, part);
                let outcome =
                    RsvpOutcome { rsvp, previous, promoted, waits_for, event, tell_host, tell_counts };
                if !is_new {
                    return Ok(Decision::Stands(outcome));
                }
                if outcome.rsvp.status != RsvpStatus::Declined {
                    part.enter(listing::guest_entry(&user, &outcome.event)?);
                }
                for effect in effects(&outcome)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(outcome))
            })
            .await
    }

    /// Gives places for good to a party that paid; the answer then, or `None` inside where there are none to give any longer.
    /// The same payment may be told of again.
    pub async fn take_paid<E: Serialize>(
        &self,
        event_id: &str,
        user_id: &str,
        ticket: PaidTicket,
        now: Timestamp,
        effects: impl Fn(&RsvpOutcome) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Option<Rsvp>>, StoreError> {
        let (id, user) = (event_id.to_owned(), user_id.to_owned());
        let wants = Wants::head().row(answer_key(user_id));
        self.db()
            .change(&EVENTS, event_id, wants, move |part| {
                let before = answer_of(part, &user);
                let previous = before.as_ref().map(|before| before.status);
                let seated = match seat_paid(part, &user, &ticket, now) {
                    Ok(Some(seated)) => seated,
                    Ok(None) | Err(EventError::Over | EventError::Cancelled | EventError::Draft) => {
                        return Ok(Decision::Stands(None));
                    }
                    Err(EventError::Store(error)) => return Err(error),
                    Err(other) => return Err(StoreError::Damaged(other.to_string())),
                };
                let rsvp = rsvp_of(&id, &user, seated);
                if previous == Some(RsvpStatus::Going) {
                    return Ok(Decision::Stands(Some(rsvp)));
                }
                let tell_counts = live_counts::note(part, now);
                let event = Event::in_part(&id, part);
                part.enter(listing::guest_entry(&user, &event)?);
                let outcome = RsvpOutcome {
                    rsvp,
                    previous,
                    promoted: Promoted::default(),
                    waits_for: None,
                    event,
                    tell_host: None,
                    tell_counts,
                };
                for effect in effects(&outcome)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(Some(outcome.rsvp)))
            })
            .await
    }

    /// Gives free places to those who wait, where one change could not give them all. `effects` are what that causes.
    pub async fn promote<E: Serialize>(
        &self,
        event_id: &str,
        now: Timestamp,
        effects: impl Fn(&Event, &Promoted, Option<TellCounts>) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let id = event_id.to_owned();
        let given = self.db().change(&EVENTS, event_id, Wants::head(), move |part| {
            let before = part.head.clone();
            let promoted = match still_to_come(part, now) {
                Ok(()) => promote(part, &id, now),
                Err(_) => Promoted::default(),
            };
            // Also where places were only taken back, whose holds have ended.
            if promoted.answers.is_empty() && part.head == before {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.head.answers += 1;
            let tell_counts = live_counts::note(part, now);
            for effect in effects(&Event::in_part(&id, part), &promoted, tell_counts)? {
                part.emit(&effect)?;
            }
            Ok(Decision::Write(()))
        });
        given.await.map(drop)
    }

    /// A user's answer to an event.
    pub async fn rsvp_of(&self, event_id: &str, user_id: &str) -> Result<Option<Rsvp>, StoreError> {
        let row = self.db().row(&EVENTS, event_id, &answer_key(user_id)).await?;
        Ok(row.and_then(|row| rsvp_in(event_id, user_id, row)))
    }

    /// A user's answers to several events, in their order.
    pub async fn rsvps_of(
        &self,
        event_ids: &[String],
        user_id: &str,
    ) -> Result<Vec<Option<Rsvp>>, StoreError> {
        let rows = self.db().row_of_all(&EVENTS, event_ids, &answer_key(user_id)).await?;
        let answers = event_ids.iter().zip(rows).map(|(id, row)| rsvp_in(id, user_id, row?));
        Ok(answers.collect())
    }

    /// How many wait before a user in the user's line, that user counted; `None` for more than [`FURTHEST_POSITION`].
    pub async fn position(&self, rsvp: &Rsvp) -> Result<Option<usize>, StoreError> {
        let Some((line, place)) = rsvp.place else { return Ok(None) };
        let Some(found) = self.db().read(&EVENTS, &rsvp.event_id).await? else { return Ok(None) };
        let before = found.head.first_in(line).checked_sub(1).map(|before| waiting_key(line, before));
        let range = RowRange::first(prefix(&[below(line)]), FURTHEST_POSITION).after(before);
        let rows = self.db().rows(&EVENTS, &rsvp.event_id, &range).await?;
        let own = waiting_key(line, place);
        Ok(rows.items.iter().position(|(key, _)| *key == own).map(|before| before + 1))
    }

    /// All answers to an event, by user id, which is the cursor.
    pub async fn rsvps(&self, event_id: &str, page: PageRequest) -> Result<Page<Rsvp>, StoreError> {
        let (after, skip) = page.start.behind(|user_id| Some(answer_key(&user_id)))?;
        let range = RowRange::first(prefix(&[ANSWERS]), skip + page.limit).after(after);
        let rows = self.db().rows(&EVENTS, event_id, &range).await?;
        let items = rows.items.into_iter().skip(skip);
        let items = items.filter_map(|(key, row)| rsvp_in(event_id, &last_part(&key), row));
        Ok(Page { items: items.collect(), next: rows.next.map(|key| last_part(&key)) })
    }
}

/// The limit that keeps a user waiting.
pub(super) fn waits_for(part: &EventPart<'_>, rsvp: &Rsvp) -> Option<Limit> {
    if rsvp.status != RsvpStatus::Waitlisted {
        return None;
    }
    let limits = part.facts.settings(&part.head).limits;
    limits.broken_by(part.head.seated().and(rsvp.party.heads()))
}

pub(super) fn rsvp_in(event_id: &str, user_id: &str, row: Row) -> Option<Rsvp> {
    match row {
        Row::Answer(answer) => Some(rsvp_of(event_id, user_id, answer)),
        Row::Waiting(_) | Row::Held(_) | Row::Offered(_) | Row::CoHost(_) => None,
    }
}
