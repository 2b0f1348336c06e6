//! Why something is not done between two users.

use mundotango_gateway::problem::Problem;
use mundotango_storage::StoreError;

use super::rules::Refusal;

/// Why something is not done between two users.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GraphError {
    /// There is no such user, or that user keeps the caller out.
    #[error("no such user")]
    Hidden,
    /// The caller keeps the other out.
    #[error("you have blocked this user; unblock the user first")]
    Blocked,
    /// It is the caller.
    #[error("this is you")]
    Myself,
    /// As many as may be are there.
    #[error("{0} is full")]
    Full(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refusal> for GraphError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Hidden => Self::Hidden,
            Refusal::Blocked => Self::Blocked,
            Refusal::Full(what) => Self::Full(what),
        }
    }
}

impl From<GraphError> for Problem {
    fn from(error: GraphError) -> Self {
        match error {
            GraphError::Hidden => Self::not_found("user"),
            GraphError::Blocked => Self::new(axum::http::StatusCode::CONFLICT, error.to_string()),
            GraphError::Myself => Self::forbidden(error.to_string()),
            GraphError::Full(what) => StoreError::Full(what).into(),
            GraphError::Store(error) => error.into(),
        }
    }
}
