//! AWS Signature Version 4 of a request without a query: the header `Authorization` by which AWS knows who
//! asks (AWS IAM User Guide, "Create a signed AWS API request").

use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use jiff::Timestamp;
use mundotango_ops::Secret;

/// The name of the method in headers.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The keys of an AWS user or role, for one service in one region.
pub(super) struct Signer {
    pub(super) key_id: String,
    pub(super) secret: Secret,
    /// Belongs to keys that are lent for a while.
    pub(super) session_token: Option<Secret>,
    pub(super) region: String,
    pub(super) service: &'static str,
}

/// A request that is to be signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a str,
    /// As the header `Host` says it, with a port that is not the scheme's.
    pub(super) host: &'a str,
    /// As it is sent, that is, encoded once.
    pub(super) path: &'a str,
    pub(super) content_type: Option<&'a str>,
    pub(super) body: &'a [u8],
}

impl Signer {
    /// The headers by which a request is signed: `x-amz-date`, `authorization`, and `x-amz-security-token` if
    /// there is a session. AWS takes the signature for five minutes around `now`.
    pub(super) fn sign(&self, request: &Unsigned<'_>, now: Timestamp) -> Vec<(&'static str, String)> {
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = now.strftime("%Y%m%d").to_string();
        let token = self.session_token.as_ref().map(|token| token.expose().to_owned());
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);

        let signed_headers = [
            ("content-type", request.content_type),
            ("host", Some(request.host)),
            ("x-amz-date", Some(time.as_str())),
            ("x-amz-security-token", token.as_deref()),
        ];
        let signed_headers =
            signed_headers.iter().filter_map(|(name, value)| Some((*name, (*value)?.trim())));
        let names = signed_headers.clone().map(|(name, _)| name).collect::<Vec<_>>().join(";");
        let lines: Vec<_> = signed_headers.map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!(
            "{}\n{}\n\n{}\n{names}\n{}",
            request.method,
            encoded(request.path),
            lines.concat(),
            sha256(request.body),
        );
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let signature = hex(mac(self.key(&day).as_ref(), &to_sign).as_ref());
        let credential = format!("{}/{scope}", self.key_id);
        let authorization =
            format!("{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}");
        let mut headers = vec![("x-amz-date", time), ("authorization", authorization)];
        headers.extend(token.map(|token| ("x-amz-security-token", token)));
        headers
    }

    /// The key of a day.
    fn key(&self, day: &str) -> hmac::Tag {
        let secret = format!("AWS4{}", self.secret.expose());
        let of_day = mac(secret.as_bytes(), day);
        let of_region = mac(of_day.as_ref(), &self.region);
        let of_service = mac(of_region.as_ref(), self.service);
        mac(of_service.as_ref(), "aws4_request")
    }
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

/// A path as it is signed: AWS encodes once more what is encoded for sending, except for S3.
fn encoded(path: &str) -> String {
    let path = if path.is_empty() { "/" } else { path };
    path.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(byte.into());
        } else {
            // Writing into a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of AWS's test suite for this method.
    fn suite() -> Signer {
        Signer {
            key_id: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
            session_token: None,
            region: "us-east-1".to_owned(),
            service: "service",
        }
    }

    fn authorization(signer: &Signer, request: &Unsigned<'_>) -> String {
        let headers = signer.sign(request, "2015-08-30T12:36:00Z".parse().unwrap());
        assert_eq!(headers[0], ("x-amz-date", "20150830T123600Z".to_owned()));
        headers.into_iter().find(|(name, _)| *name == "authorization").unwrap().1
    }

    const VANILLA: Unsigned<'_> =
        Unsigned { method: "POST", host: "example.amazonaws.com", path: "/", content_type: None, body: b"" };

    #[test]
    fn the_vectors_of_the_test_suite_of_aws_hold() {
        let begin = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        for (name, request, names, signature) in [
            (
                "get-vanilla",
                Unsigned { method: "GET", ..VANILLA },
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "post-vanilla",
                VANILLA,
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-x-www-form-urlencoded",
                Unsigned {
                    content_type: Some("application/x-www-form-urlencoded"),
                    body: b"Param1=value1",
                    ..VANILLA
                },
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let wanted = format!("{begin}, SignedHeaders={names}, Signature={signature}");
            assert_eq!(authorization(&suite(), &request), wanted, "{name}");
        }
    }

    #[test]
    fn the_vector_with_a_session_token_holds() {
        let token = concat!(
            "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfp",
            "SPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQ",
            "DYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+s",
            "cqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==",
        );
        let signer = Signer { session_token: Some(Secret::new(token.to_owned())), ..suite() };
        let signed = authorization(&signer, &VANILLA);
        assert!(signed.contains("SignedHeaders=host;x-amz-date;x-amz-security-token"), "{signed}");
        let signature = "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead";
        assert!(signed.ends_with(signature), "{signed}");
    }

    #[test]
    fn paths_are_encoded_once_more() {
        assert_eq!(encoded("/v2/email/outbound-emails"), "/v2/email/outbound-emails");
        assert_eq!((encoded("/a%20b"), encoded("")), ("/a%2520b".to_owned(), "/".to_owned()));
    }
}
