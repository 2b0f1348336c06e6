//! Events of SendGrid by its Signed Event Webhook.
//! (SendGrid documentation, "Getting started with the Event Webhook security features", "Event Webhook
//! Reference".)

use std::str::FromStr;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Enhanced, Feedback, FeedbackKind, MAX_BYTES, WebhookError};
use crate::email::{Address, MessageId};

/// The header with the signature.
const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
/// The header with the time that is signed with the body, in seconds since 1970.
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";
/// How old events may be. SendGrid tries for a day to hand them over. Who sends them again changes nothing:
/// their names are known.
const OLDEST: SignedDuration = SignedDuration::from_hours(25);
/// How far the clock of SendGrid may be ahead.
const NEWEST: SignedDuration = SignedDuration::from_mins(5);

/// The key by which events are verified: that of an ECDSA key pair on the curve P-256.
#[derive(Debug)]
pub struct SendgridKey(ParsedPublicKey);

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no public key of an event webhook in Base64")]
pub struct SendgridKeyError;

impl FromStr for SendgridKey {
    type Err = SendgridKeyError;

    /// Reads a key as SendGrid's dashboard shows it: a SubjectPublicKeyInfo in Base64.
    fn from_str(text: &str) -> Result<Self, SendgridKeyError> {
        let der = STANDARD.decode(text.trim()).map_err(|_| SendgridKeyError)?;
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der).map(Self).map_err(|_| SendgridKeyError)
    }
}

/// Verifies a batch of events and reads the bounces and complaints in it. `body` is that of the request, byte
/// by byte. An event that cannot be read is left out, so that it does not hold up the others.
pub fn read_sendgrid(
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
    key: &SendgridKey,
) -> Result<Vec<Feedback>, WebhookError> {
    if body.len() > MAX_BYTES {
        return Err(WebhookError::Malformed("it is too large".to_owned()));
    }
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let unsigned = || WebhookError::Forged("it is not signed".to_owned());
    let signature = header(SIGNATURE).and_then(|text| STANDARD.decode(text).ok()).ok_or_else(unsigned)?;
    let time = header(TIMESTAMP).ok_or_else(unsigned)?;
    let signed = [time.as_bytes(), body].concat();
    key.0
        .verify_sig(&signed, &signature)
        .map_err(|_| WebhookError::Forged("the signature is wrong".to_owned()))?;
    let time = time.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let age = now.duration_since(time.ok_or_else(|| WebhookError::Malformed("no time".to_owned()))?);
    if age > OLDEST || age < -NEWEST {
        return Err(WebhookError::Stale);
    }
    let events: Vec<&RawValue> =
        serde_json::from_slice(body).map_err(|error| WebhookError::Malformed(error.to_string()))?;
    let read = events.iter().filter_map(|event| serde_json::from_str::<Event>(event.get()).ok());
    Ok(read.filter_map(Event::feedback).collect())
}

/// What happened to a letter.
#[derive(Deserialize)]
struct Event {
    email: String,
    #[serde(rename = "event")]
    name: String,
    sg_event_id: String,
    /// Of a bounce: `bounce`, or `blocked` for a refusal that says nothing for good.
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    status: String,
    /// What the letter was sent with.
    message_id: Option<String>,
}

impl Event {
    fn feedback(self) -> Option<Feedback> {
        let code = Enhanced::find(&self.status).or_else(|| Enhanced::find(&self.reason));
        let kind = match (self.name.as_str(), self.kind.as_str()) {
            ("bounce", "blocked") => match code {
                Some(code) => code.meaning().map(|_| FeedbackKind::SoftBounce)?,
                None => FeedbackKind::SoftBounce,
            },
            ("bounce", _) => FeedbackKind::HardBounce,
            ("spamreport", _) => FeedbackKind::Complaint,
            // SendGrid has a list of its own, and did not even try.
            ("dropped", _) => match self.reason.as_str() {
                "Bounced Address" | "Invalid" => FeedbackKind::HardBounce,
                "Spam Reporting Address" => FeedbackKind::Complaint,
                _ => return None,
            },
            // What is deferred is tried for three days, and then bounces.
            _ => return None,
        };
        Some(Feedback {
            address: self.email.parse::<Address>().ok()?,
            kind,
            enhanced: code.map(|code| code.to_string()),
            message_id: self.message_id.and_then(|id| MessageId::of_job(&id).ok()),
            provider_event_id: format!("sendgrid:{}", self.sg_event_id),
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-07-04T22:00:00Z".parse().unwrap()
    }

    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Self {
            Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
        }

        fn key(&self) -> SendgridKey {
            // The beginning of a SubjectPublicKeyInfo of this curve (RFC 5480).
            let begin = STANDARD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE").unwrap();
            let point = &self.0.public_key().as_ref()[1..];
            STANDARD.encode([&begin, point].concat()).parse().unwrap()
        }

        /// The headers of a batch.
        fn sign(&self, body: &[u8], time: i64) -> HeaderMap {
            let signed = [time.to_string().as_bytes(), body].concat();
            let signature = self.0.sign(&SystemRandom::new(), &signed).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(SIGNATURE, STANDARD.encode(signature).parse().unwrap());
            headers.insert(TIMESTAMP, time.into());
            headers
        }
    }

    /// What a batch says.
    fn told(events: &Value) -> Vec<Feedback> {
        let (signer, body) = (Signer::new(), events.to_string().into_bytes());
        read_sendgrid(&signer.sign(&body, now().as_second()), &body, now(), &signer.key()).unwrap()
    }

    fn event(kind: &str, more: &Value) -> Value {
        let mut event = json!({
            "email": "ana@example.net",
            "timestamp": 1_783_202_390,
            "smtp-id": "<job-1@example.com>",
            "event": kind,
            "sg_event_id": "e1",
            "sg_message_id": "m1.recvd-1",
            "message_id": "job-1",
        });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    }

    #[test]
    fn a_batch_is_read_event_by_event() {
        let feedback = told(&json!([
            event("processed", &json!({})),
            event("bounce", &json!({ "type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 no" })),
            event("bounce", &json!({ "email": "no address" })),
            { "event": "bounce" },
            17,
            event("spamreport", &json!({ "sg_event_id": "e2", "message_id": null })),
        ]));
        let bounce = Feedback {
            address: "ana@example.net".parse().unwrap(),
            kind: FeedbackKind::HardBounce,
            enhanced: Some("5.1.1".to_owned()),
            message_id: Some(MessageId::of_job("job-1").unwrap()),
            provider_event_id: "sendgrid:e1".to_owned(),
        };
        let complaint = Feedback {
            kind: FeedbackKind::Complaint,
            enhanced: None,
            message_id: None,
            provider_event_id: "sendgrid:e2".to_owned(),
            ..bounce.clone()
        };
        assert_eq!(feedback, [bounce, complaint]);
        assert_eq!(told(&json!([])), []);
    }

    #[test]
    fn every_kind_of_event_says_what_it_means() {
        use FeedbackKind::{Complaint, HardBounce, SoftBounce};
        for (kind, more, wanted) in [
            ("bounce", json!({ "type": "bounce" }), Some(HardBounce)),
            ("bounce", json!({ "type": "blocked", "status": "4.2.2" }), Some(SoftBounce)),
            ("bounce", json!({ "type": "blocked", "reason": "unable to get mx info" }), Some(SoftBounce)),
            ("bounce", json!({ "type": "blocked", "status": "5.7.1" }), None),
            ("dropped", json!({ "reason": "Bounced Address" }), Some(HardBounce)),
            ("dropped", json!({ "reason": "Spam Reporting Address" }), Some(Complaint)),
            ("dropped", json!({ "reason": "Unsubscribed Address" }), None),
            ("deferred", json!({ "response": "400 try again later" }), None),
            ("delivered", json!({}), None),
            ("open", json!({}), None),
        ] {
            let feedback = told(&json!([event(kind, &more)]));
            assert_eq!(feedback.first().map(|one| one.kind), wanted, "{kind} {more}");
        }
    }

    #[test]
    fn what_is_changed_is_forged() {
        let (signer, body) = (Signer::new(), br#"[{"event":"open"}]"#.to_vec());
        let time = now().as_second();
        let read = |headers: &HeaderMap, body: &[u8]| read_sendgrid(headers, body, now(), &signer.key());
        let good = signer.sign(&body, time);
        assert_eq!(read(&good, &body), Ok(Vec::new()));
        let mut later = good.clone();
        later.insert(TIMESTAMP, (time + 1).into());
        let mut garbled = good.clone();
        garbled.insert(SIGNATURE, "no base64!".parse().unwrap());
        let by_other = Signer::new().sign(&body, time);
        let mut unsigned = good.clone();
        unsigned.remove(SIGNATURE);
        let mut untimed = good.clone();
        untimed.remove(TIMESTAMP);
        for headers in [later, garbled, by_other, unsigned, untimed] {
            assert!(matches!(read(&headers, &body), Err(WebhookError::Forged(_))), "{headers:?}");
        }
        assert!(matches!(read(&good, br#"[{"event":"open"} ]"#), Err(WebhookError::Forged(_))));
    }

    #[test]
    fn events_are_of_about_now_and_in_a_list() {
        let signer = Signer::new();
        let at = |offset: i64, body: &[u8]| {
            let headers = signer.sign(body, now().as_second() + offset);
            read_sendgrid(&headers, body, now(), &signer.key())
        };
        assert_eq!((at(-24 * 3600, b"[]"), at(299, b"[]")), (Ok(Vec::new()), Ok(Vec::new())));
        assert_eq!(
            (at(-26 * 3600, b"[]"), at(301, b"[]")),
            (Err(WebhookError::Stale), Err(WebhookError::Stale))
        );
        for body in [&b"{}"[..], b"", b"[", b"\xff"] {
            assert!(matches!(at(0, body), Err(WebhookError::Malformed(_))), "{body:?}");
        }
        assert!(matches!(at(0, &vec![b' '; MAX_BYTES + 1]), Err(WebhookError::Malformed(_))));
    }

    #[test]
    fn keys_are_those_of_the_dashboard() {
        // Made with OpenSSL: a key, and a signature with it over a time and a body.
        let key: SendgridKey = include_str!("samples/sendgrid_key.txt").parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(TIMESTAMP, now().as_second().into());
        headers.insert(SIGNATURE, include_str!("samples/sendgrid_signature.txt").trim().parse().unwrap());
        assert_eq!(read_sendgrid(&headers, b"[]\r\n", now(), &key), Ok(Vec::new()));
        for bad in ["", "AAAA", "no base64!", &STANDARD.encode([4; 65])] {
            assert_eq!(bad.parse::<SendgridKey>().err(), Some(SendgridKeyError), "{bad}");
        }
    }
}
