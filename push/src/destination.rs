//! Where a device is reached, and whose service does it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::subscription::WebSubscription;

/// Longest token of a device, in bytes. FCM's have less than 300.
const MAX_TOKEN: usize = 1_024;

/// Where a device is reached. Printing it shows no secret; serializing it does, for the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[expect(clippy::large_enum_variant, reason = "most destinations are browsers")]
pub enum Destination {
    /// A browser, by web push.
    Web(WebSubscription),
    /// An app, by Firebase Cloud Messaging.
    Fcm {
        /// The registration token of the app.
        token: DeviceToken,
    },
    /// An app of Apple's systems, by APNs.
    Apns {
        /// The device token, in hexadecimal digits.
        token: DeviceToken,
    },
}

impl Destination {
    /// Whose service reaches it.
    pub fn provider(&self) -> Provider {
        match self {
            Self::Web(subscription) => {
                Provider::Web { host: subscription.endpoint().host_str().unwrap_or_default().to_owned() }
            }
            Self::Fcm { .. } => Provider::Fcm,
            Self::Apns { .. } => Provider::Apns,
        }
    }
}

/// A push service: what a circuit breaker keeps apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// The service of a browser.
    Web {
        /// The host of its endpoints. Users choose it, so it is no label of a metric.
        host: String,
    },
    /// Firebase Cloud Messaging.
    Fcm,
    /// Apple's service.
    Apns,
}

impl Provider {
    /// `web`, `fcm` or `apns`: for the labels of metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Web { .. } => "web",
            Self::Fcm => "fcm",
            Self::Apns => "apns",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web { host } => write!(f, "web:{host}"),
            Self::Fcm | Self::Apns => f.write_str(self.kind()),
        }
    }
}

/// The token of an app on a device: safe in a path and in JSON, and never printed.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceToken(String);

/// The text is no token of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token: must have 1 to 1024 characters, each a letter, a digit, -, _ or :")]
pub struct DeviceTokenError;

impl DeviceToken {
    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DeviceToken {
    type Error = DeviceTokenError;

    fn try_from(text: String) -> Result<Self, DeviceTokenError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':');
        let good = (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(plain);
        if good { Ok(Self(text)) } else { Err(DeviceTokenError) }
    }
}

impl From<DeviceToken> for String {
    fn from(token: DeviceToken) -> Self {
        token.0
    }
}

impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::subscription::example::subscription;

    #[test]
    fn a_destination_is_stored_whole_and_printed_without_its_token() {
        let json = json!({"kind": "fcm", "token": "abc:DEF-1_2"});
        let destination: Destination = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&destination).unwrap(), json);
        assert_eq!(format!("{destination:?}"), "Fcm { token: *** }");
        assert_eq!(destination.provider().to_string(), "fcm");
        let web = Destination::Web(subscription("https://push.example.net/secret"));
        assert_eq!(web.provider().to_string(), "web:push.example.net");
        assert_eq!(serde_json::from_value::<Destination>(serde_json::to_value(&web).unwrap()).unwrap(), web);
    }

    #[test]
    fn a_token_cannot_change_the_path_of_a_request() {
        for bad in ["", "../x", "a/b", "a%2fb", "a?b", "a b", "ü", &"a".repeat(1_025)] {
            assert_eq!(DeviceToken::try_from(bad.to_owned()), Err(DeviceTokenError), "{bad:?}");
        }
    }
}
