//! What operators can set about the doors.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// The `[http]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpOptions {
    /// Most connections at the same time, sockets among them; more are answered 503.
    pub max_connections: usize,
    /// Most connections from one address, sockets among them; more are answered 429. 0 for no limit, as behind a proxy
    /// all have the same.
    pub max_connections_per_address: usize,
    /// Sockets that are let in a second; in a storm the others wait for their turn. 0 for no limit.
    pub connection_rate: u32,
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
    /// The key of the server API (`X-API-Key`); without one that API is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// Whether the transports on which clients only listen are open.
    pub unidirectional: bool,
}

/// The `[auth.token]` section: the keys that verify tokens of an application's own backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenOptions {
    /// The secret of HS256, HS384 and HS512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac_secret_key: Option<Secret>,
    /// The key of RS… and PS…, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsa_public_key: Option<String>,
    /// The key of ES256 and ES384, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecdsa_public_key: Option<String>,
    /// The key of EdDSA, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ed25519_public_key: Option<String>,
    /// Where an identity provider has its keys (JWKS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_public_endpoint: Option<String>,
    /// The `aud` that tokens must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The `iss` that tokens must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            max_connections: 15_000,
            max_connections_per_address: 0,
            connection_rate: 5_000,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_body_bytes: 1024 * 1024,
            allowed_origins: Vec::new(),
            api_key: None,
            unidirectional: false,
        }
    }
}
