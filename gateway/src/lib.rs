//! The doors to a node: HTTP and WebSocket transports, who comes in, what is refused and how, and the API's document.
//!
//! It knows the engine, and the application only as a router that it was given.

mod authenticator;
pub mod extract;
mod gateway;
mod health;
mod identity;
mod jwks;
mod options;
mod origin;
pub mod problem;
mod revocations;
mod rpc;
mod secret;
mod server;
mod server_api;
mod starting;
mod streams;
mod system;
#[cfg(feature = "test-hooks")]
mod test_hooks;
pub mod tokens;
mod turnstile;
mod unidirectional;
pub mod websocket;

pub use authenticator::TokenAuthenticator;
pub use gateway::{GatewayParts, router};
pub use health::{HealthCheck, PartHealth};
pub use identity::Identity;
pub use options::{HttpOptions, TokenOptions};
pub use revocations::{Revocations, TokenMarks};
pub use secret::Secret;
pub use server::serve;
pub use starting::Starting;
