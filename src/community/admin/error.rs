//! Why something is not done with a case.

use axum::http::StatusCode;
use mundotango_gateway::problem::{Code, FieldCode, FieldError, Problem};
use mundotango_storage::StoreError;

use super::work::Work;

/// Why something is not done with a proposal, a review or a ticket.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WorkError {
    /// It changed since the caller looked.
    #[error("it changed meanwhile; look again")]
    Stale(Work),
    /// Somebody else works on it.
    #[error("somebody else works on this")]
    Held(Work),
    /// It is decided, resolved or closed.
    #[error("this is done already")]
    Over(Work),
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// There are as many as may be.
    #[error("there are as many {0} as may be")]
    Full(&'static str),
    /// The time to do this is over.
    #[error("{0}")]
    NotNow(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WorkError {
    /// What members are told, who do not learn who works on their cases.
    pub(super) fn without_names(self) -> Self {
        let bare = |work: Work| Work { assignee: None, ..work };
        match self {
            Self::Stale(work) => Self::Stale(bare(work)),
            Self::Held(work) => Self::Held(bare(work)),
            Self::Over(work) => Self::Over(bare(work)),
            other => other,
        }
    }
}

/// How a case stands now, for who decided on another view of it.
fn as_it_is(work: &Work) -> Vec<FieldError> {
    let is = |field: &str, value: &str| {
        FieldError::new(field, FieldCode::Contradiction, format!("is {value} now")).with_allowed(&[value])
    };
    let mut fields = vec![is("version", &work.version.to_string()), is("state", work.state.name())];
    fields.extend(work.assignee.as_ref().map(|assignee| is("assigneeId", assignee)));
    fields
}

impl From<WorkError> for Problem {
    fn from(error: WorkError) -> Self {
        let conflict = || Self::new(StatusCode::CONFLICT, error.to_string());
        match &error {
            WorkError::Stale(work) | WorkError::Held(work) | WorkError::Over(work) => {
                conflict().with_code(Code::Changed).with_errors(as_it_is(work))
            }
            WorkError::Forbidden(why) => Self::forbidden(*why),
            WorkError::Full(_) => conflict().with_code(Code::Full),
            WorkError::NotNow(_) => conflict(),
            WorkError::Store(error) => error.clone().into(),
        }
    }
}
