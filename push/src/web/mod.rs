//! Web push: one encrypted message to the endpoint of a browser (RFC 8030).

mod encrypt;
mod vapid;

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, StatusCode, header};

use crate::endpoint::{EndpointError, EndpointRules};
use crate::error::{Failure, PushError};
use crate::http::{Answer, send};
use crate::push::Push;
use crate::subscription::{PublicKey, WebSubscription};
use vapid::Vapid;
pub use vapid::{VapidError, VapidKeys};

/// The services of browsers.
pub(crate) struct WebPush {
    client: Client,
    rules: EndpointRules,
    vapid: Vapid,
    timeout: Duration,
}

impl WebPush {
    /// `subject` is whom the services may contact; empty: nobody is pushed to.
    pub(crate) fn new(
        client: Client,
        rules: EndpointRules,
        keys: VapidKeys,
        subject: &str,
        timeout: Duration,
    ) -> Self {
        Self { client, rules, vapid: Vapid::new(keys, subject), timeout }
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        self.vapid.public_key()
    }

    pub(crate) fn check(&self, subscription: &WebSubscription) -> Result<(), EndpointError> {
        self.rules.check(subscription.endpoint())
    }

    pub(crate) async fn push(&self, to: &WebSubscription, push: &Push) -> Result<(), Failure> {
        self.check(to).map_err(|error| PushError::refused(error.to_string()))?;
        let origin = to.endpoint().origin().ascii_serialization();
        let authorization =
            self.vapid.authorization(to.application_server_key(), &origin, Timestamp::now())?;
        let body = encrypt::encrypt(to, push.payload.get().as_bytes())
            .map_err(|error| PushError::refused(error.to_string()))?;
        let mut request = self
            .client
            .post(to.endpoint().clone())
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_ENCODING, "aes128gcm")
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header("TTL", push.ttl_seconds())
            .header("Urgency", push.urgency.as_str())
            .body(body);
        if let Some(topic) = &push.topic {
            request = request.header("Topic", topic.as_str());
        }
        outcome(&send(request, self.timeout).await?)
    }
}

/// What an answer means (RFC 8030, 5 and 7.3).
fn outcome(answer: &Answer) -> Result<(), Failure> {
    match answer.status {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(PushError::Gone { since: None }.into()),
        StatusCode::PAYLOAD_TOO_LARGE => Err(PushError::TooLarge.into()),
        // Services also say so when a subscription was made with another key.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Doubtful { why: answer.describe() }),
        _ if answer.is_temporary() => Err(answer.temporary().into()),
        _ => Err(PushError::refused(answer.describe()).into()),
    }
}
