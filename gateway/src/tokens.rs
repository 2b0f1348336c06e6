//! Tokens: JWTs that REST takes as bearer and sessions take at connect and at subscribe.
//!
//! The node's own are signed with its secret. Those of an application's own backend are verified with the keys of
//! `[auth.token]`; they make a user, but never a moderator or an admin.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use mundotango_actors::SubscriptionOverride;
use mundotango_storage::accounts::Role;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::jwks::KeySet;
use crate::options::TokenOptions;

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
    /// Its own id, by which it can be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// What the user may do; counts in the node's own tokens alone.
    #[serde(default)]
    pub role: Role,
    /// The login that the token came from; absent for tokens made elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// What other clients may know of the user: the session's `conn_info`, or the subscription's `chan_info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Box<RawValue>>,
    /// The same in base 64; counts before `info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub b64info: Option<String>,
    /// What only the server knows of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Box<RawValue>>,
    /// When the connection or subscription expires, in Unix seconds, if not with the token; 0 for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<i64>,
    /// Channels that the server subscribes the session to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// The same, each with how; counts before `channels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subs: Option<BTreeMap<String, SubscriptionClaim>>,
    /// The channel of a subscription token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The only session that a subscription token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Options of the channel that the subscription of a subscription token has otherwise.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub change: Option<SubscriptionOverride>,
}

impl Claims {
    /// When what the token opens expires, in Unix seconds.
    pub fn expires_at(&self) -> Option<u64> {
        match self.expire_at {
            None => self.exp,
            Some(at) => u64::try_from(at).ok().filter(|at| *at > 0),
        }
    }
}

/// How the server subscribes a session to one channel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscriptionClaim {
    /// The subscription's `chan_info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<Box<RawValue>>,
    /// The same in base 64; counts before `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b64info: Option<String>,
    /// The application's own data for the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The same in base 64; counts before `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b64data: Option<String>,
    /// Options of the channel that this subscription has otherwise.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub change: Option<SubscriptionOverride>,
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
    /// It, or its user, was locked out.
    #[error("token revoked")]
    Revoked,
    /// The keys that it could be verified with are not to be had now.
    #[error("the keys of tokens are not available")]
    Unavailable,
}

/// A key, and the algorithms whose signatures it verifies.
struct Key {
    decoding: DecodingKey,
    validation: Validation,
}

/// Issues the node's own tokens, and verifies those and the application's.
pub struct Tokens {
    encoding: EncodingKey,
    own: Key,
    foreign: Vec<Key>,
    key_set: Option<KeySet>,
    lifetime: Duration,
}

/// What every token has to fulfil.
fn validation(algorithms: &[Algorithm], options: &TokenOptions) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.algorithms = algorithms.to_vec();
    validation.required_spec_claims.clear();
    validation.validate_nbf = true;
    // A grace period would let a session outlive what its `ttl` told the client.
    validation.leeway = 0;
    validation.validate_aud = options.audience.is_some();
    validation.aud = options.audience.iter().cloned().collect::<std::collections::HashSet<_>>().into();
    validation.iss = options.issuer.iter().cloned().collect::<std::collections::HashSet<_>>().into();
    for (wanted, claim) in [(options.audience.is_some(), "aud"), (options.issuer.is_some(), "iss")] {
        if wanted {
            validation.required_spec_claims.insert(claim.to_owned());
        }
    }
    validation
}

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const ECDSA: &[Algorithm] = &[Algorithm::ES256, Algorithm::ES384];
const EDDSA: &[Algorithm] = &[Algorithm::EdDSA];

impl Tokens {
    /// Tokens signed with `secret` alone; those issued here are good for `lifetime`.
    pub fn new(secret: &[u8], lifetime: Duration) -> Self {
        let validation = validation(HMAC, &TokenOptions::default());
        Self {
            encoding: EncodingKey::from_secret(secret),
            own: Key { decoding: DecodingKey::from_secret(secret), validation },
            foreign: Vec::new(),
            key_set: None,
            lifetime,
        }
    }

    /// Takes tokens of the application's own backend too.
    pub fn with_keys(mut self, options: &TokenOptions) -> anyhow::Result<Self> {
        let mut add = |decoding, algorithms| {
            self.foreign.push(Key { decoding, validation: validation(algorithms, options) });
        };
        if let Some(secret) = &options.hmac_secret_key {
            add(DecodingKey::from_secret(secret.expose().as_bytes()), HMAC);
        }
        if let Some(pem) = &options.rsa_public_key {
            add(DecodingKey::from_rsa_pem(pem.as_bytes()).context("auth.token.rsa_public_key")?, RSA);
        }
        if let Some(pem) = &options.ecdsa_public_key {
            add(DecodingKey::from_ec_pem(pem.as_bytes()).context("auth.token.ecdsa_public_key")?, ECDSA);
        }
        if let Some(pem) = &options.ed25519_public_key {
            add(DecodingKey::from_ed_pem(pem.as_bytes()).context("auth.token.ed25519_public_key")?, EDDSA);
        }
        if let Some(url) = &options.jwks_public_endpoint {
            let algorithms = [RSA, ECDSA, EDDSA].concat();
            self.key_set = Some(KeySet::new(url, validation(&algorithms, options))?);
        }
        Ok(self)
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

    /// Reads a token whose signature holds and that is good now.
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let mut outcome = decode(token, &self.own);
        for key in &self.foreign {
            if !matches!(outcome, Err(TokenError::Invalid)) {
                return outcome;
            }
            outcome = if key.validation.algorithms.contains(&header.alg) {
                decode(token, key).map(without_role)
            } else {
                Err(TokenError::Invalid)
            };
        }
        match (&outcome, &self.key_set) {
            (Err(TokenError::Invalid), Some(key_set)) => {
                let (decoding, validation) = key_set.key_of(&header).await?;
                decode(token, &Key { decoding, validation }).map(without_role)
            }
            _ => outcome,
        }
    }
}

fn without_role(claims: Claims) -> Claims {
    Claims { role: Role::default(), sid: None, ..claims }
}

fn decode(token: &str, key: &Key) -> Result<Claims, TokenError> {
    match jsonwebtoken::decode::<Claims>(token, &key.decoding, &key.validation) {
        Ok(data) => Ok(data.claims),
        Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => Err(TokenError::Expired),
        Err(_) => Err(TokenError::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(b"a secret of the test", Duration::from_mins(1))
    }

    #[tokio::test]
    async fn reads_what_it_issued() {
        let token = tokens().issue("42", Role::Moderator, Some("login")).unwrap();
        let claims = tokens().verify(&token).await.unwrap();
        assert_eq!((claims.sub.as_str(), claims.role), ("42", Role::Moderator));
        assert_eq!(claims.sid.as_deref(), Some("login"));
    }

    #[tokio::test]
    async fn refuses_what_is_old_or_forged() {
        let expired = tokens().sign(&Claims { exp: Some(1), ..Claims::default() }).unwrap();
        assert_eq!(tokens().verify(&expired).await.unwrap_err(), TokenError::Expired);

        let other = Tokens::new(b"another secret", Duration::from_mins(1));
        let foreign = other.issue("42", Role::Admin, None).unwrap();
        assert_eq!(tokens().verify(&foreign).await.unwrap_err(), TokenError::Invalid);

        // {"alg":"none"}.{"sub":"42"}.
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiI0MiJ9.";
        assert_eq!(tokens().verify(unsigned).await.unwrap_err(), TokenError::Invalid);
        assert_eq!(tokens().verify("not a token").await.unwrap_err(), TokenError::Invalid);
    }

    #[tokio::test]
    async fn the_applications_tokens_make_no_admins() {
        let options: TokenOptions = serde_json::from_str(r#"{"hmac_secret_key": "another secret"}"#).unwrap();
        let both = tokens().with_keys(&options).unwrap();
        let other = Tokens::new(b"another secret", Duration::from_mins(1));
        let foreign = other.issue("42", Role::Admin, Some("login")).unwrap();
        let claims = both.verify(&foreign).await.unwrap();
        assert_eq!((claims.sub.as_str(), claims.role, claims.sid), ("42", Role::default(), None));
        let own = tokens().issue("42", Role::Admin, None).unwrap();
        assert_eq!(both.verify(&own).await.unwrap().role, Role::Admin);
    }

    #[tokio::test]
    async fn audience_and_issuer_are_looked_at_where_they_are_set() {
        let options = r#"{"hmac_secret_key": "another secret", "audience": "tango", "issuer": "us"}"#;
        let tokens = tokens().with_keys(&serde_json::from_str(options).unwrap()).unwrap();
        let key = EncodingKey::from_secret(b"another secret");
        for (claims, good) in [
            (serde_json::json!({"sub": "1", "aud": "tango", "iss": "us"}), true),
            (serde_json::json!({"sub": "1", "aud": ["x", "tango"], "iss": "us"}), true),
            (serde_json::json!({"sub": "1", "aud": "salsa", "iss": "us"}), false),
            (serde_json::json!({"sub": "1", "aud": "tango", "iss": "them"}), false),
            (serde_json::json!({"sub": "1"}), false),
        ] {
            let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
            assert_eq!(tokens.verify(&token).await.is_ok(), good, "{claims}");
        }
    }

    #[test]
    fn a_connection_may_outlive_its_token() {
        let expires = |exp, expire_at| Claims { exp, expire_at, ..Claims::default() }.expires_at();
        assert_eq!(expires(Some(5), None), Some(5));
        assert_eq!(expires(Some(5), Some(9)), Some(9));
        assert_eq!(expires(Some(5), Some(0)), None);
        assert_eq!(expires(None, None), None);
    }
}
