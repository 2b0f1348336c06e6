//! Who is locked out: blocked users, and tokens that are good no longer before they expire.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// What is locked out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Revoked {
    /// A user, with every token of his.
    User(String),
    /// The tokens of a user that were issued before the revocation's own time.
    UserTokens(String),
    /// The tokens of one login.
    Login(String),
    /// One token, by its own id (`jti`).
    Token(String),
}

/// One lock-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What is locked out.
    pub what: Revoked,
    /// Since when.
    pub at: Timestamp,
    /// Until when; for ever if absent. Past this the entry may be forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The port to revocations. There are few, so a node holds all in memory and reads them once.
#[async_trait]
pub trait RevocationStore: Send + Sync {
    /// Adds a revocation; one of the same thing is replaced.
    async fn revoke(&self, revocation: Revocation) -> Result<(), StoreError>;

    /// Takes a revocation back; whether there was one.
    async fn reinstate(&self, what: &Revoked) -> Result<bool, StoreError>;

    /// All revocations that hold at a time. Those that do not are forgotten.
    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError>;
}
