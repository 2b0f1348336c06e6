//! What operators can set.

use std::fmt;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize, Serializer};

use crate::StoreError;

/// Longest name that CQL servers take.
const MAX_KEYSPACE_NAME: usize = 48;

/// The `[cluster.cql]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScyllaOptions {
    /// Some of the servers, as `host:port`; the others are found through them. Without any the store is not used.
    pub nodes: Vec<String>,
    /// Where the tables are.
    pub keyspace: String,
    /// How many servers hold each row.
    pub replication_factor: u32,
    /// The data centre whose servers are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
    /// Who the node is to the servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// How long one request may take.
    #[serde(with = "friendly")]
    pub request_timeout: Duration,
    /// How long opening a connection may take.
    #[serde(with = "friendly")]
    pub connect_timeout: Duration,
    /// What is added to the statement that makes the keyspace, such as `AND tablets = {'enabled': false}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyspace_options: Option<String>,
    /// Whether a node brings the tables up to its version when it starts. Without that, `mundotango migrate` does.
    pub migrate: bool,
}

impl Default for ScyllaOptions {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            keyspace: "mundotango".to_owned(),
            replication_factor: 3,
            datacenter: None,
            user: None,
            password: None,
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            keyspace_options: None,
            migrate: true,
        }
    }
}

impl ScyllaOptions {
    /// The keyspace's name, which is a part of statements and so has to be a plain one.
    pub(super) fn checked_keyspace(&self) -> Result<&str, StoreError> {
        let name = &self.keyspace;
        let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && name.len() <= MAX_KEYSPACE_NAME;
        if is_plain {
            Ok(name)
        } else {
            Err(StoreError::Unavailable(format!("{name:?} is no name for a keyspace: use a-z, 0-9 and _")))
        }
    }
}

/// A password, which is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// Hides a password.
    pub fn new(password: String) -> Self {
        Self(password)
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyspaces_have_plain_names() {
        let named = |name: &str| ScyllaOptions { keyspace: name.to_owned(), ..ScyllaOptions::default() };
        assert!(ScyllaOptions::default().checked_keyspace().is_ok());
        assert!(named("test_0a").checked_keyspace().is_ok());
        for bad in ["", "Big", "1a", "a; DROP", "a-b", &"a".repeat(49)] {
            assert!(named(bad).checked_keyspace().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let options =
            ScyllaOptions { password: Some(Password::new("s3cret".to_owned())), ..ScyllaOptions::default() };
        let shown = format!("{options:?} {}", serde_json::to_string(&options).unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
