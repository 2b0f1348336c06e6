//! What the flight recorder costs, on and off in turns: `cargo bench -p mundotango-actors --bench recorder`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_actors::{
    Authenticator, ChannelsOptions, Credentials, DirectSocket, DirectWrite, Engine, EngineParts,
    NamespaceOptions, NodeParts, Outgoing, Publish, Session, SessionOptions, SubscriptionGrant, TokenRefusal,
    Transport, record_messages,
};
use mundotango_protocol::{ChannelName, Encoding, Publication};
use mundotango_storage::hot::MemoryHotState;
use serde_json::{Value, json};

/// Turns of each measurement, half of them with the recorder on. What else the machine does falls on both alike.
const TURNS: usize = 40;
/// Publications of a turn. Fewer than a mailbox takes.
const PUBLICATIONS: usize = 1000;
/// Commands of a turn.
const COMMANDS: usize = 20_000;

/// A socket that takes everything: what is measured is the actors' work, not the kernel's.
struct Sink;

impl DirectSocket for Sink {
    fn try_write(&self, _messages: &[Bytes]) -> DirectWrite {
        DirectWrite::Written
    }
}

/// Takes a token for the user's id.
struct Anybody;

#[async_trait]
impl Authenticator for Anybody {
    async fn connection(&self, token: &str) -> Result<Credentials, TokenRefusal> {
        Ok(Credentials { user: token.to_owned(), ..Credentials::default() })
    }

    async fn subscription(&self, _token: &str) -> Result<SubscriptionGrant, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }
}

async fn engine() -> Arc<Engine> {
    let open = NamespaceOptions {
        history_size: 100,
        history_ttl: Duration::from_mins(10),
        allow_subscribe_for_client: true,
        ..NamespaceOptions::default()
    };
    let session_options =
        SessionOptions { personal_channel: false, commands_per_second: 0, ..SessionOptions::default() };
    Engine::start(EngineParts {
        node: NodeParts::alone(),
        version: "bench".to_owned(),
        session_options,
        channels_options: ChannelsOptions { without_namespace: open, ..ChannelsOptions::default() },
        hot: Arc::new(MemoryHotState::new()),
        authenticator: Arc::new(Anybody),
    })
    .await
    .unwrap()
}

async fn session(engine: &Engine, user: usize) -> Session {
    let mut session = engine.open_session(Transport::WebSocket, Encoding::Json);
    let send = async |session: &mut Session, command: Value| {
        session.receive(Bytes::from(command.to_string())).await;
        // The reply says that the command is done.
        loop {
            let wakeup = session.wait().await;
            if let Some(Outgoing::Messages(_)) = session.proceed(wakeup).await {
                session.written();
                break;
            }
        }
    };
    send(&mut session, json!({"id": 1, "connect": {"token": user.to_string()}})).await;
    send(&mut session, json!({"id": 2, "subscribe": {"channel": "measured"}})).await;
    session.handle().outbox().attach(Arc::new(Sink));
    session
}

/// Prints the medians with the recorder off and on, in microseconds for each of `count`, and their ratio.
async fn compare(what: &str, count: usize, turn: impl AsyncFn()) {
    let mut times = [Vec::new(), Vec::new()];
    // The first turns warm up.
    for number in 0..TURNS + 4 {
        let on = number % 2;
        record_messages(on == 1);
        let began = Instant::now();
        turn().await;
        if number >= 4 {
            times[on].push(began.elapsed().as_secs_f64() * 1e6 / count as f64);
        }
    }
    record_messages(true);
    let [off, on] = times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!("| {what} | {off:.2} µs | {on:.2} µs | {:.3} |", on / off);
}

async fn publications(engine: &Engine, subscribers: usize) {
    let channel = ChannelName::parse("measured").unwrap();
    let delivered = || mundotango_ops::metrics().realtime_deliveries_total.get();
    let turn = async || {
        let before = delivered();
        for _ in 0..PUBLICATIONS {
            let publication =
                Publication { data: Bytes::from_static(b"{\"n\":1}"), ..Publication::default() };
            engine.publish(&channel, Publish::new(publication)).await.unwrap();
        }
        while delivered() - before < (PUBLICATIONS * subscribers) as u64 {
            tokio::task::yield_now().await;
        }
    };
    compare(&format!("a publication to {subscribers} subscribers"), PUBLICATIONS, turn).await;
}

async fn commands(session: Session) {
    let session = tokio::sync::Mutex::new(session);
    let turn = async || {
        let mut session = session.lock().await;
        for _ in 0..COMMANDS {
            session.receive(Bytes::from_static(b"{\"id\":3,\"rpc\":{\"method\":\"ping\"}}")).await;
        }
    };
    compare("a client's smallest command", COMMANDS, turn).await;
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    println!("| | off | on | on / off |\n|---|---|---|---|");
    let engine = engine().await;
    let mut sessions = Vec::new();
    for subscribers in [1, 10, 100, 1000] {
        for number in sessions.len()..subscribers {
            sessions.push(session(&engine, number).await);
        }
        publications(&engine, subscribers).await;
    }
    commands(sessions.pop().unwrap()).await;
}
