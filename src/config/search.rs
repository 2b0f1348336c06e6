//! The `[search]` section.

use std::path::PathBuf;

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

/// Least memory with which an index can be written, in bytes.
const LEAST_MEMORY: usize = 15_000_000;
/// Most: more makes nothing faster.
const MOST_MEMORY: usize = 1_000_000_000;

/// The `[search]` section: the index of words that a node keeps for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct SearchOptions {
    /// Whether the node keeps an index; without one it refuses to search.
    pub enabled: bool,
    /// The folder of the index; `search` in the data folder if absent. It may be lost: it is made anew out of the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Memory that writing the index may take, in bytes.
    pub memory_bytes: usize,
    /// Searches that are carried out at the same time; each has a thread of its own.
    pub concurrency: usize,
}

impl Default for SearchOptions {
    fn default() -> Self {
        let concurrency = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self { enabled: true, folder: None, memory_bytes: 30_000_000, concurrency }
    }
}

impl SearchOptions {
    /// All that cannot work, each with the option's name first.
    pub(super) fn check(&self) -> Vec<String> {
        let is_fine = (LEAST_MEMORY..=MOST_MEMORY).contains(&self.memory_bytes);
        let problem = format!("search.memory_bytes: must be from {LEAST_MEMORY} to {MOST_MEMORY}");
        (!is_fine).then_some(problem).into_iter().collect()
    }
}
