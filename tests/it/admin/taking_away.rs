//! What decisions take away of each kind, and give back; and who may decide.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{done, id, read, refused, staff};
use crate::graph::befriend;
use crate::links::{letter, post as post_alone, start, use_link};
use crate::mail::SmtpServer;
use crate::server::{Server, User, until};

const BY_LINK: &str = "/api/moderation/appeals/by-link";

async fn call(server: &Server, method: Method, path: &str, user: &User, body: Option<Value>) -> StatusCode {
    server.call(method, path, Some(&user.token), body).await.0
}

/// Has a member report something; the path of its case.
async fn reported(server: &Server, by: &User, (kind, thing): (&str, &str), staff: &User) -> String {
    let report = json!({"kind": kind, "id": thing, "category": "spam"});
    let told = done(server, "/api/reports", by, report).await["thingId"].clone();
    let pending = read(server, "/api/safety-reviews/pending", staff).await;
    let case = pending["items"].as_array().unwrap().iter().find(|case| case["thingId"] == told);
    format!("/api/safety-reviews/{}", id(case.unwrap_or_else(|| panic!("no case of {told}: {pending}"))))
}

async fn remove(server: &Server, case: &str, by: &User) {
    let body = json!({"action": "remove", "rule": "spam", "reason": "It is advertising."});
    done(server, &format!("{case}/resolve"), by, body).await;
}

/// Whom it is about appeals, and another moderator overturns the decision.
async fn overturn(server: &Server, case: &str, about: &User, by: &User) {
    let decision = case.rsplit_once('/').unwrap().1;
    let appeal = format!("/api/moderation/decisions/{decision}/appeal");
    done(server, &appeal, about, json!({"text": "It is not."})).await;
    let judged = json!({"outcome": "overturned", "reason": "It is not."});
    done(server, &format!("{case}/appeal"), by, judged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comment_is_taken_away_and_given_back_unless_its_author_has_deleted_it() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let (mia, max) = (staff(&server, "mia", "moderator").await, staff(&server, "max", "moderator").await);
    let post = id(&done(&server, "/api/posts", &ana, json!({"content": "Hola"})).await);
    let list = format!("/api/posts/{post}/comments");
    let write = async |text: &str| id(&done(&server, &list, &ben, json!({"content": text})).await);
    let (first, second) = (write("Buy!").await, write("Buy more!").await);
    let says = async || {
        let items = read(&server, &list, &ana).await["items"].as_array().unwrap().clone();
        items.into_iter().map(|item| item["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // All is in the caches before.
    assert_eq!(says().await, ["Buy!", "Buy more!"]);
    let react = format!("/api/comments/{first}/react");
    done(&server, &react, &ana, json!({"reactionType": "heart"})).await;
    let mut cases = Vec::new();
    for comment in [&first, &second] {
        let case = reported(&server, &ana, ("comment", comment), &mia).await;
        remove(&server, &case, &mia).await;
        cases.push(case);
    }
    assert_eq!(says().await, [""; 0]);
    refused(&server, &react, &ana, json!({"reactionType": "heart"}), StatusCode::NOT_FOUND).await;
    let own = format!("/api/comments/{first}");
    let edit = Some(json!({"content": "Good evening."}));
    assert_eq!(call(&server, Method::PATCH, &own, &ben, edit).await, StatusCode::NOT_FOUND);
    let own = format!("/api/comments/{second}");
    assert_eq!(call(&server, Method::DELETE, &own, &ana, None).await, StatusCode::NOT_FOUND);
    assert_eq!(call(&server, Method::DELETE, &own, &ben, None).await, StatusCode::NO_CONTENT);
    for case in &cases {
        overturn(&server, case, &ben, &max).await;
    }
    assert_eq!(says().await, ["Buy!"], "what its author has deleted stays deleted");
    let back = read(&server, &list, &ana).await;
    assert_eq!(
        (&back["items"][0]["id"], &back["items"][0]["reactions"]["heart"]),
        (&json!(first), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_taken_away_and_given_back_and_judged_with_what_was_said_before() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let (mia, max) = (staff(&server, "mia", "moderator").await, staff(&server, "max", "moderator").await);
    befriend(&server, &ana, &ben).await;
    let chat = id(&done(&server, "/api/chat/conversations", &ben, json!({"userId": ana.id})).await);
    let messages = format!("/api/chat/conversations/{chat}/messages");
    for text in ["one", "two", "Buy!"] {
        done(&server, &messages, &ben, json!({"text": text})).await;
    }
    let last = async || {
        let items = read(&server, &messages, &ana).await["items"].as_array().unwrap().clone();
        let found = items.into_iter().find(|item| item["seq"] == 3).unwrap();
        (found["text"].clone(), found["deleted"].clone())
    };
    assert_eq!(last().await, (json!("Buy!"), json!(false)));
    let case = reported(&server, &ana, ("message", &format!("{chat}:3")), &mia).await;
    let whole = read(&server, &case, &mia).await;
    let before: Vec<_> = whole["copies"][0]["before"].as_array().unwrap().iter().collect();
    assert_eq!(before.len(), 2, "{whole}");
    assert_eq!((&before[0]["text"], &before[1]["by"]), (&json!("one"), &json!(ben.id)));
    remove(&server, &case, &mia).await;
    assert_eq!(last().await, (Value::Null, json!(true)));
    let edit = Some(json!({"text": "Hola"}));
    let refused = call(&server, Method::PATCH, &format!("{messages}/3"), &ben, edit).await;
    assert_eq!(refused, StatusCode::CONFLICT);
    overturn(&server, &case, &ben, &max).await;
    assert_eq!(last().await, (json!("Buy!"), json!(false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_suspended_and_given_back_with_those_who_come() {
    let server = Server::start().await;
    let (ana, ben, cam) =
        (server.register("ana").await, server.register("ben").await, server.register("cam").await);
    let (mia, max) = (staff(&server, "mia", "moderator").await, staff(&server, "max", "moderator").await);
    let body =
        json!({"title": "M", "eventDate": "2030-01-01T20:00:00Z", "location": "L", "eventType": "milonga"});
    let event = id(&done(&server, "/api/events", &ben, body).await);
    let path = format!("/api/events/{event}");
    done(&server, &format!("{path}/rsvp"), &ana, json!({"status": "going"})).await;
    let declines = json!({"status": "declined"});
    done(&server, &format!("{path}/rsvp"), &cam, declines.clone()).await;
    let listed = async |path: &str| {
        let page = read(&server, path, &ana).await;
        page["items"].as_array().unwrap().iter().any(|item| item["id"] == json!(event))
    };
    assert!(listed("/api/events").await && listed("/api/events/mine").await);
    let case = reported(&server, &ana, ("event", &event), &mia).await;
    remove(&server, &case, &mia).await;
    assert_eq!(server.get(&path, &ana).await.0, StatusCode::NOT_FOUND);
    assert!(!listed("/api/events").await && !listed("/api/events/mine").await);
    for answer in [json!({}), declines] {
        refused(&server, &format!("{path}/rsvp"), &cam, answer, StatusCode::NOT_FOUND).await;
    }
    let own = read(&server, &path, &ben).await;
    assert_eq!((&own["isSuspended"], &own["counts"]["going"]), (&json!(true), &json!(1)), "its host sees it");
    let edit = Some(json!({"title": "N"}));
    assert_eq!(call(&server, Method::PATCH, &path, &ben, edit).await, StatusCode::CONFLICT);
    overturn(&server, &case, &ben, &max).await;
    let back = read(&server, &path, &ana).await;
    assert_eq!((&back["isSuspended"], &back["myRsvp"]["status"]), (&json!(false), &json!("going")));
    assert!(listed("/api/events").await && listed("/api/events/mine").await);
    done(&server, &format!("{path}/rsvp"), &cam, json!({})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_to_stay_is_taken_away_and_given_back_and_each_side_of_a_booking_is_a_case() {
    let server = Server::start().await;
    let (ana, ben, cam) =
        (server.register("ana").await, server.register("ben").await, server.register("cam").await);
    let (mia, max) = (staff(&server, "mia", "moderator").await, staff(&server, "max", "moderator").await);
    let room = id(&done(&server, "/api/housing", &ben, crate::housing::room_body()).await);
    let (path, bookings) = (format!("/api/housing/{room}"), format!("/api/housing/{room}/bookings"));
    let booking = id(&done(&server, &bookings, &ana, crate::housing::stay_body(3, 2)).await);
    let of_host = reported(&server, &ana, ("booking", &booking), &mia).await;
    let of_guest = reported(&server, &ben, ("booking", &booking), &mia).await;
    assert_ne!(of_host, of_guest);
    assert_eq!(read(&server, &of_host, &mia).await["userId"], json!(ben.id));
    assert_eq!(read(&server, &of_guest, &mia).await["userId"], json!(ana.id));
    let report = json!({"kind": "booking", "id": booking, "category": "fraud"});
    refused(&server, "/api/reports", &cam, report, StatusCode::NOT_FOUND).await;
    let taken = json!({"action": "remove", "reason": "x"});
    refused(&server, &format!("{of_host}/resolve"), &mia, taken, StatusCode::BAD_REQUEST).await;

    let is_listed = async || {
        let page = read(&server, "/api/housing", &cam).await;
        page["items"].as_array().unwrap().iter().any(|item| item["id"] == json!(room))
    };
    assert!(is_listed().await && server.get(&path, &cam).await.0 == StatusCode::OK);
    let case = reported(&server, &cam, ("listing", &room), &mia).await;
    remove(&server, &case, &mia).await;
    assert!(!is_listed().await && server.get(&path, &cam).await.0 == StatusCode::NOT_FOUND);
    refused(&server, &bookings, &cam, crate::housing::stay_body(9, 2), StatusCode::NOT_FOUND).await;
    assert_eq!(server.get(&path, &ben).await.0, StatusCode::OK, "its host sees it");
    let edit = Some(json!({"title": "Another room"}));
    assert_eq!(call(&server, Method::PATCH, &path, &ben, edit).await, StatusCode::CONFLICT);
    overturn(&server, &case, &ben, &max).await;
    assert!(is_listed().await && server.get(&path, &cam).await.0 == StatusCode::OK);
    done(&server, &bookings, &cam, crate::housing::stay_body(9, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_locked_out_appeals_once_by_the_link_of_the_letter() {
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let eva = staff(&server, "eva", "admin").await;
    let case = reported(&server, &ana, ("user", &ben.id), &eva).await;
    done(&server, &format!("{case}/resolve"), &eva, json!({"action": "lock", "reason": "x"})).await;
    assert_eq!(server.get("/api/posts", &ben).await.0, StatusCode::UNAUTHORIZED);
    let token = letter(&mail, "ben", "A decision of the moderators", 1).await.token("appeal-decision");
    let (status, problem) =
        post_alone(&server, BY_LINK, json!({"token": format!("{token}x"), "text": "x"})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::GONE, &json!("link_invalid")));
    use_link(&server, BY_LINK, json!({"token": token, "text": "It was my brother."})).await;
    let (status, _) = post_alone(&server, BY_LINK, json!({"token": token, "text": "And more."})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let appealed = read(&server, &case, &eva).await;
    assert_eq!(
        (&appealed["appeal"]["by"], &appealed["appeal"]["text"]),
        (&json!(ben.id), &json!("It was my brother."))
    );
    let oda = staff(&server, "oda", "admin").await;
    let overturned = json!({"outcome": "overturned", "reason": "x"});
    done(&server, &format!("{case}/appeal"), &oda, overturned).await;
    assert_eq!(server.get("/api/posts", &ben).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_reported_or_is_a_friend_does_not_decide_and_reporters_hear_what_came_of_it() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let (mia, max, eva) = (
        staff(&server, "mia", "moderator").await,
        staff(&server, "max", "moderator").await,
        staff(&server, "eva", "admin").await,
    );
    befriend(&server, &max, &ben).await;
    let warn = || json!({"action": "warn", "reason": "x"});
    let case = reported(&server, &ana, ("user", &ben.id), &eva).await;
    reported(&server, &mia, ("user", &ben.id), &eva).await;
    for by in [&mia, &max] {
        refused(&server, &format!("{case}/resolve"), by, warn(), StatusCode::FORBIDDEN).await;
    }
    done(&server, &format!("{case}/resolve"), &eva, warn()).await;
    let told = until("who reported is told", async || {
        let list = read(&server, "/api/notifications", &ana).await;
        list["items"].as_array()?.iter().find(|one| one["kind"] == "reportUpheld").cloned()
    })
    .await;
    assert_eq!((&told["actorId"], &told["title"], &told["count"]), (&Value::Null, &json!(""), &json!(1)));
    assert!(!told.to_string().contains(&ben.id), "{told}");
    let post = id(&done(&server, "/api/posts", &ben, json!({"content": "Hola"})).await);
    let next = reported(&server, &ana, ("post", &post), &eva).await;
    done(&server, &format!("{next}/resolve"), &eva, json!({"action": "none", "reason": "x"})).await;
    until("who reported is told of the other one", async || {
        let list = read(&server, "/api/notifications", &ana).await;
        list["items"].as_array()?.iter().find(|one| one["kind"] == "reportDismissed").cloned()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_by_hand_and_one_by_a_decision_stand_beside_each_other() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let eva = staff(&server, "eva", "admin").await;
    let case = reported(&server, &ana, ("user", &ben.id), &eva).await;
    let by_hand = format!("/api/admin/users/{}", ben.id);
    let reason = || json!({"reason": "x"});
    let status = async || server.get("/api/posts", &ben).await.0;
    done(&server, &format!("{by_hand}/block"), &eva, reason()).await;
    done(&server, &format!("{case}/resolve"), &eva, json!({"action": "lock", "reason": "x"})).await;
    let still = done(&server, &format!("{by_hand}/unblock"), &eva, reason()).await;
    assert_eq!((&still["blocked"], status().await), (&json!(true), StatusCode::UNAUTHORIZED));
    let free = json!({"reason": "x", "decisions": true});
    assert_eq!(done(&server, &format!("{by_hand}/unblock"), &eva, free).await["blocked"], json!(false));
    assert_eq!(status().await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_moderator_holds_who_is_locked_out_is_given_back() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let (mia, eva) = (staff(&server, "mia", "moderator").await, staff(&server, "eva", "admin").await);
    let case = reported(&server, &ana, ("user", &ben.id), &eva).await;
    done(&server, &format!("{case}/assign"), &mia, json!({"assigneeId": mia.id})).await;
    done(&server, &format!("/api/admin/users/{}/block", mia.id), &eva, json!({"reason": "x"})).await;
    until("the case waits for somebody else", async || {
        let case = read(&server, &case, &eva).await;
        (case["state"] == "open").then_some(())
    })
    .await;
}
