//! What many clients ask at once is bounded for the whole node, and holds up nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use mundotango_actors::bus::LocalHub;
use mundotango_actors::{
    Authenticator, Caller, ChannelsOptions, Credentials, DirectSocket, DirectWrite, Engine, EngineParts,
    NodeError, NodeParts, RpcHandler, Session, SessionOptions, SubscriptionGrant, TokenRefusal, TopicHandler,
    Transport,
};
use mundotango_protocol::{Encoding, ErrorReply};
use mundotango_storage::hot::MemoryHotState;
use parking_lot::Mutex;

/// Messages on topics that one node works on at the same time.
const TOPIC_MESSAGES: usize = 64;
/// Calls that one node works on at the same time.
const CALLS: usize = 4096;
/// Calls that one session may have under way.
const CALLS_OF_A_SESSION: usize = 64;
/// How long something may take that has to come at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long something may take that needs other nodes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Anybody;

#[async_trait]
impl Authenticator for Anybody {
    async fn connection(&self, user: &str) -> Result<Credentials, TokenRefusal> {
        Ok(Credentials { user: user.to_owned(), ..Credentials::default() })
    }

    async fn subscription(&self, _token: &str) -> Result<SubscriptionGrant, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }
}

async fn engine(node: NodeParts) -> Arc<Engine> {
    let parts = EngineParts {
        node,
        version: "test".to_owned(),
        session_options: SessionOptions {
            rpc_concurrency: CALLS_OF_A_SESSION,
            commands_per_second: 0,
            personal_channel: false,
            ..SessionOptions::default()
        },
        channels_options: ChannelsOptions::default(),
        hot: Arc::new(MemoryHotState::new()),
        authenticator: Arc::new(Anybody),
    };
    Engine::start(parts).await.unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Never answers, and counts how often it was asked.
#[derive(Default)]
struct Hanging(AtomicUsize);

#[async_trait]
impl TopicHandler for Hanging {
    async fn handle(&self, _data: Bytes) -> Result<Bytes, String> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

#[async_trait]
impl RpcHandler for Hanging {
    async fn call(&self, _caller: Caller, _method: &str, _data: Bytes) -> Result<Bytes, ErrorReply> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_on_topics_do_not_take_the_places_of_what_nodes_ask_each_other() {
    let hub = Arc::new(LocalHub::default());
    let node = || NodeParts { bus: Arc::new(hub.connect()), ..NodeParts::alone() };
    let (asking, asked) = (engine(node()).await, engine(node()).await);
    until("the nodes know each other", || asking.nodes().len() == 2).await;
    let hanging = Arc::new(Hanging::default());
    asked.set_topic("hanging", Arc::<Hanging>::clone(&hanging) as Arc<dyn TopicHandler>);
    let ask = |count: usize| {
        let asks = (0..count).map(|_| asking.ask_topic(asked.node_id(), "hanging", Bytes::new()));
        join_all(asks.collect::<Vec<_>>())
    };
    let full = async {
        until("all places are taken", || hanging.0.load(Ordering::Relaxed) == TOPIC_MESSAGES).await;
        let further = tokio::time::timeout(AT_ONCE, ask(100)).await.expect("further messages wait");
        assert!(further.iter().all(|answer| matches!(answer, Err(NodeError::Refused(_)))), "{further:?}");
        let counts = tokio::time::timeout(AT_ONCE, asking.channel_counts("")).await;
        assert_eq!(counts.expect("the node answers late").missing, 0);
    };
    tokio::select! {
        _ = ask(TOPIC_MESSAGES) => panic!("somebody was answered"),
        () = full => {}
    }
    // What is a subject of the bus is no node.
    for nobody in ["all", "heartbeats", "nowhere"] {
        let answer = tokio::time::timeout(AT_ONCE, asking.ask_topic(nobody, "hanging", Bytes::new())).await;
        assert_eq!(answer.expect("not known at once").unwrap_err(), NodeError::Gone, "{nobody}");
    }
}

/// Keeps what is written.
#[derive(Default)]
struct Written(Mutex<String>);

impl DirectSocket for Written {
    fn try_write(&self, messages: &[Bytes]) -> DirectWrite {
        for message in messages {
            self.0.lock().push_str(std::str::from_utf8(message).unwrap());
        }
        DirectWrite::Written
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_all_sessions_together_are_bounded() {
    let engine = engine(NodeParts::alone()).await;
    let hanging = Arc::new(Hanging::default());
    engine.set_rpc_handler(Arc::<Hanging>::clone(&hanging) as Arc<dyn RpcHandler>);
    let call = async |session: &mut Session| {
        session.receive(Bytes::from_static(br#"{"id":1,"connect":{"token":"ana"}}"#)).await;
        let calls =
            (2..2 + CALLS_OF_A_SESSION).map(|id| format!(r#"{{"id":{id},"rpc":{{"method":"hang"}}}}"#));
        session.receive(Bytes::from(calls.collect::<Vec<_>>().join("\n"))).await;
    };
    let mut sessions = Vec::new();
    for _ in 0..CALLS / CALLS_OF_A_SESSION {
        let mut session = engine.open_session(Transport::WebSocket, Encoding::Json);
        call(&mut session).await;
        sessions.push(session);
    }
    until("every place is taken", || hanging.0.load(Ordering::Relaxed) == CALLS).await;
    let mut late = engine.open_session(Transport::WebSocket, Encoding::Json);
    let written = Arc::new(Written::default());
    late.handle().outbox().attach(Arc::<Written>::clone(&written));
    call(&mut late).await;
    until("the late session is refused", || {
        written.0.lock().matches(r#""code":111"#).count() == CALLS_OF_A_SESSION
    })
    .await;
    assert_eq!(hanging.0.load(Ordering::Relaxed), CALLS);
    // A round trip is measured also then.
    late.receive(Bytes::from_static(br#"{"id":100,"rpc":{"method":"ping"}}"#)).await;
    until("the ping is answered", || written.0.lock().contains(r#""id":100,"rpc""#)).await;
}
