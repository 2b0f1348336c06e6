//! Making a subscription: the rights to it, its properties, and the request to its channel.

use std::sync::Arc;

use bytes::Bytes;
use mundotango_ops::Seldom;
use mundotango_protocol::{
    ChannelName, ClientInfo, Disconnect, ErrorCode, Filter, Publication, StreamPosition, SubscribeRequest,
    SubscribeResult,
};

use super::attempts::Joined;
use super::context::SessionContext;
use super::expiry::{instant_of, ttl_of};
use super::ports::{Credentials, SubscriptionGrant, TokenRefusal};
use super::refusal::Refusal;
use super::subscriptions::Subscription;
use crate::channel::{self, Membership, Recovery, Subscribed, Subscriber, SubscriberFlags, recovered_deltas};
use crate::handle::{ServerSubscription, SessionHandle};
use crate::options::{DeltaType, NamespaceOptions, SubscriptionOverride};
use crate::outbox::SubscriptionNumber;

/// The only delta compression of the protocol.
const DELTA_FOSSIL: &str = "fossil";

/// The place from which a client wants to catch up, if it wants to.
pub(super) fn recover_position(request: &SubscribeRequest) -> Option<StreamPosition> {
    request.recover.then(|| StreamPosition { offset: request.offset, epoch: request.epoch.clone() })
}

/// The wanted properties of a new subscription.
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

/// A session as it is when it asks for a subscription.
#[derive(Clone)]
pub(super) struct Applicant {
    pub(super) context: Arc<SessionContext>,
    pub(super) handle: Arc<SessionHandle>,
    pub(super) credentials: Arc<Credentials>,
}

/// True if one of the `allow_…_for_…` groups lets a user do something.
pub(super) fn may(
    context: &SessionContext,
    user: &str,
    for_client: bool,
    as_subscriber: bool,
    for_anonymous: bool,
) -> bool {
    let allowed = (for_client || as_subscriber) && (!user.is_empty() || for_anonymous);
    allowed || context.session_options.insecure
}

impl Applicant {
    fn may(&self, for_client: bool, as_subscriber: bool, for_anonymous: bool) -> bool {
        may(&self.context, &self.credentials.user, for_client, as_subscriber, for_anonymous)
    }

    fn info(&self, chan_info: Bytes) -> ClientInfo {
        ClientInfo {
            user: self.credentials.user.clone(),
            client: self.handle.client().to_string(),
            conn_info: self.credentials.info.clone(),
            chan_info,
        }
    }

    /// Subscribes as a client asks, if it may.
    pub(super) async fn subscribe(
        &self,
        channel: &ChannelName,
        number: SubscriptionNumber,
        request: &SubscribeRequest,
    ) -> Result<Joined, Refusal> {
        let wish = self.wish_of(channel, request).await?;
        self.join(channel, number, wish).await
    }

    /// Reads the wanted properties of a subscription, and refuses those that make no sense or are not allowed.
    async fn wish_of(&self, channel: &ChannelName, request: &SubscribeRequest) -> Result<Wish, Refusal> {
        if !request.delta.is_empty() && request.delta != DELTA_FOSSIL {
            return Err(Disconnect::BadRequest.into());
        }
        let options = self.context.options_of(channel)?;
        if !options.admits(channel) {
            return Err(ErrorCode::BadRequest.into());
        }
        if request.kind != SubscribeRequest::STREAM {
            // Granting another kind as a stream would show the client an empty state for ever.
            return Err(ErrorCode::PermissionDenied.into());
        }
        let grant = self.may_subscribe(channel, request, options).await?.unwrap_or_default();
        let filter = match &request.tf {
            None => None,
            Some(_) if !options.allow_tags_filter => return Err(ErrorCode::BadRequest.into()),
            Some(node) => Some(Box::new(Filter::new(node).map_err(|error| {
                tracing::debug!(client = %self.handle.client(), %error, "filter refused");
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
        let insecure = self.context.session_options.insecure;
        let user = &self.credentials.user;
        let allowed = if channel.is_private() {
            insecure
        } else if options.allow_user_limited_channels && channel.is_user_limited() {
            channel.allows_user(user) || insecure
        } else {
            self.may(options.allow_subscribe_for_client, false, options.allow_subscribe_for_anonymous)
        };
        if allowed || self.context.gate_opens(user, channel).await? {
            Ok(None)
        } else {
            Err(ErrorCode::PermissionDenied.into())
        }
    }

    /// Reads a subscription token, which has to be for this channel and session.
    pub(super) async fn read_grant(
        &self,
        channel: &ChannelName,
        token: &str,
    ) -> Result<SubscriptionGrant, Refusal> {
        static LINES: Seldom = Seldom::once_a_minute();
        let grant =
            self.context.authenticator.subscription(token).await.map_err(|refusal| match refusal {
                TokenRefusal::Expired => ErrorCode::TokenExpired,
                TokenRefusal::Invalid | TokenRefusal::Blocked => ErrorCode::PermissionDenied,
                TokenRefusal::Unavailable => ErrorCode::Internal,
            })?;
        let for_us = grant.channel == channel.as_str()
            && grant.user == self.credentials.user
            && grant.client.as_ref().is_none_or(|client| *client == self.handle.client().to_string());
        if for_us {
            return Ok(grant);
        }
        if let Some(left_out) = LINES.may_write() {
            tracing::info!(
                %channel,
                user = self.credentials.user,
                client = %self.handle.client(),
                token_channel = grant.channel,
                token_user = grant.user,
                token_client = grant.client,
                left_out,
                "subscription token refused: it is for another channel, user or client"
            );
        }
        Err(Disconnect::InvalidToken.into())
    }

    /// Makes a subscription that is allowed. The caller holds it in the outbox until its reply is written.
    pub(super) async fn join(
        &self,
        channel: &ChannelName,
        number: SubscriptionNumber,
        wish: Wish,
    ) -> Result<Joined, Refusal> {
        let options = self.context.options_of(channel)?.with(&wish.change);
        let (subscribed, membership) = self.ask_channel(channel, number, &options, &wish).await?;
        self.joined(&options, number, wish, subscribed, membership)
    }

    fn joined(
        &self,
        options: &NamespaceOptions,
        number: SubscriptionNumber,
        wish: Wish,
        subscribed: Subscribed,
        membership: Membership,
    ) -> Result<Joined, Refusal> {
        let (mut flags, mut recoverable) = self.flags(options, &wish);
        let was_recovering = wish.recover.is_some() && recoverable;
        if subscribed.position.is_none() {
            // Nothing is kept, or hot state is gone: the client is told that this subscription is a live one only.
            recoverable = false;
            flags.positioned = false;
            flags.delta = false;
        }
        let top = subscribed.position.filter(|_| flags.positioned).unwrap_or_default();
        // More than the outbox holds would end the session, whose client would come back and ask for the same.
        let room = self.handle.outbox().room() / 2;
        let fits = |publications: &Vec<Publication>| {
            publications.iter().map(|publication| publication.data.len()).sum::<usize>() <= room
        };
        let missed = subscribed.recovered.filter(fits);
        let recovered = missed.is_some();
        if was_recovering {
            let result = if recovered { "recovered" } else { "unrecovered" };
            mundotango_ops::metrics().realtime_recoveries_total.with_label_values(&[result]).inc();
        }
        if was_recovering && !recovered && wish.reject_unrecovered {
            return Err(ErrorCode::UnrecoverablePosition.into());
        }
        let mut publications = missed.unwrap_or_default();
        if let Some(filter) = &wish.filter {
            publications.retain(|publication| filter.matches(&publication.tags));
        }
        // A client that recovers moves on from where it was by what it gets; if it gets nothing it is at the top.
        let offset = match &wish.recover {
            Some(from) if recovered && !publications.is_empty() => from.offset,
            _ => top.offset,
        };
        if flags.delta {
            let encoding = self.handle.encoding();
            publications = recovered_deltas(publications, encoding, options.delta_publish);
        }
        let grace = self.context.session_options.expired_grace;
        let ends_at = wish.expires_at.map(|at| instant_of(at, grace));
        let (expires, ttl) = ttl_of(wish.expires_at);
        Ok(Joined {
            membership,
            subscription: Subscription { number, server_side: wish.server_side, ends_at, info: wish.info },
            result: SubscribeResult {
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
            },
        })
    }

    /// The properties of a subscription, and true if it can be recovered.
    fn flags(&self, options: &NamespaceOptions, wish: &Wish) -> (SubscriberFlags, bool) {
        let history = self.may(
            options.allow_history_for_client,
            options.allow_history_for_subscriber,
            options.allow_history_for_anonymous,
        );
        let presence = self.may(
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
            without_history: false,
            join_leave: options.force_push_join_leave
                || (wish.join_leave && (options.join_leave || presence)),
            present: options.presence,
            announced: options.join_leave || options.force_push_join_leave,
            delta: wants_delta && has_history,
            has_base: false,
        };
        (flags, recoverable)
    }

    async fn ask_channel(
        &self,
        name: &ChannelName,
        number: SubscriptionNumber,
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
            number: channel::SubscriptionNumber::default(),
            held: number,
            info: shows_info.then(|| Arc::new(self.info(wish.info.clone()))),
            filter: wish.filter.clone(),
            flags,
        };
        // The channel's own options hold for all its subscribers; a token changes this one's flags alone.
        let own = self.context.options_of(name)?;
        Ok(self.context.channels.subscribe(name, own, &subscriber, recovery).await?)
    }
}
