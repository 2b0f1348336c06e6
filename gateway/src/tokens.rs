//! Access tokens: JWTs that REST takes as bearer and sessions take at connect.

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use mundotango_storage::accounts::Role;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a token says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Claims {
    /// The user's id; empty for an anonymous connection.
    #[serde(default)]
    pub sub: String,
    /// When the token stops to be good, in Unix seconds; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
    /// When it was issued, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// What the user may do.
    #[serde(default)]
    pub role: Role,
    /// The login that the token came from; absent for tokens made elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// What other clients may know of the user: the session's `conn_info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Box<RawValue>>,
    /// Channels that the server subscribes the session to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// The channel of a subscription token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The only session that a subscription token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was good once.
    #[error("token expired")]
    Expired,
    /// Its signature, algorithm or form is wrong.
    #[error("invalid token")]
    Invalid,
}

/// Issues and verifies tokens with one shared secret (HS256, HS384 or HS512).
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    lifetime: Duration,
}

impl Tokens {
    /// Tokens signed with `secret`; those issued here are good for `lifetime`.
    pub fn new(secret: &[u8], lifetime: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        validation.required_spec_claims.clear();
        validation.validate_nbf = true;
        // A grace period would let a session outlive what its `ttl` told the client.
        validation.leeway = 0;
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
            lifetime,
        }
    }

    /// How long an issued token is good.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Signs a token for a user.
    pub fn issue(&self, user_id: &str, role: Role, login_id: Option<&str>) -> Result<String, TokenError> {
        let now = jsonwebtoken::get_current_timestamp();
        self.sign(&Claims {
            sub: user_id.to_owned(),
            exp: Some(now + self.lifetime.as_secs()),
            iat: Some(now),
            role,
            sid: login_id.map(str::to_owned),
            ..Claims::default()
        })
    }

    /// Signs claims as they are.
    pub fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.encoding)
            .map_err(|_| TokenError::Invalid)
    }

    /// Reads a token that was signed with the secret and is good now.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        match jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation) {
            Ok(data) => Ok(data.claims),
            Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => Err(TokenError::Expired),
            Err(_) => Err(TokenError::Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(b"a secret of the test", Duration::from_mins(1))
    }

    #[test]
    fn reads_what_it_issued() {
        let token = tokens().issue("42", Role::Moderator, Some("login")).unwrap();
        let claims = tokens().verify(&token).unwrap();
        assert_eq!((claims.sub.as_str(), claims.role), ("42", Role::Moderator));
        assert_eq!(claims.sid.as_deref(), Some("login"));
    }

    #[test]
    fn refuses_what_is_old_or_forged() {
        let expired = tokens().sign(&Claims { exp: Some(1), ..Claims::default() }).unwrap();
        assert_eq!(tokens().verify(&expired).unwrap_err(), TokenError::Expired);

        let other = Tokens::new(b"another secret", Duration::from_mins(1));
        let foreign = other.issue("42", Role::Admin, None).unwrap();
        assert_eq!(tokens().verify(&foreign).unwrap_err(), TokenError::Invalid);

        // {"alg":"none"}.{"sub":"42"}.
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiI0MiJ9.";
        assert_eq!(tokens().verify(unsigned).unwrap_err(), TokenError::Invalid);
        assert_eq!(tokens().verify("not a token").unwrap_err(), TokenError::Invalid);
    }
}
