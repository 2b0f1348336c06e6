//! Why a token is refused: to its client as a kind, to the log with the reason.

/// Longest part of a token's own text that a reason shows, in characters.
const SHOWN_CHARACTERS: usize = 64;

/// Why a token was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token was good once.
    #[error("token expired")]
    Expired,
    /// The token will be good later: its issuer's clock is ahead of this one, or its client comes too early.
    #[error("token is not valid yet")]
    NotYetValid,
    /// The token was never good here.
    #[error("invalid token")]
    Invalid(#[source] Flaw),
    /// The token, its login or its user was locked out.
    #[error("token revoked")]
    Revoked,
    /// The keys that could verify the token cannot be read now.
    #[error("the keys of tokens are not available")]
    Unavailable,
}

/// What is wrong with a token. Operators read it in the log, so it names the part that is wrong and never shows the
/// token itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Not a signed JWT.
    #[error("not a signed JWT: {0}")]
    Malformed(&'static str),
    /// A header field does not have a value that is taken.
    #[error("header `{name}`: {why}")]
    Header {
        /// The field.
        name: &'static str,
        /// What is wrong with the field.
        why: String,
    },
    /// No key is configured or known that could verify the token.
    #[error("no key for {0}")]
    NoKey(String),
    /// The keys that could verify the token do not.
    #[error("the signature is of another key")]
    Signature,
    /// A claim is missing or does not have a value that is taken.
    #[error("claim `{name}`: {why}")]
    Claim {
        /// The claim.
        name: &'static str,
        /// What is wrong with the claim.
        why: String,
    },
}

impl Flaw {
    pub(crate) fn header(name: &'static str, why: impl Into<String>) -> Self {
        Self::Header { name, why: why.into() }
    }

    pub(crate) fn claim(name: &'static str, why: impl Into<String>) -> Self {
        Self::Claim { name, why: why.into() }
    }
}

impl From<Flaw> for TokenError {
    fn from(flaw: Flaw) -> Self {
        Self::Invalid(flaw)
    }
}

/// A text of a token as a reason shows it: quoted, and cut so that no client fills the log.
pub(crate) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}
