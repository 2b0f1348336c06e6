//! Who sends: signed tokens for the services of browsers (RFC 8292).

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use mundotango_ops::Secret;
use parking_lot::Mutex;
use serde::Serialize;

use crate::error::PushError;
use crate::subscription::PublicKey;

/// How long a token is good. Services refuse more than 24 hours, so a clock may be wrong by half a day.
const LIFE: Duration = Duration::from_hours(12);
/// When a token is made anew.
const HALF_LIFE: Duration = Duration::from_hours(6);
/// Most origins whose tokens are kept. Browsers have a handful of services, but users choose endpoints.
const MAX_ORIGINS: usize = 256;
/// Most earlier keys that are kept.
const MAX_PREVIOUS: usize = 4;
/// What stands between keys in their text.
const BETWEEN: char = '.';

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VapidError {
    /// No key could be made.
    #[error("a VAPID key cannot be made")]
    Generate,
    /// The text holds something else. It is not shown.
    #[error("the stored text holds no VAPID keys")]
    Text,
}

/// The keys by which the services of browsers know the site: the current one, which new subscriptions are
/// made with, and those before, which old subscriptions need.
#[derive(Clone)]
pub struct VapidKeys {
    current: Key,
    /// The newest first.
    previous: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    pkcs8: Vec<u8>,
    public: PublicKey,
}

impl VapidKeys {
    /// Makes a first key. The text of [`VapidKeys::to_text`] has to be stored: with other keys, all
    /// subscriptions are lost.
    pub fn generate() -> Result<Self, VapidError> {
        Ok(Self { current: Key::generate()?, previous: Vec::new() })
    }

    /// Makes another key the current one, and keeps up to four before it.
    pub fn rotate(mut self) -> Result<Self, VapidError> {
        let current = Key::generate()?;
        self.previous.insert(0, std::mem::replace(&mut self.current, current));
        self.previous.truncate(MAX_PREVIOUS);
        Ok(self)
    }

    /// The keys as a text, for the store: PKCS#8 in base64url, with dots between, the current key first.
    pub fn to_text(&self) -> Secret {
        let mut text = String::new();
        for key in self.all() {
            if !text.is_empty() {
                text.push(BETWEEN);
            }
            URL_SAFE_NO_PAD.encode_string(&key.pkcs8, &mut text);
        }
        Secret::new(text)
    }

    /// Reads what [`VapidKeys::to_text`] wrote.
    pub fn from_text(text: &str) -> Result<Self, VapidError> {
        let key = |text| {
            let pkcs8 = URL_SAFE_NO_PAD.decode(text).map_err(|_| VapidError::Text)?;
            Key::from_pkcs8(pkcs8).ok_or(VapidError::Text)
        };
        let mut keys = text.trim().split(BETWEEN).take(1 + MAX_PREVIOUS).map(key);
        let current = keys.next().ok_or(VapidError::Text)??;
        Ok(Self { current, previous: keys.collect::<Result<_, _>>()? })
    }

    /// The current public key: what browsers take as `applicationServerKey`.
    pub fn public_key(&self) -> &PublicKey {
        &self.current.public
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// The key that a subscription was made with; the current one if it does not say.
    fn find(&self, public: Option<&PublicKey>) -> Option<&Key> {
        match public {
            Some(public) => self.all().find(|key| key.public == *public),
            None => Some(&self.current),
        }
    }
}

/// Shows public keys alone.
impl fmt::Debug for VapidKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all().map(|key| key.public)).finish()
    }
}

impl Key {
    fn generate() -> Result<Self, VapidError> {
        let make = || {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
            Self::from_pkcs8(pair.to_pkcs8v1().ok()?.as_ref().to_vec())
        };
        make().ok_or(VapidError::Generate)
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).ok()?;
        let public = PublicKey::from_bytes(pair.public_key().as_ref())?;
        Some(Self { pkcs8, public })
    }
}

/// Signs tokens, and keeps them for half their life: services slow down those who send a new one each time.
pub(super) struct Vapid {
    keys: VapidKeys,
    subject: String,
    kept: Mutex<HashMap<(PublicKey, String), Kept>>,
}

struct Kept {
    header: String,
    made: Timestamp,
}

/// RFC 8292, 2. Services demand `sub`.
#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: i64,
    sub: &'a str,
}

impl Vapid {
    pub(super) fn new(keys: VapidKeys, subject: &str) -> Self {
        Self { keys, subject: subject.to_owned(), kept: Mutex::default() }
    }

    pub(super) fn public_key(&self) -> &PublicKey {
        self.keys.public_key()
    }

    /// The header `Authorization` for a service (RFC 8292, 3).
    pub(super) fn authorization(
        &self,
        public: Option<&PublicKey>,
        origin: &str,
        now: Timestamp,
    ) -> Result<String, PushError> {
        if self.subject.is_empty() {
            return Err(PushError::provider("web push is off: push.subject is not set"));
        }
        let Some(key) = self.keys.find(public) else {
            return Err(PushError::refused("the subscription was made with a key that is no longer kept"));
        };
        let place = (key.public, origin.to_owned());
        if let Some(kept) = self.kept.lock().get(&place)
            && is_fresh(kept.made, now)
        {
            return Ok(kept.header.clone());
        }
        let claims = Claims {
            aud: origin,
            exp: now.as_second().saturating_add_unsigned(LIFE.as_secs()),
            sub: &self.subject,
        };
        let token = encode(&Header::new(Algorithm::ES256), &claims, &EncodingKey::from_ec_der(&key.pkcs8))
            .map_err(|error| PushError::provider(format!("a VAPID token cannot be signed: {error}")))?;
        let header = format!("vapid t={token}, k={}", key.public);
        let mut kept = self.kept.lock();
        if kept.len() >= MAX_ORIGINS && !kept.contains_key(&place) {
            let oldest = kept.iter().min_by_key(|(_, kept)| kept.made).map(|(place, _)| place.clone());
            oldest.and_then(|oldest| kept.remove(&oldest));
        }
        kept.insert(place, Kept { header: header.clone(), made: now });
        Ok(header)
    }
}

/// Whether a token is used further. One from the future was made by a wrong clock.
fn is_fresh(made: Timestamp, now: Timestamp) -> bool {
    made <= now && now.duration_since(made).unsigned_abs() < HALF_LIFE
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};
    use serde_json::Value;

    use super::*;

    const ORIGIN: &str = "https://push.example.net";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn keys_are_kept_as_a_text_with_those_before() {
        let first = VapidKeys::generate().unwrap();
        let mut keys = first.clone();
        for _ in 0..MAX_PREVIOUS {
            keys = keys.rotate().unwrap();
        }
        let read = VapidKeys::from_text(keys.to_text().expose()).unwrap();
        assert_eq!(read.public_key(), keys.public_key());
        assert!(read.find(Some(first.public_key())).is_some());
        assert!(keys.rotate().unwrap().find(Some(first.public_key())).is_none());
        let text = first.to_text();
        assert!(!format!("{first:?} {text:?}").contains(text.expose()));
        for bad in ["", ".", "AAAA", "é", &format!("{}.", text.expose())] {
            assert_eq!(VapidKeys::from_text(bad).unwrap_err(), VapidError::Text, "{bad:?}");
        }
    }

    #[test]
    fn t40_t41_a_token_is_kept_for_six_hours_and_good_for_twelve() {
        let vapid = Vapid::new(VapidKeys::generate().unwrap(), "mailto:ops@example.com");
        let header = |second| vapid.authorization(None, ORIGIN, at(second)).unwrap();
        let first = header(0);
        assert_eq!(header(6 * 3_600 - 1), first);
        let second = header(6 * 3_600);
        assert_ne!(second, first);
        assert_ne!(header(-1), second, "a clock that was set back");

        let (token, key) = first.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(key, vapid.public_key().to_string());
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[ORIGIN]);
        validation.validate_exp = false;
        let key = DecodingKey::from_ec_der(vapid.public_key().as_bytes());
        let claims = decode::<Value>(token, &key, &validation).unwrap().claims;
        assert_eq!(claims["exp"], at(12 * 3_600).as_second());
        assert_eq!(claims["sub"], "mailto:ops@example.com");
    }

    #[test]
    fn origins_are_bounded_and_the_newest_stay() {
        let vapid = Vapid::new(VapidKeys::generate().unwrap(), "mailto:ops@example.com");
        for number in 0..300 {
            vapid.authorization(None, &format!("https://h{number}.example"), at(number)).unwrap();
        }
        let kept = vapid.kept.lock();
        assert_eq!(kept.len(), MAX_ORIGINS);
        assert!(kept.keys().any(|(_, origin)| origin == "https://h299.example"));
        assert!(!kept.keys().any(|(_, origin)| origin == "https://h0.example"));
    }

    #[test]
    fn old_subscriptions_are_pushed_to_with_their_own_key() {
        let old = VapidKeys::generate().unwrap();
        let vapid = Vapid::new(old.clone().rotate().unwrap(), "mailto:ops@example.com");
        let header = vapid.authorization(Some(old.public_key()), ORIGIN, at(0)).unwrap();
        assert!(header.ends_with(&old.public_key().to_string()), "{header}");
        let unknown = *VapidKeys::generate().unwrap().public_key();
        let error = vapid.authorization(Some(&unknown), ORIGIN, at(0)).unwrap_err();
        assert!(matches!(error, PushError::Refused { .. }), "{error}");
    }
}
