//! What the store promises of partitions and indexes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::new_id;
use crate::StoreError;
use crate::db::{Db, Decision, Index, Kind, Order, RowRange, Schema, Wants, key, last_part, number, prefix};

/// A partition that is created.
pub(super) static NOTES: Kind<Facts, Head, Row> = Kind::new("test_notes", "a test's", &[]);
/// The same table as a newer version of the program has it.
static NEWER_NOTES: Kind<Facts, NewerHead, Row> = Kind::new("test_notes", "a test's", &[]);
/// A partition that is there without having been created.
pub(super) static COUNTERS: Kind<(), Head, Row> = Kind::new("test_counters", "a test's", &[]).implicit();
/// A counter in shards.
static TALLIES: Kind<(), Head, Row> =
    Kind::new("test_tallies", "a test's", &[]).sharded(4).cached(Duration::from_mins(1));
/// A list by day.
pub(super) static DAYS: Index<u64> = Index::new("test_days", "a test's", day, Order::NewestFirst, &[]);
/// A list in the order of its making.
static LOG: Index<u64> = Index::new("test_log", "a test's", day, Order::OldestFirst, &[]);

/// How long what expires lives. An engine may take it for gone a second earlier.
const TTL: Duration = Duration::from_secs(3);
/// A partition that expires.
pub(super) static PASSING: Kind<Facts, Head, Row> = Kind::new("test_passing", "a test's", &[]).ttl(TTL);
/// A list whose entries expire.
static PASSING_LOG: Index<u64> =
    Index::new("test_passing_log", "a test's", day, Order::OldestFirst, &[]).ttl(TTL);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) author: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) count: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct NewerHead {
    count: u64,
    colour: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) number: u64,
}

/// The kind of partition on which the model test works.
pub(super) static MODEL: Kind<(), Head, Row> = Kind::new("test_model", "a test's", &[]).implicit();

/// What the suite keeps. A store has to be opened with it.
pub fn schema() -> Schema {
    Schema {
        kinds: vec![NOTES.spec(), COUNTERS.spec(), TALLIES.spec(), MODEL.spec(), PASSING.spec()],
        indexes: vec![DAYS.spec(), LOG.spec(), PASSING_LOG.spec()],
    }
}

/// The tables of the suite on a CQL server: one a kind, two an index, that of the outbox among them.
pub const TABLES_OF_THE_SUITE: usize = 13;

/// The first two digits of a key.
fn day(key: &str) -> Option<i64> {
    key.get(..2)?.parse().ok()
}

#[derive(Debug)]
enum Failure {
    Refused,
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Runs the suite on stores that share their data, as the nodes of a cluster do; one alone may be given twice.
pub async fn db(one: Db, other: Db) {
    a_partition_is_created_and_read(&one).await;
    one_of_many_creates_it(&one, &other).await;
    ids_and_keys_hold_any_text(&one).await;
    rows_are_read_page_by_page(&one).await;
    a_rule_decides(&one).await;
    what_a_rule_looks_at_is_fetched(&one).await;
    changes_of_all_nodes_are_counted(&one, &other).await;
    a_rule_that_fails_harms_its_caller_alone(&one).await;
    a_change_outlives_its_caller(&one).await;
    what_a_newer_version_wrote_is_kept(&one).await;
    a_deleted_partition_is_gone(&one, &other).await;
    shards_are_counted_together(&one, &other).await;
    lists_are_walked_in_order(&one).await;
    what_expires_is_gone(&one, &other).await;
}

async fn note(db: &Db) -> String {
    let id = new_id();
    db.create(&NOTES, &id, &Facts { author: "ana".to_owned() }, &[], &[]).await.unwrap();
    id
}

/// Raises the count of a partition and puts a row of its number.
async fn count<F>(db: &Db, kind: &'static Kind<F, Head, Row>, id: &str) -> Result<Option<u64>, StoreError>
where
    F: serde::de::DeserializeOwned + Send + Sync + 'static,
{
    db.change(kind, id, Wants::head(), |part| {
        part.head.count += 1;
        let count = part.head.count;
        part.set(key(&["n", &number(count)]), Row { number: count });
        Ok(Decision::Write(count))
    })
    .await
}

async fn all_rows<F>(db: &Db, kind: &'static Kind<F, Head, Row>, id: &str) -> Vec<u64> {
    let rows = db.rows(kind, id, &RowRange::first(prefix(&["n"]), 10_000)).await.unwrap();
    rows.items.into_iter().map(|(_, row)| row.number).collect()
}

async fn a_partition_is_created_and_read(db: &Db) {
    let id = note(db).await;
    let found = db.read(&NOTES, &id).await.unwrap().unwrap();
    assert_eq!((found.facts.author.as_str(), found.head.count, found.version), ("ana", 0, 0));
    assert_eq!(db.read(&NOTES, &new_id()).await.unwrap(), None);
    assert_eq!(count(db, &NOTES, &new_id()).await.unwrap(), None, "only what was created is changed");
    assert_eq!(count(db, &NOTES, &id).await.unwrap(), Some(1));
    let found = db.read(&NOTES, &id).await.unwrap().unwrap();
    assert_eq!((found.head.count, found.version), (1, 1));
    let many = db.read_all(&NOTES, &[new_id(), id.clone()]).await.unwrap();
    assert_eq!(many, [None, Some(found)]);
    assert_eq!(count(db, &COUNTERS, &new_id()).await.unwrap(), Some(1), "implicit ones are there");
}

async fn one_of_many_creates_it(one: &Db, other: &Db) {
    let id = new_id();
    let racing: Vec<_> = (0..8_u64)
        .map(|index| {
            let (db, id) = (if index % 2 == 0 { one.clone() } else { other.clone() }, id.clone());
            tokio::spawn(async move {
                let (facts, head) = (Facts { author: index.to_string() }, Head { count: index });
                let rows = [(key(&["n", &number(index)]), Row { number: index })];
                db.create_once(&NOTES, &id, &facts, &head, &rows, &[]).await.unwrap().then_some(index)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for one in racing {
        winners.extend(one.await.unwrap());
    }
    let [winner] = winners[..] else { panic!("{winners:?} created it") };
    let found = one.read(&NOTES, &id).await.unwrap().unwrap();
    assert_eq!((found.facts.author, found.head.count), (winner.to_string(), winner));
    assert_eq!(all_rows(one, &NOTES, &id).await, [winner]);
    assert_eq!(count(other, &NOTES, &id).await.unwrap(), Some(winner + 1));
}

async fn ids_and_keys_hold_any_text(db: &Db) {
    let base = new_id();
    let ids = [base.clone(), format!("{base}\0b"), format!("{base}/b"), format!("{base}%2fb é")];
    for (index, id) in ids.iter().enumerate() {
        for _ in 0..=index {
            count(db, &COUNTERS, id).await.unwrap();
        }
    }
    for (index, id) in ids.iter().enumerate() {
        assert_eq!(all_rows(db, &COUNTERS, id).await.len(), index + 1, "{id:?}");
    }
    let names = ["", "a", "a/b", "a\0", "%2f", "é"];
    let id = new_id();
    for name in names {
        let key = key(&["name", name]);
        db.change(&COUNTERS, &id, Wants::head(), move |part| {
            part.set(&key, Row { number: 1 });
            Ok::<_, StoreError>(Decision::Write(()))
        })
        .await
        .unwrap();
    }
    let rows = db.rows(&COUNTERS, &id, &RowRange::first(prefix(&["name"]), 10)).await.unwrap();
    let found: BTreeSet<_> = rows.items.iter().map(|(key, _)| last_part(key)).collect();
    assert_eq!(found, names.iter().map(|name| (*name).to_owned()).collect());
}

async fn rows_are_read_page_by_page(db: &Db) {
    let id = new_id();
    db.change(&COUNTERS, &id, Wants::head(), |part| {
        for row in 0..7 {
            part.set(key(&["n", &number(row)]), Row { number: row });
        }
        part.set(key(&["o", "x"]), Row { number: 99 });
        Ok::<_, StoreError>(Decision::Write(()))
    })
    .await
    .unwrap();
    for (range, expected) in [
        (RowRange::first(prefix(&["n"]), 3), vec![0, 1, 2, 3, 4, 5, 6]),
        (RowRange::last(prefix(&["n"]), 3), vec![6, 5, 4, 3, 2, 1, 0]),
    ] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = db.rows(&COUNTERS, &id, &range.clone().after(after)).await.unwrap();
            assert!(page.items.len() == 3 || page.next.is_none(), "a page before the last is full");
            found.extend(page.items.into_iter().map(|(_, row)| row.number));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected);
    }
}

async fn a_rule_decides(db: &Db) {
    let id = note(db).await;
    let stands = db.change(&NOTES, &id, Wants::head(), |part| {
        part.head.count = 7;
        Ok::<_, StoreError>(Decision::Stands("as it is"))
    });
    assert_eq!(stands.await.unwrap(), Some("as it is"));
    let refused = db.change(&NOTES, &id, Wants::head(), |part| {
        part.head.count = 8;
        part.set("n/1", Row { number: 1 });
        Err::<Decision<()>, _>(Failure::Refused)
    });
    assert!(matches!(refused.await, Err(Failure::Refused)));
    let found = db.read(&NOTES, &id).await.unwrap().unwrap();
    assert_eq!((found.head.count, found.version), (0, 0), "neither wrote anything");
    assert!(all_rows(db, &NOTES, &id).await.is_empty());
}

async fn what_a_rule_looks_at_is_fetched(db: &Db) {
    let id = new_id();
    for _ in 0..5 {
        count(db, &COUNTERS, &id).await.unwrap();
    }
    // Nothing of it was asked for before.
    let seen = db.change(&COUNTERS, &id, Wants::head(), |part| {
        let first: Vec<_> = part.first(&prefix(&["n"]), 2).into_iter().map(|(_, row)| row.number).collect();
        let third = part.row(&key(&["n", &number(3)])).map(|row| row.number);
        let none = part.row(&key(&["n", &number(9)])).map(|row| row.number);
        for taken in &first {
            part.remove(key(&["n", &number(*taken)]));
        }
        Ok::<_, StoreError>(Decision::Write((first, third, none)))
    });
    assert_eq!(seen.await.unwrap(), Some((vec![1, 2], Some(3), None)));
    assert_eq!(all_rows(db, &COUNTERS, &id).await, [3, 4, 5]);
    // Servers refuse to look for no rows at all.
    let below = prefix(&["n"]);
    let none = db.change(&COUNTERS, &id, Wants::head().first(&below, 0), move |part| {
        Ok::<_, StoreError>(Decision::Stands(part.first(&below, 0).len()))
    });
    assert_eq!(none.await.unwrap(), Some(0));
    // One that never has enough ends, and nobody else is harmed.
    let endless = async {
        let mut asked = 0;
        db.change(&COUNTERS, &id, Wants::head(), move |part| {
            asked += 1;
            let _ = part.row(&key(&["n", &number(100 + asked)]));
            Ok::<_, StoreError>(Decision::Write(()))
        })
        .await
    };
    let (endless, counted) = tokio::join!(endless, count(db, &COUNTERS, &id));
    assert!(matches!(endless, Err(StoreError::Unavailable(_))), "{endless:?}");
    assert_eq!(counted.unwrap(), Some(6));
}

async fn changes_of_all_nodes_are_counted(one: &Db, other: &Db) {
    let id = new_id();
    let racing: Vec<_> = (0..60)
        .map(|index| {
            let (db, id) = (if index % 2 == 0 { one.clone() } else { other.clone() }, id.clone());
            tokio::spawn(async move { count(&db, &COUNTERS, &id).await.unwrap().unwrap() })
        })
        .collect();
    let mut numbers = BTreeSet::new();
    for one in racing {
        assert!(numbers.insert(one.await.unwrap()), "a number was given twice");
    }
    assert!(numbers.into_iter().eq(1..=60));
    let found = one.read(&COUNTERS, &id).await.unwrap().unwrap();
    assert_eq!(found.head.count, 60);
    assert!(found.version < 60, "those that waited shared a write: {}", found.version);
    assert!(all_rows(other, &COUNTERS, &id).await.into_iter().eq(1..=60));
}

async fn a_rule_that_fails_harms_its_caller_alone(db: &Db) {
    let id = new_id();
    let asked = (0..30_u64).map(|index| {
        let (db, id) = (db.clone(), id.clone());
        async move {
            db.change(&COUNTERS, &id, Wants::head(), move |part| {
                part.head.count += 1;
                match index % 3 {
                    0 => Ok(Decision::Write(())),
                    1 => Err(Failure::Refused),
                    _ => panic!("a rule of the test panics"),
                }
            })
            .await
        }
    });
    let outcomes = futures_util::future::join_all(asked).await;
    for (index, outcome) in outcomes.into_iter().enumerate() {
        match (index % 3, outcome) {
            (0, Ok(Some(())))
            | (1, Err(Failure::Refused))
            | (2, Err(Failure::Store(StoreError::Unavailable(_)))) => {}
            (_, outcome) => panic!("{index}: {outcome:?}"),
        }
    }
    assert_eq!(db.read(&COUNTERS, &id).await.unwrap().unwrap().head.count, 10);
}

async fn a_change_outlives_its_caller(db: &Db) {
    let id = new_id();
    for _ in 0..20 {
        // Polled once: it is under way, and its caller goes away.
        let mut change = Box::pin(count(db, &COUNTERS, &id));
        let _ = futures_util::poll!(&mut change);
    }
    // What was asked last is carried out last.
    assert_eq!(count(db, &COUNTERS, &id).await.unwrap(), Some(21));
}

async fn what_a_newer_version_wrote_is_kept(db: &Db) {
    let id = note(db).await;
    let colour = db.change(&NEWER_NOTES, &id, Wants::head(), |part| {
        "red".clone_into(&mut part.head.colour);
        Ok::<_, StoreError>(Decision::Write(()))
    });
    colour.await.unwrap();
    count(db, &NOTES, &id).await.unwrap();
    let found = db.read(&NEWER_NOTES, &id).await.unwrap().unwrap();
    assert_eq!(found.head, NewerHead { count: 1, colour: "red".to_owned() });
}

async fn a_deleted_partition_is_gone(one: &Db, other: &Db) {
    let id = note(one).await;
    for _ in 0..3 {
        count(one, &NOTES, &id).await.unwrap();
    }
    let delete = |db: &Db| {
        let (db, id) = (db.clone(), id.clone());
        async move {
            db.change(&NOTES, &id, Wants::head(), |part| {
                Ok::<_, StoreError>(Decision::Delete(part.head.count))
            })
            .await
        }
    };
    assert_eq!(delete(one).await.unwrap(), Some(3));
    assert_eq!(one.read(&NOTES, &id).await.unwrap(), None);
    assert_eq!(count(other, &NOTES, &id).await.unwrap(), None);
    assert_eq!(delete(other).await.unwrap(), None);
    assert!(all_rows(one, &NOTES, &id).await.is_empty());
    let (facts, head) = (Facts { author: "eva".to_owned() }, Head::default());
    let again = one.create_once(&NOTES, &id, &facts, &head, &[], &[]).await;
    assert!(!again.unwrap(), "an id is never used again");
}

/// Counts a user once, in the user's shard.
async fn tally(db: &Db, id: &str, user: u64) -> Option<bool> {
    let (row, name) = (key(&["u", &number(user)]), user.to_string());
    let counted = db.change_shard(&TALLIES, id, &name, Wants::head().row(&row), move |part| {
        if part.row(&row).is_some() {
            return Ok::<_, StoreError>(Decision::Stands(false));
        }
        part.head.count += 1;
        part.set(&row, Row { number: user });
        Ok(Decision::Write(true))
    });
    counted.await.unwrap()
}

async fn tallied(db: &Db, id: &str) -> u64 {
    db.sum_of_shards(&TALLIES, id, |sum, head| *sum += head.count).await.unwrap()
}

async fn shards_are_counted_together(one: &Db, other: &Db) {
    let id = format!("{}#x/y", new_id());
    assert_eq!(tallied(one, &id).await, 0);
    let told = Arc::new(AtomicU64::new(0));
    one.on_change_of_shards(&TALLIES, {
        let (told, id) = (Arc::clone(&told), id.clone());
        move |changed| {
            assert_eq!(changed, id);
            told.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert_eq!(tally(one, &id, 0).await, Some(true));
    assert_eq!(tallied(one, &id).await, 1, "what a node changes shows there at once");
    assert!(told.load(Ordering::Relaxed) > 0, "the node is told of the change");
    let racing = (0..40_u64).flat_map(|user| [(one, user), (other, user)]);
    let counted = join_all(racing.map(|(db, user)| tally(db, &id, user))).await;
    assert_eq!(counted.iter().filter(|counted| **counted == Some(true)).count(), 39, "each user once");
    for db in [one, other] {
        let shards = db.shards_now(&TALLIES, &id).await.unwrap();
        assert!(shards.heads.iter().all(|head| head.count > 0), "{shards:?}");
        // Changes that were carried out together raise the version once.
        assert_eq!(shards.heads.iter().map(|head| head.count).sum::<u64>(), 40);
        assert!((1..=40).contains(&shards.version), "{shards:?}");
        assert_eq!(tallied(db, &id).await, 40, "what was read anew is kept");
        let ids = [id.clone(), new_id()];
        let rows = db.row_in_shards(&TALLIES, &ids, "7", &key(&["u", &number(7)])).await.unwrap();
        assert_eq!(rows, [Some(Row { number: 7 }), None]);
    }
    other.delete_shards(&TALLIES, &id).await.unwrap();
    assert_eq!(one.shards_now(&TALLIES, &id).await.unwrap().heads, vec![Head::default(); 4]);
    assert_eq!(tally(one, &id, 50).await, None, "nobody is counted after the end");
    let row = key(&["u", &number(7)]);
    assert_eq!(one.row_in_shards(&TALLIES, &[id], "7", &row).await.unwrap(), [None]);
}

async fn lists_are_walked_in_order(db: &Db) {
    let (mine, yours, empty) = (new_id(), new_id(), new_id());
    let mut expected = Vec::new();
    for entry in 0..60_u64 {
        // Two entries a day, in turns of two lists.
        let at = format!("{:02}-{entry:03}", 10 + entry / 2);
        let list = if entry % 3 == 0 { &mine } else { &yours };
        let entries = [DAYS.entry(list, &at, &entry).unwrap(), LOG.entry(list, &at, &entry).unwrap()];
        db.add_entries(&entries).await.unwrap();
        db.add_entries(&entries).await.unwrap();
        expected.push(entry);
    }
    let lists = [mine.as_str(), yours.as_str(), empty.as_str()];
    assert_eq!(walk_all(db, &LOG, &lists).await, expected);
    expected.reverse();
    assert_eq!(walk_all(db, &DAYS, &lists).await, expected);
    let own: Vec<_> = expected.into_iter().filter(|entry| entry % 3 == 0).collect();
    assert_eq!(walk_all(db, &DAYS, &lists[..1]).await, own);
    let foreign = db.walk(&DAYS, &lists, Some("no day"), 5).await;
    assert!(matches!(foreign, Err(StoreError::BadCursor)));
    let page = db.walk(&DAYS, &lists[2..], None, 5).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_none());
    let gone = DAYS.entry(mine.clone(), "38-057", &57).unwrap();
    db.remove_entries(&[gone]).await.unwrap();
    assert_eq!(walk_all(db, &DAYS, &lists[..1]).await, own[1..]);
}

async fn what_expires_is_gone(one: &Db, other: &Db) {
    let (left, renewed, deleted, list) = (new_id(), new_id(), new_id(), new_id());
    let facts = Facts { author: "ana".to_owned() };
    let entry = |number: u64| PASSING_LOG.entry(&list, &format!("10-{number}"), &number).unwrap();
    one.create(&PASSING, &left, &facts, &[entry(1)], &[]).await.unwrap();
    let rows = [(key(&["n", &number(0)]), Row { number: 0 })];
    let created = one.create_once(&PASSING, &renewed, &facts, &Head { count: 0 }, &rows, &[]).await;
    assert!(created.unwrap());
    one.create(&PASSING, &deleted, &facts, &[], &[]).await.unwrap();
    let deleting =
        one.change(&PASSING, &deleted, Wants::head(), |_| Ok::<_, StoreError>(Decision::Delete(())));
    assert_eq!(deleting.await.unwrap(), Some(()));
    assert_eq!(walk_all(one, &PASSING_LOG, &[&list]).await, [1]);
    for change in 1..=8_u64 {
        tokio::time::sleep(TTL / 6).await;
        assert_eq!(count(other, &PASSING, &renewed).await.unwrap(), Some(change), "what is changed stays");
    }
    one.add_entries(&[entry(2)]).await.unwrap();
    assert_eq!(one.read(&PASSING, &left).await.unwrap(), None);
    assert_eq!(count(one, &PASSING, &left).await.unwrap(), None);
    assert_eq!(walk_all(one, &PASSING_LOG, &[&list]).await, [2], "its bucket is listed again");
    let rows = all_rows(one, &PASSING, &renewed).await;
    assert!(!rows.contains(&0) && rows.contains(&8), "each row lives for itself: {rows:?}");
    tokio::time::sleep(TTL + TTL / 6).await;
    assert_eq!(one.read(&PASSING, &renewed).await.unwrap(), None);
    assert!(all_rows(one, &PASSING, &renewed).await.is_empty());
    for id in [&left, &renewed, &deleted] {
        let again = other.create_once(&PASSING, id, &facts, &Head { count: 5 }, &[], &[]).await;
        assert!(again.unwrap(), "it is as new");
        assert_eq!(count(one, &PASSING, id).await.unwrap(), Some(6));
    }
}

async fn walk_all(db: &Db, index: &'static Index<u64>, lists: &[&str]) -> Vec<u64> {
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = db.walk(index, lists, after.as_deref(), 7).await.unwrap();
        assert!(page.items.len() == 7 || page.next.is_none(), "a page before the last is full");
        found.extend(page.items.into_iter().map(|(_, entry)| entry));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

/// How long a fault may hold a call.
pub(super) const LATE: Duration = Duration::from_millis(40);
