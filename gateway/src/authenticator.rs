//! How sessions read their tokens.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use mundotango_actors::{Authenticator, Credentials, ServerSubscription, SubscriptionGrant, TokenRefusal};
use serde_json::value::RawValue;

use crate::revocations::{Revocations, TokenMarks};
use crate::tokens::{Claims, TokenError, Tokens};

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

    /// What a token says that is good now.
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
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

impl From<TokenError> for TokenRefusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => Self::Expired,
            TokenError::Invalid => Self::Invalid,
            TokenError::Revoked => Self::Blocked,
            TokenError::Unavailable => Self::Unavailable,
        }
    }
}

/// Bytes that are given in base 64 or as JSON.
fn bytes(base64: Option<&str>, json: Option<&RawValue>) -> Result<Bytes, TokenRefusal> {
    match (base64, json) {
        (Some(text), _) => BASE64_STANDARD.decode(text).map(Bytes::from).map_err(|_| TokenRefusal::Invalid),
        (None, Some(json)) => Ok(Bytes::copy_from_slice(json.get().as_bytes())),
        (None, None) => Ok(Bytes::new()),
    }
}

#[async_trait]
impl Authenticator for TokenAuthenticator {
    async fn connection(&self, token: &str) -> Result<Credentials, TokenRefusal> {
        let claims = self.verify(token).await?;
        // A subscription token says nothing about who may connect.
        if claims.channel.is_some() {
            return Err(TokenRefusal::Invalid);
        }
        let subscriptions = match &claims.subs {
            None => {
                claims.channels.iter().map(|name| (name.clone(), ServerSubscription::default())).collect()
            }
            Some(subs) => subs
                .iter()
                .map(|(name, claim)| {
                    let subscription = ServerSubscription {
                        info: bytes(claim.b64info.as_deref(), claim.info.as_deref())?,
                        data: bytes(claim.b64data.as_deref(), claim.data.as_deref())?,
                        expires_at: None,
                        change: claim.change.unwrap_or_default(),
                    };
                    Ok((name.clone(), subscription))
                })
                .collect::<Result<_, TokenRefusal>>()?,
        };
        Ok(Credentials {
            expires_at: claims.expires_at(),
            info: bytes(claims.b64info.as_deref(), claims.info.as_deref())?,
            meta: bytes(None, claims.meta.as_deref())?,
            user: claims.sub,
            role: claims.role,
            login_id: claims.sid,
            token_id: claims.jti,
            issued_at: claims.iat,
            subscriptions,
        })
    }

    async fn subscription(&self, token: &str) -> Result<SubscriptionGrant, TokenRefusal> {
        let claims = self.verify(token).await?;
        Ok(SubscriptionGrant {
            expires_at: claims.expires_at(),
            info: bytes(claims.b64info.as_deref(), claims.info.as_deref())?,
            channel: claims.channel.ok_or(TokenRefusal::Invalid)?,
            user: claims.sub,
            client: claims.client,
            change: claims.change.unwrap_or_default(),
        })
    }
}
