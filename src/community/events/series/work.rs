//! Bringing the events of series to what the series say: the work of jobs, and of a request as far as it waits for it.
//!
//! What a series says is decided in its partition alone, and all that follows is found there again: dates without an event,
//! dates whose event has not taken the newest revision, events that are to be cancelled, rows that are another's. So a step may
//! be cut off anywhere, done again, or done by two nodes at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use jiff::civil::DateTime;
use mundotango_jobs::{Attempted, Failure, Handler, NewPools};
use mundotango_storage::db::Db;
use mundotango_storage::{StoreError, now};

use super::jobs::{self, ANSWER_ALL, ANSWER_DATE, NOTE, OfDate, OfSeries, OfUser, WORK};
use super::rules::earlier;
use super::state::{Cut, DateRow, DateState, Doomed, Series};
use super::store::{Noted, SeriesStore, Settled, Work};
use crate::community::accounts::store::AccountStore;
use crate::community::effects::Effect;
use crate::community::events::announce::{announce_answer, done_later, tell_of_cancelling, tell_of_change};
use crate::community::events::editing::Change;
use crate::community::events::occurrence::SeriesRef;
use crate::community::events::rules::By;
use crate::community::events::store::{Event, EventError, EventStore, OfEvent};
use crate::community::events::taking::Taking;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::Tell;
use crate::community::search::kinds::EVENT;
use crate::community::{Person, label, people_of};

/// Events that are worked on at the same time, and noted together. What that causes stays small enough to be done at once.
const AT_ONCE: usize = 10;
/// Steps of a job: more than a series can ever need, as its rows are bounded.
const MOST_STEPS: usize = 300;
/// How often a series may have been divided since an event was.
const MOST_DIVISIONS: usize = 20;

/// Who makes and changes the events of series.
pub struct SeriesWorker {
    pub(super) store: SeriesStore,
    events: EventStore,
    accounts: AccountStore,
}

impl SeriesWorker {
    /// Works on a store.
    pub fn new(db: &Db) -> Self {
        Self {
            store: SeriesStore::new(db.clone()),
            events: EventStore::new(db.clone()),
            accounts: AccountStore::new(db.clone()),
        }
    }

    /// Brings the events of a series to what it says, in so many steps at the most; whether nothing is left.
    pub async fn run(&self, id: &str, now: Timestamp, steps: usize) -> Result<bool, StoreError> {
        for _ in 0..steps {
            if !self.step(id, now).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Does a part of the work; whether there may be more.
    pub async fn step(&self, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let Some(work) = self.store.work(id).await? else { return Ok(false) };
        if let Some(cut) = work.series.head.cut.as_ref().filter(|cut| !cut.is_done) {
            self.hand_over(&work, cut, now).await?;
            return Ok(true);
        }
        if !work.doomed.is_empty() {
            self.cancel(&work).await?;
            return Ok(true);
        }
        let (today, rev) = (work.series.today(now)?, work.series.template().rev);
        let is_busy = |(original, row): &&(DateTime, DateRow)| row.needs_work(*original, rev, today);
        let busy: Vec<_> = work.dates.iter().filter(is_busy).take(AT_ONCE).collect();
        if !busy.is_empty() {
            self.settle(&work, &busy, now).await?;
            return Ok(true);
        }
        let grown = self.store.grow(id, now, |series, grown| {
            let wakes = grown.wakes_at.map(|at| jobs::work(&series.id, Some(at))).transpose()?;
            let tells = if grown.tells_end { Some(tell_of_the_end(series)?) } else { None };
            Ok([wakes, tells].into_iter().flatten().collect::<Vec<_>>())
        });
        Ok(grown.await?.is_some_and(|grown| grown.planned > 0))
    }

    /// Makes events, or has them take what the series says, and notes it.
    async fn settle(
        &self,
        work: &Work,
        busy: &[&(DateTime, DateRow)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let people = people_of(&self.accounts, vec![work.series.owner().to_owned()]).await;
        let settling = busy.iter().map(|(original, row)| self.settle_one(work, *original, row, &people, now));
        let (settled, made): (Vec<_>, Vec<_>) = try_join_all(settling).await?.into_iter().flatten().unzip();
        let made: BTreeMap<_, _> =
            made.into_iter().flatten().map(|event: Event| (event.id.clone(), event)).collect();
        let id = work.series.id.clone();
        let effects = move |one: &Settled, is_awaited| {
            let Some(event) = made.get(&one.event_id) else { return Ok(Vec::new()) };
            begin(&id, event, is_awaited, now)
        };
        let count = self.store.settle(&work.series.id, settled, effects).await?;
        let kind = label(work.series.facts.event_type);
        let created = &mundotango_ops::metrics().events_created_total;
        created.with_label_values(&[&kind]).inc_by(u64::try_from(count).unwrap_or_default());
        Ok(())
    }

    /// What came of one, and its event if it was made; `None` where what it is to be was not known when the series was read.
    async fn settle_one(
        &self,
        work: &Work,
        original: DateTime,
        row: &DateRow,
        people: &BTreeMap<String, Person>,
        now: Timestamp,
    ) -> Result<Option<(Settled, Option<Event>)>, StoreError> {
        let (series, template) = (&work.series, work.series.template());
        let mut settled = Settled {
            original,
            event_id: row.event_id.clone(),
            rev: row.made_by,
            own: row.own.clone(),
            is_cancelled: false,
        };
        if row.state == DateState::Planned {
            // Should it be behind, it takes the rest in the next step.
            let event = self.make(work, original, row).await?;
            return Ok(event.map(|event| (settled, Some(event))));
        }
        let Some(edited) = template.edited(original.date(), &series.facts.zone()?) else { return Ok(None) };
        let taking = Taking {
            series: SeriesRef { id: series.id.clone(), original_start: original },
            host_id: series.owner().to_owned(),
            rev: template.rev,
            edited,
            other_day: row.other_day,
        };
        let of_host = people.clone();
        let effects = move |change: &Change| tell_of_change(change, &of_host, now);
        settled.rev = template.rev;
        if let Some(taken) = self.events.take(&row.event_id, taking, now, effects).await? {
            settled.own = taken.own;
            settled.is_cancelled = taken.event.cancelled.is_some();
        } else {
            tracing::error!(series = series.id, event = row.event_id, "a date's event is gone");
            settled.is_cancelled = true;
        }
        Ok(Some((settled, None)))
    }

    /// Makes a date's event, if what it is made by is known. Making it again changes nothing.
    async fn make(
        &self,
        work: &Work,
        original: DateTime,
        row: &DateRow,
    ) -> Result<Option<Event>, StoreError> {
        let Some(by) = work.template(row.made_by) else { return Ok(None) };
        let event = work.series.event(original, row, by)?;
        // Its effects are those of the row that says it is made: an id as old as the series would put them far back in the outbox.
        self.events.create(&event, &[]).await?;
        Ok(Some(event))
    }

    /// Cancels events that are to be cancelled.
    async fn cancel(&self, work: &Work) -> Result<(), StoreError> {
        let people = people_of(&self.accounts, vec![work.series.owner().to_owned()]).await;
        let some = work.doomed.iter().take(AT_ONCE);
        let cancelled = try_join_all(some.map(|doomed| self.cancel_one(work, doomed, &people))).await?;
        let cancelled: Vec<_> = cancelled.into_iter().flatten().collect();
        self.store.settle_doomed(&work.series.id, cancelled).await
    }

    async fn cancel_one(
        &self,
        work: &Work,
        doomed: &Doomed,
        people: &BTreeMap<String, Person>,
    ) -> Result<Option<String>, StoreError> {
        let row = &doomed.row;
        if row.state == DateState::Planned {
            // Somebody may just be making it: once it is there, making it does not bring it back.
            let Some(_) = self.make(work, doomed.original, row).await? else { return Ok(None) };
        }
        let event = self.events.event(&row.event_id).await?;
        // Who was given the event decides whether it takes place.
        if event.is_some_and(|event| event.is_given_away && event.host_id != work.series.owner()) {
            return Ok(Some(row.event_id.clone()));
        }
        let of_host = people.clone();
        let effects = move |event: &Event| tell_of_cancelling(event, &of_host);
        match self.events.cancel(&row.event_id, doomed.cancelled.clone(), effects).await {
            Err(EventError::Store(error)) => Err(error),
            // What has begun meanwhile takes place.
            Ok(_) | Err(_) => Ok(Some(row.event_id.clone())),
        }
    }

    /// Hands some dates over to the series that goes on.
    async fn hand_over(&self, work: &Work, cut: &Cut, now: Timestamp) -> Result<(), StoreError> {
        let id = &work.series.id;
        if !cut.is_open {
            let rest = work.series.successor(cut);
            self.store.create(&rest, &[jobs::work(&rest.id, None)?.kept()?]).await?;
            self.store.take_habits(&rest.id, self.store.habits(id).await?).await?;
            self.store.take_co_hosts(&rest.id, self.store.co_hosts(id).await?).await?;
            return self.store.note_division(id, &cut.to, |cut| cut.is_open = true).await;
        }
        let is_its = |(original, _): &&(DateTime, DateRow)| original.date() >= cut.from;
        let given: Vec<_> = work.dates.iter().filter(is_its).take(AT_ONCE).cloned().collect();
        if given.is_empty() {
            self.store.note_whole(&cut.to, jobs::work(&cut.to, None)?).await?;
            return self.store.note_division(id, &cut.to, |cut| cut.is_done = true).await;
        }
        let mut made = BTreeMap::new();
        let mut taken = Vec::new();
        for (original, row) in &given {
            let mut row = row.clone();
            if row.state == DateState::Planned {
                let Some(event) = self.make(work, *original, &row).await? else { continue };
                made.insert(event.id.clone(), event);
                row.state = DateState::Made;
            }
            taken.push((*original, row));
        }
        let to = cut.to.clone();
        let effects = move |row: &DateRow, is_awaited| {
            let Some(event) = made.get(&row.event_id) else { return Ok(Vec::new()) };
            begin(&to, event, is_awaited, now)
        };
        self.store.take_dates(&cut.to, taken.clone(), effects).await?;
        self.store.give_dates(id, taken).await
    }

    /// Notes in its series what an event has of its own.
    pub async fn note(&self, event_id: &str) -> Result<(), StoreError> {
        let Some(known) = self.events.occurrence(event_id).await? else { return Ok(()) };
        let Some(SeriesRef { id: mut place, original_start }) = known.event.series else { return Ok(()) };
        let is_cancelled = known.event.cancelled.is_some();
        for _ in 0..MOST_DIVISIONS {
            let own = known.own.clone();
            match self.store.note(&place, original_start, event_id, own, is_cancelled).await? {
                Noted::Done => break,
                Noted::Elsewhere(to) => place = to,
            }
        }
        Ok(())
    }

    /// Answers a date for all who are always coming, in the order in which they began to.
    pub async fn answer_date(
        &self,
        series_id: &str,
        event_id: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for (user_id, _) in self.store.habits(series_id).await? {
            self.answer(event_id, &user_id, now).await?;
        }
        Ok(())
    }

    /// Answers all dates for one who is always coming, also those that a division hands over meanwhile: they are in the series
    /// that goes on before they are gone from the one that was divided.
    pub async fn answer_all(&self, series_id: &str, user_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut place = series_id.to_owned();
        for _ in 0..MOST_DIVISIONS {
            self.answer_dates(&place, user_id, now).await?;
            // Read after the dates, so that those that are missing among them are known to be elsewhere.
            let cut = self.store.series(&place).await?.and_then(|series| series.head.cut);
            let Some(cut) = cut.filter(|cut| cut.is_open) else { break };
            place = cut.to;
        }
        Ok(())
    }

    /// Answers the dates that a series has now.
    async fn answer_dates(&self, series_id: &str, user_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let Some(work) = self.store.work(series_id).await? else { return Ok(()) };
        let yesterday = earlier(work.series.today(now)?, 1);
        // Those that are being made are answered when they are.
        let is_open = |(original, row): &&(DateTime, DateRow)| {
            row.state == DateState::Made && original.date() >= yesterday
        };
        for (_, row) in work.dates.iter().filter(is_open) {
            if !self.store.is_habit(series_id, user_id).await? {
                break;
            }
            self.answer(&row.event_id, user_id, now).await?;
        }
        Ok(())
    }

    async fn answer(&self, event_id: &str, user_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let event = self.events.event(event_id).await?;
        // A place that costs something is for who means to pay for it.
        if event.is_none_or(|event| event.settings.ticket.is_some()) {
            return Ok(());
        }
        match self.events.answer(event_id, user_id, By::Habit, now, announce_answer).await {
            Ok(Some(outcome)) => {
                if outcome.previous != Some(outcome.rsvp.status) {
                    outcome.count();
                }
                Ok(())
            }
            Err(EventError::Store(error)) => Err(error),
            // There is nothing to answer any more.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// The events of dates, in their order; `None` where one is not there yet, or is taken away by a decision of the moderators.
    pub(super) async fn events_of(
        &self,
        dates: &[(DateTime, DateRow)],
    ) -> Result<Vec<Option<Event>>, StoreError> {
        let ids: Vec<_> = dates.iter().map(|(_, row)| row.event_id.clone()).collect();
        let events = self.events.of_ids(&ids).await?.into_iter();
        Ok(events.map(|event| event.filter(|event| !event.is_suspended)).collect())
    }
}

/// What a new event of a series causes: what is done later, and the answers of those who are always coming. That there is a new
/// event is told of the series alone.
fn begin(
    series_id: &str,
    event: &Event,
    is_awaited: bool,
    now: Timestamp,
) -> Result<Vec<Effect>, StoreError> {
    let mut effects = done_later(event, now)?;
    if is_awaited {
        effects.push(jobs::answer_date(series_id, &event.id)?);
    }
    effects.push(Effect::changed(EVENT, &event.id));
    Ok(effects)
}

/// Tells the host that a series ends unless it is renewed.
fn tell_of_the_end(series: &Series) -> Result<Effect, StoreError> {
    let ends = series.head.lives_until(&series.facts).to_zoned_datetime(series.facts.zone()?);
    let tell = Tell {
        kind: NotificationKind::SeriesEnding,
        thing: series.id.clone(),
        title: series.template().title.clone(),
        actor_id: None,
        count: 1,
        stale_at: ends.ok().map(|ends| ends.timestamp()),
    };
    tell.effect(series.owner())
}

/// The jobs of series.
pub fn handled(pools: NewPools, worker: SeriesWorker) -> NewPools {
    let worker = Arc::new(worker);
    let own = || Own(Arc::clone(&worker));
    pools.handle(&WORK, own()).handle(&ANSWER_DATE, own()).handle(&ANSWER_ALL, own()).handle(&NOTE, own())
}

/// The one worker, shared by the kinds of jobs.
struct Own(Arc<SeriesWorker>);

#[async_trait]
impl Handler<OfSeries> for Own {
    async fn run(&self, _: &Attempted, job: OfSeries) -> Result<(), Failure> {
        if self.0.run(&job.series_id, now(), MOST_STEPS).await? {
            return Ok(());
        }
        Err(Failure::retry("the series is not settled yet"))
    }
}

#[async_trait]
impl Handler<OfDate> for Own {
    async fn run(&self, _: &Attempted, job: OfDate) -> Result<(), Failure> {
        Ok(self.0.answer_date(&job.series_id, &job.event_id, now()).await?)
    }
}

#[async_trait]
impl Handler<OfUser> for Own {
    async fn run(&self, _: &Attempted, job: OfUser) -> Result<(), Failure> {
        Ok(self.0.answer_all(&job.series_id, &job.user_id, now()).await?)
    }
}

#[async_trait]
impl Handler<OfEvent> for Own {
    async fn run(&self, _: &Attempted, job: OfEvent) -> Result<(), Failure> {
        Ok(self.0.note(&job.event_id).await?)
    }
}
