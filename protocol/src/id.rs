//! Identifiers made by a node.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Names one session for its whole life; clients see it as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientId(Uuid);

impl ClientId {
    /// A new random id. Random rather than time-ordered: presence shows it to other clients.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// True if this is the id's text form.
    pub fn is(self, text: &str) -> bool {
        Self::parse(text) == Some(self)
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// A new id for a stored thing: unique, and sorted by the time of its making (UUID version 7, RFC 9562).
pub fn new_id() -> String {
    Uuid::now_v7().as_hyphenated().to_string()
}
