//! Buckets: the events of a quarter of an hour, with what they come to.
//!
//! A bucket lies in a few shards, by the ids of events. An event's row, the counts and the sketches of
//! visitors change in one step, and an event whose row is there is not counted again: so events may come
//! twice, in any order, and late.
//!
//! Rows: `e`, id → an event · `s`, list, dimension → a sketch · `j`, job → that the server's own counts of
//! a job are in.
//!
//! What is written lives for [`KEPT`]. Events are taken until [`TAKEN`] after they happened, and none happens
//! much later than it comes; so while an event may come again, neither its row nor a total that it is part of
//! has expired.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::SignedDuration;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, RowRange, Wants, Whose, key, last_part, prefix, shard_of,
};
use mundotango_storage::{Page, StoreError};
use serde::{Deserialize, Serialize};

use super::counts::{BUCKET_NAMES, Class, Counts, Tally};
use super::events::{Event, Kept, Sender};
use super::hll::Sketch;
use super::slots::Slot;

/// The buckets, by slot and shard.
pub static BUCKETS: Kind<(), Head, Row> = Kind::new(
    "analytics_buckets",
    "a 4th of a quarter of an hour: 100,000 events of 250 B and 130 sketches of 16 KB at most, 27 MB",
    PERSONAL,
)
.implicit()
.ttl(KEPT);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(Whose::Visitor, Export::Given, Erasure::RowRemoved, &["keys.e", "rows.e.event.**"]),
    Fields::of(
        Whose::Visitor,
        Export::NotGiven("only how many can be told of it"),
        Erasure::Kept("40 days, by its time to live; the number of visitors stays right"),
        &["rows.s.sketch"],
    ),
    Fields::of_nobody(&["id", "head.counts.**", "keys.s", "keys.j", "rows.j"]),
];

/// How long what is in a bucket lives.
pub const KEPT: Duration = Duration::from_hours(40 * 24);
/// How old an event may be when it is counted: shorter than [`KEPT`] by more than the attempts at a change
/// take.
pub const TAKEN: SignedDuration = SignedDuration::from_hours(39 * 24);
/// How old a slot may be when it is folded: no row of it has expired before.
pub const FOLDED: SignedDuration = SignedDuration::from_hours(39 * 24 + 12);
/// Shards of a bucket. It is part of what is stored.
pub const SHARDS: usize = 4;

/// Most events that a change counts.
const EVENTS_AT_ONCE: usize = 50;
/// Most names and paths that a change is of: each may have a sketch of 16 KB, and a change should stay below
/// 256 KB.
const NAMES_AT_ONCE: usize = 8;
/// Rows that are read at once.
const ROWS_AT_ONCE: usize = 100;

/// What the events of a shard come to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    counts: Counts,
}

/// A row of a shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Row {
    /// An event.
    Event(Kept),
    /// The visitors of a dimension.
    Sketch(Sketch),
    /// The counts of a job are in.
    Counted,
}

/// Which visitors a sketch is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// Users.
    Members,
    /// Those who are not logged in.
    Anonymous,
}

impl List {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Members, Self::Anonymous];

    fn letter(self) -> &'static str {
        match self {
            Self::Members => "m",
            Self::Anonymous => "a",
        }
    }
}

/// What came of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Events that were counted now.
    pub counted: u64,
    /// Events that had been counted before.
    pub duplicates: u64,
}

/// Counts of the server itself: events of a dimension.
pub type Counted = Vec<(String, Tally)>;

fn shard_id(slot: Slot, shard: usize) -> String {
    key(&[&slot.0.to_string(), &shard.to_string()])
}

fn shards(slot: Slot) -> Vec<String> {
    (0..SHARDS).map(|shard| shard_id(slot, shard)).collect()
}

/// The shard that an event or job falls into.
fn shard_of_id(slot: Slot, id: &str) -> String {
    let shard = shard_of(id, SHARDS as u64);
    shard_id(slot, usize::try_from(shard).unwrap_or_default())
}

fn event_key(id: &str) -> String {
    key(&["e", id])
}

fn sketch_key(list: List, dimension: &str) -> String {
    key(&["s", list.letter(), dimension])
}

/// Counts events of one sender that happened in a slot, each once.
pub async fn apply(db: &Db, slot: Slot, sender: &Sender, events: Vec<Event>) -> Result<Applied, StoreError> {
    let mut by_shard: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in events {
        by_shard.entry(shard_of_id(slot, &event.id)).or_default().push(event);
    }
    let mut applied = Applied::default();
    for (shard, events) in by_shard {
        for some in portions(events) {
            let all = some.len() as u64;
            let counted = count(db, &shard, sender.clone(), some).await?;
            applied.counted += counted;
            applied.duplicates += all - counted;
        }
    }
    Ok(applied)
}

/// Events in portions, each of which is one change.
fn portions(events: Vec<Event>) -> Vec<Vec<Event>> {
    let mut portions: Vec<Vec<Event>> = Vec::new();
    let mut names = BTreeSet::new();
    for event in events {
        let own: BTreeSet<_> = event.dimensions().collect();
        let more = own.difference(&names).count();
        match portions.last_mut() {
            // All and the kinds are not many.
            Some(last) if last.len() < EVENTS_AT_ONCE && names.len() + more <= NAMES_AT_ONCE + 2 => {
                last.push(event);
            }
            _ => {
                names.clear();
                portions.push(vec![event]);
            }
        }
        names.extend(own);
    }
    portions
}

/// Counts events that are not there yet; how many.
async fn count(db: &Db, shard: &str, sender: Sender, events: Vec<Event>) -> Result<u64, StoreError> {
    let list = if sender.visitor.is_member() { List::Members } else { List::Anonymous };
    let is_human = sender.class == Class::Human;
    let dimensions: BTreeSet<_> = events.iter().flat_map(Event::dimensions).filter(|_| is_human).collect();
    let wants = events.iter().fold(Wants::head(), |wants, event| wants.row(event_key(&event.id)));
    let wants = dimensions.iter().fold(wants, |wants, dimension| wants.row(sketch_key(list, dimension)));
    let counted = db.change(&BUCKETS, shard, wants, move |part| {
        let (mut counted, mut places) = (0, BTreeSet::new());
        for event in &events {
            let row = event_key(&event.id);
            if part.row(&row).is_some() {
                continue;
            }
            for dimension in event.dimensions() {
                let one = Tally::of(sender.class, 1);
                places.insert(part.head.counts.add(&dimension, one, BUCKET_NAMES));
            }
            part.set(row, Row::Event(Kept { sender: sender.clone(), event: event.clone() }));
            counted += 1;
        }
        if counted == 0 {
            return Ok::<_, StoreError>(Decision::Stands(0));
        }
        // Who is no person is counted, and is no visitor.
        for place in places.iter().filter(|_| is_human) {
            let row = sketch_key(list, place);
            let mut sketch = match part.row(&row) {
                Some(Row::Sketch(sketch)) => sketch.clone(),
                _ => Sketch::default(),
            };
            if sketch.add(sender.visitor.as_str()) {
                part.set(row, Row::Sketch(sketch));
            }
        }
        Ok(Decision::Write(counted))
    });
    Ok(counted.await?.unwrap_or_default())
}

/// Adds what the server counted itself, once for each job.
pub async fn add_counts(db: &Db, slot: Slot, job: &str, counts: Counted) -> Result<(), StoreError> {
    let row = key(&["j", job]);
    let shard = shard_of_id(slot, job);
    db.change(&BUCKETS, &shard, Wants::head().row(&row), move |part| {
        if part.row(&row).is_some() {
            return Ok::<_, StoreError>(Decision::Stands(()));
        }
        for (dimension, tally) in &counts {
            part.head.counts.add(dimension, *tally, BUCKET_NAMES);
        }
        part.set(&row, Row::Counted);
        Ok(Decision::Write(()))
    })
    .await
    .map(drop)
}

/// What the events of a slot come to, and the versions of the shards that say so.
pub async fn totals(db: &Db, slot: Slot) -> Result<(Counts, Vec<u64>), StoreError> {
    let (mut counts, mut versions) = (Counts::default(), Vec::with_capacity(SHARDS));
    for found in db.read_all(&BUCKETS, &shards(slot)).await? {
        versions.push(found.as_ref().map_or(0, |found| found.version));
        if let Some(found) = found {
            counts.add_all(&found.head.counts, SHARDS * BUCKET_NAMES);
        }
    }
    Ok((counts, versions))
}

/// The visitors of a dimension in a slot.
pub async fn visitors(db: &Db, slot: Slot, list: List, dimension: &str) -> Result<Sketch, StoreError> {
    let mut all = Sketch::default();
    let rows = db.row_of_all(&BUCKETS, &shards(slot), &sketch_key(list, dimension)).await?;
    for row in rows.into_iter().flatten() {
        if let Row::Sketch(sketch) = row {
            all.unite(&sketch);
        }
    }
    Ok(all)
}

/// The visitors of all dimensions in a slot.
pub async fn all_visitors(db: &Db, slot: Slot) -> Result<BTreeMap<(String, List), Sketch>, StoreError> {
    let mut all: BTreeMap<(String, List), Sketch> = BTreeMap::new();
    for shard in shards(slot) {
        for list in List::BOTH {
            let mut range = RowRange::first(prefix(&["s", list.letter()]), ROWS_AT_ONCE);
            loop {
                let Page { items, next } = db.rows(&BUCKETS, &shard, &range).await?;
                for (key, row) in items {
                    if let Row::Sketch(sketch) = row {
                        all.entry((last_part(&key), list)).or_default().unite(&sketch);
                    }
                }
                if next.is_none() {
                    break;
                }
                range = range.after(next);
            }
        }
    }
    Ok(all)
}

/// Events of a shard of a slot, a page at a time, in the order of their ids. The cursor is the last key.
pub async fn events(
    db: &Db,
    slot: Slot,
    shard: usize,
    after: Option<String>,
) -> Result<Page<Kept>, StoreError> {
    let range = RowRange::first(prefix(&["e"]), ROWS_AT_ONCE).after(after);
    let page = db.rows(&BUCKETS, &shard_id(slot, shard), &range).await?;
    let events = page.items.into_iter().filter_map(|(_, row)| match row {
        Row::Event(event) => Some(event),
        Row::Sketch(_) | Row::Counted => None,
    });
    Ok(Page { items: events.collect(), next: page.next })
}

/// Removes the events of a visitor from a slot; how many. What they were counted as stays.
pub async fn forget(db: &Db, slot: Slot, visitor: &str) -> Result<usize, StoreError> {
    let forgotten = (0..SHARDS).map(async |shard| {
        let (mut after, mut removed) = (None, 0);
        loop {
            let Page { items, next } = events(db, slot, shard, after).await?;
            let own = items.into_iter().filter(|kept| kept.sender.visitor.as_str() == visitor);
            let rows: Vec<_> = own.map(|kept| event_key(&kept.event.id)).collect();
            removed += rows.len();
            if !rows.is_empty() {
                db.change(&BUCKETS, &shard_id(slot, shard), Wants::head(), move |part| {
                    for row in &rows {
                        part.remove(row);
                    }
                    Ok::<_, StoreError>(Decision::Write(()))
                })
                .await?;
            }
            if next.is_none() {
                return Ok::<_, StoreError>(removed);
            }
            after = next;
            tokio::task::consume_budget().await;
        }
    });
    Ok(try_join_all(forgotten).await?.into_iter().sum())
}
