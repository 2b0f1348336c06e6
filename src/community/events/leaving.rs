//! What becomes of events and series when somebody leaves the community: what is theirs to give is handed to an editor or does not
//! take place, and the places that they have are given on.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::db::{Db, Decision, Wants};
use mundotango_storage::{PageRequest, PageStart, StoreError};

use super::announce::{announce_answer, announce_cancelled};
use super::bodies::EventBody;
use super::co_hosts::Right;
use super::hosts::HostMessage;
use super::rules::{Cancelled, CoHostRole, RsvpChoice, RsvpStatus};
use super::seating::{answer_key, answer_of, leave};
use super::series::bodies::{EventSeriesBody, SeriesMessage};
use super::series::jobs;
use super::series::state::Series;
use super::series::store::{SeriesError, SeriesStore};
use super::store::{EVENTS, Event, EventError, EventStore};
use crate::community::accounts::store::AccountStore;
use crate::community::effects::Effect;
use crate::community::personal_channel;
use crate::community::search::kinds::EVENT;

/// Events that are looked at together.
const AT_ONCE: usize = 50;
/// Longer than an event lasts.
const LONGEST: SignedDuration = SignedDuration::from_hours(32 * 24);

/// Whether everything is as it is to be, or something still follows by a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is.
    Yes,
    /// Not yet: ask again.
    NotYet,
}

/// Events and series of those who leave.
pub struct LeavingHosts {
    events: EventStore,
    series: SeriesStore,
    accounts: AccountStore,
}

impl LeavingHosts {
    /// Those of a store.
    pub fn new(db: &Db) -> Self {
        Self {
            events: EventStore::new(db.clone()),
            series: SeriesStore::new(db.clone()),
            accounts: AccountStore::new(db.clone()),
        }
    }

    /// Hands over what a user gives and is not over, or cancels it, and gives the user's places on. Doing it again changes nothing.
    pub async fn settle(&self, user_id: &str, now: Timestamp) -> Result<Settled, StoreError> {
        let mut settled = Settled::Yes;
        for id in self.series.hosted(user_id).await? {
            // On the heap, as the futures of changes of series and events are large.
            if Box::pin(self.settle_series(&id, user_id, now)).await? == Settled::NotYet {
                settled = Settled::NotYet;
            }
        }
        if settled == Settled::NotYet {
            // Dates follow their series.
            return Ok(settled);
        }
        let mut start = PageStart::First;
        loop {
            let page =
                self.events.of_host(user_id, now - LONGEST, PageRequest { start, limit: AT_ONCE }).await?;
            for event in page.items.iter().filter(|event| event.when.over_at() > now) {
                Box::pin(self.settle_event(event, user_id, now)).await?;
            }
            let Some(next) = page.next else { break };
            start = PageStart::After(next);
        }
        let mut start = PageStart::First;
        loop {
            let page =
                self.events.of_user(user_id, now - LONGEST, PageRequest { start, limit: AT_ONCE }).await?;
            for (event, _) in page.items {
                self.events.take_out(&event.id, user_id, now).await?;
            }
            let Some(next) = page.next else { return Ok(settled) };
            start = PageStart::After(next);
        }
    }

    /// The first editor who is there.
    async fn heir(&self, hosts: Vec<(String, CoHostRole)>) -> Result<Option<String>, StoreError> {
        let editors = hosts.into_iter().filter(|(_, role)| *role == CoHostRole::Editor);
        let editors: Vec<_> = editors.map(|(user, _)| user).collect();
        Ok(self.accounts.profiles(&editors).await?.into_iter().next().map(|one| one.id))
    }

    async fn settle_event(&self, event: &Event, user_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut hosts = self.events.co_hosts(&event.id).await?;
        if let Some(series) = event.followed_series() {
            hosts.extend(self.series.co_hosts(series).await?);
        }
        let heir = self.heir(hosts).await?;
        match (heir, event.is_draft) {
            (Some(heir), _) if event.cancelled.is_none() => {
                let to = heir.clone();
                let effects = move |event: &Event| {
                    let body = EventBody::new(event.clone(), &BTreeMap::new());
                    let message = HostMessage::TakenOver { event: Box::new(body) };
                    Ok(vec![Effect::publish(personal_channel(&to), &message)?])
                };
                let right = Right::Left(user_id.to_owned());
                refused(self.events.change_owner(&event.id, &heir, right, now, effects).await)
            }
            // Nobody but its owner ever saw it.
            (None, true) => self.events.remove_draft(&event.id).await,
            _ if event.cancelled.is_some() => Ok(()),
            _ => {
                let cancelled = Cancelled { at: now, reason: None };
                let effects = |after: &Event| announce_cancelled(after, &BTreeMap::new());
                refused(self.events.cancel(&event.id, cancelled, effects).await)
            }
        }
    }

    async fn settle_series(&self, id: &str, user_id: &str, now: Timestamp) -> Result<Settled, StoreError> {
        let Some(series) = self.series.series(id).await? else { return Ok(Settled::Yes) };
        if series.owner() != user_id || series.head.cancelled.is_some() {
            return Ok(if series.head.is_settled { Settled::Yes } else { Settled::NotYet });
        }
        let heir = self.heir(self.series.co_hosts(id).await?).await?;
        let outcome = if let Some(heir) = heir {
            let to = heir.clone();
            let effects = move |after: &Series| {
                let series = Box::new(EventSeriesBody::new(after, &BTreeMap::new()));
                let taken = HostMessage::SeriesTakenOver { series: series.clone() };
                Ok(vec![
                    Effect::publish(personal_channel(&to), &taken)?,
                    SeriesMessage::Changed { series }.effect(&after.id)?,
                    jobs::work(&after.id, None)?,
                ])
            };
            self.series.change_owner(id, &heir, Right::Left(user_id.to_owned()), effects).await.map(drop)
        } else {
            let effects = |after: &Series| {
                let series = Box::new(EventSeriesBody::new(after, &BTreeMap::new()));
                let message = SeriesMessage::Cancelled { series };
                Ok(vec![message.effect(&after.id)?, jobs::work(&after.id, None)?])
            };
            self.series.end(id, None, Cancelled { at: now, reason: None }, effects).await.map(drop)
        };
        match outcome {
            Err(SeriesError::Store(error)) => Err(error),
            // While it is divided nothing else is done with it.
            Ok(()) | Err(_) => Ok(Settled::NotYet),
        }
    }
}

/// What is refused is over, or was done before.
fn refused<T>(outcome: Result<T, EventError>) -> Result<(), StoreError> {
    match outcome {
        Err(EventError::Store(error)) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl EventStore {
    /// Takes a user out of an event: an answer to one that is to come is taken back, so that others get the place, nobody waits at
    /// one that is over, and no place is offered by or to the user. What was answered then stays, as a number. Doing it again changes nothing.
    pub async fn take_out(&self, event_id: &str, user_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let answer = self.rsvp_of(event_id, user_id).await?;
        if answer.is_some_and(|answer| answer.status != RsvpStatus::Declined) {
            let declined = RsvpChoice::Declined;
            refused(self.rsvp(event_id, user_id, declined, now, announce_answer).await)?;
            self.stop_waiting(event_id, user_id).await?;
        }
        self.forget_offers(event_id, user_id).await?;
        refused(self.set_co_host(event_id, user_id, None).await)
    }

    /// Removes a draft, which nobody but its hosts ever saw.
    async fn remove_draft(&self, event_id: &str) -> Result<(), StoreError> {
        let changed = Effect::changed(EVENT, event_id);
        let removed = self.db().change(&EVENTS, event_id, Wants::head(), move |part| {
            part.emit(&changed)?;
            Ok::<_, StoreError>(Decision::Delete(()))
        });
        removed.await.map(drop)
    }

    /// Takes the answer away of one who waits, or holds a place, where nothing comes of it any more.
    async fn stop_waiting(&self, event_id: &str, user_id: &str) -> Result<(), StoreError> {
        let (user, key) = (user_id.to_owned(), answer_key(user_id));
        let stopped = self.db().change(&EVENTS, event_id, Wants::head().row(&key), move |part| {
            let waits = |status| matches!(status, RsvpStatus::Waitlisted | RsvpStatus::Held);
            let Some(before) = answer_of(part, &user).filter(|before| waits(before.status)) else {
                return Ok::<_, StoreError>(Decision::Stands(()));
            };
            leave(part, &user, &before);
            part.remove(&key);
            part.head.answers += 1;
            Ok(Decision::Write(()))
        });
        stopped.await.map(drop)
    }
}

impl SeriesStore {
    /// Takes a user out of a series: who was always coming no longer does, and is no host beside the owner.
    pub async fn take_out(&self, id: &str, user_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let outcomes = [
            self.attend(id, user_id, false, now, || Ok(Vec::<Effect>::new())).await,
            self.set_co_host(id, user_id, None).await,
        ];
        for outcome in outcomes {
            match outcome {
                Err(SeriesError::Store(error)) => return Err(error),
                Err(error @ SeriesError::Dividing) => return Err(StoreError::Unavailable(error.to_string())),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }
}
