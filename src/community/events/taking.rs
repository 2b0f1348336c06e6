//! What an event takes from the series that it is a date of.

use std::collections::BTreeSet;

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Wants};
use serde::Serialize;

use super::co_hosts::set_role;
use super::editing::{Change, replace};
use super::listing::host_entry;
use super::occurrence::{Field, SeriesRef};
use super::rules::MOST_MOVES;
use super::seating::EventPart;
use super::store::{EVENTS, Edited, Event, EventStore, still_on};
use crate::community::effects::Effect;
use crate::community::search::kinds::EVENT;

/// What a series says of one of its dates.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    /// The date's place.
    pub(super) series: SeriesRef,
    /// The user who owns the series.
    pub(super) host_id: String,
    /// The revision of the series that says so.
    pub(super) rev: u32,
    /// How the event is to be, but for what it has of its own.
    pub(super) edited: Edited,
    /// The revision that gave the date another day, 0 if none did: a time of the event's own was one of the day before.
    pub(super) other_day: u32,
}

fn note_owner_of_series(part: &mut EventPart<'_>, owner: &str) {
    if part.facts.host_of_series(&part.head) != owner {
        part.head.following.get_or_insert_default().host = Some(owner.to_owned());
    }
}

/// Has a date owned by whoever owns its series by now.
fn follow_owner(part: &mut EventPart<'_>, id: &str, owner: &str, now: Timestamp) -> Result<(), StoreError> {
    note_owner_of_series(part, owner);
    if part.facts.owner(&part.head) == owner {
        return Ok(());
    }
    // Who owned it before is a host of the whole series, and offers it to nobody any longer.
    set_role(part, owner, None);
    part.head.owner = Some(owner.to_owned());
    part.head.offered_to = None;
    part.head.note_change(false, now);
    part.enter(host_entry(&Event::in_part(id, part))?);
    Ok(())
}

/// An event as a date of its series.
#[derive(Clone, Debug)]
pub(super) struct Occurrence {
    /// The event.
    pub(super) event: Event,
    /// What it has of its own.
    pub(super) own: BTreeSet<Field>,
}

/// An event, and how far it follows its series.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The event.
    pub event: Event,
    /// The revision of the series that it has taken.
    pub rev: u32,
    /// The revision by which time or place became others last.
    pub moved_by: u32,
}

impl EventStore {
    /// Has an event take what its series says; as it is then, `None` if there is no such event.
    ///
    /// It is the event that decides: it keeps what its hosts gave it of its own, takes no revision twice and none after a later
    /// one, so it does not matter how often and in which order this is called. What is over, cancelled or was given away alone
    /// only notes its place. One that was moved as often as it may be stays where it is, and nobody who has a place loses it by
    /// lower limits.
    pub(super) async fn take<E: Serialize>(
        &self,
        event_id: &str,
        taking: Taking,
        now: Timestamp,
        effects: impl Fn(&Change) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Occurrence>, StoreError> {
        let id = event_id.to_owned();
        self.db()
            .change(&EVENTS, event_id, Wants::head(), move |part| {
                let mut following = part.head.following.take().unwrap_or_default();
                let is_new = following.rev < taking.rev;
                if is_new {
                    if following.rev < taking.other_day {
                        following.own.remove(&Field::Time);
                    }
                    following.rev = taking.rev;
                    following.series = Some(taking.series.clone());
                }
                let own = following.own.clone();
                part.head.following = Some(following);
                let before = Event::in_part(&id, part);
                if !is_new {
                    return Ok(Decision::Stands(Occurrence { event: before, own }));
                }
                // One that was given to who owns the series by now is the series' again.
                let is_of_another = before.is_given_away && before.host_id != taking.host_id;
                if is_of_another {
                    // It stays given away, also if it comes back to who owned the series before.
                    note_owner_of_series(part, &taking.host_id);
                    return Ok(Decision::Write(Occurrence { event: before, own }));
                }
                if still_on(part, now).is_err() {
                    return Ok(Decision::Write(Occurrence { event: before, own }));
                }
                follow_owner(part, &id, &taking.host_id, now)?;
                let before = Event::in_part(&id, part);
                let mut keeps = own.clone();
                if part.head.moves >= MOST_MOVES {
                    keeps.extend([Field::Time, Field::Place]);
                }
                if taking.edited.settings.limits.broken_by(part.head.seated()).is_some() {
                    keeps.insert(Field::Limits);
                }
                let edited = taking.edited.clone().keeping(&keeps, &before.edited());
                if edited == before.edited() {
                    return Ok(Decision::Write(Occurrence { event: before, own }));
                }
                let is_move =
                    edited.plan.when.differs_from(&before.when) || edited.plan.location != before.location;
                let untold = part.head.moved_from.clone();
                let mut change = replace(part, before, edited, now)?;
                if is_move && change.before.is_suspended {
                    // Nobody is told what it says; who answered hears of this date alone once it is given back.
                    let (when, location) = (&change.before.when, &change.before.location);
                    change.tell_moved = None;
                    part.head.note_move(when, location, now);
                } else if is_move {
                    // Who answered is told of all dates of the series at once.
                    part.head.moved_from = untold;
                    change.tell_moved = None;
                    part.head.following.get_or_insert_default().moved_by = taking.rev;
                }
                for effect in effects(&change)? {
                    part.emit(&effect)?;
                }
                part.emit(&Effect::changed(EVENT, &id))?;
                Ok(Decision::Write(Occurrence { event: change.after, own }))
            })
            .await
    }

    /// Events with how far they follow their series; those that are not there are left out.
    pub async fn followed(&self, ids: &[String]) -> Result<Vec<Followed>, StoreError> {
        let found = ids.iter().zip(self.db().read_all(&EVENTS, ids).await?);
        let followed = found.filter_map(|(id, found)| {
            let found = found?;
            let following = found.head.following.as_ref();
            let (rev, moved_by) = following.map_or((0, 0), |following| (following.rev, following.moved_by));
            Some(Followed { rev, moved_by, event: Event::new(id, found) })
        });
        Ok(followed.collect())
    }

    /// An event as a date of its series, as it is now.
    pub(super) async fn occurrence(&self, event_id: &str) -> Result<Option<Occurrence>, StoreError> {
        let found = self.db().read_with(&EVENTS, event_id, &[]).await?;
        Ok(found.map(|(found, _)| {
            let own = found.head.following.as_ref().map(|following| following.own.clone());
            Occurrence { event: Event::new(event_id, found), own: own.unwrap_or_default() }
        }))
    }

    /// The events of these ids, in the ids' order; `None` for those that are not there.
    pub(super) async fn of_ids(&self, ids: &[String]) -> Result<Vec<Option<Event>>, StoreError> {
        let found = ids.iter().zip(self.db().read_all(&EVENTS, ids).await?);
        Ok(found.map(|(id, found)| found.map(|found| Event::new(id, found))).collect())
    }
}
