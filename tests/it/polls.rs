//! Polls in posts, on a whole server: who votes for what, and who sees what came of it.

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::reactions::watch;
use crate::server::{Server, User, until};

fn later() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(1)
}

async fn ask(server: &Server, user: &User, poll: Value) -> (StatusCode, Value) {
    server.post("/api/posts", user, json!({"content": "When?", "poll": poll})).await
}

async fn vote(server: &Server, user: &User, post: &str, choices: Option<&[u8]>) -> (StatusCode, Value) {
    let method = if choices.is_some() { Method::PUT } else { Method::DELETE };
    let body = choices.map(|choices| json!({"choices": choices}));
    server.call(method, &format!("/api/posts/{post}/vote"), Some(&user.token), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_for_those_who_voted() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let until_then = later();
    let (status, post) =
        ask(&server, &ana, json!({"options": ["On Friday", "On Sunday"], "until": until_then})).await;
    assert_eq!(status, StatusCode::CREATED, "{post}");
    assert_eq!(post["poll"]["options"], json!(["On Friday", "On Sunday"]));
    let id = post["id"].as_str().unwrap();
    let state =
        async |user: &User| server.get(&format!("/api/posts/{id}"), user).await.1["pollState"].clone();
    let open = json!({"isOver": false, "voters": 0, "myChoices": [], "votes": null});
    assert_eq!(state(&ben).await, open);

    let heard = watch(&server, &ben, &format!("post:{id}")).await.unwrap();
    let (status, seen) = vote(&server, &ben, id, Some(&[1])).await;
    let voted = json!({"isOver": false, "voters": 1, "myChoices": [1], "votes": [0, 1]});
    assert_eq!((status, &seen["pollState"]), (StatusCode::OK, &voted));
    assert_eq!(state(&ana).await, json!({"isOver": false, "voters": 1, "myChoices": [], "votes": null}));
    let told = until("the vote is told", async || {
        let heard = heard.lock();
        heard.iter().map(|(_, data)| data).find(|data| data["type"] == "post.polled").cloned()
    });
    assert_eq!(told.await, json!({"type": "post.polled", "postId": id, "voters": 1}), "and no results");

    // Another choice takes the place of the one before, and a vote can be taken back.
    let (_, seen) = vote(&server, &ben, id, Some(&[0])).await;
    assert_eq!(seen["pollState"]["votes"], json!([1, 0]));
    for wrong in [&[0, 1][..], &[2], &[]] {
        assert_eq!(vote(&server, &ben, id, Some(wrong)).await.0, StatusCode::BAD_REQUEST, "{wrong:?}");
    }
    let (status, seen) = vote(&server, &ben, id, None).await;
    assert_eq!((status, &seen["pollState"]), (StatusCode::OK, &open));

    let change = json!({"poll": {"options": ["Never", "Ever"], "until": until_then}});
    let path = format!("/api/posts/{id}");
    let (status, answer) = server.call(Method::PATCH, &path, Some(&ana.token), Some(change)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "a poll never changes: {answer}");
    let (_, plain) = server.post("/api/posts", &ana, json!({"content": "Hola"})).await;
    assert_eq!((&plain["poll"], &plain["pollState"]), (&Value::Null, &Value::Null));
    let plain = plain["id"].as_str().unwrap();
    assert_eq!(vote(&server, &ben, plain, Some(&[0])).await.0, StatusCode::CONFLICT, "without a poll");
    let hidden = json!({"content": "x", "visibility": "private", "poll": post["poll"]});
    let (_, hidden) = server.post("/api/posts", &ana, hidden).await;
    let hidden = hidden["id"].as_str().unwrap();
    assert_eq!(vote(&server, &ben, hidden, Some(&[0])).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_has_different_options_and_an_end() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let in_hours = |hours: i64| Timestamp::now() + SignedDuration::from_hours(hours);
    for (wrong, field) in [
        (json!({"options": ["a"], "until": later()}), "poll"),
        (json!({"options": ["a", "a"], "until": later()}), "poll"),
        (json!({"options": ["a", "b", "c", "d", "e", "f", "g", "h", "i"], "until": later()}), "poll.options"),
        (json!({"options": ["a", "b"]}), "poll.until"),
        (json!({"options": ["a", "b"], "until": in_hours(0)}), "poll.until"),
        (json!({"options": ["a", "b"], "until": in_hours(100 * 24)}), "poll.until"),
    ] {
        let (status, problem) = ask(&server, &ana, wrong.clone()).await;
        assert_eq!(
            (status, &problem["errors"][0]["field"]),
            (StatusCode::BAD_REQUEST, &json!(field)),
            "{wrong}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_votes_and_each_counts_once() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let poll = json!({"options": ["a", "b", "c"], "multiple": true, "until": later()});
    let (_, post) = ask(&server, &ana, poll).await;
    let id = post["id"].as_str().unwrap();
    let users: Vec<_> = (0..50).map(|user| server.user(&format!("user-{user}"), "user")).collect();
    let voting = users.iter().map(async |user| {
        for choices in [&[0][..], &[0, 2]] {
            let (status, answer) = vote(&server, user, id, Some(choices)).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
        }
    });
    join_all(voting).await;
    let (_, seen) = vote(&server, &ana, id, Some(&[1])).await;
    assert_eq!(seen["pollState"]["voters"], 51);
    assert_eq!(seen["pollState"]["votes"], json!([50, 1, 50]));
}
