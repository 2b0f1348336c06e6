//! Opening a session, and keeping its token fresh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use mundotango_protocol::{
    ChannelName, ConnectRequest, ConnectResult, Disconnect, ErrorCode, RefreshRequest, RefreshResult, Reply,
};
use mundotango_storage::accounts::Role;
use tokio::time::Instant;

use super::subscriptions::Wish;
use super::{Refusal, Session, Stage};

/// What a connection token gives its session.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The user's id; empty for anonymous sessions.
    pub user: String,
    /// What the user may do.
    pub role: Role,
    /// The login that the token came from.
    pub login_id: Option<String>,
    /// When the token stops to be good, in Unix seconds.
    pub expires_at: Option<u64>,
    /// What other clients may know of the user, in JSON; may be empty.
    pub info: Bytes,
    /// Channels to which the server subscribes the session.
    pub channels: Vec<String>,
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
    /// When it stops to be good, in Unix seconds.
    pub expires_at: Option<u64>,
    /// What other subscribers may know of the user, in JSON; may be empty.
    pub info: Bytes,
}

/// Why a token gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// It was good once: the client should get another.
    Expired,
    /// It was never good.
    Invalid,
}

/// Who reads tokens for the sessions.
pub trait Authenticator: Send + Sync {
    /// Reads a connection token.
    fn connection(&self, token: &str) -> Result<Credentials, TokenRefusal>;

    /// Reads a subscription token.
    fn subscription(&self, token: &str) -> Result<SubscriptionGrant, TokenRefusal>;
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
        let credentials = if request.token.is_empty() {
            if !self.parts.session_options.allow_anonymous {
                return Err(Disconnect::BadRequest.into());
            }
            Credentials::default()
        } else {
            match self.parts.authenticator.connection(&request.token) {
                Ok(credentials) => credentials,
                Err(TokenRefusal::Invalid) => return Err(Disconnect::InvalidToken.into()),
                Err(TokenRefusal::Expired) => return Err(self.refuse(ErrorCode::TokenExpired)),
            }
        };
        let channels = self.server_side_channels(&credentials)?;
        self.stage = Stage::Connected(credentials);
        self.handle.set_user(self.user());
        self.parts.sessions.add_user(&self.handle);

        // Pushes of the channels wait for the reply that tells of their subscriptions.
        let handle = Arc::clone(&self.handle);
        handle.outbox().hold();
        let outcome = self.subscribe_server_side(channels, &request).await;
        let reply = outcome.map(|subs| {
            let (expires, ttl) = self.expiry();
            let connect = ConnectResult {
                client: self.client().to_string(),
                version: self.parts.version.clone(),
                expires,
                ttl,
                subs,
                ping: u32::try_from(self.parts.session_options.ping_interval.as_secs()).unwrap_or(u32::MAX),
                pong: true,
                ..ConnectResult::default()
            };
            self.encode(&Reply { id, connect: Some(connect), ..Reply::default() })
        });
        match reply {
            Ok(reply) => {
                self.timers.connected();
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

    /// After an error the connection is of no use to the client, who comes again on another.
    fn refuse(&mut self, code: ErrorCode) -> Refusal {
        self.stage = Stage::Refused;
        Refusal::Error(code)
    }

    fn server_side_channels(&self, credentials: &Credentials) -> Result<Vec<ChannelName>, Refusal> {
        let mut channels = Vec::new();
        if self.parts.session_options.personal_channel && !credentials.user.is_empty() {
            channels.push(ChannelName::personal(&credentials.user).map_err(|_| Disconnect::InvalidToken)?);
        }
        for channel in &credentials.channels {
            channels.push(ChannelName::parse(channel).map_err(|_| Refusal::Error(ErrorCode::BadRequest))?);
        }
        channels.sort_unstable();
        channels.dedup();
        if channels.len() > self.parts.session_options.channel_limit {
            return Err(Disconnect::ChannelLimit.into());
        }
        Ok(channels)
    }

    async fn subscribe_server_side(
        &mut self,
        channels: Vec<ChannelName>,
        request: &ConnectRequest,
    ) -> Result<BTreeMap<String, mundotango_protocol::SubscribeResult>, Refusal> {
        let mut subs = BTreeMap::new();
        for channel in channels {
            let wish = Wish::server_side(request.subs.get(channel.as_str()));
            let result = self.add_subscription(&channel, wish).await?;
            subs.insert(channel.as_str().to_owned(), result);
        }
        Ok(subs)
    }

    /// Whether the session's token expires, and in how many seconds; sets the timer.
    fn expiry(&mut self) -> (bool, u32) {
        let expires_at = self.credentials().ok().and_then(|credentials| credentials.expires_at);
        let grace = self.parts.session_options.expired_grace;
        self.timers.expire_at(expires_at.map(|at| instant_of(at, grace)));
        (expires_at.is_some(), expires_at.map(seconds_until).unwrap_or_default())
    }

    pub(super) fn refresh(&mut self, id: u32, request: &RefreshRequest) -> Result<(), Refusal> {
        if request.token.is_empty() {
            return Err(Disconnect::BadRequest.into());
        }
        let fresh = self.parts.authenticator.connection(&request.token).map_err(|refusal| match refusal {
            TokenRefusal::Expired => Disconnect::Expired,
            TokenRefusal::Invalid => Disconnect::InvalidToken,
        })?;
        if fresh.user != self.user() {
            return Err(Disconnect::InvalidToken.into());
        }
        self.stage = Stage::Connected(fresh);
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
