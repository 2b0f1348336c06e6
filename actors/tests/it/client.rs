//! A client without a socket: it speaks JSON frames with a session and remembers what it got, as an SDK does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use mundotango_actors::{
    Authenticator, Caller, ChannelsOptions, Credentials, DataFormat, DeltaType, Engine, EngineParts,
    NamespaceOptions, NodeParts, Outgoing, Publish, RecoveryMode, RpcHandler, ServerSubscription, Session,
    SessionOptions, SubscriptionGrant, TokenRefusal, Transport, Wakeup,
};
use mundotango_protocol::{
    ChannelName, DisconnectReason, Encoding, ErrorCode, ErrorReply, Publication, Push, Reply, StreamPosition,
    SubscribeResult,
};
use mundotango_storage::hot::{HotState, MemoryHotState};
use serde_json::{Value, json};

/// Longest wait for anything that has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes a token for the user's id; `expired` and `bad` are refused, and `slow` is never read. Subscription tokens are
/// `user channel` or `user channel info`.
struct TestAuthenticator;

#[async_trait]
impl Authenticator for TestAuthenticator {
    async fn connection(&self, token: &str) -> Result<Credentials, TokenRefusal> {
        match token {
            "expired" => Err(TokenRefusal::Expired),
            "bad" => Err(TokenRefusal::Invalid),
            "slow" => std::future::pending().await,
            // A token of the test's own: {"user": …, "info": …, "subs": {channel: {"data": …, "recoverable": …}}}.
            token if token.starts_with('{') => Ok(credentials(&serde_json::from_str(token).unwrap())),
            user => Ok(Credentials { user: user.to_owned(), ..Credentials::default() }),
        }
    }

    async fn subscription(&self, token: &str) -> Result<SubscriptionGrant, TokenRefusal> {
        let mut parts = token.splitn(3, ' ');
        let (Some(user), Some(channel)) = (parts.next(), parts.next()) else {
            return Err(TokenRefusal::Invalid);
        };
        Ok(SubscriptionGrant {
            channel: channel.to_owned(),
            user: user.to_owned(),
            info: Bytes::from(parts.next().unwrap_or_default().to_owned()),
            ..SubscriptionGrant::default()
        })
    }
}

fn credentials(token: &Value) -> Credentials {
    let subscription = |claim: &Value| ServerSubscription {
        data: claim.get("data").map(|data| Bytes::from(data.to_string())).unwrap_or_default(),
        change: serde_json::from_value(claim.get("override").cloned().unwrap_or(json!({}))).unwrap(),
        expires_at: claim["expire_at"].as_u64(),
        ..ServerSubscription::default()
    };
    let empty = serde_json::Map::new();
    let subs = token["subs"].as_object().unwrap_or(&empty);
    Credentials {
        user: token["user"].as_str().unwrap().to_owned(),
        token_id: token["jti"].as_str().map(str::to_owned),
        expires_at: token["expire_at"].as_u64(),
        info: token.get("info").map(|info| Bytes::from(info.to_string())).unwrap_or_default(),
        subscriptions: subs.iter().map(|(channel, claim)| (channel.clone(), subscription(claim))).collect(),
        ..Credentials::default()
    }
}

/// Answers with what it was asked.
struct EchoRpc;

#[async_trait]
impl RpcHandler for EchoRpc {
    async fn call(&self, caller: Caller, method: &str, data: Bytes) -> Result<Bytes, ErrorReply> {
        match method {
            "echo" => Ok(data),
            "bytes" => Ok(Bytes::from_static(b"\xff")),
            "who" => Ok(Bytes::from(json!(caller.user).to_string())),
            "hang" => std::future::pending().await,
            "panic" => panic!("asked to by a test"),
            _ => Err(ErrorCode::MethodNotFound.into()),
        }
    }
}

/// Options under which nothing is refused for want of a right.
pub fn open_namespace() -> NamespaceOptions {
    NamespaceOptions {
        history_size: 10_000,
        history_ttl: Duration::from_mins(10),
        force_recovery: true,
        presence: true,
        join_leave: true,
        allow_subscribe_for_client: true,
        allow_publish_for_client: true,
        allow_history_for_client: true,
        allow_presence_for_client: true,
        ..NamespaceOptions::default()
    }
}

/// An engine with the namespaces `open`, `plain` (no history), `short` (a history of 2) and `closed`.
pub async fn engine_with(session_options: SessionOptions) -> Arc<Engine> {
    engine_of(NodeParts::alone(), Arc::new(MemoryHotState::new()), session_options).await
}

/// The engine of a node of a cluster.
pub async fn engine_of(
    node: NodeParts,
    hot: Arc<dyn HotState>,
    session_options: SessionOptions,
) -> Arc<Engine> {
    let plain = NamespaceOptions {
        history_size: 0,
        history_ttl: Duration::ZERO,
        force_recovery: false,
        ..open_namespace()
    };
    let short = NamespaceOptions { history_size: 2, ..open_namespace() };
    let closed = NamespaceOptions::default();
    let delta = NamespaceOptions {
        allowed_delta_types: vec![DeltaType::Fossil],
        delta_publish: true,
        ..open_namespace()
    };
    let bytes = NamespaceOptions { publication_data_format: DataFormat::Binary, ..delta.clone() };
    let tagged = NamespaceOptions { allow_tags_filter: true, ..open_namespace() };
    let cache = NamespaceOptions { force_recovery_mode: RecoveryMode::Cache, ..open_namespace() };
    let quiet = NamespaceOptions { exclude_publisher: true, ..open_namespace() };
    let numbers: NamespaceOptions = serde_json::from_value(json!({"channel_regex": "^[0-9]+$"})).unwrap();
    let numbers = NamespaceOptions { channel_regex: numbers.channel_regex, ..open_namespace() };
    let namespaces = [
        ("open", open_namespace()),
        ("plain", plain),
        ("short", short),
        ("closed", closed),
        ("delta", delta),
        ("bytes", bytes),
        ("tagged", tagged),
        ("cache", cache),
        ("quiet", quiet),
        ("numbers", numbers),
    ];
    let engine = Engine::start(EngineParts {
        node,
        version: "test".to_owned(),
        session_options,
        channels_options: ChannelsOptions {
            without_namespace: open_namespace(),
            namespaces: namespaces.into_iter().map(|(name, options)| (name.to_owned(), options)).collect(),
        },
        hot,
        authenticator: Arc::new(TestAuthenticator),
    })
    .await
    .unwrap();
    engine.set_rpc_handler(Arc::new(EchoRpc));
    engine
}

pub async fn engine() -> Arc<Engine> {
    let options = SessionOptions { recovery_max_publications: 10_000, ..SessionOptions::default() };
    engine_with(options).await
}

pub async fn publish(engine: &Engine, channel: &str, data: impl Into<Value>) -> StreamPosition {
    let data = Bytes::from(data.into().to_string());
    let publication = Publication { data, ..Publication::default() };
    engine.publish(&ChannelName::parse(channel).unwrap(), Publish::new(publication)).await.unwrap()
}

/// One connection, and what came through it.
pub struct Client {
    pub session: Session,
    inbox: VecDeque<Reply>,
    pub pushes: Vec<Push>,
    pub ended: Option<DisconnectReason>,
    next_id: u32,
}

impl Client {
    pub fn open(engine: &Engine) -> Self {
        Self::open_by(engine, Transport::WebSocket)
    }

    pub fn open_by(engine: &Engine, transport: Transport) -> Self {
        Self {
            session: engine.open_session(transport, Encoding::Json),
            inbox: VecDeque::new(),
            pushes: Vec::new(),
            ended: None,
            next_id: 1,
        }
    }

    pub async fn connected(engine: &Engine, user: &str) -> Self {
        let mut client = Self::open(engine);
        let reply = client.ask(json!({"connect": {"token": user}})).await;
        assert!(reply.connect.is_some(), "{reply:?}");
        client
    }

    pub async fn send(&mut self, frame: &Value) {
        self.session.receive(Bytes::from(frame.to_string())).await;
    }

    /// Sends a command and waits for its reply; the session's end is an error reply with its code.
    pub async fn ask(&mut self, mut command: Value) -> Reply {
        let id = self.next_id;
        self.next_id += 1;
        command["id"] = json!(id);
        self.send(&command).await;
        loop {
            if let Some(at) = self.inbox.iter().position(|reply| reply.id == id) {
                return self.inbox.remove(at).unwrap();
            }
            if let Some(reason) = &self.ended {
                let error = ErrorReply {
                    code: u32::from(reason.code()),
                    message: reason.reason().to_owned(),
                    temporary: false,
                };
                return Reply::error(id, error);
            }
            self.pump().await;
        }
    }

    /// The code of the error that a command ends in, 0 if it works.
    pub async fn code(&mut self, command: Value) -> u32 {
        self.ask(command).await.error.map(|error| error.code).unwrap_or_default()
    }

    /// Sends several commands in one frame.
    pub async fn send_batch(&mut self, commands: &[Value]) {
        let lines: Vec<_> = commands.iter().map(ToString::to_string).collect();
        self.session.receive(Bytes::from(lines.join("\n"))).await;
    }

    pub async fn subscribe(&mut self, channel: &str) -> SubscribeResult {
        self.ask(json!({"subscribe": {"channel": channel}})).await.subscribe.unwrap()
    }

    pub async fn recover(&mut self, channel: &str, from: &StreamPosition) -> SubscribeResult {
        let subscribe =
            json!({"channel": channel, "recover": true, "offset": from.offset, "epoch": from.epoch});
        let reply = self.ask(json!({"subscribe": subscribe})).await;
        reply.subscribe.unwrap_or_else(|| panic!("{:?}", reply.error))
    }

    /// Waits for something and takes it in.
    pub async fn pump(&mut self) {
        let wakeup = tokio::time::timeout(PATIENCE, self.session.wait()).await.expect("nothing came");
        self.proceed(wakeup).await;
    }

    /// Takes in what is there already.
    pub async fn drain(&mut self) {
        while self.ended.is_none() {
            let Some(wakeup) = self.session.wait().now_or_never() else { break };
            self.proceed(wakeup).await;
        }
    }

    async fn proceed(&mut self, wakeup: Wakeup) {
        if let Some(outgoing) = self.session.proceed(wakeup).await {
            self.take(outgoing);
        }
    }

    /// Takes out the pings that came; how many there were.
    pub fn take_pings(&mut self) -> usize {
        let before = self.inbox.len();
        self.inbox.retain(|reply| *reply != Reply::ping());
        before - self.inbox.len()
    }

    /// Waits for something; whether it is a message, which is not said to be written then.
    pub async fn is_writing(&mut self) -> bool {
        let wakeup = self.session.wait().await;
        matches!(self.session.proceed(wakeup).await, Some(Outgoing::Messages(_)))
    }

    pub async fn push(&mut self) -> Push {
        while self.pushes.is_empty() {
            assert!(self.ended.is_none(), "ended: {:?}", self.ended);
            self.pump().await;
        }
        self.pushes.remove(0)
    }

    pub async fn end(&mut self) -> DisconnectReason {
        while self.ended.is_none() {
            self.pump().await;
        }
        self.ended.clone().unwrap()
    }

    fn take(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::End(reason) => self.ended = Some(reason),
            Outgoing::Flush | Outgoing::Ping => unreachable!("no socket is attached"),
            Outgoing::Messages(messages) => {
                self.session.written();
                for message in messages {
                    for reply in serde_json::Deserializer::from_slice(&message).into_iter::<Reply>() {
                        let reply = reply.unwrap();
                        match reply.push {
                            Some(push) => self.pushes.push(push),
                            None => self.inbox.push_back(reply),
                        }
                    }
                }
            }
        }
    }
}
