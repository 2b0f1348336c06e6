//! The jobs that carry what a user wants to where it is to be known: each is done as often as it takes, and doing it again changes
//! nothing. Who does them is in `work.rs`.

use mundotango_jobs::JobKind;
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use crate::community::effects::Effect;
use crate::community::notifications::tell::NOTIFICATION;

/// Tells a user's circle what another wants.
pub(super) static DELIVER: JobKind<Pair> = JobKind::new("circle_notice", &NOTIFICATION, 1);
/// Counts a follower, or counts one no longer.
pub(super) static FOLLOW: JobKind<FollowNotice> = JobKind::new("circle_follow", &NOTIFICATION, 1);

/// Who tells whom. What is told is read when the job is done, so that it is never older than it need be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) from: String,
    pub(super) to: String,
}

/// That somebody follows a user, or does no longer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FollowNotice {
    pub(super) follower: String,
    pub(super) target: String,
    /// Rises with each change of the follower's.
    pub(super) version: u64,
    pub(super) follows: bool,
    /// The following that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gone: Option<String>,
}

pub(super) fn deliver(from: &str, to: &str) -> Result<Effect, StoreError> {
    let pair = Pair { from: from.to_owned(), to: to.to_owned() };
    Ok(Effect::job(DELIVER.job(&pair)?.group(from)))
}

pub(super) fn note_follow(notice: &FollowNotice) -> Result<Effect, StoreError> {
    Ok(Effect::job(FOLLOW.job(notice)?.group(notice.follower.as_str())))
}
