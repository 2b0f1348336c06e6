//! Why something is not done in a conversation.

use axum::http::StatusCode;
use mundotango_gateway::problem::{Code, FieldCode, Problem};
use mundotango_storage::StoreError;

/// Why something is not done in a conversation.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChatError {
    /// There is no such thing for this user.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// It is there, and another one's to do.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The other side has not accepted the conversation.
    #[error("the other side has not accepted the conversation yet")]
    Pending,
    /// There are as many as may be.
    #[error("{0}")]
    Full(&'static str),
    /// It does not go with what there is.
    #[error("{0}")]
    Conflict(&'static str),
    /// A field names what is not there.
    #[error("{0}: {1}")]
    Field(&'static str, &'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ChatError> for Problem {
    fn from(error: ChatError) -> Self {
        let conflict = || Self::new(StatusCode::CONFLICT, error.to_string());
        match &error {
            ChatError::NotFound(what) => Self::not_found(what),
            ChatError::Forbidden(why) => Self::forbidden(*why),
            ChatError::Pending => conflict().with_code(Code::RequestPending),
            ChatError::Full(_) => conflict().with_code(Code::Full),
            ChatError::Conflict(_) => conflict(),
            ChatError::Field(field, why) => Self::invalid_field(*field, FieldCode::NotAllowed, *why),
            ChatError::Store(error) => error.clone().into(),
        }
    }
}
