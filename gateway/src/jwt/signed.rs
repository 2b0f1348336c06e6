//! A token before its signature was verified: which key and algorithm it names (RFC 7515).

use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::refusal::{Flaw, shown};

/// The parts of a token, nothing of which can be trusted yet.
pub(crate) struct SignedToken<'a> {
    /// What the signature is over: header and payload.
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// The algorithm of the signature.
    pub(crate) algorithm: Algorithm,
    /// The key of the signature, if the token names one.
    pub(crate) key_id: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> SignedToken<'a> {
    /// Reads the header.
    pub(crate) fn read(token: &'a str) -> Result<Self, Flaw> {
        let parts: Vec<_> = token.splitn(6, '.').collect();
        let [header, payload, signature] = parts[..] else {
            return Err(Flaw::Malformed(match parts.len() {
                5 => "five parts, so it is encrypted (JWE)",
                _ => "not three parts with dots between",
            }));
        };
        let message = &token[..header.len() + 1 + payload.len()];
        let header =
            URL_SAFE_NO_PAD.decode(header).map_err(|_| Flaw::Malformed("the header is not base64url"))?;
        let header: Header = serde_json::from_slice(&header)
            .map_err(|_| Flaw::Malformed("the header is not a JSON object with an `alg`"))?;
        // Extensions that must be understood (RFC 7515, 4.1.11): none is.
        if header.crit.is_some() {
            return Err(Flaw::header("crit", "no extension is understood"));
        }
        if let Some(typ) = header.typ.filter(|typ| is_for_something_else(typ)) {
            return Err(Flaw::header("typ", format!("{} is for another purpose", shown(&typ))));
        }
        let algorithm = Algorithm::from_str(&header.alg)
            .map_err(|_| Flaw::header("alg", format!("{} is not supported", shown(&header.alg))))?;
        Ok(Self { message, payload, signature, algorithm, key_id: header.kid })
    }

    /// Whether the signature is the key's. A key of another family than the algorithm's never fits.
    pub(crate) fn is_signed_by(&self, key: &DecodingKey) -> bool {
        let message = self.message.as_bytes();
        jsonwebtoken::crypto::verify(self.signature, message, key, self.algorithm).unwrap_or(false)
    }

    /// The claims in JSON, once the signature was verified.
    pub(crate) fn payload(&self) -> Result<Vec<u8>, Flaw> {
        URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| Flaw::Malformed("the payload is not base64url"))
    }

    /// Which key the token wants, for a reason.
    pub(crate) fn wanted_key(&self) -> String {
        match &self.key_id {
            Some(id) => format!("alg {:?}, kid {}", self.algorithm, shown(id)),
            None => format!("alg {:?} without a kid", self.algorithm),
        }
    }
}

/// Whether a type names another use, such as `logout+jwt` or `dpop+jwt` (RFC 8725, 3.11). An identity provider signs
/// those with the same keys. `at+jwt` is an access token (RFC 9068).
fn is_for_something_else(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    typ.ends_with("+jwt") && typ != "at+jwt"
}
