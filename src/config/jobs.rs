//! The `[jobs]` section: how many jobs of each queue a node does at the same time.

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

/// Most attempts of one queue that a node makes at the same time.
const MOST: usize = 256;

/// The `[jobs]` section. SIGHUP reads it again; what an admin says of a queue goes before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct JobsOptions {
    /// Letters that a node sends at the same time.
    pub email: usize,
    /// Users that a node notifies at the same time.
    pub notification: usize,
    /// Users that a node pushes to at the same time.
    pub push: usize,
    /// Batches of events that a node counts at the same time.
    pub analytics: usize,
    /// Steps of payments that a node takes at the same time.
    pub payment: usize,
    /// Series of events whose dates a node makes, changes or answers at the same time.
    pub series: usize,
    /// Exports and deletions of accounts on which a node works at the same time.
    pub personal_data: usize,
    /// Links of posts that a node looks at at the same time.
    pub link_preview: usize,
}

impl Default for JobsOptions {
    fn default() -> Self {
        Self {
            email: 5,
            notification: 10,
            push: 20,
            analytics: 5,
            payment: 5,
            series: 5,
            personal_data: 2,
            link_preview: 5,
        }
    }
}

impl JobsOptions {
    /// All that cannot work, each with the option's name first.
    pub(super) fn check(&self) -> Vec<String> {
        let sizes = [
            ("email", self.email),
            ("notification", self.notification),
            ("push", self.push),
            ("analytics", self.analytics),
            ("payment", self.payment),
            ("series", self.series),
            ("personal_data", self.personal_data),
            ("link_preview", self.link_preview),
        ];
        let wrong = sizes.into_iter().filter(|(_, size)| !(1..=MOST).contains(size));
        wrong.map(|(name, _)| format!("jobs.{name}: must be from 1 to {MOST}")).collect()
    }
}
