//! Making an event, changing it, and calling it off, as its partition keeps it.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Effect, Wants};
use serde::Serialize;

use super::counts::TellCounts;
use super::listing::all_entries;
use super::live_counts;
use super::rules::{Cancelled, MOST_MOVES};
use super::schedule::Schedule;
use super::seating::{EventPart, Promoted, promote};
use super::store::{EVENTS, Edited, Event, EventError, EventStore, Facts, still_on, still_to_come};
use crate::community::effects::Effect as Changed;
use crate::community::search::kinds::EVENT;

/// A change of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The event before it.
    pub before: Event,
    /// The event after it.
    pub after: Event,
    /// When those who answered are to be told, where time or place are others and that is still to be arranged.
    pub tell_moved: Option<Timestamp>,
    /// Those who waited and have places by it.
    pub promoted: Promoted,
    /// When those who look at lists are to be told of counts that are others by it, where that is still to be arranged.
    pub tell_counts: Option<TellCounts>,
}

/// Puts what is wanted of an event in the place of what it is.
pub(super) fn replace(
    part: &mut EventPart<'_>,
    before: Event,
    edited: Edited,
    now: Timestamp,
) -> Result<Change, StoreError> {
    let is_move = edited.plan.when.differs_from(&before.when) || edited.plan.location != before.location;
    let is_seen = !before.is_draft && !before.is_suspended;
    let tell_moved =
        if is_move && is_seen { part.head.note_move(&before.when, &before.location, now) } else { None };
    part.head.plan = Some(Box::new(edited.plan));
    part.head.settings = Some(Box::new(edited.settings));
    part.head.note_change(is_move, now);
    let promoted = if is_seen { promote(part, &before.id, now) } else { Promoted::default() };
    let after = Event::in_part(&before.id, part);
    let counted = |event: &Event| (event.counts, event.going, event.held);
    let tell_counts = if counted(&before) == counted(&after) { None } else { live_counts::note(part, now) };
    // Those of before lead to an event that starts at another time, and are left out.
    for entry in all_entries(&after)? {
        part.enter(entry);
    }
    Ok(Change { before, after, tell_moved, promoted, tell_counts })
}

impl EventStore {
    /// Adds an event, with what that causes. Its id is a UUID of version 7.
    pub async fn create(&self, event: &Event, effects: &[Effect]) -> Result<(), StoreError> {
        self.db().create(&EVENTS, &event.id, &Facts::of(event), &all_entries(event)?, effects).await
    }

    /// Changes an event; as it is then, `None` if there is none. `edit` makes the event that is wanted of the one that is, and
    /// `effects` are what the change causes.
    ///
    /// Limits below those who are going are refused; higher ones give places to those who wait, in the same change.
    pub async fn change<E: Serialize>(
        &self,
        event_id: &str,
        now: Timestamp,
        edit: impl Fn(Edited) -> Edited + Send + 'static,
        effects: impl Fn(&Change) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Event>, EventError> {
        let id = event_id.to_owned();
        self.db()
            .change(&EVENTS, event_id, Wants::head(), move |part| {
                let before = Event::in_part(&id, part);
                if before.is_suspended {
                    return Err(EventError::Suspended);
                }
                if !before.is_draft {
                    still_to_come(part, now)?;
                }
                let edited = edit(before.edited());
                if edited == before.edited() {
                    return Ok(Decision::Stands(before));
                }
                let limits = edited.settings.limits;
                if let Some(limit) = limits.broken_by(part.head.seated())
                    && limits != before.settings.limits
                {
                    return Err(EventError::BelowGoing(limit, part.head.seated()));
                }
                let is_move =
                    edited.plan.when.differs_from(&before.when) || edited.plan.location != before.location;
                if is_move && part.head.moves >= MOST_MOVES {
                    return Err(EventError::MovedTooOften);
                }
                if part.facts.is_of_series() {
                    let following = part.head.following.get_or_insert_default();
                    following.own.extend(edited.differing(&before.edited()));
                }
                let change = replace(part, before, edited, now)?;
                for effect in effects(&change)? {
                    part.emit(&effect)?;
                }
                part.emit(&Changed::changed(EVENT, &id))?;
                Ok(Decision::Write(change.after))
            })
            .await
    }

    /// Shows a draft to everybody; as it is then, `None` if there is none. `effects` are what that causes.
    pub async fn publish<E: Serialize>(
        &self,
        event_id: &str,
        now: Timestamp,
        effects: impl Fn(&Event) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Event>, EventError> {
        let id = event_id.to_owned();
        self.db()
            .change(&EVENTS, event_id, Wants::head(), move |part| {
                if !part.facts.is_draft(&part.head) {
                    return Ok(Decision::Stands(Event::in_part(&id, part)));
                }
                part.head.is_published = true;
                still_to_come(part, now)?;
                part.head.note_change(false, now);
                let after = Event::in_part(&id, part);
                for entry in all_entries(&after)? {
                    part.enter(entry);
                }
                for effect in effects(&after)? {
                    part.emit(&effect)?;
                }
                part.emit(&Changed::changed(EVENT, &id))?;
                Ok(Decision::Write(after))
            })
            .await
    }

    /// Notes that an event does not take place; as it is then, `None` if there is none. `effects` are what that causes.
    pub async fn cancel<E: Serialize>(
        &self,
        event_id: &str,
        cancelled: Cancelled,
        effects: impl Fn(&Event) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Event>, EventError> {
        let id = event_id.to_owned();
        self.db()
            .change(&EVENTS, event_id, Wants::head(), move |part| {
                if part.head.cancelled.is_some() {
                    return Ok(Decision::Stands(Event::in_part(&id, part)));
                }
                if !part.facts.is_draft(&part.head) {
                    still_on(part, cancelled.at)?;
                }
                part.head.cancelled = Some(Box::new(cancelled.clone()));
                part.head.note_change(true, cancelled.at);
                let after = Event::in_part(&id, part);
                for effect in effects(&after)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(after))
            })
            .await
    }

    /// Takes what those who answered are to be told of a move: `tell` makes what tells them, of the event and of what they knew.
    pub async fn take_move<E: Serialize>(
        &self,
        event_id: &str,
        tell: impl Fn(&Event, &Schedule) -> Result<E, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let id = event_id.to_owned();
        let taken = self.db().change(&EVENTS, event_id, Wants::head(), move |part| {
            // What is taken away is told once it is given back.
            let is_told = part.head.hidden_by.is_empty();
            let Some(from) = part.head.moved_from.take_if(|_| is_told) else {
                return Ok::<_, StoreError>(Decision::Stands(()));
            };
            let event = Event::in_part(&id, part);
            // Moved to and fro is not moved.
            if event.when.differs_from(&from.when) || event.location != from.location {
                part.emit(&tell(&event, &from.when)?)?;
            }
            Ok(Decision::Write(()))
        });
        taken.await.map(drop)
    }

    /// Takes the answers of which the host is to be told now: how many, and `tell` makes what tells the host.
    pub async fn take_untold<E: Serialize>(
        &self,
        event_id: &str,
        tell: impl Fn(&Event, u32) -> Result<E, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let id = event_id.to_owned();
        let taken = self.db().change(&EVENTS, event_id, Wants::head(), move |part| {
            let count = part.head.take_untold();
            if count == 0 {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            let event = Event::in_part(&id, part);
            part.emit(&tell(&event, count)?)?;
            Ok(Decision::Write(()))
        });
        taken.await.map(drop)
    }
}
