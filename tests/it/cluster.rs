//! Three nodes over a real NATS, Redis and CQL server.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mundotango::community::posts::store::COUNTS_KEPT;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::crowd::Crowd;
use crate::sdk::{Sdk, SdkClient};
use crate::server::{ROOM, Server, User, until};

/// The secret that all nodes sign tokens with.
const SECRET: &str = "a secret that all nodes of a test share";

/// The address of one of the tests' servers.
pub fn service(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run the tests by `cargo xtask test`, which starts the servers")
    })
}

/// The keyspace of this run of the tests; its tables are made by the first node.
fn keyspace() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| format!("it_{}", mundotango_protocol::new_id().replace('-', "")))
}

/// What the nodes of one cluster have in common; each cluster has its own channels.
pub fn settings() -> Vec<(String, String)> {
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut settings: Vec<_> = ROOM.iter().map(|(name, value)| own(name, value)).collect();
    settings.extend([
        own("AUTH__SECRET", SECRET),
        own("CLUSTER__PREFIX", &mundotango_protocol::new_id()),
        own("CLUSTER__NATS", &service("MUNDOTANGO_TEST_NATS")),
        own("CLUSTER__REDIS", &service("MUNDOTANGO_TEST_REDIS")),
        own("CLUSTER__CQL__NODES", &json!([service("MUNDOTANGO_TEST_CQL")]).to_string()),
        own("CLUSTER__CQL__KEYSPACE", keyspace()),
        own("CLUSTER__CQL__REPLICATION_FACTOR", "1"),
    ]);
    settings
}

/// The settings with one of them otherwise.
pub fn with(settings: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let others = settings.iter().filter(|(known, _)| known != name).cloned();
    others.chain([(name.to_owned(), value.to_owned())]).collect()
}

/// Starts nodes with these settings and waits until they know each other.
pub async fn start_with(settings: &[(String, String)], count: usize) -> Vec<Server> {
    let mut nodes: Vec<_> = (0..count).map(|_| begin(settings, &[])).collect();
    join_all(nodes.iter_mut().map(Server::wait_until_ready)).await;
    know_each_other(&nodes).await;
    nodes
}

/// Starts a node with some of the settings otherwise.
pub fn begin(settings: &[(String, String)], other: &[(&str, &str)]) -> Server {
    let all = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Server::begin_with(&all.chain(other.iter().copied()).collect::<Vec<_>>())
}

/// Starts nodes and waits until they know each other.
pub async fn start(count: usize) -> Vec<Server> {
    start_with(&settings(), count).await
}

/// Waits until each node lists all.
pub async fn know_each_other(nodes: &[Server]) {
    for node in nodes {
        until("the nodes know each other", async || {
            (node_ids(node).await.len() == nodes.len()).then_some(())
        })
        .await;
    }
}

/// The ids of the nodes that a node knows, its own first.
async fn node_ids(node: &Server) -> Vec<String> {
    let nodes = node.api("info", json!({})).await;
    let nodes = nodes["result"]["nodes"].as_array().unwrap().clone();
    nodes.iter().map(|node| node["uid"].as_str().unwrap().to_owned()).collect()
}

async fn presence(node: &Server, channel: &str) -> BTreeSet<String> {
    let answer = node.api("presence", json!({"channel": channel})).await;
    answer["result"]["presence"].as_object().unwrap().keys().cloned().collect()
}

/// A user's newest posts; other tests post as well.
async fn posts_of(node: &Server, user: &User, count: usize) -> Vec<Value> {
    let (mut posts, mut path) = (Vec::new(), "/api/posts?limit=100".to_owned());
    loop {
        let (_, mut feed) = node.get(&path, user).await;
        let items = feed["items"].as_array_mut().unwrap().iter_mut().map(Value::take);
        posts.extend(items.filter(|post| post["author"]["id"] == user.id));
        if posts.len() >= count {
            break;
        }
        path = format!("/api/posts?limit=100&cursor={}", feed["nextCursor"].as_str().expect("more posts"));
    }
    posts.truncate(count);
    posts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_are_one() {
    let nodes = start(3).await;
    let ana = nodes[0].register(&format!("ana{}", std::process::id())).await;

    // The same account, by REST and by RPC, on each node.
    for node in &nodes {
        let (status, me) = node.get("/api/users/me", &ana).await;
        assert_eq!((status, &me["id"]), (StatusCode::OK, &json!(ana.id)), "{me}");
    }
    let mut clients = Vec::new();
    for (number, sdk) in Sdk::ALL.into_iter().enumerate() {
        clients.push(SdkClient::subscribed(sdk, &nodes[number % 3], &ana, "posts:feed").await);
    }
    // What is posted on one is seen on all.
    for number in 0..9 {
        let body = json!({"content": number.to_string()});
        let (status, post) = nodes[number % 3].post("/api/posts", &ana, body).await;
        assert_eq!(status, StatusCode::CREATED, "{post}");
        // A post is answered before it is told, so the next one waits for that.
        for client in &mut clients {
            assert_eq!(client.publication().await["post"]["content"], number.to_string());
        }
    }
    for client in &mut clients {
        let me = client.result(json!({"do": "rpc", "method": "GET /api/users/me", "data": {}})).await;
        assert_eq!(me["id"], ana.id);
    }
    for node in &nodes {
        let posts = posts_of(node, &ana, 9).await;
        let contents: Vec<_> = posts.iter().map(|post| post["content"].clone()).collect();
        assert_eq!(contents, (0..9).rev().map(|number| json!(number.to_string())).collect::<Vec<_>>());
    }

    // What one node has read and another changes is read anew everywhere. Of reactions the own one is, and the counts are
    // within two seconds.
    let id = posts_of(&nodes[0], &ana, 1).await[0]["id"].as_str().unwrap().to_owned();
    for (number, reaction) in ["heart", "like", "laugh", "support"].into_iter().enumerate() {
        for node in &nodes {
            node.get(&format!("/api/posts/{id}"), &ana).await;
            node.get("/api/users/me", &ana).await;
        }
        let change = json!({"city": reaction});
        nodes[number % 3].call(Method::PATCH, "/api/users/me", Some(&ana.token), Some(change)).await;
        for node in &nodes {
            let (_, me) = node.get("/api/users/me", &ana).await;
            assert_eq!(me["city"], reaction, "{me}");
        }
        let path = format!("/api/posts/{id}/react");
        nodes[number % 3].post(&path, &ana, json!({"reactionType": reaction})).await;
        let changed = Instant::now();
        for node in &nodes {
            until("the counts show", async || {
                let (_, post) = node.get(&format!("/api/posts/{id}"), &ana).await;
                assert_eq!(post["myReaction"], reaction, "{post}");
                (post["reactions"] == json!({reaction: 1})).then_some(())
            })
            .await;
        }
        assert!(changed.elapsed() < COUNTS_KEPT + Duration::from_secs(1), "{:?}", changed.elapsed());
    }

    // Who is there is known everywhere, and one user can be sent away from anywhere.
    // Of an id of its own: the store is other tests' as well, and the user is locked out.
    let beto = nodes[1].user(&mundotango_protocol::new_id(), "user");
    let mut betos = Vec::new();
    for node in &nodes {
        betos.push(SdkClient::subscribed(Sdk::PythonJson, node, &beto, "room:a").await);
    }
    let everybody = presence(&nodes[0], "room:a").await;
    assert_eq!(everybody.len(), 3);
    for node in &nodes {
        assert_eq!(presence(node, "room:a").await, everybody);
        let stats = node.api("presence_stats", json!({"channel": "room:a"})).await;
        assert_eq!(stats["result"], json!({"num_clients": 3, "num_users": 1}));
        let connections = node.api("connections", json!({"user": beto.id})).await;
        assert_eq!(connections["result"]["connections"].as_object().unwrap().len(), 3);
        let channels = node.api("channels", json!({"pattern": "room:*"})).await;
        assert_eq!(channels["result"]["channels"], json!({"room:a": {"num_clients": 3}}));
    }
    let admin = nodes[0].user("admin", "admin");
    let (_, trees) = nodes[1].get("/api/admin/system/trees?limit=10", &admin).await;
    let trees = trees["items"].as_array().unwrap();
    let own: BTreeSet<_> = trees.iter().map(|item| item["node"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(own, node_ids(&nodes[0]).await.into_iter().collect());
    for (item, task) in trees.iter().flat_map(|item| [(item, "health"), (item, "revocations")]) {
        assert!(item["tree"].to_string().contains(&format!(r#""name":"{task}""#)), "{task}: {item}");
    }
    let sessions = trees.iter().map(|item| {
        let children = item["tree"]["children"].as_array().unwrap();
        let sessions = children.iter().find(|child| child["name"] == "sessions").unwrap();
        sessions["childrenTotal"].as_u64().unwrap()
    });
    assert_eq!(sessions.sum::<u64>(), (clients.len() + betos.len()) as u64);
    nodes[2].api("block_user", json!({"user": beto.id})).await;
    for client in &mut betos {
        client.event("disconnected").await;
    }
    until("nobody is left", async || presence(&nodes[0], "room:a").await.is_empty().then_some(())).await;
    for node in &nodes {
        let (status, _) = node.get("/api/posts", &beto).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "locked out everywhere");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_find_their_stream_from_any_node() {
    let nodes = start(2).await;
    let ana = nodes[0].user("ana", "user");
    // The stream is at the first node; a load balancer sends the commands to the second.
    let mut stream = nodes[0]
        .http
        .post(nodes[0].url("/connection/http_stream"))
        .body(json!({"id": 1, "connect": {"token": ana.token}}).to_string())
        .send()
        .await
        .unwrap();
    let mut text = String::new();
    let connect = loop {
        text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
        if let Some(Ok(reply)) = serde_json::Deserializer::from_str(&text).into_iter::<Value>().next() {
            break reply["connect"].clone();
        }
    };
    let command = json!({"id": 2, "rpc": {"method": "GET /api/health", "data": {}}}).to_string();
    let body = json!({"session": connect["session"], "node": connect["node"], "data": command});
    let answer = nodes[1].http.post(nodes[1].url("/emulation")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    while !text.contains("\"rpc\"") {
        text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
    }
    let nowhere = json!({"session": connect["session"], "node": "nowhere", "data": command});
    let answer = nodes[1].http.post(nodes[1].url("/emulation")).json(&nowhere).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

/// G1, G2, G7: `kill -9` of one of three nodes, with 2,000 sessions and 200 publications a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_g2_g7_a_killed_node_takes_nothing_along() {
    const SESSIONS: usize = 2_000;
    const CHANNELS: usize = 40;
    const RATE: u32 = 200;
    const SECONDS: u32 = 10;
    let mut nodes = start(3).await;
    let token = nodes[0].user("ana", "user").token;
    let addresses = nodes.iter().map(Server::address).collect();
    let crowd =
        Crowd::gather(SESSIONS, addresses, &token, |number| format!("room:{}", number % CHANNELS)).await;
    let before = presence(&nodes[0], "room:0").await;
    assert_eq!(before.len(), SESSIONS / CHANNELS);

    let killed = nodes.pop().unwrap();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut acknowledged = vec![Vec::new(); CHANNELS];
    let mut killed_at = None;
    for number in 0..RATE * SECONDS {
        pace.tick().await;
        let channel = number as usize % CHANNELS;
        let body = json!({"channel": format!("room:{channel}"), "data": number});
        // Every third through the node that dies, as long as it lives.
        let node = match number % 3 {
            2 if killed_at.is_none() => &killed,
            third => &nodes[third as usize % 2],
        };
        let answer = node.api("publish", body).await;
        assert!(answer["error"].is_null(), "{answer}");
        acknowledged[channel].push(u64::from(number));
        if number == RATE * SECONDS / 3 {
            killed.signal("KILL");
            killed_at = Some(Instant::now());
        }
    }
    crowd.all_back().await;
    let converged = until("presence is right", async || {
        let sets = [presence(&nodes[0], "room:0").await, presence(&nodes[1], "room:0").await];
        let right = sets[0] == sets[1] && sets[0].len() == SESSIONS / CHANNELS;
        right.then(|| killed_at.unwrap().elapsed())
    })
    .await;
    assert_eq!(node_ids(&nodes[0]).await.len(), 2);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut absences = Vec::new();
    let mut deliveries = 0;
    for subscriber in crowd.end().await {
        let channel: usize = subscriber.channel.strip_prefix("room:").unwrap().parse().unwrap();
        assert_eq!(subscriber.numbers, acknowledged[channel], "{}", subscriber.channel);
        assert_eq!(subscriber.absences.len(), subscriber.recovered);
        deliveries += subscriber.numbers.len();
        absences.extend(subscriber.absences);
    }
    absences.sort_unstable();
    assert!(absences.len() >= SESSIONS / 4, "{} came back", absences.len());
    let p99 = absences[absences.len() * 99 / 100];
    assert!(p99 < Duration::from_secs(5), "99 of 100 are back within {p99:?}");
    println!(
        "{} publications acknowledged, {deliveries} delivered once and in order; {} sessions came back, all recovered, \
         p50 {:?}, p99 {p99:?}; presence right {converged:?} after the kill at the latest",
        RATE * SECONDS,
        absences.len(),
        absences[absences.len() / 2]
    );
}

/// G7: a node that dies without load is gone from presence within five seconds, on every node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_a_dead_node_leaves_no_ghosts() {
    let mut nodes = start(3).await;
    let (ana, beto) = (nodes[0].user("ana", "user"), nodes[0].user("beto", "user"));
    let _here = SdkClient::subscribed(Sdk::PythonJson, &nodes[0], &ana, "room:ghosts").await;
    let mut there = Vec::new();
    for _ in 0..3 {
        there.push(SdkClient::subscribed(Sdk::PythonJson, &nodes[2], &beto, "room:ghosts").await);
    }
    assert_eq!(presence(&nodes[1], "room:ghosts").await.len(), 4);
    nodes.pop().unwrap().signal("KILL");
    let died = Instant::now();
    for node in &nodes {
        until("no ghosts", async || (presence(node, "room:ghosts").await.len() == 1).then_some(())).await;
        let status = node.api("get_user_status", json!({"users": ["beto"]})).await;
        assert!(status["result"]["statuses"][0]["online_since"].is_null(), "{status}");
    }
    assert!(died.elapsed() < Duration::from_secs(5), "{:?}", died.elapsed());
    println!("presence is right {:?} after the death", died.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_are_made_once_and_shown_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings();
    let keyspace = format!("it_{}", mundotango_protocol::new_id().replace('-', ""));
    settings.retain(|(name, _)| name != "CLUSTER__CQL__KEYSPACE");
    settings.push(("CLUSTER__CQL__KEYSPACE".to_owned(), keyspace));
    let migrate = |arguments: &[&str]| {
        let mut command: Command =
            crate::server::mundotango(folder.path(), &[&["migrate"], arguments].concat());
        command.envs(settings.iter().map(|(name, value)| (format!("MUNDOTANGO__{name}"), value)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(migrate(&["--dry-run"]).contains("would apply 0001_history.cql"));
    assert!(migrate(&["--dry-run"]).contains("would apply table conversations"));
    assert!(migrate(&[]).contains("applied 0001_history.cql"));
    assert!(migrate(&[]).contains("1 applied before"));
}

/// G30: the order in which things start does not matter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g30_a_node_waits_for_its_parts_and_says_for_which() {
    let settings = settings();
    let nowhere = [("CLUSTER__REDIS", "redis://127.0.0.1:1")];
    let mut node = begin(&settings, &nowhere);
    node.wait_until_it_listens().await;
    let live = node.http.get(node.url("/api/health/live")).send().await.unwrap();
    assert_eq!(live.status(), StatusCode::OK);
    let (status, ready) = until("it says what it waits for", async || {
        let answer = node.call(Method::GET, "/api/health/ready", None, None).await;
        answer.1["parts"][0]["name"].is_string().then_some(answer)
    })
    .await;
    assert_eq!((status, &ready["parts"][0]["name"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("redis")));
    let (status, answer) = node.call(Method::GET, "/api/posts", None, None).await;
    assert_eq!((status, &answer["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(503)));
    node.signal("TERM");
    assert!(node.wait_for_end().await.success(), "and can be ended while it waits");
}
