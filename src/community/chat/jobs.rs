//! The jobs of conversations: telling members' lists of new messages, and what follows from joining and leaving. Who does them is
//! in `work.rs`.

use jiff::Timestamp;
use mundotango_jobs::JobKind;
use serde::{Deserialize, Serialize};

use crate::community::notifications::tell::NOTIFICATION;

/// Tells members' lists of messages.
pub(super) static RAISE: JobKind<RaiseJob> = JobKind::new("chat_raise", &NOTIFICATION, 1);
/// Puts a group into the lists of those who joined.
pub(super) static ADDED: JobKind<AddedJob> = JobKind::new("chat_added", &NOTIFICATION, 1);
/// Sees to it that somebody who was removed writes and hears nothing more.
pub(super) static REMOVED: JobKind<RemovedJob> = JobKind::new("chat_removed", &NOTIFICATION, 1);

/// A conversation, and the block whose message caused the job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RaiseJob {
    pub(super) chat_id: String,
    pub(super) block: u64,
}

/// A group, and who joined; each with whether it is only offered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AddedJob {
    pub(super) chat_id: String,
    pub(super) people: Vec<(String, bool)>,
    pub(super) at: Timestamp,
}

/// Somebody who was removed, and the version of the members since then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RemovedJob {
    pub(super) chat_id: String,
    pub(super) user_id: String,
    pub(super) version: u64,
}
