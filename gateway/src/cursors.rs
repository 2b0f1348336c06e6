//! Cursors: places in lists that clients hold. A place may name what its holder may not see, so it is sealed: nobody reads one or
//! makes one.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::tokens::Tokens;

/// Longest place of a list, in bytes. Places are ids and keys of rows.
const MAX_PLACE_BYTES: usize = 740;
/// Longest cursor that is looked at, in bytes: that of the longest place.
pub(crate) const MAX_CURSOR_BYTES: usize = (NONCE_LEN + MAX_PLACE_BYTES + MAX_TAG_LEN).div_ceil(3) * 4;
// The API's document says so.
const _: () = assert!(MAX_CURSOR_BYTES == 1024);
/// What keeps the keys apart from others that are made of the node's secret.
const PURPOSE: &str = "cursors";

/// The keys of cursors. They are made of the node's secret, so all nodes have the same.
#[derive(Clone)]
pub(crate) struct Cursors(Arc<Keys>);

struct Keys {
    places: LessSafeKey,
    nonces: hmac::Key,
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursors(hidden)")
    }
}

impl Cursors {
    /// The keys of the node whose tokens these are.
    pub(crate) fn of(tokens: &Tokens) -> anyhow::Result<Self> {
        let secret = Sha256::digest(tokens.seal(PURPOSE, "key")?);
        let places = UnboundKey::new(&AES_256_GCM, &secret)
            .map_err(|error| anyhow::anyhow!("no key seals cursors: {error}"))?;
        let nonces = hmac::Key::new(HMAC_SHA256, tokens.seal(PURPOSE, "nonces")?.as_bytes());
        Ok(Self(Arc::new(Keys { places: LessSafeKey::new(places), nonces })))
    }

    /// Makes a cursor of a place in a list, which no other list takes; the same one each time. `None` of a place that is too long.
    pub(crate) fn seal(&self, list: &str, place: &str) -> Option<String> {
        if place.len() > MAX_PLACE_BYTES {
            tracing::error!(list, bytes = place.len(), "the place of a list is too long for a cursor");
            return None;
        }
        let nonce = self.nonce(list, place);
        let mut text = place.as_bytes().to_vec();
        let key = &self.0.places;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(list), &mut text).ok()?;
        Some(BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat()))
    }

    /// The place of a cursor; `None` of what this list did not give under these keys.
    pub(crate) fn open(&self, list: &str, cursor: &str) -> Option<String> {
        if cursor.len() > MAX_CURSOR_BYTES {
            return None;
        }
        let mut sealed = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (nonce, text) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let place = self.0.places.open_in_place(nonce, Aad::from(list), text).ok()?;
        String::from_utf8(place.to_vec()).ok()
    }

    /// Each place of a list has a nonce of its own, and the same one each time: a page that is read again is the same.
    fn nonce(&self, list: &str, place: &str) -> [u8; NONCE_LEN] {
        let mut context = hmac::Context::with_key(&self.0.nonces);
        // No address has the byte that stands between.
        for part in [list.as_bytes(), &[0], place.as_bytes()] {
            context.update(part);
        }
        let tag = context.sign();
        let bytes: &[u8] = tag.as_ref();
        std::array::from_fn(|index| bytes[index])
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    /// The cursors of a node with this secret.
    pub(crate) fn cursors(secret: &str) -> Cursors {
        Cursors::of(&Tokens::new(secret.as_bytes(), Duration::from_mins(1))).unwrap()
    }

    #[test]
    fn a_cursor_opens_at_its_own_list_under_its_own_key() {
        let (own, other) = (cursors("a secret of the test"), cursors("another secret of the test"));
        for place in ["", "01a22267-5695-774a-9335-497936266a2f", "köln"] {
            let cursor = own.seal("/api/posts", place).unwrap();
            assert_eq!(own.open("/api/posts", &cursor).as_deref(), Some(place));
            assert_eq!(own.open("/api/events", &cursor), None);
            assert_eq!(other.open("/api/posts", &cursor), None);
            assert_eq!(
                own.seal("/api/posts", place).unwrap(),
                cursor,
                "a page is the same when it is read again"
            );
            assert_eq!(
                cursors("a secret of the test").seal("/api/posts", place).unwrap(),
                cursor,
                "on each node"
            );
        }
    }

    #[test]
    fn a_place_is_neither_read_nor_changed() {
        let own = cursors("a secret of the test");
        let place = "01a22267-5695-774a-9335-497936266a2f";
        let cursor = own.seal("/api/posts", place).unwrap();
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(&cursor).unwrap();
        assert!(!sealed.windows(4).any(|some| place.as_bytes().windows(4).any(|of_place| of_place == some)));
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(own.open("/api/posts", &BASE64_URL_SAFE_NO_PAD.encode(changed)), None, "{index}");
        }
    }

    #[test]
    fn the_longest_place_makes_the_longest_cursor() {
        let own = cursors("a secret of the test");
        let place = "x".repeat(MAX_PLACE_BYTES);
        let cursor = own.seal("/api/posts", &place).unwrap();
        assert_eq!((cursor.len(), own.open("/api/posts", &cursor)), (MAX_CURSOR_BYTES, Some(place.clone())));
        assert_eq!(own.seal("/api/posts", &format!("{place}x")), None);
        assert_eq!(own.open("/api/posts", &format!("{cursor}A")), None);
    }
}
