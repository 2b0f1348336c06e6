//! Apple's push service (APNs) over HTTP/2:
//! <https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns>.

mod token;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::destination::DeviceToken;
use crate::error::{Failure, PushError, SetupError};
use crate::http::{Answer, send};
use crate::options::ApnsOptions;
use crate::push::{Push, Urgency};
use token::ProviderTokens;

/// Most bytes of a request's body.
const MAX_BODY: usize = 4_096;

/// Apple's service.
pub(crate) struct Apns {
    client: Client,
    tokens: ProviderTokens,
    topic: String,
    url: String,
    timeout: Duration,
}

impl Apns {
    /// `pem` is the text of the key's .p8 file. The client speaks HTTP/2 alone.
    pub(crate) fn new(
        client: Client,
        pem: &str,
        options: &ApnsOptions,
        timeout: Duration,
    ) -> Result<Self, SetupError> {
        let tokens = ProviderTokens::new(pem, &options.key_id, &options.team_id)?;
        let url = format!("{}/3/device/", options.base_url.trim_end_matches('/'));
        Ok(Self { client, tokens, topic: options.topic.clone(), url, timeout })
    }

    pub(crate) async fn push(&self, device: &DeviceToken, push: &Push) -> Result<(), Failure> {
        let body =
            serde_json::to_vec(&Body::new(push)).map_err(|error| PushError::refused(error.to_string()))?;
        if body.len() > MAX_BODY {
            return Err(PushError::TooLarge.into());
        }
        let token = self.tokens.get(Timestamp::now())?;
        let answer = self.send(&token, device, push, body.clone()).await?;
        // A clock that was set may have aged the token; another one helps once.
        if error_of(&answer).reason == "ExpiredProviderToken" && self.tokens.reject(&token, Timestamp::now())
        {
            let token = self.tokens.get(Timestamp::now())?;
            return outcome(&self.send(&token, device, push, body).await?);
        }
        outcome(&answer)
    }

    async fn send(
        &self,
        token: &Arc<str>,
        device: &DeviceToken,
        push: &Push,
        body: Vec<u8>,
    ) -> Result<Answer, PushError> {
        let mut request = self
            .client
            .post(format!("{}{}", self.url, device.expose()))
            .header(header::AUTHORIZATION, format!("bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header("apns-topic", &self.topic)
            .header("apns-push-type", if is_alert(push) { "alert" } else { "background" })
            .header("apns-priority", priority(push))
            .header("apns-expiration", expiration(push, Timestamp::now()))
            .body(body);
        if let Some(topic) = &push.topic {
            request = request.header("apns-collapse-id", topic.as_str());
        }
        send(request, self.timeout).await
    }
}

/// Whether the device shows anything, be it a number on the icon alone. Apple wants to know it.
fn is_alert(push: &Push) -> bool {
    push.is_visible() || push.badge.is_some()
}

/// What shows nothing must have 5: Apple refuses 10.
fn priority(push: &Push) -> &'static str {
    match push.urgency {
        Urgency::High if push.is_visible() => "10",
        Urgency::Low | Urgency::VeryLow if push.is_visible() => "1",
        _ => "5",
    }
}

/// Until when Apple keeps the message, in seconds of Unix time. 0: it tries once.
fn expiration(push: &Push, now: Timestamp) -> i64 {
    match push.ttl_seconds() {
        0 => 0,
        seconds => now.as_second().saturating_add_unsigned(seconds),
    }
}

#[derive(Serialize)]
struct Body<'a> {
    aps: Aps<'a>,
    payload: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Aps<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<Alert<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    badge: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_available: Option<u8>,
}

#[derive(Serialize)]
struct Alert<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
}

impl<'a> Body<'a> {
    fn new(push: &'a Push) -> Self {
        let visible = push.is_visible();
        let alert = || Alert { title: push.title.as_deref(), body: push.body.as_deref() };
        let aps = Aps {
            alert: visible.then(alert),
            sound: visible.then_some("default"),
            badge: push.badge,
            content_available: (!visible).then_some(1),
        };
        Self { aps, payload: &push.payload }
    }
}

/// Why Apple refuses, and, with 410, since when the device is gone, in milliseconds of Unix time.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    reason: String,
    timestamp: Option<i64>,
}

fn error_of(answer: &Answer) -> ErrorBody {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// What an answer means:
/// <https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns>.
fn outcome(answer: &Answer) -> Result<(), Failure> {
    let error = error_of(answer);
    let provider = || Err(PushError::provider(answer.describe()).into());
    match (answer.status, error.reason.as_str()) {
        (status, _) if status.is_success() => Ok(()),
        (StatusCode::GONE, _) => {
            let since = error.timestamp.and_then(|at| Timestamp::from_millisecond(at).ok());
            Err(PushError::Gone { since }.into())
        }
        (StatusCode::PAYLOAD_TOO_LARGE, _) => Err(PushError::TooLarge.into()),
        // One token of another app or of a development build; or all of them, if the node has the wrong
        // address.
        (_, "BadDeviceToken" | "DeviceTokenNotForTopic") => Err(Failure::Doubtful { why: answer.describe() }),
        (StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _)
        | (_, "BadTopic" | "MissingTopic" | "TopicDisallowed" | "TooManyProviderTokenUpdates") => provider(),
        (_, "IdleTimeout") => Err(answer.temporary().into()),
        _ if answer.is_temporary() => Err(answer.temporary().into()),
        _ => Err(PushError::refused(answer.describe()).into()),
    }
}
