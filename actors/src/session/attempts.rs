//! Subscriptions that are being made. They run beside the session's other work, so that a slow channel holds up neither
//! the replies of quicker ones nor the session's pings.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use mundotango_protocol::{ChannelName, SubscribeResult};
use parking_lot::Mutex;

use super::refusal::Refusal;
use super::subscriptions::Subscription;
use crate::channel::Membership;
use crate::outbox::SubscriptionNumber;

/// A session's subscriptions under way. An idle session has none, and pays for a pointer.
#[derive(Default)]
pub(super) struct Attempts {
    next_number: SubscriptionNumber,
    /// In a lock that nobody takes, as only that lets the session be shared between threads.
    running: Option<Box<Mutex<Running>>>,
}

#[derive(Default)]
struct Running {
    futures: FuturesUnordered<BoxFuture<'static, Finished>>,
    channels: Vec<ChannelName>,
}

/// The outcome of an attempt to subscribe.
pub(super) struct Finished {
    pub(super) channel: ChannelName,
    pub(super) number: SubscriptionNumber,
    pub(super) answer: Answer,
    pub(super) outcome: Result<Joined, Refusal>,
}

/// The message by which the client learns of a subscription.
pub(super) enum Answer {
    /// By the reply to its command.
    Reply(u32),
    /// By a push with the application's own data, as the server subscribed it.
    Push(Bytes),
}

/// A subscription that the channel knows.
pub(super) struct Joined {
    pub(super) result: SubscribeResult,
    pub(super) subscription: Subscription,
    /// Given back unless the session keeps it.
    pub(super) membership: Membership,
}

impl Attempts {
    /// A number for a new subscription.
    pub(super) fn number(&mut self) -> SubscriptionNumber {
        self.next_number = self.next_number.wrapping_add(1);
        self.next_number
    }

    /// Remembers that a subscription to a channel is under way.
    pub(super) fn note(&mut self, channel: ChannelName) {
        self.running.get_or_insert_default().get_mut().channels.push(channel);
    }

    pub(super) fn forget(&mut self, channel: &ChannelName) {
        let Some(running) = self.running.as_mut().map(|running| running.get_mut()) else { return };
        running.channels.retain(|known| known != channel);
        if running.channels.is_empty() {
            self.running = None;
        }
    }

    pub(super) fn start(&mut self, channel: ChannelName, attempt: BoxFuture<'static, Finished>) {
        self.note(channel);
        self.running.get_or_insert_default().get_mut().futures.push(attempt);
    }

    pub(super) fn len(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.lock().channels.len())
    }

    pub(super) fn has(&self, channel: &str) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.lock().channels.iter().any(|known| known.as_str() == channel))
    }

    /// Gives up all of them; channels that have taken the session in let it go.
    pub(super) fn give_up(&mut self) {
        self.running = None;
    }

    /// One that has come to its end, if there is one.
    pub(super) fn finished(&mut self) -> Option<Finished> {
        self.running.as_ref()?;
        self.next().now_or_never()
    }

    /// Waits for the next one that comes to its end.
    pub(super) async fn next(&mut self) -> Finished {
        if let Some(running) = &mut self.running
            && let Some(finished) = running.get_mut().futures.next().await
        {
            self.forget(&finished.channel);
            return finished;
        }
        std::future::pending().await
    }
}
