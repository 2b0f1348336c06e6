//! Where messages go: the port, and its adapters beside it.

mod folder;
mod smtp;

use std::time::Duration;

use async_trait::async_trait;

use super::Message;

pub use folder::FolderTransport;
pub use smtp::SmtpTransport;

/// Takes messages to where people read them.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Hands a message over. `Ok` says that somebody else is responsible for it now. One call is one attempt,
    /// and it ends within the transport's own time-outs. A caller that drops the call does not know whether
    /// the message was taken.
    async fn send(&self, message: &Message) -> Result<(), SendError>;
}

/// Why a message was not handed over, by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It may be tried again later: nobody has taken the message.
    #[error("not sent for now: {why}")]
    Temporary {
        /// What happened, with the server's words.
        why: String,
        /// How long to wait at least, if the server said so.
        retry_after: Option<Duration>,
    },
    /// The recipient or the message is refused for good.
    #[error("refused: {why}")]
    Refused {
        /// What happened, with the server's words.
        why: String,
        /// The enhanced status code, such as `5.1.1` for an unknown recipient (RFC 3463).
        enhanced: Option<String>,
    },
    /// Nobody knows whether it was taken: the answer to the final dot was lost. Another attempt may be a
    /// second copy.
    #[error("nobody knows whether it was sent: {why}")]
    Uncertain {
        /// What happened.
        why: String,
    },
}
