//! What operators can set.

use std::time::Duration;

use documented::DocumentedFields;
use mundotango_ops::{Secret, duration as friendly};
use serde::{Deserialize, Serialize};

use crate::{StoreError, TlsFiles};

/// Longest name that CQL servers take.
const MAX_KEYSPACE_NAME: usize = 48;

/// The `[cluster.cql]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct ScyllaOptions {
    /// Some of the servers, as `host:port`; the others are found through them. Without any the store is not used.
    pub nodes: Vec<String>,
    /// The keyspace of the tables; made if it is missing.
    pub keyspace: String,
    /// How many servers hold each row.
    pub replication_factor: u32,
    /// The data centre whose servers are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
    /// The name by which the node signs in to the servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The certificates of the connections, which are encrypted if `ca` is set. The servers' certificates have to be for
    /// their IP addresses.
    pub tls: TlsFiles,
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
            tls: TlsFiles::default(),
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            keyspace_options: None,
            migrate: true,
        }
    }
}

impl ScyllaOptions {
    /// What cannot work, each with the option's name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> = self.nodes.iter().filter_map(|node| node_problem(node)).collect();
        problems.extend(self.tls.problems("tls"));
        problems.extend(
            self.checked_keyspace().err().map(|_| {
                format!("keyspace: {:?} is no name for a keyspace: use a-z, 0-9 and _", self.keyspace)
            }),
        );
        if self.replication_factor == 0 {
            problems.push("replication_factor: must be at least 1".to_owned());
        }
        if self.user.is_some() != self.password.is_some() {
            problems.push("user: user and password belong together: both, or none".to_owned());
        }
        if self.tls.ca.is_none() && self.tls.certificate.is_some() {
            problems.push("tls: connections are encrypted only if ca is set".to_owned());
        }
        problems
    }

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

/// What is wrong with the address of a server, if anything.
fn node_problem(node: &str) -> Option<String> {
    let is_address = node.rsplit_once(':').is_some_and(|(host, port)| {
        // An IPv6 address has colons of its own, so it stands in brackets.
        let is_host =
            if host.starts_with('[') { host.ends_with(']') } else { !host.contains([':', '/', ' ']) };
        !host.is_empty() && is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    (!is_address).then(|| format!("nodes: {node:?} is no address of a server: write host:port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_host_and_a_port() {
        for good in ["127.0.0.1:9042", "scylla:9042", "[::1]:9042"] {
            assert_eq!(node_problem(good), None);
        }
        for bad in ["x", "", ":9042", "scylla:", "scylla:cql", "::1:9042", "cql://scylla:9042", "scylla:0"] {
            assert!(node_problem(bad).is_some(), "{bad}");
        }
    }

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
            ScyllaOptions { password: Some(Secret::new("s3cret".to_owned())), ..ScyllaOptions::default() };
        let shown = format!("{options:?} {}", serde_json::to_string(&options).unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
