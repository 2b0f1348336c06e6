//! The keys of an identity provider, from a URL (JSON Web Key Set, RFC 7517).
//!
//! They are read when a token comes that names a key that is not known, and again after a while, so that a provider
//! may change its keys. A token with a made-up key id must not make a request each: between two there is a pause.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{DecodingKey, Header, Validation};
use parking_lot::RwLock;
use reqwest::Client;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::tokens::TokenError;

/// How long keys are trusted without another look: a key that the provider withdrew is refused after that.
const FRESH_FOR: Duration = Duration::from_mins(5);
/// Shortest pause between two requests.
const PAUSE: Duration = Duration::from_secs(2);
/// Time for one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// A provider's keys.
pub(crate) struct KeySet {
    url: String,
    client: Client,
    validation: Validation,
    keys: RwLock<Option<Known>>,
    /// When the last request was made; held while one is under way, so that there is one at a time.
    asked_at: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Known {
    keys: Arc<JwkSet>,
    read_at: Instant,
}

impl KeySet {
    pub(crate) fn new(url: &str, validation: Validation) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self {
            url: url.to_owned(),
            client,
            validation,
            keys: RwLock::default(),
            asked_at: Mutex::default(),
        })
    }

    /// The key that a token names, and what the token has to fulfil.
    pub(crate) async fn key_of(&self, header: &Header) -> Result<(DecodingKey, Validation), TokenError> {
        let key_id = header.kid.as_deref().ok_or(TokenError::Invalid)?;
        let known = self.keys.read().clone();
        let fresh = known.as_ref().is_some_and(|known| known.read_at.elapsed() < FRESH_FOR);
        let fresh = known.as_ref().and_then(|known| known.keys.find(key_id)).filter(|_| fresh);
        let jwk = if let Some(jwk) = fresh {
            jwk.clone()
        } else {
            let keys = self.read_again(known.as_ref()).await?;
            keys.find(key_id).cloned().ok_or(TokenError::Invalid)?
        };
        if !may_verify(&jwk, header) {
            return Err(TokenError::Invalid);
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| TokenError::Invalid)?;
        let mut validation = self.validation.clone();
        validation.algorithms.retain(|algorithm| *algorithm == header.alg);
        Ok((key, validation))
    }

    async fn read_again(&self, seen: Option<&Known>) -> Result<Arc<JwkSet>, TokenError> {
        let mut asked_at = self.asked_at.lock().await;
        let known = self.keys.read().clone();
        let newer = known.as_ref().filter(|known| seen.is_none_or(|seen| known.read_at > seen.read_at));
        if let Some(newer) = newer {
            return Ok(Arc::clone(&newer.keys));
        }
        if asked_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return known.map(|known| known.keys).ok_or(TokenError::Unavailable);
        }
        *asked_at = Some(Instant::now());
        match self.request().await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *self.keys.write() = Some(Known { keys: Arc::clone(&keys), read_at: Instant::now() });
                Ok(keys)
            }
            Err(error) => {
                tracing::warn!(url = self.url, %error, "keys of tokens not read");
                // Keys that were good a while ago are better than none while the provider is away.
                known.map(|known| known.keys).ok_or(TokenError::Unavailable)
            }
        }
    }

    async fn request(&self) -> anyhow::Result<JwkSet> {
        let mut response = self.client.get(&self.url).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            anyhow::ensure!(body.len() <= MAX_BYTES, "the answer is longer than {MAX_BYTES} bytes");
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

/// Whether a key is for signatures of the token's algorithm.
fn may_verify(jwk: &Jwk, header: &Header) -> bool {
    let algorithm = jwk.common.key_algorithm.map(|algorithm| algorithm.to_string());
    algorithm.is_none_or(|algorithm| algorithm == format!("{:?}", header.alg))
}
