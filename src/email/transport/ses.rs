//! Messages to Amazon SES by its HTTP API, version 2 (`SendEmail` with raw content). SES knows no key by
//! which it could drop a repetition, so a lost answer leaves a message uncertain.

use anyhow::Context as _;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::InvalidHeaderValue;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::http::{Answer, Api};
use super::sigv4::{Signer, Unsigned};
use super::{SendError, TemporaryScope, Transport};
use crate::email::Message;
use crate::email::options::SesOptions;

/// The path of `SendEmail`.
const PATH: &str = "/v2/email/outbound-emails";
/// What is sent.
const CONTENT_TYPE: &str = "application/json";
/// Errors of status 400 that are about the account and not about the message.
const ERRORS_OF_THE_ACCOUNT: [&str; 6] = [
    "AccountSuspendedException",
    "SendingPausedException",
    "MailFromDomainNotVerifiedException",
    "LimitExceededException",
    "IncompleteSignature",
    "RequestExpired",
];

/// Sends by Amazon SES. As many connections are open as calls run at the same time, so the caller bounds
/// them.
pub struct SesTransport {
    api: Api,
    host: String,
    signer: Signer,
    configuration_set: Option<String>,
}

impl SesTransport {
    /// Prepares sending; nothing is connected yet. An error is one of the options.
    pub fn new(options: &SesOptions) -> anyhow::Result<Self> {
        let api = Api::new(&options.base_url(), PATH, options.answer_timeout)?;
        let host = api.url().host_str().context("mail.ses.base_url has no host")?;
        let host = api.url().port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let signer = Signer {
            key_id: options.access_key_id.clone().context("mail.ses.access_key_id is missing")?,
            secret: options.secret_access_key.clone().context("mail.ses.secret_access_key is missing")?,
            session_token: options.session_token.clone(),
            region: options.region.clone(),
            service: "ses",
        };
        Ok(Self { api, host, signer, configuration_set: options.configuration_set.clone() })
    }

    /// What `SendEmail` is called with.
    fn request(&self, message: &Message) -> Value {
        let to: Vec<_> = message.envelope().to().iter().map(ToString::to_string).collect();
        let mut request = json!({
            "Destination": { "ToAddresses": to },
            "Content": { "Raw": { "Data": STANDARD.encode(message.bytes()) } },
            // SES writes a Message-ID of its own into the message; the tag comes back with bounces.
            "EmailTags": [{ "Name": "message_id", "Value": message.id().as_str() }],
        });
        if let Some(set) = &self.configuration_set {
            request["ConfigurationSetName"] = set.as_str().into();
        }
        request
    }

    fn headers(&self, body: &[u8]) -> Result<HeaderMap, InvalidHeaderValue> {
        let path = self.api.url().path();
        let request =
            Unsigned { method: "POST", host: &self.host, path, content_type: Some(CONTENT_TYPE), body };
        let mut headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE)),
            (header::ACCEPT, HeaderValue::from_static(CONTENT_TYPE)),
        ]);
        for (name, value) in self.signer.sign(&request, Timestamp::now()) {
            let mut value = HeaderValue::try_from(value)?;
            value.set_sensitive(name != "x-amz-date");
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }
}

#[async_trait]
impl Transport for SesTransport {
    async fn send(&self, message: &Message) -> Result<(), SendError> {
        let body = self.request(message).to_string().into_bytes();
        let unusable = |error: InvalidHeaderValue| SendError::Misconfigured { why: error.to_string() };
        let headers = self.headers(&body).map_err(unusable)?;
        let answer = self.api.post(headers, body).await?;
        if answer.status.is_success() { Ok(()) } else { Err(error_of(&answer)) }
    }
}

/// The error of an answer, by its kind and its status.
fn error_of(answer: &Answer) -> SendError {
    let kind = answer.headers.get("x-amzn-errortype").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // An address of a documentation may follow the kind.
    let kind = kind.split([':', '#']).next().unwrap_or_default().trim();
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let told =
        told["message"].as_str().or(told["Message"].as_str()).map_or_else(|| answer.text(), str::to_owned);
    let words = format!("{kind} {told}");
    let of_account = ERRORS_OF_THE_ACCOUNT.contains(&kind)
        // The sender, or in an account without production access the recipient, is not an identity of the
        // account.
        || kind == "MessageRejected" && told.contains("not verified");
    match answer.error(&words) {
        SendError::Refused { why, .. } if of_account => SendError::Misconfigured { why },
        SendError::Refused { why, .. } if kind.starts_with("Throttling") => {
            SendError::Temporary { why, retry_after: None, scope: TemporaryScope::Server }
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mundotango_ops::Secret;

    use super::super::stub::{Act, Request, Stub, message};
    use super::*;

    fn options(stub: &Stub) -> SesOptions {
        SesOptions {
            region: "eu-west-1".to_owned(),
            access_key_id: Some("AKIDEXAMPLE".to_owned()),
            secret_access_key: Some(Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned())),
            session_token: Some(Secret::new("lent".to_owned())),
            configuration_set: Some("letters".to_owned()),
            base_url: Some(stub.base()),
            answer_timeout: Duration::from_millis(300),
            ..SesOptions::default()
        }
    }

    fn transport(stub: &Stub) -> SesTransport {
        SesTransport::new(&options(stub)).unwrap()
    }

    async fn outcome(act: Act) -> Result<(), SendError> {
        let stub = Stub::start(move |_| act.clone()).await;
        transport(&stub).send(&message()).await
    }

    /// The signature that a request has to have, computed as the provider does from what it got.
    fn signature_of(request: &Request) -> String {
        use sha2::{Digest as _, Sha256};
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let sha = |bytes: &[u8]| Sha256::digest(bytes).to_vec();
        // HMAC as RFC 2104 defines it.
        let mac = |key: &[u8], text: &[u8]| {
            let mut block = [0_u8; 64];
            block[..key.len()].copy_from_slice(key);
            let inner: Vec<u8> = block.iter().map(|byte| byte ^ 0x36).chain(text.iter().copied()).collect();
            let outer: Vec<u8> = block.iter().map(|byte| byte ^ 0x5c).chain(sha(&inner)).collect();
            sha(&outer)
        };
        let header = |name: &str| request.header(name).unwrap();
        let (method, path) = request.line.split_once(' ').unwrap();
        let canonical = format!(
            "{method}\n{path}\n\ncontent-type:{}\nhost:{}\nx-amz-date:{}\nx-amz-security-token:{}\n\n\
             content-type;host;x-amz-date;x-amz-security-token\n{}",
            header("content-type"),
            header("host"),
            header("x-amz-date"),
            header("x-amz-security-token"),
            hex(&sha(&request.body)),
        );
        let time = header("x-amz-date");
        let scope = format!("{}/eu-west-1/ses/aws4_request", &time[..8]);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&sha(canonical.as_bytes())));
        let mut key = b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
        for part in scope.split('/') {
            key = mac(&key, part.as_bytes());
        }
        hex(&mac(&key, to_sign.as_bytes()))
    }

    #[tokio::test]
    async fn a_message_is_sent_raw_and_signed() {
        let stub = Stub::start(|_| Act::answer(200, r#"{"MessageId":"x"}"#)).await;
        transport(&stub).send(&message()).await.unwrap();
        let request = stub.request();
        assert_eq!(request.line, "POST /v2/email/outbound-emails");
        assert_eq!(request.header("x-amz-security-token"), Some("lent"));
        let authorization = request.header("authorization").unwrap();
        assert!(authorization.ends_with(&format!("Signature={}", signature_of(&request))), "{authorization}");
        let told = request.json();
        let raw = STANDARD.decode(told["Content"]["Raw"]["Data"].as_str().unwrap()).unwrap();
        assert_eq!(raw, message().bytes());
        assert_eq!(told["Destination"], json!({ "ToAddresses": ["ana@milonga.xn--espaa-rta"] }));
        assert_eq!(told["ConfigurationSetName"], "letters");
        assert_eq!(told["EmailTags"], json!([{ "Name": "message_id", "Value": "job-1" }]));
    }

    #[tokio::test]
    async fn what_ses_says_no_to_is_about_the_letter_or_about_the_account() {
        let said = |status: u16, kind: &str, words: &str| Act::Answer {
            status,
            headers: vec![format!("x-amzn-ErrorType: {kind}")],
            body: json!({ "message": words }).to_string(),
        };
        for (kind, words) in
            [("BadRequestException", "Local address contains control"), ("MessageRejected", "virus")]
        {
            let why = format!("400 {kind} {words}");
            let refused = SendError::Refused { why, enhanced: None };
            assert_eq!(outcome(said(400, kind, words)).await, Err(refused));
        }
        for (status, kind, words) in [
            (400, "AccountSuspendedException", "for ever"),
            (400, "SendingPausedException:http://internal.amazon.com/", "paused"),
            (400, "MailFromDomainNotVerifiedException", "no"),
            (400, "MessageRejected", "Email address is not verified. The following identities failed"),
            (403, "InvalidSignatureException", "Signature expired"),
            (404, "NotFoundException", "Configuration set <letters> does not exist."),
        ] {
            let error = outcome(said(status, kind, words)).await.unwrap_err();
            let SendError::Misconfigured { why } = error else { panic!("{kind}: {error}") };
            assert!(why.contains(words), "{why}");
        }
        let later = |why: &str| {
            Err(SendError::Temporary {
                why: why.to_owned(),
                retry_after: None,
                scope: TemporaryScope::Server,
            })
        };
        let slow = said(400, "ThrottlingException", "Rate exceeded");
        assert_eq!(outcome(slow).await, later("400 ThrottlingException Rate exceeded"));
        assert_eq!(outcome(Act::answer(500, "oh")).await, later("500 oh"));
    }

    #[tokio::test]
    async fn t15_the_wait_that_is_asked_for_is_told() {
        let act =
            Act::Answer { status: 429, headers: vec!["Retry-After: 7".to_owned()], body: String::new() };
        let error = outcome(act).await.unwrap_err();
        let seven = Some(Duration::from_secs(7));
        assert!(matches!(error, SendError::Temporary { retry_after, .. } if retry_after == seven), "{error}");
    }

    #[tokio::test]
    async fn t28_a_lost_answer_is_uncertain() {
        for act in [Act::Cut, Act::Hush] {
            assert!(matches!(outcome(act).await, Err(SendError::Uncertain { .. })));
        }
    }

    #[tokio::test]
    async fn no_error_shows_a_key() {
        let stub = Stub::start(|request| Act::answer(403, request.header("authorization").unwrap())).await;
        let error = transport(&stub).send(&message()).await.unwrap_err().to_string();
        assert!(!error.contains("wJalrXUtnFEMI") && !error.contains("lent"), "{error}");
        let options = SesOptions { secret_access_key: None, ..options(&stub) };
        let error = SesTransport::new(&options).err().unwrap().to_string();
        assert_eq!(error, "mail.ses.secret_access_key is missing");
    }
}
