//! Days: what the buckets of a UTC day come to, for as long as that is of interest.
//!
//! A change of a bucket marks its slot in the day's head; folding reads the bucket and writes the totals of
//! the slot, of its hour and of the day. The mark is taken away only if no other came since it was read, so a
//! late event is never lost to a fold that was under way, and late events and first ones go the same way.
//! Until then readers take the slot from its bucket.
//!
//! Folding twice changes nothing: counts are made anew of the slots below them, and sketches are united.
//!
//! Rows: `t`, level, number → counts · `v`, dimension, level, number → visitors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mundotango_storage::StoreError;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, Part, RowRange, Wants, Whose, key, last_part, prefix,
};
use serde::{Deserialize, Serialize};

use super::buckets::{self, List};
use super::counts::{Counts, DAY_NAMES};
use super::hll::Sketch;
use super::slots::{Day, Level, OF_DAY, OF_HOUR, Piece, Slot};

/// The days.
pub static DAYS: Kind<(), Head, Row> = Kind::new(
    "analytics_days",
    "a day: 121 totals of up to 260 dimensions, 3 MB, and their visitors, mostly below 30 MB",
    PERSONAL,
)
.implicit()
.ttl(KEPT);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Visitor,
        Export::NotGiven("only how many can be told of it"),
        Erasure::Kept("25 months, by its time to live; the number of visitors stays right"),
        &["rows.v.visitors.**"],
    ),
    Fields::of_nobody(&["id", "head.marks", "head.dirty.*", "keys.t", "rows.t.total.**", "keys.v"]),
];

/// How long what is known of a day lives: 25 months.
pub const KEPT: Duration = Duration::from_hours(762 * 24);

/// Dimensions whose visitors one change writes: three rows of two sketches each, 96 KB where all are as large
/// as can be.
const VISITORS_AT_ONCE: usize = 2;

/// Which slots are not folded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// Marks that were ever made; the number of the last one.
    marks: u64,
    /// The last mark of each slot that changed since it was folded.
    dirty: BTreeMap<u8, u64>,
}

/// A row of a day.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Row {
    /// Events.
    Total(Total),
    /// Visitors of a dimension.
    Visitors(Group),
}

/// Events of a slot, an hour or a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Total {
    counts: Counts,
    /// Of a slot: the versions of the bucket's shards that were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    of: Vec<u64>,
}

/// Visitors of a dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Users.
    pub members: Sketch,
    /// Those who were not logged in.
    pub anonymous: Sketch,
}

impl Group {
    /// Adds others; whether that changed anything.
    pub fn unite(&mut self, other: &Self) -> bool {
        let (members, anonymous) =
            (self.members.unite(&other.members), self.anonymous.unite(&other.anonymous));
        members || anonymous
    }

    /// All of them. Nobody has an id of both lists.
    pub fn all(&self) -> Sketch {
        let mut all = self.members.clone();
        all.unite(&self.anonymous);
        all
    }
}

fn partition(day: Day) -> String {
    day.0.to_string()
}

fn total_key(level: Level, number: u8) -> String {
    key(&["t", level.letter(), &two(number)])
}

fn visitors_key(dimension: &str, level: Level, number: u8) -> String {
    key(&["v", dimension, level.letter(), &two(number)])
}

/// A number as a part of a key that sorts as the number does.
fn two(number: u8) -> String {
    format!("{number:02}")
}

fn hour_of(slot: u8) -> u8 {
    slot / OF_HOUR
}

/// Marks slots of a day as changed. To be called after each change of their buckets.
pub async fn mark(db: &Db, day: Day, slots: BTreeSet<u8>) -> Result<(), StoreError> {
    db.change(&DAYS, &partition(day), Wants::head(), move |part| {
        for slot in &slots {
            part.head.marks += 1;
            part.head.dirty.insert(*slot, part.head.marks);
        }
        Ok::<_, StoreError>(Decision::Write(()))
    })
    .await
    .map(drop)
}

/// The slots of a day that are not folded, with their marks.
pub async fn dirty(db: &Db, day: Day) -> Result<BTreeMap<u8, u64>, StoreError> {
    Ok(db.read(&DAYS, &partition(day)).await?.map(|found| found.head.dirty).unwrap_or_default())
}

/// The slots of days that are not folded.
pub async fn dirty_of_all(db: &Db, days: &[Day]) -> Result<BTreeMap<Day, Vec<u8>>, StoreError> {
    let ids: Vec<_> = days.iter().copied().map(partition).collect();
    let found = days.iter().zip(db.read_all(&DAYS, &ids).await?);
    let dirty = found.filter_map(|(day, found)| Some((*day, found?.head.dirty.into_keys().collect())));
    Ok(dirty.filter(|(_, slots): &(Day, Vec<u8>)| !slots.is_empty()).collect())
}

/// Takes a slot's mark away, if it is still this one; whether it was.
pub async fn clear(db: &Db, slot: Slot, mark: u64) -> Result<bool, StoreError> {
    let (day, in_day) = (partition(slot.day()), slot.in_day());
    let cleared = db.change(&DAYS, &day, Wants::head(), move |part| {
        if part.head.dirty.get(&in_day) != Some(&mark) {
            return Ok::<_, StoreError>(Decision::Stands(false));
        }
        part.head.dirty.remove(&in_day);
        Ok(Decision::Write(true))
    });
    Ok(cleared.await?.unwrap_or_default())
}

/// Folds a slot into its day, where `mark` was read before; whether it needs no other fold.
pub async fn fold(db: &Db, slot: Slot, mark: u64) -> Result<bool, StoreError> {
    let (counts, versions) = buckets::totals(db, slot).await?;
    let visitors = buckets::all_visitors(db, slot).await?;
    let Some(places) = fold_counts(db, slot, counts, versions).await? else { return Ok(false) };
    fold_visitors(db, slot, visitors, &places).await?;
    clear(db, slot, mark).await
}

/// The counts of an hour and of a day: they say which names are counted by themselves.
type Places = [Counts; 2];

/// Writes the counts of a slot, its hour and its day; `None` if somebody has written newer ones.
async fn fold_counts(
    db: &Db,
    slot: Slot,
    counts: Counts,
    versions: Vec<u64>,
) -> Result<Option<Places>, StoreError> {
    let (in_day, hour) = (slot.in_day(), hour_of(slot.in_day()));
    let slots = hour * OF_HOUR..(hour + 1) * OF_HOUR;
    let hours = 0..hour_of(OF_DAY);
    let keys = slots.clone().map(|number| (Level::Slot, number));
    let keys = keys.chain(hours.clone().map(|number| (Level::Hour, number))).chain([(Level::Day, 0)]);
    let wants = keys.fold(Wants::head(), |wants, (level, number)| wants.row(total_key(level, number)));
    let day = partition(slot.day());
    let folded = db.change(&DAYS, &day, wants, move |part| {
        let before = total(part, Level::Slot, in_day);
        // Of two folds of a slot the later one may have read less.
        if before.of.iter().zip(&versions).any(|(before, now)| before > now) {
            return Ok::<_, StoreError>(Decision::Stands(None));
        }
        let own = Total { counts: counts.clone(), of: versions.clone() };
        part.set(total_key(Level::Slot, in_day), Row::Total(own));
        let of_hour = sum(part, Level::Slot, slots.clone(), (Level::Hour, hour));
        let of_day = sum(part, Level::Hour, hours.clone(), (Level::Day, 0));
        Ok(Decision::Write(Some([of_hour, of_day])))
    });
    Ok(folded.await?.flatten())
}

fn total(part: &mut Part<'_, (), Head, Row>, level: Level, number: u8) -> Total {
    match part.row(&total_key(level, number)) {
        Some(Row::Total(total)) => total.clone(),
        _ => Total::default(),
    }
}

/// Puts the sum of totals into the place of another, and returns it.
fn sum(
    part: &mut Part<'_, (), Head, Row>,
    level: Level,
    numbers: std::ops::Range<u8>,
    into: (Level, u8),
) -> Counts {
    // What was counted by itself stays so: its visitors are kept under its name.
    let mut sum = total(part, into.0, into.1).counts.emptied();
    for number in numbers {
        sum.add_all(&total(part, level, number).counts, DAY_NAMES);
    }
    part.set(total_key(into.0, into.1), Row::Total(Total { counts: sum.clone(), of: Vec::new() }));
    sum
}

/// Unites the visitors of a slot with those of its hour and its day.
async fn fold_visitors(
    db: &Db,
    slot: Slot,
    visitors: BTreeMap<(String, List), Sketch>,
    [of_hour, of_day]: &Places,
) -> Result<(), StoreError> {
    let (in_day, hour) = (slot.in_day(), hour_of(slot.in_day()));
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for ((dimension, list), sketch) in visitors {
        let group = groups.entry(dimension).or_default();
        match list {
            List::Members => group.members = sketch,
            List::Anonymous => group.anonymous = sketch,
        }
    }
    let groups: Vec<_> = groups.into_iter().collect();
    for some in groups.chunks(VISITORS_AT_ONCE) {
        let mut added: Vec<(String, Arc<Group>)> = Vec::new();
        for (dimension, group) in some {
            let group = Arc::new(group.clone());
            let place = |counts: &Counts| counts.place_of(dimension, DAY_NAMES);
            added.extend([
                (visitors_key(dimension, Level::Slot, in_day), Arc::clone(&group)),
                (visitors_key(&place(of_hour), Level::Hour, hour), Arc::clone(&group)),
                (visitors_key(&place(of_day), Level::Day, 0), group),
            ]);
        }
        let wants = added.iter().fold(Wants::head(), |wants, (row, _)| wants.row(row.as_str()));
        db.change(&DAYS, &partition(slot.day()), wants, move |part| {
            let mut changed = false;
            for (row, group) in &added {
                let mut united = match part.row(row) {
                    Some(Row::Visitors(group)) => group.clone(),
                    _ => Group::default(),
                };
                if united.unite(group) {
                    part.set(row.as_str(), Row::Visitors(united));
                    changed = true;
                }
            }
            Ok::<_, StoreError>(if changed { Decision::Write(()) } else { Decision::Stands(()) })
        })
        .await?;
        tokio::task::consume_budget().await;
    }
    Ok(())
}

/// What the events of a piece come to.
pub async fn counts(db: &Db, piece: &Piece) -> Result<Counts, StoreError> {
    let (day, level, numbers) = match piece {
        Piece::Fresh(slot) => return Ok(buckets::totals(db, *slot).await?.0),
        Piece::Folded(day, level, numbers) => (*day, *level, numbers),
    };
    let mut sum = Counts::default();
    for row in rows(db, day, prefix(&["t", level.letter()]), numbers).await? {
        if let Row::Total(total) = row {
            sum.add_all(&total.counts, usize::MAX);
        }
    }
    Ok(sum)
}

/// The visitors of a dimension in a piece.
pub async fn visitors(db: &Db, piece: &Piece, dimension: &str) -> Result<Group, StoreError> {
    let (day, level, numbers) = match piece {
        Piece::Fresh(slot) => {
            let members = buckets::visitors(db, *slot, List::Members, dimension).await?;
            let anonymous = buckets::visitors(db, *slot, List::Anonymous, dimension).await?;
            return Ok(Group { members, anonymous });
        }
        Piece::Folded(day, level, numbers) => (*day, *level, numbers),
    };
    let mut all = Group::default();
    for row in rows(db, day, prefix(&["v", dimension, level.letter()]), numbers).await? {
        if let Row::Visitors(group) = row {
            all.unite(&group);
        }
    }
    Ok(all)
}

/// The rows of numbers below a prefix.
async fn rows(
    db: &Db,
    day: Day,
    below: String,
    numbers: &std::ops::Range<u8>,
) -> Result<Vec<Row>, StoreError> {
    let after = numbers.start.checked_sub(1).map(|before| format!("{below}{}", two(before)));
    let range = RowRange::first(below, numbers.len()).after(after);
    let page = db.rows(&DAYS, &partition(day), &range).await?;
    // Where numbers have no row, those behind the range are read instead.
    let is_within = |key: &str| last_part(key).parse().is_ok_and(|number| numbers.contains(&number));
    Ok(page.items.into_iter().filter(|(key, _)| is_within(key)).map(|(_, row)| row).collect())
}
