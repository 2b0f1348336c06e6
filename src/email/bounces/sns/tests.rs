//! Notices that are signed by keys of our own.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use super::*;

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:letters";
const CERTIFICATE_URL: &str = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem";

/// A key, and the certificate of it in PEM.
static SIGNER: LazyLock<(RsaKeyPair, String)> = LazyLock::new(|| {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let certificate = CertificateParams::new(vec!["sns.amazonaws.com".to_owned()]).unwrap();
    let pem = certificate.self_signed(&key).unwrap().pem();
    (RsaKeyPair::from_pkcs8(&key.serialize_der()).unwrap(), pem)
});

fn now() -> Timestamp {
    "2026-07-04T22:00:00Z".parse().unwrap()
}

/// A notice of SES as SNS sends it, with the signature still missing.
fn notification(message: &Value) -> Value {
    json!({
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Subject": "Amazon SES Email Event Notification",
        "Message": message.to_string(),
        "Timestamp": "2026-07-04T21:59:59.123Z",
        "SignatureVersion": "2",
        "SigningCertURL": CERTIFICATE_URL,
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    })
}

/// Signs the fields that AWS names for the type of a notice.
fn signed(mut notice: Value) -> Vec<u8> {
    let names: &[&str] = match notice["Type"].as_str().unwrap() {
        "Notification" => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
        _ => &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
    };
    let present = names.iter().filter_map(|name| Some(format!("{name}\n{}\n", notice[*name].as_str()?)));
    let text: String = present.collect();
    let key = &SIGNER.0;
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    notice["Signature"] = STANDARD.encode(signature).into();
    notice.to_string().into_bytes()
}

fn verified(body: &[u8]) -> Result<SnsNews, WebhookError> {
    SnsMessage::parse(body, TOPIC)?.verify(SIGNER.1.as_bytes(), now())
}

/// What a notice of SES says.
fn told(message: &Value) -> Vec<Feedback> {
    match verified(&signed(notification(message))).unwrap() {
        SnsNews::Feedback(feedback) => feedback,
        SnsNews::Confirm(url) => panic!("{url}"),
    }
}

fn bounce(kind: &str, sub_type: &str, status: Option<&str>) -> Value {
    json!({
        "eventType": "Bounce",
        "bounce": {
            "feedbackId": "0100-f",
            "bounceType": kind,
            "bounceSubType": sub_type,
            "bouncedRecipients": [{ "emailAddress": "ana@example.net", "status": status }],
            "timestamp": "2026-07-04T21:59:58.000Z",
        },
        "mail": {
            "messageId": "0100-m",
            "destination": ["other@example.net"],
            "commonHeaders": { "messageId": "<header-id@example.com>" },
            "tags": { "ses:configuration-set": ["letters"], "message_id": ["job-1"] },
        },
    })
}

#[test]
fn a_bounce_of_a_configuration_set_is_read() {
    let wanted = Feedback {
        address: "ana@example.net".parse().unwrap(),
        kind: FeedbackKind::HardBounce,
        enhanced: Some("5.1.1".to_owned()),
        message_id: Some(MessageId::of_job("job-1").unwrap()),
        provider_event_id: "ses:0100-f".to_owned(),
    };
    assert_eq!(told(&bounce("Permanent", "General", Some("5.1.1"))), [wanted]);
}

#[test]
fn a_complaint_of_an_identity_is_read() {
    let complaint = |kind: Value| {
        json!({
            "notificationType": "Complaint",
            "complaint": {
                "feedbackId": "0100-c",
                "complainedRecipients": [{ "emailAddress": "Ana <ana@example.net>" }],
                "complaintFeedbackType": kind,
            },
            "mail": { "commonHeaders": { "messageId": "<header-id@example.com>" } },
        })
    };
    let feedback = told(&complaint("abuse".into()));
    assert_eq!(feedback.len(), 1);
    assert_eq!(feedback[0].address.as_str(), "ana@example.net");
    assert_eq!(feedback[0].kind, FeedbackKind::Complaint);
    assert_eq!(feedback[0].message_id, Some(MessageId::of_job("header-id").unwrap()));
    assert_eq!(told(&complaint(Value::Null)).len(), 1);
    assert_eq!(told(&complaint("not-spam".into())), []);
}

#[test]
fn t33_what_is_about_the_letter_or_an_absence_is_no_bounce_of_the_address() {
    let kinds = |kind: &str, sub_type: &str, status: Option<&str>| {
        told(&bounce(kind, sub_type, status)).iter().map(|one| one.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds("Transient", "MailboxFull", Some("5.2.2")), [FeedbackKind::SoftBounce]);
    assert_eq!(kinds("Transient", "General", Some("4.4.1")), [FeedbackKind::SoftBounce]);
    assert_eq!(kinds("Undetermined", "Undetermined", None), [FeedbackKind::SoftBounce]);
    assert_eq!(kinds("Transient", "General", None), []);
    assert_eq!(kinds("Transient", "ContentRejected", Some("5.6.0")), []);
    assert_eq!(told(&json!({ "eventType": "Delivery", "mail": {} })), []);
    assert_eq!(told(&"Successfully validated SNS topic for Amazon SES event publishing.".into()), []);
}

#[test]
fn a_subscription_is_confirmed_at_sns_only() {
    let confirmation = |url: &str| {
        signed(json!({
            "Type": "SubscriptionConfirmation",
            "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
            "Token": "2336412f37",
            "TopicArn": TOPIC,
            "Message": "You have chosen to subscribe to the topic.\nTo confirm, visit the SubscribeURL.",
            "SubscribeURL": url,
            "Timestamp": "2026-07-04T21:59:59.123Z",
            "SignatureVersion": "2",
            "SigningCertURL": CERTIFICATE_URL,
        }))
    };
    let url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37";
    assert_eq!(verified(&confirmation(url)), Ok(SnsNews::Confirm(url.parse().unwrap())));
    let elsewhere = confirmation("https://169.254.169.254/latest/meta-data");
    assert!(matches!(verified(&elsewhere), Err(WebhookError::Malformed(_))));
    // The address is signed.
    let body = String::from_utf8(confirmation(url))
        .unwrap()
        .replace("eu-west-1.amazonaws.com/?", "x.amazonaws.com/?");
    assert!(matches!(verified(body.as_bytes()), Err(WebhookError::Forged(_))));
}

#[test]
fn what_is_changed_is_forged() {
    let good = notification(&bounce("Permanent", "General", Some("5.1.1")));
    assert!(verified(&signed(good.clone())).is_ok());
    for (name, value) in [
        ("Message", "{}"),
        ("MessageId", "x"),
        ("Subject", "x"),
        ("Timestamp", "2026-07-04T21:59:58.123Z"),
        ("SignatureVersion", "1"),
        ("Signature", "AAAA"),
        ("Signature", "no base64!"),
        ("TopicArn", "arn:aws:sns:eu-west-1:666:letters"),
        ("SigningCertURL", "https://sns.eu-west-1.amazonaws.com.example.com/SimpleNotificationService-0.pem"),
    ] {
        let mut changed: Value = serde_json::from_slice(&signed(good.clone())).unwrap();
        changed[name] = value.into();
        let outcome = verified(changed.to_string().as_bytes());
        assert!(matches!(outcome, Err(WebhookError::Forged(_))), "{name}: {outcome:?}");
    }
    // A signature by somebody else's topic, which SNS gives to anybody.
    let mut other = good.clone();
    other["TopicArn"] = "arn:aws:sns:eu-west-1:666:letters".into();
    assert!(matches!(verified(&signed(other)), Err(WebhookError::Forged(_))));
    let body = signed(good);
    let other_key = SnsMessage::parse(&body, TOPIC).unwrap();
    assert!(matches!(other_key.verify(b"no certificate", now()), Err(WebhookError::Forged(_))));
}

#[test]
fn old_notices_are_not_taken_again() {
    let body = signed(notification(&json!({})));
    let at = |time: &str| {
        SnsMessage::parse(&body, TOPIC).unwrap().verify(SIGNER.1.as_bytes(), time.parse().unwrap())
    };
    assert!(at("2026-07-05T21:00:00Z").is_ok());
    assert_eq!(at("2026-07-05T22:00:00Z"), Err(WebhookError::Stale));
    assert_eq!(at("2026-07-03T21:00:00Z"), Err(WebhookError::Stale));
}

#[test]
fn a_signature_of_the_first_version_is_verified() {
    // Made with OpenSSL: a notice that is signed with SHA-1, and the certificate.
    let body = include_bytes!("../samples/sns_version_1.json");
    let certificate = include_bytes!("../samples/sns_version_1.pem");
    let news = SnsMessage::parse(body, TOPIC).unwrap().verify(certificate, now());
    let Ok(SnsNews::Feedback(feedback)) = news else { panic!("{news:?}") };
    assert_eq!((feedback.len(), feedback[0].kind), (1, FeedbackKind::HardBounce));
    let changed = String::from_utf8(body.to_vec()).unwrap().replace("ana@", "bob@");
    let news = SnsMessage::parse(changed.as_bytes(), TOPIC).unwrap().verify(certificate, now());
    assert!(matches!(news, Err(WebhookError::Forged(_))), "{news:?}");
}

#[test]
fn only_addresses_of_sns_are_fetched() {
    let is_fetched =
        |text: &str| text.parse::<Url>().is_ok_and(|url| is_at_sns(&url) && is_certificate_path(url.path()));
    let path = "SimpleNotificationService-0123abcd.pem";
    for good in ["https://sns.eu-west-1.amazonaws.com", "https://sns.cn-north-1.amazonaws.com.cn"] {
        assert!(is_fetched(&format!("{good}/{path}")), "{good}");
    }
    for bad in [
        "http://sns.eu-west-1.amazonaws.com",
        "https://sns.eu-west-1.amazonaws.com:8443",
        "https://user@sns.eu-west-1.amazonaws.com",
        "https://sns..amazonaws.com",
        "https://sns.amazonaws.com",
        "https://sns.a.b.amazonaws.com",
        "https://mybucket.s3.amazonaws.com",
        "https://sns.eu-west-1.amazonaws.com.example.com",
        "https://example.com/sns.eu-west-1.amazonaws.com",
        "https://127.0.0.1",
        "file:///etc",
    ] {
        assert!(!is_fetched(&format!("{bad}/{path}")), "{bad}");
    }
    for path in ["", "x.pem", "SimpleNotificationService-.pem", "SimpleNotificationService-zz.pem", "a/../b"]
    {
        assert!(!is_fetched(&format!("https://sns.eu-west-1.amazonaws.com/{path}")), "{path}");
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_fetched_is_asked_for_again() {
    struct Away;
    #[async_trait]
    impl SigningCertificates for Away {
        async fn certificate(&self, url: &Url) -> Result<Arc<[u8]>, WebhookError> {
            assert_eq!(url.as_str(), CERTIFICATE_URL);
            Err(WebhookError::Unavailable("away".to_owned()))
        }
    }
    let body = signed(notification(&json!({})));
    let outcome = read_sns(&body, TOPIC, now(), &Away).await;
    assert_eq!(outcome, Err(WebhookError::Unavailable("away".to_owned())));
    // Nothing is fetched for a notice of another topic.
    let outcome = read_sns(&body, "arn:aws:sns:eu-west-1:1:other", now(), &Away).await;
    assert!(matches!(outcome, Err(WebhookError::Forged(_))));
}
