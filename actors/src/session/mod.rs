//! A session: one client's connection, whatever the transport.
//!
//! The transport owns the socket and the [`Session`]; it feeds frames in ([`Session::receive`]) and writes what comes
//! out ([`Session::wait`], [`Session::proceed`]). Both run in the transport's one task, so a session is sequential like
//! every actor. Others reach it through its [`SessionHandle`]: channels by its outbox, the node by
//! [`SessionMessage`](crate::SessionMessage)s.

mod applicant;
mod attempts;
mod commands;
mod connect;
mod context;
mod data;
mod events;
mod expiry;
mod ports;
mod rate;
mod refusal;
mod registry;
mod rpc;
mod server_side;
mod subscribe;
mod subscriptions;
mod timers;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use mundotango_ops::traces::TraceContext;
use mundotango_protocol::{
    ChannelName, ChannelNameError, ClientId, ClientInfo, Disconnect, Encoding, ErrorCode, Reply,
};
use tokio::sync::Semaphore;

use crate::crashes::panic_text;
use crate::handle::{SessionHandle, Transport};
use crate::outbox::Outbox;
use attempts::Attempts;
use rate::CommandRate;
use refusal::Refusal;
use subscriptions::Subscriptions;
use timers::Timers;

pub(crate) use context::{SessionConfig, SessionContext};
pub use events::Wakeup;
pub use ports::{
    Authenticator, Caller, ChannelGate, Credentials, RpcHandler, SubscriptionGrant, TokenRefusal,
};
pub use registry::Sessions;
pub(crate) use rpc::timed_out;

/// Replies up to this size are written however full the outbox is, or end the session as slow.
const SMALL_REPLY_BYTES: usize = 1024;

/// The stages of a session.
enum Stage {
    /// Waiting for the connect command.
    New,
    /// Open.
    Connected(Arc<Credentials>),
    /// The connect command failed; the client has to come again on another connection.
    Refused,
}

/// The state of one connection. See the module's text for who calls what.
pub struct Session {
    handle: Arc<SessionHandle>,
    context: Arc<SessionContext>,
    stage: Stage,
    subscriptions: Subscriptions,
    timers: Timers,
    /// Places for calls that run at the same time; made at the first call, as many sessions never call.
    rpc_slots: Option<Arc<Semaphore>>,
    rate: CommandRate,
    attempts: Attempts,
    /// See [`Who::session_key`](crate::Who::session_key).
    secret: Option<String>,
    native_pings: bool,
    /// See [`Caller::address`].
    address: Option<IpAddr>,
    closed: bool,
    /// The span of the connect command, if that is recorded: the spans of later commands are linked to it.
    connected_by: Option<TraceContext>,
}

impl Session {
    pub(crate) fn open(context: Arc<SessionContext>, transport: Transport, encoding: Encoding) -> Self {
        let handle = Arc::new(SessionHandle::new(transport, encoding, context.session_options.outbox_bytes));
        context.sessions.add(&handle);
        let timers = Timers::new(&context.session_options);
        Self {
            handle,
            context,
            stage: Stage::New,
            subscriptions: Subscriptions::default(),
            timers,
            rpc_slots: None,
            rate: CommandRate::default(),
            attempts: Attempts::default(),
            secret: (transport != Transport::WebSocket).then(|| ClientId::random().to_string()),
            native_pings: false,
            address: None,
            closed: false,
            connected_by: None,
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

    /// True if the client sent more than it may, so that its next commands are to be read later.
    pub fn is_paused(&self) -> bool {
        self.rate.paused_until().is_some()
    }

    /// The transport has written what it was given.
    pub fn written(&mut self) {
        self.timers.write_by(None);
        self.handle.outbox().written();
    }

    /// True once the client has sent its connect command.
    pub fn is_connected(&self) -> bool {
        !matches!(self.stage, Stage::New)
    }

    /// The session as others see it.
    pub fn handle(&self) -> &Arc<SessionHandle> {
        &self.handle
    }

    /// The secret by which an emulated session's commands find it; see [`Who::session_key`](crate::Who::session_key).
    pub fn session_key(&self) -> Option<&str> {
        self.secret.as_deref()
    }

    fn client(&self) -> ClientId {
        self.handle.client()
    }

    fn crashed(&self, panic: &(dyn std::any::Any + Send)) {
        self.context.session_crashed(&self.handle, panic_text(panic));
        self.handle.outbox().end(Disconnect::Internal);
    }

    fn refused(&self, id: u32, code: ErrorCode) {
        let label = code.code().to_string();
        mundotango_ops::metrics().realtime_command_errors_total.with_label_values(&[&label]).inc();
        // A message without an id is a push or a ping to clients, who would answer it.
        if id != 0 {
            self.reply(&Reply::error(id, code));
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
        let last = self.context.sessions.remove(&self.handle);
        self.attempts.give_up();
        for channel in self.subscriptions.take_all() {
            self.context.channels.unsubscribe(&channel, self.handle.client()).await;
        }
        if last {
            self.context.user_went(&self.handle).await;
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
        let last = self.context.sessions.remove(&self.handle);
        let handle = Arc::clone(&self.handle);
        let (context, client) = (Arc::clone(&self.context), self.handle.client());
        self.attempts.give_up();
        let channels = self.subscriptions.take_all();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for channel in channels {
                    context.channels.unsubscribe(&channel, client).await;
                }
                if last {
                    context.user_went(&handle).await;
                }
            });
        }
    }
}
