//! What is kept of departures and of the sweep: one partition, with a row for each who leaves and each who wants an export.

use jiff::Timestamp;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, Part, RowRange, Wants, Whose, key, last_part, prefix,
};
use mundotango_storage::{Page as Items, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

use super::rules::{Departure, MOST_OF_A_ROUND, MOST_WAITING, Page, Round, Stage, Sweep};
use crate::community::effects::Effect;

/// The sweep.
pub static SWEEP: Kind<(), Sweep, Row> =
    Kind::new("departures", "all who leave: 10,000 rows of 300 B, a round of 200 users, 3 MB", PERSONAL)
        .implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Named,
        Export::NotGiven("it says only how far an export or a deletion is"),
        Erasure::Kept("until the deletion is done: it is by this that what is left is found"),
        &[
            "keys.d",
            "rows.d.departure.**",
            "keys.x",
            "rows.x.export",
            "head.round.leavers.**",
            "head.round.exporters.*",
        ],
    ),
    Fields::of_nobody(&[
        "id",
        "head.round.number",
        "head.round.begun_at",
        "head.round.place.**",
        "head.round.looked_at",
        "head.runner.**",
        "head.rounds",
        "head.last_looked_at",
        "head.done",
        "head.waiting",
    ]),
];

/// Most who are looked at of those who are swept for: some may be stuck.
const MOST_SWEPT_FOR: usize = 1_000;

/// The one partition.
const ALL: &str = "all";
/// Below this lie those who leave: first those who are swept for, then the others, each by user.
const DEPARTURES: &str = "d";
/// Those who are swept for.
const SWEPT_FOR: &str = "0";
/// Those who are not yet.
const NOT_YET: &str = "1";
/// Below this lie those who want an export, by user.
const EXPORTS: &str = "x";

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// Somebody leaves.
    Departure(Box<Departure>),
    /// Somebody wants an export, since then.
    Export(Timestamp),
}

type Open<'a> = Part<'a, (), Sweep, Row>;

fn departure_key(stage: Stage, user_id: &str) -> String {
    let part = if stage == Stage::Sweeping { SWEPT_FOR } else { NOT_YET };
    key(&[DEPARTURES, part, user_id])
}

fn export_key(user_id: &str) -> String {
    key(&[EXPORTS, user_id])
}

fn departure(row: Option<&Row>) -> Option<&Departure> {
    match row {
        Some(Row::Departure(departure)) => Some(departure),
        Some(Row::Export(_)) | None => None,
    }
}

/// Departures and the sweep of a store.
#[derive(Clone)]
pub struct SweepStore(Db);

impl SweepStore {
    /// Those of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    async fn change<T: Send + 'static>(
        &self,
        wants: Wants,
        rule: impl FnMut(&mut Open<'_>) -> Result<Decision<T>, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::Damaged("an implicit partition is not there".to_owned());
        self.0.change(&SWEEP, ALL, wants, rule).await?.ok_or_else(gone)
    }

    /// Notes that a user leaves, if that is not noted yet.
    pub async fn note(&self, user_id: &str, new: Departure) -> Result<(), StoreError> {
        let [key, swept] = [Stage::Leaving, Stage::Sweeping].map(|stage| departure_key(stage, user_id));
        self.change(Wants::head().row(&key).row(&swept), move |part| {
            if part.row(&key).is_some() || part.row(&swept).is_some() {
                return Ok(Decision::Stands(()));
            }
            part.head.waiting += 1;
            part.set(&key, Row::Departure(Box::new(new.clone())));
            Ok(Decision::Write(()))
        })
        .await
    }

    /// Forgets that a user leaves who stays.
    pub async fn forget(&self, user_id: &str) -> Result<(), StoreError> {
        let key = departure_key(Stage::Leaving, user_id);
        self.change(Wants::head().row(&key), move |part| {
            if part.row(&key).is_none() {
                return Ok(Decision::Stands(()));
            }
            part.head.waiting = part.head.waiting.saturating_sub(1);
            part.remove(&key);
            Ok(Decision::Write(()))
        })
        .await
    }

    /// Whether it is noted that a user leaves, and not swept for yet.
    pub async fn is_noted(&self, user_id: &str) -> Result<bool, StoreError> {
        let row = self.0.row(&SWEEP, ALL, &departure_key(Stage::Leaving, user_id)).await?;
        Ok(row.is_some())
    }

    /// Notes how far a departure is. `alias` is the id of nobody for it, if it has none yet, and `effects` what follows.
    pub async fn move_on(
        &self,
        user_id: &str,
        stage: Stage,
        alias: String,
        effects: Vec<Effect>,
    ) -> Result<(), StoreError> {
        let (key, then) = (departure_key(Stage::Leaving, user_id), departure_key(stage, user_id));
        self.change(Wants::head().row(&key), move |part| {
            let Some(before) = departure(part.row(&key)).cloned() else { return Ok(Decision::Stands(())) };
            if before.stage == stage {
                return Ok(Decision::Stands(()));
            }
            let after = Departure { stage, alias: before.alias.clone().or(Some(alias.clone())), ..before };
            part.remove(&key);
            part.set(&then, Row::Departure(Box::new(after)));
            for effect in &effects {
                part.emit(effect)?;
            }
            Ok(Decision::Write(()))
        })
        .await
    }

    /// Has an export made of all that is a user's.
    pub async fn want_export(&self, user_id: &str, now: Timestamp, effect: Effect) -> Result<(), StoreError> {
        let key = export_key(user_id);
        self.change(Wants::head().row(&key), move |part| {
            if part.row(&key).is_some() {
                return Ok(Decision::Stands(()));
            }
            if part.head.waiting >= MOST_WAITING {
                return Err(StoreError::Full("the list of exports that wait"));
            }
            part.head.waiting += 1;
            part.set(&key, Row::Export(now));
            part.emit(&effect)?;
            Ok(Decision::Write(()))
        })
        .await
    }

    /// Lets a sweeper go on, and begins a round if one is to be made; the round, if the sweeper has one to make. `None` inside where
    /// another sweeper is at work.
    pub async fn go_on(&self, job: &str, now: Timestamp) -> Result<Option<Option<Round>>, StoreError> {
        let job = job.to_owned();
        let (swept, exports) = (prefix(&[DEPARTURES, SWEPT_FOR]), prefix(&[EXPORTS]));
        let wants = Wants::head().first(&swept, MOST_SWEPT_FOR).first(&exports, MOST_OF_A_ROUND);
        self.change(wants, move |part| {
            let mut sweep = part.head.clone();
            if !sweep.admit(&job, now) {
                return Ok(Decision::Stands(None));
            }
            if sweep.round.is_none() {
                let rows = part.first(&swept, MOST_SWEPT_FOR).into_iter();
                let leavers = rows.filter(|(_, row)| departure(Some(row)).is_some_and(|one| !one.is_stuck()));
                let leavers = leavers.take(MOST_OF_A_ROUND).map(|(key, _)| last_part(&key)).collect();
                let exports = part.first(&exports, MOST_OF_A_ROUND).into_iter();
                let exporters = exports.map(|(key, _)| last_part(&key)).collect();
                sweep.begin(leavers, exporters, now);
            }
            if sweep.round.is_none() {
                // Whoever comes from now on causes another job.
                sweep.runner = None;
            }
            let round = sweep.round.clone();
            part.head = sweep;
            Ok(Decision::Write(Some(round)))
        })
        .await
    }

    /// Notes that a page is done; whether the sweeper still is the one.
    pub async fn advance(&self, job: &str, page: Page, now: Timestamp) -> Result<bool, StoreError> {
        let job = job.to_owned();
        self.change(Wants::head(), move |part| {
            let is_own = part.head.advance(&job, &page, now);
            Ok(if is_own { Decision::Write(true) } else { Decision::Stands(false) })
        })
        .await
    }

    /// Ends the round of a number; those who are gone by it, and those of whom traces stay.
    pub async fn end(&self, number: u64) -> Result<Vec<(String, Departure, bool)>, StoreError> {
        let known = self.0.read_with(&SWEEP, ALL, &[]).await?;
        let round = known.and_then(|(found, _)| found.head.round).filter(|round| round.number == number);
        let Some(round) = round else { return Ok(Vec::new()) };
        let keys = round.leavers.keys().map(|user| departure_key(Stage::Sweeping, user));
        let keys = keys.chain(round.exporters.iter().map(|user| export_key(user)));
        let wants = keys.fold(Wants::head(), Wants::row);
        self.change(wants, move |part| {
            if part.head.round.as_ref().is_none_or(|round| round.number != number) {
                return Ok(Decision::Stands(Vec::new()));
            }
            let Some(round) = part.head.end() else { return Ok(Decision::Stands(Vec::new())) };
            let mut outcomes = Vec::new();
            for (user, tally) in &round.leavers {
                let key = departure_key(Stage::Sweeping, user);
                let Some(mut one) = departure(part.row(&key)).cloned() else { continue };
                let is_gone = one.note_round(*tally);
                if is_gone {
                    part.head.done += 1;
                    part.head.waiting = part.head.waiting.saturating_sub(1);
                    part.remove(&key);
                } else {
                    part.set(&key, Row::Departure(Box::new(one.clone())));
                }
                outcomes.push((user.clone(), one, is_gone));
            }
            for user in &round.exporters {
                let key = export_key(user);
                if part.row(&key).is_some() {
                    part.head.waiting = part.head.waiting.saturating_sub(1);
                    part.remove(&key);
                }
            }
            Ok(Decision::Write(outcomes))
        })
        .await
    }

    /// The departures of these users, as far as they are swept for.
    pub async fn departures_of(&self, users: &[String]) -> Result<Vec<(String, Departure)>, StoreError> {
        let keys: Vec<_> = users.iter().map(|user| departure_key(Stage::Sweeping, user)).collect();
        let mut found = Vec::new();
        for some in keys.chunks(MOST_OF_A_ROUND) {
            let some: Vec<_> = some.iter().map(String::as_str).collect();
            let rows = self.0.read_with(&SWEEP, ALL, &some).await?.map(|(_, rows)| rows).unwrap_or_default();
            for (key, row) in rows {
                if let Row::Departure(departure) = row {
                    found.push((last_part(&key), *departure));
                }
            }
        }
        Ok(found)
    }

    /// How the sweep stands.
    pub async fn sweep(&self) -> Result<Sweep, StoreError> {
        Ok(self.0.read(&SWEEP, ALL).await?.map(|found| found.head).unwrap_or_default())
    }

    /// All who leave: first those who are swept for. The cursor is the rest of a key.
    pub async fn departures(&self, page: PageRequest) -> Result<Items<(String, Departure)>, StoreError> {
        let (after, skip) = page.start.behind(|rest| Some(format!("{DEPARTURES}/{rest}")))?;
        let range = RowRange::first(prefix(&[DEPARTURES]), skip + page.limit).after(after);
        let rows = self.0.rows(&SWEEP, ALL, &range).await?;
        let items = rows.items.into_iter().skip(skip).filter_map(|(key, row)| match row {
            Row::Departure(departure) => Some((last_part(&key), *departure)),
            Row::Export(_) => None,
        });
        Ok(Items {
            items: items.collect(),
            next: rows.next.and_then(|key| Some(key.split_once('/')?.1.to_owned())),
        })
    }
}
