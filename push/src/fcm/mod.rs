//! Firebase Cloud Messaging, HTTP v1:
//! <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>.

mod oauth;

use std::time::Duration;

use mundotango_ops::Secret;
use reqwest::{Client, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::destination::DeviceToken;
use crate::error::{Failure, PushError, SetupError};
use crate::http::{Answer, send};
use crate::push::{Push, Topic, Urgency};
use oauth::{AccessTokens, ServiceAccount};

/// Most bytes of the texts and the data of a message.
const MAX_MESSAGE: usize = 4_096;
/// The name under which an app finds the payload.
const PAYLOAD: &str = "payload";

/// Google's service.
pub(crate) struct Fcm {
    client: Client,
    tokens: AccessTokens,
    url: String,
    timeout: Duration,
}

impl Fcm {
    /// `account` is the JSON of a service account.
    pub(crate) fn new(
        client: Client,
        account: &Secret,
        base_url: &str,
        timeout: Duration,
    ) -> Result<Self, SetupError> {
        let account = ServiceAccount::parse(account)?;
        let url =
            format!("{}/v1/projects/{}/messages:send", base_url.trim_end_matches('/'), account.project());
        let tokens = AccessTokens::new(client.clone(), account, timeout);
        Ok(Self { client, tokens, url, timeout })
    }

    pub(crate) async fn push(&self, token: &DeviceToken, push: &Push) -> Result<(), Failure> {
        let payload = push.payload.get();
        let texts = push.title.as_ref().map_or(0, String::len) + push.body.as_ref().map_or(0, String::len);
        if PAYLOAD.len() + payload.len() + texts > MAX_MESSAGE {
            return Err(PushError::TooLarge.into());
        }
        let body = serde_json::to_vec(&Request { message: Message::new(token, push) })
            .map_err(|error| PushError::refused(error.to_string()))?;
        let access = self.tokens.get().await?;
        let answer = self.send(access.clone(), body.clone()).await?;
        // A token may end early; another one helps once.
        if answer.status == StatusCode::UNAUTHORIZED
            && error_code(&answer) != Some(ErrorCode::ThirdPartyAuthError)
            && self.tokens.reject(&access)
        {
            let access = self.tokens.get().await?;
            return outcome(&self.send(access, body).await?);
        }
        outcome(&answer)
    }

    async fn send(&self, access: Secret, body: Vec<u8>) -> Result<Answer, PushError> {
        let request = self
            .client
            .post(&self.url)
            .bearer_auth(access.expose())
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        send(request, self.timeout).await
    }
}

#[derive(Serialize)]
struct Request<'a> {
    message: Message<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    token: &'a str,
    data: Data<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification: Option<Notification<'a>>,
    android: Android<'a>,
}

/// Values of data are texts, so the payload is JSON within JSON.
#[derive(Serialize)]
struct Data<'a> {
    payload: &'a str,
}

#[derive(Serialize)]
struct Notification<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
}

#[derive(Serialize)]
struct Android<'a> {
    ttl: String,
    priority: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification: Option<AndroidNotification<'a>>,
}

#[derive(Serialize)]
struct AndroidNotification<'a> {
    /// Replaces what is shown under the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_count: Option<u64>,
}

impl<'a> Message<'a> {
    fn new(token: &'a DeviceToken, push: &'a Push) -> Self {
        let topic = push.topic.as_ref().map(Topic::as_str);
        let notification = || Notification { title: push.title.as_deref(), body: push.body.as_deref() };
        let android = || AndroidNotification { tag: topic, notification_count: push.badge };
        Self {
            token: token.expose(),
            data: Data { payload: push.payload.get() },
            notification: push.is_visible().then(notification),
            android: Android {
                ttl: format!("{}s", push.ttl_seconds()),
                priority: if push.urgency == Urgency::High { "HIGH" } else { "NORMAL" },
                collapse_key: topic,
                notification: push.is_visible().then(android),
            },
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(rename = "errorCode", default)]
    error_code: Option<ErrorCode>,
}

/// <https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ErrorCode {
    Unregistered,
    SenderIdMismatch,
    ThirdPartyAuthError,
    #[serde(other)]
    Other,
}

fn error_code(answer: &Answer) -> Option<ErrorCode> {
    let body: ErrorBody = serde_json::from_slice(&answer.body).ok()?;
    Some(body.error.details.into_iter().find_map(|detail| detail.error_code).unwrap_or(ErrorCode::Other))
}

/// What an answer means. `INVALID_ARGUMENT` also comes for a faulty payload, so it never deletes a device.
fn outcome(answer: &Answer) -> Result<(), Failure> {
    let code = error_code(answer);
    match (answer.status, code) {
        (status, _) if status.is_success() => Ok(()),
        (StatusCode::NOT_FOUND, Some(ErrorCode::Unregistered)) => Err(PushError::Gone { since: None }.into()),
        // The token belongs to another project, or the node's account does.
        (_, Some(ErrorCode::SenderIdMismatch)) => Err(Failure::Doubtful { why: answer.describe() }),
        (StatusCode::PAYLOAD_TOO_LARGE, _) => Err(PushError::TooLarge.into()),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _)
        // The project itself is not found.
        | (StatusCode::NOT_FOUND, Some(_)) => Err(PushError::provider(answer.describe()).into()),
        // Without the body nobody knows what was not found.
        (StatusCode::NOT_FOUND, None) => Err(answer.temporary().into()),
        _ if answer.is_temporary() => Err(answer.temporary().into()),
        _ => Err(PushError::refused(answer.describe()).into()),
    }
}
