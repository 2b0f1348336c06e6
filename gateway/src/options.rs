//! What operators can set about the doors.

use std::net::SocketAddr;
use std::time::Duration;

use documented::DocumentedFields;
use mundotango_ops::{Secret, duration as friendly};
use serde::{Deserialize, Serialize};

use crate::client_address::{ForwardedHeader, Network};
use crate::jwks;
use crate::origin::Pattern;
use crate::tls::TlsOptions;

/// Shortest secret of HS256, in bytes: as long as its hash (RFC 7518, 3.2).
const MIN_HMAC_KEY_BYTES: usize = 32;

/// The `[http]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct HttpOptions {
    /// Most connections at the same time, sockets among them; more are answered 503.
    pub max_connections: usize,
    /// Most connections from one address (of IPv6: from one /64 network), sockets among them; more are answered 429. 0
    /// for no limit. Behind a proxy set `trusted_proxies` too, or all clients have the proxy's address.
    pub max_connections_per_address: usize,
    /// Sockets that are let in a second; in a storm the others wait for their turn. 0 for no limit.
    pub connection_rate: u32,
    /// Sockets that one address may open a second, after 5 s' worth at once; others wait, then get 429. 0 for no limit.
    pub connection_rate_per_address: u32,
    /// Time for a connection's first byte, and for a request's headers.
    #[serde(with = "friendly")]
    pub header_timeout: Duration,
    /// Proxies that are believed when they name a request's client: addresses and networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<Network>,
    /// The header in which trusted proxies name the client: `x-forwarded-for` or `forwarded`.
    pub forwarded_header: ForwardedHeader,
    /// Whether connections from trusted proxies begin with a header of the PROXY protocol, version 2.
    pub proxy_protocol: bool,
    /// Where metrics, health and the admins' routes are served instead of on `listen`; on `listen` if absent. Keep this
    /// address off the internet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_listen: Option<SocketAddr>,
    /// Time for a request, from its headers to its answer's. What changes something goes on behind it.
    #[serde(with = "friendly")]
    pub request_timeout: Duration,
    /// Time for a request's body, from the first time that it has to be waited for.
    #[serde(with = "friendly")]
    pub body_timeout: Duration,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Origins besides the node's own whose pages may open sockets and call the API, such as `https://app.example`. `*`
    /// stands for any text within a host (`https://*.example`), for any port (`http://localhost:*`), or for all origins.
    pub allowed_origins: Vec<String>,
    /// The key of the server API (`X-API-Key`); without one that API is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// Whether the transports on which clients only listen are open.
    pub unidirectional: bool,
    /// TLS on the node's own listener.
    pub tls: TlsOptions,
}

/// The `[auth.token]` section: the keys that verify tokens of an application's own backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct TokenOptions {
    /// The secret of HS256, HS384 and HS512; at least 32 bytes.
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
    /// Where an identity provider has its keys (JWKS): an `https` address, or `http` on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_public_endpoint: Option<String>,
    /// How often those keys are read again.
    #[serde(with = "friendly")]
    pub jwks_refresh_interval: Duration,
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
            connection_rate_per_address: 0,
            header_timeout: Duration::from_secs(10),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            proxy_protocol: false,
            internal_listen: None,
            request_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(20),
            max_body_bytes: 1024 * 1024,
            allowed_origins: Vec::new(),
            api_key: None,
            unidirectional: false,
            tls: TlsOptions::default(),
        }
    }
}

impl HttpOptions {
    /// What cannot work, each with the option's name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> = self
            .allowed_origins
            .iter()
            .filter_map(|origin| Pattern::parse(origin).err())
            .map(|problem| format!("http.allowed_origins: {problem}"))
            .collect();
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            problems.push(
                "http.proxy_protocol: counts only for http.trusted_proxies, of which there are none"
                    .to_owned(),
            );
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            problems.push("http.tls: certificate and key belong together: both, or none".to_owned());
        }
        problems
    }
}

impl Default for TokenOptions {
    fn default() -> Self {
        Self {
            hmac_secret_key: None,
            rsa_public_key: None,
            ecdsa_public_key: None,
            ed25519_public_key: None,
            jwks_public_endpoint: None,
            jwks_refresh_interval: Duration::from_mins(5),
            audience: None,
            issuer: None,
        }
    }
}

impl TokenOptions {
    /// What cannot work, each with the option's name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(secret) = &self.hmac_secret_key {
            problems.extend(secret.too_short("auth.token.hmac_secret_key", MIN_HMAC_KEY_BYTES));
        }
        for (name, text) in [
            ("rsa_public_key", &self.rsa_public_key),
            ("ecdsa_public_key", &self.ecdsa_public_key),
            ("ed25519_public_key", &self.ed25519_public_key),
            ("jwks_public_endpoint", &self.jwks_public_endpoint),
            // An empty audience or issuer would look like a check, and be one that no token passes.
            ("audience", &self.audience),
            ("issuer", &self.issuer),
        ] {
            if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                problems.push(format!("auth.token.{name}: is blank; leave it out instead"));
            }
        }
        if let Some(problem) = self.jwks_public_endpoint.as_deref().and_then(jwks::endpoint_problem) {
            problems.push(format!("auth.token.jwks_public_endpoint: {problem}"));
        }
        if self.jwks_refresh_interval.is_zero() {
            problems.push("auth.token.jwks_refresh_interval: must be longer than nothing".to_owned());
        }
        problems
    }
}
