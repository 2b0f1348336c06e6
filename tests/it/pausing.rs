//! Pausing a profile through the real server: nobody new finds the user, and what there is goes on.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::graph::befriend;
use crate::housing::{room_body, stay_body};
use crate::search::{find, ids, until_found};
use crate::server::{Server, User};

const PAUSE: &str = "/api/users/me/pause";
const CHATS: &str = "/api/chat/conversations";

async fn pause(server: &Server, user: &User) -> Value {
    let (status, own) = server.call(Method::POST, PAUSE, Some(&user.token), None).await;
    assert_eq!(status, StatusCode::OK, "{own}");
    own
}

async fn resume(server: &Server, user: &User) -> Value {
    let (status, own) = server.call(Method::DELETE, PAUSE, Some(&user.token), None).await;
    assert_eq!(status, StatusCode::OK, "{own}");
    own
}

async fn status(server: &Server, method: Method, path: &str, user: &User) -> StatusCode {
    server.call(method, path, Some(&user.token), None).await.0
}

async fn done(server: &Server, path: &str, user: &User, body: Value) -> Value {
    let (status, answer) = server.post(path, user, body).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pauses_is_seen_and_found_by_friends_alone_until_it_is_ended() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let cam = server.register("cam").await;
    befriend(&server, &ana, &ben).await;
    let path = format!("/api/users/{}", ana.id);
    for viewer in [&ben, &cam] {
        assert_eq!(status(&server, Method::GET, &path, viewer).await, StatusCode::OK);
        until_found(&server, viewer, "q=ana&kind=person", 1).await;
    }

    let own = pause(&server, &ana).await;
    let since = own["pausedSince"].clone();
    assert!(since.is_string(), "{own}");
    // What others have in their caches is of before.
    assert_eq!(status(&server, Method::GET, &path, &cam).await, StatusCode::NOT_FOUND);
    assert_eq!(status(&server, Method::GET, &path, &ben).await, StatusCode::OK);
    assert_eq!(status(&server, Method::GET, &path, &ana).await, StatusCode::OK);
    assert!(ids(&find(&server, &cam, "q=ana&kind=person").await).is_empty());
    until_found(&server, &ben, "q=ana&kind=person", 1).await;
    until_found(&server, &ana, "q=ana&kind=person", 1).await;
    let (_, suggested) = server.get("/api/search/suggestions?q=an", &cam).await;
    assert!(!suggested.to_string().contains(&ana.id), "{suggested}");
    for (what, wanted) in [("follow", 404), ("friend", 404), ("mute", 200), ("block", 200)] {
        let seen = status(&server, Method::PUT, &format!("{path}/{what}"), &cam).await;
        assert_eq!(seen.as_u16(), wanted, "{what}");
    }
    assert_eq!(status(&server, Method::DELETE, &format!("{path}/block"), &cam).await, StatusCode::NO_CONTENT);
    let report = json!({"kind": "user", "id": ana.id, "category": "spam"});
    let (reported, _) = server.post("/api/reports", &cam, report).await;
    assert_ne!(reported, StatusCode::NOT_FOUND, "nobody gets out of a report by pausing");

    // Again, and another login: it is paused since when it was.
    assert_eq!(pause(&server, &ana).await["pausedSince"], since);
    let (_, logged_in) = crate::links::log_in(&server, "ana@example.com", crate::links::PASSWORD).await;
    assert_eq!(logged_in["user"]["pausedSince"], since, "{logged_in}");

    // Whom ana asks to be friends looks at who asks, and agrees.
    let dan = server.register("dan").await;
    assert_eq!(status(&server, Method::GET, &path, &dan).await, StatusCode::NOT_FOUND);
    let asked = format!("/api/users/{}/friend", dan.id);
    assert_eq!(status(&server, Method::PUT, &asked, &ana).await, StatusCode::OK);
    assert_eq!(status(&server, Method::GET, &path, &dan).await, StatusCode::OK);
    assert_eq!(status(&server, Method::PUT, &format!("{path}/friend"), &dan).await, StatusCode::OK);

    assert_eq!(resume(&server, &ana).await["pausedSince"], Value::Null);
    assert_eq!(status(&server, Method::GET, &path, &cam).await, StatusCode::OK);
    until_found(&server, &cam, "q=ana&kind=person", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_others_leave_out_who_pauses() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let cam = server.register("cam").await;
    befriend(&server, &ben, &cam).await;
    assert_eq!(
        status(&server, Method::PUT, &format!("/api/users/{}/follow", ben.id), &ana).await,
        StatusCode::OK
    );
    let path = format!("/api/users/{}/followers", ben.id);
    let followers = async || {
        let (status, page) = server.get(&path, &cam).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page["items"].as_array().unwrap().len()
    };
    crate::server::until("the follower is listed", async || (followers().await == 1).then_some(())).await;
    pause(&server, &ana).await;
    assert_eq!(followers().await, 0);
    resume(&server, &ana).await;
    assert_eq!(followers().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_of_who_pauses_are_not_offered_and_their_bookings_go_on() {
    let server = Server::start().await;
    let (host, guest) = (server.register("host").await, server.register("guest").await);
    let (friend, stranger) = (server.register("fritz").await, server.register("cam").await);
    befriend(&server, &host, &friend).await;
    let listing = done(&server, "/api/housing", &host, room_body()).await;
    let path = format!("/api/housing/{}", listing["id"].as_str().unwrap());
    let bookings = format!("{path}/bookings");
    let booking = done(&server, &bookings, &guest, stay_body(10, 2)).await;
    let booking = format!("/api/bookings/{}", booking["id"].as_str().unwrap());
    let listed = async |user: &User| {
        let (status, page) = server.get("/api/housing", user).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page["items"].as_array().unwrap().len()
    };
    for user in [&host, &guest, &friend, &stranger] {
        assert_eq!(listed(user).await, 1);
        assert_eq!(status(&server, Method::GET, &path, user).await, StatusCode::OK);
    }

    pause(&server, &host).await;
    assert_eq!(listed(&host).await, 1, "the own one");
    for user in [&guest, &friend, &stranger] {
        assert_eq!(listed(user).await, 0);
        assert_eq!(status(&server, Method::GET, &path, user).await, StatusCode::NOT_FOUND);
        let (status, problem) = server.post(&bookings, user, stay_body(20, 2)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    }
    // What was asked for before is confirmed, and its guest sees where it is.
    done(&server, &format!("{booking}/confirm"), &host, json!({})).await;
    assert_eq!(status(&server, Method::GET, &booking, &guest).await, StatusCode::OK);
    assert_eq!(status(&server, Method::GET, &path, &guest).await, StatusCode::OK);
    let (status_of_more, _) = server.post(&bookings, &guest, stay_body(30, 2)).await;
    assert_eq!(status_of_more, StatusCode::NOT_FOUND, "nothing new");

    resume(&server, &host).await;
    assert_eq!(listed(&stranger).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_begin_no_conversation_with_who_pauses_and_those_that_there_are_go_on() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let (cam, dan) = (server.register("cam").await, server.register("dan").await);
    befriend(&server, &ana, &ben).await;
    // Dan has written before, and ana has accepted.
    let chat = done(&server, CHATS, &dan, json!({"userId": ana.id})).await;
    let messages = format!("{CHATS}/{}/messages", chat["id"].as_str().unwrap());
    done(&server, &messages, &dan, json!({"text": "Hola"})).await;
    done(&server, &messages, &ana, json!({"text": "Hola, Dan"})).await;

    pause(&server, &ana).await;
    let (status, problem) = server.post(CHATS, &cam, json!({"userId": ana.id})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    let group = json!({"title": "Practica", "memberIds": [ana.id]});
    let (status, problem) = server.post(CHATS, &cam, group.clone()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    done(&server, CHATS, &ben, json!({"userId": ana.id})).await;
    done(&server, CHATS, &ben, group.clone()).await;
    let again = done(&server, CHATS, &dan, json!({"userId": ana.id})).await;
    assert_eq!(again["id"], chat["id"]);
    done(&server, &messages, &dan, json!({"text": "Are you well?"})).await;
    // Who pauses may begin something nevertheless.
    done(&server, CHATS, &ana, json!({"userId": cam.id})).await;

    resume(&server, &ana).await;
    done(&server, CHATS, &cam, group).await;
}
