//! What a client may do, and what it is told when it may not.

use std::time::Duration;

use bytes::Bytes;
use mundotango_actors::SessionOptions;
use mundotango_protocol::{Disconnect, StreamPosition};
use serde_json::json;

use crate::client::{Client, engine, engine_with, publish};

#[tokio::test]
async fn connects_with_a_token_and_gets_its_personal_channel() {
    let engine = engine().await;
    let mut client = Client::open(&engine);
    let reply = client.ask(json!({"connect": {"token": "42", "name": "js"}})).await;
    let connect = reply.connect.unwrap();
    assert_eq!((connect.ping, connect.pong), (25, true));
    assert!(connect.subs["#42"].recoverable);
    publish(&engine, "#42", json!({"type": "hello"})).await;
    let push = client.push().await;
    assert_eq!(push.channel, "#42");
    assert_eq!(engine.sessions().of_user("42").len(), 1);
    assert_eq!(client.code(json!({"subscribe": {"channel": "#42"}})).await, 105);
}

#[tokio::test]
async fn tokens_that_do_not_hold_are_refused() {
    let engine = engine().await;
    assert_eq!(Client::open(&engine).code(json!({"connect": {}})).await, 3501);
    assert_eq!(Client::open(&engine).code(json!({"connect": {"token": "bad"}})).await, 3500);
    let mut late = Client::open(&engine);
    assert_eq!(late.code(json!({"connect": {"token": "expired"}})).await, 109);
    late.send(&json!({"id": 9, "subscribe": {"channel": "open:a"}})).await;
    late.drain().await;
    assert_eq!((late.ended, late.pushes.len()), (None, 0), "after the error nothing is answered");
}

#[tokio::test]
async fn anonymous_sessions_need_the_option() {
    let options = SessionOptions { allow_anonymous: true, ..SessionOptions::default() };
    let engine = engine_with(options).await;
    let mut client = Client::open(&engine);
    assert!(client.ask(json!({"connect": {}})).await.connect.unwrap().subs.is_empty());
    assert_eq!(client.code(json!({"subscribe": {"channel": "open:a"}})).await, 103);
}

#[tokio::test]
async fn who_breaks_the_protocol_is_disconnected() {
    let engine = engine().await;
    for frame in [
        "",
        "nonsense",
        r#"{"id":"2","presence":{}}"#,
        "null",
        "[]",
        "true",
        "1",
        "\"x\"",
        r#"{"id":2}"#,
        r#"{"id":2,"ping":{}}"#,
        r#"{"id":2,"connect":{"token":"42"}}"#,
        r#"{"publish":{"channel":"open:a","data":1}}"#,
        r#"{"id":2,"subscribe":{}}"#,
        r#"{"id":2,"subscribe":{"channel":"open:a","delta":"unknown"}}"#,
        "{}",
    ] {
        let mut client = Client::connected(&engine, "42").await;
        client.session.receive(Bytes::from(frame)).await;
        assert_eq!(client.end().await, Disconnect::BadRequest, "{frame}");
    }
    let mut early = Client::open(&engine);
    early.send(&json!({"id": 1, "subscribe": {"channel": "open:a"}})).await;
    assert_eq!(early.end().await, Disconnect::BadRequest);
    let mut sender = Client::connected(&engine, "42").await;
    sender.send(&json!({"send": {"data": 1}})).await;
    assert_eq!(sender.end().await, Disconnect::NotAvailable);
}

#[tokio::test]
async fn subscribing_is_checked() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "42").await;
    for (channel, code) in [
        ("closed:a", 103),
        ("nowhere:a", 102),
        ("ñ", 107),
        (&*"x".repeat(256), 107),
        ("$open:secret", 103),
        ("open:a", 0),
        ("open:a", 105),
    ] {
        assert_eq!(client.code(json!({"subscribe": {"channel": channel}})).await, code, "{channel}");
    }
    let granted = json!({"subscribe": {"channel": "$open:secret", "token": "42 $open:secret"}});
    assert_eq!(client.code(granted).await, 0);
    let stolen = json!({"subscribe": {"channel": "$open:other", "token": "43 $open:other"}});
    assert_eq!(client.code(stolen).await, 3500);
}

#[tokio::test]
async fn subscriptions_are_limited() {
    let options = SessionOptions { channel_limit: 2, ..SessionOptions::default() };
    let engine = engine_with(options).await;
    let mut client = Client::connected(&engine, "42").await;
    assert_eq!(client.code(json!({"subscribe": {"channel": "open:1"}})).await, 0);
    assert_eq!(client.code(json!({"subscribe": {"channel": "open:2"}})).await, 106);
}

#[tokio::test]
async fn publishes_to_everybody_and_itself() {
    let engine = engine().await;
    let mut one = Client::connected(&engine, "42").await;
    let mut other = Client::connected(&engine, "43").await;
    one.subscribe("plain:a").await;
    other.subscribe("plain:a").await;
    assert_eq!(one.code(json!({"publish": {"channel": "plain:a", "data": {"n": 1}}})).await, 0);
    for client in [&mut one, &mut other] {
        let publication = client.push().await.publication.unwrap();
        assert_eq!((publication.data.as_ref(), publication.offset), (br#"{"n":1}"#.as_ref(), 0));
        assert_eq!(publication.info.unwrap().user, "42");
    }
    assert_eq!(one.code(json!({"publish": {"channel": "plain:a"}})).await, 107);
    assert_eq!(one.code(json!({"publish": {"channel": "closed:a", "data": 1}})).await, 103);
    assert_eq!(one.code(json!({"unsubscribe": {"channel": "plain:a"}})).await, 0);
    assert_eq!(one.code(json!({"unsubscribe": {"channel": "plain:a"}})).await, 0);
    publish(&engine, "plain:a", 2).await;
    assert!(other.push().await.publication.is_some());
    one.drain().await;
    assert!(one.pushes.is_empty());
}

#[tokio::test]
async fn joins_and_leaves_are_pushed_to_those_who_ask() {
    let engine = engine().await;
    let mut one = Client::connected(&engine, "42").await;
    let command = json!({"subscribe": {"channel": "plain:a", "join_leave": true}});
    assert_eq!(one.code(command).await, 0);
    assert_eq!(one.push().await.join.unwrap().info.unwrap().user, "42", "its own join comes too");
    let mut other = Client::connected(&engine, "43").await;
    other.subscribe("plain:a").await;
    assert_eq!(one.push().await.join.unwrap().info.unwrap().user, "43");
    other.session.close().await;
    assert_eq!(one.push().await.leave.unwrap().info.unwrap().user, "43");
}

#[tokio::test]
async fn presence_shows_who_is_there() {
    let engine = engine().await;
    let mut one = Client::connected(&engine, "42").await;
    let mut again = Client::connected(&engine, "42").await;
    let mut other = Client::connected(&engine, "43").await;
    for client in [&mut one, &mut again, &mut other] {
        client.subscribe("open:a").await;
    }
    let reply = one.ask(json!({"presence": {"channel": "open:a"}})).await;
    assert_eq!(reply.presence.unwrap().presence.len(), 3);
    let reply = one.ask(json!({"presence_stats": {"channel": "open:a"}})).await;
    let stats = reply.presence_stats.unwrap();
    assert_eq!((stats.num_clients, stats.num_users), (3, 2));
    other.session.close().await;
    let reply = one.ask(json!({"presence_stats": {"channel": "open:a"}})).await;
    assert_eq!(reply.presence_stats.unwrap().num_users, 1);
    assert_eq!(one.code(json!({"presence": {"channel": "closed:a"}})).await, 108);
}

#[tokio::test]
async fn history_is_read_in_pages() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "42").await;
    for n in 1..=5 {
        publish(&engine, "open:a", n).await;
    }
    let mut read = async |request: serde_json::Value| {
        let reply = client.ask(json!({"history": request})).await;
        let history = reply.history.unwrap();
        assert_eq!(history.offset, 5);
        (history.publications.iter().map(|kept| kept.offset).collect::<Vec<_>>(), history.epoch)
    };
    let (none, epoch) = read(json!({"channel": "open:a"})).await;
    assert!(none.is_empty() && !epoch.is_empty());
    assert_eq!(read(json!({"channel": "open:a", "limit": -1})).await.0, [1, 2, 3, 4, 5]);
    let since = json!({"offset": 2, "epoch": epoch});
    assert_eq!(read(json!({"channel": "open:a", "limit": 2, "since": since})).await.0, [3, 4]);
    assert_eq!(read(json!({"channel": "open:a", "limit": 2, "reverse": true})).await.0, [5, 4]);
    assert_eq!(read(json!({"channel": "open:a", "limit": 9, "reverse": true, "since": since})).await.0, [1]);
    let lost =
        json!({"history": {"channel": "open:a", "limit": 1, "since": {"offset": 2, "epoch": "other"}}});
    assert_eq!(client.code(lost).await, 112);
    assert_eq!(client.code(json!({"history": {"channel": "plain:a"}})).await, 108);
}

#[tokio::test]
async fn recovered_never_lies() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "42").await;
    let fresh = client.recover("short:a", &StreamPosition::default()).await;
    assert!(fresh.recovered, "nothing was missed of a stream that is new");
    let epoch = fresh.epoch;
    for n in 1..=5 {
        publish(&engine, "short:a", n).await;
    }
    let at = |offset, epoch: &str| StreamPosition { offset, epoch: epoch.to_owned() };
    for (from, recovered, publications) in [
        (at(5, &epoch), true, 0),
        (at(3, &epoch), true, 2),
        (at(2, &epoch), false, 0),
        (at(0, ""), false, 0),
        (at(5, "other"), false, 0),
        (at(9, &epoch), false, 0),
    ] {
        let mut client = Client::connected(&engine, "42").await;
        let result = client.recover("short:a", &from).await;
        assert!(result.was_recovering);
        assert_eq!((result.recovered, result.publications.len()), (recovered, publications), "{from:?}");
        let expected = if recovered { from.offset } else { 5 };
        assert_eq!((result.offset, result.epoch), (expected, epoch.clone()), "{from:?}");
    }
}

#[tokio::test]
async fn rpcs_run_side_by_side() {
    let options = SessionOptions {
        rpc_concurrency: 2,
        rpc_timeout: Duration::from_millis(300),
        ..SessionOptions::default()
    };
    let engine = engine_with(options).await;
    let mut client = Client::connected(&engine, "42").await;
    client.send(&json!({"id": 100, "rpc": {"method": "hang"}})).await;
    let reply = client.ask(json!({"rpc": {"method": "echo", "data": {"a": [1, 2]}}})).await;
    assert_eq!(reply.rpc.unwrap().data, r#"{"a":[1,2]}"#);
    let reply = client.ask(json!({"rpc": {"method": "who"}})).await;
    assert_eq!(reply.rpc.unwrap().data, r#""42""#);
    client.send(&json!({"id": 101, "rpc": {"method": "hang"}})).await;
    assert_eq!(client.code(json!({"rpc": {"method": "echo"}})).await, 111, "both places are taken");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(client.code(json!({"rpc": {"method": "panic"}})).await, 100);
    assert_eq!(client.code(json!({"rpc": {"method": "hang"}})).await, 503, "it may have been done");
    assert_eq!(client.code(json!({"rpc": {"method": "unknown"}})).await, 104);
}

#[tokio::test]
async fn refresh_is_for_the_same_user() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "42").await;
    assert_eq!(client.code(json!({"refresh": {"token": "42"}})).await, 0);
    assert_eq!(client.code(json!({"refresh": {"token": "43"}})).await, 3500);
    let mut client = Client::connected(&engine, "42").await;
    assert_eq!(client.code(json!({"refresh": {"token": "expired"}})).await, 3005);
}

#[tokio::test]
async fn a_slow_client_harms_only_itself() {
    let options = SessionOptions { outbox_bytes: 64 * 1024, ..SessionOptions::default() };
    let engine = engine_with(options).await;
    let mut slow = Client::connected(&engine, "42").await;
    let mut quick = Client::connected(&engine, "43").await;
    slow.subscribe("open:a").await;
    quick.subscribe("open:a").await;
    let payload = "x".repeat(10 * 1024);
    for _ in 0..10 {
        publish(&engine, "open:a", payload.clone()).await;
        while quick.push().await.publication.is_none() {}
    }
    assert!(slow.session.handle().outbox().waiting_bytes() <= 64 * 1024);
    assert_eq!(slow.end().await, Disconnect::Slow);
    assert_eq!(quick.ended, None);
}

#[tokio::test]
async fn sessions_end_when_told_and_leave_their_channels() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "42").await;
    client.subscribe("open:a").await;
    assert_eq!(engine.sessions().disconnect_user("42", &Disconnect::ForceDisconnect.into(), |_| true), 1);
    assert_eq!(client.end().await, Disconnect::ForceDisconnect);
    client.session.close().await;
    assert!(engine.sessions().is_empty());
    for _ in 0..100 {
        if engine.channels().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("channels without subscribers stay");
}
