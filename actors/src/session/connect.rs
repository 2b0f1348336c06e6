//! Opening a session, and keeping its token fresh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use mundotango_protocol::{
    ChannelName, ConnectRequest, ConnectResult, Disconnect, ErrorCode, Push, RefreshRequest, RefreshResult,
    Reply, SubscribeRequest, SubscribeResult,
};
use tokio::time::Instant;

use super::subscriptions::{Wish, recover_position};
use super::{Refusal, Session, Stage};
use crate::handle::{ServerSubscription, Who};
use crate::options::SubscriptionOverride;

/// Longest name and version of a client library that are kept, in bytes; the protocol's limits.
const MAX_NAME_BYTES: usize = 16;
const MAX_VERSION_BYTES: usize = 64;

/// What a connection token gives its session.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The user's id; empty for anonymous sessions.
    pub user: String,
    /// The user's role, which the application alone understands.
    pub role: String,
    /// The login that the token came from.
    pub login_id: Option<String>,
    /// The token's own id.
    pub token_id: Option<String>,
    /// When the token was issued, in Unix seconds.
    pub issued_at: Option<u64>,
    /// When the connection expires, in Unix seconds.
    pub expires_at: Option<u64>,
    /// What other clients may know of the user, in JSON; may be empty.
    pub info: Bytes,
    /// What only the server knows of the user, in JSON; may be empty.
    pub meta: Bytes,
    /// The channels to which the server subscribes the session, and how.
    pub subscriptions: BTreeMap<String, ServerSubscription>,
}

/// What a subscription token allows.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionGrant {
    /// The channel.
    pub channel: String,
    /// The user that it is for.
    pub user: String,
    /// The only session that it is for, if it says so.
    pub client: Option<String>,
    /// When the subscription expires, in Unix seconds.
    pub expires_at: Option<u64>,
    /// What other subscribers may know of the user, in JSON; may be empty.
    pub info: Bytes,
    /// Options of the namespace that this subscription has otherwise.
    pub change: SubscriptionOverride,
}

/// Why a token gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// It was good once: the client should get another.
    Expired,
    /// It was never good.
    Invalid,
    /// It, or its user, was locked out.
    Blocked,
    /// It cannot be told now, as its key is not to be had.
    Unavailable,
}

/// Who reads tokens for the sessions.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Reads a connection token.
    async fn connection(&self, token: &str) -> Result<Credentials, TokenRefusal>;

    /// Reads a subscription token.
    async fn subscription(&self, token: &str) -> Result<SubscriptionGrant, TokenRefusal>;

    /// Whether a session's token, login or user is locked out; never where nothing can be revoked.
    fn is_revoked(&self, _who: &Who) -> bool {
        false
    }
}

/// Seconds until a Unix time, at least 1 so that "expires now" is not read as "never".
pub(super) fn seconds_until(unix_seconds: u64) -> u32 {
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    u32::try_from(unix_seconds.saturating_sub(now).max(1)).unwrap_or(u32::MAX)
}

pub(super) fn instant_of(unix_seconds: u64, grace: Duration) -> Instant {
    // Far times are cut, as instants can't hold all of them.
    const FAR: u32 = 10 * 365 * 24 * 3600;
    Instant::now() + Duration::from_secs(seconds_until(unix_seconds).min(FAR).into()) + grace
}

impl Session {
    pub(super) async fn connect(&mut self, id: u32, request: ConnectRequest) -> Result<(), Refusal> {
        let credentials = self.authenticate(&request.token).await?;
        let channels = self.server_side_channels(&credentials)?;
        self.handle.set_who(Who {
            user: credentials.user.clone(),
            login_id: credentials.login_id.clone(),
            token_id: credentials.token_id.clone(),
            issued_at: credentials.issued_at,
            meta: credentials.meta.clone(),
            library: (cut(&request.name, MAX_NAME_BYTES), cut(&request.version, MAX_VERSION_BYTES)),
            session_key: self.secret.clone(),
        });
        self.stage = Stage::Connected(Box::new(credentials));
        let sessions = self.parts.sessions.add_user(&self.handle);
        let most = self.parts.session_options.user_connection_limit;
        if most > 0 && sessions > most {
            return Err(Disconnect::ConnectionLimit.into());
        }
        if sessions == 1 {
            self.parts.user_came(&self.handle).await;
        }
        self.check_not_revoked()?;

        // Pushes of the channels wait for the reply that tells of their subscriptions.
        let handle = Arc::clone(&self.handle);
        handle.outbox().hold();
        let outcome = self.subscribe_server_side(channels, &request).await;
        let reply = outcome.map(|subs| {
            let connect = self.connect_result(subs);
            let reply = if handle.transport().is_unidirectional() {
                Reply::push("", Push { connect: Some(connect.into()), ..Push::default() })
            } else {
                Reply { id, connect: Some(connect), ..Reply::default() }
            };
            self.encode(&reply)
        });
        match reply {
            Ok(reply) => {
                self.timers.connected(!handle.transport().is_unidirectional());
                handle.outbox().release(reply);
                Ok(())
            }
            Err(refusal) => {
                handle.outbox().release(None);
                match refusal {
                    Refusal::Error(code) => Err(self.refuse(code)),
                    Refusal::Disconnect(reason) => Err(reason.into()),
                }
            }
        }
    }

    async fn authenticate(&mut self, token: &str) -> Result<Credentials, Refusal> {
        let options = &self.parts.session_options;
        if token.is_empty() {
            let welcome = options.allow_anonymous || options.insecure;
            return if welcome { Ok(Credentials::default()) } else { Err(Disconnect::BadRequest.into()) };
        }
        match self.parts.authenticator.connection(token).await {
            Ok(credentials) => Ok(credentials),
            Err(TokenRefusal::Invalid) => Err(Disconnect::InvalidToken.into()),
            Err(TokenRefusal::Blocked) => Err(Disconnect::ForceDisconnect.into()),
            Err(TokenRefusal::Expired) => Err(self.refuse(ErrorCode::TokenExpired)),
            Err(TokenRefusal::Unavailable) => Err(self.refuse(ErrorCode::Internal)),
        }
    }

    /// Catches a revocation that came after the token was read, and before the session could be found by that token.
    fn check_not_revoked(&self) -> Result<(), Refusal> {
        let is_revoked = self.handle.who().is_some_and(|who| self.parts.authenticator.is_revoked(&who));
        if is_revoked { Err(Disconnect::ForceDisconnect.into()) } else { Ok(()) }
    }

    /// After an error the connection is of no use to the client, who comes again on another.
    fn refuse(&mut self, code: ErrorCode) -> Refusal {
        self.stage = Stage::Refused;
        if self.handle.transport().is_unidirectional() {
            return Disconnect::of_connect_error(code).into();
        }
        self.timers.refused();
        Refusal::Error(code)
    }

    fn connect_result(&mut self, subs: BTreeMap<String, SubscribeResult>) -> ConnectResult {
        let (expires, ttl) = self.expiry();
        let node =
            if self.handle.transport().is_emulated() { self.parts.node_id.clone() } else { String::new() };
        let ping = u32::try_from(self.parts.session_options.ping_interval.as_secs()).unwrap_or(u32::MAX);
        ConnectResult {
            client: self.client().to_string(),
            version: self.parts.version.clone(),
            expires,
            ttl,
            subs,
            ping: if self.native_pings { 0 } else { ping },
            pong: !self.native_pings,
            session: self.secret.clone().unwrap_or_default(),
            node,
            ..ConnectResult::default()
        }
    }

    fn server_side_channels(
        &self,
        credentials: &Credentials,
    ) -> Result<BTreeMap<ChannelName, ServerSubscription>, Refusal> {
        let options = &self.parts.session_options;
        let mut channels = BTreeMap::new();
        for (channel, subscription) in &credentials.subscriptions {
            let channel = ChannelName::parse(channel).map_err(|_| Refusal::Error(ErrorCode::BadRequest))?;
            channels.insert(channel, subscription.clone());
        }
        if options.personal_channel && !credentials.user.is_empty() {
            match ChannelName::personal(&options.personal_channel_namespace, &credentials.user) {
                Ok(personal) => drop(channels.entry(personal).or_default()),
                // Any id may connect. Only very long ones do not fit into a name.
                Err(error) => tracing::debug!(%error, "no personal channel for this user's id"),
            }
        }
        if channels.len() > options.channel_limit {
            return Err(Disconnect::ChannelLimit.into());
        }
        Ok(channels)
    }

    async fn subscribe_server_side(
        &mut self,
        channels: BTreeMap<ChannelName, ServerSubscription>,
        request: &ConnectRequest,
    ) -> Result<BTreeMap<String, SubscribeResult>, Refusal> {
        let mut subs = BTreeMap::new();
        for (channel, subscription) in channels {
            let recover = request.subs.get(channel.as_str()).and_then(recover_position);
            let result = self.add_subscription(&channel, Wish::server_side(subscription, recover)).await?;
            subs.insert(channel.as_str().to_owned(), result);
        }
        if self.handle.transport().is_unidirectional() {
            // Such a client has no other way to ask; what it may not have is left out.
            self.subscribe_by_request(request, &mut subs).await?;
        }
        Ok(subs)
    }

    async fn subscribe_by_request(
        &mut self,
        request: &ConnectRequest,
        subs: &mut BTreeMap<String, SubscribeResult>,
    ) -> Result<(), Refusal> {
        for (name, wanted) in &request.subs {
            if subs.contains_key(name) || self.subscriptions.len() >= self.parts.session_options.channel_limit
            {
                continue;
            }
            let channel = Self::channel_name(name)?;
            if self.parts.options_of(&channel).is_err() {
                return Err(Disconnect::BadRequest.into());
            }
            let wanted = SubscribeRequest { channel: name.clone(), ..wanted.clone() };
            let Ok(wish) = self.wish_of(&channel, &wanted).await else { continue };
            if let Ok(result) = self.add_subscription(&channel, wish).await {
                subs.insert(name.clone(), result);
            }
        }
        Ok(())
    }

    /// Whether the connection expires, and in how many seconds; sets the timer.
    pub(super) fn expiry(&mut self) -> (bool, u32) {
        let expires_at = self.credentials().ok().and_then(|credentials| credentials.expires_at);
        let grace = self.parts.session_options.expired_grace;
        self.timers.expire_at(expires_at.map(|at| instant_of(at, grace)));
        Self::ttl(expires_at)
    }

    pub(super) async fn refresh(&mut self, id: u32, request: &RefreshRequest) -> Result<(), Refusal> {
        if request.token.is_empty() {
            return Err(Disconnect::BadRequest.into());
        }
        let read = self.parts.authenticator.connection(&request.token).await;
        let fresh = read.map_err(|refusal| match refusal {
            TokenRefusal::Expired => Refusal::Disconnect(Disconnect::Expired),
            TokenRefusal::Invalid => Disconnect::InvalidToken.into(),
            TokenRefusal::Blocked => Disconnect::ForceDisconnect.into(),
            TokenRefusal::Unavailable => ErrorCode::Internal.into(),
        })?;
        if fresh.user != self.user() {
            return Err(Disconnect::InvalidToken.into());
        }
        if let Some(who) = self.handle.who() {
            self.handle.set_who(Who {
                login_id: fresh.login_id.clone(),
                token_id: fresh.token_id.clone(),
                issued_at: fresh.issued_at,
                meta: fresh.meta.clone(),
                ..who.as_ref().clone()
            });
        }
        self.stage = Stage::Connected(Box::new(fresh));
        self.check_not_revoked()?;
        let (expires, ttl) = self.expiry();
        let refresh = RefreshResult {
            client: self.client().to_string(),
            version: self.parts.version.clone(),
            expires,
            ttl,
        };
        self.reply(&Reply { id, refresh: Some(refresh), ..Reply::default() });
        Ok(())
    }
}

/// A client's text, cut to a length that the protocol sets.
fn cut(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}
