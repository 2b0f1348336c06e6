//! Jobs on their way into their queues.

use std::time::Duration;

use jiff::Timestamp;
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use crate::kind::{JobKind, Priority};
use crate::row::Job;

impl<P: Serialize> JobKind<P> {
    /// A job of this kind.
    pub fn job(&'static self, payload: &P) -> Result<NewJob, StoreError> {
        let payload = to_raw_value(payload).map_err(|error| StoreError::Damaged(error.to_string()))?;
        Ok(NewJob {
            queue: self.spec.queue.name.to_owned(),
            due: None,
            useless_after: self.spec.useless_after,
            job: Job::new(&self.spec, payload),
        })
    }
}

/// A job that is to be put into its queue. It can be stored as the effect of a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewJob {
    pub(crate) queue: String,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) useless_after: Option<Duration>,
    pub(crate) job: Job,
}

impl NewJob {
    /// Not before this time.
    #[must_use]
    pub fn due(mut self, due: Timestamp) -> Self {
        self.due = Some(due);
        self
    }

    /// The `traceparent` of the span that causes it; one that is known already stays.
    #[must_use]
    pub fn caused_by(mut self, span: Option<String>) -> Self {
        self.job.trace = self.job.trace.or(span);
        self
    }

    /// The `traceparent` of the span that causes it.
    pub fn cause(&self) -> Option<&str> {
        self.job.trace.as_deref()
    }

    /// Another age from which it is of no use than its kind's.
    #[must_use]
    pub fn useless_after(mut self, age: Duration) -> Self {
        self.useless_after = Some(age);
        self
    }

    /// Puts the job into a group. Groups share the turns, so a group with many jobs does not hold up another group.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.job.group = group.into();
        self
    }

    /// While a job of this key waits or runs in the queue, no other one is put there.
    #[must_use]
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.job.unique = Some(key.into());
        self
    }

    /// How soon it gets its turn.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.job.priority = priority;
        self
    }
}
