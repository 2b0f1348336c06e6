//! Events that decisions of the moderators take away. Until the time to appeal is over they are suspended: there for their hosts alone,
//! without answers, reminders and changes, and as they were once they are given back: what fell due meanwhile is done then. Where they
//! are not given back, they are cancelled in the end, and who paid is paid back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Wants};

use super::announce::{announce_cancelled, announce_given_back, announce_places};
use super::listing::all_entries;
use super::live_counts;
use super::rules::Cancelled;
use super::seating::promote;
use super::store::{EVENTS, Event, EventStore, still_to_come};
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::search::kinds::EVENT;
use crate::community::taken_away::Change;

impl EventStore {
    /// Suspends an event; whether this decision is a new one that does.
    pub async fn suspend(
        &self,
        id: &str,
        decision: &str,
        act: Act,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (event_id, decision) = (id.to_owned(), decision.to_owned());
        let hidden = self.db().change(&EVENTS, id, Wants::head(), move |part| {
            match part.head.hidden_by.take(&decision)? {
                Change::None => return Ok::<_, StoreError>(Decision::Stands(false)),
                Change::Noted => {}
                Change::Turned => part.head.suspended_at = Some(now),
            }
            part.head.note_change(true, now);
            part.emit(&Effect::audit(act.clone()))?;
            part.emit(&Effect::changed(EVENT, &event_id))?;
            Ok(Decision::Write(true))
        });
        Ok(hidden.await?.unwrap_or_default())
    }

    /// Has this decision suspend an event no longer; whether it is there again by that. While another one suspends it, it is not.
    pub async fn give_back(
        &self,
        id: &str,
        decision: &str,
        act: Act,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (event_id, decision) = (id.to_owned(), decision.to_owned());
        let shown = self.db().change(&EVENTS, id, Wants::head(), move |part| {
            match part.head.hidden_by.give_back(&decision) {
                Change::None => return Ok::<_, StoreError>(Decision::Stands(false)),
                Change::Noted => return Ok(Decision::Write(false)),
                Change::Turned => {}
            }
            let suspended_at = part.head.suspended_at.take();
            part.head.note_change(true, now);
            // Places may have been given back meanwhile.
            if still_to_come(part, now).is_ok() {
                let promoted = promote(part, &event_id, now);
                let tell_counts = live_counts::note(part, now);
                let event = Event::in_part(&event_id, part);
                for effect in announce_places(&event, &promoted, tell_counts)? {
                    part.emit(&effect)?;
                }
            }
            let event = Event::in_part(&event_id, part);
            for effect in announce_given_back(&event, suspended_at, part.head.moved_from.is_some(), now)? {
                part.emit(&effect)?;
            }
            for entry in all_entries(&event)? {
                part.enter(entry);
            }
            part.emit(&Effect::audit(act.clone()))?;
            part.emit(&Effect::changed(EVENT, &event_id))?;
            Ok(Decision::Write(true))
        });
        Ok(shown.await?.unwrap_or_default())
    }

    /// Cancels an event that this decision suspends, once nothing can bring it back: those who answered are told, and who paid is paid
    /// back, also where it would be over by now. What was over before it was suspended stays as it was.
    pub async fn cancel_suspended(
        &self,
        id: &str,
        decision: &str,
        act: Act,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (event_id, decision) = (id.to_owned(), decision.to_owned());
        let cancelled = self.db().change(&EVENTS, id, Wants::head(), move |part| {
            let event = Event::in_part(&event_id, part);
            // It was there until then, and has taken place where it was over.
            let until = part.head.suspended_at.unwrap_or(now);
            let took_place = event.when.over_at() <= until && !event.is_draft;
            if !part.head.hidden_by.has(&decision) || event.cancelled.is_some() || took_place {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.head.cancelled = Some(Box::new(Cancelled { at: now, reason: None }));
            part.head.note_change(true, now);
            for effect in announce_cancelled(&Event::in_part(&event_id, part), &BTreeMap::new())? {
                part.emit(&effect)?;
            }
            part.emit(&Effect::audit(act.clone()))?;
            Ok(Decision::Write(()))
        });
        cancelled.await.map(drop)
    }
}
