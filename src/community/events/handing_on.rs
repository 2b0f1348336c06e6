//! Handing a place on, as the event's partition keeps it: the offer is a field of its giver's answer and a row below its receiver,
//! and taking it is one change of both answers.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, RowRange, Wants, last_part, prefix};
use serde::Serialize;

use super::answers::{RsvpOutcome, waits_for};
use super::handover::{Handover, MOST_OFFERS_TO_ONE, fits_line, fits_place};
use super::listing;
use super::live_counts;
use super::places::Party;
use super::rules::{Answer, RsvpStatus};
use super::seating::{
    EventPart, OFFERED, Rsvp, answer_key, answer_of, end_offer, keep, lapse, leave, offered_key, promote,
    rsvp_of, waiting_key,
};
use super::store::{EVENTS, Event, EventError, EventStore, Row, still_to_come};

/// A place that went over.
#[derive(Clone, Debug, PartialEq)]
pub struct HandedOn {
    /// What it came to for who took it.
    pub taken: RsvpOutcome,
    /// The answer of who gave it.
    pub giver: Rsvp,
}

impl Rsvp {
    /// The offer of the place, if it can be taken.
    pub fn open_offer(&self, event: &Event, now: Timestamp) -> Option<&Handover> {
        let has_one = matches!(self.status, RsvpStatus::Going | RsvpStatus::Waitlisted);
        let is_to_come = event.takes_place() && now < event.when.starts_at();
        self.handover.as_ref().filter(|offer| has_one && is_to_come && offer.is_open(now))
    }
}

/// Fails for an event that has begun, or does not take answers.
fn still_to_begin(part: &EventPart<'_>, id: &str, now: Timestamp) -> Result<Timestamp, EventError> {
    still_to_come(part, now)?;
    let begins_at = Event::in_part(id, part).when.starts_at();
    if now >= begins_at { Err(EventError::Begun) } else { Ok(begins_at) }
}

/// The answer of one whose place can be handed on. Whoever paid, or is to pay, has one by a contract that others are no part of.
fn giver_of(part: &mut EventPart<'_>, user_id: &str) -> Result<Answer, EventError> {
    let answer = answer_of(part, user_id).ok_or(EventError::NoPlace)?;
    let costs = part.facts.settings(&part.head).ticket.is_some();
    match answer.status {
        RsvpStatus::Held => Err(EventError::PlaceIsPaid),
        RsvpStatus::Going if costs || answer.payment.is_some() => Err(EventError::PlaceIsPaid),
        RsvpStatus::Going | RsvpStatus::Waitlisted => Ok(answer),
        RsvpStatus::Maybe | RsvpStatus::Declined => Err(EventError::NoPlace),
    }
}

/// Makes room among the places that are offered to a user: those whose time is over are taken away.
fn make_room(part: &mut EventPart<'_>, below: &str, now: Timestamp) -> Result<(), EventError> {
    let mut over = Vec::new();
    let mut open = 0;
    for (key, row) in part.first(below, MOST_OFFERS_TO_ONE) {
        if matches!(row, Row::Offered(until) if now < *until) {
            open += 1;
        } else {
            over.push(key);
        }
    }
    if open >= MOST_OFFERS_TO_ONE {
        return Err(EventError::OfferedEnough);
    }
    for key in over {
        part.remove(key);
    }
    Ok(())
}

/// Puts one user in the place of another; the answers of both, the giver's first.
fn hand_over(
    part: &mut EventPart<'_>,
    id: &str,
    (from, to): (&str, &str),
    party: Option<Party>,
    now: Timestamp,
) -> Result<(Answer, Answer), EventError> {
    lapse(part, now);
    let is_to = |answer: &Answer| answer.handover.as_ref().is_some_and(|offer| offer.is_to(to, now));
    if !answer_of(part, from).as_ref().is_some_and(is_to) {
        return Err(EventError::NotHanded);
    }
    still_to_begin(part, id, now)?;
    let before = giver_of(part, from)?;
    let own = answer_of(part, to);
    let is_there = |own: &Answer| match own.status {
        RsvpStatus::Going | RsvpStatus::Held => true,
        // One place in the line for another is none.
        RsvpStatus::Waitlisted => before.status == RsvpStatus::Waitlisted,
        RsvpStatus::Maybe | RsvpStatus::Declined => false,
    };
    if own.as_ref().is_some_and(is_there) {
        return Err(EventError::AlreadyThere);
    }
    let party = party.unwrap_or_else(|| before.party.clone());
    let limits = part.facts.settings(&part.head).limits;
    let (known, heads) = (before.party.heads(), party.heads());
    let fits = if before.status == RsvpStatus::Going {
        // Whoever takes the place waits no longer.
        let own = own.as_ref().filter(|own| own.status == RsvpStatus::Waitlisted);
        let own = own.map_or(0, |own| own.party.heads().total());
        fits_place(part.head.seated(), &limits, (known, heads), part.head.counts.waitlisted > own)
    } else {
        fits_line(&limits, before.line, (known, heads))
    };
    fits.map_err(EventError::Unfit)?;
    part.head.answers += 1;
    if let Some(own) = &own {
        leave(part, to, own);
    }
    end_offer(part, from, &before);
    part.head.uncount(before.status, known);
    part.head.count(before.status, heads);
    let mut taken = Answer::new(before.status, now, party);
    if let Some((line, number)) = before.place() {
        (taken.line, taken.number) = (line, Some(number));
        part.set(waiting_key(line, number), Row::Waiting(to.to_owned()));
    }
    let given = keep(part, from, Answer::new(RsvpStatus::Declined, now, Party::default()));
    Ok((given, keep(part, to, taken)))
}

impl EventStore {
    /// Offers the place of a user to another one; the offer, `None` if there is no such event. There is one offer at a time, and
    /// making it again changes nothing. `effects` are what one that is new causes.
    pub async fn offer_place<E: Serialize>(
        &self,
        event_id: &str,
        (from, to): (&str, &str),
        now: Timestamp,
        effects: impl Fn(&Event, &Handover) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Handover>, EventError> {
        let (id, user, to) = (event_id.to_owned(), from.to_owned(), to.to_owned());
        let below = prefix(&[OFFERED, &to]);
        let wants = Wants::head().row(answer_key(from)).first(&below, MOST_OFFERS_TO_ONE);
        self.db()
            .change(&EVENTS, event_id, wants, move |part| {
                lapse(part, now);
                let begins_at = still_to_begin(part, &id, now)?;
                let answer = giver_of(part, &user)?;
                if user == to {
                    return Err(EventError::AlreadyThere);
                }
                if let Some(open) = answer.handover.as_ref().filter(|open| open.is_open(now)) {
                    let is_same = open.to == to;
                    return if is_same {
                        Ok(Decision::Stands(open.clone()))
                    } else {
                        Err(EventError::AlreadyOffered)
                    };
                }
                end_offer(part, &user, &answer);
                make_room(part, &below, now)?;
                let offer = Handover::new(&to, begins_at, now);
                part.set(offered_key(&to, &user), Row::Offered(offer.until));
                keep(part, &user, Answer { handover: Some(offer.clone()), ..answer });
                for effect in effects(&Event::in_part(&id, part), &offer)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(offer))
            })
            .await
    }

    /// Takes back what a user offers.
    pub async fn take_place_back(&self, event_id: &str, from: &str) -> Result<(), StoreError> {
        let (user, wants) = (from.to_owned(), Wants::head().row(answer_key(from)));
        let taken = self.db().change(&EVENTS, event_id, wants, move |part| {
            let Some(answer) = answer_of(part, &user).filter(|answer| answer.handover.is_some()) else {
                return Ok::<_, StoreError>(Decision::Stands(()));
            };
            end_offer(part, &user, &answer);
            keep(part, &user, Answer { handover: None, ..answer });
            Ok(Decision::Write(()))
        });
        taken.await.map(drop)
    }

    /// Takes a user out of all offers at an event: of the own place, and of places to the user.
    pub(super) async fn forget_offers(&self, event_id: &str, user_id: &str) -> Result<(), StoreError> {
        let (user, below) = (user_id.to_owned(), prefix(&[OFFERED, user_id]));
        let wants = Wants::head().row(answer_key(user_id)).first(&below, MOST_OFFERS_TO_ONE);
        let forgotten = self.db().change(&EVENTS, event_id, wants, move |part| {
            let offered = part.first(&below, MOST_OFFERS_TO_ONE).into_iter();
            let rows: Vec<_> = offered.map(|(key, _)| (last_part(&key), key)).collect();
            let mut is_changed = !rows.is_empty();
            for (giver, key) in rows {
                part.remove(key);
                let is_to = |answer: &Answer| answer.handover.as_ref().is_some_and(|offer| offer.to == user);
                if let Some(answer) = answer_of(part, &giver).filter(is_to) {
                    keep(part, &giver, Answer { handover: None, ..answer });
                }
            }
            if let Some(answer) = answer_of(part, &user).filter(|answer| answer.handover.is_some()) {
                end_offer(part, &user, &answer);
                keep(part, &user, Answer { handover: None, ..answer });
                is_changed = true;
            }
            Ok::<_, StoreError>(Decision::write_if(is_changed))
        });
        forgotten.await.map(drop)
    }

    /// Says no to a place that one user offers to another; `None` if there is no such event. `effects` are what that causes.
    pub async fn decline_place<E: Serialize>(
        &self,
        event_id: &str,
        (from, to): (&str, &str),
        now: Timestamp,
        effects: impl Fn(&Event) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<()>, EventError> {
        let (id, user, to) = (event_id.to_owned(), from.to_owned(), to.to_owned());
        let wants = Wants::head().row(answer_key(from));
        self.db()
            .change(&EVENTS, event_id, wants, move |part| {
                let is_to =
                    |answer: &Answer| answer.handover.as_ref().is_some_and(|offer| offer.is_to(&to, now));
                let answer = answer_of(part, &user).filter(is_to).ok_or(EventError::NotHanded)?;
                end_offer(part, &user, &answer);
                keep(part, &user, Answer { handover: None, ..answer });
                for effect in effects(&Event::in_part(&id, part))? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(()))
            })
            .await
    }

    /// Takes a place that one user offers to another, with a party of the other's or the same; `None` if there is no such event.
    ///
    /// Both answers change in one step: who gave the place has declined, and who takes it has it as it was, in the line too. Places
    /// that come free by it go to the first who wait. `effects` are what that causes.
    pub async fn take_place<E: Serialize>(
        &self,
        event_id: &str,
        (from, to): (&str, &str),
        party: Option<Party>,
        now: Timestamp,
        effects: impl Fn(&HandedOn) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<HandedOn>, EventError> {
        let (id, from, to) = (event_id.to_owned(), from.to_owned(), to.to_owned());
        let wants = Wants::head().row(answer_key(&from)).row(answer_key(&to));
        self.db()
            .change(&EVENTS, event_id, wants, move |part| {
                let previous = answer_of(part, &to).map(|before| before.status);
                let (given, taken) = hand_over(part, &id, (&from, &to), party.clone(), now)?;
                let mut promoted = promote(part, &id, now);
                // A smaller party may have moved up at once.
                let own = promoted.answers.iter().position(|rsvp| rsvp.user_id == to);
                let rsvp = match own {
                    Some(at) => promoted.answers.remove(at),
                    None => rsvp_of(&id, &to, taken),
                };
                let tells = previous.is_none() && to != part.facts.owner(&part.head);
                let tell_host = if tells { part.head.note_untold(now) } else { None };
                let waits_for = waits_for(part, &rsvp);
                let tell_counts = live_counts::note(part, now);
                let event = Event::in_part(&id, part);
                part.enter(listing::guest_entry(&to, &event)?);
                let taken =
                    RsvpOutcome { rsvp, previous, promoted, waits_for, event, tell_host, tell_counts };
                let handed = HandedOn { taken, giver: rsvp_of(&id, &from, given) };
                for effect in effects(&handed)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(handed))
            })
            .await
    }

    /// The answers of those who offer their places to a user, of whom there are few.
    pub async fn places_offered(
        &self,
        event: &Event,
        to: &str,
        now: Timestamp,
    ) -> Result<Vec<Rsvp>, StoreError> {
        let range = RowRange::first(prefix(&[OFFERED, to]), MOST_OFFERS_TO_ONE);
        let rows = self.db().rows(&EVENTS, &event.id, &range).await?;
        let mut offered = Vec::new();
        for (key, _) in rows.items {
            let giver = self.rsvp_of(&event.id, &last_part(&key)).await?;
            let is_to = |rsvp: &Rsvp| rsvp.open_offer(event, now).is_some_and(|offer| offer.to == to);
            offered.extend(giver.filter(is_to));
        }
        Ok(offered)
    }
}
