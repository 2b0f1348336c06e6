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
}

impl Default for JobsOptions {
    fn default() -> Self {
        Self { email: 5 }
    }
}

impl JobsOptions {
    /// All that cannot work, each with the option's name first.
    pub(super) fn check(&self) -> Vec<String> {
        if (1..=MOST).contains(&self.email) {
            Vec::new()
        } else {
            vec![format!("jobs.email: must be from 1 to {MOST}")]
        }
    }
}
