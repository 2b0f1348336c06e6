//! Reports by members, and due process: what is decided, told, appealed, taken back and ended.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{acts, done, id, ids, read, refused, staff};
use crate::mail::about;
use crate::server::{Server, User, until};

fn report_of(kind: &str, thing: &str) -> Value {
    json!({"kind": kind, "id": thing, "category": "spam", "words": "The same everywhere."})
}

async fn post_of(server: &Server, user: &User, content: &str) -> String {
    id(&done(server, "/api/posts", user, json!({"content": content})).await)
}

/// The one case that waits.
async fn waiting(server: &Server, staff: &User) -> Value {
    let page = read(server, "/api/safety-reviews/pending", staff).await;
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{page}");
    items[0].clone()
}

/// What the caller is told of an own report.
async fn outcome(server: &Server, user: &User) -> Value {
    let mine = read(server, "/api/reports/mine", user).await;
    mine["items"][0]["outcome"].clone()
}

/// Traps 63, 64 and 67: from the report to what comes of the appeal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_becomes_a_decision_that_is_told_appealed_and_taken_back() {
    let server = Server::start().await;
    let (ana, ben, cam) =
        (server.register("ana").await, server.register("ben").await, server.register("cam").await);
    let (mia, max) = (staff(&server, "mia", "moderator").await, staff(&server, "max", "moderator").await);
    let post = post_of(&server, &ben, "Buy my shoes!").await;

    // Two members report it, one of them twice: one case, and nothing happens by itself.
    let first = done(&server, "/api/reports", &ana, report_of("post", &post)).await;
    let again = done(&server, "/api/reports", &ana, report_of("post", &post)).await;
    assert_eq!((&first, first["outcome"].as_str()), (&again, Some("open")));
    done(&server, "/api/reports", &cam, report_of("post", &post)).await;
    assert_eq!(server.get(&format!("/api/posts/{post}"), &cam).await.0, StatusCode::OK);
    let edited = Some(json!({"content": "Good evening."}));
    server.call(Method::PATCH, &format!("/api/posts/{post}"), Some(&ben.token), edited).await;

    let case = waiting(&server, &mia).await;
    assert_eq!((&case["reports"], &case["userId"]), (&json!(2), &json!(ben.id)));
    let path = format!("/api/safety-reviews/{}", id(&case));
    let whole = read(&server, &path, &mia).await;
    assert_eq!(whole["copies"][0]["text"], "Buy my shoes!", "an edit takes nothing away: {whole}");
    assert_eq!((whole["reported"].as_array().unwrap().len(), &whole["strikes"]), (2, &json!(0)));

    let remove = json!({"action": "remove", "rule": "spam", "reason": "It is advertising."});
    let decided = done(&server, &format!("{path}/resolve"), &mia, remove).await;
    assert_eq!((&decided["state"], &decided["ruling"]["rule"]), (&json!("done"), &json!("spam")));
    assert_eq!(server.get(&format!("/api/posts/{post}"), &cam).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        server.get(&format!("/api/posts/{post}"), &ben).await.0,
        StatusCode::OK,
        "its author reads it"
    );
    let edit = Some(json!({"content": "Again."}));
    let (status, _) = server.call(Method::PATCH, &format!("/api/posts/{post}"), Some(&ben.token), edit).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(outcome(&server, &ana).await, "actionTaken");

    // Whom it is about is told by which rule, why and until when to appeal, and never who decided.
    let told = until("the author is told", async || {
        let list = read(&server, "/api/notifications", &ben).await;
        list["items"].as_array()?.iter().find(|one| one["kind"] == "decisionMade").cloned()
    })
    .await;
    assert_eq!((&told["actorId"], &told["thing"]), (&Value::Null, &json!(id(&case))));
    let letter = until("a letter tells it", async || {
        about(&server, "A decision of the moderators").into_iter().next()
    })
    .await;
    let letter = String::from_utf8_lossy(&letter).into_owned();
    assert!(letter.contains("It is advertising.") && letter.contains("ben@example.com"), "{letter}");
    let decisions = read(&server, "/api/moderation/decisions", &ben).await;
    let decision = &decisions["items"][0];
    assert_eq!(
        (&decision["action"], &decision["rule"], &decision["reason"]),
        (&json!("remove"), &json!("spam"), &json!("It is advertising."))
    );
    assert!(!decisions.to_string().contains(&mia.id), "{decisions}");
    assert!(!read(&server, "/api/reports/mine", &ana).await.to_string().contains(&mia.id));
    assert_eq!(read(&server, "/api/moderation/decisions", &ana).await["items"], json!([]));

    let appeal = format!("/api/moderation/decisions/{}/appeal", id(&case));
    let text = json!({"text": "They are my own shoes."});
    refused(&server, &appeal, &ana, text.clone(), StatusCode::NOT_FOUND).await;
    done(&server, &appeal, &ben, text).await;
    refused(&server, &appeal, &ben, json!({"text": "And more."}), StatusCode::CONFLICT).await;
    assert_eq!(id(&waiting(&server, &max).await), id(&case), "it waits again");
    let overturn = json!({"outcome": "overturned", "reason": "One pair is no shop."});
    let judge = format!("{path}/appeal");
    refused(&server, &judge, &mia, overturn.clone(), StatusCode::CONFLICT).await;
    let judged = done(&server, &judge, &max, overturn).await;
    assert_eq!((&judged["state"], &judged["appeal"]["upheld"]), (&json!("done"), &json!(false)));
    assert_eq!(server.get(&format!("/api/posts/{post}"), &cam).await.0, StatusCode::OK, "it is given back");
    assert_eq!(outcome(&server, &ana).await, "noViolation");
    until("the author is told again", async || {
        let list = read(&server, "/api/notifications", &ben).await;
        list["items"].as_array()?.iter().find(|one| one["kind"] == "appealDecided").cloned()
    })
    .await;

    // Everybody sees what was decided, and of nobody.
    let (status, log) = server.call(Method::GET, "/api/moderation/log", None, None).await;
    assert_eq!(status, StatusCode::OK, "{log}");
    let entry = log["items"][0].as_object().unwrap();
    assert_eq!((&entry["action"], &entry["overturned"]), (&json!("remove"), &json!(true)));
    let shown: BTreeSet<_> = entry.keys().map(String::as_str).collect();
    assert_eq!(shown, BTreeSet::from(["action", "day", "kind", "overturned", "rule"]));

    let acts = acts(&server, &id(&case), 2).await;
    let names: Vec<_> = acts.iter().map(|act| act["act"].as_str().unwrap()).collect();
    assert_eq!(names, ["review.resolved", "review.appealJudged"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restriction_holds_at_each_door_and_ends_by_itself() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let mia = staff(&server, "mia", "moderator").await;
    let post = post_of(&server, &ana, "Hola").await;
    let room = id(&done(&server, "/api/housing", &ben, crate::housing::room_body()).await);
    let set_status = async |status: &str| {
        let body = Some(json!({"status": status}));
        server.call(Method::PATCH, &format!("/api/housing/{room}"), Some(&ben.token), body).await
    };
    assert_eq!(set_status("paused").await.0, StatusCode::OK);
    done(&server, "/api/reports", &ana, report_of("user", &ben.id)).await;
    let path = format!("/api/safety-reviews/{}/resolve", id(&waiting(&server, &mia).await));
    let lock = json!({"action": "lock", "reason": "x"});
    refused(&server, &path, &mia, lock, StatusCode::FORBIDDEN).await;
    let endless = json!({"action": "restrict", "abilities": ["posting"], "reason": "x"});
    refused(&server, &path, &mia, endless, StatusCode::BAD_REQUEST).await;
    let end = Timestamp::now() + SignedDuration::from_secs(6);
    let restrict = json!({
        "action": "restrict", "rule": "harassment", "reason": "x", "until": end.to_string(),
        "abilities": ["posting", "commenting", "messaging", "hosting"],
    });
    done(&server, &path, &mia, restrict).await;
    let event =
        json!({"title": "M", "eventDate": "2030-01-01T20:00:00Z", "location": "L", "eventType": "milonga"});
    let mut stay = crate::housing::stay_body(3, 2);
    let without_words = server.post("/api/housing/x/bookings", &ben, stay.clone()).await.0;
    assert_eq!(without_words, StatusCode::NOT_FOUND, "whoever writes nothing may ask");
    stay["message"] = json!("x");
    for (door, body) in [
        ("/api/posts".to_owned(), json!({"content": "x"})),
        (format!("/api/posts/{post}/comments"), json!({"content": "x"})),
        ("/api/chat/conversations".to_owned(), json!({"userId": ana.id})),
        ("/api/chat/conversations/x/members".to_owned(), json!({"userIds": [ana.id]})),
        ("/api/events".to_owned(), event),
        ("/api/events/x/publish".to_owned(), json!({})),
        ("/api/events/x/offer/accept".to_owned(), json!({})),
        ("/api/events/series/x/offer/accept".to_owned(), json!({})),
        ("/api/events/series/x/renew".to_owned(), json!({})),
        ("/api/housing/x/bookings".to_owned(), stay.clone()),
        ("/api/bookings/x/counter".to_owned(), stay),
        ("/api/housing".to_owned(), crate::housing::room_body()),
    ] {
        let problem = refused(&server, &door, &ben, body, StatusCode::FORBIDDEN).await;
        assert_eq!(problem["code"], "restricted", "{door}");
    }
    let title = Some(json!({"title": "x"}));
    let renamed = server.call(Method::PATCH, "/api/chat/conversations/x", Some(&ben.token), title).await;
    for (status, problem) in [renamed, set_status("active").await] {
        assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("restricted")), "{problem}");
    }
    assert_eq!(set_status("paused").await.0, StatusCode::OK, "what is there already can be changed");
    assert_eq!(server.get("/api/posts", &ben).await.0, StatusCode::OK, "reading is no matter of it");
    let wait = end.duration_since(Timestamp::now()) + SignedDuration::from_millis(50);
    tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
    post_of(&server, &ben, "I am back.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_lifted_on_appeal_unless_an_admin_keeps_the_user_out() {
    let server = Server::start().await;
    let (eva, oda) = (staff(&server, "eva", "admin").await, staff(&server, "oda", "admin").await);
    let ana = server.register("ana").await;
    for (name, said, outcome, is_in) in [
        ("ben", None, "overturned", true),
        ("cam", Some("block"), "overturned", false),
        ("dan", Some("unblock"), "upheld", true),
    ] {
        let user = server.register(name).await;
        done(&server, "/api/reports", &ana, report_of("user", &user.id)).await;
        let case = id(&waiting(&server, &eva).await);
        let path = format!("/api/safety-reviews/{case}");
        done(&server, &format!("{path}/resolve"), &eva, json!({"action": "lock", "reason": "x"})).await;
        assert_eq!(server.get("/api/posts", &user).await.0, StatusCode::UNAUTHORIZED);
        if let Some(said) = said {
            let path = format!("/api/admin/users/{}/{said}", user.id);
            let body = if said == "unblock" {
                json!({"reason": "x", "decisions": true})
            } else {
                json!({"reason": "x"})
            };
            done(&server, &path, &eva, body).await;
        }
        // Who is locked out appeals by mail, and an admin sends it in.
        let appeal = format!("/api/moderation/decisions/{case}/appeal");
        refused(&server, &appeal, &eva, json!({"text": "Nothing."}), StatusCode::CONFLICT).await;
        done(&server, &appeal, &oda, json!({"text": "It was my brother."})).await;
        let judged = json!({"outcome": outcome, "reason": "x"});
        refused(&server, &format!("{path}/appeal"), &oda, judged.clone(), StatusCode::CONFLICT).await;
        refused(&server, &format!("{path}/appeal"), &eva, judged.clone(), StatusCode::CONFLICT).await;
        let root = staff(&server, &format!("root{name}"), "admin").await;
        done(&server, &format!("{path}/appeal"), &root, judged).await;
        let status = server.get("/api/posts", &user).await.0;
        assert_eq!(status, if is_in { StatusCode::OK } else { StatusCode::UNAUTHORIZED }, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_says_nothing_of_a_case_about_oneself() {
    const EXPORT: &str = "/api/users/me/export";
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let mia = staff(&server, "mia", "moderator").await;
    let post = post_of(&server, &ben, "Buy my shoes!").await;
    done(&server, "/api/reports", &ana, report_of("post", &post)).await;
    let case = id(&waiting(&server, &mia).await);
    done(&server, EXPORT, &ben, json!({})).await;
    until("the export is there", async || {
        let export = read(&server, EXPORT, &ben).await;
        (export["state"] == "ready").then_some(())
    })
    .await;
    let part = server.http.get(server.url(&format!("{EXPORT}/1"))).bearer_auth(&ben.token);
    let text = part.send().await.unwrap().text().await.unwrap();
    assert!(text.contains("Buy my shoes!") && !text.contains(&case), "{text}");
    let kinds: BTreeSet<_> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().map(str::to_owned))
        .collect();
    assert!(kinds.contains("posts") && !kinds.contains("safety_reviews"), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_is_not_told_by_the_trail_who_reviewed_the_own_person() {
    let server = Server::start().await;
    let (eva, oda) = (staff(&server, "eva", "admin").await, staff(&server, "oda", "admin").await);
    let ana = server.register("ana").await;
    done(&server, "/api/reports", &ana, report_of("user", &eva.id)).await;
    let case = id(&waiting(&server, &oda).await);
    let escalate = format!("/api/safety-reviews/{case}/escalate");
    done(&server, &escalate, &oda, json!({"reason": "For two."})).await;
    refused(&server, &escalate, &eva, json!({"reason": "Show me."}), StatusCode::FORBIDDEN).await;
    let warn = json!({"action": "warn", "reason": "Be kinder."});
    done(&server, &format!("/api/safety-reviews/{case}/resolve"), &oda, warn).await;
    let acts = acts(&server, &case, 2).await;
    assert_eq!((&acts[1]["actorId"], &acts[1]["reason"]), (&json!(oda.id), &json!("Be kinder.")));
    let own = read(&server, &format!("/api/admin/audit?thing={case}"), &eva).await;
    let entry = &own["items"][0];
    assert_eq!(
        (&entry["act"], &entry["actorId"], &entry["reason"], &entry["details"]),
        (&json!("review.resolved"), &Value::Null, &Value::Null, &json!({}))
    );
    let by_oda = read(&server, &format!("/api/admin/audit?actor={}", oda.id), &eva).await;
    assert!(!by_oda.to_string().contains(&case), "{by_oda}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_one_sees_is_reported_and_only_so_much_a_day() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let hidden =
        id(&done(&server, "/api/posts", &ben, json!({"content": "x", "visibility": "private"})).await);
    let chat = done(&server, "/api/chat/conversations", &ben, json!({"title": "Camp"})).await;
    let messages = format!("/api/chat/conversations/{}/messages", id(&chat));
    done(&server, &messages, &ben, json!({"text": "x"})).await;
    let message = format!("{}:1", id(&chat));
    let mut answers = Vec::new();
    for (kind, thing) in [
        ("post", hidden.as_str()),
        ("post", "01a22267-5695-774a-9335-497936266a2f"),
        ("comment", "x"),
        ("message", message.as_str()),
        ("message", "x"),
        ("user", "nobody"),
        ("event", "x"),
        ("series", "x"),
        ("listing", "x"),
        ("booking", "x"),
    ] {
        let body = report_of(kind, thing);
        answers
            .push(refused(&server, "/api/reports", &ana, body, StatusCode::NOT_FOUND).await["code"].clone());
    }
    assert!(answers.iter().all(|code| code == "not_found"), "{answers:?}");
    refused(&server, "/api/reports", &ben, report_of("post", &hidden), StatusCode::BAD_REQUEST).await;

    for number in 0..20 {
        let post = post_of(&server, &ben, &number.to_string()).await;
        done(&server, "/api/reports", &ana, report_of("post", &post)).await;
    }
    let last = post_of(&server, &ben, "one more").await;
    let problem =
        refused(&server, "/api/reports", &ana, report_of("post", &last), StatusCode::TOO_MANY_REQUESTS).await;
    assert_eq!(problem["code"], "too_many_requests");
    let mine = read(&server, "/api/reports/mine?limit=100", &ana).await;
    assert_eq!(ids(&mine).len(), 20);
}

/// Counted: however many report the same thing at once, it is one case with all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_race_are_all_counted_in_one_case() {
    let server = Server::start().await;
    let (ben, mia) = (server.register("ben").await, staff(&server, "mia", "moderator").await);
    let post = post_of(&server, &ben, "x").await;
    let mut people = Vec::new();
    for number in 0..10 {
        people.push(server.register(&format!("user{number}")).await);
    }
    let told = people.iter().map(async |user| {
        done(&server, "/api/reports", user, report_of("post", &post)).await;
    });
    futures_util::future::join_all(told).await;
    let case = waiting(&server, &mia).await;
    assert_eq!((&case["reports"], &case["weight"]), (&json!(10), &json!(40)));
    assert_eq!(server.get(&format!("/api/posts/{post}"), &people[0]).await.0, StatusCode::OK);
}
