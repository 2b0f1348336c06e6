//! Strangers ask; what is in a group; who is told.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    CONVERSATIONS, Line, acquainted, done, group, id_of, listed, of, refused, register_all, say, texts,
};
use crate::server::{Server, User, until};

async fn unread_notifications(server: &Server, user: &User) -> Vec<Value> {
    let page = done(server, Method::GET, "/api/notifications", user, Value::Null).await;
    let all = page["items"].as_array().unwrap().iter();
    all.filter(|one| one["kind"] == "messageNew" && one["read"] == false).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_sends_one_message_until_the_other_accepts() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben", "cam"]).await;
    let [ana, ben, cam] = users.as_slice() else { unreachable!() };
    let (status, begun) = server.post(CONVERSATIONS, ana, json!({"userId": ben.id})).await;
    assert_eq!(
        (status, &begun["pending"], &begun["people"][0]["id"]),
        (StatusCode::CREATED, &json!(true), &json!(ben.id))
    );
    let chat = id_of(&begun);
    assert!(listed(&server, ben, "requests").await.is_empty(), "nothing was said yet");
    say(&server, &chat, ana, "Hola").await;
    let asked = until("ben is asked", async || listed(&server, ben, "requests").await.remove(&chat)).await;
    assert_eq!((&asked["lastMessage"]["text"], &asked["unread"]), (&json!("Hola"), &json!(1)));
    assert!(listed(&server, ben, "inbox").await.is_empty());
    assert!(unread_notifications(&server, ben).await.is_empty(), "requests are listed apart and not pushed");
    let messages = of(&chat, "messages");
    let again = async || refused(&server, Method::POST, &messages, ana, json!({"text": "?"})).await;
    assert_eq!(again().await, (StatusCode::CONFLICT, json!("request_pending")));
    // Nobody else knows of it.
    for part in ["messages", "members"] {
        assert_eq!(
            refused(&server, Method::GET, &of(&chat, part), cam, Value::Null).await.0,
            StatusCode::NOT_FOUND
        );
    }
    done(&server, Method::POST, &of(&chat, "decline"), ben, Value::Null).await;
    assert_eq!(again().await, (StatusCode::CONFLICT, json!("request_pending")), "as if ben had not answered");
    assert!(listed(&server, ben, "requests").await.is_empty());
    let added = json!({"title": "Camp", "memberIds": [ben.id]});
    assert_eq!(refused(&server, Method::POST, CONVERSATIONS, ana, added).await.0, StatusCode::BAD_REQUEST);

    // Whoever writes accepts.
    let (status, same) = server.post(CONVERSATIONS, ben, json!({"userId": ana.id})).await;
    assert_eq!((status, id_of(&same)), (StatusCode::OK, chat.clone()));
    say(&server, &chat, ben, "Perdón. Hola!").await;
    say(&server, &chat, ana, "¿Bailamos?").await;
    assert_eq!(texts(&server, &chat, ben).await, ["Hola", "Perdón. Hola!", "¿Bailamos?"]);
    assert!(listed(&server, ben, "inbox").await.contains_key(&chat));
    assert_eq!(
        refused(&server, Method::POST, CONVERSATIONS, ana, json!({"userId": ana.id})).await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        refused(&server, Method::POST, CONVERSATIONS, ana, json!({"userId": "nobody"})).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_with_many_groups_takes_the_place_of_nobody_elses_request() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben", "cam"]).await;
    let [ana, ben, cam] = users.as_slice() else { unreachable!() };
    let (_, begun) = server.post(CONVERSATIONS, cam, json!({"userId": ben.id})).await;
    let asked = id_of(&begun);
    say(&server, &asked, cam, "Hola").await;
    let mut groups = Vec::new();
    for _ in 0..5 {
        groups.push(group(&server, ana, &[ben]).await);
    }
    let requests = async || listed(&server, ben, "requests").await;
    until("all ask", async || (requests().await.len() == 6).then_some(())).await;
    let another = json!({"title": "Camp", "memberIds": [ben.id]});
    let refusal = refused(&server, Method::POST, CONVERSATIONS, ana, another).await;
    assert_eq!(refusal, (StatusCode::CONFLICT, json!("full")));
    let alone = group(&server, ana, &[]).await;
    let members = json!({"userIds": [ben.id]});
    let refusal = refused(&server, Method::POST, &of(&alone, "members"), ana, members.clone()).await;
    assert_eq!(refusal, (StatusCode::CONFLICT, json!("full")));
    // Who is in a group already is not asked again.
    done(&server, Method::POST, &of(&groups[0], "members"), ana, members.clone()).await;
    assert!(requests().await.contains_key(&asked), "nobody else's request made room");
    // An answer makes room for another one.
    done(&server, Method::POST, &of(&groups[0], "accept"), ben, Value::Null).await;
    done(&server, Method::POST, &of(&alone, "members"), ana, members).await;
    until("ben is asked", async || requests().await.remove(&alone)).await;
    assert_eq!(requests().await.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_blocked_sees_no_name_and_hears_the_same_everywhere() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben"]).await;
    let [ana, ben] = users.as_slice() else { unreachable!() };
    let chat = acquainted(&server, ana, ben).await;
    say(&server, &chat, ana, "Hola").await;
    let page = format!("{CONVERSATIONS}/{chat}");
    let seen = async |user: &User| done(&server, Method::GET, &page, user, Value::Null).await;
    let before = seen(ben).await;
    assert_eq!(
        (&before["pending"], &before["people"][0]["id"], &before["lastMessage"]["author"]["id"]),
        (&json!(false), &json!(ana.id), &json!(ana.id))
    );
    let camp = group(&server, ana, &[ben]).await;
    say(&server, &camp, ana, "Hola").await;
    done(&server, Method::PUT, &format!("/api/users/{}/block", ben.id), ana, Value::Null).await;
    let after = seen(ben).await;
    assert_eq!(
        (&after["pending"], &after["people"], &after["lastMessage"]["author"]),
        (&json!(true), &json!([]), &Value::Null)
    );
    assert_eq!(listed(&server, ben, "inbox").await[&chat]["pending"], json!(true));
    for id in [&chat, &camp] {
        let page = done(&server, Method::GET, &of(id, "messages"), ben, Value::Null).await;
        assert_eq!((&page["items"][0]["text"], &page["items"][0]["author"]), (&json!("Hola"), &Value::Null));
    }
    let members = done(&server, Method::GET, &of(&camp, "members"), ben, Value::Null).await;
    let members = members["items"].as_array().unwrap();
    let nameless: Vec<_> = members.iter().filter(|one| one["user"].is_null()).collect();
    assert!(nameless.len() == 1 && nameless[0]["userId"] == json!(ana.id), "{members:?}");
    for user in [ana, ben] {
        let said = refused(&server, Method::POST, &of(&chat, "messages"), user, json!({"text": "?"})).await;
        assert_eq!(said, (StatusCode::CONFLICT, json!("request_pending")));
        assert_eq!(seen(user).await["pending"], json!(true), "both say the same");
    }
    assert_eq!(seen(ana).await["people"][0]["id"], json!(ben.id), "who blocks knows whom");
    // A deletion is published without the name of who made it.
    let (line, channel) = (Line::open(&server, ben).await, format!("chat:{chat}"));
    line.subscribe(&channel).await;
    done(&server, Method::DELETE, &of(&chat, "messages/1"), ana, Value::Null).await;
    let deleted = until("it is told", async || line.of_type(&channel, "message.deleted").pop()).await;
    assert_eq!(deleted["message"]["author"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_told_of_by_its_own_author() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben", "cam"]).await;
    let [ana, ben, cam] = users.as_slice() else { unreachable!() };
    acquainted(&server, ana, ben).await;
    acquainted(&server, ana, cam).await;
    let chat = group(&server, ana, &[ben, cam]).await;
    until("ben has it", async || listed(&server, ben, "inbox").await.remove(&chat)).await;
    done(&server, Method::PUT, &format!("/api/users/{}/mute", cam.id), ben, Value::Null).await;
    // The first is told of at once, and all others together: the last one of them is of somebody who is not heard.
    for (author, text) in [(ana, "a"), (ana, "b"), (cam, "c")] {
        say(&server, &chat, author, text).await;
    }
    let told = until("ben is told of both", async || {
        unread_notifications(&server, ben).await.pop().filter(|told| told["count"] == 2)
    })
    .await;
    assert_eq!((&told["title"], &told["actorId"]), (&json!("Camp"), &json!(ana.id)));
    say(&server, &chat, cam, "d").await;
    let own = format!("#{}", ben.id);
    let line = Line::open(&server, ben).await;
    let seq = say(&server, &chat, cam, "e").await["seq"].clone();
    until("the list has heard", async || {
        line.of_type(&own, "chat.listed").iter().any(|told| told["lastSeq"] == seq).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = unread_notifications(&server, ben).await;
    assert_eq!((told.len(), &told[0]["count"]), (1, &json!(2)), "nothing of who is muted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_kept_apart_tells_the_other_nothing_more() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben"]).await;
    let [ana, ben] = users.as_slice() else { unreachable!() };
    let chat = acquainted(&server, ana, ben).await;
    say(&server, &chat, ana, "Hola").await;
    say(&server, &chat, ben, "Hola").await;
    done(&server, Method::PUT, &of(&chat, "read"), ana, json!({"seq": 2})).await;
    let page = format!("{CONVERSATIONS}/{chat}");
    let markers = async || done(&server, Method::GET, &page, ben, Value::Null).await["readMarkers"].clone();
    assert!(!markers().await.as_array().unwrap().is_empty());
    let heart = json!({"reactionType": "heart"});
    done(&server, Method::PUT, &of(&chat, "messages/1/reaction"), ben, heart.clone()).await;
    done(&server, Method::PUT, &format!("/api/users/{}/block", ben.id), ana, Value::Null).await;
    let line = Line::open(&server, ana).await;
    let channel = format!("chat:{chat}");
    line.subscribe(&channel).await;
    for (method, part, body) in [
        (Method::PATCH, "messages/2", json!({"text": "And you?"})),
        (Method::PUT, "messages/1/reaction", heart),
        (Method::POST, "messages", json!({"text": "?"})),
    ] {
        let refused = refused(&server, method, &of(&chat, part), ben, body).await;
        assert_eq!(refused, (StatusCode::CONFLICT, json!("request_pending")), "{part}");
    }
    done(&server, Method::POST, &of(&chat, "typing"), ben, Value::Null).await;
    done(&server, Method::PUT, &of(&chat, "read"), ben, json!({"seq": 2})).await;
    assert_eq!(markers().await, json!([]));
    // What is taken back is told.
    done(&server, Method::DELETE, &of(&chat, "messages/1/reaction"), ben, Value::Null).await;
    let heard =
        until("what was taken back", async || Some(line.published(&channel)).filter(|all| !all.is_empty()));
    let heard: Vec<_> = heard.await.into_iter().map(|(_, message)| message["type"].clone()).collect();
    assert_eq!(heard, ["message.reacted"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_strangers_is_offered_and_declining_leaves_it() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben", "cam"]).await;
    let [ana, ben, cam] = users.as_slice() else { unreachable!() };
    acquainted(&server, ana, ben).await;
    let chat = group(&server, ana, &[ben, cam]).await;
    until("ben has it", async || listed(&server, ben, "inbox").await.remove(&chat)).await;
    until("cam is asked", async || listed(&server, cam, "requests").await.remove(&chat)).await;
    done(&server, Method::POST, &of(&chat, "decline"), cam, Value::Null).await;
    let members = done(&server, Method::GET, &of(&chat, "members"), ana, Value::Null).await;
    assert_eq!(members["items"].as_array().unwrap().len(), 2, "{members}");
    // Whoever is taken in again is asked again.
    done(&server, Method::POST, &of(&chat, "members"), ana, json!({"userIds": [cam.id]})).await;
    until("cam is asked again", async || listed(&server, cam, "requests").await.remove(&chat)).await;
    done(&server, Method::POST, &of(&chat, "accept"), cam, Value::Null).await;
    assert!(listed(&server, cam, "inbox").await.contains_key(&chat));
    // The owner leaves, and the oldest member owns the group.
    done(&server, Method::DELETE, &of(&chat, &format!("members/{}", ana.id)), ana, Value::Null).await;
    let seen = done(&server, Method::GET, &format!("{CONVERSATIONS}/{chat}"), ben, Value::Null).await;
    assert_eq!((&seen["role"], &seen["memberCount"]), (&json!("owner"), &json!(2)));
    let changed =
        done(&server, Method::PATCH, &format!("{CONVERSATIONS}/{chat}"), ben, json!({"title": "Marathon"}))
            .await;
    assert_eq!(changed["title"], "Marathon");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_not_read_is_notified_once_a_conversation_and_not_where_it_is_muted_or_put_away() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben"]).await;
    let [ana, ben] = users.as_slice() else { unreachable!() };
    let chat = acquainted(&server, ana, ben).await;
    for text in ["a", "b", "c"] {
        say(&server, &chat, ana, text).await;
    }
    let told = until("ben is told of all", async || {
        let told = unread_notifications(&server, ben).await;
        (told.len() == 1 && told[0]["count"] == 3).then(|| told[0].clone())
    })
    .await;
    assert_eq!(
        (&told["thing"], &told["title"], &told["path"]),
        (&json!(chat), &json!("ana"), &json!(format!("/chat/{chat}")))
    );
    assert!(unread_notifications(&server, ana).await.is_empty(), "nobody is told of the own messages");
    done(&server, Method::PUT, &of(&chat, "read"), ben, json!({"seq": 3})).await;
    assert!(unread_notifications(&server, ben).await.is_empty(), "who has read it is not pushed to");
    let (line, own) = (Line::open(&server, ben).await, format!("#{}", ben.id));
    for (part, on, off) in [
        ("mute", json!({"muted": true, "hours": 8}), json!({"muted": false})),
        ("archive", json!({"archived": true}), json!({"archived": false})),
    ] {
        done(&server, Method::PUT, &of(&chat, part), ben, on).await;
        let seq = say(&server, &chat, ana, part).await["seq"].clone();
        // The change that tells the list would make the notification.
        until("the list has heard", async || {
            line.of_type(&own, "chat.listed").iter().any(|told| told["lastSeq"] == seq).then_some(())
        })
        .await;
        done(&server, Method::PUT, &of(&chat, part), ben, off).await;
    }
    say(&server, &chat, ana, "d").await;
    until("ben is told again", async || unread_notifications(&server, ben).await.pop()).await;
    // One of a message before could still be on its way.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = unread_notifications(&server, ben).await;
    assert_eq!((told.len(), &told[0]["count"]), (1, &json!(1)), "others would be counted in it");
}
