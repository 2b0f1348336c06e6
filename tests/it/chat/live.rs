//! What conversations' channels publish, and to whom.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Line, acquainted, done, group, of, refused, register_all, say, texts};
use crate::cluster;
use crate::server::{Server, User, until};

/// Within what time a removed member hears nothing more.
const REMOVED_WITHIN: Duration = Duration::from_secs(2);
const PERMISSION_DENIED: u64 = 103;
const SENDERS: usize = 20;
const MESSAGES: usize = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_hear_each_change_whole_and_once() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben", "cam"]).await;
    let [ana, ben, cam] = users.as_slice() else { unreachable!() };
    let chat = group(&server, ana, &[ben]).await;
    let channel = format!("chat:{chat}");
    let line = Line::open(&server, ben).await;
    let subscribed = line.subscribe(&channel).await;
    assert!(
        subscribed["subscribe"].is_object() && subscribed["subscribe"]["recoverable"].is_null(),
        "{subscribed}"
    );
    let stranger = Line::open(&server, cam).await;
    assert_eq!(stranger.subscribe(&channel).await["error"]["code"], PERMISSION_DENIED);

    let sent = say(&server, &chat, ana, "Hola").await;
    let message = of(&chat, "messages/1");
    done(&server, Method::PUT, &format!("{message}/reaction"), ben, json!({"reactionType": "heart"})).await;
    done(&server, Method::PATCH, &message, ana, json!({"text": "Buenas"})).await;
    assert_eq!(
        refused(&server, Method::PATCH, &message, ben, json!({"text": "x"})).await.0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(refused(&server, Method::DELETE, &message, ben, Value::Null).await.0, StatusCode::FORBIDDEN);
    done(&server, Method::DELETE, &message, ana, Value::Null).await;
    done(&server, Method::POST, &of(&chat, "members"), ana, json!({"userIds": [cam.id]})).await;
    let heard = until("ben heard all", async || {
        let heard: Vec<_> = line.published(&channel).into_iter().map(|(_, message)| message).collect();
        (heard.len() >= 5).then_some(heard)
    })
    .await;
    let types: Vec<_> = heard.iter().map(|message| message["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        ["message.created", "message.reacted", "message.edited", "message.deleted", "member.added"]
    );
    let (mut seen, created) = (sent.clone(), heard[0]["message"].clone());
    seen.as_object_mut().unwrap().remove("myReaction");
    assert_eq!(created, seen, "the same schema as REST gives");
    assert_eq!(
        [&heard[1]["reactions"], &heard[1]["seq"], &heard[2]["seq"], &heard[2]["version"]],
        [&json!({"heart": 1}), &json!(1), &json!(1), &json!(3)]
    );
    let words = |message: &Value| message.to_string().contains("Buenas") || message["message"].is_object();
    assert!(!words(&heard[1]) && !words(&heard[2]), "who joined later hears of old messages without words");
    assert_eq!((&heard[3]["message"]["text"], &heard[3]["message"]["deleted"]), (&Value::Null, &json!(true)));
    assert_eq!(heard[4]["userIds"], json!([cam.id]));

    // What was said before is not cam's, by no door.
    let line = Line::open(&server, cam).await;
    let recovering = json!({"subscribe": {"channel": channel, "recover": true, "epoch": "x", "offset": 0}});
    let recovered = line.ask(recovering).await;
    assert!(
        recovered["subscribe"].is_object() && recovered["subscribe"]["publications"].is_null(),
        "{recovered}"
    );
    assert!(texts(&server, &chat, cam).await.is_empty());
    let by_rpc = line.ask(json!({"rpc": {"method": format!("GET {message}"), "data": {}}})).await;
    assert!(by_rpc["error"].is_object(), "{by_rpc}");
    let history = line.ask(json!({"history": {"channel": channel, "limit": 10}})).await;
    assert!(history["error"].is_object(), "{history}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_is_told_once_in_three_seconds_and_reading_to_those_who_know_each_other() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben"]).await;
    let [ana, ben] = users.as_slice() else { unreachable!() };
    let chat = acquainted(&server, ana, ben).await;
    let channel = format!("chat:{chat}");
    let line = Line::open(&server, ana).await;
    line.subscribe(&channel).await;
    say(&server, &chat, ana, "Hola").await;
    let began = Instant::now();
    for _ in 0..20 {
        done(&server, Method::POST, &of(&chat, "typing"), ben, Value::Null).await;
    }
    done(&server, Method::PUT, &of(&chat, "read"), ben, json!({"seq": 900})).await;
    done(&server, Method::PUT, &of(&chat, "read"), ben, json!({"seq": 1})).await;
    let read = until("ana hears that ben has read", async || line.of_type(&channel, "read").pop()).await;
    assert_eq!(
        (&read["userId"], &read["seq"]),
        (&json!(ben.id), &json!(1)),
        "not further than there is something"
    );
    let typed = line.of_type(&channel, "typing");
    assert!(began.elapsed() > Duration::from_secs(3) || typed.len() == 1, "{typed:?}");
    assert_eq!(line.of_type(&channel, "read").len(), 1, "forward only");
    let seen = done(&server, Method::GET, &format!("/api/chat/conversations/{chat}"), ana, Value::Null).await;
    assert_eq!(seen["readMarkers"], json!([{"userId": ben.id, "seq": 1}]), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_removed_hears_and_writes_nothing_more_on_any_node() {
    let nodes = cluster::start(2).await;
    let name = mundotango_protocol::new_id();
    let name = &name[name.len() - 12..];
    let owner = nodes[0].register(&format!("o{name}")).await;
    let gone = nodes[1].register(&format!("g{name}")).await;
    let stays = nodes[1].register(&format!("s{name}")).await;
    let chat = group(&nodes[0], &owner, &[&gone, &stays]).await;
    let channel = format!("chat:{chat}");
    let lines = [Line::open(&nodes[0], &gone).await, Line::open(&nodes[1], &gone).await];
    let other = Line::open(&nodes[1], &stays).await;
    for line in lines.iter().chain([&other]) {
        assert!(line.subscribe(&channel).await["subscribe"].is_object());
    }
    say(&nodes[0], &chat, &owner, "before").await;
    for line in &lines {
        until("both devices hear it", async || line.of_type(&channel, "message.created").pop()).await;
    }
    let path = of(&chat, &format!("members/{}", gone.id));
    done(&nodes[0], Method::DELETE, &path, &owner, Value::Null).await;
    let removed = Instant::now();
    while removed.elapsed() < REMOVED_WITHIN + Duration::from_secs(1) {
        say(&nodes[0], &chat, &owner, "after").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for line in &lines {
        let late = line.published(&channel).into_iter().find(|(at, _)| *at > removed + REMOVED_WITHIN);
        assert!(late.is_none(), "{late:?}");
        let pushes = line.pushes.lock().clone();
        assert!(
            pushes.iter().any(|(_, push)| push["channel"] == channel && push["unsubscribe"].is_object()),
            "{pushes:?}"
        );
        assert_eq!(line.subscribe(&channel).await["error"]["code"], PERMISSION_DENIED);
    }
    for node in &nodes {
        let (status, _) =
            refused(node, Method::POST, &of(&chat, "messages"), &gone, json!({"text": "x"})).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(texts(node, &chat, &gone).await, ["before"], "and sees what was up to then");
    }
    let last = texts(&nodes[1], &chat, &stays).await.len();
    until("who stays hears all", async || {
        (other.of_type(&channel, "message.created").len() == last).then_some(())
    })
    .await;
}

/// Sends messages by REST and by calls of a socket, each twice at the same time with one key.
async fn send_all(server: &Server, chat: &str, user: &User, sender: usize) {
    let line = Line::open(server, user).await;
    for number in 0..MESSAGES {
        let (key, text) = (format!("{sender}.{number}"), format!("{sender}: {number}"));
        let by_rest = async || {
            let request = server.http.post(server.url(&of(chat, "messages"))).header("idempotency-key", &key);
            let answer = request.bearer_auth(&user.token).json(&json!({"text": text})).send().await.unwrap();
            match answer.status() {
                StatusCode::CREATED => Some(answer.json::<Value>().await.unwrap()["seq"].clone()),
                StatusCode::CONFLICT => None,
                status => panic!("{status}"),
            }
        };
        let by_socket = async || {
            let method = format!("POST {}#{key}", of(chat, "messages"));
            let reply = line.ask(json!({"rpc": {"method": method, "data": {"text": text}}})).await;
            match reply["error"]["code"].as_u64() {
                None => Some(reply["rpc"]["data"]["seq"].clone()),
                Some(409) => None,
                Some(_) => panic!("{reply}"),
            }
        };
        // A key belongs to a body: of one door, as a body of the other has other bytes.
        let sent = if number % 2 == 0 {
            let (one, other) = tokio::join!(by_rest(), by_rest());
            [one, other, by_rest().await]
        } else {
            let (one, other) = tokio::join!(by_socket(), by_socket());
            [one, other, by_socket().await]
        };
        let seqs: BTreeSet<_> = sent.iter().flatten().map(ToString::to_string).collect();
        assert_eq!(seqs.len(), 1, "{text}: {sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_many_senders_are_numbered_without_holes_and_each_is_there_once() {
    let server = Server::start().await;
    let owner = server.register("owner").await;
    let mut senders = Vec::new();
    for number in 0..SENDERS {
        senders.push(server.register(&format!("sender{number}")).await);
    }
    let chat = group(&server, &owner, &senders.iter().collect::<Vec<_>>()).await;
    let channel = format!("chat:{chat}");
    let line = Line::open(&server, &owner).await;
    line.subscribe(&channel).await;
    let began = Instant::now();
    join_all(senders.iter().enumerate().map(|(number, user)| send_all(&server, &chat, user, number))).await;
    let all = SENDERS * MESSAGES;
    println!("{all} messages, each sent three times, in {:?}", began.elapsed());
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let path = of(&chat, &format!("messages?after={after}&limit=200"));
        let page = done(&server, Method::GET, &path, &owner, Value::Null).await;
        seen.extend(page["items"].as_array().unwrap().iter().cloned());
        after = seen.len();
        if page["hasMore"] == false {
            break;
        }
    }
    let seqs: Vec<_> = seen.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=all as u64).collect::<Vec<_>>());
    let texts: BTreeSet<_> = seen.iter().map(|message| message["text"].to_string()).collect();
    assert_eq!(texts.len(), all, "each text once");
    until("all were published", async || {
        (line.of_type(&channel, "message.created").len() >= all).then_some(())
    })
    .await;
    let published = line.of_type(&channel, "message.created");
    let published: BTreeSet<_> =
        published.iter().map(|one| one["message"]["seq"].as_u64().unwrap()).collect();
    assert_eq!((published.len(), line.of_type(&channel, "message.created").len()), (all, all), "once each");
    // Another text under the same key is refused.
    let request = server.http.post(server.url(&of(&chat, "messages"))).header("idempotency-key", "0.0");
    let answer = request.bearer_auth(&senders[0].token).json(&json!({"text": "x"})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
}
