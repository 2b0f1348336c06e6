//! What went wrong, by what the caller can do about it.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

/// Why a push did not reach the service of the device. No text in it holds a token or the path of an
/// endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The destination has ended: a browser's endpoint answered 404 or 410, FCM `UNREGISTERED`, APNs 410.
    /// This error alone deletes a destination, and only if [`PushError::deletes`] says so.
    #[error("the destination is gone")]
    Gone {
        /// Since when, if the service says it (APNs). A device that registered later is not gone.
        since: Option<Timestamp>,
    },
    /// The message is larger than the service takes.
    #[error("the message is too large")]
    TooLarge,
    /// This message or this destination is refused. Another attempt is of no use; the destination stays.
    #[error("refused: {why}")]
    Refused {
        /// What the service or the node found wrong.
        why: String,
    },
    /// A later attempt may succeed. After a time-out the message may have arrived; a [`crate::Topic`] lets
    /// the second one replace the first.
    #[error("failed for now: {why}")]
    Temporary {
        /// What happened.
        why: String,
        /// How long the service asks to wait: one day at most.
        retry_after: Option<Duration>,
    },
    /// The service refuses the node's credentials or configuration, so it will refuse all messages. The
    /// caller stops sending to this [`crate::Provider`] for a while.
    #[error("the service refuses this node: {why}")]
    Provider {
        /// What the service or the node found wrong.
        why: String,
    },
}

impl PushError {
    /// Whether a destination that was registered at a time has to be deleted: it is gone, and was not
    /// registered again after it went.
    pub fn deletes(&self, registered: Timestamp) -> bool {
        match self {
            Self::Gone { since } => since.is_none_or(|since| registered <= since),
            _ => false,
        }
    }

    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused { why: why.into() }
    }

    pub(crate) fn provider(why: impl Into<String>) -> Self {
        Self::Provider { why: why.into() }
    }

    pub(crate) fn temporary(why: impl Into<String>) -> Self {
        Self::Temporary { why: why.into(), retry_after: None }
    }
}

/// Why a push failed, before the node has decided whom to blame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no doubt.
    Sure(PushError),
    /// Either this destination is bad, or the node's configuration is.
    Doubtful { why: String },
}

impl From<PushError> for Failure {
    fn from(error: PushError) -> Self {
        Self::Sure(error)
    }
}

/// Why a [`crate::Pusher`] cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Options cannot work: each problem begins with the option's name.
    #[error("{}", .0.join("; "))]
    Options(Vec<String>),
    /// A file cannot be read, or holds something else.
    #[error("{option}: {}: {why}", path.display())]
    File {
        /// The option that names the file.
        option: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A key or another value cannot be used.
    #[error("{option}: {why}")]
    Value {
        /// Which option.
        option: &'static str,
        /// What is wrong with it. Never shows the value.
        why: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client: {0}")]
    Client(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t39_only_gone_deletes_and_not_a_device_that_came_back() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(PushError::Gone { since: None }.deletes(at(100)));
        assert!(PushError::Gone { since: Some(at(100)) }.deletes(at(100)));
        assert!(!PushError::Gone { since: Some(at(100)) }.deletes(at(101)));
        for error in [
            PushError::TooLarge,
            PushError::refused("x"),
            PushError::temporary("x"),
            PushError::provider("x"),
        ] {
            assert!(!error.deletes(at(0)), "{error}");
        }
    }
}
