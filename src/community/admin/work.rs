//! What proposals, safety reviews and support tickets have in common: how one stands, who works on it, and until when. Pure;
//! `staff.rs` says who may take one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What those work on who may do more than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Workflow {
    /// Approvals of what members propose.
    Feature,
    /// Reviews of what may do harm.
    Safety,
    /// Tickets of members who need help.
    Support,
}

impl Workflow {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Feature, Self::Safety, Self::Support];

    /// Its name in metrics and lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Feature => "feature",
            Self::Safety => "safety",
            Self::Support => "support",
        }
    }

    /// What one of its cases is called, in the audit trail and in errors.
    pub const fn thing(self) -> &'static str {
        match self {
            Self::Feature => "proposal",
            Self::Safety => "review",
            Self::Support => "ticket",
        }
    }
}

/// How a case stands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = WorkState)]
pub enum State {
    /// Nobody works on it.
    #[default]
    Open,
    /// Somebody works on it.
    Assigned,
    /// It is decided, resolved or closed.
    Done,
}

impl State {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Assigned => "assigned",
            Self::Done => "done",
        }
    }
}

/// How a case stands and who works on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// How it stands.
    pub state: State,
    /// Who works on it, or did last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// Until when something is to be done; as long after its begin as its workflow says if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// Rises with each change.
    pub version: u64,
    /// When it changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// Since when it waits, where it was opened again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<Timestamp>,
}

/// The head of a case: what all have, and its workflow's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head<O> {
    /// What all have.
    pub work: Work,
    /// What its workflow adds.
    pub own: O,
}

impl Work {
    /// Whether it is decided, resolved or closed.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Nobody works on it any more.
    pub fn finish(&mut self) {
        self.state = State::Done;
    }

    /// Has it wait again, for whoever worked on it last.
    pub fn reopen(&mut self, now: Timestamp) {
        self.state = if self.assignee.is_some() { State::Assigned } else { State::Open };
        self.queued_at = Some(now);
    }

    /// Whether this user works on it.
    pub fn is_held_by(&self, user_id: &str) -> bool {
        self.state == State::Assigned && self.assignee.as_deref() == Some(user_id)
    }

    /// Has it wait for somebody else.
    pub fn release(&mut self) {
        (self.state, self.assignee) = (State::Open, None);
    }
}
