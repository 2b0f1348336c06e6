//! Where messages go: the port, and its adapters beside it.

mod folder;
mod http;
mod sendgrid;
mod ses;
mod sigv4;
mod smtp;
#[cfg(test)]
mod stub;

use std::time::Duration;

use async_trait::async_trait;

use super::Message;

pub use folder::FolderTransport;
pub use sendgrid::SendgridTransport;
pub use ses::SesTransport;
pub use smtp::{SmtpFault, SmtpTransport};

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
        /// Which letters may fail in the same way.
        scope: TemporaryScope,
    },
    /// The server refuses this site, and not this message: a key is wrong, or the account is stopped. All
    /// messages wait until an operator sees to it.
    #[error("not sent until the configuration or the account is put right: {why}")]
    Misconfigured {
        /// What happened, with the server's words.
        why: String,
    },
    /// The recipient or the message is refused for good.
    #[error("refused: {why}")]
    Refused {
        /// What happened, with the server's words.
        why: String,
        /// The enhanced status code, such as `5.1.1` for an unknown recipient (RFC 3463).
        enhanced: Option<String>,
    },
    /// Nobody knows whether it was taken: the answer to the final dot, or to a whole request, was lost.
    /// Another attempt may be a second copy.
    #[error("nobody knows whether it was sent: {why}")]
    Uncertain {
        /// What happened.
        why: String,
    },
}

/// Which letters a temporary failure is about, so that one recipient's server that is away holds up nobody
/// else's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemporaryScope {
    /// All letters: the server or the provider cannot be reached, or takes nothing for now.
    Server,
    /// This letter: the server works, and does not take this letter or its recipient for now, as with a full
    /// mailbox or greylisting.
    Recipient,
}
