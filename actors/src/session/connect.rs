//! Opening a session, and keeping its token fresh.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use mundotango_protocol::{
    ChannelName, ConnectRequest, ConnectResult, Disconnect, ErrorCode, Push, RefreshRequest, RefreshResult,
    Reply, SubscribeRequest, SubscribeResult,
};

use super::applicant::{Wish, recover_position};
use super::attempts::Joined;
use super::expiry::{instant_of, ttl_of};
use super::ports::{Credentials, TokenRefusal};
use super::refusal::Refusal;
use super::{Session, Stage};
use crate::handle::{ServerSubscription, Who};
use crate::outbox::SubscriptionNumber;

/// Longest name and version of a client library that are kept, in bytes; the protocol's limits.
const MAX_NAME_BYTES: usize = 16;
const MAX_VERSION_BYTES: usize = 64;

impl Session {
    pub(super) async fn connect(&mut self, id: u32, request: ConnectRequest) -> Result<(), Refusal> {
        let credentials = self.authenticate(&request.token).await?;
        let channels = self.server_side_channels(&credentials)?;
        let library = (cut(&request.name, MAX_NAME_BYTES), cut(&request.version, MAX_VERSION_BYTES));
        self.handle.set_who(who_of(&credentials, library, self.secret.clone()));
        self.stage = Stage::Connected(Arc::new(credentials));
        let sessions = self.context.sessions.add_user(&self.handle);
        let most = self.context.session_options.user_connection_limit;
        if most > 0 && sessions > most {
            return Err(Disconnect::ConnectionLimit.into());
        }
        if sessions == 1 {
            self.context.user_came(&self.handle).await;
        }
        self.check_not_revoked()?;

        let handle = Arc::clone(&self.handle);
        let mut numbers = Vec::new();
        let outcome = self.subscribe_server_side(channels, &request, &mut numbers).await;
        match outcome {
            Ok(subs) => {
                let connect = self.connect_result(subs);
                let reply = if handle.transport().is_unidirectional() {
                    Reply::push("", Push { connect: Some(connect.into()), ..Push::default() })
                } else {
                    Reply { id, connect: Some(connect), ..Reply::default() }
                };
                self.timers.connected(!handle.transport().is_unidirectional());
                handle.outbox().release(&numbers, self.encode(&reply));
                Ok(())
            }
            // Messages of channels stay held until the end, as the client does not know of its subscriptions.
            Err(Refusal::Error(code)) => Err(self.refuse(code)),
            Err(Refusal::Disconnect(reason)) => Err(reason.into()),
        }
    }

    async fn authenticate(&mut self, token: &str) -> Result<Credentials, Refusal> {
        let options = &self.context.session_options;
        if token.is_empty() {
            let welcome = options.allow_anonymous || options.insecure;
            return if welcome { Ok(Credentials::default()) } else { Err(Disconnect::BadRequest.into()) };
        }
        match self.context.authenticator.connection(token).await {
            Ok(credentials) => Ok(credentials),
            Err(TokenRefusal::Invalid) => Err(Disconnect::InvalidToken.into()),
            Err(TokenRefusal::Blocked) => Err(Disconnect::ForceDisconnect.into()),
            Err(TokenRefusal::Expired) => Err(self.refuse(ErrorCode::TokenExpired)),
            Err(TokenRefusal::Unavailable) => Err(self.refuse(ErrorCode::Internal)),
        }
    }

    /// Catches a revocation that came after the token was read, and before the session could be found by that token.
    fn check_not_revoked(&self) -> Result<(), Refusal> {
        let is_revoked = self.handle.who().is_some_and(|who| self.context.authenticator.is_revoked(&who));
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
            if self.handle.transport().is_emulated() { self.context.node_id.clone() } else { String::new() };
        let ping = u32::try_from(self.context.session_options.ping_interval.as_secs()).unwrap_or(u32::MAX);
        ConnectResult {
            client: self.client().to_string(),
            version: self.context.version.clone(),
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
        let options = &self.context.session_options;
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

    /// Makes the subscriptions that the server wants, and on some transports those that the client asks for, all at once.
    /// Pushes of the channels wait for the reply that tells of them; `numbers` are to be released or discarded.
    async fn subscribe_server_side(
        &mut self,
        channels: BTreeMap<ChannelName, ServerSubscription>,
        request: &ConnectRequest,
        numbers: &mut Vec<SubscriptionNumber>,
    ) -> Result<BTreeMap<String, SubscribeResult>, Refusal> {
        let wanted = self.wanted(&channels, request)?;
        let applicant = self.applicant()?;
        let mut attempts = Vec::new();
        for (channel, subscription) in channels {
            let number = self.hold(&channel, numbers);
            let recover = request.subs.get(channel.as_str()).and_then(recover_position);
            let (applicant, wish) = (&applicant, Wish::server_side(subscription, recover));
            let attempt = async move {
                let outcome = applicant.join(&channel, number, wish).await.map(Some);
                (channel, outcome)
            };
            attempts.push(attempt.boxed());
        }
        for (channel, wanted) in wanted {
            let number = self.hold(&channel, numbers);
            let applicant = &applicant;
            let attempt = async move {
                // Such a client has no other way to ask; what it may not have is left out.
                let outcome = applicant.subscribe(&channel, number, &wanted).await;
                (channel, Ok(outcome.ok()))
            };
            attempts.push(attempt.boxed());
        }
        let mut outcomes = join_all(attempts).await;
        // All that came about are the session's before one that did not ends it.
        outcomes.sort_by_key(|(_, outcome)| outcome.is_err());
        let mut subs = BTreeMap::new();
        for (channel, outcome) in outcomes {
            self.attempts.forget(&channel);
            if let Some(Joined { result, subscription, membership }) = outcome? {
                subs.insert(channel.as_str().to_owned(), result);
                self.add(channel, subscription, membership);
            }
        }
        Ok(subs)
    }

    fn hold(&mut self, channel: &ChannelName, numbers: &mut Vec<SubscriptionNumber>) -> SubscriptionNumber {
        let number = self.attempts.number();
        self.attempts.note(channel.clone());
        self.handle.outbox().hold(number);
        numbers.push(number);
        number
    }

    /// The subscriptions that a client asks for with its connect request; no more than it may have, as each may cost a
    /// look into the store.
    fn wanted(
        &self,
        given: &BTreeMap<ChannelName, ServerSubscription>,
        request: &ConnectRequest,
    ) -> Result<Vec<(ChannelName, SubscribeRequest)>, Refusal> {
        let mut all = Vec::new();
        if !self.handle.transport().is_unidirectional() {
            return Ok(all);
        }
        let room = self.context.session_options.channel_limit.saturating_sub(given.len());
        for (name, wanted) in &request.subs {
            let channel = Self::channel_name(name)?;
            if self.context.options_of(&channel).is_err() {
                return Err(Disconnect::BadRequest.into());
            }
            if all.len() < room && !given.contains_key(&channel) {
                all.push((channel, SubscribeRequest { channel: name.clone(), ..wanted.clone() }));
            }
        }
        Ok(all)
    }

    /// Sets the timer of the connection's end. True if there is an end, and in how many seconds it comes.
    pub(super) fn expiry(&mut self) -> (bool, u32) {
        let expires_at = self.credentials().ok().and_then(|credentials| credentials.expires_at);
        let grace = self.context.session_options.expired_grace;
        self.timers.expire_at(expires_at.map(|at| instant_of(at, grace)));
        ttl_of(expires_at)
    }

    pub(super) async fn refresh(&mut self, id: u32, request: &RefreshRequest) -> Result<(), Refusal> {
        if request.token.is_empty() {
            return Err(Disconnect::BadRequest.into());
        }
        let read = self.context.authenticator.connection(&request.token).await;
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
            self.handle.set_who(who_of(&fresh, who.library.clone(), who.session_key.clone()));
        }
        let is_new_info = self.credentials()?.info != fresh.info;
        self.stage = Stage::Connected(Arc::new(fresh));
        self.check_not_revoked()?;
        let (expires, ttl) = self.expiry();
        if is_new_info {
            self.update_info().await;
        }
        let refresh = RefreshResult {
            client: self.client().to_string(),
            version: self.context.version.clone(),
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

/// The session's owner as its token names him.
fn who_of(credentials: &Credentials, library: (String, String), session_key: Option<String>) -> Who {
    Who {
        user: credentials.user.clone(),
        login_id: credentials.login_id.clone(),
        token_id: credentials.token_id.clone(),
        issued_at: credentials.issued_at,
        meta: credentials.meta.clone(),
        library,
        session_key,
    }
}
