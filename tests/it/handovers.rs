//! Handing a place at an event on, and which friends go, as apps use them.

use std::time::Duration;

use mundotango_gateway::tokens::Tokens;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::graph::{befriend, begin};
use crate::server::{Server, User, until};

const SECRET: &str = "a secret of those who hand places on";

/// An event of a host's; its path.
async fn event(server: &Server, host: &User, more: Value) -> String {
    let mut body = json!({
        "title": "Milonga", "eventDate": "2030-01-01T20:00:00Z", "location": "La Viruta", "eventType": "milonga",
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, event) = server.post("/api/events", host, body).await;
    assert_eq!(status, StatusCode::CREATED, "{event}");
    format!("/api/events/{}", event["id"].as_str().unwrap())
}

async fn done(server: &Server, path: &str, user: &User, body: Value) -> Value {
    let (status, answer) = server.post(path, user, body).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
    answer
}

async fn seen(server: &Server, path: &str, user: &User) -> Value {
    let (status, seen) = server.get(path, user).await;
    assert_eq!(status, StatusCode::OK, "{path}: {seen}");
    seen
}

async fn is_told(server: &Server, user: &User, kind: &str) {
    until(kind, async || {
        let (_, list) = server.get("/api/notifications", user).await;
        list["items"].as_array()?.iter().any(|one| one["kind"] == kind).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_goes_to_whom_it_is_offered_and_the_line_stands() {
    let server = Server::start().await;
    let (ana, beto) = (server.register("ana").await, server.register("beto").await);
    let (carla, dora) = (server.register("carla").await, server.register("dora").await);
    let path = event(&server, &ana, json!({"capacity": 1})).await;
    for user in [&beto, &carla] {
        done(&server, &format!("{path}/rsvp"), user, json!({"role": "follow"})).await;
    }
    let handover = format!("{path}/rsvp/handover");
    let (to, from) = (json!({"userId": dora.id}), json!({"userId": beto.id}));
    let offer = done(&server, &handover, &beto, to.clone()).await;
    assert_eq!((&offer["user"]["username"], offer["until"].is_string()), (&json!("dora"), true), "{offer}");
    assert_eq!(seen(&server, &path, &beto).await["myRsvp"]["handover"], offer);
    assert_eq!(seen(&server, "/api/events/mine", &beto).await["items"][0]["myRsvp"]["handover"], offer);
    let offered = seen(&server, &handover, &dora).await;
    let place = &offered["items"][0];
    assert_eq!((&place["userId"], &place["role"]), (&json!(beto.id), &json!("follow")), "{offered}");
    assert_eq!(seen(&server, &handover, &carla).await["items"], json!([]));
    is_told(&server, &dora, "placeOffered").await;
    let (status, problem) = server.post(&handover, &beto, json!({"userId": carla.id})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("conflict")), "one at a time");

    let accept = format!("{handover}/accept");
    assert_eq!(server.post(&accept, &carla, from.clone()).await.0, StatusCode::NOT_FOUND);
    let taken = done(&server, &accept, &dora, from.clone()).await;
    assert_eq!((&taken["status"], &taken["role"]), (&json!("going"), &json!("follow")), "{taken}");
    assert_eq!((&taken["counts"]["going"], &taken["counts"]["waitlisted"]), (&json!(1), &json!(1)));
    assert_eq!(server.post(&accept, &dora, from).await.0, StatusCode::NOT_FOUND, "it is taken");
    let giver = seen(&server, &path, &beto).await;
    assert_eq!(
        (&giver["myRsvp"]["status"], &giver["myRsvp"]["handover"]),
        (&json!("declined"), &Value::Null)
    );
    assert_eq!(seen(&server, &path, &carla).await["myRsvp"]["position"], 1, "nobody is passed");
    assert_eq!(seen(&server, "/api/events/mine", &dora).await["items"][0]["myRsvp"]["status"], "going");
    is_told(&server, &beto, "placeTaken").await;

    // And back, which is declined, and taken back.
    let (back, from) = (json!({"userId": beto.id}), json!({"userId": dora.id}));
    done(&server, &handover, &dora, back.clone()).await;
    let (status, _) = server.post(&format!("{handover}/decline"), &beto, from.clone()).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    is_told(&server, &dora, "placeDeclined").await;
    done(&server, &handover, &dora, back).await;
    let (status, _) = server.call(Method::DELETE, &handover, Some(&dora.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(server.post(&accept, &beto, from).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_blocked_offers_nothing_and_a_place_with_money_stays() {
    let server = Server::start().await;
    let (ana, beto) = (server.register("ana").await, server.register("beto").await);
    let carla = server.register("carla").await;
    let path = event(&server, &ana, json!({})).await;
    let handover = format!("{path}/rsvp/handover");
    done(&server, &format!("{path}/rsvp"), &beto, json!({})).await;
    done(&server, &handover, &beto, json!({"userId": carla.id})).await;
    begin(&server, &carla, &beto, "block").await;
    assert_eq!(seen(&server, &handover, &carla).await["items"], json!([]), "also what was offered before");
    let from = json!({"userId": beto.id});
    let (status, refused) = server.post(&format!("{handover}/accept"), &carla, from).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{refused}");
    server.call(Method::DELETE, &handover, Some(&beto.token), None).await;
    let (status, hidden) = server.post(&handover, &beto, json!({"userId": carla.id})).await;
    let nobody = json!({"userId": mundotango_protocol::new_id()});
    let (_, absent) = server.post(&handover, &beto, nobody).await;
    assert_eq!((status, &hidden), (StatusCode::NOT_FOUND, &absent), "word for word");

    let path = event(&server, &ana, json!({"ticketPrice": {"minor": 1250, "currency": "EUR"}})).await;
    done(&server, &format!("{path}/rsvp"), &beto, json!({})).await;
    let to = json!({"userId": ana.id});
    let (status, problem) = server.post(&format!("{path}/rsvp/handover"), &beto, to).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("place_is_paid")), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn friends_who_go_are_shown_to_friends_if_they_tell_them() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let mut people = Vec::new();
    for name in ["beto", "carla", "dora", "eva"] {
        people.push(server.register(name).await);
    }
    let path = event(&server, &ana, json!({})).await;
    for (number, user) in people.iter().enumerate() {
        if number < 3 {
            befriend(&server, &ana, user).await;
        }
        let status = if number == 2 { "maybe" } else { "going" };
        done(&server, &format!("{path}/rsvp"), user, json!({"status": status})).await;
    }
    let friends = format!("{path}/friends");
    let names = async |query: &str| {
        let page = seen(&server, &format!("{friends}{query}"), &ana).await;
        let names = page["items"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|one| one["user"]["username"].as_str().unwrap().to_owned()).collect();
        (names, page["nextCursor"].as_str().map(str::to_owned))
    };
    assert_eq!(names("").await, (vec!["beto".to_owned(), "carla".to_owned()], None), "not who is a stranger");
    let (first, cursor) = names("?limit=1").await;
    let (second, _) = names(&format!("?limit=1&cursor={}", cursor.unwrap())).await;
    assert_eq!([first, second].concat(), ["beto", "carla"]);
    assert_eq!(seen(&server, &friends, &people[3]).await["items"], json!([]));

    let wish = json!({"audiences": {"attendance": "me"}});
    let (status, _) = server.call(Method::PATCH, "/api/users/me", Some(&people[0].token), Some(wish)).await;
    assert_eq!(status, StatusCode::OK);
    begin(&server, &people[1], &ana, "block").await;
    assert_eq!(names("").await.0, Vec::<String>::new());
    // Where who comes is for hosts, it is for no friends either.
    let hosts = json!({"attendees": "hosts"});
    let (status, _) = server.call(Method::PATCH, &path, Some(&ana.token), Some(hosts)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(server.get(&friends, &people[2]).await.0, StatusCode::FORBIDDEN);
}

/// Counted: 50 places and 50 in the line are offered to 25 people, who take them all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_offers_that_are_taken_at_once_leave_fifty_places() {
    let server = std::sync::Arc::new(Server::start_with(&[("AUTH__SECRET", SECRET)]).await);
    let tokens = Tokens::new(SECRET.as_bytes(), Duration::from_mins(30));
    let host = server.register("host").await;
    let mut takers = Vec::new();
    for number in 0..25 {
        takers.push(server.register(&format!("taker{number}")).await);
    }
    let path = event(&server, &host, json!({"capacity": 50})).await;
    let mut givers = Vec::new();
    for number in 0..100_usize {
        let id = format!("giver{number:02}");
        let token = tokens.issue(&id, "user", None).unwrap();
        let giver = User { id, token, refresh_token: String::new() };
        done(&server, &format!("{path}/rsvp"), &giver, json!({})).await;
        let to = json!({"userId": takers[number % 25].id});
        done(&server, &format!("{path}/rsvp/handover"), &giver, to).await;
        givers.push(giver);
    }
    let mut racers = JoinSet::new();
    for (number, giver) in givers.iter().enumerate() {
        let (server, path) = (std::sync::Arc::clone(&server), format!("{path}/rsvp/handover/accept"));
        let token = takers[number % 25].token.clone();
        let from = json!({"userId": giver.id});
        racers.spawn(async move {
            let (status, answer) = server.call(Method::POST, &path, Some(&token), Some(from)).await;
            match status {
                StatusCode::OK => Some(number),
                StatusCode::CONFLICT if answer["code"] == "conflict" => None,
                _ => panic!("{status} {answer}"),
            }
        });
    }
    let went: Vec<_> = racers.join_all().await.into_iter().flatten().collect();
    assert_eq!(went.iter().filter(|number| **number < 50).count(), 25, "one place for each: {went:?}");
    let waiting = 50 - went.iter().filter(|number| **number >= 50).count();
    let event = seen(&server, &path, &host).await;
    let counts = (&event["counts"]["going"], &event["counts"]["waitlisted"]);
    assert_eq!(counts, (&json!(50), &json!(waiting)), "{went:?}");
    let mut going = 0;
    let mut cursor = String::new();
    loop {
        let page = seen(&server, &format!("{path}/attendees?limit=100{cursor}"), &host).await;
        going += page["items"].as_array().unwrap().iter().filter(|one| one["status"] == "going").count();
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(going, 50, "the rows say the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_is_asked_again_and_a_no_frees_the_place() {
    let server = Server::start().await;
    let (ana, beto) = (server.register("ana").await, server.register("beto").await);
    let carla = server.register("carla").await;
    // Two days and a moment before it, in which both answer.
    let starts_at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2 * 24 * 3600 + 15);
    let asks = json!({"capacity": 1, "askAgainDays": 2, "eventDate": starts_at.to_string()});
    let path = event(&server, &ana, asks).await;
    for user in [&beto, &carla] {
        done(&server, &format!("{path}/rsvp"), user, json!({})).await;
    }
    is_told(&server, &beto, "eventStillComing").await;
    done(&server, &format!("{path}/rsvp"), &beto, json!({"status": "declined"})).await;
    assert_eq!(seen(&server, &path, &carla).await["myRsvp"]["status"], "going");
    let (_, list) = server.get("/api/notifications", &carla).await;
    let asked = list["items"].as_array().unwrap().iter().any(|one| one["kind"] == "eventStillComing");
    assert!(!asked, "who waits is not asked: {list}");
    let (status, own) =
        server.call(Method::PATCH, &path, Some(&ana.token), Some(json!({"askAgainDays": null}))).await;
    assert_eq!((status, &own["askAgainDays"]), (StatusCode::OK, &Value::Null), "{own}");
    let wrong = Some(json!({"askAgainDays": 1}));
    let (status, _) = server.call(Method::PATCH, &path, Some(&ana.token), wrong).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}
