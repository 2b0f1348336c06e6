//! Every field that is stored is declared by its kind: whose it is, and what becomes of it. Data of all features is stored, and
//! what the declarations do not know is found in it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use mundotango::email::{Feedback, FeedbackKind, SuppressionList};
use mundotango::engines::store_path;
use mundotango::schema::{catalogue, schema};
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, Fields, KindSpec, Look, Person, Plain, Plan, StoredParts, unworkable};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::{Page, StoreError, now};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{Server, User, until};
use crate::stores::all_suites;

/// Kinds and indexes of which the data here may hold nothing, and why. Whoever makes data of one takes it out.
const NOT_REACHED: [(&str, &str); 3] = [
    ("chosen_traces", "nothing can be chosen without a collector of traces"),
    ("outbox", "effects are carried out at once, and engines keep them in ways of their own"),
    ("schedules", "the first look at a schedule may come after the node has ended"),
];
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0";
/// Users of one partition that are tried to be taken out of it.
const MOST_USERS: usize = 20;
/// Who stands in a user's place.
const NOBODY: &str = "00000000-0000-7000-8000-000000000000";
/// Fields that are told of one failure.
const TOLD: usize = 100;

/// What was found in stores.
#[derive(Default)]
struct Found {
    /// Of each kind and index of which something is stored, the declared paths that were seen.
    seen: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// Fields that are not declared.
    undeclared: BTreeSet<String>,
    /// What declarations say and nobody can do.
    not_done: BTreeSet<String>,
}

impl Found {
    fn note(&mut self, name: &'static str, fields: &'static [Fields], stored: &[StoredParts]) {
        for field in stored.iter().flat_map(StoredParts::fields) {
            match field.declared(fields) {
                Some(path) => {
                    self.seen.entry(name).or_default().insert(path);
                }
                None => {
                    self.undeclared.insert(format!("{name}: {}", field.steps.join(".")));
                }
            }
        }
    }

    /// Looks at all that a store holds.
    async fn look_at(&mut self, db: &Db) {
        let schema = schema();
        for kind in &schema.kinds {
            self.try_to_erase(db, kind).await;
        }
        for kind in schema.kinds {
            let read = async |from: Option<String>| db.scan_parts(kind, from.as_deref()).await;
            self.note_all(kind.name, kind.personal, read).await;
        }
        for index in schema.indexes {
            let read = async |from: Option<String>| db.scan_parts_of_entries(index, from.as_deref()).await;
            self.note_all(index.name, index.personal, read).await;
        }
    }

    /// Tries to take each of the users out of each partition that the first rows or the heading name, as declared.
    async fn try_to_erase(&mut self, db: &Db, kind: &'static KindSpec) {
        let hooks = catalogue(db).hooks;
        let has_own_id =
            kind.personal.iter().any(|some| some.personal.is_none() && some.paths.contains(&"id"));
        let mut from = None;
        loop {
            let page = db.sightings(kind, from.as_deref()).await.unwrap();
            for sighting in page.items {
                let Some(plain) = db.open(kind, sighting, &|_| true).await.unwrap() else { continue };
                // The id of a thing is no user's, unless the kind says so.
                let is_nobodys = |id: &String| *id == plain.id && has_own_id;
                for id in named_in(&plain).into_iter().filter(|id| !is_nobodys(id)).take(MOST_USERS) {
                    let person = Person { id, visitor: None, alias: NOBODY.to_owned() };
                    let look = Look::at(kind.personal, &person, &plain);
                    let erased = match look.plan(kind, &plain) {
                        Ok(Plan::Nothing | Plan::Remove) => continue,
                        Ok(Plan::Rewrite { .. }) => {
                            let mut after = plain.clone();
                            look.erase(kind, &mut after).map(|()| after)
                        }
                        Err(error) => Err(error),
                    };
                    match erased {
                        Ok(after) => self.not_done.extend(
                            look.left(&after).into_iter().map(|left| format!("{}: {left} stays", kind.name)),
                        ),
                        Err(error) => drop(self.not_done.insert(error.to_string())),
                    }
                }
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let has_hook = hooks.contains_key(kind.name);
        self.not_done.extend(unworkable(kind.name, kind.personal, has_hook));
    }

    /// Looks at all pages of a kind or an index.
    async fn note_all(
        &mut self,
        name: &'static str,
        fields: &'static [Fields],
        read: impl AsyncFn(Option<String>) -> Result<Page<StoredParts>, StoreError>,
    ) {
        let mut from = None;
        loop {
            let page = read(from).await.unwrap();
            self.note(name, fields, &page.items);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
}

/// The ids in a partition: of users, and of much else, which nothing is done with.
fn named_in(plain: &Plain) -> BTreeSet<String> {
    let text = format!("{:?} {:?} {:?} {:?}", plain.id, plain.facts, plain.head, plain.rows);
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let is_id = |word: &&str| word.len() == NOBODY.len() && word.matches('-').count() == 4;
    words.filter(is_id).map(str::to_owned).collect()
}

/// Data of the features' stores, and of what only mailboxes cause.
async fn of_stores(found: &mut Found) {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &schema()).unwrap();
    Box::pin(all_suites(&[store.stores().db, store.stores().db])).await;
    let feedback = |kind, name: &str| Feedback {
        address: "ana@example.net".parse().unwrap(),
        kind,
        enhanced: Some("5.1.1".to_owned()),
        message_id: None,
        provider_event_id: name.to_owned(),
    };
    let list = SuppressionList::new(store.stores().db);
    for kind in [FeedbackKind::HardBounce, FeedbackKind::SoftBounce, FeedbackKind::Complaint] {
        assert!(list.record(&feedback(kind, &format!("{kind:?}")), now()).await.unwrap());
    }
    found.look_at(&store.stores().db).await;
}

async fn post(server: &Server, path: &str, user: &User, body: Value) -> Value {
    let (status, answer) = server.post(path, user, body).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
    answer
}

/// What a user sets: preferences, devices, calendars, and events out of a file.
async fn settings(server: &Server, ana: &User, host: &User) {
    let wanted = json!({
        "language": "es", "timeZone": "Europe/Madrid", "quietHours": {"from": "22:30", "to": "08:00"},
        "digests": "daily", "digestHour": "09:00", "silentPush": true, "activityLetters": false,
    });
    let path = "/api/notifications/preferences";
    let (status, answer) = server.call(Method::PATCH, path, Some(&ana.token), Some(wanted)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let profile = json!({
        "bio": "Bailo.", "city": "Rosario", "avatarUrl": "https://a.example/a.png", "pronouns": "she/her", "dancesAs": "both",
        "cities": ["Rosario"], "languages": ["es-AR"], "dancingSince": 2010,
        "audiences": {"bio": "me", "cities": "friends"},
    });
    let (status, answer) = server.call(Method::PATCH, "/api/users/me", Some(&ana.token), Some(profile)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    post(server, "/api/notifications/mute", ana, json!({"thing": new_id(), "hours": 8})).await;
    post(server, "/api/push/devices", ana, json!({"fcm": "token:of-a_phone", "name": "Phone"})).await;
    crate::second_factor::turn_on(server, ana).await;
    let challenge = crate::second_factor::challenge(server, "ana@example.com").await;
    let (status, _) = crate::second_factor::answer(server, &challenge, "000000").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    for calendar in [json!({"kind": "mine"}), json!({"kind": "host", "hostId": host.id})] {
        post(server, "/api/calendars", ana, calendar).await;
    }
    let day = (Timestamp::now() + SignedDuration::from_hours(240)).strftime("%Y%m%d");
    let file = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Test//EN\r\nX-WR-TIMEZONE:Europe/Berlin\r\nBEGIN:VEVENT\r\n\
         UID:milonga@example.org\r\nDTSTART:{day}T210000\r\nDTEND:{day}T230000\r\nSUMMARY:Milonga\r\n\
         LOCATION:Ballhaus\r\nCATEGORIES:Tango\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:weekly@example.org\r\n\
         DTSTART;TZID=Europe/Berlin:{day}T210000\r\nRRULE:FREQ=WEEKLY;COUNT=2\r\nSUMMARY:Practica\r\n\
         LOCATION:Ballhaus\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );
    let request = server.http.post(server.url("/api/events/import")).bearer_auth(&host.token);
    let answer = request.header("content-type", "text/calendar; charset=utf-8").body(file).send().await;
    let report: Value = answer.unwrap().json().await.unwrap();
    assert_eq!(report["created"], 2, "{report}");
}

/// A place becomes free, of which a guest is told.
async fn notification(server: &Server, guest: &User, holder: &User, host: &User) {
    let event = json!({
        "title": "Milonga", "eventDate": "2040-05-01T20:00:00Z", "eventType": "milonga",
        "location": "Salon Canning", "capacity": 1,
    });
    let event = post(server, "/api/events", host, event).await;
    let path = format!("/api/events/{}/rsvp", event["id"].as_str().unwrap());
    for (user, status) in [(holder, "going"), (guest, "going"), (holder, "declined")] {
        post(server, &path, user, json!({"status": status})).await;
    }
    until("the guest is told", async || {
        let (_, answer) = server.get("/api/notifications/unread-count", guest).await;
        answer["unread"].as_u64().filter(|unread| *unread > 0)
    })
    .await;
}

/// What a user and somebody else do is counted.
async fn analytics(server: &Server, user: &User) {
    for token in [Some(&user.token), None] {
        let event = json!({"id": new_id(), "kind": "page_view", "name": "home", "path": "/posts/1"});
        let mut request = server.http.post(server.url("/api/analytics/events"));
        request = request.header("user-agent", BROWSER);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.json(&json!({"events": [event]})).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    until("both events are counted", async || {
        let answer = server.http.get(server.url("/metrics")).send().await.ok()?;
        let text = answer.text().await.ok()?;
        text.contains("analytics_events_total{outcome=\"counted\"} 2\n").then_some(())
    })
    .await;
}

/// Data of a node: of what users set, and of what follows from what they do.
async fn of_a_node(found: &mut Found) {
    let mut server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let host = server.register("host").await;
    settings(&server, &ana, &host).await;
    notification(&server, &ben, &ana, &host).await;
    analytics(&server, &ben).await;
    let series = json!({
        "title": "Milonga", "eventDate": "2030-01-01T20:00:00-03:00", "eventType": "milonga",
        "location": {"text": "La Viruta", "city": "Buenos Aires"},
        "repeats": {"frequency": "weekly", "count": 3},
    });
    post(&server, "/api/events/series", &host, series).await;
    let request = server.http.post(server.url("/api/posts")).header("idempotency-key", new_id());
    let answer = request.bearer_auth(&ana.token).json(&json!({"content": "Hola"})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);

    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    let path = store_path(&server.data_dir());
    let store = EmbeddedStore::open(&path, &EmbeddedOptions::default(), &schema()).unwrap();
    found.look_at(&store.stores().db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_that_is_stored_is_declared() {
    let mut found = Found::default();
    of_stores(&mut found).await;
    of_a_node(&mut found).await;

    let schema = schema();
    let declared: BTreeMap<_, _> = schema.declared().map(|(name, _, fields)| (name, fields)).collect();
    for (name, fields) in &declared {
        let Some(seen) = found.seen.get(name) else { continue };
        let paths = fields.iter().flat_map(|some| some.paths);
        for path in paths.filter(|path| !seen.contains(*path)) {
            println!("declared and not seen: {name}: {path}");
        }
    }
    for (name, why) in NOT_REACHED {
        assert!(declared.contains_key(name), "there is no {name} any more");
        if found.seen.contains_key(name) {
            println!("reached after all, though {why}: {name}");
        }
    }
    let is_listed = |name: &str| NOT_REACHED.iter().any(|(listed, _)| *listed == name);
    let not_reached: Vec<_> =
        declared.keys().filter(|name| !found.seen.contains_key(*name) && !is_listed(name)).collect();

    let undeclared: Vec<_> = found.undeclared.iter().take(TOLD).collect();
    assert!(
        undeclared.is_empty(),
        "say at the kinds whose these fields are (CONTRIBUTING.md); {} in all: {undeclared:#?}",
        found.undeclared.len()
    );
    let not_done: Vec<_> = found.not_done.iter().take(TOLD).collect();
    assert!(
        not_done.is_empty(),
        "deletion cannot do what these declare (storage/src/db/personal.rs); {} in all: {not_done:#?}",
        found.not_done.len()
    );
    assert!(not_reached.is_empty(), "make data of these, or list them with the reason: {not_reached:?}");
}
