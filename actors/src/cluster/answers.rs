//! The answers of other nodes.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why a node did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// There is no such node.
    #[error("there is no such node")]
    Gone,
    /// The node did not answer in time, or the bus is not available.
    #[error("the node did not answer")]
    Unavailable,
    /// The node refused the request.
    #[error("the node refused: {0}")]
    Refused(String),
}

/// The result of a request to all nodes.
#[must_use = "nodes may be missing"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Everywhere<T> {
    /// The answers of the nodes that gave one.
    pub answers: T,
    /// How many nodes gave no answer: the request may not hold there.
    pub missing: usize,
}

impl<T> Everywhere<T> {
    /// Changes the answers.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Everywhere<U> {
        Everywhere { answers: change(self.answers), missing: self.missing }
    }

    /// The answers, if no node is missing.
    pub fn complete(self) -> Option<T> {
        (self.missing == 0).then_some(self.answers)
    }
}

impl Everywhere<Vec<(String, Value)>> {
    /// Reads the answers. A node whose answer cannot be read counts as missing.
    pub(crate) fn read<T: DeserializeOwned>(mut self) -> Everywhere<Vec<T>> {
        let mut read = Vec::with_capacity(self.answers.len());
        for (node, answer) in self.answers {
            match serde_json::from_value(answer) {
                Ok(answer) => read.push(answer),
                Err(error) => {
                    tracing::warn!(%error, node, "answer of a node not read");
                    self.missing += 1;
                }
            }
        }
        Everywhere { answers: read, missing: self.missing }
    }
}
