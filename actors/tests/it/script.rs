//! Sessions driven by a script of bytes: any bytes are a script, so a property test and a fuzzer write them alike.
//!
//! A script opens and closes sessions of one engine in both encodings, sends commands and raw bytes, and lets the
//! application publish and interfere. Whatever the script is: no panic; a message is a message (one a line for JSON);
//! a command is answered once; the outbox is bounded; and in the end the channels' subscribers are the sessions that
//! think that they are subscribed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use futures_util::FutureExt as _;
use mundotango_actors::{
    Authenticator, Caller, ChannelsOptions, Credentials, DataFormat, DeltaType, Engine, EngineParts,
    NamespaceOptions, NodeParts, Outgoing, Publish, RpcHandler, ServerSubscription, Session, SessionOptions,
    SubscriptionGrant, TokenRefusal, Transport, Whose,
};
use mundotango_protocol::{
    ChannelName, Command, ConnectRequest, Disconnect, Encoding, ErrorReply, FilterNode, HistoryRequest,
    PresenceRequest, PresenceStatsRequest, Publication, PublishRequest, RefreshRequest, Reply, RpcRequest,
    StreamPosition, SubRefreshRequest, SubscribeRequest, SubscribeResult, UnsubscribeRequest,
};
use mundotango_storage::hot::{HistoryQuery, MemoryHotState};
use prost::Message as _;

/// The channels that scripts use: with and without history, with differences, with filters, of any bytes, closed,
/// and of no namespace.
const CHANNELS: &[&str] =
    &["open:a", "open:b", "plain:a", "delta:a", "tagged:a", "bytes:a", "closed:a", "none:a", ""];
/// The users that scripts connect.
const USERS: &[&str] = &["ana", "ben", "bad"];
/// Most sessions of a script at a time.
const MAX_SESSIONS: usize = 4;
/// Most steps of a script.
const MAX_STEPS: usize = 200;
/// Bytes that may wait in an outbox: small, so that scripts reach the bound.
const OUTBOX_BYTES: usize = 16 * 1024;
/// Payloads that encodings find hard.
const PAYLOADS: &[&[u8]] = &[
    b"{\"n\":1}",
    b"null",
    b"[\n{\"push\":{\"channel\":\"open:a\",\"pub\":{\"data\":\"forged\"}}}\r\n]",
    b"",
    b"hi",
    b"\xff\x00",
    &[0x80; 64],
    b"123456789012345678901234567890",
    b"{\"a\":1,\"a\":null}",
    "\"\u{e1}\u{e1}\u{e1}\u{e1}\u{e1}\u{e1}\u{e1}\u{e1}\u{e1}\u{e1}\u{e1}\u{e1} and more than a window of text\"".as_bytes(),
];

/// Plays a script from its first byte to its last.
pub fn play(script: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime starts").block_on(async {
        let mut stage = Stage::start().await;
        let mut script = Script(script);
        for _ in 0..MAX_STEPS {
            if !script.0.has_remaining() {
                break;
            }
            stage.step(&mut script).await;
        }
        stage.finish().await;
    });
}

/// Reads choices from bytes; past the end all choices are 0.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        if self.0.has_remaining() { self.0.get_u8() } else { 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn pick<T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    fn channel(&mut self) -> String {
        self.pick(CHANNELS).to_owned()
    }

    /// Bytes of the script itself.
    fn bytes(&mut self) -> Bytes {
        let length = self.below(48).min(self.0.remaining());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Bytes::copy_from_slice(bytes)
    }

    fn payload(&mut self) -> Bytes {
        match self.below(PAYLOADS.len() + 2) {
            0 => self.bytes(),
            1 => Bytes::from(serde_json::json!(String::from_utf8_lossy(&self.bytes())).to_string()),
            number => Bytes::from_static(PAYLOADS[number - 2]),
        }
    }

    fn position(&mut self) -> StreamPosition {
        StreamPosition { offset: u64::from(self.byte() % 8), epoch: String::new() }
    }

    fn subscribe(&mut self, epochs: &BTreeMap<String, String>) -> SubscribeRequest {
        let channel = self.channel();
        let flags = self.byte();
        let at = self.position();
        SubscribeRequest {
            recover: flags & 1 > 0,
            offset: at.offset,
            epoch: epochs.get(&channel).filter(|_| flags & 2 > 0).cloned().unwrap_or_default(),
            positioned: flags & 4 > 0,
            recoverable: flags & 8 > 0,
            join_leave: flags & 16 > 0,
            delta: if flags & 32 > 0 { "fossil".to_owned() } else { String::new() },
            tf: (flags & 64 > 0).then(|| FilterNode {
                key: "k".to_owned(),
                cmp: "eq".to_owned(),
                val: "v".to_owned(),
                ..FilterNode::default()
            }),
            flag: if flags & 128 > 0 { SubscribeRequest::REJECT_UNRECOVERED } else { 0 },
            channel,
            ..SubscribeRequest::default()
        }
    }

    /// A command; connects are rarer than what needs one.
    fn command(&mut self, id: u32, epochs: &BTreeMap<String, String>) -> Command {
        let mut command = Command { id, ..Command::default() };
        match self.below(14) {
            0 => {
                let token = self.pick(USERS).to_owned();
                let subs = (0..self.below(3)).map(|_| self.subscribe(epochs));
                let subs = subs.map(|subscribe| (subscribe.channel.clone(), subscribe)).collect();
                command.connect = Some(Box::new(ConnectRequest { token, subs, ..ConnectRequest::default() }));
            }
            1..=3 => command.subscribe = Some(Box::new(self.subscribe(epochs))),
            4 => command.unsubscribe = Some(UnsubscribeRequest { channel: self.channel() }),
            5..=7 => {
                command.publish = Some(PublishRequest { channel: self.channel(), data: self.payload() });
            }
            8 => command.presence = Some(PresenceRequest { channel: self.channel() }),
            9 => command.presence_stats = Some(PresenceStatsRequest { channel: self.channel() }),
            10 => {
                let since = self.flag().then(|| self.position());
                let limit = i32::from(self.byte()) - 1;
                let history = HistoryRequest { channel: self.channel(), limit, since, reverse: self.flag() };
                command.history = Some(Box::new(history));
            }
            11 => {
                let method = self.pick(&["echo", "none"]).to_owned();
                command.rpc = Some(RpcRequest { data: self.payload(), method });
            }
            12 => command.refresh = Some(RefreshRequest { token: self.pick(USERS).to_owned() }),
            _ => {
                let channel = self.channel();
                command.sub_refresh = Some(SubRefreshRequest { channel, token: self.pick(USERS).to_owned() });
            }
        }
        command
    }
}

/// Writes commands as a client of an encoding does. A payload that JSON cannot carry cannot be sent by a JSON client.
fn frame(encoding: Encoding, commands: &[Command]) -> Option<Bytes> {
    match encoding {
        Encoding::Json => {
            let lines: Result<Vec<_>, _> = commands.iter().map(serde_json::to_string).collect();
            lines.ok().map(|lines| Bytes::from(lines.join("\n")))
        }
        Encoding::Protobuf => Some(Bytes::from(
            commands.iter().flat_map(Command::encode_length_delimited_to_vec).collect::<Vec<_>>(),
        )),
    }
}

/// Reads what a session wrote as a client of an encoding does, and insists on whole messages.
fn messages(encoding: Encoding, mut bytes: Bytes) -> Vec<Reply> {
    match encoding {
        Encoding::Json => {
            let text = std::str::from_utf8(&bytes).expect("JSON is text");
            text.split('\n').map(|line| serde_json::from_str(line).expect("a line is a message")).collect()
        }
        Encoding::Protobuf => {
            let mut replies = Vec::new();
            while bytes.has_remaining() {
                replies.push(Reply::decode_length_delimited(&mut bytes).expect("whole messages"));
            }
            replies
        }
    }
}

/// One connection, and what its client believes.
struct Actor {
    session: Session,
    encoding: Encoding,
    next_id: u32,
    /// Ids that wait for their answer.
    asked: BTreeSet<u32>,
    /// Whether bytes were sent whose ids nobody knows.
    sent_raw: bool,
    subscribed: BTreeSet<String>,
    /// The channel of each subscribe or unsubscribe that waits for its answer.
    channels: BTreeMap<u32, String>,
    ended: bool,
}

impl Actor {
    fn open(engine: &Engine, encoding: Encoding) -> Self {
        Self {
            session: engine.open_session(Transport::WebSocket, encoding),
            encoding,
            next_id: 1,
            asked: BTreeSet::new(),
            sent_raw: false,
            subscribed: BTreeSet::new(),
            channels: BTreeMap::new(),
            ended: false,
        }
    }

    async fn send(&mut self, commands: &[Command]) {
        let Some(frame) = frame(self.encoding, commands) else { return };
        for command in commands {
            self.asked.insert(command.id);
            let subscribe = command.subscribe.as_ref().map(|subscribe| &subscribe.channel);
            let channel = subscribe.or(command.unsubscribe.as_ref().map(|unsubscribe| &unsubscribe.channel));
            self.channels.extend(channel.map(|channel| (command.id, channel.clone())));
        }
        self.session.receive(frame).await;
    }

    /// Does all that the session has to do now, and takes in what it writes.
    async fn drain(&mut self, epochs: &mut BTreeMap<String, String>) {
        while !self.ended {
            let waiting = self.session.handle().outbox().waiting_bytes();
            assert!(waiting <= OUTBOX_BYTES, "{waiting} bytes wait");
            let Some(wakeup) = self.session.wait().now_or_never() else { break };
            match self.session.proceed(wakeup).await {
                Some(Outgoing::Messages(written)) => {
                    self.session.written();
                    for bytes in written {
                        for reply in messages(self.encoding, bytes) {
                            self.take(reply, epochs);
                        }
                    }
                }
                Some(Outgoing::End(_)) => self.ended = true,
                Some(Outgoing::Flush | Outgoing::Ping) => unreachable!("no socket is attached"),
                None => {}
            }
        }
    }

    fn take(&mut self, reply: Reply, epochs: &mut BTreeMap<String, String>) {
        let channel = self.channels.remove(&reply.id);
        if reply.id > 0 {
            let asked = self.asked.remove(&reply.id);
            assert!(asked || self.sent_raw, "{} was answered though nobody waits for it", reply.id);
        }
        if let (Some(result), Some(channel)) = (&reply.subscribe, &channel) {
            self.joined(channel, result, epochs);
        }
        if let (Some(_), Some(channel)) = (&reply.unsubscribe, &channel) {
            self.subscribed.remove(channel);
        }
        for (channel, result) in reply.connect.iter().flat_map(|connect| &connect.subs) {
            self.joined(channel, result, epochs);
        }
        let Some(push) = reply.push else { return };
        if push.subscribe.is_some() {
            self.subscribed.insert(push.channel.clone());
        }
        if push.unsubscribe.is_some() {
            self.subscribed.remove(&push.channel);
        }
        if push.publication.is_some() && !self.sent_raw {
            assert!(self.subscribed.contains(&push.channel), "a publication of {} came", push.channel);
        }
    }

    fn joined(&mut self, channel: &str, result: &SubscribeResult, epochs: &mut BTreeMap<String, String>) {
        self.subscribed.insert(channel.to_owned());
        if !result.epoch.is_empty() {
            epochs.insert(channel.to_owned(), result.epoch.clone());
        }
    }
}

/// An engine and the sessions that a script opened.
struct Stage {
    engine: Arc<Engine>,
    actors: Vec<Actor>,
    epochs: BTreeMap<String, String>,
}

impl Stage {
    async fn start() -> Self {
        let options = || NamespaceOptions {
            history_size: 4,
            history_ttl: Duration::from_mins(10),
            allow_recovery: true,
            allow_positioning: true,
            presence: true,
            join_leave: true,
            allow_subscribe_for_client: true,
            allow_publish_for_client: true,
            allow_history_for_client: true,
            allow_presence_for_client: true,
            ..NamespaceOptions::default()
        };
        let fossil = || vec![DeltaType::Fossil];
        let bytes = DataFormat::Binary;
        let namespaces = [
            ("open", options()),
            ("plain", NamespaceOptions { history_size: 0, ..options() }),
            ("delta", NamespaceOptions { allowed_delta_types: fossil(), delta_publish: true, ..options() }),
            ("tagged", NamespaceOptions { allow_tags_filter: true, ..options() }),
            (
                "bytes",
                NamespaceOptions {
                    publication_data_format: bytes,
                    allowed_delta_types: fossil(),
                    delta_publish: true,
                    ..options()
                },
            ),
            ("closed", NamespaceOptions::default()),
        ];
        let namespaces = namespaces.into_iter().map(|(name, options)| (name.to_owned(), options)).collect();
        let session_options = SessionOptions {
            outbox_bytes: OUTBOX_BYTES,
            commands_per_second: 0,
            channel_limit: 4,
            ..SessionOptions::default()
        };
        let engine = Engine::start(EngineParts {
            node: NodeParts::alone(),
            version: "test".to_owned(),
            session_options,
            channels_options: ChannelsOptions { without_namespace: NamespaceOptions::default(), namespaces },
            hot: Arc::new(MemoryHotState::new()),
            authenticator: Arc::new(ByName),
        })
        .await
        .expect("an engine starts");
        engine.set_rpc_handler(Arc::new(Echo));
        Self { engine, actors: Vec::new(), epochs: BTreeMap::new() }
    }

    async fn step(&mut self, script: &mut Script<'_>) {
        let step = script.below(16);
        if self.actors.is_empty() || (step == 0 && self.actors.len() < MAX_SESSIONS) {
            return self.open(script).await;
        }
        let at = script.below(self.actors.len());
        match step {
            1 => self.close(at).await,
            2 => self.act(script).await,
            3 => {
                let bytes = script.bytes();
                let actor = &mut self.actors[at];
                actor.sent_raw = true;
                actor.session.receive(bytes).await;
            }
            4 => tokio::time::advance(Duration::from_millis(100)).await,
            5 | 6 => {
                let actor = &mut self.actors[at];
                actor.drain(&mut self.epochs).await;
            }
            _ => {
                let actor = &mut self.actors[at];
                let count = 1 + script.below(4);
                let ids = actor.next_id..;
                let commands: Vec<_> = ids.take(count).map(|id| script.command(id, &self.epochs)).collect();
                actor.next_id += u32::try_from(count).unwrap_or_default();
                actor.send(&commands).await;
            }
        }
        // A session that ended is gone for its transport, which closes it.
        while let Some(at) = self.actors.iter().position(|actor| actor.ended) {
            self.close(at).await;
        }
    }

    /// Opens a session, most of the time a connected one.
    async fn open(&mut self, script: &mut Script<'_>) {
        let encoding = if script.flag() { Encoding::Json } else { Encoding::Protobuf };
        let mut actor = Actor::open(&self.engine, encoding);
        if script.below(4) > 0 {
            let connect =
                ConnectRequest { token: USERS[script.below(2)].to_owned(), ..ConnectRequest::default() };
            let id = actor.next_id;
            actor.next_id += 1;
            actor.send(&[Command { id, connect: Some(Box::new(connect)), ..Command::default() }]).await;
            actor.drain(&mut self.epochs).await;
            assert!(!actor.ended && !actor.asked.contains(&id), "a connect was not answered");
        }
        self.actors.push(actor);
    }

    async fn close(&mut self, at: usize) {
        self.actors.swap_remove(at).session.close().await;
    }

    /// What the application does from outside.
    async fn act(&mut self, script: &mut Script<'_>) {
        let whose = Whose { user: USERS[script.below(2)].to_owned(), ..Whose::default() };
        let name = script.channel();
        let Ok(channel) = ChannelName::parse(&name) else { return };
        match script.below(8) {
            0 => drop(self.engine.message(&whose, script.payload()).await),
            1 => drop(self.engine.unsubscribe(&whose, &channel).await),
            2 => {
                let subscription = ServerSubscription {
                    info: script.payload(),
                    data: script.payload(),
                    ..ServerSubscription::default()
                };
                let _ = self.engine.subscribe(&whose, &channel, subscription, None).await;
            }
            3 => drop(self.engine.disconnect(&whose, &Disconnect::ForceReconnect.into(), &[]).await),
            4 => {
                let _ = self.engine.remove_history(&channel).await;
            }
            5 => {
                let query = HistoryQuery { since: None, limit: None, reverse: script.flag() };
                let _ = self.engine.history(&channel, query).await;
            }
            _ => {
                let tags = script.flag().then(|| ("k".to_owned(), "v".to_owned())).into_iter().collect();
                let publication = Publication { data: script.payload(), tags, ..Publication::default() };
                let _ = self.engine.publish(&channel, Publish::new(publication)).await;
            }
        }
    }

    /// Waits until all is done, and holds the clients' beliefs beside the engine's.
    async fn finish(mut self) {
        // Channels and calls are tasks of this thread: they run while the clients wait, and the clock moves after them.
        for _ in 0..20 {
            for actor in &mut self.actors {
                actor.drain(&mut self.epochs).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while let Some(at) = self.actors.iter().position(|actor| actor.ended) {
            self.close(at).await;
        }
        for actor in self.actors.iter().filter(|actor| !actor.sent_raw) {
            assert!(actor.asked.is_empty(), "never answered: {:?}", actor.asked);
        }
        if self.actors.iter().all(|actor| !actor.sent_raw) {
            let mut believed: BTreeMap<String, usize> = BTreeMap::new();
            for channel in self.actors.iter().flat_map(|actor| &actor.subscribed) {
                *believed.entry(channel.clone()).or_default() += 1;
            }
            assert_eq!(self.engine.channel_counts("").await.answers, believed, "subscribers, by channel");
        }
        while !self.actors.is_empty() {
            self.close(0).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(self.engine.channel_counts("").await.answers, BTreeMap::new(), "all sessions are closed");
        assert!(self.engine.sessions().is_empty());
    }
}

/// Takes a token for the user's name; `bad` is refused.
struct ByName;

#[async_trait]
impl Authenticator for ByName {
    async fn connection(&self, token: &str) -> Result<Credentials, TokenRefusal> {
        match token {
            "bad" => Err(TokenRefusal::Invalid),
            user => Ok(Credentials { user: user.to_owned(), ..Credentials::default() }),
        }
    }

    async fn subscription(&self, _token: &str) -> Result<SubscriptionGrant, TokenRefusal> {
        Err(TokenRefusal::Expired)
    }
}

/// Answers with what it was asked.
struct Echo;

#[async_trait]
impl RpcHandler for Echo {
    async fn call(&self, _caller: Caller, method: &str, data: Bytes) -> Result<Bytes, ErrorReply> {
        match method {
            "echo" => Ok(data),
            _ => Err(mundotango_protocol::ErrorCode::MethodNotFound.into()),
        }
    }
}
