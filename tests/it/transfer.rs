//! From one machine to many and back, and backups.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use futures_util::future::join_all;
use mundotango::community::bookmarks::store::BookmarkStore;
use mundotango::community::events::places::Heads;
use mundotango::community::events::rules::{RsvpChoice, RsvpCounts, Settings};
use mundotango::community::events::schedule::Schedule;
use mundotango::community::events::store::{Event, EventStore, EventType};
use mundotango::community::location::Location;
use mundotango::community::posts::rules::ReactionType;
use mundotango::community::posts::store::{Post, PostStore, Text, Visibility};
use mundotango::engines::store_path;
use mundotango::life_ceo::store::{Conversation, ConversationStore, Speaker, Turn};
use mundotango::schema::schema;
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::now;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cluster::{begin, settings, with};
use crate::server::{Server, User, mundotango, until};
use crate::stores::NO_EFFECTS;

const POSTS: usize = 2_000;
const EVENTS: usize = 60;
const USERS: usize = 60;
/// Answers to one event, which are more than come in one page.
const CROWD: usize = 500;
const TURNS: u64 = 150;
const PUBLISHED: u64 = 120;
/// Writes that share commits.
const AT_ONCE: usize = 256;

/// What was put into a store.
struct Known {
    posts: Vec<String>,
    events: Vec<String>,
    conversation: String,
}

fn post(author_id: &str, number: usize) -> Post {
    let content = format!("¡Bailemos! {number} {}", "tango ".repeat(number % 40));
    let visibility = if number.is_multiple_of(10) { Visibility::Private } else { Visibility::Public };
    Post::made(new_id(), author_id.to_owned(), Text::new(content, now()), visibility)
}

fn event(number: usize) -> Event {
    Event {
        id: new_id(),
        host_id: new_id(),
        title: format!("Milonga {number}"),
        description: String::new(),
        when: Schedule::at(now() + Duration::from_hours(24)),
        location: Location { text: "La Viruta, Buenos Aires".to_owned(), ..Location::default() },
        event_type: EventType::Milonga,
        settings: Settings::capacity((number > 0).then_some(5)),
        is_draft: false,
        going: Heads::default(),
        held: 0,
        sequence: 0,
        changed_at: now(),
        created_at: now(),
        counts: RsvpCounts::default(),
        version: 0,
        cancelled: None,
        series: None,
        is_given_away: false,
        is_suspended: false,
    }
}

/// Waits for many writes, some hundred of them at a time.
async fn all<T>(writes: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let (mut done, mut writes) = (Vec::new(), writes.into_iter().peekable());
    while writes.peek().is_some() {
        done.extend(join_all(writes.by_ref().take(AT_ONCE)).await);
    }
    done
}

/// Puts something of every feature into a store.
async fn fill(db: &Db) -> Known {
    let (posts, events) = (PostStore::new(db.clone()), EventStore::new(db.clone()));
    let user = |number: usize| format!("u{}", number % USERS);
    let all_posts: Vec<_> = (0..POSTS).map(|number| post(&user(number), number)).collect();
    all(all_posts.iter().map(async |post| posts.create(post, &[]).await.unwrap())).await;
    let reactions = all_posts.iter().enumerate().filter(|(number, _)| number % 3 == 0);
    all(reactions.map(async |(number, post)| {
        posts.react(&post.id, &user(number), Some(ReactionType::Heart)).await.unwrap()
    }))
    .await;
    let all_events: Vec<_> = (0..EVENTS).map(event).collect();
    all(all_events.iter().map(async |event| events.create(event, &[]).await.unwrap())).await;
    let crowd = (0..CROWD).map(|number| (0, format!("c{number:04}")));
    let some = (0..EVENTS * 10).map(|number| (number % EVENTS, user(number / EVENTS)));
    all(crowd.chain(some).map(async |(event, user)| {
        events.rsvp(&all_events[event].id, &user, RsvpChoice::Going, now(), |_| NO_EFFECTS).await.unwrap()
    }))
    .await;
    let bookmarks = BookmarkStore::new(db.clone());
    all((0..POSTS / 2)
        .map(|number| (user(number), &all_posts[number].id))
        .map(async |(user, post)| bookmarks.set(&user, post, true, None::<()>).await.unwrap()))
    .await;
    let conversations = ConversationStore::new(db.clone());
    let all_conversations: Vec<_> = (0..USERS)
        .map(|number| Conversation {
            id: new_id(),
            user_id: user(number),
            agent_id: "travel".to_owned(),
            created_at: now(),
        })
        .collect();
    all(all_conversations.iter().enumerate().map(async |(number, conversation)| {
        conversations.create(conversation).await.unwrap();
        let fence = conversations.take_over(&conversation.id).await.unwrap().unwrap();
        for number in 1..=if number == 1 { TURNS } else { 4 } {
            let speaker = if number % 2 == 1 { Speaker::User } else { Speaker::Agent };
            let (id, content, created_at) = (new_id(), format!("turn {number}"), now());
            let turn = Turn { number, id, speaker, content, finished: true, created_at };
            conversations.add_turn(&conversation.id, fence, turn).await.unwrap();
        }
    }))
    .await;
    Known {
        posts: all_posts.into_iter().map(|post| post.id).collect(),
        events: all_events.into_iter().map(|event| event.id).collect(),
        conversation: all_conversations[1].id.clone(),
    }
}

fn command(data_dir: &Path, settings: &[(String, String)], arguments: &[&str]) -> Command {
    let mut command = mundotango(data_dir, arguments);
    command.envs(settings.iter().map(|(name, value)| (format!("MUNDOTANGO__{name}"), value)));
    command
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn succeed(command: Command) -> String {
    let output = run(command).await;
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

async fn fail(command: Command) -> String {
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    text(&output)
}

/// What a stream's trailer says of each table.
fn totals(file: &Path) -> Value {
    let mut stream = Vec::new();
    let mut file_read = File::open(file).unwrap();
    if file.extension().is_some_and(|extension| extension == "gz") {
        MultiGzDecoder::new(file_read).read_to_end(&mut stream).unwrap();
    } else {
        file_read.read_to_end(&mut stream).unwrap();
    }
    let last = stream.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap();
    let last: Value = serde_json::from_slice(last).unwrap();
    last["trailer"]["totals"].clone()
}

/// What a node shows of what was put into its store.
async fn shown(node: &Server, known: &Known) -> Vec<Value> {
    let user = node.user("u1", "user");
    let mut paths = vec![
        "/api/bookmarks?limit=100".to_owned(),
        format!("/api/life-ceo/conversations/{}/turns?limit=100", known.conversation),
        format!("/api/events/{}/attendees?limit=100", known.events[0]),
    ];
    paths.extend(known.posts.iter().step_by(97).map(|id| format!("/api/posts/{id}")));
    paths.extend(known.events.iter().step_by(7).map(|id| format!("/api/events/{id}")));
    let mut shown = Vec::new();
    for path in paths {
        let (status, answer) = node.get(&path, &user).await;
        // Another's private post is hidden on both.
        assert!(matches!(status, StatusCode::OK | StatusCode::NOT_FOUND), "{path}: {answer}");
        shown.push(answer);
    }
    let history = node.api("history", json!({"channel": "room:a", "limit": 1000})).await;
    let publications = history["result"]["publications"].as_array().unwrap().clone();
    shown.push(publications.iter().map(|one| one["data"].clone()).collect());
    shown
}

/// The ids of all posts that a user sees.
async fn feed(node: &Server, user: &User) -> Vec<String> {
    let (mut ids, mut path) = (Vec::new(), "/api/posts?limit=100".to_owned());
    loop {
        let (status, page) = node.get(&path, user).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        ids.extend(
            page["items"].as_array().unwrap().iter().map(|post| post["id"].as_str().unwrap().to_owned()),
        );
        match page["nextCursor"].as_str() {
            Some(cursor) => path = format!("/api/posts?limit=100&cursor={cursor}"),
            None => return ids,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_becomes_many_and_goes_back() {
    let id = new_id();
    let shared = with(&settings(), "CLUSTER__CQL__KEYSPACE", &format!("moved_{}", &id[id.len() - 8..]));
    let shared = with(&shared, "CLUSTER__CQL__REQUEST_TIMEOUT", "20s");
    let shared = with(&shared, "CHANNELS__NAMESPACES__ROOM__HISTORY_ARCHIVE_TTL", "8760h");
    let alone: Vec<_> = shared.iter().filter(|(name, _)| !name.starts_with("CLUSTER__")).cloned().collect();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (first, second, third) = (file("one.ndjson.gz"), file("many.ndjson"), file("back.ndjson"));
    let nowhere = folder.path().join("nowhere");

    let mut server = begin(&alone, &[]);
    server.wait_until_ready().await;
    let ana = server.register("ana").await;
    let commands: Vec<_> =
        (0..PUBLISHED).map(|number| json!({"publish": {"channel": "room:a", "data": number}})).collect();
    server.api("batch", json!({"commands": commands})).await;
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    let store = EmbeddedStore::open(&store_path(&server.data_dir()), &EmbeddedOptions::default(), &schema());
    let store = store.unwrap();
    let known = fill(&store.stores().db).await;
    store.close();
    drop(store);
    server.start_again().await;

    // Out of the running node, which takes posts meanwhile.
    let done = AtomicBool::new(false);
    let writing = async {
        let mut written = 0;
        while !done.load(Ordering::Relaxed) {
            let (status, post) = server.post("/api/posts", &ana, json!({"content": "meanwhile"})).await;
            assert_eq!(status, StatusCode::CREATED, "{post}");
            written += 1;
        }
        written
    };
    let exporting = async {
        let told = succeed(command(&server.data_dir(), &alone, &["export", "--to", &first])).await;
        done.store(true, Ordering::Relaxed);
        told
    };
    let (written, told) = tokio::join!(writing, exporting);
    assert!(written > 0 && told.contains("conversations"), "{told}");
    let all = totals(first.as_ref());
    assert!(all["posts"]["partitions"].as_u64().unwrap() >= POSTS as u64, "{all}");
    assert_eq!(all["publications"]["rows"], PUBLISHED);
    assert_eq!(mode(first.as_ref()), 0o600);

    // Into a cluster, killed in the middle.
    let progress = file("progress");
    let import = ["import", "--from", &first, "--progress", &progress];
    let mut killed = command(&nowhere, &shared, &import).stderr(Stdio::null()).spawn().unwrap();
    until("some is written", async || {
        let told: Value = serde_json::from_slice(&fs::read(&progress).ok()?).ok()?;
        (told["block"].as_u64()? >= 1).then_some(())
    })
    .await;
    assert_eq!(killed.try_wait().unwrap(), None, "it ended before it could be killed");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let refused = fail(command(&nowhere, &shared, &import)).await;
    assert!(refused.contains("not empty") && refused.contains("--resume"), "{refused}");
    let resumed = [&import[..], &["--resume"]].concat();
    let told = succeed(command(&nowhere, &shared, &resumed)).await;
    assert!(told.contains("checksum equal") && !told.contains("NO"), "{told}");
    assert!(!Path::new(&progress).exists());

    // What the cluster holds is the same, byte by byte, and a node on it shows the same.
    succeed(command(&nowhere, &shared, &["export", "--to", &second])).await;
    assert_eq!(totals(second.as_ref()), all);
    let told = succeed(command(&nowhere, &shared, &["check"])).await;
    assert!(told.contains("nothing is wrong"), "{told}");
    let mut node = begin(&shared, &[]);
    node.wait_until_ready().await;
    assert_eq!(shown(&node, &known).await, shown(&server, &known).await);
    let user = server.user("u1", "user");
    let (here, mut there) = (feed(&node, &user).await, feed(&server, &user).await);
    // The running node went on.
    there.retain(|id| here.contains(id));
    assert_eq!(here, there);
    assert!(here.len() > POSTS * 8 / 10, "{} posts", here.len());
    let login = json!({"email": "ana@example.com", "password": "abrazo-1234"});
    let (status, _) = node.call(Method::POST, "/api/auth/login", None, Some(login)).await;
    assert_eq!(status, StatusCode::OK);
    let next = node.api("publish", json!({"channel": "room:a", "data": "next"})).await;
    assert!(next["result"]["offset"].as_u64().unwrap() > PUBLISHED, "a place is given twice: {next}");

    // And back into a new folder.
    let back = folder.path().join("back");
    let told = succeed(command(&back, &alone, &["import", "--from", &second])).await;
    assert!(!told.contains("NO"), "{told}");
    succeed(command(&back, &alone, &["backup", &third])).await;
    assert_eq!(totals(third.as_ref()), all);
    let told = succeed(command(&back, &alone, &["check"])).await;
    assert!(told.contains("nothing is wrong"), "{told}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_node_is_restored() {
    let mut server = Server::start().await;
    let ana = server.register("ana").await;
    let (_, post) = server.post("/api/posts", &ana, json!({"content": "Hola"})).await;
    let path = format!("/api/posts/{}", post["id"].as_str().unwrap());
    let data_dir = server.data_dir();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monday.ndjson");
    let name = file.to_str().unwrap();
    let on = |data_dir: &Path, arguments: &[&str]| command(data_dir, &[], arguments);

    succeed(on(&data_dir, &["backup", name])).await;
    assert_eq!(mode(&file), 0o600);
    assert!(fail(on(&data_dir, &["backup", name])).await.contains("is there already"));
    assert!(succeed(on(&data_dir, &["check", "--file", name])).await.contains("posts"));
    let (status, _) = server.get("/api/admin/system/export", &ana).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(fail(on(&data_dir, &["check"])).await.contains("in use"));

    // What is damaged is told with its place, and nothing of it is written.
    let stream = fs::read(&file).unwrap();
    let mut damaged = stream.clone();
    let middle = damaged.len() / 3;
    damaged[middle] ^= 1;
    for (bytes, why) in [(&damaged[..], "damaged at line"), (&stream[..stream.len() - 5], "is cut off")] {
        let bad = folder.path().join("bad.ndjson");
        fs::write(&bad, bytes).unwrap();
        let fresh = tempfile::tempdir().unwrap();
        for arguments in [&["check", "--file"][..], &["restore"]] {
            let arguments = [arguments, &[bad.to_str().unwrap()]].concat();
            let told = fail(on(&fresh.path().join("data"), &arguments)).await;
            assert!(told.contains(why), "{told}");
        }
    }
    let no_stream = folder.path().join("notes.txt");
    fs::write(&no_stream, "Hola\n").unwrap();
    let told = fail(on(&data_dir, &["check", "--file", no_stream.to_str().unwrap()])).await;
    assert!(told.contains("no stream of MundoTango"), "{told}");

    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    assert!(fail(on(&data_dir, &["restore", name])).await.contains("not empty"));
    let told = succeed(on(&data_dir, &["check"])).await;
    assert!(told.contains("nothing is wrong"), "{told}");
    fs::remove_dir_all(data_dir.join("store")).unwrap();
    let told = succeed(on(&data_dir, &["restore", name])).await;
    assert!(!told.contains("NO"), "{told}");
    server.start_again().await;
    let (status, found) = server.get(&path, &ana).await;
    assert_eq!((status, &found["content"]), (StatusCode::OK, &json!("Hola")));
}
