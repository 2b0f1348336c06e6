//! How sessions read their tokens.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use mundotango_actors::{
    Authenticator, Credentials, ServerSubscription, SubscriptionGrant, TokenRefusal, Who,
};
use mundotango_ops::Seldom;
use mundotango_protocol::ChannelName;
use serde_json::value::RawValue;

use crate::revocations::{Revocations, TokenMarks};
use crate::tokens::{Claims, Flaw, TokenError, Tokens};

/// Reads the tokens of requests and sessions, and knows which were revoked.
pub struct TokenAuthenticator {
    tokens: Arc<Tokens>,
    revocations: Arc<Revocations>,
}

impl TokenAuthenticator {
    /// Reads tokens that `tokens` verifies and `revocations` does not lock out.
    pub fn new(tokens: Arc<Tokens>, revocations: Arc<Revocations>) -> Self {
        Self { tokens, revocations }
    }

    /// What a token says by which its user acts: a REST call's bearer token, or a connection token. A subscription token
    /// opens one channel and nothing else.
    pub async fn access(&self, token: &str) -> Result<Claims, TokenError> {
        let claims = self.verify(token).await.and_then(|claims| match claims.channel {
            None => Ok(claims),
            Some(_) => {
                Err(Flaw::claim("channel", "makes this a subscription token, which opens a channel alone")
                    .into())
            }
        });
        claims.inspect_err(log_flaw)
    }

    async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let claims = self.tokens.verify(token).await?;
        let marks = TokenMarks {
            user: &claims.sub,
            login_id: claims.sid.as_deref(),
            token_id: claims.jti.as_deref(),
            issued_at: claims.iat,
        };
        if self.revocations.is_revoked(marks) { Err(TokenError::Revoked) } else { Ok(claims) }
    }
}

/// Tells operators what is wrong with a token. Clients are only told that the token is invalid.
fn log_flaw(error: &TokenError) {
    static LINES: Seldom = Seldom::once_a_minute();
    if let TokenError::Invalid(flaw) = error
        && let Some(left_out) = LINES.may_write()
    {
        tracing::info!(reason = %flaw, left_out, "token refused");
    }
}

impl From<TokenError> for TokenRefusal {
    fn from(error: TokenError) -> Self {
        match error {
            // By both the client comes again with another token, instead of giving up.
            TokenError::Expired | TokenError::NotYetValid => Self::Expired,
            TokenError::Invalid(_) => Self::Invalid,
            TokenError::Revoked => Self::Blocked,
            TokenError::Unavailable => Self::Unavailable,
        }
    }
}

/// Bytes that are given in base 64 or as JSON.
fn bytes(name: &'static str, base64: Option<&str>, json: Option<&RawValue>) -> Result<Bytes, Flaw> {
    match (base64, json) {
        (Some(text), _) => {
            BASE64_STANDARD.decode(text).map(Bytes::from).map_err(|_| Flaw::claim(name, "is not base64"))
        }
        (None, Some(json)) => Ok(Bytes::copy_from_slice(json.get().as_bytes())),
        (None, None) => Ok(Bytes::new()),
    }
}

fn credentials(claims: Claims) -> Result<Credentials, Flaw> {
    let name_of = |name: &String, claim| {
        let checked = ChannelName::parse(name).map_err(|error| Flaw::claim(claim, error.to_string()));
        checked.map(|_| name.clone())
    };
    let subscriptions: Result<_, Flaw> = match &claims.subs {
        None => {
            let channels = claims.channels.iter();
            channels.map(|name| Ok((name_of(name, "channels")?, ServerSubscription::default()))).collect()
        }
        Some(subs) => subs
            .iter()
            .map(|(name, claim)| {
                let subscription = ServerSubscription {
                    info: bytes("subs", claim.b64info.as_deref(), claim.info.as_deref())?,
                    data: bytes("subs", claim.b64data.as_deref(), claim.data.as_deref())?,
                    expires_at: None,
                    change: claim.change.unwrap_or_default(),
                };
                Ok((name_of(name, "subs")?, subscription))
            })
            .collect(),
    };
    Ok(Credentials {
        expires_at: claims.expires_at(),
        info: bytes("b64info", claims.b64info.as_deref(), claims.info.as_deref())?,
        meta: bytes("meta", None, claims.meta.as_deref())?,
        user: claims.sub,
        role: claims.role,
        login_id: claims.sid,
        token_id: claims.jti,
        issued_at: claims.iat,
        subscriptions: subscriptions?,
    })
}

fn grant(claims: Claims) -> Result<SubscriptionGrant, Flaw> {
    let missing = || Flaw::claim("channel", "is missing, so this is not a subscription token");
    Ok(SubscriptionGrant {
        expires_at: claims.expires_at(),
        info: bytes("b64info", claims.b64info.as_deref(), claims.info.as_deref())?,
        channel: claims.channel.ok_or_else(missing)?,
        user: claims.sub,
        client: claims.client,
        change: claims.change.unwrap_or_default(),
    })
}

#[async_trait]
impl Authenticator for TokenAuthenticator {
    async fn connection(&self, token: &str) -> Result<Credentials, TokenRefusal> {
        let claims = self.access(token).await?;
        Ok(credentials(claims).map_err(TokenError::from).inspect_err(log_flaw)?)
    }

    async fn subscription(&self, token: &str) -> Result<SubscriptionGrant, TokenRefusal> {
        let grant = self.verify(token).await.and_then(|claims| Ok(grant(claims)?));
        Ok(grant.inspect_err(log_flaw)?)
    }

    fn is_revoked(&self, who: &Who) -> bool {
        self.revocations.is_revoked(who.into())
    }
}
