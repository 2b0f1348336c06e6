//! Tokens: JWTs that REST takes as bearer and sessions take at connect and at subscribe.
//!
//! The node's own are signed with its secret. Those of an application's own backend are verified with the keys of
//! `[auth.token]`; they name a user, but never a role.

mod claims;

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};

pub use crate::jwt::{Flaw, TokenError};
pub use claims::{Claims, SubscriptionClaim};

use crate::jwks::KeySet;
use crate::jwt::{ECDSA, EDDSA, HMAC, RSA, SignedToken};
use crate::options::TokenOptions;
use claims::{ClaimSet, Signer, Wanted};

/// A key, and the algorithms whose signatures it verifies.
struct Key {
    decoding: DecodingKey,
    algorithms: &'static [Algorithm],
}

impl Key {
    fn verifies(&self, token: &SignedToken<'_>) -> bool {
        self.algorithms.contains(&token.algorithm) && token.is_signed_by(&self.decoding)
    }
}

/// Issues the node's own tokens, and verifies those and the application's.
pub struct Tokens {
    encoding: EncodingKey,
    own: Key,
    foreign: Vec<Key>,
    key_set: Option<KeySet>,
    wanted: Wanted,
    lifetime: Duration,
}

/// The second that a token says it was issued in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued(u64);

impl Issued {
    /// Now, for a user whose tokens were revoked at a time, if they were. Tokens of that second are locked out as well, so one that is
    /// issued later in the same second says the next one.
    pub fn after(revoked_at: Option<Timestamp>) -> Self {
        let now = jsonwebtoken::get_current_timestamp();
        let revoked_at = revoked_at.and_then(|at| u64::try_from(at.as_second()).ok());
        Self(revoked_at.map_or(now, |at| now.max(at + 1)))
    }
}

impl Tokens {
    /// Tokens signed with `secret` alone; those issued here are good for `lifetime`.
    pub fn new(secret: &[u8], lifetime: Duration) -> Self {
        Self {
            encoding: EncodingKey::from_secret(secret),
            own: Key { decoding: DecodingKey::from_secret(secret), algorithms: HMAC },
            foreign: Vec::new(),
            key_set: None,
            wanted: Wanted::default(),
            lifetime,
        }
    }

    /// Takes tokens of the application's own backend too.
    pub fn with_keys(mut self, options: &TokenOptions) -> anyhow::Result<Self> {
        let problems = options.problems();
        anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
        let mut add = |decoding, algorithms| self.foreign.push(Key { decoding, algorithms });
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
            self.key_set = Some(KeySet::new(url, options.jwks_refresh_interval)?);
        }
        self.wanted = Wanted { audience: options.audience.clone(), issuer: options.issuer.clone() };
        Ok(self)
    }

    /// How long an issued token is good.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Signs a token for a user.
    pub fn issue(&self, user_id: &str, role: &str, login_id: Option<&str>) -> Result<String, TokenError> {
        self.issue_at(user_id, role, login_id, Issued::after(None))
    }

    /// The same with the time that it says: taken before it was read what the token says, so that whoever revokes the user's tokens
    /// because of a change after that reaches this one too.
    pub fn issue_at(
        &self,
        user_id: &str,
        role: &str,
        login_id: Option<&str>,
        Issued(issued_at): Issued,
    ) -> Result<String, TokenError> {
        self.sign(&Claims {
            sub: user_id.to_owned(),
            exp: Some(issued_at + self.lifetime.as_secs()),
            iat: Some(issued_at),
            role: role.to_owned(),
            sid: login_id.map(str::to_owned),
            ..Claims::default()
        })
    }

    /// A MAC with the node's secret over a text that is not a token. The purpose keeps MACs of different uses apart.
    pub fn seal(&self, purpose: &str, text: &str) -> Result<String, TokenError> {
        jsonwebtoken::crypto::sign(sealed(purpose, text).as_bytes(), &self.encoding, Algorithm::HS256)
            .map_err(|_| Flaw::Malformed("a MAC cannot be made").into())
    }

    /// Whether a MAC is the one of [`Self::seal`].
    pub fn is_sealed(&self, purpose: &str, text: &str, seal: &str) -> bool {
        let text = sealed(purpose, text);
        jsonwebtoken::crypto::verify(seal, text.as_bytes(), &self.own.decoding, Algorithm::HS256)
            .unwrap_or(false)
    }

    /// Signs claims as they are.
    pub fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.encoding)
            .map_err(|_| Flaw::Malformed("the claims cannot be written").into())
    }

    /// Reads a token whose signature holds and that is good now.
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let token = SignedToken::read(token)?;
        let signer = self.signer_of(&token).await?;
        let payload = token.payload()?;
        let now = jsonwebtoken::get_current_timestamp();
        ClaimSet::read(&payload)?.claims(signer, &self.wanted, now)
    }

    async fn signer_of(&self, token: &SignedToken<'_>) -> Result<Signer, TokenError> {
        if self.own.verifies(token) {
            return Ok(Signer::Node);
        }
        if self.foreign.iter().any(|key| key.verifies(token)) {
            return Ok(Signer::Application);
        }
        // A set of public keys holds no secret that could verify a MAC.
        if let Some(key_set) = self.key_set.as_ref().filter(|_| !HMAC.contains(&token.algorithm)) {
            key_set.verify(token).await?;
            return Ok(Signer::Application);
        }
        let mut keys = self.foreign.iter().chain([&self.own]);
        Err(if keys.any(|key| key.algorithms.contains(&token.algorithm)) {
            Flaw::Signature.into()
        } else {
            Flaw::NoKey(token.wanted_key()).into()
        })
    }
}

/// What a MAC is over. What a token's signature is over has no colon, so neither stands for the other.
fn sealed(purpose: &str, text: &str) -> String {
    format!("{purpose}:{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(b"a secret of the test", Duration::from_mins(1))
    }

    #[tokio::test]
    async fn reads_what_it_issued() {
        let token = tokens().issue("42", "moderator", Some("login")).unwrap();
        let claims = tokens().verify(&token).await.unwrap();
        assert_eq!((claims.sub.as_str(), claims.role.as_str()), ("42", "moderator"));
        assert_eq!(claims.sid.as_deref(), Some("login"));
    }

    /// Trap: a role that is taken away while somebody logs in must not live on in the token that is just being made.
    #[tokio::test]
    async fn a_token_says_the_time_before_what_it_says_was_read() {
        let issued = Issued::after(None);
        // While the user is read, the role is changed and all tokens are revoked.
        let revoked_at = mundotango_storage::now();
        let token = tokens().issue_at("42", "admin", Some("login"), issued).unwrap();
        let seconds = u64::try_from(revoked_at.as_second()).unwrap();
        assert!(tokens().verify(&token).await.unwrap().iat.unwrap() <= seconds, "the revocation reaches it");

        // Who logs in after that is not locked out.
        let token = tokens().issue_at("42", "user", Some("login"), Issued::after(Some(revoked_at))).unwrap();
        assert!(tokens().verify(&token).await.unwrap().iat.unwrap() > seconds);
    }

    #[tokio::test]
    async fn refuses_what_is_old_or_forged() {
        let expired = tokens().sign(&Claims { exp: Some(1), ..Claims::default() }).unwrap();
        assert_eq!(tokens().verify(&expired).await.unwrap_err(), TokenError::Expired);

        let other = Tokens::new(b"another secret, as long as one has to be", Duration::from_mins(1));
        let foreign = other.issue("42", "admin", None).unwrap();
        assert_eq!(tokens().verify(&foreign).await.unwrap_err(), Flaw::Signature.into());
    }

    #[tokio::test]
    async fn says_what_is_wrong_with_a_header() {
        let token = |header: &str| {
            let part = |text: &str| base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, text);
            let message = format!("{}.{}", part(header), part(r#"{"sub":"42"}"#));
            let key = EncodingKey::from_secret(b"a secret of the test");
            let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
            format!("{message}.{signature}")
        };
        for good in [
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"HS256","typ":"at+jwt","x":1}"#,
            r#"{"alg":"HS256","typ":"jwt"}"#,
        ] {
            assert_eq!(tokens().verify(&token(good)).await.unwrap().sub, "42", "{good}");
        }
        for (header, reason) in [
            (r#"{"alg":"none"}"#, "header `alg`: \"none\" is not supported"),
            (r#"{"alg":"ES256K"}"#, "header `alg`: \"ES256K\" is not supported"),
            (r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, "header `crit`: no extension is understood"),
            (r#"{"alg":"HS256","typ":"logout+jwt"}"#, "header `typ`: \"logout+jwt\" is for another purpose"),
            (r#"{"alg":"RS256","kid":"a\nb"}"#, "no key for alg RS256, kid \"a\\nb\""),
            (r#"{"typ":"JWT"}"#, "not a signed JWT: the header is not a JSON object with an `alg`"),
            (r#"{"alg":"HS384"}"#, "the signature is of another key"),
        ] {
            let Err(TokenError::Invalid(flaw)) = tokens().verify(&token(header)).await else {
                panic!("{header}")
            };
            assert_eq!(flaw.to_string(), reason);
        }
        for (text, reason) in [
            ("undefined", "not a signed JWT: not three parts with dots between"),
            ("a.b.c.d.e", "not a signed JWT: five parts, so it is encrypted (JWE)"),
            ("ä.b.c", "not a signed JWT: the header is not base64url"),
            ("", "not a signed JWT: not three parts with dots between"),
        ] {
            let Err(TokenError::Invalid(flaw)) = tokens().verify(text).await else { panic!("{text}") };
            assert_eq!(flaw.to_string(), reason);
        }
    }

    #[tokio::test]
    async fn the_applications_tokens_name_no_role() {
        let options: TokenOptions =
            serde_json::from_str(r#"{"hmac_secret_key": "another secret, as long as one has to be"}"#)
                .unwrap();
        let both = tokens().with_keys(&options).unwrap();
        let other = Tokens::new(b"another secret, as long as one has to be", Duration::from_mins(1));
        let foreign = other.issue("42", "admin", Some("login")).unwrap();
        let claims = both.verify(&foreign).await.unwrap();
        assert_eq!((claims.sub.as_str(), claims.role.as_str(), claims.sid), ("42", "", None));
        let own = tokens().issue("42", "admin", None).unwrap();
        assert_eq!(both.verify(&own).await.unwrap().role, "admin");
    }

    #[tokio::test]
    async fn audience_and_issuer_are_looked_at_where_they_are_set() {
        let options = r#"{"hmac_secret_key": "another secret, as long as one has to be", "audience": "tango", "issuer": "us"}"#;
        let tokens = tokens().with_keys(&serde_json::from_str(options).unwrap()).unwrap();
        let key = EncodingKey::from_secret(b"another secret, as long as one has to be");
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
        let token = jsonwebtoken::encode(
            &Header::default(),
            &serde_json::json!({"iss": "us", "aud": ["salsa"]}),
            &key,
        );
        let Err(TokenError::Invalid(flaw)) = tokens.verify(&token.unwrap()).await else { panic!("taken") };
        assert_eq!(flaw.to_string(), "claim `aud`: \"salsa\" does not hold auth.token.audience");
    }
}
