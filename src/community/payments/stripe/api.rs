//! One call of Stripe's API, and what its outcome says.
//!
//! A call that changes something has an idempotency key, so it is made again where nobody knows what came of it: the same key
//! never does a thing twice for a day. What came of the first call is kept under the key, failures of Stripe's own among it.
//! (Stripe documentation, "Advanced error handling", "Idempotent requests".)

use std::time::Duration;

use anyhow::Context as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use mundotango_jobs::{Breakers, Failure, Seen};
use mundotango_ops::Secret;
use mundotango_ops::traces::{Kind, Span};
use reqwest::{Client, Response, redirect, retry};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};
use url::Url;
use url::form_urlencoded::Serializer;

use super::objects::ErrorBody;

/// The version of the API that answers are of, whatever the account's own.
const VERSION: &str = "2025-09-30.clover";
/// How long connecting may take, with TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// How often a call is made.
const TRIES: u32 = 3;
/// No other try begins after this: who waits for a page to pay on waits no longer than for any answer of the node.
const PATIENCE: Duration = Duration::from_secs(12);
/// The pause before the second try; the next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// Largest answer that is read, in bytes: a page of a hundred refunds.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// The longest wait that is asked for and kept.
const MAX_WAIT: Duration = Duration::from_hours(1);
/// How long is waited where Stripe takes no more calls and does not say for how long.
const BUSY: Duration = Duration::from_secs(5);
/// How long jobs wait where Stripe refuses the key.
const MISCONFIGURED: Duration = Duration::from_mins(5);
/// Most of an error's words that are quoted, in characters.
const MAX_WORDS: usize = 300;
/// Where calls go, for the circuit breaker.
const DESTINATION: &str = "Stripe";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");

/// Why a call came to nothing, by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StripeError {
    /// Nothing was done, and the same call will not be done either.
    #[error("Stripe refuses it: {status} {code} {message}")]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// The cause for programs, such as `amount_too_small`; blank where Stripe gives none.
        code: String,
        /// The cause in words.
        message: String,
    },
    /// Stripe does not take the key, or the key may not do this.
    #[error("Stripe refuses this node: {0}")]
    Misconfigured(String),
    /// The first call with this idempotency key failed at Stripe, or was another one; what came of it has to be looked for.
    #[error("what came of the first call is not known: {0}")]
    Unknown(String),
    /// Nobody knows what came of it, or nothing did: the same call may be made again.
    #[error("Stripe does not answer as it should: {0}")]
    Unavailable(String),
    /// Stripe works and did nothing: too many calls were made, or another one with the same key is under way.
    #[error("Stripe takes no more calls at the moment: {why}")]
    Busy {
        /// Why it was not taken.
        why: String,
        /// After how long a call may work.
        after: Duration,
    },
    /// It was not made: others failed just before.
    #[error("{why}")]
    Resting {
        /// Why it was not made.
        why: String,
        /// After how long a call may work.
        after: Duration,
    },
}

impl StripeError {
    /// The same as the failure of a job.
    pub fn failure(self) -> Failure {
        let why = self.to_string();
        match self {
            Self::Refused { .. } => Failure::Hopeless(why),
            Self::Misconfigured(_) => Failure::Later { why, after: MISCONFIGURED },
            Self::Unknown(_) | Self::Unavailable(_) => Failure::retry(why),
            // It uses up an attempt, so that what is refused for ever has an end.
            Self::Busy { after, .. } => Failure::Retry { why, after: Some(after) },
            Self::Resting { after, .. } => Failure::Later { why, after },
        }
    }

    /// What it says of Stripe itself.
    fn seen(&self) -> Seen {
        match self {
            // Whoever makes too many calls does not close the way for those who come later.
            Self::Refused { .. }
            | Self::Misconfigured(_)
            | Self::Unknown(_)
            | Self::Busy { .. }
            | Self::Resting { .. } => Seen::Works,
            Self::Unavailable(_) => Seen::Fails,
        }
    }
}

/// A form, as Stripe reads it: fields within fields have names in brackets.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    #[must_use]
    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    fn encoded(&self) -> String {
        Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

/// What is called.
pub(super) enum Call<'a> {
    /// Something is read.
    Read(Form),
    /// Something is done, once for the key.
    Do { form: Form, key: &'a str },
}

/// Stripe's API.
pub(super) struct Api {
    client: Client,
    base: Url,
    headers: HeaderMap,
    breakers: Breakers,
}

/// A try that failed, and whether another one may work.
struct Failed {
    error: StripeError,
    may_work: bool,
    /// The least pause that Stripe asks for.
    least_pause: Duration,
}

impl Failed {
    /// Nobody knows what came of it.
    fn unavailable(why: String) -> Self {
        Self { error: StripeError::Unavailable(why), may_work: true, least_pause: Duration::ZERO }
    }
}

impl Api {
    /// Prepares calls; nothing is connected yet. Proxies of the environment are not used and redirects are not followed:
    /// both would show the key to others.
    pub(super) fn new(key: &Secret, base: &str) -> anyhow::Result<Self> {
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .build()
            .context("the HTTP client for Stripe cannot be set up")?;
        // The error would show the key.
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", key.expose()))
            .ok()
            .context("payments.secret_key cannot be sent in a header")?;
        authorization.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (header::AUTHORIZATION, authorization),
            (STRIPE_VERSION, HeaderValue::from_static(VERSION)),
        ]);
        let base: Url = base.parse().context("payments.api_url")?;
        anyhow::ensure!(!base.cannot_be_a_base(), "payments.api_url is no address of a server");
        Ok(Self { client, base, headers, breakers: Breakers::default() })
    }

    /// Makes a call, by the parts of its path behind `/v1`.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        path: &[&str],
        call: Call<'_>,
    ) -> Result<T, StripeError> {
        if let Err(failure) = self.breakers.admit(DESTINATION) {
            let why = failure.to_string();
            let after = if let Failure::Later { after, .. } = failure { after } else { FIRST_PAUSE };
            return Err(StripeError::Resting { why, after });
        }
        let mut span = Span::child("stripe call", Kind::Client);
        if let Some(span) = span.recorded() {
            // The last part is the id of something, or what is done with it.
            span.set("stripe.path", path.first().copied().unwrap_or_default());
        }
        let outcome = span.run(self.try_some_times(path, &call)).await;
        let seen = match &outcome {
            Ok(_) => Seen::Works,
            Err(error) => error.seen(),
        };
        self.breakers.note(DESTINATION, seen);
        let body = outcome?;
        serde_json::from_slice(&body).map_err(|error| {
            tracing::error!(%error, "an answer of Stripe cannot be read");
            StripeError::Unavailable(format!("the answer cannot be read: {error}"))
        })
    }

    async fn try_some_times(&self, path: &[&str], call: &Call<'_>) -> Result<Vec<u8>, StripeError> {
        let (begin, mut pause) = (Instant::now(), FIRST_PAUSE);
        let mut tries = 1;
        loop {
            let failed = match self.once(path, call).await {
                Ok(body) => return Ok(body),
                Err(failed) => failed,
            };
            let wait = pause.max(failed.least_pause);
            if !failed.may_work || tries == TRIES || begin.elapsed() + wait > PATIENCE {
                return Err(failed.error);
            }
            // Those that failed together do not come back together.
            sleep(wait + pause.mul_f64(rand::random::<f64>() / 2.0)).await;
            (tries, pause) = (tries + 1, pause * 2);
        }
    }

    async fn once(&self, path: &[&str], call: &Call<'_>) -> Result<Vec<u8>, Failed> {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().push("v1").extend(path);
        }
        let request = match call {
            Call::Read(form) => {
                url.set_query(Some(&form.encoded()));
                self.client.request(Method::GET, url)
            }
            Call::Do { form, key } => self
                .client
                .request(Method::POST, url)
                .header(IDEMPOTENCY_KEY, *key)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.encoded()),
        };
        let answered = timeout(ANSWER_TIMEOUT, async {
            let response = request.headers(self.headers.clone()).send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, whole(response).await?))
        });
        let (status, headers, body) = match answered.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let why = format!("{:#}", anyhow::Error::from(error.without_url()));
                return Err(Failed::unavailable(why));
            }
            Err(_) => {
                let why = format!("no answer in {} s", ANSWER_TIMEOUT.as_secs());
                return Err(Failed::unavailable(why));
            }
        };
        if status.is_success() { Ok(body) } else { Err(failed(status, &headers, &body)) }
    }
}

/// The body of an answer, up to the largest that is read.
async fn whole(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        let room = MAX_ANSWER_BYTES - body.len();
        body.extend_from_slice(piece.get(..room).unwrap_or(&piece));
        if body.len() >= MAX_ANSWER_BYTES {
            break;
        }
    }
    Ok(body)
}

/// What an answer says that is no success.
fn failed(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failed {
    let told = serde_json::from_slice::<ErrorBody>(body).unwrap_or_default().error;
    let message: String = told.message.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
    let why = format!("{} {} {message}", status.as_u16(), told.code);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_replayed = header("idempotent-replayed") == Some("true");
    let wait = header("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let wait = wait.map(|wait| wait.min(MAX_WAIT));
    let (error, may_work) = match status.as_u16() {
        // Another call had the key, as where a setting was changed meanwhile.
        400 if told.kind == "idempotency_error" => (StripeError::Unknown(why), false),
        // It has closed itself, or cut itself off from here.
        403 if told.code == "account_invalid" => {
            (StripeError::Refused { status: 403, code: told.code, message }, false)
        }
        401 | 403 | 300..=399 => (StripeError::Misconfigured(why), false),
        409 | 429 => (StripeError::Busy { why, after: wait.unwrap_or(BUSY) }, true),
        500.. if is_replayed => (StripeError::Unknown(why), false),
        500.. => (StripeError::Unavailable(why), true),
        status => (StripeError::Refused { status, code: told.code, message }, false),
    };
    let may_work = match header("stripe-should-retry") {
        Some("true") => true,
        Some("false") => false,
        _ => may_work,
    };
    Failed { error, may_work, least_pause: wait.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> (StripeError, bool) {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let failed = failed(StatusCode::from_u16(status).unwrap(), &headers.collect(), body.as_bytes());
        (failed.error, failed.may_work)
    }

    #[test]
    fn an_error_says_what_can_be_done() {
        let body = r#"{"error": {"type": "invalid_request_error", "code": "amount_too_small", "message": "too\nsmall"}}"#;
        let (error, may_work) = answer(400, &[], body);
        let refused = StripeError::Refused {
            status: 400,
            code: "amount_too_small".to_owned(),
            message: "toosmall".to_owned(),
        };
        assert_eq!((error, may_work), (refused, false));
        let (error, may_work) = answer(400, &[], r#"{"error": {"type": "idempotency_error"}}"#);
        assert!(matches!(error, StripeError::Unknown(_)) && !may_work, "{error}");
        for status in [401, 403, 302] {
            let (error, may_work) = answer(status, &[], "no JSON");
            assert!(matches!(error, StripeError::Misconfigured(_)) && !may_work, "{error}");
        }
        for status in [500, 502, 503, 504] {
            let (error, may_work) = answer(status, &[], "");
            assert!(matches!(error, StripeError::Unavailable(_)) && may_work, "{error}");
            assert_eq!(error.seen(), Seen::Fails);
        }
    }

    #[test]
    fn who_calls_too_often_waits_and_stripe_has_not_failed() {
        for (status, headers, secs) in [
            (429, &[("retry-after", "7")][..], 7),
            (429, &[][..], BUSY.as_secs()),
            (409, &[][..], BUSY.as_secs()),
        ] {
            let (error, may_work) = answer(status, headers, "");
            assert_eq!((error.seen(), may_work), (Seen::Works, true), "{error}");
            let after = Duration::from_secs(secs);
            assert!(matches!(error.failure(), Failure::Retry { after: Some(wait), .. } if wait == after));
        }
    }

    #[test]
    fn what_is_kept_under_a_key_is_not_asked_for_again() {
        let (error, may_work) = answer(500, &[("idempotent-replayed", "true")], "");
        assert!(matches!(error, StripeError::Unknown(_)) && !may_work, "{error}");
        assert!(!answer(500, &[("stripe-should-retry", "false")], "").1);
        assert!(answer(400, &[("stripe-should-retry", "true")], "").1);
    }

    #[test]
    fn fields_within_fields_are_written_in_brackets() {
        let form = Form::default().with("line_items[0][quantity]", "2").with("name", "Ana & Co");
        assert_eq!(form.encoded(), "line_items%5B0%5D%5Bquantity%5D=2&name=Ana+%26+Co");
    }
}
