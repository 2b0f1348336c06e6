//! The session's own work: messages of others, its clock, subscriptions that come about, and what it has for the socket.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use mundotango_protocol::{Disconnect, Push, Reply};

use super::Session;
use super::attempts::Finished;
use super::timers::Due;
use crate::handle::SessionMessage;
use crate::outbox::Outgoing;
use crate::recorder::{Handling, Queued};

/// The reason why a session woke up.
pub struct Wakeup(Cause);

enum Cause {
    Message(Queued<SessionMessage>),
    Outgoing(Outgoing),
    Due(Due),
    Attempted(Box<Finished>),
}

impl Session {
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

    /// Does what [`wait`](Self::wait) woke up for. Returns what is left for the transport to do, if anything. A panic ends this
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

    async fn handle_message(&mut self, queued: Queued<SessionMessage>) {
        let handle = Arc::clone(&self.handle);
        handle.vitals().handled();
        let (kind, bytes) = queued.message.recorded();
        let _handling = Handling::begin_queued(handle.vitals().trail(), kind, bytes, queued.stamp());
        match queued.message {
            SessionMessage::Disconnect(reason) => self.handle.outbox().end(reason),
            SessionMessage::Subscribe { channel, subscription, recover } => {
                self.settle(channel.as_str()).await;
                self.subscribe_by_server(channel, *subscription, recover);
            }
            SessionMessage::Unsubscribe(channel) => {
                self.settle(channel.as_str()).await;
                self.unsubscribe_by_server(&channel).await;
            }
            SessionMessage::Refresh { expires_at, info } => self.refresh_by_server(expires_at, info).await,
            SessionMessage::Message(data) => self.reply(&Reply::push("", Push::message(data))),
            SessionMessage::SubscriptionLost { channel, number, code } => {
                self.settle(channel.as_str()).await;
                self.lose_subscription(&channel, number, code);
            }
            #[cfg(feature = "test-hooks")]
            SessionMessage::Panic => panic!("asked to by a test"),
        }
    }

    pub(super) async fn handle_due(&mut self, due: Due) {
        match due {
            Due::Ping => self.reply(&Reply::ping()),
            // The pong may be among what is not read yet.
            Due::End(Disconnect::NoPong) if self.is_paused() => self.timers.wait_for_pong(),
            Due::End(reason) => {
                if reason == Disconnect::ForceReconnect {
                    mundotango_ops::metrics().realtime_sessions_moved_total.with_label_values(&["age"]).inc();
                }
                self.handle.outbox().end(reason);
            }
            Due::GiveUp => self.handle.outbox().give_up(),
            Due::Resume => {}
            Due::Subscriptions => self.end_expired_subscriptions().await,
        }
    }
}
