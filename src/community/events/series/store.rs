//! The series of a store: each call is one change of one series, or reads one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use mundotango_storage::db::{Db, Decision, Effect, Found, Part, RowRange, Wants, key, last_part, prefix};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::Serialize;

use super::state::{
    ALWAYS, DATES, DOOMED, DateRow, DateState, Doomed, Facts, Habit, Head, MOST_ROWS, Row, SERIES, Series,
    TEMPLATES, Template, date_key, doomed_key, habit_key, life_from,
};
use crate::community::events::occurrence::Field;

/// Most users who are always coming to a series.
pub const MOST_ALWAYS: u32 = 500;

/// Why something is not done with a series.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SeriesError {
    /// The series does not go on.
    #[error("the series is cancelled")]
    Cancelled,
    /// The series has no such date.
    #[error("the series has no such date")]
    NoSuchDate,
    /// The date has begun.
    #[error("the date has begun")]
    Begun,
    /// Dates are being handed over to another series.
    #[error("the series is being divided")]
    Dividing,
    /// Times, place and rule were changed as often as they may be.
    #[error("the series was moved as often as it may be")]
    MovedTooOften,
    /// The end would not come after the start.
    #[error("the dates would end before they start")]
    EndsBeforeStart,
    /// The rule gives no date.
    #[error("the rule gives no date")]
    NoDates,
    /// A place at a date costs something.
    #[error("the dates cost something")]
    HasPrice,
    /// It has as many hosts as it may.
    #[error("the series has as many hosts as it may have")]
    TooManyHosts,
    /// The owner offers it to nobody, or to somebody else.
    #[error("the series is not offered to this user")]
    NotOffered,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The partition of a series as a rule sees it.
pub(super) type SeriesPart<'a> = Part<'a, Facts, Head, Row>;

/// The dates of a partition, in order.
pub(super) fn dates_of(part: &mut SeriesPart<'_>) -> Vec<(DateTime, DateRow)> {
    part.first(&prefix(&[DATES]), MOST_ROWS).into_iter().filter_map(date_of).collect()
}

/// The events of a partition that are to be cancelled.
pub(super) fn doomed_of(part: &mut SeriesPart<'_>) -> Vec<Doomed> {
    let rows = part.first(&prefix(&[DOOMED]), MOST_ROWS);
    let doomed = rows.into_iter().filter_map(|(_, row)| match row {
        Row::Doomed(doomed) => Some((**doomed).clone()),
        Row::Date(_) | Row::Template(_) | Row::Habit(_) | Row::CoHost(_) | Row::Telling(_) => None,
    });
    doomed.collect()
}

/// All rows but those of users: what most rules look at.
pub(super) fn all_rows() -> Wants {
    let below = |wants: Wants, part| wants.first(&prefix(&[part]), MOST_ROWS);
    [DATES, DOOMED, TEMPLATES].into_iter().fold(Wants::head(), below)
}

fn date_of((key, row): (String, &Row)) -> Option<(DateTime, DateRow)> {
    match row {
        Row::Date(row) => Some((last_part(&key).parse().ok()?, row.clone())),
        Row::Doomed(_) | Row::Template(_) | Row::Habit(_) | Row::CoHost(_) | Row::Telling(_) => None,
    }
}

/// The series as a rule leaves it.
pub(super) fn series_of(id: &str, part: &SeriesPart<'_>) -> Series {
    Series { id: id.to_owned(), facts: part.facts.clone(), head: part.head.clone() }
}

/// What is to be done about a series, as it was read.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// The series.
    pub(super) series: Series,
    /// Its dates, by their original start.
    pub(super) dates: Vec<(DateTime, DateRow)>,
    /// Events that are to be cancelled.
    pub(super) doomed: Vec<Doomed>,
    /// Settings of before by which events are still to be made.
    templates: BTreeMap<u32, Template>,
}

impl Work {
    /// The template with a revision. One that is not there was not yet when the others were read.
    pub(super) fn template(&self, rev: u32) -> Option<&Template> {
        let known = [self.series.template(), &self.series.facts.template].into_iter();
        known.chain(self.templates.get(&rev)).find(|template| template.rev == rev)
    }
}

/// What came of bringing a date's event to what its series says.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    /// The date.
    pub(super) original: DateTime,
    /// Its event.
    pub(super) event_id: String,
    /// The revision that the event has taken.
    pub(super) rev: u32,
    /// What it has of its own.
    pub(super) own: BTreeSet<Field>,
    /// Whether it does not take place.
    pub(super) is_cancelled: bool,
}

/// Where a date's own changes are noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// Here, or nowhere, as the series has no such date any more.
    Done,
    /// In the series that has the later dates.
    Elsewhere(String),
}

/// The series of a store.
#[derive(Clone)]
pub struct SeriesStore(pub(super) Db);

impl SeriesStore {
    /// The series of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Adds a series, with what that causes. Its id is a UUID of version 7. Adding it again changes nothing.
    pub async fn create(&self, series: &Series, effects: &[Effect]) -> Result<(), StoreError> {
        self.0.create(&SERIES, &series.id, &series.facts, &[], effects).await
    }

    /// The series with this id.
    pub async fn series(&self, id: &str) -> Result<Option<Series>, StoreError> {
        let found = self.0.read(&SERIES, id).await?;
        Ok(found.map(|Found { facts, head, .. }| Series { id: id.to_owned(), facts, head }))
    }

    /// The dates of a series that have rows, from a day on, by their original start, which is the cursor.
    pub async fn dates(
        &self,
        series: &Series,
        from: Date,
        page: PageRequest,
    ) -> Result<Page<(DateTime, DateRow)>, StoreError> {
        // A day alone sorts before all of its times.
        let (after, skip) = page.start.behind(|original| Some(date_key(original.parse().ok()?)))?;
        let after = after.unwrap_or_else(|| key(&[DATES, &from.to_string()]));
        let range = RowRange::first(prefix(&[DATES]), skip + page.limit).after(Some(after));
        let rows = self.0.rows(&SERIES, &series.id, &range).await?;
        let mut next = rows.next.map(|key| last_part(&key));
        let mut items = Vec::new();
        for (key, row) in rows.items.into_iter().skip(skip) {
            let Some((original, row)) = date_of((key, &row)) else { continue };
            // What is still to be handed over is another's already.
            if series.head.cut.as_ref().is_some_and(|cut| !cut.is_done && original.date() >= cut.from) {
                next = None;
                break;
            }
            items.push((original, row));
        }
        Ok(Page { items, next })
    }

    /// Whether a user is always coming.
    pub async fn is_habit(&self, id: &str, user_id: &str) -> Result<bool, StoreError> {
        Ok(self.0.row(&SERIES, id, &habit_key(user_id)).await?.is_some())
    }

    /// Those who are always coming, in the order in which they began to.
    pub(super) async fn habits(&self, id: &str) -> Result<Vec<(String, Habit)>, StoreError> {
        let range = RowRange::first(prefix(&[ALWAYS]), MOST_ALWAYS as usize);
        let rows = self.0.rows(&SERIES, id, &range).await?.items.into_iter();
        let habits = rows.filter_map(|(key, row)| match row {
            Row::Habit(habit) => Some((last_part(&key), habit)),
            Row::Date(_) | Row::Doomed(_) | Row::Template(_) | Row::CoHost(_) | Row::Telling(_) => None,
        });
        let mut habits: Vec<_> = habits.collect();
        habits.sort_by_key(|(_, habit)| habit.number);
        Ok(habits)
    }

    /// A series with its rows.
    pub(super) async fn work(&self, id: &str) -> Result<Option<Work>, StoreError> {
        let Some(series) = self.series(id).await? else { return Ok(None) };
        let mut work = Work { series, dates: Vec::new(), doomed: Vec::new(), templates: BTreeMap::new() };
        for part in [DATES, DOOMED, TEMPLATES] {
            for (key, row) in
                self.0.rows(&SERIES, id, &RowRange::first(prefix(&[part]), MOST_ROWS)).await?.items
            {
                match row {
                    Row::Date(_) => work.dates.extend(date_of((key, &row))),
                    Row::Doomed(doomed) => work.doomed.push(*doomed),
                    Row::Template(template) => drop(work.templates.insert(template.rev, *template)),
                    Row::Habit(_) | Row::CoHost(_) | Row::Telling(_) => {}
                }
            }
        }
        Ok(Some(work))
    }

    /// Notes dates whose events are as the series says; how many events are new. `effects` are what a new one causes, and whether
    /// somebody is always coming. A date that has gone elsewhere meanwhile is somebody else's work.
    pub(super) async fn settle<E: Serialize>(
        &self,
        id: &str,
        settled: Vec<Settled>,
        effects: impl Fn(&Settled, bool) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<usize, StoreError> {
        let keys = settled.iter().map(|one| date_key(one.original));
        let wants = keys.fold(Wants::head(), Wants::row);
        let noted = self.0.change(&SERIES, id, wants, move |part| {
            let (mut is_changed, mut made) = (false, 0);
            for one in &settled {
                let key = date_key(one.original);
                let before = match part.row(&key) {
                    Some(Row::Date(row)) if row.event_id == one.event_id => row.clone(),
                    _ => continue,
                };
                let mut row = before.clone();
                row.rev = row.rev.max(one.rev);
                row.own.extend(one.own.iter().copied());
                let is_new = row.state == DateState::Planned;
                row.state = match row.state {
                    DateState::Planned | DateState::Made if !one.is_cancelled => DateState::Made,
                    _ => DateState::Cancelled,
                };
                if row == before {
                    continue;
                }
                if is_new && !one.is_cancelled {
                    made += 1;
                    for effect in effects(one, part.head.always > 0)? {
                        part.emit(&effect)?;
                    }
                }
                part.set(key, Row::Date(row));
                is_changed = true;
            }
            Ok::<_, StoreError>(if is_changed { Decision::Write(made) } else { Decision::Stands(made) })
        });
        Ok(noted.await?.unwrap_or_default())
    }

    /// Notes that events are cancelled.
    pub(super) async fn settle_doomed(&self, id: &str, events: Vec<String>) -> Result<(), StoreError> {
        let noted = self.0.change(&SERIES, id, Wants::head(), move |part| {
            for event_id in &events {
                part.remove(doomed_key(event_id));
            }
            Ok::<_, StoreError>(Decision::Write(()))
        });
        noted.await.map(drop)
    }

    /// Notes what a date's event has of its own, or that it does not take place.
    pub(super) async fn note(
        &self,
        id: &str,
        original: DateTime,
        event_id: &str,
        own: BTreeSet<Field>,
        is_cancelled: bool,
    ) -> Result<Noted, StoreError> {
        let (key, event_id) = (date_key(original), event_id.to_owned());
        let noted = self.0.change(&SERIES, id, Wants::head().row(&key), move |part| {
            let mut row = match part.row(&key) {
                Some(Row::Date(row)) if row.event_id == event_id => row.clone(),
                _ => {
                    let cut = part.head.cut.as_ref().filter(|cut| original.date() >= cut.from);
                    let place = cut.map_or(Noted::Done, |cut| Noted::Elsewhere(cut.to.clone()));
                    return Ok::<_, StoreError>(Decision::Stands(place));
                }
            };
            let before = row.clone();
            row.own.extend(own.iter().copied());
            if is_cancelled {
                row.state = DateState::Cancelled;
            }
            if row == before {
                return Ok(Decision::Stands(Noted::Done));
            }
            part.head.version += 1;
            part.set(&key, Row::Date(row));
            Ok(Decision::Write(Noted::Done))
        });
        Ok(noted.await?.unwrap_or(Noted::Done))
    }

    /// Has a user always come, or no longer; whether that changed anything, `None` if there is no such series. `effects` are what
    /// it causes where the user is to come.
    pub async fn attend<E: Serialize>(
        &self,
        id: &str,
        user_id: &str,
        wanted: bool,
        now: Timestamp,
        effects: impl Fn() -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<bool>, SeriesError> {
        let key = habit_key(user_id);
        self.0
            .change(&SERIES, id, Wants::head().row(&key), move |part| {
                let is_there = part.row(&key).is_some();
                if is_there == wanted {
                    return Ok(Decision::Stands(false));
                }
                part.head.version += 1;
                if !wanted {
                    part.head.always = part.head.always.saturating_sub(1);
                    part.remove(&key);
                    return Ok(Decision::Write(true));
                }
                if part.head.cancelled.is_some() {
                    return Err(SeriesError::Cancelled);
                }
                if part.head.template(part.facts).settings.ticket.is_some() {
                    return Err(SeriesError::HasPrice);
                }
                if part.head.always >= MOST_ALWAYS {
                    return Err(StoreError::Full("the list of those who always come to a series").into());
                }
                part.head.always += 1;
                part.head.habits += 1;
                part.set(&key, Row::Habit(Habit { number: part.head.habits, since: now }));
                for effect in effects()? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(true))
            })
            .await
    }

    /// Has a series go on for another year from now; as it is then.
    pub async fn renew<E: Serialize>(
        &self,
        id: &str,
        now: Timestamp,
        effects: impl Fn(&Series) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Series>, SeriesError> {
        let own = id.to_owned();
        self.0
            .change(&SERIES, id, Wants::head(), move |part| {
                if part.head.cancelled.is_some() {
                    return Err(SeriesError::Cancelled);
                }
                let today = series_of(&own, part).today(now)?;
                let lives_until = life_from(today, part.head.template(part.facts).first);
                if lives_until <= part.head.lives_until(part.facts) {
                    return Ok(Decision::Stands(series_of(&own, part)));
                }
                part.head.lives_until = Some(lives_until);
                part.head.is_settled = false;
                part.head.version += 1;
                let series = series_of(&own, part);
                for effect in effects(&series)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(series))
            })
            .await
    }
}
