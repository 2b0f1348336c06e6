//! Tokens of users that the server does not know: it believes whoever has its secret.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

/// How long a token is good.
const SECONDS: u64 = 24 * 3600;

/// Signs tokens.
pub(crate) struct Signer(EncodingKey);

impl Signer {
    /// Signs with the server's own secret (HS256).
    pub(crate) fn new(secret: &str) -> Self {
        Self(EncodingKey::from_secret(secret.as_bytes()))
    }

    /// A user's token.
    pub(crate) fn token(&self, user_id: &str) -> anyhow::Result<String> {
        let claims = json!({"sub": user_id, "exp": jsonwebtoken::get_current_timestamp() + SECONDS});
        Ok(jsonwebtoken::encode(&Header::default(), &claims, &self.0)?)
    }
}
