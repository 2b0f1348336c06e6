//! What clients send is read strictly, by every route and both doors: all that is wrong is named, and nothing is done.

use std::collections::BTreeMap;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::admin;
use crate::housing;
use crate::server::{Server, User};

/// A good body of every route that has one, and the path by which it is called here.
#[expect(clippy::too_many_lines, reason = "it is a list")]
pub fn good_bodies(event: &str, post: &str) -> BTreeMap<String, (String, Value)> {
    let account =
        json!({"email": "b@example.com", "password": "abrazo-1234", "username": "beto", "fullName": "B"});
    let mut user = account.clone();
    user["role"] = json!("moderator");
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let event_body = json!({
        "title": "Milonga", "description": "Live music", "eventDate": "2030-01-01T20:00:00-03:00", "capacity": 20,
        "endDate": "2030-01-02T02:00", "timeZone": "America/Argentina/Buenos_Aires",
        "location": {"text": "La Viruta", "city": "Buenos Aires", "latitude": -34.6, "longitude": -58.4},
        "eventType": "milonga", "roleLimits": {"lead": 10, "follow": 10}, "ticketPrice": {"minor": 1250, "currency": "EUR"}, "attendees": "going", "askAgainDays": 3, "allDay": false, "draft": true,
    });
    let mut event_change = event_body.clone();
    for fixed in ["draft", "eventType"] {
        event_change.as_object_mut().unwrap().remove(fixed);
    }
    let repeats = json!({"frequency": "weekly", "weekdays": ["tuesday"], "count": 2});
    let mut series = event_body.clone();
    for of_events in ["draft", "allDay"] {
        series.as_object_mut().unwrap().remove(of_events);
    }
    series["repeats"] = repeats.clone();
    let mut series_change = json!({
        "from": "2030-01-01T20:00:00", "title": "Milonga", "description": "Live music", "location": "La Viruta",
        "startTime": "21:00", "endTime": "02:00", "endDay": 1, "repeats": repeats,
    });
    for setting in ["capacity", "roleLimits", "attendees", "ticketPrice", "askAgainDays"] {
        series_change[setting] = event_body[setting].clone();
    }
    let series_end = json!({"from": "2030-01-01T20:00:00", "reason": "x"});
    let analytics =
        json!({"events": [{"kind": "page_view", "name": "home", "path": "/", "properties": {"a": 1}}]});
    let ways = json!({"inApp": true, "push": true, "email": false});
    let preferences = json!({
        "language": "es", "timeZone": "Europe/Madrid", "quietHours": {"from": "22:00", "to": "08:00"}, "digests": "daily",
        "digestHour": "09:00", "silentPush": true, "analytics": true, "activityLetters": true,
        "kinds": {
            "eventPromoted": ways, "eventOffered": ways, "eventReminder": ways, "eventStillComing": ways, "eventMoved": ways, "eventCancelled": ways,
            "paymentReceived": ways, "paymentRefunded": ways, "paymentFailed": ways, "refundFailed": ways,
            "eventAnswers": ways, "eventGoing": ways, "placeOffered": ways, "placeTaken": ways, "placeDeclined": ways, "seriesEnding": ways, "seriesChanged": ways, "seriesCancelled": ways, "commentNew": ways, "commentReplied": ways, "mentionNew": ways,
            "bookingRequested": ways, "bookingCountered": ways,
            "approvalDecided": ways, "ticketReplied": ways, "decisionMade": ways, "appealDecided": ways,
            "reportUpheld": ways, "reportDismissed": ways,
            "bookingConfirmed": ways, "bookingDeclined": ways, "bookingSuperseded": ways, "bookingExpired": ways,
            "bookingCancelled": ways, "bookingReminder": ways, "reviewDue": ways, "reviewsRevealed": ways,
            "friendRequested": ways, "friendAccepted": ways, "followNew": ways,
        },
    });
    let profile = json!({
        "fullName": "Ana", "bio": "a\nb", "city": "Rosario", "avatarUrl": "https://a.example/a.png", "pronouns": "she/her",
        "dancesAs": "both", "cities": ["Rosario"], "languages": ["es-AR"], "dancingSince": 2010,
        "audiences": {
            "bio": "public", "city": "public", "avatarUrl": "public", "pronouns": "members", "dancesAs": "members",
            "cities": "friends", "languages": "members", "dancingSince": "me", "attendance": "friends",
        },
    });
    let said =
        json!({"message": "Hi", "agentId": "travel", "conversationId": "x", "turnId": "t", "stream": true});
    let bodies = [
        ("post /api/auth/register", "/api/auth/register".to_owned(), account),
        (
            "post /api/auth/login",
            "/api/auth/login".to_owned(),
            json!({"email": "b@example.com", "password": "x", "device": "Phone"}),
        ),
        (
            "post /api/auth/login/second-factor",
            "/api/auth/login/second-factor".to_owned(),
            json!({"challenge": "x", "code": "000000", "device": "Phone"}),
        ),
        ("post /api/auth/totp", "/api/auth/totp".to_owned(), json!({"password": "x"})),
        ("post /api/auth/totp/confirm", "/api/auth/totp/confirm".to_owned(), json!({"code": "000000"})),
        ("delete /api/auth/totp", "/api/auth/totp".to_owned(), json!({"password": "x", "code": "000000"})),
        (
            "post /api/auth/totp/recovery-codes",
            "/api/auth/totp/recovery-codes".to_owned(),
            json!({"password": "x", "code": "000000"}),
        ),
        (
            "delete /api/admin/users/{id}/second-factor",
            format!("/api/admin/users/{event}/second-factor"),
            json!({"reason": "Lost her phone."}),
        ),
        (
            "post /api/auth/keep-second-factor",
            "/api/auth/keep-second-factor".to_owned(),
            json!({"token": "x"}),
        ),
        ("post /api/auth/end-logins", "/api/auth/end-logins".to_owned(), json!({"token": "x"})),
        ("post /api/auth/refresh", "/api/auth/refresh".to_owned(), json!({"refreshToken": "x"})),
        ("patch /api/users/me", "/api/users/me".to_owned(), profile),
        ("post /api/auth/verify", "/api/auth/verify".to_owned(), json!({"token": "x"})),
        (
            "post /api/auth/forgot-password",
            "/api/auth/forgot-password".to_owned(),
            json!({"email": "b@example.com"}),
        ),
        (
            "post /api/auth/reset-password",
            "/api/auth/reset-password".to_owned(),
            json!({"token": "x", "password": "abrazo-1234"}),
        ),
        ("post /api/auth/confirm-email", "/api/auth/confirm-email".to_owned(), json!({"token": "x"})),
        ("post /api/auth/undo-email-change", "/api/auth/undo-email-change".to_owned(), json!({"token": "x"})),
        (
            "post /api/users/me/email",
            "/api/users/me/email".to_owned(),
            json!({"email": "b@example.com", "password": "x", "code": "000000"}),
        ),
        (
            "delete /api/users/me",
            "/api/users/me".to_owned(),
            json!({"password": "x", "confirmation": "nobody", "code": "000000"}),
        ),
        ("post /api/auth/undo-deletion", "/api/auth/undo-deletion".to_owned(), json!({"token": "x"})),
        (
            "delete /api/admin/users/{id}",
            format!("/api/admin/users/{event}"),
            json!({"confirmation": "nobody"}),
        ),
        ("patch /api/notifications/preferences", "/api/notifications/preferences".to_owned(), preferences),
        (
            "post /api/notifications/mute",
            "/api/notifications/mute".to_owned(),
            json!({"thing": "x", "hours": 1}),
        ),
        ("post /api/notifications/read-all", "/api/notifications/read-all".to_owned(), json!({"upTo": "1"})),
        ("post /api/notifications/shown", "/api/notifications/shown".to_owned(), json!({"upTo": "1"})),
        ("post /api/analytics/events", "/api/analytics/events".to_owned(), analytics),
        ("post /api/push/devices", "/api/push/devices".to_owned(), json!({"fcm": "x", "name": "Phone"})),
        ("post /api/admin/users", "/api/admin/users".to_owned(), user),
        (
            "patch /api/admin/jobs/queues/{queue}",
            "/api/admin/jobs/queues/email".to_owned(),
            json!({"paused": false, "concurrency": 5, "groupRate": 60}),
        ),
        (
            "post /api/posts",
            "/api/posts".to_owned(),
            json!({
                "content": "x", "visibility": "private", "media": [{"url": "https://a.example/a.jpg"}],
                "poll": {"options": ["a", "b"], "multiple": true, "until": tomorrow}, "preview": true,
            }),
        ),
        (
            "patch /api/posts/{id}",
            format!("/api/posts/{post}"),
            json!({"content": "y", "visibility": "public", "media": [], "preview": true, "revision": 1}),
        ),
        (
            "post /api/posts/{id}/comments",
            format!("/api/posts/{post}/comments"),
            json!({"content": "x", "parentId": null}),
        ),
        ("patch /api/comments/{id}", format!("/api/comments/{post}.1.0"), json!({"content": "y"})),
        (
            "post /api/comments/{id}/react",
            format!("/api/comments/{post}.1.0/react"),
            json!({"reactionType": "heart"}),
        ),
        ("put /api/posts/{id}/vote", format!("/api/posts/{post}/vote"), json!({"choices": [0]})),
        ("post /api/posts/{id}/react", format!("/api/posts/{post}/react"), json!({"reactionType": "heart"})),
        ("post /api/events", "/api/events".to_owned(), event_body),
        ("put /api/users/me/points", "/api/users/me/points".to_owned(), json!({"shown": true})),
        ("post /api/calendars", "/api/calendars".to_owned(), json!({"kind": "city", "city": "Buenos Aires"})),
        ("patch /api/events/{id}", format!("/api/events/{event}"), event_change),
        ("post /api/events/{id}/cancel", format!("/api/events/{event}/cancel"), json!({"reason": "x"})),
        (
            "post /api/events/{id}/rsvp",
            format!("/api/events/{event}/rsvp"),
            json!({"status": "going", "role": "lead", "guests": ["follow"]}),
        ),
        (
            "post /api/events/{id}/rsvp/handover",
            format!("/api/events/{event}/rsvp/handover"),
            json!({"userId": "x"}),
        ),
        (
            "post /api/events/{id}/rsvp/handover/accept",
            format!("/api/events/{event}/rsvp/handover/accept"),
            json!({"userId": "x", "role": "lead", "guests": ["follow"]}),
        ),
        (
            "post /api/events/{id}/rsvp/handover/decline",
            format!("/api/events/{event}/rsvp/handover/decline"),
            json!({"userId": "x"}),
        ),
        (
            "post /api/events/{id}/door",
            format!("/api/events/{event}/door"),
            json!({"checkIns": [{"userId": "x", "at": "2026-01-01T20:00:00Z", "device": "Phone"}]}),
        ),
        (
            "put /api/events/{id}/hosts/{userId}",
            format!("/api/events/{event}/hosts/x"),
            json!({"role": "door"}),
        ),
        ("put /api/events/{id}/offer", format!("/api/events/{event}/offer"), json!({"userId": "x"})),
        ("post /api/events/series", "/api/events/series".to_owned(), series),
        ("patch /api/events/series/{id}", "/api/events/series/x".to_owned(), series_change),
        (
            "put /api/events/series/{id}/hosts/{userId}",
            "/api/events/series/x/hosts/x".to_owned(),
            json!({"role": "door"}),
        ),
        (
            "put /api/events/series/{id}/offer",
            "/api/events/series/x/offer".to_owned(),
            json!({"userId": "x"}),
        ),
        ("post /api/events/series/{id}/cancel", "/api/events/series/x/cancel".to_owned(), series_end),
        (
            "post /api/admin/system/traces",
            "/api/admin/system/traces".to_owned(),
            json!({"user": "x", "minutes": 10}),
        ),
        (
            "post /api/payments/checkout",
            "/api/payments/checkout".to_owned(),
            json!({"purpose": "ticket", "thingId": event}),
        ),
        (
            "post /api/payments/{id}/refund",
            "/api/payments/01a22267-5695-774a-9335-497936266a2f/refund".to_owned(),
            json!({"amount": 100, "reason": "x"}),
        ),
        (
            "post /api/admin/payments/{id}/settle",
            "/api/admin/payments/01a22267-5695-774a-9335-497936266a2f/settle".to_owned(),
            json!({"amount": 100, "reason": "x"}),
        ),
        ("post /api/life-ceo/chat", "/api/life-ceo/chat".to_owned(), said),
    ];
    let chat = "/api/chat/conversations/x".to_owned();
    let message = json!({
        "text": "Hola", "attachments": ["https://example.com/a.jpg"], "replyTo": 1, "mentions": [],
    });
    let chats = [
        (
            "post /api/chat/conversations",
            "/api/chat/conversations".to_owned(),
            json!({"title": "Camp", "memberIds": [], "historyForNew": true}),
        ),
        ("patch /api/chat/conversations/{id}", chat.clone(), json!({"title": "Camp", "historyForNew": true})),
        ("post /api/chat/conversations/{id}/messages", format!("{chat}/messages"), message),
        (
            "patch /api/chat/conversations/{id}/messages/{seq}",
            format!("{chat}/messages/1"),
            json!({"text": "Hola"}),
        ),
        (
            "put /api/chat/conversations/{id}/messages/{seq}/reaction",
            format!("{chat}/messages/1/reaction"),
            json!({"reactionType": "heart"}),
        ),
        ("put /api/chat/conversations/{id}/read", format!("{chat}/read"), json!({"seq": 1, "version": 0})),
        ("put /api/chat/conversations/{id}/unread", format!("{chat}/unread"), json!({"seq": 1})),
        ("post /api/chat/conversations/{id}/members", format!("{chat}/members"), json!({"userIds": []})),
        (
            "patch /api/chat/conversations/{id}/members/{userId}",
            format!("{chat}/members/x"),
            json!({"role": "member"}),
        ),
        ("put /api/chat/conversations/{id}/mute", format!("{chat}/mute"), json!({"muted": true, "hours": 8})),
        ("put /api/chat/conversations/{id}/archive", format!("{chat}/archive"), json!({"archived": true})),
    ];
    let bodies = bodies.into_iter().chain(chats).chain(housing::good_bodies()).chain(admin::good_bodies());
    bodies.map(|(route, path, body)| (route.to_owned(), (path, body))).collect()
}

/// A schema behind its reference, the name of that, and whether it may be null.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> (&'a Value, String, bool) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        let (resolved, _, is_nullable) = resolved(document, &document["components"]["schemas"][name]);
        return (resolved, name.to_owned(), is_nullable);
    }
    if let Some(choices) = schema["oneOf"].as_array()
        && let Some(other) = choices.iter().find(|choice| choice["type"] != "null")
        && choices.iter().any(|choice| choice["type"] == "null")
    {
        let (schema, name, _) = resolved(document, other);
        return (schema, name, true);
    }
    let is_nullable = schema["type"].as_array().is_some_and(|types| types.contains(&json!("null")));
    // An optional text is written out under the name of its kind.
    (schema, schema["title"].as_str().unwrap_or_default().to_owned(), is_nullable)
}

/// The kinds of text that are one line.
const LINES: [&str; 3] = ["FullName", "City", "Title"];

/// Fields of which a body has one: it holds another one of them.
const EITHER: [&str; 7] = ["web", "apns", "user", "channel", "command", "hostId", "userId"];

/// Values that a field may not hold, and why.
fn bad_values(document: &Value, schema: &Value) -> Vec<(&'static str, Value)> {
    let (schema, name, is_nullable) = resolved(document, schema);
    let mut bad = vec![("a list", json!([[1]]))];
    if !is_nullable {
        bad.push(("null", Value::Null));
    }
    let kind = schema["type"].as_array().map_or(&schema["type"], |types| &types[0]);
    match kind.as_str() {
        Some("string") => {
            bad.push(("a number", json!(7)));
            if schema["enum"].is_array() {
                bad.push(("no such value", json!("nonesuch")));
            } else if schema["format"] == "date-time" {
                bad.push(("no time", json!("tomorrow")));
                bad.push(("no offset", json!("2026-12-04T21:00")));
            } else {
                let max = usize::try_from(schema["maxLength"].as_u64().expect("a text has a limit")).unwrap();
                bad.push(("too long", json!("x".repeat(max + 1))));
                if !name.contains("Password") {
                    bad.push(("a control character", json!("xxx\u{7}xxx")));
                }
                if !is_nullable && name != "GivenPassword" {
                    bad.push(("blank", json!(" ")));
                    bad.push(("invisible", json!("\u{200b}")));
                }
            }
            if LINES.contains(&name.as_str()) {
                bad.push(("turned around", json!("\u{202e}tso")));
                bad.push(("two lines", json!("x\ny")));
            }
            if name == "WebAddress" {
                bad.push(("another scheme", json!("javascript:alert(1)")));
            }
        }
        Some("integer" | "number") => {
            bad.push(("a text", json!("7")));
            if let Some(min) = schema["minimum"].as_i64() {
                bad.push(("too low", json!(min - 1)));
            }
            if let Some(max) = schema["maximum"].as_i64() {
                bad.push(("too high", json!(max + 1)));
            }
        }
        Some("boolean") => bad.push(("a text", json!("true"))),
        _ => bad.push(("a number", json!(7))),
    }
    bad
}

/// A name with two letters in each other's place: the last two that are not the same.
fn misspelt(name: &str) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    let at = (1..letters.len()).rev().find(|at| letters[at - 1] != letters[*at]).unwrap();
    letters.swap(at - 1, at);
    letters.into_iter().collect()
}

/// A bad body, what is bad about it, and the fields that must be named.
type BadBody = (String, Value, Vec<String>);

fn bad_bodies(document: &Value, schema: &Value, good: &Value) -> Vec<BadBody> {
    let properties = schema["properties"].as_object().expect("a body is an object");
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()).collect();
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let mut bodies = vec![
        ("unknown field".to_owned(), with("nonesuch", json!(1)), vec!["nonesuch".to_owned()]),
        ("a list for the body".to_owned(), json!([good]), vec!["body".to_owned()]),
        ("a text for the body".to_owned(), json!("x"), vec!["body".to_owned()]),
    ];
    let mut all = Map::new();
    for (name, property) in properties {
        // Of some fields a body has one.
        let is_other = EITHER.contains(&name.as_str());
        assert!(good.get(name).is_some() || is_other, "the good body has no {name}");
        let bad = bad_values(document, property);
        all.insert(name.clone(), bad[0].1.clone());
        for (what, value) in bad {
            bodies.push((format!("{name}: {what}"), with(name, value), vec![name.clone()]));
        }
        let mut body = good.clone();
        let value = body.as_object_mut().unwrap().remove(name).unwrap_or(Value::Null);
        if required.contains(&name.as_str()) {
            bodies.push((format!("{name}: missing"), body.clone(), vec![name.clone()]));
        }
        let wrong_name = misspelt(name);
        body[&wrong_name] = value;
        bodies.push((format!("{name}: misspelt"), body, vec![wrong_name]));
    }
    let names = all.keys().cloned().collect();
    bodies.push(("all fields".to_owned(), Value::Object(all), names));
    bodies
}

/// What could have changed.
async fn state(server: &Server, user: &User) -> Vec<Value> {
    let mut state = Vec::new();
    for path in [
        "/api/users/me",
        "/api/posts",
        "/api/events?from=2000-01-01T00:00:00Z",
        "/api/housing",
        "/api/bookings",
    ] {
        let (status, answer) = server.get(path, user).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        state.push(answer);
    }
    state
}

struct World {
    server: Server,
    ana: User,
    document: Value,
    bodies: BTreeMap<String, (String, Value)>,
}

async fn world() -> World {
    let server = Server::start().await;
    let account = server.register("ana").await;
    // The same user with a role that may call every route.
    let ana = server.user(&account.id, "admin");
    let (_, post) = server.post("/api/posts", &ana, json!({"content": "x"})).await;
    let event =
        json!({"title": "T", "eventDate": "2030-01-01T20:00:00Z", "location": "L", "eventType": "class"});
    let (_, event) = server.post("/api/events", &ana, event).await;
    let bodies = good_bodies(event["id"].as_str().unwrap(), post["id"].as_str().unwrap());
    let (_, document) = server.call(Method::GET, "/api/docs/json", None, None).await;
    World { server, ana, document, bodies }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_names_each_wrong_field_and_changes_nothing() {
    let World { server, ana, document, mut bodies } = world().await;
    let before = state(&server, &ana).await;
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let is_own = operation["tags"] != json!(["test hooks"]);
            if schema.is_null() || !is_own || schema["$ref"].is_null() {
                continue;
            }
            let route = format!("{method} {path}");
            let (called, good) = bodies.remove(&route).unwrap_or_else(|| panic!("no good body for {route}"));
            let (schema, _, _) = resolved(&document, schema);
            assert_eq!(schema["additionalProperties"], false, "{route}");
            let method: Method = method.to_uppercase().parse().unwrap();
            for (what, body, named) in bad_bodies(&document, schema, &good) {
                let (status, problem) =
                    server.call(method.clone(), &called, Some(&ana.token), Some(body.clone())).await;
                assert_eq!(status, StatusCode::BAD_REQUEST, "{route}, {what}: {problem}");
                assert_eq!(problem["code"], "invalid_input", "{route}, {what}: {problem}");
                let errors = problem["errors"].as_array().unwrap();
                for name in &named {
                    let error = errors.iter().find(|error| {
                        let field = error["field"].as_str().unwrap();
                        field == name || field.starts_with(&format!("{name}."))
                    });
                    let error =
                        error.unwrap_or_else(|| panic!("{route}, {what}: {name} is not in {problem}"));
                    assert!(error["code"].is_string() && error["message"].is_string(), "{error}");
                    if what.ends_with("misspelt") {
                        let meant = what.split(':').next().unwrap();
                        let message = error["message"].as_str().unwrap();
                        assert!(message.contains(&format!("did you mean `{meant}`?")), "{route}: {message}");
                    }
                }
                tried += 1;
            }
        }
    }
    assert!(bodies.is_empty(), "routes that the document does not have: {:?}", bodies.keys());
    assert!(tried > 150, "only {tried} bodies");
    assert_eq!(state(&server, &ana).await, before);
    let (status, _) = server
        .post("/api/auth/login", &ana, json!({"email": "b@example.com", "password": "abrazo-1234"}))
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "nobody was registered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rpc_names_the_same_fields() {
    let World { server, ana, document, bodies } = world().await;
    let before = state(&server, &ana).await;
    let (mut socket, _) = connect_async(server.websocket_url()).await.unwrap();
    let connect = json!({"id": 1, "connect": {"token": ana.token}});
    socket.send(Message::text(connect.to_string())).await.unwrap();
    let mut id = 1;
    let mut call = async |method: &str, data: &Value| {
        id += 1;
        let rpc = json!({"id": id, "rpc": {"method": method, "data": data}});
        socket.send(Message::text(rpc.to_string())).await.unwrap();
        loop {
            let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
            for reply in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                let reply = reply.unwrap();
                if reply["id"] == id {
                    return (reply["error"]["code"].clone(), reply["error"]["message"].to_string());
                }
            }
        }
    };
    for route in ["post /api/posts", "post /api/events", "patch /api/users/me"] {
        let (path, good) = &bodies[route];
        let method = route.split(' ').next().unwrap();
        let schema = &document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"];
        let (schema, _, _) = resolved(&document, schema);
        for (what, body, named) in bad_bodies(&document, schema, good) {
            let (code, message) = call(&format!("{} {path}", method.to_uppercase()), &body).await;
            assert_eq!(code, 400, "{route}, {what}: {message}");
            assert!(named.iter().all(|name| message.contains(name)), "{route}, {what}: {message}");
        }
    }
    for (method, data, named) in [
        (
            "GET /api/events",
            json!({"ctiy": "Berlin", "limit": 0}),
            ["unknown field `ctiy`, did you mean `city`?", "limit: "],
        ),
        ("GET /api/posts", json!({"cursor": "abc", "page": "x"}), ["cursor: ", "page: "]),
    ] {
        let (code, message) = call(method, &data).await;
        assert_eq!(code, 400, "{message}");
        // What reads numbers comes before what needs them.
        assert!(message.contains(named[1]), "{message}");
        assert!(message.contains(named[0]) || method == "GET /api/posts", "{message}");
    }
    assert_eq!(state(&server, &ana).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_refuses_what_it_does_not_know() {
    let World { server, ana, document, bodies } = world().await;
    let id_of = |route: &str| bodies[route].0.split('/').nth(3).unwrap().to_owned();
    let (event, post) = (id_of("post /api/events/{id}/rsvp"), id_of("post /api/posts/{id}/react"));
    server.call(Method::PUT, &format!("/api/posts/{post}/bookmark"), Some(&ana.token), None).await;
    let (_, given) =
        server.post("/api/events/series", &ana, bodies["post /api/events/series"].1.clone()).await;
    let series = given["id"].as_str().unwrap();
    let said = json!({"message": "Hi", "stream": true});
    let (_, answer) = server.post("/api/life-ceo/chat", &ana, said).await;
    let conversation = answer["conversationId"].as_str().unwrap();
    let (_, room) = server.post("/api/housing", &ana, housing::room_body()).await;
    let listing = room["id"].as_str().unwrap();
    let (_, group) = server.post("/api/chat/conversations", &ana, json!({"title": "Camp"})).await;
    let chat = group["id"].as_str().unwrap();
    let ticket = bodies["post /api/support/tickets"].1.clone();
    let (_, ticket) = server.post("/api/support/tickets", &ana, ticket).await;
    let ticket = ticket["id"].as_str().unwrap();
    let mut lists = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some(parameters) = methods["get"]["parameters"].as_array() else { continue };
        if parameters.iter().any(|parameter| parameter["name"] == "cursor") {
            let id = match path.as_str() {
                path if path.starts_with("/api/users/") => ana.id.as_str(),
                path if path.contains("series") => series,
                path if path.contains("events") => event.as_str(),
                path if path.contains("housing") => listing,
                path if path.contains("chat") => chat,
                path if path.contains("posts") => post.as_str(),
                path if path.contains("support") => ticket,
                _ => conversation,
            };
            lists.push(path.replace("{id}", id).replace("{queue}", "email"));
        }
    }
    assert!(lists.len() >= 5, "{lists:?}");
    for number in 0..3 {
        server.post("/api/posts", &ana, json!({"content": number.to_string()})).await;
    }
    let (_, page) = server.get("/api/posts?limit=1", &ana).await;
    let foreign = page["nextCursor"].as_str().unwrap();
    let root = server.user("root", "admin");
    for list in lists {
        let who = if list.starts_with("/api/admin/") { &root } else { &ana };
        // What has to be asked for.
        let asked = if list.ends_with("/search") { "q=tango&" } else { "" };
        let (status, _) = server.get(&format!("{list}?{asked}"), who).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        let (status, problem) = server.get(&format!("{list}?{asked}limt=3&page=0&author=luis"), who).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{list}: {problem}");
        let message = problem["errors"].to_string();
        for part in ["did you mean `limit`?", "\"page\"", "\"author\"", "\"allowed\""] {
            assert!(message.contains(part), "{list}: {part} is not in {message}");
        }
        for cursor in ["abc", "", "%00", "0192-7", foreign] {
            if list == "/api/posts" && cursor == foreign {
                continue;
            }
            let (status, problem) = server.get(&format!("{list}?{asked}cursor={cursor}"), who).await;
            let answer = (status, problem["code"].as_str());
            assert_eq!(answer, (StatusCode::BAD_REQUEST, Some("invalid_cursor")), "{list}, {cursor:?}");
        }
    }
    let (status, problem) = server.get("/api/events?from=2026-12-04T21:00:00+01:00&to=tomorrow", &ana).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let message = problem["errors"].to_string();
    assert!(message.contains("%2B") && message.contains("\"to\""), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_are_kept_in_one_form_and_null_clears() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let patch = async |change: Value| {
        server.call(Method::PATCH, "/api/users/me", Some(&ana.token), Some(change)).await
    };
    let all = json!({"fullName": " Jose\u{301} ", "bio": "a\r\nb", "city": "Rosario", "avatarUrl": "https://a.example/x"});
    let (status, changed) = patch(all).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    assert_eq!((&changed["fullName"], &changed["bio"]), (&json!("José"), &json!("a\nb")));
    let (_, changed) = patch(json!({"bio": null, "avatarUrl": ""})).await;
    assert_eq!((&changed["bio"], &changed["avatarUrl"]), (&Value::Null, &Value::Null));
    assert_eq!((&changed["city"], &changed["fullName"]), (&json!("Rosario"), &json!("José")));
    let (_, changed) = patch(json!({})).await;
    assert_eq!(changed["city"], "Rosario");
    let twice = server.http.patch(server.url("/api/users/me")).bearer_auth(&ana.token);
    let twice = twice.header("content-type", "application/json").body(r#"{"city": "a", "city": "b"}"#);
    assert_eq!(twice.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
}

/// Texts in an answer that are times.
fn times(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| times(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| times(field, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_have_three_digits_wherever_they_go_out() {
    let World { server, ana, bodies, .. } = world().await;
    let (rsvp, going) = &bodies["post /api/events/{id}/rsvp"];
    let (_, answered) = server.post(rsvp, &ana, going.clone()).await;
    let (_, said) = server.post("/api/life-ceo/chat", &ana, json!({"message": "Hi"})).await;
    let turns = format!("/api/life-ceo/conversations/{}/turns", said["conversationId"].as_str().unwrap());
    let mut found = Vec::new();
    times(&answered, &mut found);
    for path in [
        "/api/users/me",
        "/api/posts",
        "/api/events",
        &rsvp.replace("rsvp", "attendees"),
        &turns,
        "/api/admin/system/tree",
        "/api/admin/system/nodes",
        "/api/health",
    ] {
        let (status, answer) = server.get(path, &ana).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        times(&answer, &mut found);
    }
    assert!(found.len() > 10, "{found:?}");
    for time in found {
        assert!(time.len() == "2026-11-28T22:00:00.123Z".len() && time.ends_with('Z'), "{time}");
        assert_eq!(time.as_bytes()[19], b'.', "{time}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_type_of_a_problem_leads_to_its_entry() {
    use mundotango_gateway::problem::{Code, FieldCode, page_text};
    let server = Server::start().await;
    let page = server.http.get(server.url("/problems")).send().await.unwrap();
    assert_eq!(
        (page.status(), page.headers()["content-type"].to_str().unwrap()),
        (StatusCode::OK, "text/html; charset=utf-8")
    );
    let page = page.text().await.unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
    if std::env::var_os("MUNDOTANGO_WRITE_DOCS").is_some() {
        std::fs::write(file, page_text()).unwrap();
    }
    let text = std::fs::read_to_string(file).unwrap();
    let names = Code::ALL.iter().map(|code| code.name()).chain(FieldCode::ALL.iter().map(|code| code.name()));
    for name in names {
        assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
        assert!(text.contains(&format!("\n## {name}\n")), "{name}");
    }
    assert_eq!(
        text,
        page_text(),
        "write it anew: MUNDOTANGO_WRITE_DOCS=1 cargo test --test it leads_to_its_entry"
    );
}
