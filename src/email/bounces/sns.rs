//! Notices of Amazon SES by way of SNS: the signature of SNS, and what SES tells.
//!
//! Anybody who has an AWS account can have SNS sign a notice, so the topic counts as much as the signature.
//! (Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages"; Amazon SES Developer
//! Guide, "Amazon SNS notification contents".)

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ParsedCertificate;
use serde::Deserialize;
use url::{Host, Url};

use super::{Enhanced, Feedback, FeedbackKind, MAX_BYTES, WebhookError, message_id};
use crate::email::{Mailbox, MessageId};

/// How far the time of a notice may be from now. SNS tries for some hours to hand one over.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// Where the certificates come from by which SNS signs.
#[async_trait]
pub trait SigningCertificates: Send + Sync {
    /// The certificate at an address of SNS, in PEM.
    async fn certificate(&self, url: &Url) -> Result<Arc<[u8]>, WebhookError>;
}

/// What a notice that is authentic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnsNews {
    /// Bounces and complaints; none for a notice about something else.
    Feedback(Vec<Feedback>),
    /// Somebody has subscribed this site to the topic. A GET of this address of SNS confirms that, and
    /// notices come only then.
    Confirm(Url),
}

/// A notice that nobody has verified yet.
#[derive(Debug)]
pub struct SnsMessage {
    envelope: Envelope,
    certificate_url: Url,
}

/// What SNS puts around a notice.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    #[serde(rename = "Type")]
    kind: String,
    message_id: String,
    topic_arn: String,
    subject: Option<String>,
    message: String,
    timestamp: String,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    certificate_url: String,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    token: Option<String>,
}

/// Reads and verifies a notice to a topic. `body` is that of the request, byte by byte.
pub async fn read_sns(
    body: &[u8],
    topic_arn: &str,
    now: Timestamp,
    certificates: &dyn SigningCertificates,
) -> Result<SnsNews, WebhookError> {
    let message = SnsMessage::parse(body, topic_arn)?;
    let certificate = certificates.certificate(message.certificate_url()).await?;
    message.verify(&certificate, now)
}

impl SnsMessage {
    /// Reads a notice. Refuses one of another topic, and one whose certificate is not at SNS.
    pub fn parse(body: &[u8], topic_arn: &str) -> Result<Self, WebhookError> {
        if body.len() > MAX_BYTES {
            return Err(WebhookError::Malformed("it is too large".to_owned()));
        }
        let envelope: Envelope =
            serde_json::from_slice(body).map_err(|error| WebhookError::Malformed(error.to_string()))?;
        if envelope.topic_arn != topic_arn {
            return Err(WebhookError::Forged("it is of another topic".to_owned()));
        }
        let certificate_url = envelope.certificate_url.parse::<Url>().ok();
        let certificate_url = certificate_url.filter(|url| is_at_sns(url) && is_certificate_path(url.path()));
        let certificate_url = certificate_url
            .ok_or_else(|| WebhookError::Forged("its certificate is not at an address of SNS".to_owned()))?;
        Ok(Self { envelope, certificate_url })
    }

    /// Where the certificate is by which it is signed: an address of SNS with https.
    pub fn certificate_url(&self) -> &Url {
        &self.certificate_url
    }

    /// What the notice says, if the certificate (in PEM) signed it and it is of about now.
    pub fn verify(self, certificate: &[u8], now: Timestamp) -> Result<SnsNews, WebhookError> {
        let envelope = self.envelope;
        let forged = |why: &str| WebhookError::Forged(why.to_owned());
        let algorithm: &'static RsaParameters = match envelope.signature_version.as_str() {
            "1" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "2" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(WebhookError::Malformed("unknown version of the signature".to_owned())),
        };
        let key = public_key(certificate).ok_or_else(|| forged("its certificate cannot be read"))?;
        let signature = STANDARD.decode(&envelope.signature).map_err(|_| forged("no signature"))?;
        UnparsedPublicKey::new(algorithm, key)
            .verify(envelope.signed_text()?.as_bytes(), &signature)
            .map_err(|_| forged("the signature is wrong"))?;
        let time: Timestamp =
            envelope.timestamp.parse().map_err(|_| WebhookError::Malformed("no time".to_owned()))?;
        if time.duration_since(now).abs() > WINDOW {
            return Err(WebhookError::Stale);
        }
        envelope.news()
    }
}

impl Envelope {
    /// What is signed: names and values, a line each, in the order of the names.
    fn signed_text(&self) -> Result<String, WebhookError> {
        let of_subscription = match self.kind.as_str() {
            "Notification" => false,
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => true,
            _ => return Err(WebhookError::Malformed("unknown type".to_owned())),
        };
        let fields = [
            ("Message", Some(&self.message)),
            ("MessageId", Some(&self.message_id)),
            ("Subject", self.subject.as_ref().filter(|_| !of_subscription)),
            ("SubscribeURL", self.subscribe_url.as_ref().filter(|_| of_subscription)),
            ("Timestamp", Some(&self.timestamp)),
            ("Token", self.token.as_ref().filter(|_| of_subscription)),
            ("TopicArn", Some(&self.topic_arn)),
            ("Type", Some(&self.kind)),
        ];
        let lines = fields.iter().filter_map(|(name, value)| Some(format!("{name}\n{}\n", (*value)?)));
        Ok(lines.collect())
    }

    fn news(self) -> Result<SnsNews, WebhookError> {
        match self.kind.as_str() {
            "SubscriptionConfirmation" => {
                let url = self.subscribe_url.and_then(|url| url.parse::<Url>().ok()).filter(is_at_sns);
                let nowhere =
                    || WebhookError::Malformed("the subscription is not at an address of SNS".to_owned());
                Ok(SnsNews::Confirm(url.ok_or_else(nowhere)?))
            }
            "UnsubscribeConfirmation" => {
                tracing::warn!(
                    topic = self.topic_arn,
                    "the subscription to bounces and complaints was ended"
                );
                Ok(SnsNews::Feedback(Vec::new()))
            }
            // SES begins with a notice in plain words, which tells of no letter.
            _ => Ok(SnsNews::Feedback(
                serde_json::from_str::<Notice>(&self.message).map(Notice::feedback).unwrap_or_default(),
            )),
        }
    }
}

/// What SES says of a letter. Identities call the kind `notificationType`, and configuration sets
/// `eventType`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notice {
    #[serde(alias = "eventType")]
    notification_type: String,
    mail: Mail,
    bounce: Option<Bounce>,
    complaint: Option<Complaint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mail {
    /// What the letter was tagged with when it was sent; only configuration sets tell.
    #[serde(default)]
    tags: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    common_headers: CommonHeaders,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CommonHeaders {
    message_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    feedback_id: String,
    #[serde(rename = "bounceType")]
    kind: String,
    #[serde(rename = "bounceSubType", default)]
    sub_kind: String,
    bounced_recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    feedback_id: String,
    #[serde(rename = "complaintFeedbackType")]
    kind: Option<String>,
    complained_recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    email_address: String,
    status: Option<String>,
}

impl Notice {
    fn feedback(self) -> Vec<Feedback> {
        let message = self.mail.message_id();
        match (self.notification_type.as_str(), self.bounce, self.complaint) {
            ("Bounce", Some(bounce), _) => {
                let about = bounce.bounced_recipients.iter();
                let about = about.filter_map(|recipient| Some((recipient, bounce.meaning(recipient)?)));
                about
                    .filter_map(|(to, kind)| to.feedback(kind, &bounce.feedback_id, message.as_ref()))
                    .collect()
            }
            // A person may also say that a letter is no spam.
            ("Complaint", _, Some(complaint)) if complaint.kind.as_deref() != Some("not-spam") => {
                let kind = FeedbackKind::Complaint;
                let about = complaint.complained_recipients.iter();
                about.filter_map(|to| to.feedback(kind, &complaint.feedback_id, message.as_ref())).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Mail {
    fn message_id(&self) -> Option<MessageId> {
        let tag = self.tags.get("message_id").and_then(|values| values.first());
        tag.and_then(|id| MessageId::of_job(id).ok())
            .or_else(|| message_id(self.common_headers.message_id.as_deref()?))
    }
}

impl Bounce {
    /// What it says about an address.
    fn meaning(&self, recipient: &Recipient) -> Option<FeedbackKind> {
        match (self.kind.as_str(), self.sub_kind.as_str()) {
            ("Permanent", _) => Some(FeedbackKind::HardBounce),
            // These are about the letter.
            (_, "ContentRejected" | "AttachmentRejected" | "MessageTooLarge") => None,
            // SES calls an out-of-office answer so, which has no status.
            ("Transient", "General") if recipient.status.is_none() => None,
            _ => Some(FeedbackKind::SoftBounce),
        }
    }
}

impl Recipient {
    fn feedback(&self, kind: FeedbackKind, event: &str, message: Option<&MessageId>) -> Option<Feedback> {
        Some(Feedback {
            address: self.email_address.parse::<Mailbox>().ok()?.address,
            kind,
            enhanced: self.status.as_deref().and_then(Enhanced::find).map(|code| code.to_string()),
            message_id: message.cloned(),
            provider_event_id: format!("ses:{event}"),
        })
    }
}

/// The public key of a certificate (SubjectPublicKeyInfo). Its own signature is not looked at: that it was
/// fetched from SNS by https says whose it is.
fn public_key(pem: &[u8]) -> Option<Vec<u8>> {
    let certificate = CertificateDer::from_pem_slice(pem).ok()?;
    let parsed = ParsedCertificate::try_from(&certificate).ok()?;
    Some(parsed.subject_public_key_info().to_vec())
}

/// Whether an address is at SNS: `https://sns.<region>.amazonaws.com`, or `.com.cn` in China.
fn is_at_sns(url: &Url) -> bool {
    let Some(Host::Domain(host)) = url.host() else { return false };
    let host = host.strip_suffix(".cn").unwrap_or(host);
    let region = host.strip_prefix("sns.").and_then(|rest| rest.strip_suffix(".amazonaws.com"));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    url.scheme() == "https"
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && region.is_some_and(|region| !region.is_empty() && region.chars().all(plain))
}

/// Whether a path is that of a certificate. Others could make this site fetch something else from SNS.
fn is_certificate_path(path: &str) -> bool {
    let id = path.strip_prefix("/SimpleNotificationService-").and_then(|rest| rest.strip_suffix(".pem"));
    id.is_some_and(|id| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests;
