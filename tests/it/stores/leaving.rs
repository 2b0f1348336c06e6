//! What leaving promises, on both engines: of a user who has left nothing is there beyond what declarations keep, and of others
//! nothing has changed.

mod social;
mod staff;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mundotango::community::accounts::leaving::By;
use mundotango::community::accounts::names::{NAMES, Name};
use mundotango::community::accounts::store::{AccountStore, Taken, User};
use mundotango::community::audit::store::AuditStore;
use mundotango::community::effects::Effect;
use mundotango::community::events::leaving::{LeavingHosts, Settled};
use mundotango::community::events::rules::RsvpStatus;
use mundotango::community::events::store::{Event, EventStore};
use mundotango::community::housing::bookings::saga::Bookings;
use mundotango::community::housing::leaving::LeavingGuests;
use mundotango::community::housing::status::Status;
use mundotango::community::payments::store::PaymentStore;
use mundotango::community::personal_data::export_store::{Asked, Export, ExportStore, OpenPart, State};
use mundotango::community::personal_data::rules::{Departure, Place, Stage};
use mundotango::community::personal_data::store::SweepStore;
use mundotango::community::personal_data::sweep::{Sweeper, Swept, Visits};
use mundotango::community::posts::rules::ReactionType;
use mundotango::community::posts::store::PostStore;
use mundotango::community::posts::timeline::store::TimelineStore;
use mundotango::schema::{catalogue, schema};
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, Plain, PlainEntry};
use mundotango_storage::{StoreError, now};
use serde_json::Value;

use self::staff::ABOUT;
use self::world::{World, world};
use super::cut_off;

struct NoVisits;

#[async_trait]
impl Visits for NoVisits {
    async fn visitor(&self, user_id: &str) -> Result<String, StoreError> {
        Ok(format!("u:{}", user_id.replace('-', "")))
    }

    async fn forget(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

/// All that is stored, but for the outbox: partitions that are there, and entries.
async fn all_of(db: &Db) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for kind in schema().kinds {
        let mut from = None;
        loop {
            let page = db.sightings(kind, from.as_deref()).await.unwrap();
            for sighting in page.items {
                if let Some(Plain { id, facts, head, rows }) =
                    db.open(kind, sighting, &|_| true).await.unwrap()
                {
                    all.insert(format!("{}/{id}", kind.name), format!("{facts:?} {head:?} {rows:?}"));
                }
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    for index in schema().indexes {
        let mut from = None;
        loop {
            let page = db.plain_entries(index, from.as_deref()).await.unwrap();
            for entry in page.items {
                let PlainEntry { list, key, entry } = entry.unwrap();
                all.insert(format!("{}/{list}/{key}", index.name), entry.to_string());
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    all
}

fn mentioning(all: &BTreeMap<String, String>, words: &[String]) -> Vec<String> {
    let is_in = |text: &str| words.iter().any(|word| text.contains(word.as_str()));
    let found = all.iter().filter(|(place, body)| is_in(place) || is_in(body));
    found.map(|(place, body)| format!("{place}: {body}")).collect()
}

fn sweeper(db: &Db) -> Sweeper {
    Sweeper::new(db, Arc::new(catalogue(db)), Arc::new(NoVisits))
}

async fn sweep(db: &Db) {
    let swept = Box::pin(sweeper(db).run(&new_id(), Duration::from_mins(10))).await.unwrap();
    assert_eq!(swept, Swept::All);
}

/// Runs the suite.
pub async fn leaving(nodes: &[Db; 2]) {
    let world = Box::pin(world(&nodes[0])).await;
    Box::pin(an_export_has_what_is_the_users(&nodes[0], &world)).await;
    a_damaged_export_fails_and_holds_nobody_up(&nodes[0]).await;
    Box::pin(nothing_stays_of_who_left(nodes, &world)).await;
}

/// The lines of a user's export.
async fn lines(store: &ExportStore, user: &str) -> Vec<Value> {
    let export = store.export(user).await.unwrap();
    assert_eq!(export.state, State::Ready, "{export:?}");
    let mut lines = Vec::new();
    for (part, info) in export.parts.iter().enumerate() {
        let (mut text, mut at) = (String::new(), 0);
        while at < info.bytes {
            let rows = store.read(user, &export.id, part, at, 3).await.unwrap();
            for (begins, row) in rows {
                assert_eq!(begins, at);
                at += row.len() as u64;
                text.push_str(&row);
            }
        }
        assert_eq!(text.len() as u64, info.bytes);
        lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    lines
}

async fn an_export_has_what_is_the_users(db: &Db, world: &World) {
    let (exports, store) = (ExportStore::new(db.clone()), SweepStore::new(db.clone()));
    let effect = || Effect::publish("x", &()).unwrap();
    let user = world.ana.id();
    let asked = exports.ask(user, new_id(), now(), effect()).await.unwrap();
    assert!(matches!(asked, Asked::Queued(_)), "{asked:?}");
    store.want_export(user, now(), effect()).await.unwrap();
    // A sweeper that dies wherever it is does no harm: the next one goes on.
    for polls in [30, 200, 900] {
        cut_off(Box::pin(sweeper(db).run("one", Duration::from_mins(10))), polls).await;
    }
    let swept = Box::pin(sweeper(db).run("one", Duration::from_mins(10))).await.unwrap();
    assert_eq!(swept, Swept::All);
    let lines = lines(&exports, user).await;
    let whole: String = lines.iter().map(Value::to_string).collect();
    for word in World::words().into_iter().chain(world.ana.traces()) {
        assert!(whole.to_lowercase().contains(&word.to_lowercase()), "{word} is not in the export");
    }
    for others in [world.ben.user.email.as_str(), "A good guest.", "by others", ABOUT] {
        assert!(!whole.contains(others), "{others} is in the export");
    }
    let ids: Vec<_> = lines
        .iter()
        .filter_map(|line| Some((line["kind"].as_str()?, line["data"]["id"].as_str()?)))
        .collect();
    let once: BTreeSet<_> = ids.iter().collect();
    assert_eq!(once.len(), ids.len(), "a thing is there twice");
    assert!(lines.last().unwrap()["leftOut"].as_array().is_some_and(|all| !all.is_empty()));
    let again = exports.ask(user, new_id(), now(), effect()).await.unwrap();
    assert!(matches!(again, Asked::TooSoon(_)), "{again:?}");
}

async fn a_damaged_export_fails_and_holds_nobody_up(db: &Db) {
    let (exports, store) = (ExportStore::new(db.clone()), SweepStore::new(db.clone()));
    let effect = || Effect::publish("x", &()).unwrap();
    let (user, other) = (new_id(), new_id());
    for user in [&user, &other] {
        exports.ask(user, new_id(), now(), effect()).await.unwrap();
        store.want_export(user, now(), effect()).await.unwrap();
    }
    // What was written of it is not there.
    let open = OpenPart { bytes: 10, after: Some(Place::default()) };
    let export = exports.export(&user).await.unwrap();
    exports.save(&user, Export { state: State::Running, open: Some(open), ..export }).await.unwrap();
    sweep(db).await;
    let failed = exports.export(&user).await.unwrap();
    assert!(failed.state == State::Failed && failed.why.is_some(), "{failed:?}");
    assert_eq!(exports.export(&other).await.unwrap().state, State::Ready);
}

async fn depart(db: &Db, user: &str) {
    let (accounts, store) = (AccountStore::new(db.clone()), SweepStore::new(db.clone()));
    let leaving = accounts.leave(user, By::Admin, now(), |_| Ok(Vec::new())).await.unwrap().unwrap();
    store.note(user, Departure::new(leaving.since, leaving.until, Stage::Leaving)).await.unwrap();
    accounts.close(user, now()).await.unwrap().unwrap();
    // Each step may come twice.
    for _ in 0..2 {
        assert_eq!(LeavingHosts::new(db).settle(user, now()).await.unwrap(), Settled::Yes);
        LeavingGuests::new(db).settle(user, now()).await.unwrap();
        accounts.delete_closed(user).await.unwrap();
        AuditStore::new(db.clone()).forget(user).await.unwrap();
    }
    let alias = format!("00000000-0000-7abc-8def-{}", &new_id()[24..]);
    store.move_on(user, Stage::Sweeping, alias, Vec::new()).await.unwrap();
}

async fn nothing_stays_of_who_left(nodes: &[Db; 2], world: &World) {
    let db = &nodes[0];
    let before = all_of(db).await;
    let mut traces = world.ana.traces();
    traces.extend(World::words());
    traces.push(ABOUT.to_owned());
    assert!(mentioning(&before, &traces).len() > 60, "the test stores what it looks for");
    Box::pin(depart(db, world.ana.id())).await;
    // Whoever dies meanwhile is followed by another, on another node.
    for polls in [50, 500, 2_000] {
        cut_off(Box::pin(sweeper(db).run("one", Duration::from_mins(10))), polls).await;
    }
    let swept = Box::pin(sweeper(&nodes[1]).run("one", Duration::from_mins(10))).await.unwrap();
    assert_eq!(swept, Swept::All);
    sweep(&nodes[1]).await;

    let after = all_of(db).await;
    let is_of_audit = |place: &str| place.starts_with("audit/") || place.starts_with("audit_lists/");
    let left: Vec<_> = mentioning(&after, &traces).into_iter().filter(|found| !is_of_audit(found)).collect();
    assert!(left.is_empty(), "{} traces stay: {left:#?}", left.len());
    // An entry that is changed breaks its chain.
    for (place, body) in before.iter().filter(|(place, _)| is_of_audit(place)) {
        assert_eq!(after.get(place), Some(body), "{place}");
    }
    let state = SweepStore::new(db.clone()).sweep().await.unwrap();
    assert!(state.done >= 1 && state.round.is_none(), "{state:?}");

    Box::pin(counts_are_right(nodes, world)).await;
    Box::pin(social::is_right(&nodes[1], world.people(), &world.social)).await;
    Box::pin(staff::is_right(&nodes[1], world.people(), &world.work)).await;
    // What was not Ana's, and did not follow from her leaving, is as it was.
    let is_bens = |place: &str| {
        let own = [
            "users/",
            "bookmarks/",
            "conversations/",
            "names/",
            "posts/",
            "events_by_start/",
            "bookings_by_user/host:",
        ];
        own.iter().any(|kind| place.starts_with(kind))
    };
    let bens = world.ben.traces();
    for (place, body) in before.iter().filter(|(place, body)| {
        is_bens(place) && bens.iter().any(|word| place.contains(word) || body.contains(word))
    }) {
        assert_eq!(after.get(place), Some(body), "{place}");
    }
    Box::pin(names_are_given_to_nobody(db, world)).await;
}

async fn counts_are_right(nodes: &[Db; 2], world: &World) {
    let db = &nodes[1];
    let events = EventStore::new(db.clone());
    let event = async |event: &Event| events.event(&event.id).await.unwrap().unwrap();
    // Over: Ben keeps his place, and nobody waits; the host is nobody.
    let past = event(&world.past).await;
    assert_eq!((past.counts.going, past.counts.waitlisted, past.description.as_str()), (1, 0, ""));
    assert_eq!((past.title.as_str(), past.location.text.as_str()), ("Milonga del Sur", ""));
    assert_eq!(past.location.city.as_deref(), Some("Rosario"));
    // To come: Ben moved up.
    let to_come = event(&world.to_come).await;
    assert_eq!((to_come.counts.going, to_come.counts.waitlisted), (1, 0));
    let bens = events.rsvp_of(&world.to_come.id, world.ben.id()).await.unwrap().unwrap();
    assert_eq!(bens.status, RsvpStatus::Going);
    // What Ana gave is Ben's, with all that it says, or does not take place.
    let handed = event(&world.handed).await;
    assert_eq!((handed.host_id.as_str(), handed.description.as_str()), (world.ben.id(), "Handed over"));
    assert!(handed.cancelled.is_none() && event(&world.cancelled).await.cancelled.is_some());
    // One came whose name nobody knows any more.
    assert_eq!(event(&world.bens).await.counts.going, 1);
    assert!(events.co_hosts(&world.bens.id).await.unwrap().is_empty());
    let reactions = PostStore::new(db.clone()).reactions_now(&world.post.id).await.unwrap().0;
    assert_eq!(reactions, BTreeMap::from([(ReactionType::Heart, 1)]));
    let timeline = TimelineStore::new(db.clone()).head(world.ben.id()).await.unwrap();
    assert_eq!(timeline.rows, 1, "what Ana posted is counted no longer");
    let bookings = Bookings::new(db);
    let stay = bookings.store.reviewed(&world.stay).await.unwrap().unwrap();
    assert_eq!(stay.0.request.host_id, world.ben.id());
    let [guests, hosts] = stay.1.map(Option::unwrap);
    assert_eq!((guests.text.as_str(), guests.stars, hosts.text.as_str()), ("", 4, "A good guest."));
    let asked = bookings.store.booking(&world.asked).await.unwrap().unwrap();
    assert_eq!(asked.progress.status, Status::Cancelled);
    let listing = bookings.listings.listing(&world.listing.id).await.unwrap().unwrap();
    assert_eq!(listing.ratings, world.listing.ratings);
    let payment = PaymentStore::new(db.clone()).reads().payment(&world.payment).await.unwrap().unwrap();
    assert_eq!(payment.facts.payer, world.ben.id());
    assert!(payment.facts.payee.starts_with("00000000-"), "the payment is of nobody");
}

async fn names_are_given_to_nobody(db: &Db, world: &World) {
    let store = AccountStore::new(db.clone());
    assert_eq!(store.user(world.ana.id()).await.unwrap(), None);
    assert!(store.profiles(&[world.eva.id().to_owned()]).await.unwrap().len() == 1);
    let other = |username: &str, email: &str| User {
        id: new_id(),
        username: username.to_owned(),
        email: email.to_owned(),
        ..world.ana.user.clone()
    };
    let (username, email) = (world.ana.user.username.to_uppercase(), world.ana.user.email.clone());
    let taken = store.create(&other(&username, "somebody@example.net"), "hash".to_owned()).await.unwrap();
    assert_eq!(taken, Err(Taken { email: false, username: true }));
    assert!(
        db.read(&NAMES, &format!("username:{}", username.to_lowercase())).await.unwrap().unwrap().version
            == 0
    );
    let alike = Name::alike(&username);
    assert_eq!(alike.owner(db).await.unwrap(), None);
    assert!(!alike.claim(db, &new_id()).await.unwrap(), "nor one that looks like it");
    // The address is free again.
    let id = new_id();
    let name = Name::email(&email);
    assert_eq!(name.owner(db).await.unwrap(), None);
    assert!(name.claim(db, &id).await.unwrap());
    name.release(db, &id).await.unwrap();
}
