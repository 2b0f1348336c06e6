//! What changes of events cause: who is told, and what is done later.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mundotango_jobs::JobKind;
use mundotango_storage::StoreError;

use super::answers::RsvpOutcome;
use super::bodies::{ALL_CHANNEL, CountsBody, EventBody, EventMessage, RsvpView};
use super::counts::TellCounts;
use super::editing::Change;
use super::handing_on::HandedOn;
use super::live_counts;
use super::refunds;
use super::rules::AttendeeList;
use super::seating::{Promoted, Rsvp};
use super::series;
use super::store::{Event, OfEvent};
use crate::community::effects::Effect;
use crate::community::letters;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::NOTIFICATION;
use crate::community::points::jobs as points;
use crate::community::{Person, personal_channel};

/// Gives places to those who wait, where one change could not give them all, and where holds have ended.
pub(super) static PLACES: JobKind<OfEvent> = JobKind::new("event_places", &NOTIFICATION, 1);

/// Has places given to those who wait, at a time when holds end, or now.
fn places(event: &Event, at: Option<Timestamp>) -> Result<Effect, StoreError> {
    let job = PLACES.job(&OfEvent { event_id: event.id.clone() })?;
    let job = match at {
        Some(at) => job.due(at),
        None => job,
    };
    Ok(Effect::job(job.group(event.id.as_str())))
}

/// What is done later because of when an event is: those who are going are reminded, and points are given once it is over.
pub(super) fn done_later(event: &Event, now: Timestamp) -> Result<Vec<Effect>, StoreError> {
    let mut effects = vec![points::event(event)?];
    effects.extend(letters::events::reminders(event, now, now)?);
    effects.extend(letters::asking::question(event, now, now)?);
    Ok(effects)
}

/// What fell due while an event was taken away, now that it is there again: those who answered hear of a move that nobody has told
/// them of, those who are going are reminded and asked, and points are given. What was done before is not done again.
pub(super) fn announce_given_back(
    event: &Event,
    suspended_at: Option<Timestamp>,
    is_move_untold: bool,
    now: Timestamp,
) -> Result<Vec<Effect>, StoreError> {
    if event.is_draft || !event.takes_place() {
        return Ok(Vec::new());
    }
    let since = suspended_at.unwrap_or(now);
    let mut effects = vec![points::event(event)?];
    effects.extend(letters::events::reminders(event, since, now)?);
    effects.extend(letters::asking::question(event, since, now)?);
    if is_move_untold {
        effects.push(letters::events::moved(&event.id, now)?);
    }
    Ok(effects)
}

/// Publishes what a message says of an event; late, when the event may say something else, only that it is to be looked at.
fn publish(channel: impl Into<String>, event: &Event, message: &EventMessage) -> Result<Effect, StoreError> {
    Effect::publish_now(channel, message, &EventMessage::Outdated { event_id: event.id.clone() })
}

/// Tells those who look at events of a new one, and has those reminded who will be going.
pub(super) fn announce_new(
    event: &Event,
    people: &BTreeMap<String, Person>,
    now: Timestamp,
) -> Result<Vec<Effect>, StoreError> {
    let message = EventMessage::Created { event: Box::new(EventBody::new(event.clone(), people)) };
    let mut effects = vec![publish(ALL_CHANNEL, event, &message)?];
    effects.extend(done_later(event, now)?);
    Ok(effects)
}

/// Tells those who waited of their places, and has more places given where there are more.
fn announce_promoted(event: &Event, promoted: &Promoted) -> Result<Vec<Effect>, StoreError> {
    let mut effects = Vec::new();
    for rsvp in &promoted.answers {
        let message = EventMessage::Promoted { rsvp: rsvp.clone().into(), title: event.title.clone() };
        effects.push(Effect::publish(personal_channel(&rsvp.user_id), &message)?);
        effects.push(letters::events::promoted(&rsvp.user_id, &rsvp.event_id)?);
        let (kind, stale_at) = match rsvp.held_until {
            Some(until) => (NotificationKind::EventOffered, until),
            None => (NotificationKind::EventPromoted, event.when.over_at()),
        };
        effects.push(letters::events::tell(event, kind, Some(stale_at)).effect(&rsvp.user_id)?);
    }
    // Those of one change are held until the same time.
    if let Some(until) = promoted.answers.iter().find_map(|rsvp| rsvp.held_until) {
        effects.push(places(event, Some(until))?);
    }
    if promoted.has_more {
        effects.push(places(event, None)?);
    }
    Ok(effects)
}

/// What those hear who look at an event, of an answer and of those who got places.
fn answered(event: &Event, rsvp: Option<&Rsvp>, promoted: &Promoted) -> Result<Effect, StoreError> {
    let is_told = event.settings.attendees == AttendeeList::Everyone;
    let view = |rsvp: &Rsvp| RsvpView::from(rsvp.clone());
    let message = EventMessage::Answered {
        rsvp: rsvp.filter(|_| is_told).map(view),
        counts: CountsBody::of(event),
        promoted: promoted.answers.iter().filter(|_| is_told).map(view).collect(),
        version: event.version,
    };
    // Late, it may be told to fewer who comes.
    publish(format!("event:{}", event.id), event, &message)
}

/// Tells those who look at an event of an answer to it, and whoever got a place by it.
pub(super) fn announce_answer(outcome: &RsvpOutcome) -> Result<Vec<Effect>, StoreError> {
    let mut effects = announce_promoted(&outcome.event, &outcome.promoted)?;
    if let Some(until) = outcome.rsvp.held_until {
        effects.push(places(&outcome.event, Some(until))?);
    }
    if let Some(at) = outcome.tell_host {
        effects.push(letters::events::untold(&outcome.event.id, at)?);
    }
    effects.push(answered(&outcome.event, Some(&outcome.rsvp), &outcome.promoted)?);
    effects.extend(live_counts::tell(&outcome.event, outcome.tell_counts)?);
    Ok(effects)
}

/// Tells those who look at an event that a place went from one to another, and whoever got a place by it.
pub(super) fn announce_handed_on(handed: &HandedOn) -> Result<Vec<Effect>, StoreError> {
    let mut effects = announce_answer(&handed.taken)?;
    effects.push(answered(&handed.taken.event, Some(&handed.giver), &Promoted::default())?);
    Ok(effects)
}

/// Tells those who look at an event of places that were given by a change of it, and those who have them.
pub(super) fn announce_places(
    event: &Event,
    promoted: &Promoted,
    tell_counts: Option<TellCounts>,
) -> Result<Vec<Effect>, StoreError> {
    let mut effects = announce_promoted(event, promoted)?;
    effects.push(answered(event, None, promoted)?);
    effects.extend(live_counts::tell(event, tell_counts)?);
    Ok(effects)
}

/// Tells those who look at events of a change, has those told who answered, if time or place are others, and tells those who
/// have places by it.
pub(in crate::community) fn announce_change(
    change: &Change,
    people: &BTreeMap<String, Person>,
    now: Timestamp,
) -> Result<Vec<Effect>, StoreError> {
    let after = &change.after;
    if after.is_draft {
        return Ok(Vec::new());
    }
    let message = EventMessage::Changed { event: Box::new(EventBody::new(after.clone(), people)) };
    let mut effects = vec![publish(ALL_CHANNEL, after, &message)?];
    effects.extend(tell_of_change(change, people, now)?);
    effects.extend(series::jobs::note(after)?);
    Ok(effects)
}

/// The same for a change that came from the event's series, of which all who look at events hear once, and so do those who answered.
pub(super) fn tell_of_change(
    change: &Change,
    people: &BTreeMap<String, Person>,
    now: Timestamp,
) -> Result<Vec<Effect>, StoreError> {
    let Change { before, after, .. } = change;
    let mut effects = Vec::new();
    // Of what is taken away nobody is told what it says.
    if !after.is_suspended {
        let message = EventMessage::Changed { event: Box::new(EventBody::new(after.clone(), people)) };
        effects.push(publish(format!("event:{}", after.id), after, &message)?);
    }
    if before.when.starts_at() != after.when.starts_at() {
        effects.extend(letters::events::reminders(after, now, now)?);
    }
    let asked = |event: &Event| (event.when.starts_at(), event.settings.ask_again);
    if asked(before) != asked(after) {
        effects.extend(letters::asking::question(after, now, now)?);
    }
    if before.when.over_at() != after.when.over_at() {
        effects.push(points::event(after)?);
    }
    if let Some(at) = change.tell_moved {
        effects.push(letters::events::moved(&after.id, at)?);
    }
    if change.promoted.has_more || !change.promoted.answers.is_empty() {
        effects.extend(announce_places(after, &change.promoted, change.tell_counts)?);
    } else {
        effects.extend(live_counts::tell(after, change.tell_counts)?);
    }
    Ok(effects)
}

/// Tells those who look at events that one does not take place, and has those told who answered, and paid back who paid.
pub(in crate::community) fn announce_cancelled(
    event: &Event,
    people: &BTreeMap<String, Person>,
) -> Result<Vec<Effect>, StoreError> {
    if event.is_draft {
        return Ok(Vec::new());
    }
    let mut effects = Vec::new();
    if !event.is_suspended {
        let message = EventMessage::Cancelled { event: Box::new(EventBody::new(event.clone(), people)) };
        effects.push(publish(ALL_CHANNEL, event, &message)?);
    }
    effects.extend(tell_of_cancelling(event, people)?);
    effects.push(letters::events::cancelled(event)?);
    effects.extend(series::jobs::note(event)?);
    Ok(effects)
}

/// The same for one that its series cancelled, of which all who look at events hear once, and so do those who answered.
pub(super) fn tell_of_cancelling(
    event: &Event,
    people: &BTreeMap<String, Person>,
) -> Result<Vec<Effect>, StoreError> {
    let mut effects = vec![refunds::tickets(event)?];
    if !event.is_suspended {
        let message = EventMessage::Cancelled { event: Box::new(EventBody::new(event.clone(), people)) };
        effects.push(publish(format!("event:{}", event.id), event, &message)?);
    }
    Ok(effects)
}
