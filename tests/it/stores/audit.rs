//! What the audit trail promises.

use futures_util::future::join_all;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use mundotango::community::audit::roots::{AUDIT_ROOTS, RootKey, Roots, Row as RootRow};
use mundotango::community::audit::rules::{Act, Break, Fault, Thing, Words, chains};
use mundotango::community::audit::store::{AUDIT, AUDIT_LISTS, AuditStore, Row, Wanted, chain_of};
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, Decision, Wants, key, number};
use mundotango_storage::{PageRequest, StoreError};

use super::{first, walk};

fn act(at: Timestamp, actor: &str, thing: &str) -> Act {
    Act {
        at,
        actor: actor.to_owned(),
        role: "admin".to_owned(),
        act: "ticket.assigned".to_owned(),
        thing: Thing { kind: "ticket".to_owned(), id: thing.to_owned() },
        subject: None,
        words: Words {
            reason: Some("A reason.".to_owned()),
            details: [("a".to_owned(), "b".to_owned())].into(),
        },
    }
}

fn noon(day: Date) -> Timestamp {
    TimeZone::UTC.to_timestamp(day.at(12, 0, 0, 0)).unwrap()
}

fn row_key(place: u64) -> String {
    key(&["e", &number(place)])
}

/// Changes rows of a chain as whoever owns the database can: the first becomes what the second is, and the other way around.
async fn put(db: &Db, chain: &str, rows: Vec<(u64, Option<Row>)>) {
    let put = db.change(&AUDIT, chain, Wants::head(), move |part| {
        for (place, row) in &rows {
            match row {
                Some(row) => part.set(row_key(*place), row.clone()),
                None => part.remove(row_key(*place)),
            }
        }
        Ok::<_, StoreError>(Decision::Write(()))
    });
    put.await.unwrap();
}

async fn row(db: &Db, chain: &str, place: u64) -> Row {
    db.row(&AUDIT, chain, &row_key(place)).await.unwrap().unwrap()
}

/// Runs the suite.
pub async fn audit(nodes: &[Db; 2]) {
    let [store, other] = nodes.clone().map(AuditStore::new);
    let day: Date = "2031-01-02".parse().unwrap();
    let (actor, thing) = (new_id(), new_id());
    let names: Vec<_> = (0..40).map(|_| format!("{}.0", new_id())).collect();
    // An effect may be carried out by two nodes at the same time.
    let twice = names.iter().enumerate().flat_map(|(number, name)| {
        let at = noon(day) + SignedDuration::from_millis(i64::try_from(number).unwrap());
        [&store, &other].map(|store| store.record(name, act(at, &actor, &thing)))
    });
    let recorded = join_all(twice).await.into_iter().map(Result::unwrap);
    assert_eq!(recorded.filter(|is_new| *is_new).count(), names.len(), "each is one entry");
    assert!(!store.record(&names[0], act(noon(day), &actor, &thing)).await.unwrap());

    lists(&store, &names, &actor, &thing, day).await;
    let roots = Roots::new(nodes[0].clone(), RootKey::of_secret(b"a secret of a test").unwrap());
    signed(nodes, &roots, day, &actor).await;
    found(&nodes[0], &roots, day).await;
    removed(&nodes[0], &roots, day).await;
    forgotten(&nodes[1], &roots, &actor, day + 5.days()).await;
}

async fn lists(store: &AuditStore, names: &[String], actor: &str, thing: &str, day: Date) {
    let newest: Vec<_> = names.iter().rev().cloned().collect();
    for wanted in [
        Wanted { actor: Some(actor.to_owned()), ..Wanted::default() },
        Wanted { thing: Some(thing.to_owned()), day: Some(day), ..Wanted::default() },
        Wanted { day: Some(day), ..Wanted::default() },
    ] {
        for limit in [7, 40, 100] {
            let read = async |page: PageRequest| store.list(&wanted, page).await;
            let ids = walk(limit, read, |shown| shown.entry.id.clone()).await;
            assert_eq!(ids, newest, "{wanted:?} in pages of {limit}");
        }
    }
    let elsewhere = Wanted { actor: Some(actor.to_owned()), day: Some(day + 1.day()), ..Wanted::default() };
    assert!(store.list(&elsewhere, first(10)).await.unwrap().items.is_empty());
    let both = Wanted { actor: Some(new_id()), thing: Some(thing.to_owned()), ..Wanted::default() };
    assert!(store.list(&both, first(10)).await.unwrap().items.is_empty());
}

async fn signed(nodes: &[Db; 2], roots: &Roots, day: Date, actor: &str) {
    let now = noon(day + 1.day());
    assert!(roots.check(day).await.unwrap().roots.is_empty());
    assert_eq!(roots.sign_until(day, now).await.unwrap(), 1);
    assert_eq!(roots.sign_until(day, now).await.unwrap(), 0, "it is signed");
    let checked = roots.check(day).await.unwrap();
    assert!(checked.is_whole(), "{checked:?}");
    assert_eq!(checked.chains.iter().map(|(entries, _)| entries).sum::<u64>(), 40);
    // What comes late is signed with the next day.
    let store = AuditStore::new(nodes[1].clone());
    assert!(store.record(&format!("{}.0", new_id()), act(noon(day), actor, "late")).await.unwrap());
    assert!(roots.check(day).await.unwrap().is_whole(), "more than is signed is no fault");
    let mut signers = vec![roots.clone()];
    signers.push(Roots::new(nodes[1].clone(), RootKey::of_secret(b"a secret of a test").unwrap()));
    let signed = join_all(signers.iter().map(|roots| roots.sign_until(day + 1.day(), now))).await;
    let signed: usize = signed.into_iter().map(Result::unwrap).sum();
    assert_eq!(signed, 2, "the day of before again, and the next one, each by one of two nodes");
    let checked = roots.check(day).await.unwrap();
    assert!(checked.is_whole() && checked.roots.len() == 2, "{checked:?}");
    let listed = walk(2, async |page: PageRequest| roots.list(page).await, |one| one.root.hash.clone()).await;
    assert_eq!(listed.len(), 3);
    assert!(roots.list(first(9)).await.unwrap().items.iter().all(|one| one.is_signed && one.is_linked));
    // Another installation's key is seen.
    let strange = Roots::new(nodes[0].clone(), RootKey::of_secret(b"another secret").unwrap());
    assert!(!strange.check(day).await.unwrap().is_whole());
}

/// Trap 66: what is changed, removed or swapped is found where it is.
async fn found(db: &Db, roots: &Roots, day: Date) {
    let checked = roots.check(day).await.unwrap();
    let (shard, (entries, _)) =
        checked.chains.iter().enumerate().max_by_key(|(_, (entries, _))| *entries).unwrap();
    assert!(*entries >= 3, "one of eight chains has five of forty: {checked:?}");
    let chain = &chains(day)[shard];
    let (one, two) = (row(db, chain, 1).await, row(db, chain, 2).await);
    let breaks = async || roots.check(day).await.unwrap().chains[shard].1;
    let at = |number, fault| Some(Break { number, fault });

    let Row::Entry(mut changed) = two.clone() else { panic!("no entry") };
    "somebody else".clone_into(&mut changed.actor);
    put(db, chain, vec![(2, Some(Row::Entry(changed.clone())))]).await;
    assert_eq!(breaks().await, at(2, Fault::Changed));
    changed.hash = changed.hashed(chain, 2);
    put(db, chain, vec![(2, Some(Row::Entry(changed)))]).await;
    assert_eq!(breaks().await, at(3, Fault::Unlinked), "the one behind it names another");
    put(db, chain, vec![(2, None)]).await;
    assert_eq!(breaks().await, at(2, Fault::Missing));
    put(db, chain, vec![(1, Some(two.clone())), (2, Some(one.clone()))]).await;
    assert_eq!(breaks().await, at(1, Fault::Changed));
    put(db, chain, vec![(1, Some(one)), (2, Some(two))]).await;
    assert_eq!(breaks().await, None);
}

fn root_key(place: u64) -> String {
    key(&["r", &number(place)])
}

/// Puts and removes roots as whoever owns the database can.
async fn put_roots(db: &Db, rows: Vec<(u64, Option<RootRow>)>) {
    let put = db.change(&AUDIT_ROOTS, "all", Wants::head(), move |part| {
        for (place, row) in &rows {
            match row {
                Some(row) => part.set(root_key(*place), row.clone()),
                None => part.remove(root_key(*place)),
            }
        }
        Ok::<_, StoreError>(Decision::Write(()))
    });
    put.await.unwrap();
}

/// Trap 66: what is removed of the roots and of the lists is found too.
async fn removed(db: &Db, roots: &Roots, day: Date) {
    let checked = roots.check(day).await.unwrap();
    assert!(checked.is_whole() && checked.all_roots == (3, None), "{checked:?}");
    let root = async |place| db.row(&AUDIT_ROOTS, "all", &root_key(place)).await.unwrap();
    let all = [(1, root(1).await), (2, root(2).await), (3, root(3).await)];
    for gone in [vec![1, 2], vec![1], vec![2], vec![3]] {
        put_roots(db, gone.iter().map(|place| (*place, None)).collect()).await;
        for of in [day, day + 1.day(), day + 300.days()] {
            let checked = roots.check(of).await.unwrap();
            let missing = Some(Break { number: gone[0], fault: Fault::Missing });
            assert!(!checked.is_whole() && checked.all_roots == (3, missing), "{gone:?}: {checked:?}");
        }
        put_roots(db, all.to_vec()).await;
    }
    assert!(roots.check(day).await.unwrap().is_whole());

    // The name under which an entry is found.
    let chain = chains(day).into_iter().zip(roots.check(day).await.unwrap().chains);
    let (chain, _) = chain.max_by_key(|(_, (entries, _))| *entries).unwrap();
    let broken = async |chain: &str| {
        let at = chains(day).iter().position(|of| of == chain).unwrap();
        roots.check(day).await.unwrap().chains[at].1
    };
    let Row::Entry(second) = row(db, &chain, 2).await else { panic!("no entry") };
    let place = key(&["i", &second.id]);
    for (row, found) in
        [(None, Some(Break { number: 2, fault: Fault::Unlisted })), (Some(Row::Number(2)), None)]
    {
        let place = place.clone();
        let put = db.change(&AUDIT, &chain, Wants::head(), move |part| {
            match &row {
                Some(row) => part.set(place.clone(), row.clone()),
                None => part.remove(place.clone()),
            }
            Ok::<_, StoreError>(Decision::Write(()))
        });
        put.await.unwrap();
        assert_eq!(broken(&chain).await, found);
    }

    // One of the lists that lead to an entry.
    let (listed, ()) = db.walk(&AUDIT_LISTS, &["thing:late"], None, 1).await.unwrap().items.remove(0);
    let chain = chain_of(&listed).unwrap();
    assert_eq!(broken(&chain).await, None);
    db.remove_entries(&[AUDIT_LISTS.entry("all", &listed, &()).unwrap()]).await.unwrap();
    let found = broken(&chain).await.map(|found| found.fault);
    assert_eq!(found, Some(Fault::Unlisted));
    assert!(!roots.check(day).await.unwrap().is_whole());
}

/// Trap 66: who is erased cannot be read any more, and the chain is whole.
async fn forgotten(db: &Db, roots: &Roots, actor: &str, day: Date) {
    let store = AuditStore::new(db.clone());
    let (ana, thing) = (new_id(), new_id());
    let about = |at: SignedDuration| act(noon(day) + at, actor, &thing).about(&ana);
    store.record(&format!("{}.0", new_id()), about(SignedDuration::ZERO)).await.unwrap();
    let wanted = Wanted { thing: Some(thing.clone()), ..Wanted::default() };
    let words = async || {
        let shown = store.list(&wanted, first(10)).await.unwrap().items;
        shown.into_iter().map(|one| one.words.and_then(|words| words.reason)).collect::<Vec<_>>()
    };
    assert_eq!(words().await, [Some("A reason.".to_owned())]);
    store.forget(&ana).await.unwrap();
    store.forget(&ana).await.unwrap();
    assert_eq!(words().await, [None]);
    store.record(&format!("{}.0", new_id()), about(SignedDuration::from_secs(1))).await.unwrap();
    assert_eq!(words().await, [None, None], "no key is made again");
    let checked = roots.check(day).await.unwrap();
    assert!(checked.chains.iter().all(|(_, broken)| broken.is_none()), "{checked:?}");
}
