//! What the port to an engine as a whole promises. Other suites may write meanwhile, so only what is this one's is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use mundotango_protocol::Publication;
use prost::Message as _;

use super::db::{COUNTERS, DAYS, Facts, NOTES, PASSING, Row};
use super::new_id;
use crate::db::engine::{Freshness, RowsWanted, Stored};
use crate::db::whole::{Whole, WholePartition, WholePublication};
use crate::db::{Db, Decision, KindSpec, Plain, StoredParts, Wants, key, number};
use crate::{StoreError, Stores};

/// Rows of a partition that has more than come with it.
const MANY: u64 = 700;
/// Rows that are written together.
const TOGETHER: u64 = 50;

/// Runs the suite.
pub async fn whole(stores: &Stores) {
    everything_is_read_once(stores).await;
    what_is_kept_is_read_whatever_its_types(&stores.db).await;
    what_is_restored_is_as_it_was(stores).await;
    what_is_personal_is_taken_out(&stores.db).await;
    publications_are_read_and_restored(stores).await;
}

async fn put_rows(db: &Db, id: &str, rows: u64) {
    for start in (0..rows).step_by(usize::try_from(TOGETHER).unwrap()) {
        db.change(&COUNTERS, id, Wants::head(), move |part| {
            for row in start..(start + TOGETHER).min(rows) {
                part.head.count += 1;
                part.set(key(&["n", &number(row)]), Row { number: row });
            }
            Ok::<_, StoreError>(Decision::Write(()))
        })
        .await
        .unwrap();
    }
}

/// Fills a store with so many rows, a hundred in a partition.
pub async fn fill(db: &Db, rows: u64) {
    const AT_ONCE: u64 = 256;
    let partitions: Vec<_> = (0..rows / 100).map(|_| new_id()).collect();
    for some in partitions.chunks(usize::try_from(AT_ONCE).unwrap()) {
        futures_util::future::join_all(some.iter().map(|id| put_rows(db, id, 100))).await;
    }
}

async fn all(whole: &dyn Whole, kind: &'static KindSpec) -> Vec<WholePartition> {
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = whole.partitions(kind, from.as_deref()).await.unwrap();
        found.extend(page.items);
        from = page.next;
        if from.is_none() {
            return found;
        }
    }
}

/// A partition with all its rows.
async fn whole_of(whole: &dyn Whole, kind: &'static KindSpec, mut one: WholePartition) -> Stored {
    while one.goes_on {
        let after = one.stored.rows.last_key_value().map(|(key, _)| key.clone()).unwrap_or_default();
        let more = whole.more_rows(kind, &one.id, one.stored.version, &after).await.unwrap();
        let more = more.unwrap();
        assert!(more.iter().all(|(key, _)| *key > after));
        one.goes_on = !more.is_empty();
        one.stored.rows.extend(more);
    }
    one.stored
}

/// All fields of a partition by their paths, also of one that expires and of one whose rows do not come with it.
async fn what_is_kept_is_read_whatever_its_types(db: &Db) {
    let (passing, large) = (new_id(), new_id());
    db.create(&PASSING, &passing, &Facts { author: "ana".to_owned() }, &[], &[]).await.unwrap();
    let whole = db.whole().unwrap();
    let found = whole.partition(PASSING.spec(), &passing).await.unwrap();
    assert_eq!(found.stored.decode_facts::<Facts>().unwrap().author, "ana", "its end is not part of it");
    put_rows(db, &large, MANY).await;
    let (mut fields, mut from) = (Vec::new(), None);
    loop {
        let page = db.scan_parts(COUNTERS.spec(), from.as_deref()).await.unwrap();
        let of_many = page.items.iter().map(StoredParts::fields).find(|fields| fields.len() as u64 > MANY);
        fields.extend(of_many.into_iter().flatten());
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    let paths: BTreeSet<_> = fields.iter().map(|field| field.steps.join(".")).collect();
    let wanted = ["head.count", "id", "keys.n", "rows.n.number"].map(str::to_owned);
    assert!(wanted.iter().all(|path| paths.contains(path)), "{paths:?}");
}

async fn everything_is_read_once(stores: &Stores) {
    let db = &stores.db;
    let base = new_id();
    let mut notes = BTreeSet::new();
    for index in 0..150 {
        let id = format!("{base}/{index}");
        db.create(&NOTES, &id, &Facts { author: "ana".to_owned() }, &[], &[]).await.unwrap();
        notes.insert(id);
    }
    let deleted = format!("{base}/7");
    let delete = db.change(&NOTES, &deleted, Wants::head(), |_| Ok::<_, StoreError>(Decision::Delete(())));
    delete.await.unwrap();
    let mine = |id: &String| id.starts_with(&base);

    let whole = db.whole().unwrap();
    let found: Vec<_> = all(&*whole, NOTES.spec()).await.into_iter().filter(|one| mine(&one.id)).collect();
    assert_eq!(found.iter().map(|one| one.id.clone()).collect::<BTreeSet<_>>(), notes);
    assert_eq!(found.len(), notes.len(), "each comes once");
    for one in &found {
        assert_eq!((one.stored.deleted, one.goes_on), (one.id == deleted, false));
        assert_eq!(one.stored.facts.is_some(), one.id != deleted);
        assert_eq!(whole.partition(NOTES.spec(), &one.id).await.unwrap(), *one);
    }
    let none = whole.partition(NOTES.spec(), &new_id()).await.unwrap();
    assert_eq!((none.stored, none.goes_on), (Stored::default(), false));

    // With its types, and without those that do not exist.
    let (mut scanned, mut from) = (BTreeSet::new(), None);
    loop {
        let page = db.scan(&NOTES, from.as_deref()).await.unwrap();
        scanned.extend(page.items.into_iter().map(|(id, _)| id).filter(mine));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    notes.remove(&deleted);
    assert_eq!(scanned, notes);

    let list = format!("{base} \n/é");
    let mut entries = BTreeMap::new();
    for entry in 0..120_u64 {
        let at = format!("{:02}-{entry}", 10 + entry / 2);
        db.add_entries(&[DAYS.entry(&list, &at, &entry).unwrap()]).await.unwrap();
        entries.insert(at, entry);
    }
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = db.scan_entries(&DAYS, from.as_deref()).await.unwrap();
        found.extend(page.items.into_iter().filter(|(of, ..)| *of == list));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), entries.len(), "each comes once");
    let found: BTreeMap<_, _> = found.into_iter().map(|(_, key, entry)| (key, entry)).collect();
    assert_eq!(found, entries);
}

async fn what_is_restored_is_as_it_was(stores: &Stores) {
    let (db, kind) = (&stores.db, COUNTERS.spec());
    let large = format!("{} \0/é", new_id());
    put_rows(db, &large, MANY).await;
    let note = new_id();
    db.create(&NOTES, &note, &Facts { author: "eva".to_owned() }, &[], &[]).await.unwrap();

    let whole = db.whole().unwrap();
    let one = whole.partition(kind, &large).await.unwrap();
    assert!(one.goes_on && one.stored.rows.len() < 100, "{} rows came at once", one.stored.rows.len());
    assert_eq!(one.stored.version, MANY / TOGETHER);
    let stored = whole_of(&*whole, kind, one).await;
    assert_eq!(stored.rows.len() as u64, MANY);

    // Twice, and as one that is interrupted after a part of the rows.
    let copy = new_id();
    let part = Stored { rows: stored.rows.clone().into_iter().take(230).collect(), ..stored.clone() };
    for (stored, is_whole) in [(&part, false), (&part, false), (&stored, true), (&stored, true)] {
        whole.restore(kind, &copy, stored, is_whole).await.unwrap();
    }
    let found = db.whole().unwrap();
    let one = found.partition(kind, &copy).await.unwrap();
    assert_eq!(whole_of(&*found, kind, one).await, stored);
    // What follows goes on from there.
    put_rows(db, &copy, 1).await;
    let head = db.read(&COUNTERS, &copy).await.unwrap().unwrap();
    assert_eq!((head.head.count, head.version), (MANY + 1, MANY / TOGETHER + 1));
    let refused = whole.restore(kind, &copy, &stored, true).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    // Rows of another version than the first ones are not taken for theirs, unless the moment is held fast.
    let (held, newer) = (db.whole().unwrap(), MANY / TOGETHER + 1);
    put_rows(db, &copy, 1).await;
    let version = held.partition(kind, &copy).await.unwrap().stored.version;
    let more = held.more_rows(kind, &copy, newer, "").await.unwrap();
    assert_eq!(more.is_some(), version == newer, "version {version}");
    for deleted in [false, true] {
        let (copy, source) = (new_id(), db.whole().unwrap().partition(NOTES.spec(), &note).await.unwrap());
        for _ in 0..2 {
            whole.restore(NOTES.spec(), &copy, &source.stored, true).await.unwrap();
        }
        let wanted = RowsWanted::default();
        let restored = db.engine().load(NOTES.spec(), &copy, &wanted, Freshness::Settled).await.unwrap();
        assert_eq!(restored, source.stored);
        assert_eq!(db.read(&NOTES, &copy).await.unwrap().is_none(), deleted);
        let delete = db.change(&NOTES, &note, Wants::head(), |_| Ok::<_, StoreError>(Decision::Delete(())));
        delete.await.unwrap();
    }
}

/// Facts, head and rows are written anew by a compare-and-set; what is forgotten leaves nothing; lists are moved and removed.
async fn what_is_personal_is_taken_out(db: &Db) {
    let (id, ana) = (new_id(), new_id());
    db.create(&NOTES, &id, &Facts { author: ana.clone() }, &[], &[]).await.unwrap();
    let put = |number: u64| {
        db.change(&NOTES, &id, Wants::head(), move |part| {
            part.head.count += 1;
            part.set(key(&["a", &number.to_string()]), Row { number });
            Ok::<_, StoreError>(Decision::Write(()))
        })
    };
    put(1).await.unwrap();
    let edit = |plain: &mut Plain| {
        plain.facts = Some(serde_json::json!({"author": ""}));
        let moved: Vec<_> = plain.rows.remove("a/1").into_iter().collect();
        plain.rows.extend(moved.into_iter().map(|row| ("b/1".to_owned(), row)));
        Ok(())
    };
    let keys = ["a/1".to_owned()];
    assert!(db.rewrite(NOTES.spec(), &id, &keys, edit).await.unwrap());
    assert!(!db.rewrite(NOTES.spec(), &id, &keys, edit).await.unwrap(), "doing it again changes nothing");
    let found = db.read(&NOTES, &id).await.unwrap().unwrap();
    assert_eq!((found.facts.author.as_str(), found.head.count, found.version), ("", 1, 2));
    let rows = [db.row(&NOTES, &id, "a/1").await.unwrap(), db.row(&NOTES, &id, "b/1").await.unwrap()];
    assert_eq!(rows, [None, Some(Row { number: 1 })]);
    let unreadable = |plain: &mut Plain| {
        plain.facts = Some(serde_json::json!({"author": 5}));
        Ok(())
    };
    let refused = db.rewrite(NOTES.spec(), &id, &[], unreadable).await;
    assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
    // Changes and rewriting at the same time lose nothing of each other.
    let marks = async {
        for round in 0..20 {
            let edit = |plain: &mut Plain| {
                plain.facts = Some(serde_json::json!({"author": round.to_string()}));
                Ok(())
            };
            db.rewrite(NOTES.spec(), &id, &[], edit).await.unwrap();
        }
    };
    let changes = async {
        for number in 2..12 {
            put(number).await.unwrap();
        }
    };
    tokio::join!(marks, changes);
    let found = db.read(&NOTES, &id).await.unwrap().unwrap();
    assert_eq!((found.facts.author.as_str(), found.head.count), ("19", 11));
    for _ in 0..2 {
        db.remove(NOTES.spec(), &id).await.unwrap();
    }
    assert!(db.read(&NOTES, &id).await.unwrap().is_none());

    let name = new_id();
    let count = async |id: &str| {
        db.change(&COUNTERS, id, Wants::head(), |part| {
            part.head.count += 1;
            Ok::<_, StoreError>(Decision::Write(part.head.count))
        })
        .await
    };
    count(&name).await.unwrap();
    assert!(!db.forget_partition(COUNTERS.spec(), &name, |_| false).await.unwrap());
    assert!(db.forget_partition(COUNTERS.spec(), &name, |_| true).await.unwrap());
    let whole = db.whole().unwrap();
    assert_eq!(whole.partition(COUNTERS.spec(), &name).await.unwrap().stored, Stored::default());
    assert_eq!(count(&name).await.unwrap(), Some(1), "it begins anew");

    let (list, other) = (format!("user:{ana}"), new_id());
    let at = |entry: u64| format!("{:02}-{entry}", 10 + entry / 2);
    let entries: Vec<_> = (0..20).map(|entry| DAYS.entry(&list, &at(entry), &entry).unwrap()).collect();
    db.add_entries(&entries).await.unwrap();
    for _ in 0..2 {
        db.move_list(DAYS.spec(), &list, &other).await.unwrap();
    }
    let walk = async |list: &str| db.walk(&DAYS, &[list], None, 100).await.unwrap().items.len();
    assert_eq!((walk(&list).await, walk(&other).await), (0, 20));
    db.remove_list(DAYS.spec(), &other).await.unwrap();
    assert_eq!(walk(&other).await, 0);
}

async fn publications_are_read_and_restored(stores: &Stores) {
    let (channel, copy, ttl) = (new_id(), new_id(), Duration::from_hours(1));
    for offset in [1, 2, 999, 1000, 1001, 5_000_000] {
        let publication =
            Publication { offset, data: Bytes::from(offset.to_string()), ..Publication::default() };
        for epoch in ["a", "b"] {
            stores.history.keep(&channel, epoch, publication.clone(), ttl).await.unwrap();
        }
    }
    let read = async |channel: &str| {
        let (mut found, mut from) = (Vec::new(), None);
        let whole = stores.db.whole().unwrap();
        loop {
            let page = whole.publications(from.as_deref()).await.unwrap();
            found.extend(page.items.into_iter().filter(|one| one.channel == channel));
            from = page.next;
            if from.is_none() {
                found.sort_by_key(|one| (one.offset, one.epoch.clone()));
                return found;
            }
        }
    };
    let found = read(&channel).await;
    assert_eq!(found.len(), 12);
    let hour = 60 * 60 * 1000;
    for one in &found {
        let left = one.end - crate::now().as_millisecond();
        assert!((hour - 600_000..=hour).contains(&left), "{left} ms are left");
        let publication = Publication::decode(one.publication.clone()).unwrap();
        assert_eq!((publication.offset, publication.data), (one.offset, one.offset.to_string().into()));
    }
    let copies: Vec<_> =
        found.iter().map(|one| WholePublication { channel: copy.clone(), ..one.clone() }).collect();
    for _ in 0..2 {
        stores.db.whole().unwrap().restore_publications(&copies).await.unwrap();
    }
    let restored = read(&copy).await;
    assert_eq!(restored.len(), copies.len());
    for (restored, copy) in restored.iter().zip(&copies) {
        let same = |one: &WholePublication| (one.offset, one.epoch.clone(), one.publication.clone());
        assert_eq!(same(restored), same(copy));
        assert!((restored.end - copy.end).abs() < 5_000, "{} and {}", restored.end, copy.end);
    }
}
