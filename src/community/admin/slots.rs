//! How many cases of a workflow a user has open: a row for each. Rows of cases that are done are removed when they are in the way, so
//! closing a case changes nothing here.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, RowRange, Wants, Whose, key, last_part, prefix,
};

/// The open cases of each user and workflow.
pub static WORK_SLOTS: Kind<(), (), Timestamp> =
    Kind::new("work_slots", "a user's cases of a workflow: 200 rows of 100 B, 20 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[Fields::of(
    Whose::User,
    Export::NotGiven("the cases are"),
    Erasure::Removed,
    &["id", "keys.o", "rows.o"],
)];

/// A row that is younger may belong to a case that is just being opened.
const JUST_TAKEN: SignedDuration = SignedDuration::from_mins(1);

fn row_key(case: &str) -> String {
    key(&["o", case])
}

/// Takes a place for a case among so many of a user; whether there is one. It may be taken again.
pub(super) async fn take(
    db: &Db,
    of: &str,
    case: &str,
    most: usize,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (below, row) = (prefix(&["o"]), row_key(case));
    let taken = db.change(&WORK_SLOTS, of, Wants::head().first(&below, most + 1), move |part| {
        let rows = part.first(&below, most + 1);
        let is_full = rows.len() >= most && !rows.iter().any(|(key, _)| *key == row);
        if is_full {
            return Ok::<_, StoreError>(Decision::Stands(false));
        }
        // It is newer than what somebody else may have seen who is about to remove it.
        part.set(&row, now);
        Ok(Decision::Write(true))
    });
    Ok(taken.await?.unwrap_or_default())
}

/// The cases that have a place and did not get it just now, with the time since when they have it.
pub(super) async fn taken(
    db: &Db,
    of: &str,
    most: usize,
    now: Timestamp,
) -> Result<BTreeMap<String, Timestamp>, StoreError> {
    let rows = db.rows(&WORK_SLOTS, of, &RowRange::first(prefix(&["o"]), most + 1)).await?.items;
    let rows = rows.into_iter().filter(|(_, at)| now.duration_since(*at) > JUST_TAKEN);
    Ok(rows.map(|(key, at)| (last_part(&key), at)).collect())
}

/// Gives places back, unless they were taken anew.
pub(super) async fn give_back(
    db: &Db,
    of: &str,
    done: BTreeMap<String, Timestamp>,
) -> Result<(), StoreError> {
    let wants = done.keys().fold(Wants::head(), |wants, case| wants.row(row_key(case)));
    let given = db.change(&WORK_SLOTS, of, wants, move |part| {
        for (case, seen) in &done {
            let row = row_key(case);
            if part.row(&row) == Some(seen) {
                part.remove(row);
            }
        }
        Ok::<_, StoreError>(Decision::Write(()))
    });
    given.await.map(drop)
}
