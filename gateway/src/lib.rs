//! The doors to a node: HTTP and WebSocket transports, who comes in, what is refused and how, and the API's document.
//!
//! It knows the engine, and the application only as a router that it was given.

mod actors;
mod authenticator;
mod body;
mod client_address;
mod code;
mod contract;
mod cors;
mod cursors;
pub mod describe;
pub mod extract;
mod gateway;
mod health;
mod idempotency;
mod identity;
pub mod input;
mod jwks;
mod jwt;
mod list;
mod observe;
mod options;
mod origin;
mod places;
pub mod problem;
mod proxy_protocol;
mod revocations;
mod rpc;
mod server;
mod server_api;
mod slow;
mod starting;
mod streams;
mod system;
#[cfg(feature = "test-hooks")]
mod test_hooks;
mod tls;
pub mod tokens;
mod turnstile;
mod unidirectional;
pub mod websocket;

pub use authenticator::TokenAuthenticator;
pub use client_address::{ClientAddress, ForwardedHeader, Network};
pub use gateway::{GatewayParts, Routers, routers};
pub use health::{HealthCheck, OnceASecond, PartHealth};
pub use idempotency::store::IDEMPOTENCY_KEYS;
pub use idempotency::{IdempotencyKey, LateClaim, NewId};
pub use identity::Identity;
pub use mundotango_ops::Secret;
pub use options::{HttpOptions, TokenOptions};
pub use places::EXTRA_CONNECTIONS;
pub use revocations::store as revocation_store;
pub use revocations::{Revocations, TokenMarks};
pub use server::{BACKLOG, Door, INTERNAL_CONNECTIONS, listen, serve};
pub use starting::Starting;
pub use tls::{Certificates, TlsError, TlsOptions};
