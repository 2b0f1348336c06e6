//! Why a command was not done.

use std::fmt;

use mundotango_protocol::{Disconnect, ErrorCode};

/// Why a command was not done.
pub(super) enum Refusal {
    /// Answer with an error; the session goes on.
    Error(ErrorCode),
    /// The client broke the protocol, or may not be here.
    Disconnect(Disconnect),
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(code) => code.fmt(formatter),
            Self::Disconnect(reason) => reason.fmt(formatter),
        }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code)
    }
}

impl From<Disconnect> for Refusal {
    fn from(reason: Disconnect) -> Self {
        Self::Disconnect(reason)
    }
}
