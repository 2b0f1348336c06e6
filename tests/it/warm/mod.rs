//! Three nodes that have read all, and whose sockets are open: what is not to be seen any more is seen nowhere, two seconds after
//! the change on another node.

mod doors;
mod people;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use self::doors::{AREAS, DOORS, Door, EXCEPTIONS, Viewer};
use self::people::{Subject, World};
use crate::chat::{Line, done, of};
use crate::reactions::watch;
use crate::server::{Server, User, until};

/// Within what time a change shows on all nodes: half of it is promised, and a busy machine has the rest. It is less than what a
/// cache would forget by itself.
const AT_ONCE: Duration = Duration::from_secs(4);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);
const PERMISSION_DENIED: u64 = 103;

/// One door of one node, and what must not stand in its answer.
struct Asked<'a> {
    what: String,
    node: &'a Server,
    reader: &'a User,
    path: String,
    needle: String,
}

impl Asked<'_> {
    /// Whether the answer shows it.
    async fn is_shown(&self) -> bool {
        let ask = async || {
            let request = self.node.http.get(self.node.url(&self.path)).bearer_auth(&self.reader.token);
            let answer = request.send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            // A search that finds no place says so.
            (status != StatusCode::SERVICE_UNAVAILABLE).then_some((status, text))
        };
        let (status, text) = until(&self.what, ask).await;
        assert!(!status.is_server_error() && status != StatusCode::BAD_REQUEST, "{}: {text}", self.what);
        status.is_success() && text.contains(&self.needle)
    }
}

/// Doors of all nodes; what to look for is chosen for each.
fn asked<'a>(
    world: &'a World,
    subject: &Subject,
    doors: &[Door],
    needle: impl Fn(&Door) -> &'static str,
) -> Vec<Asked<'a>> {
    let each = doors.iter().flat_map(|door| {
        let (path, needle) = (subject.filled(door.path), subject.filled(needle(door)));
        let reader = match door.viewer {
            Viewer::Ben => &world.ben,
            Viewer::Eve => &world.eve,
        };
        world.nodes.iter().enumerate().map(move |(number, node)| {
            let what = format!("{} on node {number}, by {path}", door.operation);
            Asked { what, node, reader, path: path.clone(), needle: needle.clone() }
        })
    });
    each.collect()
}

fn chosen(wanted: impl Fn(&Door) -> bool) -> Vec<Door> {
    DOORS.iter().copied().filter(|door| wanted(door)).collect()
}

/// Has all nodes read all, twice: so their caches hold it.
async fn warm(asked: &[Asked<'_>]) {
    join_all(asked.iter().map(async |one| {
        until(&format!("it is shown: {}", one.what), async || one.is_shown().await.then_some(())).await;
    }))
    .await;
    all_shown(asked).await;
}

async fn all_shown(asked: &[Asked<'_>]) {
    let shown = join_all(asked.iter().map(Asked::is_shown)).await;
    let missing: Vec<_> =
        asked.iter().zip(shown).filter(|(_, is_shown)| !is_shown).map(|(one, _)| &one.what).collect();
    assert!(missing.is_empty(), "not shown: {missing:#?}");
}

/// Nothing is shown any more once a time is over, and from then on.
async fn all_hidden_by(deadline: Instant, asked: &[Asked<'_>]) {
    let each = asked.iter().map(async |one| {
        loop {
            let asked_at = Instant::now();
            if !one.is_shown().await {
                return None;
            }
            if asked_at > deadline {
                return Some(&one.what);
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    });
    let open: Vec<_> = join_all(each).await.into_iter().flatten().collect();
    assert!(open.is_empty(), "still shown: {open:#?}");
    // What another part of a node still keeps would bring it back.
    tokio::time::sleep(deadline.saturating_duration_since(Instant::now())).await;
    let shown = join_all(asked.iter().map(Asked::is_shown)).await;
    let back: Vec<_> =
        asked.iter().zip(shown).filter(|(_, is_shown)| *is_shown).map(|(one, _)| &one.what).collect();
    assert!(back.is_empty(), "shown again: {back:#?}");
}

/// Nothing is shown any more, as soon as what follows the store has followed.
async fn hidden_some_day(asked: &[Asked<'_>]) {
    join_all(asked.iter().map(async |one| {
        until(&format!("it is gone: {}", one.what), async || (!one.is_shown().await).then_some(())).await;
    }))
    .await;
}

/// A socket of Ben's at each node, subscribed to channels.
async fn lines(world: &World, channels: &[String]) -> Vec<Line> {
    let mut lines = Vec::new();
    for node in &world.nodes {
        let line = Line::open(node, &world.ben).await;
        for channel in channels {
            let reply = line.subscribe(channel).await;
            assert!(reply["subscribe"].is_object(), "{channel}: {reply}");
        }
        lines.push(line);
    }
    lines
}

/// Nobody has heard this text.
fn silent(lines: &[Line], text: &str) {
    for (number, line) in lines.iter().enumerate() {
        let pushes = line.pushes.lock();
        let heard = pushes.iter().find(|(_, push)| push.to_string().contains(text));
        assert!(heard.is_none(), "at node {number}: {heard:?}");
    }
}

/// A channel lets Ben in on no node any more.
async fn closed_by(deadline: Instant, world: &World, channel: &str) {
    for node in &world.nodes {
        loop {
            let asked_at = Instant::now();
            match watch(node, &world.ben, channel).await {
                Err(code) => {
                    assert_eq!(code, PERMISSION_DENIED, "{channel}");
                    break;
                }
                Ok(_) => assert!(asked_at < deadline, "{channel} is still open"),
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}

/// A post that was public is for its author alone.
async fn narrowed(world: &World, ana: &Subject) {
    let ana = ana.with_another_post(world).await;
    let post = ana.thing("post");
    let doors = asked(world, &ana, &chosen(Door::is_of_post), |door| door.shows);
    warm(&doors).await;
    let channel = format!("post:{post}");
    let lines = lines(world, &["posts:feed".to_owned(), channel.clone()]).await;
    all_shown(&doors).await;

    let (path, narrowed) = (format!("/api/posts/{post}"), json!({"visibility": "private"}));
    done(&world.nodes[2], Method::PATCH, &path, &ana.user, narrowed).await;
    let deadline = Instant::now() + AT_ONCE;
    all_hidden_by(deadline, &doors).await;
    for line in &lines {
        for channel in ["posts:feed", channel.as_str()] {
            until("a channel says that it is gone", async || {
                let mut told = line.of_type(channel, "post.deleted").into_iter();
                told.any(|told| told["postId"] == post).then_some(())
            })
            .await;
        }
    }
    let words = json!({"content": "susurro"});
    done(&world.nodes[0], Method::PATCH, &path, &ana.user, words).await;
    let comment = json!({"content": "un susurro más"});
    done(&world.nodes[1], Method::POST, &format!("{path}/comments"), &ana.user, comment).await;
    closed_by(deadline, world, &channel).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    silent(&lines, "susurro");
}

/// A member is taken out of a group.
async fn removed(world: &World, ana: &Subject) {
    let chat = world.group(&[&world.ben, &ana.user]).await;
    let say = async |node: &Server, text: &str| {
        done(node, Method::POST, &of(&chat, "messages"), &world.cam, json!({"text": text})).await
    };
    say(&world.nodes[0], "antes").await;
    let conversation = format!("/api/chat/conversations/{chat}");
    let doors = [
        ("/api/chat/conversations?folder=inbox".to_owned(), "antes"),
        (conversation.clone(), "antes"),
        (of(&chat, "messages"), "antes"),
        (of(&chat, "members"), ""),
    ];
    let asked = |needle: Option<&'static str>| -> Vec<Asked<'_>> {
        let each = world.nodes.iter().flat_map(|node| doors.iter().map(move |door| (node, door)));
        each.map(|(node, (path, before))| {
            let needle = needle.unwrap_or(*before).to_owned();
            Asked { what: path.clone(), node, reader: &world.ben, path: path.clone(), needle }
        })
        .collect()
    };
    warm(&asked(None)).await;
    let channel = format!("chat:{chat}");
    let lines = lines(world, std::slice::from_ref(&channel)).await;

    let member = of(&chat, &format!("members/{}", world.ben.id));
    done(&world.nodes[1], Method::DELETE, &member, &world.cam, Value::Null).await;
    let deadline = Instant::now() + AT_ONCE;
    for line in &lines {
        let is_over = |push: &Value| push["channel"] == channel && push["unsubscribe"].is_object();
        until("the subscription ends", async || {
            line.pushes.lock().iter().any(|(_, push)| is_over(push)).then_some(())
        })
        .await;
    }
    tokio::time::sleep(deadline.saturating_duration_since(Instant::now())).await;
    for node in &world.nodes {
        say(node, "después").await;
    }
    let hidden: Vec<_> = asked(Some("después")).into_iter().chain(members_only(world, &chat)).collect();
    all_hidden_by(deadline, &hidden).await;
    closed_by(deadline, world, &channel).await;
    silent(&lines, "después");
}

/// What of a group is for those who are in it now.
fn members_only<'a>(world: &'a World, chat: &str) -> Vec<Asked<'a>> {
    let path = of(chat, "members");
    let each = world.nodes.iter().map(|node| {
        let (what, needle) = (path.clone(), String::new());
        Asked { what, node, reader: &world.ben, path: path.clone(), needle }
    });
    each.collect()
}

/// The ids of what Ben was told that somebody caused.
async fn caused(world: &World, by: &User) -> BTreeSet<String> {
    let path = "/api/notifications?limit=100";
    let page = done(&world.nodes[0], Method::GET, path, &world.ben, Value::Null).await;
    let items = page["items"].as_array().unwrap().iter();
    items
        .filter(|told| told["actorId"] == by.id)
        .map(|told| format!("{}: {}", told["id"], told["count"]))
        .collect()
}

/// A user keeps two others out.
async fn blocked(world: &World, ana: &Subject) {
    let (closing, staying): (Vec<_>, Vec<_>) =
        DOORS.iter().copied().partition(|door| door.stays_when_blocked.is_none());
    let closing = asked(world, ana, &closing, |door| door.shows);
    let staying = asked(world, ana, &staying, |door| door.shows);
    warm(&closing).await;
    warm(&staying).await;
    let [post, friends] = ["post", "friends"].map(|thing| format!("post:{}", ana.thing(thing)));
    let direct = format!("chat:{}", ana.thing("chat"));
    let channels = [post.clone(), friends.clone(), direct];
    let lines = lines(world, &channels).await;
    let told = caused(world, &ana.user).await;
    all_shown(&closing).await;

    for other in [&world.eve, &world.ben] {
        let path = format!("/api/users/{}/block", other.id);
        done(&world.nodes[1], Method::PUT, &path, &ana.user, Value::Null).await;
    }
    let changed = Instant::now();
    let deadline = changed + AT_ONCE;
    all_hidden_by(deadline, &closing).await;
    all_shown(&staying).await;
    for channel in [&post, &friends] {
        closed_by(deadline, world, channel).await;
    }

    // What the one does now reaches the other by no channel that is the other's or theirs, and by no list.
    for line in &lines {
        line.pushes.lock().clear();
    }
    for (number, node) in world.nodes.iter().enumerate() {
        let path = format!("/api/posts/{}", ana.thing("friends"));
        done(node, Method::PATCH, &path, &ana.user, json!({"content": format!("susurro {number}")})).await;
        let (body, path) =
            (json!({"content": "@ben susurro"}), format!("/api/posts/{}/comments", world.said));
        done(node, Method::POST, &path, &ana.user, body).await;
        let messages = of(ana.thing("chat"), "messages");
        let (status, answer) = node.post(&messages, &ana.user, json!({"text": "susurro"})).await;
        assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    }
    tokio::time::sleep(AT_ONCE).await;
    silent(&lines, "susurro");
    for line in &lines {
        let own = line.published(&format!("#{}", world.ben.id));
        let heard = own.iter().find(|(_, message)| message.to_string().contains(&ana.user.id));
        assert!(heard.is_none(), "{heard:?}");
    }
    assert_eq!(caused(world, &ana.user).await, told, "nothing more is told of who keeps the other out");
}

/// An admin deletes an account: its name is nowhere at once, and what it made goes.
async fn deleted(world: &World, dora: &Subject) {
    let all = asked(world, dora, DOORS, |door| door.shows);
    warm(&all).await;
    let named = asked(world, dora, &chosen(|door| door.named_until_erased.is_none()), |_| "{name}");
    let page = asked(world, dora, &chosen(|door| door.path == "/api/users/{id}"), |_| "");
    let post = format!("post:{}", dora.thing("post"));
    let lines = lines(world, &[post.clone(), "posts:feed".to_owned()]).await;
    all_shown(&all).await;

    let root = world.nodes[1].user("root", "admin");
    let (path, sure) =
        (format!("/api/admin/users/{}", dora.user.id), json!({"confirmation": dora.thing("name")}));
    let (status, answer) = world.nodes[1].call(Method::DELETE, &path, Some(&root.token), Some(sure)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let deadline = Instant::now() + AT_ONCE;
    let hidden: Vec<_> = named.into_iter().chain(page).collect();
    all_hidden_by(deadline, &hidden).await;
    // Whoever is gone says nothing more.
    for node in &world.nodes {
        let (status, answer) = node.post("/api/posts", &dora.user, json!({"content": "susurro"})).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");
    }
    silent(&lines, "susurro");

    until("the account is erased", async || {
        let (_, page) = world.nodes[1].get("/api/admin/departures", &root).await;
        (page["done"] == 1 && page["items"].as_array().is_some_and(Vec::is_empty)).then_some(())
    })
    .await;
    // The indexes of words follow.
    hidden_some_day(&all).await;
    for line in &lines {
        until("those who look at a post hear that it is gone", async || {
            line.of_type(&post, "post.deleted").pop()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_to_be_seen_any_more_is_closed_at_all_doors_of_warm_nodes_at_once() {
    let world = Box::pin(World::new()).await;
    let ana = Box::pin(world.subject("quejumbrosa", "azucenas")).await;
    let dora = Box::pin(world.subject("zorzalita", "malevaje")).await;
    Box::pin(narrowed(&world, &ana)).await;
    Box::pin(removed(&world, &ana)).await;
    Box::pin(blocked(&world, &ana)).await;
    Box::pin(deleted(&world, &dora)).await;
}

#[test]
fn each_reading_operation_of_these_areas_has_a_row_or_a_reason() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let document: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let reading = paths.filter(|(_, methods)| {
        let tags = methods["get"]["tags"].as_array();
        tags.is_some_and(|tags| tags.iter().any(|tag| AREAS.iter().any(|area| tag == area)))
    });
    let reading: BTreeSet<_> = reading.map(|(path, _)| format!("GET {path}")).collect();
    let rows: BTreeSet<_> = DOORS.iter().map(|door| door.operation.to_owned()).collect();
    let reasons: BTreeSet<_> = EXCEPTIONS.iter().map(|(operation, _)| (*operation).to_owned()).collect();
    assert!(rows.is_disjoint(&reasons), "{:?}", rows.intersection(&reasons));
    let known: BTreeSet<_> = rows.union(&reasons).cloned().collect();
    let without: Vec<_> = reading.difference(&known).collect();
    assert!(without.is_empty(), "add a row to DOORS, or a reason to EXCEPTIONS: {without:#?}");
    let unknown: Vec<_> = known.difference(&reading).collect();
    assert!(unknown.is_empty(), "no such operations: {unknown:#?}");
}
