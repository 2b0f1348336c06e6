//! Actors that panic, seen from outside: by the official SDKs, and in the tree.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sdk::{Sdk, SdkClient};
use crate::server::{Server, User, until};

async fn panic(server: &Server, victim: Value) {
    let (status, answer) = server.call(Method::POST, "/api/test-hooks/panic", None, Some(victim)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
}

/// The tree's node of this name below the one of that kind.
async fn node(server: &Server, admin: &User, keeper: &str) -> Value {
    let (status, tree) = server.get("/api/admin/system/tree", admin).await;
    assert_eq!(status, StatusCode::OK, "{tree}");
    tree["children"].as_array().unwrap().iter().find(|child| child["name"] == keeper).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channels_panic_loses_and_doubles_nothing() {
    let server = Server::start().await;
    let (ana, admin) = (server.register("ana").await, server.user("admin", "admin"));
    let mut clients = Vec::new();
    for sdk in Sdk::ALL {
        clients.push(SdkClient::subscribed(sdk, &server, &ana, "posts:feed").await);
    }
    let mut other = SdkClient::subscribed(Sdk::JavaScriptJson, &server, &ana, "events:all").await;
    let post = async |content: u32| {
        let (status, _) = server.post("/api/posts", &ana, json!({"content": content.to_string()})).await;
        assert_eq!(status, StatusCode::CREATED);
    };
    for content in 0..10 {
        post(content).await;
        // A post is answered before it is told, and one that the panic catches on its way is told late, without its words.
        for client in &mut clients {
            assert_eq!(client.publication().await["post"]["content"], content.to_string());
        }
        if content % 5 == 2 {
            panic(&server, json!({"channel": "posts:feed"})).await;
            until("the channel is back", async || {
                let channels = node(&server, &admin, "channels").await;
                let mut children = channels["children"].as_array()?.iter();
                let feed = children.find(|child| child["name"] == "posts:feed")?;
                (feed["restarts"] == content / 5 + 1 && feed["state"] == "running").then_some(())
            })
            .await;
        }
    }
    assert_eq!(other.seen("subscribing") + other.seen("unsubscribed"), 0, "others notice nothing");
    other.result(json!({"do": "rpc", "method": "GET /api/users/me"})).await;
    let channels = node(&server, &admin, "channels").await;
    let children = channels["children"].as_array().unwrap();
    let feed = children.iter().find(|child| child["name"] == "posts:feed").unwrap();
    assert_eq!((&feed["restarts"], &feed["state"]), (&json!(2), &json!("running")));
    assert_eq!(channels["childCrashes"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_looks_after_the_engines_is_in_the_tree() {
    let server = Server::start().await;
    let admin = server.user("admin", "admin");
    let tasks = node(&server, &admin, "node").await["children"].take();
    let names: Vec<_> = tasks.as_array().unwrap().iter().map(|task| task["name"].clone()).collect();
    let (outbox, others): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| name.as_str().unwrap().starts_with("outbox "));
    assert_eq!(outbox.len(), 16, "one looks after what was left behind in each shard");
    let known = [
        "revocations",
        "outbox",
        "search",
        "post reactions",
        "analytics counters",
        "health",
        "hot state sweep",
    ];
    assert_eq!(others, known);
    until("the health was looked at", async || {
        let tasks = node(&server, &admin, "node").await["children"].take();
        let health = tasks.as_array()?.iter().find(|task| task["name"] == "health")?;
        (health["messagesHandled"].as_u64() > Some(0)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sessions_panic_closes_its_socket_alone() {
    let server = Server::start().await;
    let (ana, admin) = (server.register("ana").await, server.user("admin", "admin"));
    let mut victim = SdkClient::start(Sdk::JavaScriptJson, server.address(), &ana, "posts:feed");
    victim.event("connecting").await;
    let id = victim.event("connected").await["client"].as_str().unwrap().to_owned();
    victim.event("subscribed").await;
    let mut other = SdkClient::subscribed(Sdk::PythonProtobuf, &server, &ana, "posts:feed").await;
    panic(&server, json!({"session": id})).await;
    assert_eq!(victim.event("connecting").await["code"], 3004);
    victim.event("subscribed").await;
    server.post("/api/posts", &ana, json!({"content": "on we go"})).await;
    for client in [&mut victim, &mut other] {
        assert_eq!(client.publication().await["post"]["content"], "on we go");
    }
    assert_eq!(other.seen("connecting"), 0);
    assert_eq!(node(&server, &admin, "sessions").await["childCrashes"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keepers_panic_shows_in_the_tree_and_too_many_end_the_node() {
    let mut server = Server::start().await;
    let admin = server.user("admin", "admin");
    panic(&server, json!({"keeper": "channels"})).await;
    until("the keeper is back", async || {
        let keeper = node(&server, &admin, "channels").await;
        (keeper["restarts"] == 1 && keeper["state"] == "running").then_some(())
    })
    .await;
    let failing = async {
        loop {
            let body = json!({"keeper": "telemetry"});
            // The node may be gone already.
            let _ = server.try_call(Method::POST, "/api/test-hooks/panic", None, Some(body)).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            if server.http.get(server.url("/api/health/live")).send().await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), failing).await.unwrap();
    assert_eq!(server.wait_for_end().await.code(), Some(1), "its manager has to see that it failed");
}
