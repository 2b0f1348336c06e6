//! A client's frames: each command is run and answered.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use mundotango_ops::traces::{About, Called, Kind, Span};
use mundotango_ops::{IntCounter, metrics};
use mundotango_protocol::{Command, Disconnect, Request};
use tokio::time::Instant;

use super::refusal::Refusal;
use super::timers::Due;
use super::{Session, Stage};
use crate::handle::Transport;
use crate::recorder::{Handling, MessageKind};

/// How long the replies to a frame may gather for one write.
const GATHER: Duration = Duration::from_millis(5);

/// The counters of commands, each at the place of its number.
static COUNTERS: LazyLock<[IntCounter; Request::NAMES.len()]> =
    LazyLock::new(|| Request::NAMES.map(|name| metrics().realtime_commands_total.with_label_values(&[name])));

impl Session {
    /// Takes one frame of the client. A panic in its handling ends this session alone.
    pub async fn receive(&mut self, frame: Bytes) {
        metrics().realtime_bytes_received_total.inc_by(frame.len() as u64);
        if let Err(panic) = AssertUnwindSafe(self.receive_frame(frame)).catch_unwind().await {
            self.crashed(&*panic);
        }
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
            self.gather_subscriptions().await;
            self.handle.outbox().uncork();
        }
    }

    /// Lets the quick subscriptions of a frame be answered in one write with its other commands. Those that take longer than
    /// replies may gather answer later, each by itself.
    async fn gather_subscriptions(&mut self) {
        if self.attempts.len() == 0 {
            return;
        }
        let gathering = async {
            while self.attempts.len() > 0 {
                let finished = self.attempts.next().await;
                self.attempted(finished);
            }
        };
        let _ = tokio::time::timeout(GATHER, gathering).await;
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

    async fn handle_command(&mut self, command: Command) -> Result<(), Refusal> {
        let id = command.id;
        let request = command.into_request();
        let handle = Arc::clone(&self.handle);
        let kind = MessageKind::command(request.name());
        let mut handling = Handling::begin(handle.vitals().trail(), kind, payload_bytes(&request));
        let is_pong = id == 0 && matches!(request, Request::Nothing);
        if !is_pong {
            // Whoever reads from a socket reads later from one that owes. A POST cannot be slowed so.
            let may_owe = self.handle.transport() == Transport::WebSocket;
            self.rate.take(&self.context.session_options, may_owe)?;
            self.timers.resume_at(self.rate.paused_until());
        }
        COUNTERS[request.number()].inc();
        let mut span = if is_pong { Span::none() } else { self.span_of(&request) };
        handling.belongs_to(span.context());
        if let Request::Connect(connect) = request {
            if id == 0 || !matches!(self.stage, Stage::New) {
                return Err(Disconnect::BadRequest.into());
            }
            self.connected_by = span.context();
            return span.run(self.connect(id, *connect)).await;
        }
        if !matches!(self.stage, Stage::Connected(_)) {
            return Err(Disconnect::BadRequest.into());
        }
        if let Some(channel) = sees_subscriptions(&request) {
            self.settle(channel).await;
        }
        // These two are answered later, and take their span along.
        let begun = match request {
            Request::Subscribe(request) if id != 0 => self.subscribe(id, *request, &mut span),
            Request::Rpc(request) if id != 0 => self.rpc(id, request, &mut span),
            request => return span.run(self.handle_request(id, request)).await,
        };
        span.end_with(&begun);
        begun
    }

    /// A span of a command: a trace of its own, as a session has no span, with a link to that of the connect command.
    fn span_of(&self, request: &Request) -> Span {
        let (user, channel) = (self.user(), channel_of(request));
        let user = (!user.is_empty()).then_some(user);
        let command = Some(Called::Name(request.name()));
        let mut span = Span::root(request.name(), Kind::Server, About { user, channel, command });
        if let Some(connect) = self.connected_by {
            span.link(connect);
        }
        if let Some(span) = span.recorded() {
            span.set("session.id", &self.client().to_string());
            if let Some(user) = user {
                span.set("user.id", user);
            }
            if let Some(channel) = channel {
                span.set("messaging.destination.name", channel);
            }
            if let Request::Rpc(request) = request {
                span.set("rpc.method", &request.method);
            }
        }
        span
    }

    async fn handle_request(&mut self, id: u32, request: Request) -> Result<(), Refusal> {
        match request {
            Request::Send(_) => Err(Disconnect::NotAvailable.into()),
            Request::Nothing if id == 0 => {
                self.timers.pong().then_some(()).ok_or(Disconnect::BadRequest.into())
            }
            _ if id == 0 => Err(Disconnect::BadRequest.into()),
            Request::Unsubscribe(request) => self.unsubscribe(id, &request).await,
            Request::SubRefresh(request) => self.sub_refresh(id, &request).await,
            Request::Publish(request) => self.publish(id, request).await,
            Request::Presence(request) => self.presence(id, &request).await,
            Request::PresenceStats(request) => self.presence_stats(id, &request).await,
            Request::History(request) => self.history(id, *request).await,
            Request::Refresh(request) => self.refresh(id, &request).await,
            Request::Connect(_) | Request::Subscribe(_) | Request::Rpc(_) | Request::Nothing => {
                Err(Disconnect::BadRequest.into())
            }
        }
    }
}

/// Size of what a command carries for others or for the application, in bytes.
fn payload_bytes(request: &Request) -> usize {
    match request {
        Request::Publish(request) => request.data.len(),
        Request::Rpc(request) => request.data.len(),
        _ => 0,
    }
}

/// The channel that a command is about.
fn channel_of(request: &Request) -> Option<&str> {
    match request {
        Request::Subscribe(request) => Some(&request.channel),
        other => sees_subscriptions(other),
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
