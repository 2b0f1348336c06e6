//! Data folders that earlier builds left when they were killed: this build shows all that is in them, and goes on with it.
//!
//! `earlier/*.tar.gz` are such folders, each with what the build that made it showed of it. Whenever the format or the form
//! of a row changes, a folder of the build before is recorded with
//! `MUNDOTANGO_RECORD_BUILD=<binary> MUNDOTANGO_RECORD_NAME=<name> cargo test --workspace --test it -- --ignored record_a_folder`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::server::{Server, User, mundotango, until};

/// The file beside the data of a recorded folder.
const SHOWN: &str = "shown.json";

/// What a build showed.
#[derive(Serialize, Deserialize)]
struct Shown {
    /// Those who look, by the name with which they log in, and their ids.
    users: Vec<(String, String)>,
    /// An event with one place, where the first user has it and the second waits.
    full_event: String,
    answers: Vec<Answer>,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    user: String,
    path: String,
    status: u16,
    body: Value,
}

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/earlier")
}

fn tar(arguments: &[&str], folder: &Path) {
    let output = Command::new("tar").arg("-C").arg(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Whether all of `before` is in `now`, where more may have been added.
fn keeps(now: &Value, before: &Value) -> bool {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => {
            before.iter().all(|(name, before)| now.get(name).is_some_and(|now| keeps(now, before)))
        }
        (Value::Array(now), Value::Array(before)) => {
            now.len() == before.len() && now.iter().zip(before).all(|(now, before)| keeps(now, before))
        }
        // A time may be written with more digits.
        (Value::String(now), Value::String(before)) => {
            let time = |text: &str| text.parse::<Timestamp>().ok();
            now == before || (time(now).is_some() && time(now) == time(before))
        }
        _ => now == before,
    }
}

#[test]
fn more_may_be_shown_than_before_and_never_less() {
    let before = json!({"items": [{"id": "a", "tags": []}]});
    for (now, kept) in [
        (json!({"items": [{"id": "a", "tags": [], "version": 1}], "next": null}), true),
        (json!({"items": [{"id": "a"}]}), false),
        (json!({"items": []}), false),
        (json!({"items": [{"id": "b", "tags": []}]}), false),
    ] {
        assert_eq!(keeps(&now, &before), kept, "{now}");
    }
}

/// Asks, where the build has the route.
async fn ask(server: &Server, method: Method, path: &str, user: &User, body: Option<Value>) -> Option<Value> {
    let (status, answer) = server.call(method, path, Some(&user.token), body).await;
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
        return None;
    }
    assert!(status.is_success(), "{path}: {status} {answer}");
    Some(answer)
}

fn id_of(answer: Option<Value>) -> String {
    answer.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Something of every feature; the paths at which it is seen, and the event that is full.
async fn fill(server: &Server, ana: &User, ben: &User) -> (Vec<String>, String) {
    let post = Method::POST;
    let mut paths = vec![
        "/api/users/me".to_owned(),
        format!("/api/users/{}", ana.id),
        "/api/posts?limit=100".to_owned(),
        "/api/events?limit=100".to_owned(),
        "/api/bookmarks?limit=100".to_owned(),
    ];
    let mut posts = Vec::new();
    for (content, visibility) in [("¡Bailemos!", "public"), ("for me alone", "private")] {
        let body = json!({"content": content, "visibility": visibility});
        posts.push(id_of(ask(server, post.clone(), "/api/posts", ana, Some(body)).await));
    }
    let react = format!("/api/posts/{}/react", posts[0]);
    for (user, reaction) in [(ana, "heart"), (ben, "like"), (ben, "celebrate")] {
        ask(server, post.clone(), &react, user, Some(json!({"reactionType": reaction}))).await;
    }
    ask(server, Method::PUT, &format!("/api/posts/{}/bookmark", posts[0]), ben, None).await;
    paths.extend(posts.iter().map(|id| format!("/api/posts/{id}")));
    let mut events = Vec::new();
    for (title, capacity) in [("Milonga", json!(1)), ("Festival", Value::Null)] {
        let body = json!({
            "title": title, "location": "Salón Canning, Buenos Aires", "eventType": "milonga",
            "eventDate": "2099-05-01T22:00:00Z", "capacity": capacity,
        });
        let event = id_of(ask(server, post.clone(), "/api/events", ana, Some(body)).await);
        for user in [ana, ben] {
            let rsvp = format!("/api/events/{event}/rsvp");
            ask(server, post.clone(), &rsvp, user, Some(json!({"status": "going"}))).await.unwrap();
        }
        paths.extend([format!("/api/events/{event}"), format!("/api/events/{event}/attendees?limit=100")]);
        events.push(event);
    }
    let said = json!({"message": "Where do I dance tonight?"});
    let chat = ask(server, post, "/api/life-ceo/chat", ana, Some(said)).await.unwrap();
    let turns =
        format!("/api/life-ceo/conversations/{}/turns?limit=100", chat["conversationId"].as_str().unwrap());
    until("the agent has answered", async || {
        let (_, answer) = server.get(&turns, ana).await;
        let turns = answer["items"].as_array()?;
        (turns.len() == 2 && turns.iter().all(|turn| turn["finished"] != json!(false))).then_some(())
    })
    .await;
    paths.push(turns);
    (paths, events.swap_remove(0))
}

#[ignore = "makes what the tests here are of"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_a_folder() {
    let build = env::var("MUNDOTANGO_RECORD_BUILD").expect("the binary that makes the folder");
    let name = env::var("MUNDOTANGO_RECORD_NAME").expect("the name of the folder");
    let mut server = Server::begin_of(Path::new(&build), &[]);
    server.wait_until_ready().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let (paths, full_event) = fill(&server, &ana, &ben).await;
    let mut answers = Vec::new();
    for (name, user) in [("ana", &ana), ("ben", &ben)] {
        for path in &paths {
            let (status, body) = server.get(path, user).await;
            answers.push(Answer { user: name.to_owned(), path: path.clone(), status: status.as_u16(), body });
        }
    }
    let users = vec![("ana".to_owned(), ana.id), ("ben".to_owned(), ben.id)];
    server.signal("KILL");
    server.wait_for_end().await;
    let folder = server.data_dir().parent().unwrap().to_owned();
    let shown = Shown { users, full_event, answers };
    fs::write(folder.join(SHOWN), serde_json::to_vec_pretty(&shown).unwrap()).unwrap();
    let file = recorded().join(format!("{name}.tar.gz"));
    fs::create_dir_all(recorded()).unwrap();
    tar(&["--exclude", "node.json", "-czf", file.to_str().unwrap(), "data", SHOWN], &folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_build_opens_what_an_earlier_one_left() {
    let files: Vec<_> = fs::read_dir(recorded()).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 2, "the recorded folders are missing: {files:?}");
    for file in files {
        eprintln!("{}", file.display());
        open(&file).await;
    }
}

/// Starts this build on a recorded folder.
async fn open(file: &Path) {
    let mut server = Server::start().await;
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    let folder = server.data_dir().parent().unwrap().to_owned();
    fs::remove_dir_all(server.data_dir()).unwrap();
    tar(&["-xzf", file.to_str().unwrap()], &folder);
    let shown: Shown = serde_json::from_slice(&fs::read(folder.join(SHOWN)).unwrap()).unwrap();
    server.start_again().await;

    let mut users = Vec::new();
    for (name, id) in &shown.users {
        let body = json!({"email": format!("{name}@example.com"), "password": "abrazo-1234"});
        let (status, answer) = server.call(Method::POST, "/api/auth/login", None, Some(body)).await;
        assert_eq!((status, answer["user"]["id"].as_str()), (StatusCode::OK, Some(id.as_str())), "{answer}");
        let token = answer["token"].as_str().unwrap().to_owned();
        users.push(User { id: id.clone(), token, refresh_token: String::new() });
    }
    let user_of = |name: &str| &users[shown.users.iter().position(|(known, _)| known == name).unwrap()];
    for answer in &shown.answers {
        let (status, body) = server.get(&answer.path, user_of(&answer.user)).await;
        if answer.status == StatusCode::NOT_FOUND.as_u16() && answer.path.starts_with("/api/bookmarks") {
            continue; // That build had none.
        }
        assert_eq!(status.as_u16(), answer.status, "{}: {body}", answer.path);
        assert!(
            keeps(&body, &answer.body) || !status.is_success(),
            "{}: {body}, before {}",
            answer.path,
            answer.body
        );
    }

    // It goes on: who waits for a place gets it, and what is written now is read.
    let rsvp = format!("/api/events/{}/rsvp", shown.full_event);
    let (status, answer) = server.post(&rsvp, user_of("ana"), json!({"status": "declined"})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (_, event) = server.get(&format!("/api/events/{}", shown.full_event), user_of("ben")).await;
    assert_eq!(event["counts"]["going"], 1, "{event}");
    assert_eq!(event["counts"]["waitlisted"].as_u64().unwrap_or_default(), 0, "{event}");
    let (status, post) = server.post("/api/posts", user_of("ben"), json!({"content": "Gracias"})).await;
    assert_eq!(status, StatusCode::CREATED, "{post}");
    let (_, feed) = server.get("/api/posts?limit=1", user_of("ana")).await;
    assert_eq!(feed["items"][0]["id"], post["id"], "{feed}");
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    let checked = mundotango(&server.data_dir(), &["check"]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
