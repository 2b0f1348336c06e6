//! Profiles through the real server: each field is told to whom its user tells it, and found by whom everybody could find it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::admin::staff;
use crate::graph::{befriend, end};
use crate::search::{find, ids, until_found};
use crate::server::{Server, User};

const FIELDS: [&str; 8] =
    ["bio", "city", "avatarUrl", "pronouns", "dancesAs", "cities", "languages", "dancingSince"];

async fn change(server: &Server, user: &User, change: Value) -> (StatusCode, Value) {
    server.call(Method::PATCH, "/api/users/me", Some(&user.token), Some(change)).await
}

async fn changed(server: &Server, user: &User, wanted: Value) -> Value {
    let (status, answer) = change(server, user, wanted).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

/// The fields of a user that another sees.
async fn seen(server: &Server, viewer: &User, user: &User) -> Vec<&'static str> {
    let (status, answer) = server.get(&format!("/api/users/{}", user.id), viewer).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let is_empty = |field: &Value| field.is_null() || *field == json!([]);
    FIELDS.into_iter().filter(|field| !is_empty(&answer[field])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_field_is_told_to_whom_its_user_tells_it() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let cam = server.register("cam").await;
    let profile = json!({
        "bio": "Bailo.", "city": "Rosario", "avatarUrl": "https://a.example/a.png", "pronouns": "she/her",
        "dancesAs": "both", "cities": ["Rosario", "ROSARIO", "Berlin"], "languages": ["ES-ar"], "dancingSince": 2010,
    });
    let own = changed(&server, &ana, profile).await;
    assert_eq!((&own["cities"], &own["languages"]), (&json!(["Rosario", "Berlin"]), &json!(["es-AR"])));
    assert_eq!(
        (&own["audiences"]["bio"], &own["audiences"]["cities"]),
        (&json!("public"), &json!("members"))
    );
    assert_eq!(seen(&server, &cam, &ana).await, FIELDS);

    let audiences =
        json!({"bio": "friends", "avatarUrl": "friends", "cities": "friends", "dancingSince": "me"});
    changed(&server, &ana, json!({"audiences": audiences})).await;
    let of_members = ["city", "pronouns", "dancesAs", "languages"];
    assert_eq!(seen(&server, &ben, &ana).await, of_members);
    // One side alone makes no friend.
    let path = format!("/api/users/{}/friend", ana.id);
    server.call(Method::PUT, &path, Some(&cam.token), None).await;
    assert_eq!(seen(&server, &cam, &ana).await, of_members);
    befriend(&server, &ana, &ben).await;
    let of_friends = ["bio", "city", "avatarUrl", "pronouns", "dancesAs", "cities", "languages"];
    assert_eq!(seen(&server, &ben, &ana).await, of_friends);
    assert_eq!(seen(&server, &ana, &ana).await, FIELDS);
    let root = server.user("root", "admin");
    assert_eq!(seen(&server, &root, &ana).await, of_members, "no role opens a profile");
    // Beside what she writes it is not looked at who is a friend.
    let (_, post) = server.post("/api/posts", &ana, json!({"content": "Hola"})).await;
    let (_, post) = server.get(&format!("/api/posts/{}", post["id"].as_str().unwrap()), &cam).await;
    assert_eq!(post["author"]["avatarUrl"], Value::Null, "{post}");

    end(&server, &ana, &ben, "friend").await;
    assert_eq!(seen(&server, &ben, &ana).await, of_members, "at once");

    for (wrong, field) in [
        (json!({"dancingSince": 2100}), "dancingSince"),
        (json!({"languages": ["spanish"]}), "languages"),
        (json!({"cities": ["a", "b", "c", "d", "e", "f"]}), "cities"),
        (json!({"audiences": {"bio": "all"}}), "audiences.bio"),
    ] {
        let (status, problem) = change(&server, &ana, wrong).await;
        let named = problem["errors"][0]["field"].as_str().unwrap();
        assert!(status == StatusCode::BAD_REQUEST && named.starts_with(field), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_for_everybody_finds_nobody() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    changed(&server, &ana, json!({"bio": "Chacarera", "cities": ["Ushuaia"]})).await;
    until_found(&server, &ben, "q=chacarera", 1).await;
    assert!(ids(&find(&server, &ben, "q=ushuaia").await).is_empty(), "cities are for members");
    changed(&server, &ana, json!({"audiences": {"bio": "members", "cities": "public"}})).await;
    let found = until_found(&server, &ben, "q=ushuaia", 1).await;
    assert_eq!(found["items"][0]["person"]["bio"], "Chacarera", "a member reads it, and finds nobody by it");
    until_found(&server, &ben, "q=chacarera", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_copies_what_the_reporter_sees_and_all_of_it() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let mia = staff(&server, "mia", "moderator").await;
    let profile = json!({
        "bio": "Bailo.", "avatarUrl": "https://a.example/a.png", "audiences": {"bio": "friends", "avatarUrl": "me"},
    });
    changed(&server, &ana, profile).await;
    let until = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
    let asked = json!({"content": "Which?", "poll": {"options": ["Buy here", "Buy there"], "until": until}});
    let (status, post) = server.post("/api/posts", &ana, asked).await;
    assert_eq!(status, StatusCode::CREATED, "{post}");
    for (kind, id, copied) in [
        ("user", json!(ana.id), json!({"text": "", "media": []})),
        ("post", post["id"].clone(), json!({"text": "Which?\nBuy here\nBuy there", "media": []})),
    ] {
        let report = json!({"kind": kind, "id": id, "category": "spam"});
        let (status, answer) = server.post("/api/reports", &ben, report).await;
        assert!(status.is_success(), "{kind}: {answer}");
        let (_, waiting) = server.get("/api/safety-reviews/pending", &mia).await;
        let cases = waiting["items"].as_array().unwrap();
        let case = cases.iter().find(|case| case["thingId"] == id).unwrap_or_else(|| panic!("{waiting}"));
        let path = format!("/api/safety-reviews/{}", case["id"].as_str().unwrap());
        let (_, whole) = server.get(&path, &mia).await;
        let copy = &whole["copies"][0];
        assert_eq!(json!({"text": copy["text"], "media": copy["media"]}), copied, "{whole}");
    }
}

async fn register(server: &Server, number: usize, username: &str) -> (StatusCode, Value) {
    let body = json!({
        "email": format!("dancer{number}@example.com"), "password": "abrazo-1234", "username": username, "fullName": "Ana",
    });
    server.call(Method::POST, "/api/auth/register", None, Some(body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_who_register_names_that_look_alike_at_once_one_has_an_account() {
    let server = Server::start().await;
    let names = ["Ian.Moreno", "lan_moreno", "1an-rnoreno", "IAN.M0RENO"];
    let racers = names.iter().enumerate().map(|(number, name)| register(&server, number, name));
    let answers = futures_util::future::join_all(racers).await;
    let made = answers.iter().filter(|(status, _)| *status == StatusCode::CREATED).count();
    assert_eq!(made, 1, "{answers:?}");
    for (status, problem) in answers.iter().filter(|(status, _)| *status != StatusCode::CREATED) {
        assert_eq!(*status, StatusCode::CONFLICT, "{problem}");
        assert_eq!(problem["errors"][0]["field"], "username", "{problem}");
    }
    let (status, answer) = register(&server, 9, "ian.moren").await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
}
