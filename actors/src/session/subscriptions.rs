//! The subscriptions that a session has.

use std::collections::HashMap;

use bytes::Bytes;
use mundotango_protocol::ChannelName;
use tokio::time::Instant;

use crate::outbox::SubscriptionNumber;

/// One subscription of a session.
pub(super) struct Subscription {
    /// Tells it from an earlier subscription to the same channel.
    pub(super) number: SubscriptionNumber,
    pub(super) server_side: bool,
    /// When it ends unless its token is refreshed.
    pub(super) ends_at: Option<Instant>,
    /// The part of the client's info that the subscription's token gives.
    pub(super) info: Bytes,
}

/// All subscriptions of a session.
#[derive(Default)]
pub(super) struct Subscriptions {
    pub(super) by_channel: HashMap<ChannelName, Subscription>,
}

impl Subscriptions {
    pub(super) fn get(&self, channel: &ChannelName) -> Option<&Subscription> {
        self.by_channel.get(channel)
    }

    pub(super) fn len(&self) -> usize {
        self.by_channel.len()
    }

    pub(super) fn remove(&mut self, channel: &ChannelName) -> Option<Subscription> {
        self.by_channel.remove(channel)
    }

    pub(super) fn take_all(&mut self) -> Vec<ChannelName> {
        self.by_channel.drain().map(|(channel, _)| channel).collect()
    }

    /// The channels whose time is over, and whether the server subscribed to them.
    pub(super) fn expired(&self, now: Instant) -> Vec<(ChannelName, bool)> {
        let expired = self
            .by_channel
            .iter()
            .filter(|(_, subscription)| subscription.ends_at.is_some_and(|at| at <= now));
        expired.map(|(channel, subscription)| (channel.clone(), subscription.server_side)).collect()
    }

    pub(super) fn next_end(&self) -> Option<Instant> {
        self.by_channel.values().filter_map(|subscription| subscription.ends_at).min()
    }
}
