//! What is kept of exports: how far a user's is, and its parts as rows of text, so that any node gives them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export as Given, Fields, Kind, RowRange, Wants, Whose, behind, key, last_part,
    number, prefix,
};
use serde::{Deserialize, Serialize};

use super::rules::Place;
use crate::community::effects::Effect;

/// The exports, by user.
pub static EXPORTS: Kind<(), Export, ()> =
    Kind::new("exports", "a user: 64 parts of 150 B, 10 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[Fields::of(
    Whose::User,
    Given::NotGiven("it says only how far an export is"),
    Erasure::Removed,
    &[
        "id",
        "head.id",
        "head.asked_at",
        "head.state",
        "head.until",
        "head.why",
        "head.parts.*.bytes",
        "head.parts.*.sha256",
        "head.open.**",
    ],
)];

/// The parts of exports, by user, export and number.
pub static EXPORT_PARTS: Kind<(), (), String> =
    Kind::new("export_parts", "a part of an export: 300 rows of 64 KB, 20 MB", PERSONAL_OF_PARTS)
        .implicit()
        .ttl(PARTS_LIVE);
/// The same of parts.
const PERSONAL_OF_PARTS: &[Fields] = &[Fields::of(
    Whose::User,
    Given::NotGiven("it is a copy of what is stored elsewhere"),
    Erasure::Removed,
    &["id", "keys.c", "rows.c"],
)];

/// How long an export is there.
pub const READY_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A day longer than it takes to be made and is there.
const PARTS_LIVE: Duration = Duration::from_hours(9 * 24);
/// How long after one export another may be asked for.
pub const COOLDOWN: SignedDuration = SignedDuration::from_hours(24);
/// Most bytes of a row.
pub const ROW_BYTES: usize = 60 * 1024;
/// Most bytes of a part, but for its last line.
pub const PART_BYTES: u64 = 16 * 1024 * 1024;
/// Most parts: a gigabyte in all.
pub const MOST_PARTS: usize = 64;
/// More rows than a part has that were written and not saved.
const MOST_ROWS: usize = 1_000;
/// Below this lie the rows of a part, by where they begin.
const ROWS: &str = "c";

/// How far an export is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ExportState)]
pub enum State {
    /// None was asked for, or the last one is gone.
    #[default]
    None,
    /// It waits for a round.
    Queued,
    /// A round gathers it.
    Running,
    /// Its parts can be fetched.
    Ready,
    /// It could not be made; another may be asked for at once.
    Failed,
}

/// A part of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartInfo {
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of it, in hexadecimal.
    pub sha256: String,
}

/// What is written of an export that is not whole yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenPart {
    /// Bytes of the part under way.
    pub bytes: u64,
    /// Behind which page of the round: what is before it is in there.
    pub after: Option<Place>,
}

/// A user's export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Export {
    /// The last one's id.
    pub id: String,
    /// When it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// How far it is.
    pub state: State,
    /// Until when its parts are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its parts.
    pub parts: Vec<PartInfo>,
    /// What is being written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenPart>,
}

impl Export {
    /// How far it is at a time.
    pub fn state_at(&self, now: Timestamp) -> State {
        match self.state {
            State::Ready if self.until.is_none_or(|until| until <= now) => State::None,
            state => state,
        }
    }

    /// From when on another may be asked for, if that is not yet.
    pub fn next_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.state == State::Failed {
            return None;
        }
        self.asked_at.map(|at| at + COOLDOWN).filter(|at| *at > now)
    }
}

/// What came of asking for an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It will be made.
    Queued(Export),
    /// One is being made.
    UnderWay(Export),
    /// One was made within the day.
    TooSoon(Timestamp),
}

fn part_id(user_id: &str, export_id: &str, part: usize) -> String {
    key(&[user_id, export_id, &part.to_string()])
}

/// The exports of a store.
#[derive(Clone)]
pub struct ExportStore(Db);

impl ExportStore {
    /// The exports of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// A user's export.
    pub async fn export(&self, user_id: &str) -> Result<Export, StoreError> {
        Ok(self.0.read(&EXPORTS, user_id).await?.map(|found| found.head).unwrap_or_default())
    }

    /// Asks for an export under an id; `effect` is what a new one causes.
    pub async fn ask(
        &self,
        user_id: &str,
        id: String,
        now: Timestamp,
        effect: Effect,
    ) -> Result<Asked, StoreError> {
        let asked = self.0.change(&EXPORTS, user_id, Wants::head(), move |part| {
            if part.head.id == id || matches!(part.head.state, State::Queued | State::Running) {
                return Ok(Decision::Stands(Asked::UnderWay(part.head.clone())));
            }
            if let Some(at) = part.head.next_at(now) {
                return Ok(Decision::Stands(Asked::TooSoon(at)));
            }
            part.head =
                Export { id: id.clone(), asked_at: Some(now), state: State::Queued, ..Export::default() };
            part.emit(&effect)?;
            Ok::<_, StoreError>(Decision::Write(Asked::Queued(part.head.clone())))
        });
        asked.await?.ok_or_else(|| StoreError::Damaged("an implicit partition is not there".to_owned()))
    }

    /// Writes down how far a user's export is, if it still is the one of that id and not whole.
    pub async fn save(&self, user_id: &str, export: Export) -> Result<(), StoreError> {
        let saved = self.0.change(&EXPORTS, user_id, Wants::head(), move |part| {
            let is_open = matches!(part.head.state, State::Queued | State::Running);
            if part.head.id != export.id || !is_open || part.head == export {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.head = export.clone();
            Ok(Decision::Write(()))
        });
        saved.await.map(drop)
    }

    /// Writes a text at a place of a part.
    pub async fn write(
        &self,
        user_id: &str,
        export_id: &str,
        part: usize,
        at: u64,
        text: String,
    ) -> Result<(), StoreError> {
        let (row, end) = (key(&[ROWS, &number(at)]), behind(&prefix(&[ROWS])));
        let id = part_id(user_id, export_id, part);
        let wants = Wants::head().between(&row, &end, MOST_ROWS);
        let written = self.0.change(&EXPORT_PARTS, &id, wants, move |part| {
            // What was written from here on was never saved: a node died, and divided the text otherwise.
            let left: Vec<_> = part.between(&row, &end, MOST_ROWS).into_iter().map(|(key, _)| key).collect();
            for key in left {
                part.remove(key);
            }
            part.set(row.as_str(), text.clone());
            Ok::<_, StoreError>(Decision::Write(()))
        });
        written.await.map(drop)
    }

    /// The texts of a part from the row on that holds a place, with where the first one begins, and from where to go on.
    pub async fn read(
        &self,
        user_id: &str,
        export_id: &str,
        part: usize,
        at: u64,
        rows: usize,
    ) -> Result<Vec<(u64, String)>, StoreError> {
        let id = part_id(user_id, export_id, part);
        // The last row that begins at the place or before it.
        let upto =
            RowRange::last(prefix(&[ROWS]), 1).after(Some(key(&[ROWS, &number(at.saturating_add(1))])));
        let first = self.0.rows(&EXPORT_PARTS, &id, &upto).await?.items.into_iter().next();
        let Some((first_key, first)) = first else { return Ok(Vec::new()) };
        let rest = RowRange::first(prefix(&[ROWS]), rows.saturating_sub(1)).after(Some(first_key.clone()));
        let rest = self.0.rows(&EXPORT_PARTS, &id, &rest).await?.items;
        let all = std::iter::once((first_key, first)).chain(rest);
        Ok(all.filter_map(|(key, text)| Some((last_part(&key).parse().ok()?, text))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_ends_when_its_time_is_over_and_another_may_be_asked_for_after_a_day() {
        let asked: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let hours = |hours| asked + SignedDuration::from_hours(hours);
        let ready = Export {
            asked_at: Some(asked),
            state: State::Ready,
            until: Some(hours(168)),
            ..Export::default()
        };
        assert_eq!((ready.state_at(hours(167)), ready.state_at(hours(168))), (State::Ready, State::None));
        assert_eq!((ready.next_at(hours(23)), ready.next_at(hours(24))), (Some(hours(24)), None));
        let failed = Export { state: State::Failed, ..ready };
        assert_eq!(failed.next_at(hours(1)), None);
    }
}
