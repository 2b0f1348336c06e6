//! How sessions read their tokens.

use std::sync::Arc;

use bytes::Bytes;
use mundotango_actors::{Authenticator, Credentials, SubscriptionGrant, TokenRefusal};
use serde_json::value::RawValue;

use crate::tokens::{TokenError, Tokens};

/// Reads sessions' tokens with the node's keys.
pub struct TokenAuthenticator(Arc<Tokens>);

impl TokenAuthenticator {
    /// Reads tokens that `tokens` verifies.
    pub fn new(tokens: Arc<Tokens>) -> Self {
        Self(tokens)
    }
}

impl From<TokenError> for TokenRefusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => Self::Expired,
            TokenError::Invalid => Self::Invalid,
        }
    }
}

fn json_bytes(info: Option<Box<RawValue>>) -> Bytes {
    info.map(|info| Bytes::copy_from_slice(info.get().as_bytes())).unwrap_or_default()
}

impl Authenticator for TokenAuthenticator {
    fn connection(&self, token: &str) -> Result<Credentials, TokenRefusal> {
        let claims = self.0.verify(token)?;
        // A subscription token says nothing about who may connect.
        if claims.channel.is_some() {
            return Err(TokenRefusal::Invalid);
        }
        Ok(Credentials {
            user: claims.sub,
            role: claims.role,
            login_id: claims.sid,
            expires_at: claims.exp,
            info: json_bytes(claims.info),
            channels: claims.channels,
        })
    }

    fn subscription(&self, token: &str) -> Result<SubscriptionGrant, TokenRefusal> {
        let claims = self.0.verify(token)?;
        Ok(SubscriptionGrant {
            channel: claims.channel.ok_or(TokenRefusal::Invalid)?,
            user: claims.sub,
            client: claims.client,
            expires_at: claims.exp,
            info: json_bytes(claims.info),
        })
    }
}
