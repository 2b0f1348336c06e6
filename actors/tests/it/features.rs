//! The protocol's features beyond the plain ones: differences, filters, recovery's modes, and what the server does.

use bytes::Bytes;
use mundotango_actors::{Engine, Publish, ServerSubscription, SessionOptions, Transport, Whose};
use mundotango_protocol::{ChannelName, Disconnect, DisconnectReason, Publication, delta};
use serde_json::{Value, json};

use crate::client::{Client, engine, engine_with, publish};

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn whose(user: &str) -> Whose {
    Whose { user: user.to_owned(), ..Whose::default() }
}

/// A payload of which most stays the same from one number to the next.
fn long(number: u32) -> Value {
    json!({"text": "la cumparsita ".repeat(10), "number": number})
}

/// Applies a publication of a JSON subscription that takes differences.
fn apply(base: &mut String, publication: &Publication) -> Value {
    let text: String = serde_json::from_slice(&publication.data).unwrap();
    *base = if publication.delta {
        String::from_utf8(delta::apply(base.as_bytes(), text.as_bytes(), 1 << 20).unwrap()).unwrap()
    } else {
        text
    };
    serde_json::from_str(base).unwrap()
}

#[tokio::test]
async fn publications_come_as_differences_to_those_who_ask() {
    let engine = engine().await;
    let mut plain = Client::connected(&engine, "1").await;
    plain.subscribe("delta:a").await;
    let mut client = Client::connected(&engine, "2").await;
    let ask = json!({"subscribe": {"channel": "delta:a", "delta": "fossil"}});
    let subscribed = client.ask(ask.clone()).await.subscribe.unwrap();
    assert!(subscribed.delta && subscribed.positioned);
    let mut base = String::new();
    for number in 1..=3 {
        publish(&engine, "delta:a", long(number)).await;
        let publication = client.push().await.publication.unwrap();
        assert_eq!(publication.delta, number > 1, "the first is whole");
        assert_eq!(apply(&mut base, &publication), long(number));
        let publication = plain.push().await.publication.unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&publication.data).unwrap(), long(number));
    }
    // Those that wait together are written together.
    let many = (4..20).map(|number| publish(&engine, "delta:a", long(number)));
    futures_util::future::join_all(many).await;
    for number in 4..20 {
        let publication = client.push().await.publication.unwrap();
        assert_eq!(apply(&mut base, &publication), long(number));
    }
    // What is as long as the payload itself comes whole.
    publish(&engine, "delta:a", 1).await;
    let publication = client.push().await.publication.unwrap();
    assert!(!publication.delta);
    assert_eq!(apply(&mut base, &publication), 1);

    let mut back = Client::connected(&engine, "3").await;
    let epoch = subscribed.epoch;
    let recover =
        json!({"channel": "delta:a", "delta": "fossil", "recover": true, "offset": 10, "epoch": epoch});
    let result = back.ask(json!({"subscribe": recover})).await.subscribe.unwrap();
    assert!(result.recovered && result.publications.len() == 10);
    let mut base = String::new();
    for (number, publication) in (11..20).zip(&result.publications) {
        assert_eq!(publication.delta, number > 11);
        assert_eq!(apply(&mut base, publication), long(number));
    }
    let refused = json!({"subscribe": {"channel": "open:a", "delta": "fossil"}});
    assert!(!plain.ask(refused).await.subscribe.unwrap().delta, "not allowed there, and no error");
}

#[tokio::test]
async fn only_what_fits_a_filter_comes() {
    let engine = engine().await;
    let tagged = async |city: &str| {
        let tags = [("city".to_owned(), city.to_owned())].into();
        let publication =
            Publication { data: Bytes::from(json!(city).to_string()), tags, ..Publication::default() };
        engine.publish(&channel("tagged:a"), Publish::new(publication)).await.unwrap()
    };
    let filter = json!({"key": "city", "cmp": "eq", "val": "Lima"});
    let mut client = Client::connected(&engine, "1").await;
    let ask = json!({"subscribe": {"channel": "tagged:a", "tf": filter}});
    let start = client.ask(ask).await.subscribe.unwrap();
    for city in ["Lima", "Rosario", "Lima"] {
        tagged(city).await;
    }
    for offset in [1, 3] {
        let publication = client.push().await.publication.unwrap();
        assert_eq!((publication.data.as_ref(), publication.offset), (&b"\"Lima\""[..], offset));
    }
    let mut back = Client::connected(&engine, "2").await;
    let ask = json!({"channel": "tagged:a", "tf": filter, "recover": true, "epoch": start.epoch});
    let result = back.ask(json!({"subscribe": ask})).await.subscribe.unwrap();
    assert_eq!((result.recovered, result.publications.len()), (true, 2));

    let bad = json!({"key": "city", "cmp": "like", "val": "Lima"});
    assert_eq!(client.code(json!({"subscribe": {"channel": "tagged:b", "tf": bad}})).await, 107);
    assert_eq!(client.code(json!({"subscribe": {"channel": "open:a", "tf": filter}})).await, 107);
}

/// A client that was told its old position again would ask for the same publications at each reconnect.
#[tokio::test]
async fn a_recovery_whose_filter_leaves_nothing_ends_at_the_top() {
    let engine = engine().await;
    let start = publish(&engine, "tagged:a", 1).await;
    for number in 2..=4 {
        publish(&engine, "tagged:a", number).await;
    }
    let filter = json!({"key": "city", "cmp": "eq", "val": "Lima"});
    let ask = json!({"channel": "tagged:a", "tf": filter, "recover": true, "offset": start.offset, "epoch": start.epoch});
    let mut client = Client::connected(&engine, "1").await;
    let result = client.ask(json!({"subscribe": ask})).await.subscribe.unwrap();
    assert_eq!((result.recovered, result.publications.len(), result.offset), (true, 0, 4));
}

/// Without the reply to its connect a client knows of no subscription, so nothing of one may reach it.
#[tokio::test(start_paused = true)]
async fn a_refused_connect_writes_no_publication() {
    let engine = engine().await;
    let token = json!({"user": "1", "subs": {"open:a": {}, "nowhere:a": {}}}).to_string();
    let mut client = Client::open(&engine);
    assert_eq!(client.code(json!({"connect": {"token": token}})).await, 102);
    publish(&engine, "open:a", 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    client.drain().await;
    assert!(client.pushes.is_empty(), "{:?}", client.pushes);
}

#[tokio::test]
async fn a_cache_gives_the_latest_alone() {
    let engine = engine().await;
    for number in 1..=5 {
        publish(&engine, "cache:a", number).await;
    }
    let mut client = Client::connected(&engine, "1").await;
    let recover = json!({"subscribe": {"channel": "cache:a", "recover": true}});
    let result = client.ask(recover).await.subscribe.unwrap();
    assert_eq!((result.recovered, result.publications.len(), result.publications[0].offset), (true, 1, 5));
    let mut back = Client::connected(&engine, "2").await;
    let recover = json!({"channel": "cache:a", "recover": true, "offset": 5, "epoch": result.epoch});
    let result = back.ask(json!({"subscribe": recover})).await.subscribe.unwrap();
    assert_eq!((result.recovered, result.publications.len()), (true, 0), "it has the latest");
}

#[tokio::test]
async fn who_wants_no_unrecovered_subscription_gets_an_error() {
    let engine = engine().await;
    for number in 0..5 {
        publish(&engine, "short:a", number).await;
    }
    let mut client = Client::connected(&engine, "1").await;
    let recover = |flag: u8| json!({"subscribe": {"channel": "short:a", "recover": true, "flag": flag}});
    assert_eq!(client.code(recover(2)).await, 112);
    let result = client.ask(recover(0)).await.subscribe.unwrap();
    assert_eq!((result.was_recovering, result.recovered), (true, false));
}

#[tokio::test]
async fn publishers_are_left_out_where_it_is_wanted() {
    let engine = engine().await;
    let mut publisher = Client::connected(&engine, "1").await;
    let mut other = Client::connected(&engine, "2").await;
    for client in [&mut publisher, &mut other] {
        client.subscribe("quiet:a").await;
        client.subscribe("open:a").await;
    }
    publisher.ask(json!({"publish": {"channel": "quiet:a", "data": 1}})).await;
    assert_eq!(other.push().await.publication.unwrap().data, "1");
    let exclude = Some(publisher.session.handle().client());
    let publication = Publication { data: Bytes::from_static(b"2"), ..Publication::default() };
    let publish = Publish { exclude, ..Publish::new(publication) };
    engine.publish(&channel("open:a"), publish).await.unwrap();
    assert_eq!(other.push().await.publication.unwrap().data, "2");
    publisher.drain().await;
    assert!(publisher.pushes.is_empty());
}

#[tokio::test]
async fn names_have_to_match_their_namespace() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "1").await;
    client.subscribe("numbers:12").await;
    assert_eq!(client.code(json!({"subscribe": {"channel": "numbers:x"}})).await, 107);
}

#[tokio::test]
async fn a_token_says_what_the_server_subscribes_to_and_how() {
    let engine = engine().await;
    let subs = json!({
        "plain:a": {"data": {"hello": true}},
        "open:b": {"override": {"force_recovery": {"value": false}, "presence": {"value": false}}},
    });
    let token = json!({"user": "1", "subs": subs}).to_string();
    let mut client = Client::open(&engine);
    let connected = client.ask(json!({"connect": {"token": token}})).await.connect.unwrap();
    assert_eq!(connected.subs["plain:a"].data, r#"{"hello":true}"#);
    assert!(!connected.subs["open:b"].recoverable && connected.subs["#1"].recoverable);
    assert!(engine.presence(&channel("open:b")).await.unwrap().is_empty());
    assert_eq!(engine.presence(&channel("plain:a")).await.unwrap().len(), 1);

    publish(&engine, "#1", 1).await;
    let mut back = Client::open(&engine);
    let position = json!({"recover": true, "offset": 0, "epoch": connected.subs["#1"].epoch});
    let connect = json!({"connect": {"token": token, "subs": {"#1": position}}});
    let connected = back.ask(connect).await.connect.unwrap();
    assert!(connected.subs["#1"].recovered);
    assert_eq!(connected.subs["#1"].publications[0].data, "1");

    let unknown = json!({"user": "1", "subs": {"nowhere:a": {}}}).to_string();
    assert_eq!(Client::open(&engine).code(json!({"connect": {"token": unknown}})).await, 102);
}

#[tokio::test]
async fn the_server_subscribes_unsubscribes_and_refreshes() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "1").await;
    let mut other = Client::connected(&engine, "1").await;
    let position = publish(&engine, "open:a", 1).await;
    let start = mundotango_protocol::StreamPosition { offset: 0, ..position };
    let only = Whose { client: Some(client.session.handle().client().to_string()), ..whose("1") };
    let data = Bytes::from_static(b"\"why\"");
    let subscription = ServerSubscription { data, ..ServerSubscription::default() };
    engine.subscribe(&only, &channel("open:a"), subscription, Some(start)).await.unwrap().complete().unwrap();
    let push = client.push().await;
    let subscribe = push.subscribe.unwrap();
    assert_eq!((push.channel.as_str(), subscribe.data.as_ref()), ("open:a", &b"\"why\""[..]));
    assert!(subscribe.recoverable);
    assert_eq!(client.push().await.publication.unwrap().data, "1", "from where it was told to begin");
    publish(&engine, "open:a", 2).await;
    assert_eq!(client.push().await.publication.unwrap().data, "2");
    other.drain().await;
    assert!(other.pushes.is_empty());

    engine.unsubscribe(&whose("1"), &channel("open:a")).await.complete().unwrap();
    assert_eq!(client.push().await.unsubscribe.unwrap().code, 2000);
    publish(&engine, "open:a", 3).await;

    let soon = u64::try_from(jiff::Timestamp::now().as_second()).unwrap() + 100;
    engine.refresh(&whose("1"), Some(soon), None).await.complete().unwrap();
    let refresh = client.push().await.refresh.unwrap();
    assert!(refresh.expires && (98..=100).contains(&refresh.ttl));
    engine.message(&only, Bytes::from_static(b"7")).await.complete().unwrap();
    assert_eq!(client.push().await.message.unwrap().data, "7");

    let reason = DisconnectReason::custom(4001, "enough").unwrap();
    engine.disconnect(&whose("1"), &reason, &[other.session.handle().client()]).await.complete().unwrap();
    assert_eq!(client.end().await, reason);
    other.drain().await;
    assert_eq!(other.ended, None, "it was spared");
}

#[tokio::test]
async fn presence_and_leaves_tell_what_the_newest_tokens_say() {
    let engine = engine().await;
    let mut watcher = Client::connected(&engine, "2").await;
    watcher.ask(json!({"subscribe": {"channel": "open:a", "join_leave": true}})).await;
    let mut client = Client::connected(&engine, r#"{"user": "1", "info": "old"}"#).await;
    let ask = json!({"subscribe": {"channel": "open:a", "token": "1 open:a 1"}});
    assert_eq!(client.code(ask).await, 0);
    let id = client.session.handle().client().to_string();
    let shown = async || {
        let present = engine.presence(&channel("open:a")).await.unwrap();
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&present[&id].conn_info), text(&present[&id].chan_info))
    };
    let both = |conn: &str, chan: &str| (format!("\"{conn}\""), chan.to_owned());
    assert_eq!(shown().await, both("old", "1"));
    let refresh = json!({"sub_refresh": {"channel": "open:a", "token": "1 open:a 2"}});
    assert_eq!(client.code(refresh).await, 0);
    assert_eq!(shown().await, both("old", "2"));
    assert_eq!(client.code(json!({"refresh": {"token": r#"{"user": "1", "info": "new"}"#}})).await, 0);
    assert_eq!(shown().await, both("new", "2"));
    engine.refresh(&whose("1"), None, Some(Bytes::from_static(b"\"newest\""))).await.complete().unwrap();
    while client.push().await.refresh.is_none() {}
    assert_eq!(shown().await, both("newest", "2"));
    client.session.close().await;
    let left = loop {
        if let Some(leave) = watcher.push().await.leave {
            break leave.info.unwrap();
        }
    };
    assert_eq!((left.conn_info.as_ref(), left.chan_info.as_ref()), (&b"\"newest\""[..], &b"2"[..]));
}

#[tokio::test]
async fn too_many_commands_and_too_many_sessions_are_refused() {
    let options =
        SessionOptions { commands_per_second: 10, user_connection_limit: 2, ..SessionOptions::default() };
    let engine = engine_with(options).await;
    let mut client = Client::connected(&engine, "1").await;
    let mut refused = 0;
    for _ in 0..70 {
        match client.code(json!({"presence": {"channel": "open:a"}})).await {
            0 => {}
            code => {
                assert_eq!(code, 111);
                refused += 1;
            }
        }
    }
    assert!((1..=20).contains(&refused), "{refused}");
    while client.ended.is_none() {
        client.send(&json!({"id": 9, "presence": {"channel": "open:a"}})).await;
        client.drain().await;
    }
    assert_eq!(client.end().await, Disconnect::TooManyRequests);
    client.session.close().await;

    let _one = Client::connected(&engine, "1").await;
    let _two = Client::connected(&engine, "1").await;
    assert_eq!(Client::open(&engine).code(json!({"connect": {"token": "1"}})).await, 3504);
    Client::connected(&engine, "2").await;
}

#[tokio::test]
async fn everything_is_open_where_security_is_off() {
    let engine = engine_with(SessionOptions { insecure: true, ..SessionOptions::default() }).await;
    let mut client = Client::open(&engine);
    assert!(client.ask(json!({"connect": {}})).await.connect.is_some());
    client.subscribe("closed:a").await;
    client.subscribe("$closed:b").await;
    assert_eq!(client.code(json!({"publish": {"channel": "closed:a", "data": 1}})).await, 0);
    assert_eq!(client.code(json!({"subscribe": {"channel": "nowhere:a"}})).await, 102);
}

#[tokio::test]
async fn listeners_are_told_by_pushes_alone() {
    let engine = engine().await;
    let mut client = Client::open_by(&engine, Transport::UniSse);
    let wanted = json!({"open:a": {}, "closed:a": {}});
    client.send(&json!({"id": 1, "connect": {"token": "1", "subs": wanted}})).await;
    let connect = client.push().await.connect.unwrap();
    let subs: Vec<_> = connect.subs.keys().map(String::as_str).collect();
    assert_eq!(subs, ["#1", "open:a"], "what is not permitted is left out");
    assert!(!connect.pong && connect.ping > 0);
    for (token, code) in [("expired", 3005), ("bad", 3500)] {
        let mut client = Client::open_by(&engine, Transport::UniSse);
        client.send(&json!({"id": 1, "connect": {"token": token}})).await;
        assert_eq!(client.end().await.code(), code);
    }
}

async fn status(engine: &Engine) -> Option<bool> {
    let statuses = engine.user_statuses(&["1".to_owned()]).await.unwrap();
    statuses.get("1").map(|status| status.online_since.is_some())
}

#[tokio::test]
async fn it_is_known_when_a_user_was_here() {
    let engine = engine().await;
    assert_eq!(status(&engine).await, None);
    let (one, two) = (Client::connected(&engine, "1").await, Client::connected(&engine, "1").await);
    one.session.close().await;
    assert_eq!(status(&engine).await, Some(true), "the other session goes on");
    two.session.close().await;
    assert_eq!(status(&engine).await, Some(false));
}

#[tokio::test]
async fn answers_to_one_frame_come_together_and_any_offset_may_be_asked_for() {
    let engine = engine().await;
    let mut client = Client::open(&engine);
    let history =
        json!({"id": 103, "history": {"channel": "open:a", "limit": 1, "since": {"offset": u64::MAX}}});
    client
        .send_batch(&[
            json!({"id": 101, "connect": {"token": "1"}}),
            json!({"id": 102, "subscribe": {"channel": "open:a"}}),
            history,
        ])
        .await;
    let waiting = client.session.handle().outbox().len();
    assert_eq!(waiting, 3);
    let reply = client.ask(json!({"presence": {"channel": "open:a"}})).await;
    assert_eq!(reply.presence.unwrap().presence.len(), 1);
}
