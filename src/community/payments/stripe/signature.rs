//! Whether a webhook is Stripe's: the header `Stripe-Signature`, scheme `v1`.
//! (Stripe documentation, "Receive Stripe events in your webhook endpoint", "Verify manually".)

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use jiff::{SignedDuration, Timestamp};

/// How far the time that is signed may be from now: who sends an old body again comes too late.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// Signatures that are looked at. Stripe sends one for each secret that is good, two at most.
const MOST_SIGNATURES: usize = 8;
/// The length of a signature, in bytes.
const BYTES: usize = 32;

/// Why a body is not taken for Stripe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature that can be read.
    #[error("the header Stripe-Signature is missing or cannot be read")]
    Unsigned,
    /// It was signed too long ago, or in the future.
    #[error("the time of the signature is more than five minutes from now")]
    Stale,
    /// No secret signs this body so.
    #[error("the signature is of another secret or another body")]
    Wrong,
}

/// The keys by which webhooks are verified: the one in use, and others while it is replaced.
#[derive(Clone, Debug)]
pub(super) struct WebhookKeys(Vec<Key>);

impl WebhookKeys {
    pub(super) fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        Self(secrets.map(|secret| Key::new(HMAC_SHA256, secret.as_bytes())).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies the body as it came, byte by byte.
    pub(super) fn verify(&self, header: &str, body: &[u8], now: Timestamp) -> Result<(), SignatureError> {
        let signed = Signed::read(header).ok_or(SignatureError::Unsigned)?;
        let at = signed.time.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        if now.duration_since(at.ok_or(SignatureError::Unsigned)?).abs() > TOLERANCE {
            return Err(SignatureError::Stale);
        }
        // Each key signs once, however many signatures somebody sends.
        let is_signed = self.0.iter().fold(false, |found, key| {
            let mut context = Context::with_key(key);
            context.update(signed.time.as_bytes());
            context.update(b".");
            context.update(body);
            let wanted = context.sign();
            let is_equal = |given: &[u8; BYTES]| verify_slices_are_equal(given, wanted.as_ref()).is_ok();
            signed.signatures.iter().fold(found, |found, given| found | is_equal(given))
        });
        if is_signed { Ok(()) } else { Err(SignatureError::Wrong) }
    }
}

/// What the header says.
struct Signed<'a> {
    /// In seconds since 1970, as it was signed.
    time: &'a str,
    signatures: Vec<[u8; BYTES]>,
}

impl<'a> Signed<'a> {
    fn read(header: &'a str) -> Option<Self> {
        let (mut time, mut signatures) = (None, Vec::new());
        for (name, value) in header.split(',').filter_map(|part| part.trim().split_once('=')) {
            match name {
                "t" => time = time.or(Some(value)),
                // Other schemes are older, or of test events, and prove nothing.
                "v1" if signatures.len() < MOST_SIGNATURES => signatures.extend(bytes_of(value)),
                _ => {}
            }
        }
        Some(Self { time: time?, signatures }).filter(|signed| !signed.signatures.is_empty())
    }
}

fn bytes_of(hex: &str) -> Option<[u8; BYTES]> {
    if hex.len() != 2 * BYTES || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const OLD: &str = "whsec_the_one_before";
    const NEW: &str = "whsec_the_one_in_use";
    const AT: i64 = 1_783_202_400;

    fn now() -> Timestamp {
        Timestamp::from_second(AT).unwrap()
    }

    /// Signs as Stripe does.
    fn signature(secret: &str, time: i64, body: &str) -> String {
        let key = Key::new(HMAC_SHA256, secret.as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, format!("{time}.{body}").as_bytes());
        tag.as_ref().iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })
    }

    fn verify(header: &str, body: &str) -> Result<(), SignatureError> {
        WebhookKeys::new([OLD, NEW].into_iter()).verify(header, body.as_bytes(), now())
    }

    #[test]
    fn t73_the_body_is_verified_byte_by_byte_with_any_of_the_secrets() {
        let body = "{\"id\": \"evt_1\"}";
        for secret in [OLD, NEW] {
            let header = format!("t={AT},v1={}", signature(secret, AT, body));
            assert_eq!(verify(&header, body), Ok(()));
            assert_eq!(verify(&header, "{\"id\":\"evt_1\"}"), Err(SignatureError::Wrong));
        }
        let other = signature("whsec_of_somebody_else", AT, body);
        assert_eq!(verify(&format!("t={AT},v1={other}"), body), Err(SignatureError::Wrong));
        // While a secret is replaced, there is a signature for each.
        let both = format!("t={AT},v1={other},v1={},v0=abc", signature(NEW, AT, body));
        assert_eq!(verify(&both, body), Ok(()));
        assert_eq!(
            WebhookKeys::new([].into_iter()).verify(&both, body.as_bytes(), now()),
            Err(SignatureError::Wrong)
        );
    }

    #[test]
    fn an_old_body_is_not_taken_again_nor_one_of_the_future() {
        for (time, wanted) in [
            (AT - 300, Ok(())),
            (AT + 300, Ok(())),
            (AT - 301, Err(SignatureError::Stale)),
            (AT + 301, Err(SignatureError::Stale)),
        ] {
            assert_eq!(
                verify(&format!("t={time},v1={}", signature(NEW, time, "{}")), "{}"),
                wanted,
                "{time}"
            );
        }
        // The time is signed too.
        let moved = format!("t={},v1={}", AT - 10, signature(NEW, AT, "{}"));
        assert_eq!(verify(&moved, "{}"), Err(SignatureError::Wrong));
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let good = signature(NEW, AT, "{}");
        for header in [
            "",
            "t=1",
            &format!("v1={good}"),
            &format!("t=soon,v1={good}"),
            &format!("t={AT},v0={good}"),
            &format!("t={AT},v1={}", &good[..62]),
            &format!("t={AT},v1={}é", &good[..62]),
            &format!("t=99999999999999999999,v1={good}"),
        ] {
            assert_eq!(verify(header, "{}"), Err(SignatureError::Unsigned), "{header}");
        }
    }
}
