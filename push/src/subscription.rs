//! A browser's subscription: where it is reached, and the keys that only it can read by.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement::{ECDH_P256, ParsedPublicKey, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use url::Url;

/// Longest endpoint that is kept, in bytes. Those of browsers have some hundred.
const MAX_ENDPOINT: usize = 2_048;
/// Longest text of a key, in bytes: enough for any form of base64, with its padding.
const MAX_KEY_TEXT: usize = 128;

/// A public key on the curve P-256, as an uncompressed point (SEC 1, 2.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 65]);

impl PublicKey {
    /// Takes bytes that are a point of the curve.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let point: [u8; 65] = bytes.try_into().ok()?;
        let on_curve = ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, point)).is_ok();
        (point[0] == 4 && on_curve).then_some(Self(point))
    }

    /// The point.
    pub fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }
}

/// As base64url, which browsers take as `applicationServerKey`.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no subscription: the field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// The text is no JSON of the form `{"endpoint": …, "keys": {"p256dh": …, "auth": …}}`.
    #[error("{0}")]
    Json(String),
    /// The endpoint cannot be reached by HTTP.
    #[error("endpoint: {0}")]
    Endpoint(&'static str),
    /// The browser's key is no point of the curve.
    #[error("keys.p256dh: must be 65 bytes in base64url, an uncompressed point on the curve P-256")]
    P256dh,
    /// The shared secret has the wrong length.
    #[error("keys.auth: must be 16 bytes in base64url")]
    Auth,
    /// The node's key is no point of the curve.
    #[error("applicationServerKey: must be 65 bytes in base64url, an uncompressed point on the curve P-256")]
    ApplicationServerKey,
}

/// What a browser's `PushSubscription.toJSON()` says, checked. It is written and read in the browser's own
/// form; `applicationServerKey` is added by the app if it wants the node's keys to change some day.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Browser", into = "Browser")]
pub struct WebSubscription {
    endpoint: Url,
    p256dh: PublicKey,
    auth: [u8; 16],
    application_server_key: Option<PublicKey>,
}

impl WebSubscription {
    /// Where messages go. Whoever knows it can send to it, so it is not for logs.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// The key that messages are encrypted for.
    pub fn p256dh(&self) -> &PublicKey {
        &self.p256dh
    }

    /// The secret that proves to the browser who encrypts.
    pub fn auth(&self) -> &[u8; 16] {
        &self.auth
    }

    /// The node's key that the subscription was made with, if it is remembered.
    pub fn application_server_key(&self) -> Option<&PublicKey> {
        self.application_server_key.as_ref()
    }

    /// Remembers the node's key that the subscription was made with: the service refuses any other.
    pub fn with_application_server_key(mut self, key: PublicKey) -> Self {
        self.application_server_key = Some(key);
        self
    }
}

impl FromStr for WebSubscription {
    type Err = SubscriptionError;

    fn from_str(json: &str) -> Result<Self, SubscriptionError> {
        let browser: Browser =
            serde_json::from_str(json).map_err(|error| SubscriptionError::Json(error.to_string()))?;
        browser.try_into()
    }
}

/// Shows the origin alone: the path and the secret let others send.
impl fmt::Debug for WebSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebSubscription({})", self.endpoint.origin().ascii_serialization())
    }
}

/// The JSON of a browser. What else it says, such as `expirationTime`, is left out.
#[derive(Serialize, Deserialize)]
struct Browser {
    endpoint: String,
    keys: Keys,
    #[serde(rename = "applicationServerKey", default, skip_serializing_if = "Option::is_none")]
    application_server_key: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Keys {
    p256dh: String,
    auth: String,
}

impl TryFrom<Browser> for WebSubscription {
    type Error = SubscriptionError;

    fn try_from(browser: Browser) -> Result<Self, SubscriptionError> {
        let key = |text: &str| bytes_of(text).and_then(|bytes| PublicKey::from_bytes(&bytes));
        let auth = bytes_of(&browser.keys.auth).and_then(|bytes| bytes.try_into().ok());
        let application_server_key = match browser.application_server_key {
            Some(text) => Some(key(&text).ok_or(SubscriptionError::ApplicationServerKey)?),
            None => None,
        };
        Ok(Self {
            endpoint: endpoint_of(&browser.endpoint).map_err(SubscriptionError::Endpoint)?,
            p256dh: key(&browser.keys.p256dh).ok_or(SubscriptionError::P256dh)?,
            auth: auth.ok_or(SubscriptionError::Auth)?,
            application_server_key,
        })
    }
}

impl From<WebSubscription> for Browser {
    fn from(subscription: WebSubscription) -> Self {
        Self {
            endpoint: subscription.endpoint.into(),
            keys: Keys {
                p256dh: subscription.p256dh.to_string(),
                auth: URL_SAFE_NO_PAD.encode(subscription.auth),
            },
            application_server_key: subscription.application_server_key.map(|key| key.to_string()),
        }
    }
}

/// Reads base64url; the other alphabet and padding are taken as well, since some clients convert keys
/// themselves.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_KEY_TEXT {
        return None;
    }
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Reads an endpoint. Whether the node may connect to it depends on its options, and is asked before each
/// push.
fn endpoint_of(text: &str) -> Result<Url, &'static str> {
    if text.len() > MAX_ENDPOINT {
        return Err("must have at most 2048 bytes");
    }
    let url = Url::parse(text).map_err(|_| "must be a URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password");
    }
    Ok(url)
}

/// The receiver of RFC 8291, appendix A, at an endpoint.
#[cfg(test)]
pub(crate) mod example {
    /// Its key.
    pub(crate) const P256DH: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    /// Its secret.
    pub(crate) const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    /// Its subscription.
    pub(crate) fn subscription(endpoint: &str) -> super::WebSubscription {
        let keys = serde_json::json!({"p256dh": P256DH, "auth": AUTH});
        serde_json::from_value(serde_json::json!({"endpoint": endpoint, "keys": keys})).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::example::{AUTH, P256DH};
    use super::*;

    fn valid() -> Value {
        json!({
            "endpoint": "https://push.example.net/send/secret-path",
            "expirationTime": null,
            "keys": {"p256dh": P256DH, "auth": AUTH},
        })
    }

    #[test]
    fn what_a_browser_says_is_read_and_written_again() {
        let subscription: WebSubscription = valid().to_string().parse().unwrap();
        assert_eq!(subscription.p256dh().to_string(), P256DH);
        let kept = subscription.clone().with_application_server_key(*subscription.p256dh());
        let json = serde_json::to_string(&kept).unwrap();
        assert_eq!(json.parse::<WebSubscription>().unwrap(), kept);
        let mut padded = valid();
        padded["keys"]["auth"] = json!(format!("{}==", AUTH.replace('_', "/")));
        assert_eq!(padded.to_string().parse::<WebSubscription>().unwrap(), subscription);
    }

    #[test]
    fn each_field_has_its_own_error() {
        let not_on_curve = URL_SAFE_NO_PAD.encode([4; 65]);
        for (pointer, value, wanted) in [
            ("/endpoint", json!("push"), "endpoint: must be a URL"),
            ("/endpoint", json!("ftp://example.com/"), "endpoint: must begin with https://"),
            ("/endpoint", json!("https://u:p@example.com/"), "endpoint: must not hold"),
            ("/endpoint", json!(format!("https://e.com/{}", "x".repeat(2_048))), "endpoint: must have"),
            ("/endpoint", json!(5), "invalid type"),
            ("/keys/p256dh", json!(not_on_curve), "keys.p256dh:"),
            ("/keys/p256dh", json!(AUTH), "keys.p256dh:"),
            ("/keys/auth", json!(P256DH), "keys.auth:"),
            ("/keys/auth", json!("!"), "keys.auth:"),
            ("/keys/auth", json!("A".repeat(100_000)), "keys.auth:"),
            ("/keys", json!({}), "missing field `p256dh`"),
        ] {
            let mut json = valid();
            *json.pointer_mut(pointer).unwrap() = value;
            let error = json.to_string().parse::<WebSubscription>().unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
            assert!(serde_json::from_value::<WebSubscription>(json).is_err());
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let subscription: WebSubscription = valid().to_string().parse().unwrap();
        assert_eq!(format!("{subscription:?}"), "WebSubscription(https://push.example.net)");
    }
}
