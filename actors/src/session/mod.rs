//! A session: one client's connection, whatever the transport.
//!
//! The transport owns the socket and the [`Session`]; it feeds frames in ([`Session::receive`]) and writes what comes
//! out ([`Session::wait`], [`Session::proceed`]). Both run in the transport's one task, so a session is sequential like every actor. Others
//! reach it through its [`SessionHandle`]: channels by its outbox, the node by [`SessionMessage`]s.

mod attempts;
mod connect;
mod data;
mod parts;
mod rate;
mod registry;
mod rpc;
mod server_side;
mod subscriptions;
mod timers;

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use mundotango_protocol::{
    ChannelName, ChannelNameError, ClientId, ClientInfo, Command, Disconnect, Encoding, ErrorCode, Push,
    Reply, Request,
};

pub use connect::{Authenticator, Credentials, SubscriptionGrant, TokenRefusal};
pub use parts::ChannelGate;
pub(crate) use parts::{Parts, SessionConfig};
pub use registry::Sessions;
pub use rpc::{Caller, RpcHandler};

use crate::crashes::panic_text;
use crate::handle::{SessionHandle, SessionMessage, Transport};
use crate::outbox::{Outbox, Outgoing};
use attempts::{Attempts, Finished};
use rate::CommandRate;
use rpc::RpcSlots;
use subscriptions::Subscriptions;
use timers::{Due, Timers};
use tokio::time::Instant;

/// How long the replies to a frame may gather for one write.
const GATHER: Duration = Duration::from_millis(5);
/// Replies up to this size are written however full the outbox is, or end the session as slow.
const SMALL_REPLY_BYTES: usize = 1024;

/// Why a command was not done.
enum Refusal {
    /// Answer with an error; the session goes on.
    Error(ErrorCode),
    /// The client broke the protocol, or may not be here.
    Disconnect(Disconnect),
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code)
    }
}

impl From<Disconnect> for Refusal {
    fn from(reason: Disconnect) -> Self {
        Self::Disconnect(reason)
    }
}

/// How far a session has come.
enum Stage {
    /// Waiting for the connect command.
    New,
    /// Open.
    Connected(Arc<Credentials>),
    /// The connect command failed; the client has to come again on another connection.
    Refused,
}

/// What a session woke up for.
pub struct Wakeup(Cause);

enum Cause {
    Message(SessionMessage),
    Outgoing(Outgoing),
    Due(Due),
    Attempted(Box<Finished>),
}

/// The state of one connection. See the module's text for who calls what.
pub struct Session {
    handle: Arc<SessionHandle>,
    parts: Arc<Parts>,
    stage: Stage,
    subscriptions: Subscriptions,
    timers: Timers,
    rpc_slots: RpcSlots,
    rate: CommandRate,
    attempts: Attempts,
    /// See [`Who::session_key`].
    secret: Option<String>,
    native_pings: bool,
    /// See [`Caller::address`].
    address: Option<IpAddr>,
    closed: bool,
}

impl Session {
    pub(crate) fn open(parts: Arc<Parts>, transport: Transport, encoding: Encoding) -> Self {
        let handle = Arc::new(SessionHandle::new(transport, encoding, parts.session_options.outbox_bytes));
        parts.sessions.add(&handle);
        let timers = Timers::new(&parts.session_options);
        Self {
            handle,
            parts,
            stage: Stage::New,
            subscriptions: Subscriptions::default(),
            timers,
            rpc_slots: RpcSlots::default(),
            rate: CommandRate::default(),
            attempts: Attempts::default(),
            secret: (transport != Transport::WebSocket).then(|| ClientId::random().to_string()),
            native_pings: false,
            address: None,
            closed: false,
        }
    }

    /// Asks by the transport's own pings whether the client is there. To be called before the first frame.
    pub fn ping_natively(&mut self) {
        self.native_pings = true;
    }

    /// Says which address the connection comes from. To be called before the first frame.
    pub fn set_address(&mut self, address: Option<IpAddr>) {
        self.address = address;
    }

    /// A pong of the transport's own came. Where pings are the protocol's, such a pong answers none of them.
    pub fn ponged(&mut self) {
        if self.native_pings {
            self.timers.pong();
        }
    }

    /// Whether the client sent more than it may, so that its next commands are to be read later.
    pub fn is_paused(&self) -> bool {
        self.rate.paused_until().is_some()
    }

    /// The transport has written what it was given.
    pub fn written(&mut self) {
        self.timers.write_by(None);
        self.handle.outbox().written();
    }

    /// Whether the client has said who it is.
    pub fn is_connected(&self) -> bool {
        !matches!(self.stage, Stage::New)
    }

    /// What others hold of this session.
    pub fn handle(&self) -> &Arc<SessionHandle> {
        &self.handle
    }

    /// The secret by which an emulated session's commands find it; see [`Who::session_key`].
    pub fn session_key(&self) -> Option<&str> {
        self.secret.as_deref()
    }

    fn client(&self) -> ClientId {
        self.handle.client()
    }

    /// Takes one frame of the client. A panic in its handling ends this session alone.
    pub async fn receive(&mut self, frame: Bytes) {
        mundotango_ops::metrics().realtime_bytes_received_total.inc_by(frame.len() as u64);
        if let Err(panic) = AssertUnwindSafe(self.receive_frame(frame)).catch_unwind().await {
            self.crashed(&*panic);
        }
    }

    fn crashed(&self, panic: &(dyn std::any::Any + Send)) {
        self.parts.session_crashed(&self.handle, panic_text(panic));
        self.handle.outbox().end(Disconnect::Internal);
    }

    async fn receive_frame(&mut self, frame: Bytes) {
        let commands = match self.handle.encoding().decode_commands(frame) {
            Ok(commands) => commands,
            Err(error) => {
                tracing::debug!(client = %self.client(), %error, "frame refused");
                self.handle.outbox().end(Disconnect::BadRequest);
                return;
            }
        };
        let gathers = commands.len() > 1;
        let mut gathered_since = Instant::now();
        for command in commands {
            // A frame may hold a thousand commands, none of which has to wait for anything.
            tokio::task::coop::consume_budget().await;
            self.look_at_the_clock().await;
            if matches!(self.stage, Stage::Refused) || self.handle.outbox().is_ending() {
                break;
            }
            if gathers {
                if gathered_since.elapsed() > GATHER {
                    self.handle.outbox().uncork();
                    gathered_since = Instant::now();
                }
                self.handle.outbox().cork();
            }
            self.run_command(command).await;
        }
        if gathers {
            self.handle.outbox().uncork();
        }
    }

    /// Does what is due, so that no number of commands keeps a session from its pings and its end.
    async fn look_at_the_clock(&mut self) {
        self.handle.take_disconnect();
        while let Some(due) = self.timers.overdue() {
            if due == Due::Ping && self.native_pings {
                // The transport pings; a moment later than asked for does no harm.
                self.timers.ping_again();
                return;
            }
            self.handle_due(due).await;
        }
    }

    /// Runs a command and answers it. What it waits for holds back neither the answers before it nor the session's end.
    async fn run_command(&mut self, command: Command) {
        let id = command.id;
        let handle = Arc::clone(&self.handle);
        let end = self.timers.end();
        let outcome = {
            let mut running = pin!(self.handle_command(command));
            let running = std::future::poll_fn(|context| {
                let polled = running.as_mut().poll(context);
                if polled.is_pending() {
                    handle.outbox().uncork();
                }
                polled
            });
            match end {
                None => running.await,
                Some((at, reason)) => {
                    tokio::time::timeout_at(at, running).await.unwrap_or(Err(Refusal::Disconnect(reason)))
                }
            }
        };
        handle.vitals().handled();
        match outcome {
            Ok(()) => {}
            Err(Refusal::Error(code)) => self.refused(id, code),
            Err(Refusal::Disconnect(reason)) => {
                tracing::debug!(client = %self.client(), %reason, "session refused");
                handle.outbox().end(reason);
            }
        }
    }

    fn refused(&self, id: u32, code: ErrorCode) {
        let label = code.code().to_string();
        mundotango_ops::metrics().realtime_command_errors_total.with_label_values(&[&label]).inc();
        // A message without an id is a push or a ping to clients, who would answer it.
        if id != 0 {
            self.reply(&Reply::error(id, code));
        }
    }

    async fn handle_command(&mut self, command: Command) -> Result<(), Refusal> {
        let id = command.id;
        let request = command.into_request();
        let is_pong = id == 0 && matches!(request, Request::Nothing);
        if !is_pong {
            // Whoever reads from a socket reads later from one that owes. A POST cannot be slowed so.
            let may_owe = self.handle.transport() == Transport::WebSocket;
            self.rate.take(&self.parts.session_options, may_owe)?;
            self.timers.resume_at(self.rate.paused_until());
        }
        mundotango_ops::metrics().realtime_commands_total.with_label_values(&[request.name()]).inc();
        if let Request::Connect(connect) = request {
            if id == 0 || !matches!(self.stage, Stage::New) {
                return Err(Disconnect::BadRequest.into());
            }
            return self.connect(id, *connect).await;
        }
        if !matches!(self.stage, Stage::Connected(_)) {
            return Err(Disconnect::BadRequest.into());
        }
        if let Some(channel) = sees_subscriptions(&request) {
            self.settle(channel).await;
        }
        match request {
            Request::Send(_) => Err(Disconnect::NotAvailable.into()),
            Request::Nothing if id == 0 => {
                self.timers.pong().then_some(()).ok_or(Disconnect::BadRequest.into())
            }
            _ if id == 0 => Err(Disconnect::BadRequest.into()),
            Request::Subscribe(request) => self.subscribe(id, *request),
            Request::Unsubscribe(request) => self.unsubscribe(id, &request).await,
            Request::SubRefresh(request) => self.sub_refresh(id, &request).await,
            Request::Publish(request) => self.publish(id, request).await,
            Request::Presence(request) => self.presence(id, &request).await,
            Request::PresenceStats(request) => self.presence_stats(id, &request).await,
            Request::History(request) => self.history(id, *request).await,
            Request::Rpc(request) => self.rpc(id, request),
            Request::Refresh(request) => self.refresh(id, &request).await,
            Request::Connect(_) | Request::Nothing => Err(Disconnect::BadRequest.into()),
        }
    }

    /// Waits for something to do. May be dropped at any time and called again.
    pub async fn wait(&mut self) -> Wakeup {
        loop {
            // The clock comes first: a queue that is never empty must not keep a session from its pings and its end.
            if let Some(due) = self.timers.overdue() {
                return Wakeup(Cause::Due(due));
            }
            if let Some(message) = self.handle.next_message() {
                return Wakeup(Cause::Message(message));
            }
            if let Some(finished) = self.attempts.finished() {
                return Wakeup(Cause::Attempted(Box::new(finished)));
            }
            if let Some(outgoing) = self.handle.outbox().take() {
                if matches!(outgoing, Outgoing::Messages(_) | Outgoing::Flush) {
                    self.timers.write_by(Some(self.handle.outbox().waiting_bytes()));
                }
                return Wakeup(Cause::Outgoing(outgoing));
            }
            if self.handle.outbox().is_ending() {
                self.timers.ending();
            }
            tokio::select! {
                () = self.handle.outbox().changed() => {}
                due = self.timers.due() => return Wakeup(Cause::Due(due)),
                finished = self.attempts.next() => return Wakeup(Cause::Attempted(Box::new(finished))),
            }
        }
    }

    /// Does what [`wait`](Self::wait) woke up for; what is left for the transport to do, if anything. A panic ends this
    /// session alone.
    pub async fn proceed(&mut self, wakeup: Wakeup) -> Option<Outgoing> {
        match wakeup.0 {
            Cause::Outgoing(outgoing) => return Some(outgoing),
            Cause::Due(Due::Ping) if self.native_pings => return Some(Outgoing::Ping),
            cause => {
                if let Err(panic) = AssertUnwindSafe(self.handle_cause(cause)).catch_unwind().await {
                    self.crashed(&*panic);
                }
            }
        }
        None
    }

    async fn handle_cause(&mut self, cause: Cause) {
        match cause {
            Cause::Message(message) => self.handle_message(message).await,
            Cause::Due(due) => self.handle_due(due).await,
            Cause::Attempted(finished) => self.attempted(*finished),
            Cause::Outgoing(_) => {}
        }
    }

    async fn handle_message(&mut self, message: SessionMessage) {
        self.handle.vitals().handled();
        match message {
            SessionMessage::Disconnect(reason) => self.handle.outbox().end(reason),
            SessionMessage::Subscribe { channel, subscription, recover } => {
                self.settle(channel.as_str()).await;
                self.subscribe_by_server(channel, *subscription, recover);
            }
            SessionMessage::Unsubscribe(channel) => {
                self.settle(channel.as_str()).await;
                self.unsubscribe_by_server(&channel).await;
            }
            SessionMessage::Refresh { expires_at, info } => self.refresh_by_server(expires_at, info),
            SessionMessage::Message(data) => self.reply(&Reply::push("", Push::message(data))),
            SessionMessage::SubscriptionLost(channel, code) => {
                self.settle(channel.as_str()).await;
                let Some(subscription) = self.subscriptions.remove(&channel) else { return };
                self.timers.look_at_subscriptions(self.subscriptions.next_end());
                // The channel may have taken the session in again after it said so.
                self.parts.channels.unsubscribe(&channel, self.client()).await;
                if subscription.server_side {
                    self.handle.outbox().end(Disconnect::InsufficientState);
                } else {
                    self.reply(&Reply::push(channel.as_str(), Push::unsubscribe(code)));
                }
            }
            #[cfg(feature = "test-hooks")]
            SessionMessage::Panic => panic!("asked to by a test"),
        }
    }

    async fn handle_due(&mut self, due: Due) {
        match due {
            Due::Ping => self.reply(&Reply::ping()),
            // The pong may be among what is not read yet.
            Due::End(Disconnect::NoPong) if self.is_paused() => self.timers.wait_for_pong(),
            Due::End(reason) => self.handle.outbox().end(reason),
            Due::GiveUp => self.handle.outbox().give_up(),
            Due::Resume => {}
            Due::Subscriptions => self.end_expired_subscriptions().await,
        }
    }

    /// Leaves all channels and the node. Nothing is written after this.
    pub async fn close(mut self) {
        self.leave().await;
    }

    async fn leave(&mut self) {
        self.closed = true;
        self.handle.outbox().end(Disconnect::ConnectionClosed);
        self.handle.outbox().detach();
        let last = self.parts.sessions.remove(&self.handle);
        self.attempts.give_up();
        for channel in self.subscriptions.take_all() {
            self.parts.channels.unsubscribe(&channel, self.handle.client()).await;
        }
        if last {
            self.parts.user_went(&self.handle).await;
        }
    }

    fn credentials(&self) -> Result<&Arc<Credentials>, Refusal> {
        match &self.stage {
            Stage::Connected(credentials) => Ok(credentials),
            Stage::New | Stage::Refused => Err(Disconnect::BadRequest.into()),
        }
    }

    fn user(&self) -> &str {
        match &self.stage {
            Stage::Connected(credentials) => &credentials.user,
            Stage::New | Stage::Refused => "",
        }
    }

    /// The session as others see it in a channel.
    fn info(&self, chan_info: Bytes) -> ClientInfo {
        let conn_info = match &self.stage {
            Stage::Connected(credentials) => credentials.info.clone(),
            Stage::New | Stage::Refused => Bytes::new(),
        };
        ClientInfo { user: self.user().to_owned(), client: self.client().to_string(), conn_info, chan_info }
    }

    /// Reads a channel's name from a command, as the protocol wants it refused.
    fn channel_name(text: &str) -> Result<ChannelName, Refusal> {
        ChannelName::parse(text).map_err(|error| match error {
            ChannelNameError::Empty => Disconnect::BadRequest.into(),
            ChannelNameError::TooLong | ChannelNameError::NotAscii => ErrorCode::BadRequest.into(),
        })
    }

    fn encode(&self, reply: &Reply) -> Option<Bytes> {
        match self.handle.encoding().encode_reply(reply) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                tracing::debug!(client = %self.client(), %error, "reply cannot be written in this encoding");
                // A command is always answered, and what others send to a session never ends it.
                let error = Reply::error(reply.id, ErrorCode::NotAvailable);
                if reply.id == 0 { None } else { self.handle.encoding().encode_reply(&error).ok() }
            }
        }
    }

    fn reply(&self, reply: &Reply) {
        if let Some(bytes) = self.encode(reply) {
            self.push_reply(reply.id, bytes);
        }
    }

    fn push_reply(&self, id: u32, reply: Bytes) {
        let outbox = self.handle.outbox();
        if id != 0 && !has_room(outbox, &reply) {
            // Too much for the client to take now: it may ask for less, and its session goes on.
            self.refused(id, ErrorCode::LimitExceeded);
        } else {
            outbox.push(reply);
        }
    }
}

/// Whether a reply fits beside what waits, or is so small that it is written anyway.
fn has_room(outbox: &Outbox, reply: &Bytes) -> bool {
    reply.len() <= SMALL_REPLY_BYTES || reply.len() <= outbox.room()
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        // The transport's task was aborted: leave the channels all the same.
        self.handle.outbox().detach();
        let last = self.parts.sessions.remove(&self.handle);
        let handle = Arc::clone(&self.handle);
        let (parts, client) = (Arc::clone(&self.parts), self.handle.client());
        self.attempts.give_up();
        let channels = self.subscriptions.take_all();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for channel in channels {
                    parts.channels.unsubscribe(&channel, client).await;
                }
                if last {
                    parts.user_went(&handle).await;
                }
            });
        }
    }
}

/// The channel of a command whose outcome depends on the session's subscription to it.
fn sees_subscriptions(request: &Request) -> Option<&str> {
    match request {
        Request::Unsubscribe(request) => Some(&request.channel),
        Request::Publish(request) => Some(&request.channel),
        Request::Presence(request) => Some(&request.channel),
        Request::PresenceStats(request) => Some(&request.channel),
        Request::History(request) => Some(&request.channel),
        Request::SubRefresh(request) => Some(&request.channel),
        _ => None,
    }
}

/// Channels by name, as the maps of this module hold them.
type ByChannel<T> = HashMap<ChannelName, T>;
