//! What is pushed: a payload, and how much it matters.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;

/// Most bytes of a payload. Encrypted it stays below the smallest limit of a browser (3,070 bytes, Firefox on
/// Android).
pub const MAX_PAYLOAD: usize = 2_800;
/// The longest time that services keep a message: 28 days (FCM). A longer one is shortened to it.
pub const MAX_TTL: Duration = Duration::from_hours(28 * 24);

/// One message for one device.
#[derive(Clone, Debug)]
pub struct Push {
    /// What the app or the service worker gets: JSON of at most [`MAX_PAYLOAD`] bytes. FCM and APNs read it,
    /// web push is encrypted; the caller decides whether it holds a text or ids alone.
    pub payload: Box<RawValue>,
    /// The title that FCM and APNs show. Without title and body the push is silent there.
    pub title: Option<String>,
    /// The text that FCM and APNs show.
    pub body: Option<String>,
    /// How long the service keeps the message for a device that is away. Zero: now or never.
    pub ttl: Duration,
    /// How much of its battery the device may spend.
    pub urgency: Urgency,
    /// A later push with the same topic replaces this one while it waits.
    pub topic: Option<Topic>,
    /// The number on the app's icon from now on: the whole number, not a difference.
    pub badge: Option<u64>,
}

impl Push {
    /// Whether FCM and APNs show something.
    pub(crate) fn is_visible(&self) -> bool {
        self.title.is_some() || self.body.is_some()
    }

    /// Seconds that a service keeps the message.
    pub(crate) fn ttl_seconds(&self) -> u64 {
        self.ttl.min(MAX_TTL).as_secs()
    }
}

/// How much a push matters (RFC 8030, 5.3), and when a phone wakes up for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// On power and Wi-Fi: advertisements. APNs priority 1.
    VeryLow,
    /// On power or Wi-Fi: news of a topic. APNs priority 1.
    Low,
    /// When the device is awake: most messages. APNs priority 5.
    #[default]
    Normal,
    /// At once, also on a low battery: a direct message, a call. APNs priority 10, FCM `HIGH`.
    High,
}

impl Urgency {
    /// The value of the header `Urgency` (RFC 8030, 5.3).
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::VeryLow => "very-low",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// What a push is about: 1 to 32 characters of base64url (RFC 8030, 5.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topic(String);

/// The text is no topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic has 1 to 32 characters, each a letter, a digit, - or _")]
pub struct TopicError;

impl Topic {
    /// Takes a text that is a topic.
    pub fn new(text: impl Into<String>) -> Result<Self, TopicError> {
        let text = text.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text))
        } else {
            Err(TopicError)
        }
    }

    /// A topic for any name, such as that of a channel: 24 bytes of its SHA-256. The name stays unknown to
    /// the service.
    pub fn of_name(name: &str) -> Self {
        let hash = digest(&SHA256, name.as_bytes());
        Self(URL_SAFE_NO_PAD.encode(&hash.as_ref()[..24]))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_fit_into_a_header() {
        for good in ["a", "Room-1_x", &"x".repeat(32)] {
            assert_eq!(Topic::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a\r\nTTL: 0", "é", "a=", &"x".repeat(33)] {
            assert_eq!(Topic::new(bad), Err(TopicError), "{bad:?}");
        }
        let topic = Topic::of_name("room:тангó");
        assert_eq!(Topic::new(topic.as_str()), Ok(topic.clone()));
        assert_eq!(topic.as_str().len(), 32);
        assert_ne!(topic, Topic::of_name("room:tango"));
    }
}
