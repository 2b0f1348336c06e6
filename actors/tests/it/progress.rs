//! What does not wait: the replies and pings of a session while something else of it is slow, and its end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_actors::{ChannelGate, DirectSocket, DirectWrite, SessionMessage, SessionOptions, Transport};
use mundotango_protocol::{ChannelName, Disconnect, StreamPosition};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use crate::client::{Client, engine, engine_with, publish};

/// Never says who may subscribe.
struct HangingGate;

#[async_trait]
impl ChannelGate for HangingGate {
    async fn may_subscribe(&self, _user: &str, _channel: &ChannelName) -> Result<bool, String> {
        std::future::pending().await
    }
}

/// Takes everything, and shows it.
#[derive(Default)]
struct OpenSocket(Mutex<Vec<String>>);

impl DirectSocket for OpenSocket {
    fn try_write(&self, messages: &[Bytes]) -> DirectWrite {
        let texts = messages.iter().map(|message| String::from_utf8(message.to_vec()).unwrap());
        self.0.lock().extend(texts);
        DirectWrite::Written
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscription_holds_back_no_other() {
    let engine = engine().await;
    engine.set_gate("closed", Arc::new(HangingGate));
    let mut client = Client::connected(&engine, "42").await;
    client.subscribe("open:before").await;
    let start = Instant::now();
    client
        .send_batch(&[
            json!({"id": 100, "subscribe": {"channel": "closed:a"}}),
            json!({"id": 101, "subscribe": {"channel": "open:a"}}),
            json!({"id": 102, "publish": {"channel": "open:a", "data": 1}}),
        ])
        .await;
    assert_eq!(client.code(json!({"subscribe": {"channel": "closed:a"}})).await, 105, "it is under way");
    publish(&engine, "open:before", 1).await;
    assert_eq!(client.push().await.channel, "open:a");
    assert_eq!(client.push().await.channel, "open:before");
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    // What is asked of the slow channel waits for it, and sees that the session is not subscribed.
    assert_eq!(client.code(json!({"unsubscribe": {"channel": "closed:a"}})).await, 0);
    assert_eq!(client.code(json!({"presence": {"channel": "closed:a"}})).await, 108);
}

#[tokio::test(start_paused = true)]
async fn a_reply_leaves_before_the_next_command_is_done() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "42").await;
    let socket = Arc::new(OpenSocket::default());
    client.session.handle().outbox().attach(Arc::<OpenSocket>::clone(&socket));
    let frame = [
        json!({"id": 7, "publish": {"channel": "open:a", "data": 1}}),
        json!({"id": 8, "refresh": {"token": "slow"}}),
    ];
    let frame = frame.map(|command| command.to_string()).join("\n");
    let receiving = client.session.receive(Bytes::from(frame));
    assert!(
        tokio::time::timeout(Duration::from_secs(1), receiving).await.is_err(),
        "the token is never read"
    );
    assert_eq!(*socket.0.lock(), [r#"{"id":7,"publish":{}}"#]);
}

#[tokio::test(start_paused = true)]
async fn the_clock_ends_a_session_in_the_middle_of_a_command() {
    let engine = engine().await;
    let mut client = Client::open(&engine);
    let start = Instant::now();
    assert_eq!(client.code(json!({"connect": {"token": "slow"}})).await, 3502);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_never_empty_keeps_no_session_from_its_pings_and_its_end() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "42").await;
    client.subscribe("plain:a").await;
    let start = Instant::now();
    while client.ended.is_none() {
        publish(&engine, "plain:a", 1).await;
        tokio::time::advance(Duration::from_millis(100)).await;
        client.pump().await;
        assert!(start.elapsed() < Duration::from_mins(1), "never pinged");
    }
    assert_eq!(client.ended.unwrap(), Disconnect::NoPong);
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_takes_nothing_hears_its_end() {
    let engine = engine().await;
    for told in [Some(Disconnect::ForceDisconnect), None] {
        let mut client = Client::connected(&engine, "42").await;
        client.session.handle().tell(SessionMessage::Message(Bytes::from_static(b"1")));
        // The message is handed out, and never said to be written.
        while !client.is_writing().await {}
        client.session.handle().tell(SessionMessage::Message(Bytes::from_static(b"2")));
        if let Some(reason) = told {
            client.session.handle().tell(SessionMessage::Disconnect(reason.into()));
            client.session.handle().tell(SessionMessage::Disconnect(Disconnect::Shutdown.into()));
        }
        let start = Instant::now();
        let reason = client.end().await;
        let expected = told.unwrap_or(Disconnect::Slow);
        assert_eq!(
            (reason.code(), start.elapsed().as_secs()),
            (expected.code(), if told.is_some() { 1 } else { 8 })
        );
    }
}

#[tokio::test]
async fn pongs_are_free_and_a_second_one_does_no_harm() {
    let options = SessionOptions {
        ping_interval: Duration::from_millis(50),
        commands_per_second: 1,
        ..SessionOptions::default()
    };
    let engine = engine_with(options).await;
    let mut client = Client::connected(&engine, "42").await;
    let mut answered = 0;
    while answered < 10 {
        client.pump().await;
        if client.take_pings() > 0 {
            client.session.ponged();
            client.send(&json!({})).await;
            client.send(&json!({})).await;
            answered += 1;
        }
    }
    assert_eq!((client.ended, client.pushes.len()), (None, 0));
}

#[tokio::test]
async fn a_recovery_that_does_not_fit_is_refused_and_ends_nobody() {
    let options = SessionOptions { outbox_bytes: 64 * 1024, ..SessionOptions::default() };
    let engine = engine_with(options).await;
    let mut first = Client::connected(&engine, "42").await;
    let fresh = first.subscribe("open:a").await;
    let from = StreamPosition { offset: 0, epoch: fresh.epoch };
    first.session.close().await;
    for _ in 0..10 {
        publish(&engine, "open:a", "x".repeat(5000)).await;
    }
    let mut client = Client::connected(&engine, "42").await;
    let result = client.recover("open:a", &from).await;
    assert_eq!((result.recovered, result.publications.len(), result.offset), (false, 0, 10));
    let late = StreamPosition { offset: 8, ..from };
    client.ask(json!({"unsubscribe": {"channel": "open:a"}})).await;
    assert_eq!(client.recover("open:a", &late).await.publications.len(), 2);
    for _ in 0..10 {
        publish(&engine, "open:b", "x".repeat(10_000)).await;
    }
    let all = json!({"history": {"channel": "open:b", "limit": 100}});
    assert_eq!(client.code(all).await, 106, "the client may ask for less");
    assert_eq!(client.code(json!({"history": {"channel": "open:b", "limit": 2}})).await, 0);
}

#[tokio::test]
async fn a_session_stands_under_its_newest_token() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, r#"{"user": "42", "jti": "first"}"#).await;
    let token = |client: &Client| client.session.handle().who().unwrap().token_id.clone().unwrap();
    assert_eq!(token(&client), "first");
    let refresh = json!({"refresh": {"token": r#"{"user": "42", "jti": "second"}"#}});
    assert_eq!(client.code(refresh).await, 0);
    assert_eq!(token(&client), "second");
}

#[tokio::test]
async fn kinds_of_subscriptions_that_are_not_there_are_refused() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "42").await;
    for kind in 1..=4 {
        let subscribe = json!({"subscribe": {"channel": "open:a", "type": kind}});
        assert_eq!(client.code(subscribe).await, 103, "type {kind}");
    }
    assert_eq!(client.code(json!({"subscribe": {"channel": "open:a", "type": 0}})).await, 0);
}

#[tokio::test]
async fn who_sends_too_much_is_read_later_or_refused() {
    let options = SessionOptions { commands_per_second: 10, ..SessionOptions::default() };
    let engine = engine_with(options).await;
    let publishes = |count: usize| {
        (0..count)
            .map(|n| json!({"id": n + 100, "publish": {"channel": "open:a", "data": n}}))
            .collect::<Vec<_>>()
    };
    let mut client = Client::connected(&engine, "42").await;
    client.send_batch(&publishes(30)).await;
    assert!(client.session.is_paused());
    let mut emulated = Client::open_by(&engine, Transport::Sse);
    emulated.ask(json!({"connect": {"token": "42"}})).await;
    emulated.send_batch(&publishes(30)).await;
    assert!(!emulated.session.is_paused());
    for _ in 0..5 {
        emulated.send_batch(&publishes(30)).await;
    }
    assert_eq!(emulated.end().await, Disconnect::TooManyRequests);
}

#[tokio::test]
async fn a_listener_that_asks_for_what_is_no_name_is_not_called_back() {
    let engine = engine().await;
    let mut client = Client::open_by(&engine, Transport::UniSse);
    client.send(&json!({"id": 1, "connect": {"token": "42", "subs": {"ñ": {}}}})).await;
    assert_eq!(client.end().await, Disconnect::BadRequest);
}

#[tokio::test]
async fn every_session_answers_a_ping_by_rpc() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "42").await;
    assert_eq!(client.code(json!({"rpc": {"method": "ping"}})).await, 0);
}
