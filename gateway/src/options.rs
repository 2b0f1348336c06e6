//! What operators can set about the doors.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize};

/// The `[http]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpOptions {
    /// Most connections at the same time, sockets among them; more are answered 503.
    pub max_connections: usize,
    /// Time for a connection's first byte, and for a request's headers.
    #[serde(with = "friendly")]
    pub header_timeout: Duration,
    /// Time for a request, from its headers to its answer's.
    #[serde(with = "friendly")]
    pub request_timeout: Duration,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Origins besides the node's own whose pages may open sockets and call the API; `*` stands for any text.
    pub allowed_origins: Vec<String>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            max_connections: 15_000,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_body_bytes: 1024 * 1024,
            allowed_origins: Vec::new(),
        }
    }
}
