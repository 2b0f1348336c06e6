//! Members: users who visit while they are logged in, by their ids of [`super::visitors`]. In which weeks
//! each was seen, how many of those who came first in a week were seen again, and where the events of each
//! are, so that they can be forgotten.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::try_join_all;
use mundotango_storage::StoreError;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, RowRange, Wants, Whose, key, last_part, number, prefix,
    shard_of,
};
use serde::{Deserialize, Serialize};

use super::buckets;
use super::slots::{Slot, Week};

/// The members.
pub static MEMBERS: Kind<(), Member, ()> =
    Kind::new("analytics_members", "a member: 110 weeks, 1 KB", PERSONAL).implicit().ttl(REMEMBERED);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[Fields::of(
    Whose::Visitor,
    Export::Given,
    Erasure::Removed,
    &["id", "head.first", "head.seen.*", "head.is_forgotten"],
)];

/// Those who were first seen in a week, by week and shard.
pub static COHORTS: Kind<(), Cohort, BTreeSet<u32>> = Kind::new(
    "analytics_cohorts",
    "a 4th of a week's new members: 50,000 of 400 B, 20 MB",
    PERSONAL_OF_COHORTS,
)
.implicit()
.ttl(REMEMBERED);
/// The same of cohorts.
const PERSONAL_OF_COHORTS: &[Fields] = &[
    Fields::of(Whose::Visitor, Export::Given, Erasure::RowRemoved, &["keys.m", "rows.m.*"]),
    Fields::of_nobody(&["id", "head.seen.*"]),
];

/// In which slots a member has events; as long as the events are kept.
pub static TRACES: Kind<(), (), ()> =
    Kind::new("analytics_traces", "a member: 3,840 slots of 60 B, 230 KB", PERSONAL_OF_TRACES)
        .implicit()
        .ttl(buckets::KEPT);
/// The same of traces.
const PERSONAL_OF_TRACES: &[Fields] = &[Fields::of(
    Whose::Visitor,
    Export::NotGiven("the events are"),
    Erasure::Removed,
    &["id", "keys.b", "rows.b"],
)];

/// How long a member is remembered who is not seen: 25 months.
const REMEMBERED: Duration = Duration::from_hours(762 * 24);
/// Shards of a cohort. It is part of what is stored.
const SHARDS: u64 = 4;
/// Weeks after the first one in which a member's coming back is counted.
const MOST_WEEKS: u32 = 108;
/// Slots that are read at once.
const SLOTS_AT_ONCE: usize = 100;

/// When a member was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// The week of the first event that was counted.
    first: Option<Week>,
    /// Weeks after the first one in which there were events.
    seen: BTreeSet<u32>,
    /// What is kept of the member is being removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_forgotten: bool,
}

/// How many members were seen so many weeks after their first one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cohort {
    seen: Vec<u64>,
}

fn cohort_id(week: Week, shard: u64) -> String {
    key(&[&week.0.to_string(), &shard.to_string()])
}

fn member_key(member: &str) -> String {
    key(&["m", member])
}

/// Notes that a member was seen in a week, once; whether it is still a member, and was not forgotten.
pub async fn seen(db: &Db, member: &str, week: Week) -> Result<bool, StoreError> {
    let begun = db.change(&MEMBERS, member, Wants::head(), move |part| {
        if part.head.is_forgotten {
            return Ok::<_, StoreError>(Decision::Stands(None));
        }
        let first = part.head.first.unwrap_or(week);
        // An event that comes late and happened before counts for the first week.
        let after = week.0.saturating_sub(first.0).min(MOST_WEEKS);
        let answer = Some((first, after, part.head.seen.contains(&after)));
        if part.head.first.is_some() {
            return Ok(Decision::Stands(answer));
        }
        part.head.first = Some(first);
        Ok(Decision::Write(answer))
    });
    let Some((first, after, is_known)) = begun.await?.flatten() else { return Ok(false) };
    if is_known {
        return Ok(true);
    }
    // The cohort comes first: it counts a member once, however often that is tried.
    let (row, shard) = (member_key(member), shard_of(member, SHARDS));
    db.change(&COHORTS, &cohort_id(first, shard), Wants::head().row(&row), move |part| {
        let mut weeks = part.row(&row).cloned().unwrap_or_default();
        if !weeks.insert(after) {
            return Ok::<_, StoreError>(Decision::Stands(()));
        }
        let at = after as usize;
        if part.head.seen.len() <= at {
            part.head.seen.resize(at + 1, 0);
        }
        if let Some(number) = part.head.seen.get_mut(at) {
            *number += 1;
        }
        part.set(&row, weeks);
        Ok(Decision::Write(()))
    })
    .await?;
    db.change(&MEMBERS, member, Wants::head(), move |part| {
        let is_new = part.head.seen.insert(after);
        Ok::<_, StoreError>(if is_new { Decision::Write(()) } else { Decision::Stands(()) })
    })
    .await?;
    is_kept(db, member).await
}

/// Whether a member was not forgotten.
pub async fn is_kept(db: &Db, member: &str) -> Result<bool, StoreError> {
    Ok(db.read(&MEMBERS, member).await?.is_some_and(|found| !found.head.is_forgotten))
}

/// Notes in which slots a member has events. To be called before they are kept, so that none is kept that
/// cannot be found.
pub async fn trace(db: &Db, member: &str, slots: &BTreeSet<Slot>) -> Result<(), StoreError> {
    let rows: Vec<_> = slots.iter().map(|slot| key(&["b", &number(u64::from(slot.0))])).collect();
    let wants = rows.iter().fold(Wants::head(), |wants, row| wants.row(row.as_str()));
    db.change(&TRACES, member, wants, move |part| {
        let mut missing = rows.clone();
        missing.retain(|row| part.row(row).is_none());
        if missing.is_empty() {
            return Ok::<_, StoreError>(Decision::Stands(()));
        }
        for row in missing {
            part.set(row, ());
        }
        Ok(Decision::Write(()))
    })
    .await
    .map(drop)
}

/// How many of those who were first seen in each of these weeks were seen in that week, in the one after, and
/// so on.
pub async fn cohorts(db: &Db, weeks: &[Week]) -> Result<Vec<Vec<u64>>, StoreError> {
    try_join_all(weeks.iter().map(async |week| {
        let ids: Vec<_> = (0..SHARDS).map(|shard| cohort_id(*week, shard)).collect();
        let mut sum: Vec<u64> = Vec::new();
        for cohort in db.read_all(&COHORTS, &ids).await?.into_iter().flatten() {
            sum.resize(sum.len().max(cohort.head.seen.len()), 0);
            sum.iter_mut().zip(&cohort.head.seen).for_each(|(sum, number)| *sum += number);
        }
        Ok(sum)
    }))
    .await
}

/// Removes all that is kept of a member; how many events that were. Numbers that the member is part of stay.
/// No event of the member is counted any more.
pub async fn forget(db: &Db, member: &str) -> Result<usize, StoreError> {
    // From here on events of the member that still wait are not counted. The first week stays until the end,
    // so that an attempt after this one finds the cohort.
    let begun = db.change(&MEMBERS, member, Wants::head(), |part| {
        part.head.is_forgotten = true;
        Ok::<_, StoreError>(Decision::Write(part.head.first))
    });
    let Some(first) = begun.await? else { return Ok(0) };
    let mut removed = 0;
    let mut range = RowRange::first(prefix(&["b"]), SLOTS_AT_ONCE);
    loop {
        let page = db.rows(&TRACES, member, &range).await?;
        for (key, ()) in page.items {
            let Ok(slot) = last_part(&key).parse() else { continue };
            removed += buckets::forget(db, Slot(slot), member).await?;
        }
        if page.next.is_none() {
            break;
        }
        range = range.after(page.next);
    }
    if let Some(first) = first {
        let (row, shard) = (member_key(member), shard_of(member, SHARDS));
        db.change(&COHORTS, &cohort_id(first, shard), Wants::head().row(&row), move |part| {
            if part.row(&row).is_none() {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.remove(&row);
            Ok(Decision::Write(()))
        })
        .await?;
    }
    db.change(&TRACES, member, Wants::head(), |_| Ok::<_, StoreError>(Decision::Delete(()))).await?;
    db.change(&MEMBERS, member, Wants::head(), |_| Ok::<_, StoreError>(Decision::Delete(()))).await?;
    Ok(removed)
}
