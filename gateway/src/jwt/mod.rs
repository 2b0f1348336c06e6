//! Signed tokens before anything in them is believed, and why they are refused: what the node's own keys and those of
//! identity providers have in common.

mod refusal;
mod signed;

use jsonwebtoken::Algorithm;

pub(crate) use refusal::shown;
pub use refusal::{Flaw, TokenError};
pub(crate) use signed::SignedToken;

/// The algorithms of a secret.
pub(crate) const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
/// The algorithms of an RSA key.
pub(crate) const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
/// The algorithms of a key on a NIST curve.
pub(crate) const ECDSA: &[Algorithm] = &[Algorithm::ES256, Algorithm::ES384];
/// The algorithm of an Ed25519 key.
pub(crate) const EDDSA: &[Algorithm] = &[Algorithm::EdDSA];
