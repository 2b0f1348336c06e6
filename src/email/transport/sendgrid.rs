//! Messages to SendGrid by its HTTP API, version 3 (`mail/send`). SendGrid takes no finished message, so its
//! parts are read back and sent as JSON. It knows no key by which it could drop a repetition, so a lost
//! answer leaves a message uncertain.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use mail_parser::{Addr, MessageParser, MimeHeaders as _};
use serde_json::{Map, Value, json};

use super::http::{Answer, Api};
use super::{SendError, Transport};
use crate::email::Message;
use crate::email::options::SendgridOptions;

/// The path of `mail/send`.
const PATH: &str = "/v3/mail/send";
/// Headers that SendGrid writes itself, or refuses.
const OWN_HEADERS: [&str; 10] = [
    "bcc",
    "cc",
    "content-transfer-encoding",
    "content-type",
    "date",
    "from",
    "mime-version",
    "reply-to",
    "subject",
    "to",
];
/// Longest wait for the end of a period of its rate limit.
const MAX_WAIT: Duration = Duration::from_hours(1);

/// Sends by SendGrid. As many connections are open as calls run at the same time, so the caller bounds them.
pub struct SendgridTransport {
    api: Api,
    headers: HeaderMap,
}

impl SendgridTransport {
    /// Prepares sending; nothing is connected yet. An error is one of the options.
    pub fn new(options: &SendgridOptions) -> anyhow::Result<Self> {
        let key = options.api_key.as_ref().context("mail.sendgrid.api_key is missing")?;
        // The error would show the key.
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", key.expose()))
            .ok()
            .context("mail.sendgrid.api_key cannot be sent in a header")?;
        authorization.set_sensitive(true);
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([
            (header::AUTHORIZATION, authorization),
            (header::CONTENT_TYPE, json.clone()),
            (header::ACCEPT, json),
        ]);
        Ok(Self { api: Api::new(&options.base_url, PATH, options.answer_timeout)?, headers })
    }
}

#[async_trait]
impl Transport for SendgridTransport {
    async fn send(&self, message: &Message) -> Result<(), SendError> {
        let unreadable =
            || SendError::Refused { why: "the message cannot be read".to_owned(), enhanced: None };
        let request = request(message).ok_or_else(unreadable)?;
        let answer = self.api.post(self.headers.clone(), request.to_string().into_bytes()).await?;
        if answer.status.is_success() { Ok(()) } else { Err(error_of(&answer, Timestamp::now())) }
    }
}

/// What `mail/send` is called with.
fn request(message: &Message) -> Option<Value> {
    let parsed = MessageParser::default().parse(message.bytes())?;
    let to_name = parsed.to().and_then(|to| to.first()).and_then(Addr::name);
    let to: Vec<_> = message.envelope().to().iter().map(|to| mailbox(to.as_ref(), to_name)).collect();
    let from = parsed.from()?.first()?;
    let off = json!({ "enable": false });
    // SendGrid wants the plain text first, and what calendar programs read last.
    let mut content = vec![
        json!({ "type": "text/plain", "value": parsed.body_text(0)? }),
        json!({ "type": "text/html", "value": parsed.body_html(0)? }),
    ];
    let calendar = calendar(&parsed);
    content.extend(calendar.map(|(method, text)| {
        // The one type with a parameter that it takes, in this very form.
        json!({ "type": format!("text/calendar; method={method}"), "value": text })
    }));
    let mut request = json!({
        "personalizations": [{ "to": to }],
        "from": mailbox(from.address()?, from.name()),
        "subject": parsed.subject()?,
        "content": content,
        "headers": other_headers(parsed.headers_raw()),
        // It comes back with bounces.
        "custom_args": { "message_id": message.id().as_str() },
        // Links to reset a password must lead here and nowhere else.
        "tracking_settings": {
            "click_tracking": { "enable": false, "enable_text": false },
            "open_tracking": off,
            "subscription_tracking": off,
        },
    });
    if let Some((_, text)) = calendar {
        let file = STANDARD.encode(text);
        request["attachments"] = json!([{
            "content": file, "type": "application/ics", "filename": "invite.ics", "disposition": "attachment",
        }]);
    }
    Some(request)
}

/// What calendar programs read of a message, and what it wants of them.
fn calendar<'a>(message: &'a mail_parser::Message<'_>) -> Option<(&'a str, &'a str)> {
    message.parts.iter().find_map(|part| {
        let kind = part.content_type().filter(|kind| kind.subtype() == Some("calendar"))?;
        Some((kind.attribute("method")?, part.text_contents()?))
    })
}

fn mailbox(address: &str, name: Option<&str>) -> Value {
    match name {
        Some(name) => json!({ "email": address, "name": name }),
        None => json!({ "email": address }),
    }
}

/// The headers that are the message's own, such as `Message-ID` and `List-Unsubscribe`, each on one line.
fn other_headers<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Map<String, Value> {
    let others = headers.filter(|(name, _)| !OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
    let unfolded = others.map(|(name, value)| {
        let value = value.split("\r\n").map(str::trim).collect::<Vec<_>>().join(" ");
        (name.to_owned(), Value::from(value.trim()))
    });
    unfolded.collect()
}

/// The error of an answer.
fn error_of(answer: &Answer, now: Timestamp) -> SendError {
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let errors = told["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fields = errors.iter().map(|error| error["field"].as_str().unwrap_or_default());
    let of_sender =
        !errors.is_empty() && fields.clone().all(|field| field == "from" || field.starts_with("from."));
    let words = errors.iter().zip(fields).map(|(error, field)| {
        format!("{field} {}", error["message"].as_str().unwrap_or_default()).trim().to_owned()
    });
    let words = words.collect::<Vec<_>>().join("; ");
    let words = if words.is_empty() { answer.text() } else { words };
    match answer.error(&words) {
        SendError::Refused { why, .. } if of_sender => SendError::Misconfigured { why },
        SendError::Temporary { why, retry_after: None, scope } => {
            SendError::Temporary { why, retry_after: reset(&answer.headers, now), scope }
        }
        error => error,
    }
}

/// The wait until the period ends in which requests are counted, if none is left.
fn reset(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<i64>().ok();
    if number("x-ratelimit-remaining") != Some(0) {
        return None;
    }
    let seconds = number("x-ratelimit-reset")?.saturating_sub(now.as_second());
    Some(Duration::from_secs(seconds.try_into().ok()?).min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use mundotango_ops::Secret;

    use super::super::TemporaryScope;
    use super::super::stub::{Act, Stub, invitation, message};
    use super::*;

    fn transport(stub: &Stub) -> SendgridTransport {
        let options = SendgridOptions {
            api_key: Some(Secret::new("SG.key".to_owned())),
            base_url: stub.base(),
            answer_timeout: Duration::from_millis(300),
            ..SendgridOptions::default()
        };
        SendgridTransport::new(&options).unwrap()
    }

    async fn outcome(act: Act) -> Result<(), SendError> {
        let stub = Stub::start(move |_| act.clone()).await;
        transport(&stub).send(&message()).await
    }

    #[tokio::test]
    async fn a_message_is_sent_in_its_parts() {
        let stub = Stub::start(|_| Act::answer(202, "")).await;
        transport(&stub).send(&message()).await.unwrap();
        let request = stub.request();
        assert_eq!(request.line, "POST /v3/mail/send");
        assert_eq!(request.header("authorization"), Some("Bearer SG.key"));
        let mut told = request.json();
        let html = told["content"][1]["value"].take();
        assert_eq!(html.as_str().unwrap().trim_end(), "<p>¡Hola &amp; adiós!</p>");
        let text = told["content"][0]["value"].take();
        assert_eq!(text.as_str().unwrap().replace("\r\n", "\n").trim_end(), "¡Hola!\n.");
        let off = json!({ "enable": false });
        let to = json!({ "email": "ana@milonga.xn--espaa-rta", "name": "Ana \"la ñata\"" });
        let wanted = json!({
            "personalizations": [{ "to": [to] }],
            "from": { "email": "no-reply@example.com", "name": "MundoTango" },
            "subject": "¡Hola, Ana! 🕺",
            "content": [{ "type": "text/plain", "value": null }, { "type": "text/html", "value": null }],
            "headers": { "Message-ID": "<job-1@example.com>", "Auto-Submitted": "auto-generated" },
            "custom_args": { "message_id": "job-1" },
            "tracking_settings": {
                "click_tracking": { "enable": false, "enable_text": false },
                "open_tracking": off,
                "subscription_tracking": off,
            },
        });
        assert_eq!(told, wanted);
    }

    #[tokio::test]
    async fn an_invitation_is_sent_as_one() {
        let stub = Stub::start(|_| Act::answer(202, "")).await;
        transport(&stub).send(&invitation()).await.unwrap();
        let told = stub.request().json();
        let kinds: Vec<_> = told["content"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
        assert_eq!(kinds, ["text/plain", "text/html", "text/calendar; method=REQUEST"]);
        let calendar = told["content"][2]["value"].as_str().unwrap();
        assert!(calendar.contains("METHOD:REQUEST"), "{calendar}");
        let file = &told["attachments"][0];
        assert_eq!((&file["type"], &file["filename"]), (&json!("application/ics"), &json!("invite.ics")));
        let file = STANDARD.decode(file["content"].as_str().unwrap()).unwrap();
        assert!(file.starts_with(b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\n"), "{file:?}");
    }

    #[test]
    fn headers_are_unfolded_and_those_of_sendgrid_left_out() {
        let raw =
            "List-Unsubscribe: <https://example.com/\r\n  x>\r\nlist-id: a\r\nFROM: b@example.com\r\n\r\n";
        let parsed = MessageParser::default().parse(raw).unwrap();
        let headers = Value::from(other_headers(parsed.headers_raw()));
        assert_eq!(headers, json!({ "List-Unsubscribe": "<https://example.com/ x>", "List-ID": "a" }));
    }

    #[tokio::test]
    async fn what_sendgrid_says_no_to_is_about_the_letter_or_about_the_account() {
        let said = |status: u16, field: &str, words: &str| {
            Act::answer(status, &json!({ "errors": [{ "field": field, "message": words }] }).to_string())
        };
        let act = said(400, "personalizations.0.to.0.email", "Does not contain a valid address.");
        let why = "400 personalizations.0.to.0.email Does not contain a valid address.".to_owned();
        assert_eq!(outcome(act).await, Err(SendError::Refused { why, enhanced: None }));
        for (status, field, words) in [
            (400, "from.email", "The from email does not contain a valid address."),
            (401, "", "The provided authorization grant is invalid, expired, or revoked"),
            (403, "from", "The from address does not match a verified Sender Identity."),
        ] {
            let error = outcome(said(status, field, words)).await.unwrap_err();
            let SendError::Misconfigured { why } = error else { panic!("{status}: {error}") };
            assert!(why.contains(words), "{why}");
        }
        let later = Err(SendError::Temporary {
            why: "500 oh".to_owned(),
            retry_after: None,
            scope: TemporaryScope::Server,
        });
        assert_eq!(outcome(Act::answer(500, "oh")).await, later);
    }

    #[tokio::test]
    async fn t15_the_wait_that_is_asked_for_is_told() {
        let act =
            Act::Answer { status: 429, headers: vec!["Retry-After: 7".to_owned()], body: String::new() };
        let error = outcome(act).await.unwrap_err();
        let seven = Some(Duration::from_secs(7));
        assert!(matches!(error, SendError::Temporary { retry_after, .. } if retry_after == seven), "{error}");

        let now = Timestamp::from_second(1_000).unwrap();
        let wait = |remaining: &'static str, at: &'static str| {
            let header = HeaderValue::from_static;
            let mut headers = HeaderMap::new();
            headers.insert("x-ratelimit-remaining", header(remaining));
            headers.insert("x-ratelimit-reset", header(at));
            reset(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!((wait("0", "1030"), wait("5", "1030"), wait("0", "900")), (Some(30), None, None));
        assert_eq!((wait("0", "soon"), wait("0", "9999999999")), (None, Some(3600)));
    }

    #[tokio::test]
    async fn t28_a_lost_answer_is_uncertain() {
        for act in [Act::Cut, Act::Hush] {
            assert!(matches!(outcome(act).await, Err(SendError::Uncertain { .. })));
        }
    }

    #[test]
    fn a_key_that_is_no_header_is_not_shown() {
        let options = SendgridOptions {
            api_key: Some(Secret::new("hidden\n".to_owned())),
            ..SendgridOptions::default()
        };
        let error = SendgridTransport::new(&options).err().unwrap();
        assert!(!format!("{error:#}").contains("hidden"), "{error:#}");
    }
}
