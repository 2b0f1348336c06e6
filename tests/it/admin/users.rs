//! Users, their roles, announcements and flags.

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::{acts, done, id, log_in, read, refused, staff};
use crate::server::{Server, User};

async fn put(server: &Server, path: &str, user: &User, body: Value) -> (StatusCode, Value) {
    server.call(Method::PUT, path, Some(&user.token), Some(body)).await
}

fn role_of(user: &User) -> String {
    format!("/api/admin/users/{}/role", user.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_works_at_once_on_requests_and_on_open_sockets() {
    let server = Server::start().await;
    let (eva, mia) = (staff(&server, "eva", "admin").await, staff(&server, "mia", "moderator").await);
    let pending = "/api/founder-approval/pending";
    read(&server, pending, &mia).await;
    let (mut socket, _) = connect_async(server.websocket_url()).await.unwrap();
    let connect = json!({"id": 1, "connect": {"token": mia.token}});
    socket.send(Message::text(connect.to_string())).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Text(_)))));

    let body = json!({"role": "user", "reason": "She asked for it."});
    let (status, answer) = put(&server, &role_of(&mia), &eva, body.clone()).await;
    assert_eq!((status, &answer["role"]), (StatusCode::OK, &json!("user")), "{answer}");
    let (status, _) = server.get(pending, &mia).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "the token says another role");
    let closed = async {
        while let Some(Ok(message)) = socket.next().await {
            if matches!(message, Message::Close(_)) {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), closed).await.expect("the socket is closed");
    let mia = log_in(&server, "mia").await;
    let (status, _) = server.get(pending, &mia).await;
    assert_eq!(status, StatusCode::FORBIDDEN);

    let (status, _) = put(&server, &role_of(&mia), &eva, body).await;
    assert_eq!(status, StatusCode::OK, "she has it already");
    read(&server, "/api/users/me", &mia).await;
    let (status, _) = put(&server, &role_of(&mia), &eva, json!({"role": "admin", "reason": "x"})).await;
    assert_eq!(status, StatusCode::OK);
    let mia = log_in(&server, "mia").await;
    read(&server, pending, &mia).await;
    let acts = acts(&server, &mia.id, 3).await;
    let names: Vec<_> = acts.iter().map(|act| act["act"].as_str().unwrap()).collect();
    assert_eq!(names, ["user.created", "user.roleSet", "user.roleSet"]);
    assert_eq!(acts[1]["reason"], "She asked for it.");
    assert_eq!(acts[1]["details"], json!({"before": "moderator", "role": "user"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_always_an_admin() {
    let server = Server::start().await;
    let (eva, max) = (staff(&server, "eva", "admin").await, staff(&server, "max", "admin").await);
    let none = json!({"role": "user", "reason": "x"});
    let (status, _) = put(&server, &role_of(&eva), &eva, none.clone()).await;
    assert_eq!(status, StatusCode::CONFLICT, "nobody takes the own role away");
    let (eva_role, max_role) = (role_of(&eva), role_of(&max));
    let (one, two) = tokio::join!(
        put(&server, &max_role, &eva, none.clone()),
        put(&server, &eva_role, &max, none.clone())
    );
    let given = [&one, &two].into_iter().filter(|(status, _)| *status == StatusCode::OK).count();
    assert_eq!(given, 1, "{one:?} {two:?}");
    // Who has the role by a token alone cannot take it from somebody.
    let root = server.user("root", "admin");
    let left = if one.0 == StatusCode::OK { &eva_role } else { &max_role };
    let (status, _) = put(&server, left, &root, none).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admins_find_users_and_lock_them_out() {
    let server = Server::start().await;
    let (eva, ana) = (staff(&server, "eva", "admin").await, server.register("ana").await);
    for text in [ana.id.as_str(), "ana", "ANA@example.com"] {
        let found = read(&server, &format!("/api/admin/users?q={text}"), &eva).await;
        assert_eq!((&found["items"][0]["id"], &found["items"][1]), (&json!(ana.id), &Value::Null), "{text}");
    }
    assert_eq!(read(&server, "/api/admin/users?q=an", &eva).await["items"], json!([]));
    let path = format!("/api/admin/users/{}", ana.id);
    let blocked = done(&server, &format!("{path}/block"), &eva, json!({"reason": "Spam."})).await;
    assert_eq!(blocked["blocked"], true);
    let (status, _) = server.get("/api/users/me", &ana).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let free = done(&server, &format!("{path}/unblock"), &eva, json!({"reason": "A mistake."})).await;
    assert_eq!(free["blocked"], false);
    read(&server, "/api/users/me", &ana).await;
    let own = format!("/api/admin/users/{}/block", eva.id);
    refused(&server, &own, &eva, json!({"reason": "x"}), StatusCode::CONFLICT).await;
    let acts = acts(&server, &ana.id, 2).await;
    assert_eq!((&acts[0]["act"], &acts[0]["reason"]), (&json!("user.blocked"), &json!("Spam.")));
    assert_eq!(acts[1]["act"], "user.unblocked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_told_and_each_has_the_own_flags() {
    let server = Server::start().await;
    let (eva, ana) = (staff(&server, "eva", "admin").await, server.register("ana").await);
    let body = json!({"title": "Maintenance", "text": "On Sunday.", "until": "2099-01-01T00:00:00Z"});
    let made = done(&server, "/api/admin/announcements", &eva, body).await;
    let (status, shown) = server.call(Method::GET, "/api/announcements", None, None).await;
    assert_eq!((status, &shown["items"]), (StatusCode::OK, &json!([made])));
    let heard = server.subscribe_once(&ana, json!({"channel": "announcements:all"})).await;
    assert!(heard.is_object(), "{heard}");
    let path = format!("/api/admin/announcements/{}", id(&made));
    let (status, _) = server.call(Method::DELETE, &path, Some(&eva.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (_, shown) = server.call(Method::GET, "/api/announcements", None, None).await;
    assert_eq!(shown["items"], json!([]));
    acts(&server, &id(&made), 2).await;

    let flag = json!({"enabled": true, "percent": 0, "roles": ["admin"]});
    let (status, answer) = put(&server, "/api/admin/flags/map", &eva, flag).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(read(&server, "/api/flags", &ana).await["flags"], json!({}), "nobody reads what is to come");
    assert_eq!(read(&server, "/api/flags", &eva).await["flags"], json!({"map": true}));
    put(&server, "/api/admin/flags/map", &eva, json!({"enabled": true, "percent": 100})).await;
    assert_eq!(read(&server, "/api/flags", &ana).await["flags"], json!({"map": true}));
    let (status, _) = put(&server, "/api/admin/flags/a%20b", &eva, json!({"enabled": true})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let path = "/api/admin/flags/map";
    let (status, _) = server.call(Method::DELETE, path, Some(&ana.token), None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = server.call(Method::DELETE, path, Some(&eva.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = server.call(Method::DELETE, path, Some(&eva.token), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "there is none any more");
    assert_eq!(read(&server, "/api/flags", &ana).await["flags"], json!({}));
    assert_eq!(read(&server, "/api/admin/flags", &eva).await["items"], json!([]));
    let acts = acts(&server, "map", 3).await;
    assert_eq!(acts[2]["act"], "flag.removed");
}
