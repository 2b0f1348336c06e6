//! Commands about subscriptions: subscribing, unsubscribing, and keeping a subscription's token fresh.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use mundotango_ops::traces::Span;
use mundotango_protocol::{
    ChannelName, Disconnect, Empty, ErrorCode, Push, Reply, SubRefreshRequest, SubRefreshResult,
    SubscribeRequest, UnsubscribeCode, UnsubscribeRequest,
};

use super::Session;
use super::applicant::{Applicant, may};
use super::attempts::{Answer, Finished};
use super::expiry::{instant_of, ttl_of};
use super::refusal::Refusal;
use super::subscriptions::Subscription;
use crate::channel::Membership;
use crate::outbox::SubscriptionNumber;

impl Session {
    /// True if one of the `allow_…_for_…` groups lets the session do something in a channel.
    pub(super) fn may(
        &self,
        for_client: bool,
        for_subscriber: bool,
        for_anonymous: bool,
        channel: &ChannelName,
    ) -> bool {
        let as_subscriber = for_subscriber && self.subscriptions.get(channel).is_some();
        may(&self.context, self.user(), for_client, as_subscriber, for_anonymous)
    }

    /// The session as it asks to be subscribed.
    pub(super) fn applicant(&self) -> Result<Applicant, Refusal> {
        let credentials = Arc::clone(self.credentials()?);
        Ok(Applicant { context: Arc::clone(&self.context), handle: Arc::clone(&self.handle), credentials })
    }

    /// Begins a subscription, which is answered when the channel has taken the session in.
    pub(super) fn subscribe(
        &mut self,
        id: u32,
        request: SubscribeRequest,
        span: &mut Span,
    ) -> Result<(), Refusal> {
        let channel = Self::channel_name(&request.channel)?;
        if self.subscriptions.get(&channel).is_some() || self.attempts.has(channel.as_str()) {
            return Err(ErrorCode::AlreadySubscribed.into());
        }
        if self.channels() >= self.context.session_options.channel_limit {
            return Err(ErrorCode::LimitExceeded.into());
        }
        let (applicant, number) = (self.applicant()?, self.attempts.number());
        self.handle.outbox().hold(number);
        let asked = channel.clone();
        let span = std::mem::take(span);
        let attempt = async move {
            let outcome = span.run(applicant.subscribe(&asked, number, &request)).await;
            Finished { channel: asked, number, answer: Answer::Reply(id), outcome }
        };
        self.attempts.start(channel, attempt.boxed());
        Ok(())
    }

    /// Subscriptions, made and under way.
    pub(super) fn channels(&self) -> usize {
        self.subscriptions.len() + self.attempts.len()
    }

    /// Waits until no subscription to a channel is under way: a command sees what the commands before it did.
    pub(super) async fn settle(&mut self, channel: &str) {
        while self.attempts.has(channel) {
            let finished = self.attempts.next().await;
            self.attempted(finished);
        }
    }

    /// Shows what is new of the session in the presence of all its channels.
    pub(super) async fn update_info(&mut self) {
        // A subscription under way was asked for with what others knew before.
        while self.attempts.len() > 0 {
            let finished = self.attempts.next().await;
            self.attempted(finished);
        }
        let (channels, client) = (&self.context.channels, self.client());
        let updates = self.subscriptions.by_channel.iter().map(|(channel, subscription)| {
            channels.update_info(channel, client, self.info(subscription.info.clone()))
        });
        join_all(updates).await;
    }

    /// Takes a subscription in and tells the client.
    pub(super) fn attempted(&mut self, finished: Finished) {
        let Finished { channel, number, answer, outcome } = finished;
        let handle = Arc::clone(&self.handle);
        match (outcome, answer) {
            (Ok(joined), Answer::Reply(id)) => {
                self.add(channel, joined.subscription, joined.membership);
                let reply = Reply { id, subscribe: Some(joined.result), ..Reply::default() };
                handle.outbox().release(&[number], self.encode(&reply));
            }
            (Ok(joined), Answer::Push(data)) => {
                self.add(channel.clone(), joined.subscription, joined.membership);
                handle.outbox().release(&[number], self.subscribe_push(&channel, joined.result, data));
            }
            (Err(refusal), answer) => {
                handle.outbox().discard(number);
                match (refusal, answer) {
                    (Refusal::Error(code), Answer::Reply(id)) => self.refused(id, code),
                    (Refusal::Error(error), Answer::Push(_)) => {
                        tracing::debug!(client = %self.client(), %channel, %error, "not subscribed by the server");
                    }
                    (Refusal::Disconnect(reason), _) => handle.outbox().end(reason),
                }
            }
        }
    }

    pub(super) fn add(&mut self, channel: ChannelName, subscription: Subscription, membership: Membership) {
        self.subscriptions.by_channel.insert(channel, subscription);
        membership.keep();
        self.timers.look_at_subscriptions(self.subscriptions.next_end());
    }

    pub(super) async fn unsubscribe(&mut self, id: u32, request: &UnsubscribeRequest) -> Result<(), Refusal> {
        let channel = Self::channel_name(&request.channel)?;
        if self.subscriptions.remove(&channel).is_some() {
            self.timers.look_at_subscriptions(self.subscriptions.next_end());
            self.context.channels.unsubscribe(&channel, self.client()).await;
        }
        self.reply(&Reply { id, unsubscribe: Some(Empty {}), ..Reply::default() });
        Ok(())
    }

    /// Ends a subscription that its channel has given up, unless the session has a newer one to the channel.
    pub(super) fn lose_subscription(
        &mut self,
        channel: &ChannelName,
        number: SubscriptionNumber,
        code: UnsubscribeCode,
    ) {
        let Some(subscription) = self.subscriptions.get(channel).filter(|own| own.number == number) else {
            return;
        };
        if subscription.server_side {
            self.handle.outbox().end(Disconnect::InsufficientState);
        } else {
            self.reply(&Reply::push(channel.as_str(), Push::unsubscribe(code)));
        }
        self.subscriptions.remove(channel);
        self.timers.look_at_subscriptions(self.subscriptions.next_end());
    }

    pub(super) async fn sub_refresh(&mut self, id: u32, request: &SubRefreshRequest) -> Result<(), Refusal> {
        let channel = Self::channel_name(&request.channel)?;
        if self.subscriptions.get(&channel).is_none() {
            return Err(ErrorCode::PermissionDenied.into());
        }
        if request.token.is_empty() {
            return Err(ErrorCode::BadRequest.into());
        }
        let applicant = self.applicant()?;
        let grant =
            applicant.read_grant(&channel, &request.token).await.map_err(|refusal| match refusal {
                Refusal::Error(ErrorCode::PermissionDenied) => Disconnect::InvalidToken.into(),
                other => other,
            })?;
        let grace = self.context.session_options.expired_grace;
        let mut is_new_info = false;
        if let Some(subscription) = self.subscriptions.by_channel.get_mut(&channel) {
            subscription.ends_at = grant.expires_at.map(|at| instant_of(at, grace));
            is_new_info = subscription.info != grant.info;
            subscription.info = grant.info.clone();
        }
        self.timers.look_at_subscriptions(self.subscriptions.next_end());
        if is_new_info {
            self.context.channels.update_info(&channel, self.client(), self.info(grant.info)).await;
        }
        let (expires, ttl) = ttl_of(grant.expires_at);
        let sub_refresh = SubRefreshResult { expires, ttl };
        self.reply(&Reply { id, sub_refresh: Some(sub_refresh), ..Reply::default() });
        Ok(())
    }
}
