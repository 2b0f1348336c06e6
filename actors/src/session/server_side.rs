//! Requests of the application to a session: subscriptions of the server's own, and how long the connection is good.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use mundotango_protocol::{
    ChannelName, Disconnect, Push, RefreshPush, Reply, StreamPosition, SubscribePush, SubscribeResult,
    UnsubscribeCode,
};
use tokio::time::Instant;

use super::applicant::Wish;
use super::attempts::{Answer, Finished};
use super::{Session, Stage};
use crate::handle::ServerSubscription;

impl Session {
    /// Subscribes the session and tells the client. A channel that the session has already is left as it is.
    pub(super) fn subscribe_by_server(
        &mut self,
        channel: ChannelName,
        subscription: ServerSubscription,
        recover: Option<StreamPosition>,
    ) {
        let Ok(applicant) = self.applicant() else { return };
        if self.subscriptions.get(&channel).is_some() {
            return;
        }
        if self.channels() >= self.context.session_options.channel_limit {
            self.handle.outbox().end(Disconnect::ChannelLimit);
            return;
        }
        let number = self.attempts.number();
        self.handle.outbox().hold(number);
        let asked = channel.clone();
        let attempt = async move {
            let answer = Answer::Push(subscription.data.clone());
            let outcome = applicant.join(&asked, number, Wish::server_side(subscription, recover)).await;
            Finished { channel: asked, number, answer, outcome }
        };
        self.attempts.start(channel, attempt.boxed());
    }

    /// What tells a client that the server subscribed it. What it missed comes before what is held back, so it is
    /// written as one message with the push.
    pub(super) fn subscribe_push(
        &self,
        channel: &ChannelName,
        result: SubscribeResult,
        data: Bytes,
    ) -> Option<Bytes> {
        let subscribe = SubscribePush {
            recoverable: result.recoverable,
            epoch: result.epoch,
            offset: result.offset,
            positioned: result.positioned,
            data,
        };
        let push = Push { subscribe: Some(subscribe), ..Push::default() };
        let mut messages = vec![self.encode(&Reply::push(channel.as_str(), push))?];
        for publication in result.publications {
            messages.push(self.encode(&Reply::push(channel.as_str(), Push::publication(publication)))?);
        }
        let separator = self.handle.encoding().separator();
        Some(Bytes::from(messages.join(separator)))
    }

    /// Takes a subscription away and tells the client.
    pub(super) async fn unsubscribe_by_server(&mut self, channel: &ChannelName) {
        if self.subscriptions.remove(channel).is_none() {
            return;
        }
        self.timers.look_at_subscriptions(self.subscriptions.next_end());
        self.context.channels.unsubscribe(channel, self.client()).await;
        self.reply(&Reply::push(channel.as_str(), Push::unsubscribe(UnsubscribeCode::Server)));
    }

    /// Sets when the connection expires and what others may know of the user, and tells the client.
    pub(super) async fn refresh_by_server(&mut self, expires_at: Option<u64>, info: Option<Bytes>) {
        let Stage::Connected(credentials) = &mut self.stage else { return };
        let credentials = Arc::make_mut(credentials);
        credentials.expires_at = expires_at;
        let new_info = info.filter(|info| *info != credentials.info);
        let is_new_info = new_info.is_some();
        if let Some(info) = new_info {
            credentials.info = info;
        }
        let (expires, ttl) = self.expiry();
        if is_new_info {
            self.update_info().await;
        }
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
            self.context.channels.unsubscribe(&channel, self.client()).await;
            self.reply(&Reply::push(channel.as_str(), Push::unsubscribe(UnsubscribeCode::Expired)));
        }
        self.timers.look_at_subscriptions(self.subscriptions.next_end());
    }
}
