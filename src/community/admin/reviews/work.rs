//! The job that has something follow from a decision; what it does is done where effects are carried out.

use std::time::Duration;

use jiff::Timestamp;
use mundotango_jobs::{JobKind, NewJob};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use crate::community::notifications::tell::NOTIFICATION;

/// Carries out a decision, or takes it back.
pub static DECISION: JobKind<OfCase> =
    JobKind::new("moderation_decision", &NOTIFICATION, 1).timeout(Duration::from_mins(10)).attempts(20);

/// Of which case.
#[derive(Debug, Serialize, Deserialize)]
pub struct OfCase {
    /// The case's id, which is its decision's as well.
    pub case_id: String,
}

/// The job that carries out what is decided of a case; not before a time, if one is given.
pub(super) fn carry_out(case_id: &str, due: Option<Timestamp>) -> Result<NewJob, StoreError> {
    let job = DECISION.job(&OfCase { case_id: case_id.to_owned() })?.group(case_id);
    Ok(match due {
        Some(due) => job.due(due),
        None => job,
    })
}
