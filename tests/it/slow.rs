//! The flight recorder and the lists of what is slow, as operators meet them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::cluster;
use crate::server::{ROOM, Server, User, until};

/// How many of an actor's last messages are kept.
const TAIL: usize = 64;
/// Where what is slow is found.
const SLOW: &str = "/api/admin/system/slow";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A socket of a user that is subscribed to a channel, and the session's id.
async fn subscribed(server: &Server, user: &User, channel: &str) -> (Socket, String) {
    let (mut socket, _) = connect_async(server.websocket_url()).await.unwrap();
    let connect = json!({"id": 1, "connect": {"token": user.token}});
    let commands = format!("{connect}\n{}", json!({"id": 2, "subscribe": {"channel": channel}}));
    socket.send(Message::text(commands)).await.unwrap();
    let mut client = String::new();
    loop {
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
        for reply in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
            let reply = reply.unwrap();
            assert!(reply["error"].is_null(), "{reply}");
            if let Some(id) = reply["connect"]["client"].as_str() {
                id.clone_into(&mut client);
            }
            if reply["subscribe"].is_object() {
                return (socket, client);
            }
        }
    }
}

async fn publish(server: &Server, channel: &str, data: &str) {
    let answer = server.api("publish", json!({"channel": channel, "data": data})).await;
    assert!(answer["error"].is_null(), "{answer}");
}

async fn hook(server: &Server, hook: &str, body: Value) {
    let path = format!("/api/test-hooks/{hook}");
    let (status, answer) = server.call(Method::POST, &path, None, Some(body)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
}

async fn node_of(server: &Server, admin: &User) -> String {
    let (_, nodes) = server.get("/api/admin/system/nodes", admin).await;
    nodes["items"][0]["id"].as_str().unwrap().to_owned()
}

async fn actor(server: &Server, admin: &User, id: &str) -> (StatusCode, Value) {
    server.get(&format!("/api/admin/system/actors/{id}"), admin).await
}

/// Waits until the first of a list of what is slow is this one.
async fn first(server: &Server, admin: &User, list: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    until(&format!("it is the first of {list}"), async || {
        let (status, slow) = server.get(SLOW, admin).await;
        assert_eq!(status, StatusCode::OK, "{slow}");
        let first = slow[list].get(0)?;
        is_it(first).then(|| first.clone())
    })
    .await
}

/// Changes one user's profile many times at once: all changes meet at the user's partition.
async fn change_at_once(servers: &[&Server], user: &User) {
    let changes = (0..120).map(async |number| {
        let server = servers[number % servers.len()];
        let body = json!({"fullName": format!("Ana {number}")});
        server.call(Method::PATCH, "/api/users/me", Some(&user.token), Some(body)).await.0
    });
    let changed = join_all(changes).await.into_iter().filter(StatusCode::is_success).count();
    assert!(changed > 60, "{changed} of 120 changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_panics_leaves_its_last_messages_in_the_log_and_for_admins() {
    let server = Server::start_with(ROOM).await;
    let (ana, admin) = (server.user("ana", "user"), server.user("admin", "admin"));
    let node = node_of(&server, &admin).await;
    let (_socket, client) = subscribed(&server, &ana, "room:a").await;
    for _ in 0..TAIL {
        publish(&server, "room:a", "x").await;
    }
    hook(&server, "panic", json!({"channel": "room:a"})).await;
    let id = format!("{node}.channel.room:a");
    let details = until("the crash is known", async || {
        let (status, details) = actor(&server, &admin, &id).await;
        assert_eq!(status, StatusCode::OK, "{details}");
        (details["restarts"] == 1).then_some(details)
    })
    .await;
    assert_eq!(details["path"], json!(["root", "channels", "room:a"]));
    assert_eq!((&details["id"], &details["mailboxBound"]), (&json!(id), &json!(1024)));
    let failure = &details["failures"][0];
    assert_eq!(failure["reason"], "asked to by a test");
    let messages = failure["messages"].as_array().unwrap();
    assert_eq!(messages.len(), TAIL);
    let last = &messages[TAIL - 1];
    assert_eq!((&last["kind"], &last["panicked"]), (&json!("test"), &json!(true)), "{last}");
    let delivered = messages.iter().filter(|message| message["kind"] == "deliver");
    for message in delivered.clone() {
        assert!(message["waitedMicros"].is_u64() && message["tookMicros"].is_u64(), "{message}");
        assert_eq!(message["bytes"], 3, "the payload is the JSON text \"x\"");
    }
    assert!(delivered.count() > 10, "{messages:?}");
    let log = server.whole_log().await;
    let line = log.lines().find(|line| line.contains("channel crashed")).unwrap();
    assert_eq!(line.matches(" took ").count(), TAIL, "{line}");

    // A session's actor ends by its panic, and is known by its crash.
    hook(&server, "panic", json!({"session": client})).await;
    let id = format!("{node}.session.{client}");
    let details = until("the session has ended", async || {
        let (_, details) = actor(&server, &admin, &id).await;
        (details["state"] == "ended").then_some(details)
    })
    .await;
    let kinds: Vec<_> =
        details["messages"].as_array().unwrap().iter().map(|message| &message["kind"]).collect();
    assert_eq!(kinds[..2], ["connect", "subscribe"], "{details}");
    assert_eq!(details["failures"][0]["messages"], details["messages"]);
    assert!(server.whole_log().await.lines().any(|line| {
        line.contains("session crashed") && line.contains("connect 0 B") && line.contains("panicked")
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_slow_is_at_the_top_of_its_list() {
    let settings = [ROOM, &[("SESSION__OUTBOX_BYTES", "100000000")]].concat();
    let server = Server::start_with(&settings).await;
    let (ana, admin) = (server.register("ana").await, server.user("admin", "admin"));
    let node = node_of(&server, &admin).await;

    let (_large, _) = subscribed(&server, &ana, "room:large").await;
    // All sessions of one user would be in the user's own channel together, which were the largest then.
    let (beto, carla) = (server.user("beto", "user"), server.user("carla", "user"));
    let (_larger, _) = subscribed(&server, &beto, "room:large").await;
    let (_small, _) = subscribed(&server, &carla, "room:small").await;
    let is_full = |channel: &Value| channel["name"] == "room:large" && channel["subscribers"] == 2;
    let channel = first(&server, &admin, "channels", is_full).await;
    assert_eq!((&channel["subscribers"], &channel["nodes"][0]["node"]), (&json!(2), &json!(node)));

    // Nobody reads this socket: what the kernel does not take waits.
    let (_slow, client) = subscribed(&server, &ana, "room:flood").await;
    let much = "x".repeat(200_000);
    for _ in 0..100 {
        publish(&server, "room:flood", &much).await;
    }
    let session = first(&server, &admin, "sessions", |session| session["client"] == client).await;
    assert_eq!((&session["user"], &session["transport"]), (&json!(ana.id), &json!("websocket")));
    assert!(session["waitingBytes"].as_u64().unwrap() > 200_000, "{session}");
    assert_eq!(session["limitBytes"], 100_000_000);
    let (_, all) = server.get(SLOW, &admin).await;
    assert_eq!((&all["partial"], &all["nodes"][0]["id"]), (&json!(false), &json!(node)));
    assert!(all["channels"].as_array().unwrap().len() > 1);
    let (_, one) = server.get(&format!("{SLOW}?limit=1&node={node}"), &admin).await;
    for list in ["sessions", "handlers", "actors", "channels"] {
        assert_eq!(one[list].as_array().unwrap().len(), 1, "{list}");
    }

    let (_stalled, _) = subscribed(&server, &ana, "room:stalled").await;
    hook(&server, "stall", json!({"channel": "room:stalled", "millis": 6000})).await;
    for _ in 0..20 {
        publish(&server, "room:stalled", "x").await;
    }
    let is_stalled = |one: &Value| one["name"] == "room:stalled" && one["kind"] == "channel";
    let mailbox = first(&server, &admin, "mailboxes", is_stalled).await;
    assert_eq!((&mailbox["waiting"], &mailbox["bound"]), (&json!(20), &json!(1024)));
    let busy = first(&server, &admin, "actors", is_stalled).await;
    assert_eq!(busy["doing"]["kind"], "test", "its message is not handled yet: {busy}");
    let id = busy["actor"].as_str().unwrap();
    assert_eq!(id, mailbox["actor"]);
    let (_, details) = actor(&server, &admin, id).await;
    assert_eq!((&details["mailboxDepth"], &details["doing"]["kind"]), (&json!(20), &json!("test")));
    let handler = first(&server, &admin, "handlers", |handler| handler["kind"] == "test").await;
    assert!(handler["p99Micros"].as_u64() >= Some(6_000_000), "{handler}");
    assert_eq!((&handler["actorKind"], &handler["count"]), (&json!("channel"), &json!(1)));
    let details = until("what waited is handled", async || {
        let (_, details) = actor(&server, &admin, id).await;
        (details["mailboxDepth"] == 0 && details["doing"].is_null()).then_some(details)
    })
    .await;
    let messages = details["messages"].as_array().unwrap();
    let waited = messages.iter().filter(|message| message["waitedMicros"].as_u64() > Some(1_000_000)).count();
    assert!(waited >= 20, "what waited says so: {messages:?}");

    change_at_once(&[&server], &ana).await;
    let partition = first(&server, &admin, "partitions", |partition| partition["id"] == ana.id).await;
    assert!(partition["combined"].as_u64() > Some(0), "{partition}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_admins_look_and_what_is_not_there_is_not_found() {
    let server = Server::start().await;
    let (ana, admin) = (server.user("ana", "user"), server.user("admin", "admin"));
    let node = node_of(&server, &admin).await;
    let (_, tree) = server.get("/api/admin/system/tree", &admin).await;
    let mut ids = vec![tree["id"].as_str().unwrap().to_owned()];
    for keeper in tree["children"].as_array().unwrap() {
        ids.push(keeper["id"].as_str().unwrap().to_owned());
        let children = keeper["children"].as_array().unwrap().iter();
        ids.extend(children.map(|child| child["id"].as_str().unwrap().to_owned()));
    }
    assert!(ids.len() > 20, "{ids:?}");
    for id in &ids {
        let (status, details) = actor(&server, &admin, id).await;
        assert_eq!((status, &details["id"]), (StatusCode::OK, &json!(id)), "{details}");
    }
    // A keeper's own messages are recorded as well.
    until("a keeper has ticked", async || {
        let (_, keeper) = actor(&server, &admin, &format!("{node}.keeper.telemetry")).await;
        (keeper["messages"][0]["kind"] == "tick").then_some(())
    })
    .await;
    for path in [SLOW.to_owned(), format!("/api/admin/system/actors/{}", ids[0])] {
        assert_eq!(server.get(&path, &ana).await.0, StatusCode::FORBIDDEN);
        assert_eq!(server.call(Method::GET, &path, None, None).await.0, StatusCode::UNAUTHORIZED);
    }
    let unknown = [
        "x".to_owned(),
        format!("{node}.channel"),
        format!("{node}.channel.nobody"),
        format!("{node}.session.nobody"),
        format!("{node}.owned.nobody"),
        format!("{node}.keeper.nobody"),
        format!("{node}.%00.%FF%2F"),
        "all.channel.nobody".to_owned(),
    ];
    for id in unknown {
        let (status, problem) = actor(&server, &admin, &id).await;
        let expected = if id.contains("%FF") { StatusCode::BAD_REQUEST } else { StatusCode::NOT_FOUND };
        assert_eq!(status, expected, "{id}: {problem}");
        assert!(problem["type"].as_str().unwrap().starts_with("/problems#"), "{problem}");
    }
    for query in ["limit=0", "limit=101", "limit=x", "most=1"] {
        let (status, problem) = server.get(&format!("{SLOW}?{query}"), &admin).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {problem}");
    }
    let (status, _) = server.get(&format!("{SLOW}?node=nobody"), &admin).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_tells_what_is_slow_on_another_one_and_goes_on_when_that_hangs() {
    let settings = cluster::with(&cluster::settings(), "SESSION__OUTBOX_BYTES", "100000000");
    let nodes = cluster::start_with(&settings, 2).await;
    let [here, there] = &nodes[..] else { panic!("two nodes") };
    let ana = here.register(&format!("slow{}", std::process::id())).await;
    let admin = here.user("admin", "admin");
    let id = node_of(there, &admin).await;

    let (_one, _) = subscribed(here, &ana, "room:both").await;
    // All clusters of a run share a keyspace, and other tests lock users out.
    let [beto, carla] = ["beto", "carla"].map(|name| here.user(&format!("slow {name}"), "user"));
    let (_two, _) = subscribed(there, &beto, "room:both").await;
    let (_three, _) = subscribed(there, &carla, "room:both").await;
    let both = |channel: &Value| channel["name"] == "room:both" && channel["subscribers"] == 3;
    let channel = first(here, &admin, "channels", both).await;
    assert_eq!((&channel["nodes"][0]["node"], &channel["nodes"][0]["subscribers"]), (&json!(id), &json!(2)));

    let (_slow, client) = subscribed(there, &ana, "room:flood").await;
    let much = "x".repeat(200_000);
    for _ in 0..100 {
        publish(here, "room:flood", &much).await;
    }
    let session = first(here, &admin, "sessions", |session| session["client"] == client).await;
    assert_eq!(session["node"], id);

    let (_stalled, _) = subscribed(there, &ana, "room:stalled").await;
    hook(there, "stall", json!({"channel": "room:stalled", "millis": 5000})).await;
    for _ in 0..20 {
        publish(there, "room:stalled", "x").await;
    }
    let is_stalled = |one: &Value| one["name"] == "room:stalled" && one["node"] == id;
    let mailbox = first(here, &admin, "mailboxes", is_stalled).await;
    assert_eq!(first(here, &admin, "actors", is_stalled).await["actor"], mailbox["actor"]);
    let handler = first(here, &admin, "handlers", |handler| handler["kind"] == "test").await;
    assert_eq!(handler["node"], id);
    let (status, details) = actor(here, &admin, mailbox["actor"].as_str().unwrap()).await;
    assert_eq!((status, &details["node"]), (StatusCode::OK, &json!(id)), "{details}");
    assert!(details["messages"].as_array().unwrap().iter().any(|message| message["kind"] == "test"));
    let (status, problem) = actor(here, &admin, &format!("{id}.channel.nobody")).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");

    change_at_once(&[here, there], &ana).await;
    let partition = first(here, &admin, "partitions", |partition| partition["id"] == ana.id).await;
    assert!(partition["combined"].as_u64() > Some(0), "{partition}");

    // A frozen node is a member until its silence is noticed.
    there.signal("STOP");
    let began = Instant::now();
    let slow = until("a node is missing", async || {
        let (status, slow) = here.get(SLOW, &admin).await;
        assert_eq!(status, StatusCode::OK, "{slow}");
        (slow["partial"] == true).then_some(slow)
    })
    .await;
    let took = began.elapsed();
    assert_eq!(
        (&slow["nodes"][1]["id"], slow["nodes"][1]["error"].is_string()),
        (&json!(id), true),
        "{slow}"
    );
    assert!(slow["channels"].as_array().unwrap().iter().any(|channel| channel["name"] == "room:both"));
    assert!(took < Duration::from_secs(10), "an answer took {took:?}");
    there.signal("CONT");
}
