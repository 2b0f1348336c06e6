//! Leaving, and getting a copy of what is one's own, against the real binary.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use mundotango_protocol::new_id;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::links::{PASSWORD, letter, log_in, post as post_alone, start, use_link};
use crate::mail::SmtpServer;
use crate::server::{Server, User, until};

const ME: &str = "/api/users/me";
const EXPORT: &str = "/api/users/me/export";
const UNDO: &str = "/api/auth/undo-deletion";
const SUBJECT: &str = "Your account will be deleted";
/// How soon a socket of who leaves ends (trap 57).
const SILENT_WITHIN: Duration = Duration::from_secs(2);

async fn leave(server: &Server, user: &User, password: &str, confirmation: &str) -> (StatusCode, Value) {
    let body = json!({"password": password, "confirmation": confirmation});
    server.call(Method::DELETE, ME, Some(&user.token), Some(body)).await
}

async fn done(server: &Server, path: &str, user: &User, body: Value) -> Value {
    let (status, answer) = server.post(path, user, body).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_is_gone_at_once_and_can_come_back_for_a_week() {
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let path = format!("/api/users/{}", ana.id);
    let (status, problem) = leave(&server, &ana, "wrong", "ana").await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("wrong_credentials")));
    let (status, problem) = leave(&server, &ana, PASSWORD, "ben").await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("confirmation")));

    let (mut socket, _) = connect_async(server.websocket_url()).await.unwrap();
    let connect = json!({"id": 1, "connect": {"token": ana.token}});
    let subscribe = json!({"id": 2, "subscribe": {"channel": "posts:feed"}});
    socket.send(Message::text(format!("{connect}\n{subscribe}"))).await.unwrap();
    let (status, answer) = leave(&server, &ana, PASSWORD, "Ana").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let left = Instant::now();
    tokio::time::timeout(SILENT_WITHIN, async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
        }
    })
    .await
    .expect("the socket ends");
    assert!(left.elapsed() < SILENT_WITHIN);
    done(&server, "/api/posts", &ben, json!({"content": "Nobody is there who left"})).await;
    let late = tokio::time::timeout(Duration::from_millis(300), socket.next()).await;
    assert!(!matches!(late, Ok(Some(Ok(Message::Text(_))))), "{late:?}");

    assert_eq!(server.get(ME, &ana).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(server.get(&path, &ben).await.0, StatusCode::NOT_FOUND);
    let (status, problem) = log_in(&server, "ana@example.com", PASSWORD).await;
    assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("account_leaving")), "{problem}");
    assert_eq!(log_in(&server, "ana@example.com", "wrong").await.0, StatusCode::UNAUTHORIZED);
    let refresh = json!({"refreshToken": ana.refresh_token});
    assert_eq!(post_alone(&server, "/api/auth/refresh", refresh).await.0, StatusCode::UNAUTHORIZED);
    let root = server.user("root", "admin");
    let listed = until("the departure is listed", async || {
        let (_, page) = server.get("/api/admin/departures", &root).await;
        page["items"].as_array().filter(|items| !items.is_empty()).map(|items| items[0].clone())
    })
    .await;
    assert_eq!((&listed["userId"], &listed["stage"]), (&json!(ana.id), &json!("leaving")));

    let token = letter(&mail, "ana", SUBJECT, 1).await.token("undo-deletion");
    use_link(&server, UNDO, json!({"token": token})).await;
    assert_eq!(post_alone(&server, UNDO, json!({"token": token})).await.0, StatusCode::GONE);
    assert_eq!(server.get(&path, &ben).await.0, StatusCode::OK);
    let (status, answer) = log_in(&server, "ana@example.com", PASSWORD).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    until("the departure is forgotten", async || {
        let (_, page) = server.get("/api/admin/departures", &root).await;
        page["items"].as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
}

/// Things of a user, of which others have some too.
async fn things(server: &Server, ana: &User, ben: &User) -> (String, String, String) {
    for number in 0..200 {
        let body = json!({"content": format!("Palabra {number}"), "visibility": "public"});
        done(server, "/api/posts", ana, body).await;
    }
    let post = done(server, "/api/posts", ben, json!({"content": "by Ben"})).await;
    let post = post["id"].as_str().unwrap().to_owned();
    for user in [ana, ben] {
        done(server, &format!("/api/posts/{post}/react"), user, json!({"reactionType": "heart"})).await;
    }
    let mut ids = Vec::new();
    for (host, title) in [(ana, "Given by Ana"), (ben, "Given by Ben")] {
        let event = json!({
            "title": title, "eventDate": "2040-05-01T20:00:00Z", "eventType": "milonga", "location": "Salon Canning",
            "capacity": 1,
        });
        let event = done(server, "/api/events", host, event).await;
        ids.push(event["id"].as_str().unwrap().to_owned());
    }
    for user in [ana, ben] {
        done(server, &format!("/api/events/{}/rsvp", ids[1]), user, json!({"status": "going"})).await;
    }
    (post, ids.remove(0), ids.remove(0))
}

/// What a user has to do with another; their conversation.
async fn acquaintance(server: &Server, ana: &User, ben: &User, post: &str) -> String {
    for (user, other) in [(ana, ben), (ben, ana)] {
        let path = format!("/api/users/{}/follow", other.id);
        let (status, answer) = server.call(Method::PUT, &path, Some(&user.token), None).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let comments = format!("/api/posts/{post}/comments");
    done(server, &comments, ana, json!({"content": "Palabra sobre esto"})).await;
    let chat = done(server, "/api/chat/conversations", ana, json!({"userId": ben.id})).await;
    let messages = format!("/api/chat/conversations/{}/messages", chat["id"].as_str().unwrap());
    done(server, &messages, ana, json!({"text": "Palabra para ti"})).await;
    messages
}

/// Nothing of it is there of who has left.
async fn is_alone(server: &Server, ben: &User, post: &str, messages: &str) {
    let (_, post) = server.get(&format!("/api/posts/{post}"), ben).await;
    assert_eq!(post["commentCount"], 0, "{post}");
    let (_, said) = server.get(messages, ben).await;
    let first = &said["items"][0];
    assert_eq!((&first["deleted"], &first["text"]), (&json!(true), &Value::Null), "{said}");
    until("nobody is counted who is gone", async || {
        let (_, user) = server.get(&format!("/api/users/{}", ben.id), ben).await;
        (user["followers"] == 0 && user["following"] == 0).then_some(())
    })
    .await;
    let said = messages.replace("/messages", "/search?q=Palabra");
    for path in ["/api/search?q=Palabra", "/api/search?kind=comment&q=Palabra", &said] {
        let (_, found) = server.get(path, ben).await;
        assert!(found["items"].as_array().is_some_and(Vec::is_empty), "{path}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_ends_though_its_node_is_killed_in_the_middle() {
    let mut server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let (post, anas, bens) = things(&server, &ana, &ben).await;
    let messages = acquaintance(&server, &ana, &ben, &post).await;
    let root = server.user("root", "admin");
    let path = format!("/api/admin/users/{}", ana.id);
    let (status, _) =
        server.call(Method::DELETE, &path, Some(&ben.token), Some(json!({"confirmation": "ana"}))).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, answer) =
        server.call(Method::DELETE, &path, Some(&root.token), Some(json!({"confirmation": "ana"}))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let boss = json!({
        "email": "boss@example.com", "password": PASSWORD, "username": "boss", "fullName": "Boss", "role": "admin",
    });
    let boss = done(&server, "/api/admin/users", &root, boss).await;
    let path = format!("/api/admin/users/{}", boss["id"].as_str().unwrap());
    let (status, problem) =
        server.call(Method::DELETE, &path, Some(&root.token), Some(json!({"confirmation": "boss"}))).await;
    assert_eq!(status, StatusCode::CONFLICT, "there is always an admin: {problem}");
    for pause in [30, 120, 300] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.signal("KILL");
        server.wait_for_end().await;
        server.start_again().await;
    }
    let root = server.user("root", "admin");
    until("nothing is left", async || {
        let (_, page) = server.get("/api/admin/departures", &root).await;
        (page["done"] == 1 && page["items"].as_array().is_some_and(Vec::is_empty)).then_some(())
    })
    .await;
    let (_, feed) = server.get("/api/posts?limit=100", &ben).await;
    let posts: Vec<_> = feed["items"].as_array().unwrap().iter().map(|post| post["id"].clone()).collect();
    assert_eq!(posts, [json!(post)], "{feed}");
    assert_eq!(feed["items"][0]["reactions"]["heart"], 1, "{feed}");
    let (_, event) = server.get(&format!("/api/events/{anas}"), &ben).await;
    assert!(event["cancelledAt"].is_string() && event["host"].is_null(), "{event}");
    let (_, event) = server.get(&format!("/api/events/{bens}"), &ben).await;
    assert_eq!(event["myRsvp"]["status"], "going", "Ben has Ana's place: {event}");
    is_alone(&server, &ben, &post, &messages).await;
    let (_, trail) = server.get(&format!("/api/admin/audit?thing={}", ana.id), &root).await;
    assert_eq!(trail["items"][0]["act"], "user.deleted", "{trail}");
    let (status, _) = post_alone(
        &server,
        "/api/auth/register",
        json!({"email": "new@example.com", "password": PASSWORD, "username": "ana", "fullName": "Another"}),
    )
    .await;
    assert_eq!(status, StatusCode::CONFLICT, "the name is nobody's");
}

async fn fetch(
    server: &Server,
    user: &User,
    part: u64,
    range: Option<&str>,
) -> (StatusCode, Vec<u8>, String) {
    let mut request = server.http.get(server.url(&format!("{EXPORT}/{part}"))).bearer_auth(&user.token);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let answer = request.send().await.unwrap();
    let of = answer.headers().get("content-range").map(|of| of.to_str().unwrap().to_owned());
    (answer.status(), answer.bytes().await.unwrap().to_vec(), of.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_made_once_a_day_and_its_parts_are_fetched_in_stretches() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    things(&server, &ana, &ben).await;
    let (status, none) = server.get(EXPORT, &ana).await;
    assert_eq!((status, &none["state"]), (StatusCode::OK, &json!("none")));
    let request =
        server.http.post(server.url(EXPORT)).bearer_auth(&ana.token).header("idempotency-key", new_id());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let ready = until("the export is there", async || {
        let (_, export) = server.get(EXPORT, &ana).await;
        (export["state"] == "ready").then_some(export)
    })
    .await;
    let part = &ready["parts"][0];
    let (status, whole, _) = fetch(&server, &ana, 1, None).await;
    assert_eq!((status, whole.len() as u64), (StatusCode::OK, part["bytes"].as_u64().unwrap()));
    let digest =
        Sha256::digest(&whole).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    assert_eq!(part["sha256"], digest);
    let text = String::from_utf8(whole.clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let posts = lines.iter().filter(|line| line["kind"] == "posts").count();
    assert_eq!(posts, 200);
    assert!(
        text.contains("ana@example.com") && !text.contains("ben@example.com") && !text.contains("by Ben")
    );

    let middle = whole.len() / 2;
    let (status, rest, of) = fetch(&server, &ana, 1, Some(&format!("bytes={middle}-"))).await;
    assert_eq!((status, rest.as_slice()), (StatusCode::PARTIAL_CONTENT, &whole[middle..]));
    assert_eq!(of, format!("bytes {middle}-{}/{}", whole.len() - 1, whole.len()));
    let (status, few, _) = fetch(&server, &ana, 1, Some("bytes=10-19")).await;
    assert_eq!((status, few.as_slice()), (StatusCode::PARTIAL_CONTENT, &whole[10..20]));
    assert_eq!(fetch(&server, &ana, 1, Some("bytes=99999999-")).await.0, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(fetch(&server, &ana, 2, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(fetch(&server, &ben, 1, None).await.0, StatusCode::NOT_FOUND, "it is Ana's alone");

    let again = server.http.post(server.url(EXPORT)).bearer_auth(&ana.token).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = again.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((23 * 3600..=24 * 3600 + 1).contains(&wait), "{wait}");
}
