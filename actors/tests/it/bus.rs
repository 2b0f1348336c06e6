//! What every bus promises, shown on the one within the process and on a real NATS.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mundotango_actors::bus::{Bus, BusError, LocalHub, NatsBus, NatsOptions};
use mundotango_ops::ServerUrls;
use mundotango_protocol::new_id;

/// Long enough for any answer, short enough to wait for one that will not come.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Where the tests' NATS is.
pub fn nats_url() -> String {
    std::env::var("MUNDOTANGO_TEST_NATS").expect(
        "MUNDOTANGO_TEST_NATS is not set: run the tests by `cargo xtask test`, which starts the servers",
    )
}

/// A node's connection to the tests' NATS.
pub async fn nats(prefix: &str) -> Arc<dyn Bus> {
    let options = NatsOptions {
        urls: ServerUrls::new(nats_url()),
        prefix: prefix.to_owned(),
        ..NatsOptions::default()
    };
    let bus = NatsBus::open(&options, "test").await.unwrap();
    let mut connected = bus.connected();
    tokio::time::timeout(Duration::from_secs(5), connected.wait_for(|connected| *connected))
        .await
        .expect("the tests' NATS is not there")
        .unwrap();
    Arc::new(bus)
}

#[tokio::test]
async fn the_local_bus_conforms() {
    let hub = Arc::new(LocalHub::default());
    conforms(Arc::new(hub.connect()), Arc::new(hub.connect()), Arc::new(hub.connect())).await;
}

#[tokio::test]
async fn nats_conforms() {
    let prefix = new_id();
    conforms(nats(&prefix).await, nats(&prefix).await, nats(&prefix).await).await;
}

async fn conforms(a: Arc<dyn Bus>, b: Arc<dyn Bus>, c: Arc<dyn Bus>) {
    all_others_hear_in_order(&*a, &*b, &*c).await;
    a_question_is_answered(&*a, Arc::clone(&b)).await;
    that_nobody_answers_is_known_at_once(&*a).await;
    silence_is_a_time_out(&*a, &*b).await;
    a_survey_hears_all(&*a, &b, &c).await;
    who_stops_listening_hears_nothing(&*a, &*b).await;
}

async fn all_others_hear_in_order(a: &dyn Bus, b: &dyn Bus, c: &dyn Bus) {
    let mut own = a.listen("x.order").await.unwrap();
    let mut at_b = b.listen("x.order").await.unwrap();
    let mut at_c = c.listen("x.order").await.unwrap();
    let mut elsewhere = b.listen("x.other").await.unwrap();
    for number in 0..1000_u32 {
        a.publish("x.order", Bytes::from(number.to_string())).await.unwrap();
    }
    for listening in [&mut at_b, &mut at_c] {
        for number in 0..1000_u32 {
            let message = tokio::time::timeout(TIMEOUT, listening.next()).await.unwrap().unwrap();
            assert_eq!(message.payload, number.to_string());
        }
    }
    assert!(own.next_now().is_none() && elsewhere.next_now().is_none());
}

async fn a_question_is_answered(a: &dyn Bus, b: Arc<dyn Bus>) {
    let mut questions = b.listen("x.question").await.unwrap();
    let answering = tokio::spawn(async move {
        let question = questions.next().await.unwrap();
        let answer = Bytes::from([b"you said ", &question.payload[..]].concat());
        b.reply(&question, answer).await.unwrap();
    });
    let answer = a.request("x.question", Bytes::from_static(b"hola"), TIMEOUT).await.unwrap();
    assert_eq!(answer, "you said hola");
    answering.await.unwrap();
}

async fn that_nobody_answers_is_known_at_once(a: &dyn Bus) {
    let start = Instant::now();
    let answer = a.request("x.nobody", Bytes::new(), Duration::from_mins(1)).await;
    assert_eq!(answer, Err(BusError::NoResponders));
    assert!(start.elapsed() < Duration::from_secs(5));
}

async fn silence_is_a_time_out(a: &dyn Bus, b: &dyn Bus) {
    let _silent = b.listen("x.silent").await.unwrap();
    let answer = a.request("x.silent", Bytes::new(), Duration::from_millis(100)).await;
    assert_eq!(answer, Err(BusError::TimedOut));
}

async fn a_survey_hears_all(a: &dyn Bus, b: &Arc<dyn Bus>, c: &Arc<dyn Bus>) {
    let mut answering = Vec::new();
    for (bus, name) in [(b, "b"), (c, "c")] {
        let mut questions = bus.listen("x.survey").await.unwrap();
        let bus = Arc::clone(bus);
        answering.push(tokio::spawn(async move {
            let question = questions.next().await.unwrap();
            bus.reply(&question, Bytes::from_static(name.as_bytes())).await.unwrap();
            // Held until all have answered.
            question
        }));
    }
    let start = Instant::now();
    let mut missing = 2;
    let mut both = |_: &Bytes| {
        missing -= 1;
        missing == 0
    };
    let mut answers = a.survey("x.survey", Bytes::new(), &mut both, Duration::from_mins(1)).await.unwrap();
    answers.sort_unstable();
    assert_eq!(answers, ["b", "c"]);
    assert!(start.elapsed() < Duration::from_secs(5), "it ends when all have answered");
    for one in answering {
        one.await.unwrap();
    }
    let nobody =
        a.survey("x.nobody", Bytes::new(), &mut |_: &Bytes| false, Duration::from_millis(100)).await.unwrap();
    assert!(nobody.is_empty());
}

async fn who_stops_listening_hears_nothing(a: &dyn Bus, b: &dyn Bus) {
    drop(b.listen("x.gone").await.unwrap());
    // The word that nobody listens any more is on its way.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(a.request("x.gone", Bytes::new(), TIMEOUT).await, Err(BusError::NoResponders));
}

#[tokio::test]
async fn a_message_too_large_is_refused_by_its_size() {
    let bus = nats(&new_id()).await;
    let refused = bus.publish("x.large", Bytes::from(vec![0; 9 << 20])).await;
    assert!(matches!(refused, Err(BusError::TooLarge { bytes, most }) if bytes == 9 << 20 && most < bytes));
}

#[tokio::test]
async fn a_nats_that_is_not_there_fails_fast() {
    let options = NatsOptions { urls: ServerUrls::new("nats://127.0.0.1:1"), ..NatsOptions::default() };
    let bus = NatsBus::open(&options, "test").await.unwrap();
    assert!(!*bus.connected().borrow());
    let start = Instant::now();
    for _ in 0..100 {
        assert!(matches!(bus.publish("x", Bytes::new()).await, Err(BusError::Unavailable(_))));
        assert!(matches!(bus.request("x", Bytes::new(), TIMEOUT).await, Err(BusError::Unavailable(_))));
    }
    assert!(start.elapsed() < TIMEOUT);
}

#[tokio::test]
async fn the_trace_goes_along() {
    let prefix = new_id();
    let (a, b) = (nats(&prefix).await, nats(&prefix).await);
    let mut heard = b.listen("x.trace").await.unwrap();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let publish = a.publish("x.trace", Bytes::new());
    mundotango_ops::traces::within(traceparent.parse().ok(), publish).await.unwrap();
    let message = tokio::time::timeout(TIMEOUT, heard.next()).await.unwrap().unwrap();
    assert_eq!(message.trace.map(|trace| trace.traceparent()).as_deref(), Some(traceparent));
}
