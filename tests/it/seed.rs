//! A store that `mundotango seed` filled.

use std::collections::{BTreeSet, HashSet};
use std::process::Output;

use jiff::Timestamp;
use mundotango::community::accounts::store::AccountStore;
use mundotango::community::bookmarks::store::BookmarkStore;
use mundotango::community::chat::inbox::InboxStore;
use mundotango::community::events::listing::EventFilter;
use mundotango::community::events::store::EventStore;
use mundotango::community::graph::store::Circles;
use mundotango::community::housing::bookings::saga::Bookings;
use mundotango::community::housing::status::Side;
use mundotango::community::posts::comments::store::CommentStore;
use mundotango::community::posts::store::PostStore;
use mundotango::schema::schema;
use mundotango::seed::plan::Plan;
use mundotango::seed::{self, Made};
use mundotango_storage::db::{Db, OUTBOX_SHARDS};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::{PageRequest, PageStart};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{Server, mundotango};

const USERS: u64 = 200;
const PASSWORD: &str = "tango-seed-1";

fn all() -> PageRequest {
    PageRequest { start: PageStart::First, limit: 1_000 }
}

fn plan(seed: u64) -> Plan {
    Plan { seed, users: USERS, at: Timestamp::from_second(1_800_000_000).unwrap() }
}

/// All that a store holds of a plan, as readers see it.
async fn content(db: &Db, plan: &Plan) -> Vec<String> {
    let (accounts, posts) = (AccountStore::new(db.clone()), PostStore::new(db.clone()));
    let (events, bookmarks) = (EventStore::new(db.clone()), BookmarkStore::new(db.clone()));
    let (circles, lists) = (Circles::new(db.clone()), InboxStore::new(db.clone()));
    let (comments, stays) = (CommentStore::new(db.clone()), Bookings::new(db));
    let (mut content, mut seen) = (Vec::new(), BTreeSet::new());
    for user in 0..plan.users {
        let id = plan.user_id(user);
        let (found, hash) = accounts.credentials(&plan.email(user)).await.unwrap().unwrap();
        assert!(found.id == id && hash.is_some());
        content.push(format!("{found:?}"));
        // Public posts and the user's own.
        for post in posts.feed(&id, &[], all(), |_| true).await.unwrap().items {
            content.push(format!("{id} sees {}", post.id));
            if seen.insert(post.id.clone()) {
                content.push(format!("{post:?} {:?}", posts.reactions_now(&post.id).await.unwrap().0));
                content.push(format!("{} {:?} comments", post.id, comments.count(&post.id).await.unwrap().0));
            }
        }
        content.push(format!("{:?}", bookmarks.posts(&id, all()).await.unwrap().items));
        let (circle, followers) = (circles.head(&id).await.unwrap(), circles.followers(&id, all()).await);
        content.push(format!("{id} {:?} {:?}", circle.counts, followers.unwrap().items));
        content.push(format!("{id} talks {:?}", lists.all(&id).await.unwrap()));
        let stays = stays.store.bookings(&id, &Side::BOTH, &[], plan.at, all()).await.unwrap();
        content.push(format!("{id} stays {:?}", stays.items));
    }
    for event in events.events(&EventFilter::default(), all()).await.unwrap().items {
        content.push(format!("{event:?} {:?}", events.rsvps(&event.id, all()).await.unwrap().items));
    }
    content
}

async fn filled(plan: &Plan, store: &EmbeddedStore) -> (Made, Vec<String>) {
    let db = store.stores().db;
    let made = seed::fill(&db, plan, PASSWORD.to_owned()).await.unwrap();
    (made, Box::pin(content(&db, plan)).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_makes_the_same_community_and_tells_nobody() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let stores = folders
        .each_ref()
        .map(|folder| EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &schema()).unwrap());
    let (made, first) = filled(&plan(1), &stores[0]).await;
    for (kind, count) in [
        ("users", USERS),
        ("posts", 2 * USERS),
        ("reactions", 5 * USERS),
        ("events", USERS / 20),
        ("answers", 2 * USERS),
        ("groups", USERS / 20),
        ("places to stay", USERS / 25),
    ] {
        assert_eq!(made[kind], count, "{kind}");
    }
    for (kind, least) in [
        ("follows", 7 * USERS),
        ("friendships", 2 * USERS),
        ("comments", USERS),
        ("conversations", USERS / 2),
        ("stays", USERS / 25),
        ("blocks", 1),
    ] {
        assert!(made[kind] >= least, "{kind}: {}", made[kind]);
    }
    let bookmarks = first.iter().filter(|line| line.starts_with("[\"")).count() as u64;
    assert!(bookmarks > 0 && made["bookmarks"] == 3 * bookmarks);
    assert!(first.iter().any(|line| line.contains("Waitlisted")), "some wait for a place");

    // Again, as after an interruption, and in another store.
    assert_eq!(filled(&plan(1), &stores[0]).await, (made.clone(), first.clone()));
    assert_eq!(filled(&plan(1), &stores[1]).await, (made, first.clone()));
    let (_, other) = filled(&plan(2), &stores[2]).await;
    let known: HashSet<_> = first.iter().collect();
    assert!(other.iter().all(|line| line == "[]" || !known.contains(line)));

    // Beside what is there already.
    filled(&plan(2), &stores[0]).await;
    let db = stores[0].stores().db;
    assert!(AccountStore::new(db.clone()).user(&plan(1).user_id(0)).await.unwrap().is_some());
    for shard in 0..OUTBOX_SHARDS {
        assert!(db.outbox(shard, None, 1).await.unwrap().items.is_empty(), "something is to be told");
    }
    let fewer = Plan { users: 10, ..plan(1) };
    let refused = seed::fill(&db, &fewer, PASSWORD.to_owned()).await.unwrap_err();
    assert!(format!("{refused:#}").contains("is taken"), "{refused:#}");
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_what_was_seeded() {
    let mut server = Server::start().await;
    let data_dir = server.data_dir();
    let seed = |more: &[&str]| {
        let arguments = ["seed", "--users", "60", "--password", PASSWORD];
        mundotango(&data_dir, &[&arguments[..], more].concat()).output().unwrap()
    };
    let refused = seed(&[]);
    assert!(!refused.status.success() && text(&refused).contains("stop it first"), "{}", text(&refused));
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    let weak = mundotango(&data_dir, &["seed", "--users", "1", "--password", "1234"]).output().unwrap();
    assert!(!weak.status.success() && text(&weak).contains("password"), "{}", text(&weak));
    let seeded = seed(&[]);
    assert!(seeded.status.success() && text(&seeded).contains("60 users\n"), "{}", text(&seeded));
    let twice = seed(&[]);
    assert!(!twice.status.success() && text(&twice).contains("--more"), "{}", text(&twice));
    let more = seed(&["--more", "--seed", "2"]);
    assert!(more.status.success(), "{}", text(&more));

    server.start_again().await;
    for email in ["dancer1.1@seed.example", "dancer1.60@seed.example", "dancer2.7@seed.example"] {
        let body = json!({"email": email, "password": PASSWORD});
        let (status, answer) = server.call(Method::POST, "/api/auth/login", None, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let token = answer["token"].as_str().unwrap();
        let get = async |path: &str| {
            let (status, answer) = server.call(Method::GET, path, Some(token), None).await;
            assert_eq!(status, StatusCode::OK, "{path}: {answer}");
            answer
        };
        let events = get("/api/events?limit=100").await;
        assert_eq!(events["items"].as_array().map(Vec::len), Some(8));
        let event = events["items"][0]["id"].as_str().unwrap().to_owned();
        assert!(events["items"][0]["host"]["fullName"].is_string());
        let attendees = get(&format!("/api/events/{event}/attendees?limit=5")).await;
        assert!(attendees["items"][0]["user"]["username"].as_str().unwrap().starts_with("dancer"));
        let feed = get("/api/posts?limit=100").await;
        assert_eq!(feed["items"].as_array().map(Vec::len), Some(100));
        let some_reacted = |post: &Value| post["reactions"].as_object().is_some_and(|all| !all.is_empty());
        assert!(feed["items"].as_array().unwrap().iter().any(some_reacted));
        get("/api/bookmarks").await;
        let is_full = |page: &Value| page["items"].as_array().is_some_and(|items| !items.is_empty());
        let friends = get("/api/friends").await;
        assert!(is_full(&friends) && friends["items"][0]["user"]["username"].is_string(), "{friends}");
        let houses = get("/api/housing").await;
        assert!(is_full(&houses) && houses["items"][0]["host"]["fullName"].is_string(), "{houses}");
        get("/api/chat/conversations").await;
        get("/api/posts/feed/following").await;
        // A seeded user does what others do.
        let path = format!("/api/events/{event}/rsvp");
        let (status, answer) = server.call(Method::POST, &path, Some(token), Some(json!({}))).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    // What those requests caused was told, and nothing of what was seeded.
    let metrics = server.http.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let letters = metrics.lines().filter(|line| line.starts_with("letters_total{letter=\"verify_email\""));
    assert!(letters.clone().count() > 0 && letters.clone().all(|line| line.ends_with(" 0")), "{metrics}");
}
