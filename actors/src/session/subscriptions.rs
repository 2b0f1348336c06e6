//! A session's subscriptions: who may have one, adding, removing, and keeping their tokens fresh.

use std::sync::Arc;

use bytes::Bytes;
use mundotango_ops::Seldom;
use mundotango_protocol::{
    ChannelName, Disconnect, Empty, ErrorCode, Filter, Reply, StreamPosition, SubRefreshRequest,
    SubRefreshResult, SubscribeRequest, SubscribeResult, UnsubscribeRequest,
};
use tokio::time::Instant;

use super::connect::{SubscriptionGrant, TokenRefusal, instant_of};
use super::{ByChannel, Refusal, Session};
use crate::channel::{
    Membership, Recovery, Subscribed, Subscriber, SubscriberFlags, SubscriptionNumber, recovered_deltas,
};
use crate::handle::ServerSubscription;
use crate::options::{DeltaType, NamespaceOptions, SubscriptionOverride};

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

/// What is wanted of a new subscription.
#[derive(Default)]
pub(super) struct Wish {
    server_side: bool,
    recover: Option<StreamPosition>,
    positioned: bool,
    recoverable: bool,
    join_leave: bool,
    reject_unrecovered: bool,
    delta: bool,
    filter: Option<Box<Filter>>,
    info: Bytes,
    data: Bytes,
    expires_at: Option<u64>,
    change: SubscriptionOverride,
}

impl Wish {
    /// The server's own; the client may say where it was.
    pub(super) fn server_side(subscription: ServerSubscription, recover: Option<StreamPosition>) -> Self {
        let ServerSubscription { info, data, expires_at, change } = subscription;
        Self { server_side: true, recover, info, data, expires_at, change, ..Self::default() }
    }
}

pub(super) fn recover_position(request: &SubscribeRequest) -> Option<StreamPosition> {
    request.recover.then(|| StreamPosition { offset: request.offset, epoch: request.epoch.clone() })
}

impl Session {
    /// Whether one of the `allow_…_for_…` groups lets the session do something in a channel.
    pub(super) fn may(
        &self,
        for_client: bool,
        for_subscriber: bool,
        for_anonymous: bool,
        channel: &ChannelName,
    ) -> bool {
        self.may_if(for_client, for_subscriber && self.subscriptions.get(channel).is_some(), for_anonymous)
    }

    fn may_if(&self, for_client: bool, as_subscriber: bool, for_anonymous: bool) -> bool {
        let allowed = (for_client || as_subscriber) && (!self.user().is_empty() || for_anonymous);
        allowed || self.parts.session_options.insecure
    }

    pub(super) async fn subscribe(&mut self, id: u32, request: SubscribeRequest) -> Result<(), Refusal> {
        let channel = Self::channel_name(&request.channel)?;
        if self.subscriptions.get(&channel).is_some() {
            return Err(ErrorCode::AlreadySubscribed.into());
        }
        if self.subscriptions.len() >= self.parts.session_options.channel_limit {
            return Err(ErrorCode::LimitExceeded.into());
        }
        let wish = self.wish_of(&channel, &request).await?;

        // Pushes of the channel wait for the reply that tells of the subscription.
        let handle = Arc::clone(&self.handle);
        handle.outbox().hold();
        let outcome = self.add_subscription(&channel, wish).await;
        let (reply, outcome) = match outcome {
            Ok(result) => (self.encode(&Reply { id, subscribe: Some(result), ..Reply::default() }), Ok(())),
            Err(refusal) => (None, Err(refusal)),
        };
        handle.outbox().release(reply);
        outcome
    }

    /// What a client wants, if it makes sense and the client may have it.
    pub(super) async fn wish_of(
        &self,
        channel: &ChannelName,
        request: &SubscribeRequest,
    ) -> Result<Wish, Refusal> {
        if !request.delta.is_empty() && request.delta != DELTA_FOSSIL {
            return Err(Disconnect::BadRequest.into());
        }
        let options = self.parts.options_of(channel)?;
        if !options.admits(channel) {
            return Err(ErrorCode::BadRequest.into());
        }
        let grant = self.may_subscribe(channel, request, options).await?.unwrap_or_default();
        let filter = match &request.tf {
            None => None,
            Some(_) if !options.allow_tags_filter => return Err(ErrorCode::BadRequest.into()),
            Some(node) => Some(Box::new(Filter::new(node).map_err(|error| {
                tracing::debug!(client = %self.client(), %error, "filter refused");
                ErrorCode::BadRequest
            })?)),
        };
        Ok(Wish {
            server_side: false,
            recover: recover_position(request),
            positioned: request.positioned,
            recoverable: request.recoverable,
            join_leave: request.join_leave,
            reject_unrecovered: request.flag & SubscribeRequest::REJECT_UNRECOVERED != 0,
            // A filter leaves holes between the publications that a difference could be to.
            delta: !request.delta.is_empty() && filter.is_none(),
            filter,
            info: grant.info,
            data: Bytes::new(),
            expires_at: grant.expires_at,
            change: grant.change,
        })
    }

    /// Checks the right to subscribe; the first rule that speaks of the channel decides.
    async fn may_subscribe(
        &self,
        channel: &ChannelName,
        request: &SubscribeRequest,
        options: &NamespaceOptions,
    ) -> Result<Option<SubscriptionGrant>, Refusal> {
        if !request.token.is_empty() {
            return self.read_grant(channel, &request.token).await.map(Some);
        }
        let insecure = self.parts.session_options.insecure;
        let allowed = if channel.is_private() {
            insecure
        } else if options.allow_user_limited_channels && channel.is_user_limited() {
            channel.allows_user(self.user()) || insecure
        } else {
            self.may_if(options.allow_subscribe_for_client, false, options.allow_subscribe_for_anonymous)
        };
        if allowed || self.parts.gate_opens(self.user(), channel).await? {
            Ok(None)
        } else {
            Err(ErrorCode::PermissionDenied.into())
        }
    }

    async fn read_grant(&self, channel: &ChannelName, token: &str) -> Result<SubscriptionGrant, Refusal> {
        static LINES: Seldom = Seldom::once_a_minute();
        let grant = self.parts.authenticator.subscription(token).await.map_err(|refusal| match refusal {
            TokenRefusal::Expired => ErrorCode::TokenExpired,
            TokenRefusal::Invalid | TokenRefusal::Blocked => ErrorCode::PermissionDenied,
            TokenRefusal::Unavailable => ErrorCode::Internal,
        })?;
        let for_us = grant.channel == channel.as_str()
            && grant.user == self.user()
            && grant.client.as_ref().is_none_or(|client| *client == self.client().to_string());
        if for_us {
            return Ok(grant);
        }
        if let Some(left_out) = LINES.may_write() {
            tracing::info!(
                %channel,
                user = self.user(),
                client = %self.client(),
                token_channel = grant.channel,
                token_user = grant.user,
                token_client = grant.client,
                left_out,
                "subscription token refused: it is for another channel, user or client"
            );
        }
        Err(Disconnect::InvalidToken.into())
    }

    /// Adds a subscription that is allowed. The caller holds the outbox until the result is written.
    pub(super) async fn add_subscription(
        &mut self,
        channel: &ChannelName,
        wish: Wish,
    ) -> Result<SubscribeResult, Refusal> {
        let options = self.parts.options_of(channel)?.with(&wish.change);
        let (subscribed, membership) = self.ask_channel(channel, &options, &wish).await?;
        let (mut flags, mut recoverable) = self.flags(&options, &wish);
        let was_recovering = wish.recover.is_some() && recoverable;
        if subscribed.position.is_none() {
            // Nothing is kept, or hot state is gone: the client is told that this subscription is a live one only.
            recoverable = false;
            flags.positioned = false;
            flags.delta = false;
        }
        let top = subscribed.position.filter(|_| flags.positioned).unwrap_or_default();
        let recovered = subscribed.recovered.is_some();
        if was_recovering {
            let result = if recovered { "recovered" } else { "unrecovered" };
            mundotango_ops::metrics().realtime_recoveries_total.with_label_values(&[result]).inc();
        }
        if was_recovering && !recovered && wish.reject_unrecovered {
            return Err(ErrorCode::UnrecoverablePosition.into());
        }
        let mut publications = subscribed.recovered.unwrap_or_default();
        // A client that recovers moves on from where it was by what it gets.
        let offset = match &wish.recover {
            Some(from) if recovered && !publications.is_empty() => from.offset,
            _ => top.offset,
        };
        if let Some(filter) = &wish.filter {
            publications.retain(|publication| filter.matches(&publication.tags));
        }
        if flags.delta {
            let encoding = self.handle.encoding();
            publications = recovered_deltas(publications, encoding, options.delta_publish);
        }

        let grace = self.parts.session_options.expired_grace;
        let ends_at = wish.expires_at.map(|at| instant_of(at, grace));
        let subscription = Subscription { server_side: wish.server_side, ends_at, info: wish.info };
        self.subscriptions.by_channel.insert(channel.clone(), subscription);
        membership.keep();
        self.timers.look_at_subscriptions(self.subscriptions.next_end());
        let (expires, ttl) = Self::ttl(wish.expires_at);
        Ok(SubscribeResult {
            expires,
            ttl,
            recoverable,
            epoch: top.epoch,
            publications,
            recovered,
            offset,
            positioned: flags.positioned,
            data: wish.data,
            was_recovering,
            delta: flags.delta,
        })
    }

    /// What a subscription will be like, and whether it can be recovered.
    fn flags(&self, options: &NamespaceOptions, wish: &Wish) -> (SubscriberFlags, bool) {
        let history = self.may_if(
            options.allow_history_for_client,
            options.allow_history_for_subscriber,
            options.allow_history_for_anonymous,
        );
        let presence = self.may_if(
            options.allow_presence_for_client,
            options.allow_presence_for_subscriber,
            options.allow_presence_for_anonymous,
        );
        let has_history = options.history().is_some();
        let recoverable = has_history
            && (options.force_recovery || (wish.recoverable && (options.allow_recovery || history)));
        let wants_delta = wish.delta && options.allowed_delta_types.contains(&DeltaType::Fossil);
        let positioned = recoverable
            || (has_history
                && (options.force_positioning
                    || wants_delta
                    || (wish.positioned && (options.allow_positioning || history))));
        let flags = SubscriberFlags {
            positioned,
            join_leave: options.force_push_join_leave
                || (wish.join_leave && (options.join_leave || presence)),
            without_history: false,
            present: options.presence,
            announced: options.join_leave || options.force_push_join_leave,
            delta: wants_delta && has_history,
            has_base: false,
        };
        (flags, recoverable)
    }

    async fn ask_channel(
        &self,
        channel: &ChannelName,
        options: &NamespaceOptions,
        wish: &Wish,
    ) -> Result<(Subscribed, Membership), Refusal> {
        let (flags, recoverable) = self.flags(options, wish);
        let recovery = wish.recover.as_ref().filter(|_| recoverable).map(|from| Recovery {
            from: from.clone(),
            mode: options.force_recovery_mode,
            all_or_nothing: wish.reject_unrecovered,
        });
        let shows_info = flags.present || flags.announced;
        let subscriber = Subscriber {
            session: Arc::clone(&self.handle),
            number: SubscriptionNumber::default(),
            info: shows_info.then(|| Arc::new(self.info(wish.info.clone()))),
            filter: wish.filter.clone(),
            flags,
        };
        // The channel's own options hold for all its subscribers; a token changes this one's flags alone.
        let own = self.parts.options_of(channel)?;
        Ok(self.parts.channels.subscribe(channel, own, &subscriber, recovery).await?)
    }

    pub(super) async fn unsubscribe(&mut self, id: u32, request: &UnsubscribeRequest) -> Result<(), Refusal> {
        let channel = Self::channel_name(&request.channel)?;
        if self.subscriptions.remove(&channel).is_some() {
            self.timers.look_at_subscriptions(self.subscriptions.next_end());
            self.parts.channels.unsubscribe(&channel, self.client()).await;
        }
        self.reply(&Reply { id, unsubscribe: Some(Empty {}), ..Reply::default() });
        Ok(())
    }

    pub(super) async fn sub_refresh(&mut self, id: u32, request: &SubRefreshRequest) -> Result<(), Refusal> {
        let channel = Self::channel_name(&request.channel)?;
        if self.subscriptions.get(&channel).is_none() {
            return Err(ErrorCode::PermissionDenied.into());
        }
        if request.token.is_empty() {
            return Err(ErrorCode::BadRequest.into());
        }
        let grant = self.read_grant(&channel, &request.token).await.map_err(|refusal| match refusal {
            Refusal::Error(ErrorCode::PermissionDenied) => Disconnect::InvalidToken.into(),
            other => other,
        })?;
        let grace = self.parts.session_options.expired_grace;
        if let Some(subscription) = self.subscriptions.by_channel.get_mut(&channel) {
            subscription.ends_at = grant.expires_at.map(|at| instant_of(at, grace));
        }
        self.timers.look_at_subscriptions(self.subscriptions.next_end());
        let (expires, ttl) = Self::ttl(grant.expires_at);
        let sub_refresh = SubRefreshResult { expires, ttl };
        self.reply(&Reply { id, sub_refresh: Some(sub_refresh), ..Reply::default() });
        Ok(())
    }
}
