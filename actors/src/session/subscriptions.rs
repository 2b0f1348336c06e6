//! A session's subscriptions: who may have one, adding, removing, and keeping their tokens fresh.

use std::sync::Arc;

use bytes::Bytes;
use mundotango_protocol::{
    ChannelName, Disconnect, Empty, ErrorCode, Push, Reply, StreamPosition, SubRefreshRequest,
    SubRefreshResult, SubscribeRequest, SubscribeResult, UnsubscribeCode, UnsubscribeRequest,
};
use tokio::time::Instant;

use super::connect::{SubscriptionGrant, TokenRefusal, instant_of, seconds_until};
use super::{ByChannel, Refusal, Session};
use crate::channel::Subscriber;
use crate::options::NamespaceOptions;

/// The only delta compression of the protocol.
const DELTA_FOSSIL: &str = "fossil";

/// One subscription of a session.
pub(super) struct Subscription {
    pub(super) server_side: bool,
    /// When it ends unless its token is refreshed.
    ends_at: Option<Instant>,
    /// What the token says of the user to other subscribers.
    pub(super) info: Bytes,
}

/// All subscriptions of a session.
#[derive(Default)]
pub(super) struct Subscriptions {
    by_channel: ByChannel<Subscription>,
}

impl Subscriptions {
    pub(super) fn get(&self, channel: &ChannelName) -> Option<&Subscription> {
        self.by_channel.get(channel)
    }

    pub(super) fn remove(&mut self, channel: &ChannelName) -> Option<Subscription> {
        self.by_channel.remove(channel)
    }

    pub(super) fn take_all(&mut self) -> Vec<ChannelName> {
        self.by_channel.drain().map(|(channel, _)| channel).collect()
    }

    fn next_end(&self) -> Option<Instant> {
        self.by_channel.values().filter_map(|subscription| subscription.ends_at).min()
    }
}

/// What is wanted of a new subscription.
#[derive(Default)]
pub(super) struct Wish {
    server_side: bool,
    recover: Option<StreamPosition>,
    positioned: bool,
    recoverable: bool,
    join_leave: bool,
    info: Bytes,
    expires_at: Option<u64>,
}

impl Wish {
    fn of_client(request: &SubscribeRequest, grant: Option<SubscriptionGrant>) -> Self {
        let grant = grant.unwrap_or_default();
        Self {
            server_side: false,
            recover: recover_position(request),
            positioned: request.positioned,
            recoverable: request.recoverable,
            join_leave: request.join_leave,
            info: grant.info,
            expires_at: grant.expires_at,
        }
    }

    /// The server's own; the client may say where it was.
    pub(super) fn server_side(request: Option<&SubscribeRequest>) -> Self {
        Self { server_side: true, recover: request.and_then(recover_position), ..Self::default() }
    }
}

fn recover_position(request: &SubscribeRequest) -> Option<StreamPosition> {
    request.recover.then(|| StreamPosition { offset: request.offset, epoch: request.epoch.clone() })
}

/// Whether one of the `allow_…_for_…` groups lets a session do something.
pub(super) fn allows(for_client: bool, for_subscriber: bool, for_anonymous: bool, who: Standing) -> bool {
    (for_client || (for_subscriber && who.subscribed)) && (!who.anonymous || for_anonymous)
}

/// How a session stands to a channel.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    pub(super) subscribed: bool,
    pub(super) anonymous: bool,
}

impl Session {
    pub(super) fn standing(&self, channel: &ChannelName) -> Standing {
        Standing { subscribed: self.subscriptions.get(channel).is_some(), anonymous: self.user().is_empty() }
    }

    pub(super) async fn subscribe(&mut self, id: u32, request: SubscribeRequest) -> Result<(), Refusal> {
        let channel = Self::channel_name(&request.channel)?;
        if self.subscriptions.get(&channel).is_some() {
            return Err(ErrorCode::AlreadySubscribed.into());
        }
        if self.subscriptions.by_channel.len() >= self.parts.session_options.channel_limit {
            return Err(ErrorCode::LimitExceeded.into());
        }
        if !request.delta.is_empty() && request.delta != DELTA_FOSSIL {
            return Err(Disconnect::BadRequest.into());
        }
        let options = self.parts.options_of(&channel)?.clone();
        let grant = self.may_subscribe(&channel, &request, &options)?;
        let wish = Wish::of_client(&request, grant);

        // Pushes of the channel wait for the reply that tells of the subscription.
        let handle = Arc::clone(&self.handle);
        handle.outbox().hold();
        let outcome = self.add_subscription(&channel, wish).await;
        let reply = match &outcome {
            Ok(result) => self.encode(&Reply { id, subscribe: Some(result.clone()), ..Reply::default() }),
            Err(_) => None,
        };
        handle.outbox().release(reply);
        outcome.map(drop)
    }

    /// Checks the right to subscribe; the first rule that speaks of the channel decides.
    fn may_subscribe(
        &self,
        channel: &ChannelName,
        request: &SubscribeRequest,
        options: &NamespaceOptions,
    ) -> Result<Option<SubscriptionGrant>, Refusal> {
        if !request.token.is_empty() {
            return self.read_grant(channel, &request.token).map(Some);
        }
        let allowed = if channel.is_private() {
            false
        } else if options.allow_user_limited_channels && channel.is_user_limited() {
            channel.allows_user(self.user())
        } else {
            let standing = self.standing(channel);
            allows(options.allow_subscribe_for_client, false, options.allow_subscribe_for_anonymous, standing)
        };
        if allowed { Ok(None) } else { Err(ErrorCode::PermissionDenied.into()) }
    }

    fn read_grant(&self, channel: &ChannelName, token: &str) -> Result<SubscriptionGrant, Refusal> {
        let grant = self.parts.authenticator.subscription(token).map_err(|refusal| match refusal {
            TokenRefusal::Expired => ErrorCode::TokenExpired,
            TokenRefusal::Invalid => ErrorCode::PermissionDenied,
        })?;
        let for_us = grant.channel == channel.as_str()
            && grant.user == self.user()
            && grant.client.as_ref().is_none_or(|client| *client == self.client().to_string());
        if for_us { Ok(grant) } else { Err(Disconnect::InvalidToken.into()) }
    }

    /// Adds a subscription that is allowed. The caller holds the outbox until the result is written.
    pub(super) async fn add_subscription(
        &mut self,
        channel: &ChannelName,
        wish: Wish,
    ) -> Result<SubscribeResult, Refusal> {
        let options = self.parts.options_of(channel)?.clone();
        let standing = Standing { subscribed: true, ..self.standing(channel) };
        let history = allows(
            options.allow_history_for_client,
            options.allow_history_for_subscriber,
            options.allow_history_for_anonymous,
            standing,
        );
        let presence = allows(
            options.allow_presence_for_client,
            options.allow_presence_for_subscriber,
            options.allow_presence_for_anonymous,
            standing,
        );
        let has_history = options.history().is_some();
        let recoverable = has_history
            && (options.force_recovery || (wish.recoverable && (options.allow_recovery || history)));
        let positioned = recoverable
            || (has_history
                && (options.force_positioning
                    || (wish.positioned && (options.allow_positioning || history))));
        let join_leave =
            options.force_push_join_leave || (wish.join_leave && (options.join_leave || presence));
        let shows_info = options.presence || options.join_leave || options.force_push_join_leave;
        let recover = wish.recover.filter(|_| recoverable);

        let info = shows_info.then(|| Box::new(self.info(wish.info.clone())));
        let subscriber =
            || Subscriber { session: Arc::clone(&self.handle), info: info.clone(), positioned, join_leave };
        let subscribed =
            self.parts.channels.subscribe(channel, &options, subscriber, recover.as_ref()).await?;

        let grace = self.parts.session_options.expired_grace;
        let ends_at = wish.expires_at.map(|at| instant_of(at, grace));
        let subscription = Subscription { server_side: wish.server_side, ends_at, info: wish.info };
        self.subscriptions.by_channel.insert(channel.clone(), subscription);
        self.timers.look_at_subscriptions(self.subscriptions.next_end());

        let was_recovering = recover.is_some();
        let recovered = subscribed.recovered.is_some();
        if was_recovering {
            let result = if recovered { "recovered" } else { "unrecovered" };
            mundotango_ops::metrics().realtime_recoveries_total.with_label_values(&[result]).inc();
        }
        let top = subscribed.position.filter(|_| positioned).unwrap_or_default();
        // A client that recovers moves on from where it was by what it gets.
        let offset = match recover {
            Some(from) if recovered => from.offset,
            _ => top.offset,
        };
        Ok(SubscribeResult {
            expires: wish.expires_at.is_some(),
            ttl: wish.expires_at.map(seconds_until).unwrap_or_default(),
            recoverable,
            epoch: top.epoch,
            publications: subscribed.recovered.unwrap_or_default(),
            recovered,
            offset,
            positioned,
            was_recovering,
            ..SubscribeResult::default()
        })
    }

    pub(super) async fn unsubscribe(&mut self, id: u32, request: &UnsubscribeRequest) -> Result<(), Refusal> {
        let channel = Self::channel_name(&request.channel)?;
        if self.subscriptions.remove(&channel).is_some() {
            self.parts.channels.unsubscribe(&channel, self.client()).await;
        }
        self.reply(&Reply { id, unsubscribe: Some(Empty {}), ..Reply::default() });
        Ok(())
    }

    pub(super) fn sub_refresh(&mut self, id: u32, request: &SubRefreshRequest) -> Result<(), Refusal> {
        let channel = Self::channel_name(&request.channel)?;
        if self.subscriptions.get(&channel).is_none() {
            return Err(ErrorCode::PermissionDenied.into());
        }
        if request.token.is_empty() {
            return Err(ErrorCode::BadRequest.into());
        }
        let grant = self.read_grant(&channel, &request.token).map_err(|refusal| match refusal {
            Refusal::Error(ErrorCode::PermissionDenied) => Disconnect::InvalidToken.into(),
            other => other,
        })?;
        let grace = self.parts.session_options.expired_grace;
        if let Some(subscription) = self.subscriptions.by_channel.get_mut(&channel) {
            subscription.ends_at = grant.expires_at.map(|at| instant_of(at, grace));
        }
        self.timers.look_at_subscriptions(self.subscriptions.next_end());
        let sub_refresh = SubRefreshResult {
            expires: grant.expires_at.is_some(),
            ttl: grant.expires_at.map(seconds_until).unwrap_or_default(),
        };
        self.reply(&Reply { id, sub_refresh: Some(sub_refresh), ..Reply::default() });
        Ok(())
    }

    /// Takes away the subscriptions whose token was not refreshed.
    pub(super) async fn end_expired_subscriptions(&mut self) {
        let now = Instant::now();
        let expired: Vec<_> = self
            .subscriptions
            .by_channel
            .iter()
            .filter(|(_, subscription)| subscription.ends_at.is_some_and(|at| at <= now))
            .map(|(channel, subscription)| (channel.clone(), subscription.server_side))
            .collect();
        for (channel, server_side) in expired {
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
}
