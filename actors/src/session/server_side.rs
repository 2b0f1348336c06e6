//! What the application does to a session: subscriptions of the server's own, and how long the connection is good.

use bytes::Bytes;
use mundotango_protocol::{
    ChannelName, Disconnect, Push, RefreshPush, Reply, StreamPosition, SubscribePush, UnsubscribeCode,
};
use tokio::time::Instant;

use super::connect::seconds_until;
use super::subscriptions::Wish;
use super::{Refusal, Session, Stage};
use crate::handle::ServerSubscription;

impl Session {
    /// Subscribes the session and tells the client. A channel that the session has already is left as it is.
    pub(super) async fn subscribe_by_server(
        &mut self,
        channel: ChannelName,
        subscription: ServerSubscription,
        recover: Option<StreamPosition>,
    ) {
        if !matches!(self.stage, Stage::Connected(_)) || self.subscriptions.get(&channel).is_some() {
            return;
        }
        if self.subscriptions.len() >= self.parts.session_options.channel_limit {
            self.handle.outbox().end(Disconnect::ChannelLimit);
            return;
        }
        let data = subscription.data.clone();
        let wish = Wish::server_side(subscription, recover);
        self.handle.outbox().hold();
        let outcome = self.add_subscription(&channel, wish).await;
        let push = match outcome {
            Ok(result) => {
                let subscribe = SubscribePush {
                    recoverable: result.recoverable,
                    epoch: result.epoch,
                    offset: result.offset,
                    positioned: result.positioned,
                    data,
                };
                let push = Push { subscribe: Some(subscribe), ..Push::default() };
                Some((Reply::push(channel.as_str(), push), result.publications))
            }
            Err(Refusal::Error(error)) => {
                tracing::debug!(client = %self.client(), %channel, %error, "not subscribed by the server");
                None
            }
            Err(Refusal::Disconnect(reason)) => {
                self.handle.outbox().end(reason);
                None
            }
        };
        let Some((reply, missed)) = push else {
            self.handle.outbox().release(None);
            return;
        };
        // What was missed comes before what is held back, so it is written as one message with the push.
        let mut messages = vec![self.encode(&reply)];
        for publication in missed {
            messages.push(self.encode(&Reply::push(channel.as_str(), Push::publication(publication))));
        }
        let separator = self.handle.encoding().separator();
        let joined = messages.into_iter().flatten().collect::<Vec<_>>().join(separator);
        self.handle.outbox().release(Some(Bytes::from(joined)));
    }

    /// Takes a subscription away and tells the client.
    pub(super) async fn unsubscribe_by_server(&mut self, channel: &ChannelName) {
        if self.subscriptions.remove(channel).is_none() {
            return;
        }
        self.timers.look_at_subscriptions(self.subscriptions.next_end());
        self.parts.channels.unsubscribe(channel, self.client()).await;
        self.reply(&Reply::push(channel.as_str(), Push::unsubscribe(UnsubscribeCode::Server)));
    }

    /// Sets when the connection expires and tells the client.
    pub(super) fn refresh_by_server(&mut self, expires_at: Option<u64>, info: Option<Bytes>) {
        let Stage::Connected(credentials) = &mut self.stage else { return };
        credentials.expires_at = expires_at;
        if let Some(info) = info {
            credentials.info = info;
        }
        let (expires, ttl) = self.expiry();
        let push = Push { refresh: Some(RefreshPush { expires, ttl }), ..Push::default() };
        self.reply(&Reply::push("", push));
    }

    /// Takes away the subscriptions whose token was not refreshed.
    pub(super) async fn end_expired_subscriptions(&mut self) {
        let now = Instant::now();
        for (channel, server_side) in self.subscriptions.expired(now) {
            if server_side {
                self.handle.outbox().end(Disconnect::SubscriptionExpired);
                return;
            }
            self.subscriptions.remove(&channel);
            self.parts.channels.unsubscribe(&channel, self.client()).await;
            self.reply(&Reply::push(channel.as_str(), Push::unsubscribe(UnsubscribeCode::Expired)));
        }
        self.timers.look_at_subscriptions(self.subscriptions.next_end());
    }

    /// Whether a Unix time, if there is one, lies in the future, and in how many seconds.
    pub(super) fn ttl(expires_at: Option<u64>) -> (bool, u32) {
        (expires_at.is_some(), expires_at.map(seconds_until).unwrap_or_default())
    }
}
