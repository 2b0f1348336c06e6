//! Handing the later dates of a series that was divided over to the series that goes on. Each step may be done again, by any
//! node, from wherever the one before ended.
//!
//! Only a series that is not whole yet takes rows in, and only a whole one is changed. So whoever comes late with rows that
//! were handed over before is refused, and brings none back.

use jiff::civil::DateTime;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Wants};
use serde::Serialize;

use super::state::{Cut, DateRow, Habit, Row, SERIES, date_key, habit_key};
use super::store::SeriesStore;
use crate::community::events::co_hosts::co_host_key;
use crate::community::events::rules::CoHostRole;

impl SeriesStore {
    /// Takes in those who are always coming, if nobody is known yet.
    pub(super) async fn take_habits(&self, id: &str, habits: Vec<(String, Habit)>) -> Result<(), StoreError> {
        let taken = self.0.change(&SERIES, id, Wants::head(), move |part| {
            if part.head.habits > 0 || habits.is_empty() {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            for (user_id, habit) in &habits {
                part.head.always += 1;
                part.head.habits = part.head.habits.max(habit.number);
                part.set(habit_key(user_id), Row::Habit(habit.clone()));
            }
            Ok(Decision::Write(()))
        });
        taken.await.map(drop)
    }

    /// Takes in the hosts beside the owner. Until the series is whole they change neither here nor in the one that is divided.
    pub(super) async fn take_co_hosts(
        &self,
        id: &str,
        hosts: Vec<(String, CoHostRole)>,
    ) -> Result<(), StoreError> {
        let taken = self.0.change(&SERIES, id, Wants::head(), move |part| {
            if part.head.is_whole(part.facts) || part.head.co_hosts == hosts.len() {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.head.co_hosts = hosts.len();
            for (user_id, role) in &hosts {
                part.set(co_host_key(user_id), Row::CoHost(*role));
            }
            Ok(Decision::Write(()))
        });
        taken.await.map(drop)
    }

    /// Takes dates in that have their events. `effects` are what one causes that is new here.
    pub(super) async fn take_dates<E: Serialize>(
        &self,
        id: &str,
        dates: Vec<(DateTime, DateRow)>,
        effects: impl Fn(&DateRow, bool) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let keys = dates.iter().map(|(original, _)| date_key(*original));
        let wants = keys.fold(Wants::head(), Wants::row);
        let taken = self.0.change(&SERIES, id, wants, move |part| {
            if part.head.is_whole(part.facts) {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            for (original, row) in &dates {
                let key = date_key(*original);
                if part.row(&key).is_some() {
                    continue;
                }
                for effect in effects(row, part.head.always > 0)? {
                    part.emit(&effect)?;
                }
                part.set(key, Row::Date(row.clone()));
            }
            Ok(Decision::Write(()))
        });
        taken.await.map(drop)
    }

    /// Removes dates that another series has, unless a key is another date's by now.
    pub(super) async fn give_dates(
        &self,
        id: &str,
        dates: Vec<(DateTime, DateRow)>,
    ) -> Result<(), StoreError> {
        let keys = dates.iter().map(|(original, _)| date_key(*original));
        let wants = keys.fold(Wants::head(), Wants::row);
        let given = self.0.change(&SERIES, id, wants, move |part| {
            for (original, given) in &dates {
                let key = date_key(*original);
                if matches!(part.row(&key), Some(Row::Date(row)) if row.event_id == given.event_id) {
                    part.remove(key);
                }
            }
            Ok::<_, StoreError>(Decision::Write(()))
        });
        given.await.map(drop)
    }

    /// Says that a series has all of its dates. `effect` is what that causes.
    pub(super) async fn note_whole(
        &self,
        id: &str,
        effect: impl Serialize + Send + 'static,
    ) -> Result<(), StoreError> {
        let said = self.0.change(&SERIES, id, Wants::head(), move |part| {
            if part.head.has_all {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.head.has_all = true;
            part.emit(&effect)?;
            Ok(Decision::Write(()))
        });
        said.await.map(drop)
    }

    /// Notes how far a division is.
    pub(super) async fn note_division(
        &self,
        id: &str,
        to: &str,
        note: impl Fn(&mut Cut) + Send + 'static,
    ) -> Result<(), StoreError> {
        let to = to.to_owned();
        let noted = self.0.change(&SERIES, id, Wants::head(), move |part| {
            let Some(cut) = part.head.cut.as_mut().filter(|cut| cut.to == to) else {
                return Ok::<_, StoreError>(Decision::Stands(()));
            };
            note(cut);
            Ok(Decision::Write(()))
        });
        noted.await.map(drop)
    }
}
