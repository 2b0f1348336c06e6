//! Secrets of second factors, sealed with a key that follows from the node's secret: whoever has the store alone cannot make codes.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use mundotango_gateway::tokens::{TokenError, Tokens};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::community::audit::seal::random;

/// The key that all secrets of second factors are sealed with.
#[derive(Clone, Copy)]
pub struct SecretKey([u8; 32]);

/// A sealed secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// In base 64.
    pub nonce: String,
    /// The same.
    pub text: String,
}

impl SecretKey {
    /// The key of the node whose tokens these are.
    pub fn of(tokens: &Tokens) -> Result<Self, TokenError> {
        Ok(Self(Sha256::digest(tokens.seal("second factors", "key")?.as_bytes()).into()))
    }

    fn usable(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &self.0).ok().map(LessSafeKey::new)
    }

    /// Seals a secret. It opens as that user's alone.
    pub fn seal(&self, user_id: &str, secret: &[u8]) -> Result<Sealed, StoreError> {
        let wrong = || StoreError::Damaged("a secret cannot be sealed".to_owned());
        let nonce = random::<NONCE_LEN>()?;
        let mut text = secret.to_vec();
        self.usable()
            .ok_or_else(wrong)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(user_id), &mut text)
            .map_err(|_| wrong())?;
        Ok(Sealed { nonce: BASE64.encode(nonce), text: BASE64.encode(text) })
    }

    /// Opens a secret; `None` where it was sealed with another key, or is somebody else's.
    pub fn open(&self, user_id: &str, sealed: &Sealed) -> Option<Vec<u8>> {
        let nonce = BASE64.decode(&sealed.nonce).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
        let mut text = BASE64.decode(&sealed.text).ok()?;
        let secret = self.usable()?.open_in_place(nonce, Aad::from(user_id), &mut text).ok()?;
        Some(secret.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_secret_opens_for_its_user_and_its_node_alone() {
        let key = |secret: &[u8]| SecretKey::of(&Tokens::new(secret, Duration::from_mins(1))).unwrap();
        let sealed = key(&[1; 32]).seal("ana", b"a secret").unwrap();
        assert_eq!(key(&[1; 32]).open("ana", &sealed).as_deref(), Some(b"a secret".as_slice()));
        assert_eq!(key(&[1; 32]).open("ben", &sealed), None);
        assert_eq!(key(&[2; 32]).open("ana", &sealed), None);
        assert_ne!(key(&[1; 32]).seal("ana", b"a secret").unwrap(), sealed, "each has a nonce of its own");
    }
}
