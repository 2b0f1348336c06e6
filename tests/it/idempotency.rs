//! Requests with an `Idempotency-Key` are carried out once: sent twice, at once, across `kill -9`, and when the store did
//! not say what it did. And what changes something runs to its end, whoever waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use mundotango_protocol::new_id;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{begin, know_each_other, service, settings, start_with, with};
use crate::durability::all;
use crate::proxy::{CuttingProxy, Mode};
use crate::sdk::{Sdk, SdkClient};
use crate::server::{Server, User, until};

/// An answer to a request with a key.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    is_replayed: bool,
    may_retry: bool,
    content_type: Option<String>,
    body: Value,
}

async fn try_send(
    server: &Server,
    user: Option<&User>,
    path: &str,
    key: &str,
    body: &Value,
) -> reqwest::Result<Answer> {
    let mut request = server.http.post(server.url(path)).header("idempotency-key", key).json(body);
    if let Some(user) = user {
        request = request.bearer_auth(&user.token);
    }
    let answer = request.send().await?;
    let headers = answer.headers().clone();
    Ok(Answer {
        status: answer.status(),
        is_replayed: headers.get("idempotency-replayed").is_some_and(|value| value == "true"),
        may_retry: headers.contains_key("retry-after"),
        content_type: headers.get("content-type").map(|value| value.to_str().unwrap().to_owned()),
        body: answer.json().await?,
    })
}

async fn send(server: &Server, user: &User, path: &str, key: &str, body: &Value) -> Answer {
    try_send(server, Some(user), path, key, body).await.unwrap()
}

/// Sends a request with its key until it is done.
async fn send_until_done(server: &Server, user: &User, path: &str, key: &str, body: &Value) -> Answer {
    until("the request is done", async || {
        let answer = try_send(server, Some(user), path, key, body).await.ok()?;
        let again = [StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status);
        assert!(again || answer.status.is_success(), "{answer:?}");
        (!again).then_some(answer)
    })
    .await
}

/// How many posts there are of each content.
async fn contents(server: &Server, user: &User) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for post in all(server, user, "/api/posts").await {
        *counts.entry(post["content"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

fn event() -> Value {
    json!({
        "title": "Practica", "description": "", "eventDate": "2030-01-01T20:00:00Z",
        "location": "Here", "eventType": "practica", "capacity": 3,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_carried_out_once_and_answered_the_same() {
    let server = Server::start().await;
    let (ana, beto) = (server.user("ana", "user"), server.user("beto", "user"));
    let root = server.user("root", "admin");
    let post = json!({"content": "once"});
    let first = send(&server, &ana, "/api/posts", "k", &post).await;
    assert_eq!((first.status, first.is_replayed), (StatusCode::CREATED, false));
    let again = send(&server, &ana, "/api/posts", "k", &post).await;
    assert_eq!((again.status, again.is_replayed), (StatusCode::CREATED, true));
    assert_eq!((&again.body, &again.content_type), (&first.body, &first.content_type));
    let other = send(&server, &ana, "/api/posts", "k", &json!({"content": "other"})).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(other.body["code"], "idempotency_key_reused");

    // Keys are a user's and a route's own.
    let of_beto = send(&server, &beto, "/api/posts", "k", &post).await;
    assert_eq!((of_beto.status, of_beto.is_replayed), (StatusCode::CREATED, false));
    assert_ne!(of_beto.body["id"], first.body["id"]);
    assert_eq!(contents(&server, &ana).await, BTreeMap::from([("once".to_owned(), 2)]));
    let event = send(&server, &ana, "/api/events", "k", &event()).await;
    assert_eq!((event.status, event.is_replayed), (StatusCode::CREATED, false));

    // An answer that was given before undoes no later one.
    let rsvp = format!("/api/events/{}/rsvp", event.body["id"].as_str().unwrap());
    assert_eq!(send(&server, &beto, &rsvp, "going", &json!({})).await.body["status"], "going");
    server.post(&rsvp, &beto, json!({"status": "declined"})).await;
    assert!(send(&server, &beto, &rsvp, "going", &json!({})).await.is_replayed);
    let (_, now) = server.get(rsvp.trim_end_matches("/rsvp"), &beto).await;
    assert_eq!(now["counts"]["going"], 0);

    // What is wrong stays wrong; what may change is asked again.
    for replayed in [false, true] {
        let wrong = send(&server, &ana, "/api/posts", "wrong", &json!({"content": ""})).await;
        assert_eq!((wrong.status, wrong.is_replayed), (StatusCode::BAD_REQUEST, replayed));
        assert_eq!(wrong.body["errors"][0]["field"], "content");
        assert_eq!(wrong.content_type.as_deref(), Some("application/problem+json"));
    }
    let nobody = try_send(&server, None, "/api/posts", "k", &post).await.unwrap();
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    for bad in ["", "a b", &"k".repeat(256)] {
        let refused = send(&server, &ana, "/api/posts", bad, &post).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{bad:?}");
        assert_eq!(refused.body["errors"][0]["field"], "Idempotency-Key");
    }

    // Tokens are kept nowhere: the same account gets others.
    let account =
        json!({"email": "eva@example.com", "password": "abrazo-1234", "username": "eva", "fullName": "Eva"});
    let register = async || try_send(&server, None, "/api/auth/register", "eva", &account).await.unwrap();
    let (first, again) = (register().await, register().await);
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::CREATED), "{again:?}");
    assert_eq!(first.body["user"], again.body["user"]);
    assert_ne!(first.body["refreshToken"], again.body["refreshToken"]);
    assert!(!again.is_replayed);
    let mut account = account;
    account["email"] = json!("rosa@example.com");
    account["username"] = json!("rosa");
    let made = send(&server, &root, "/api/admin/users", "rosa", &account).await;
    let again = send(&server, &root, "/api/admin/users", "rosa", &account).await;
    assert_eq!((made.status, again.is_replayed, &again.body), (StatusCode::CREATED, true, &made.body));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_runs() {
    let server = Server::start().await;
    let ana = server.user("ana", "user");
    let (post, chat) = (json!({"content": "once"}), json!({"message": "hola", "stream": true}));
    for (path, body) in [("/api/posts", &post), ("/api/life-ceo/chat", &chat)] {
        let answers = join_all((0..20).map(|_| send(&server, &ana, path, "k", body))).await;
        let mut made = BTreeSet::new();
        for answer in answers {
            if answer.status == StatusCode::CONFLICT {
                assert_eq!(answer.body["code"], "idempotency_key_in_use", "{answer:?}");
                assert!(answer.may_retry);
            } else {
                assert!(answer.status.is_success(), "{answer:?}");
                made.insert((answer.body["id"].to_string(), answer.body["conversationId"].to_string()));
            }
        }
        assert_eq!(made.len(), 1, "{path}: {made:?}");
    }
    assert_eq!(contents(&server, &ana).await["once"], 1);
    let answer = send_until_done(&server, &ana, "/api/life-ceo/chat", "k", &chat).await;
    let turns =
        format!("/api/life-ceo/conversations/{}/turns", answer.body["conversationId"].as_str().unwrap());
    let said = until("the agent has answered", async || {
        let (_, page) = server.get(&turns, &ana).await;
        let turns = page["items"].as_array().unwrap().clone();
        turns.last().is_some_and(|turn| turn["finished"] == true).then_some(turns)
    })
    .await;
    assert_eq!(said.iter().filter(|turn| turn["speaker"] == "user").count(), 1, "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_has_its_key_behind_its_method() {
    let server = Server::start().await;
    let ana = server.user("ana", "user");
    for (number, sdk) in [Sdk::JavaScriptJson, Sdk::JavaScriptProtobuf].into_iter().enumerate() {
        let mut client = SdkClient::subscribed(sdk, &server, &ana, "posts:feed").await;
        let method = format!("POST /api/posts#key/{number}#?");
        let content = format!("by rpc {number}");
        let call = json!({"do": "rpc", "method": method, "data": {"content": content}});
        let (first, again) = (client.result(call.clone()).await, client.result(call).await);
        assert_eq!(first, again);
        // Both doors know the same keys.
        let other =
            send(&server, &ana, "/api/posts", &format!("key/{number}#?"), &json!({"content": ""})).await;
        assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
        for (method, code) in [(method.as_str(), 422), ("POST /api/posts#", 400), ("POST /api/posts#ñ", 400)]
        {
            let reply = client.act(json!({"do": "rpc", "method": method, "data": {"content": "x"}})).await;
            assert_eq!(reply["code"], code, "{method}: {reply}");
        }
        assert_eq!(contents(&server, &ana).await[&content], 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_outlives_kill_9() {
    const AT_ONCE: usize = 40;
    let mut server = Server::start().await;
    let ana = server.user("ana", "user");
    let (mut answered, mut replayed) = (0, 0);
    for round in 0..6 {
        let keys: Vec<_> = (0..AT_ONCE).map(|number| format!("{round}-{number}")).collect();
        let sending = keys.iter().map(|key| {
            let (server, ana) = (&server, &ana);
            async move { try_send(server, Some(ana), "/api/posts", key, &json!({"content": key})).await.ok() }
        });
        let killing = async {
            // At different points of the requests' way.
            tokio::time::sleep(Duration::from_millis(4 + 6 * round)).await;
            server.signal("KILL");
        };
        let (first, ()) = tokio::join!(join_all(sending), killing);
        server.wait_for_end().await;
        server.start_again().await;
        for (key, first) in keys.iter().zip(first) {
            let again = send_until_done(&server, &ana, "/api/posts", key, &json!({"content": key})).await;
            assert_eq!(again.status, StatusCode::CREATED);
            if let Some(first) = first.filter(|first| first.status == StatusCode::CREATED) {
                answered += 1;
                assert_eq!((first.body, true), (again.body, again.is_replayed));
            } else if again.is_replayed {
                replayed += 1;
            }
        }
    }
    let counts = contents(&server, &ana).await;
    assert_eq!((counts.len(), counts.values().max()), (6 * AT_ONCE, Some(&1)));
    println!(
        "{answered} of {} were answered before a kill, {replayed} were done and not answered",
        6 * AT_ONCE
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_and_a_dead_node_leave_one_of_each() {
    let cql = CuttingProxy::start(crate::faults::address_of(&service("MUNDOTANGO_TEST_CQL"))).await;
    let own = settings();
    let behind = with(&own, "CLUSTER__CQL__NODES", &json!([cql.address()]).to_string());
    let behind = with(&behind, "CLUSTER__CQL__REQUEST_TIMEOUT", "1s");
    let mut nodes = vec![begin(&behind, &[]), begin(&own, &[])];
    for node in &mut nodes {
        node.wait_until_ready().await;
    }
    know_each_other(&nodes).await;
    let (host, ana) = (nodes[0].user(&new_id(), "user"), nodes[0].user(&new_id(), "user"));
    let (_, event) = nodes[0].post("/api/events", &host, event()).await;
    let rsvp = format!("/api/events/{}/rsvp", event["id"].as_str().unwrap());
    // Statements are prepared by one who answers before.
    send_until_done(&nodes[0], &ana, "/api/posts", "first", &json!({"content": "first"})).await;
    send_until_done(&nodes[0], &host, &rsvp, "first", &json!({"status": "maybe"})).await;
    let (mut unknown, mut keys) = (0, Vec::new());
    for round in 0..8_u64 {
        let guest = nodes[0].user(&new_id(), "user");
        let key = format!("{}-{round}", ana.id);
        let (post, going) = (json!({"content": key, "visibility": "private"}), json!({}));
        let muting = async {
            // At different points of the answers' way.
            tokio::time::sleep(Duration::from_millis(3 + 5 * round)).await;
            cql.set(Mode::Mute);
        };
        let (posted, answered, ()) = tokio::join!(
            send(&nodes[0], &ana, "/api/posts", &key, &post),
            send(&nodes[0], &guest, &rsvp, &key, &going),
            muting
        );
        for answer in [&posted, &answered] {
            let is_unknown = answer.body["code"] == "outcome_unknown";
            assert!(!is_unknown || !answer.may_retry, "{answer:?}");
            unknown += u64::from(answer.status == StatusCode::SERVICE_UNAVAILABLE);
        }
        cql.set(Mode::Open);
        // Either node may be asked again.
        for node in &nodes {
            let again = send_until_done(node, &ana, "/api/posts", &key, &post).await;
            assert_eq!(again.status, StatusCode::CREATED);
            let place = send_until_done(node, &guest, &rsvp, &key, &json!({})).await;
            assert_eq!(place.status, StatusCode::OK);
        }
        keys.push(key);
        let (_, event) = nodes[1].get(rsvp.trim_end_matches("/rsvp"), &guest).await;
        assert_eq!(event["counts"]["going"].as_u64(), Some((round + 1).min(3)), "{event}");
    }
    assert!(unknown > 0, "no fault was injected");

    // The node dies with a claim in its hands, and another one carries on.
    let key = format!("{}-killed", ana.id);
    let post = json!({"content": key, "visibility": "private"});
    let killing = async {
        tokio::time::sleep(Duration::from_millis(8)).await;
        cql.set(Mode::Mute);
        tokio::time::sleep(Duration::from_millis(300)).await;
        nodes[0].signal("KILL");
    };
    let (_, ()) = tokio::join!(try_send(&nodes[0], Some(&ana), "/api/posts", &key, &post), killing);
    let again = send_until_done(&nodes[1], &ana, "/api/posts", &key, &post).await;
    assert_eq!(again.status, StatusCode::CREATED);
    keys.push(key);
    let counts = contents(&nodes[1], &ana).await;
    for key in keys {
        assert_eq!(counts[&key], 1, "{key}");
    }
    println!("{unknown} of 16 requests were left without an answer; each came to one thing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_something_runs_to_its_end() {
    let cql = CuttingProxy::start(crate::faults::address_of(&service("MUNDOTANGO_TEST_CQL"))).await;
    let settings = with(&settings(), "CLUSTER__CQL__NODES", &json!([cql.address()]).to_string());
    let settings = with(&settings, "CLUSTER__CQL__REQUEST_TIMEOUT", "20s");
    let settings = with(&settings, "HTTP__REQUEST_TIMEOUT", "1s");
    let settings = with(&settings, "SESSION__RPC_TIMEOUT", "1s");
    let nodes = start_with(&settings, 1).await;
    let ana = nodes[0].user(&new_id(), "user");
    let mut reader = SdkClient::subscribed(Sdk::JavaScriptJson, &nodes[0], &ana, "posts:feed").await;
    nodes[0].post("/api/posts", &ana, json!({"content": "first"})).await;
    reader.publication().await;

    cql.set(Mode::Mute);
    let post = |content: &str| {
        let request = nodes[0].http.post(nodes[0].url("/api/posts")).bearer_auth(&ana.token);
        request.json(&json!({"content": content}))
    };
    let call = json!({"do": "rpc", "method": "POST /api/posts", "data": {"content": "late by rpc"}});
    // One client hangs up, and two wait longer than the node does.
    let (alone, late, by_rpc) = tokio::join!(
        post("alone").timeout(Duration::from_millis(300)).send(),
        post("late").send(),
        reader.act(call)
    );
    assert!(alone.is_err(), "{alone:?}");
    let late = late.unwrap();
    assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!late.headers().contains_key("retry-after"));
    assert_eq!(late.json::<Value>().await.unwrap()["code"], "outcome_unknown");
    assert_eq!(by_rpc["code"], 503, "{by_rpc}");
    cql.set(Mode::Open);
    let mut told = BTreeSet::new();
    for _ in 0..3 {
        told.insert(reader.publication().await["post"]["content"].as_str().unwrap().to_owned());
    }
    assert_eq!(told, ["alone", "late", "late by rpc"].map(str::to_owned).into());
}
