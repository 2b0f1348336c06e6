//! The ports to everything that is kept, and the adapters behind them.
//!
//! - What lasts: one trait an aggregate ([`accounts`], [`posts`], [`events`], [`revocations`], [`conversations`],
//!   [`history`]), held together by [`Stores`].
//!   A write is acknowledged when it would survive `kill -9`; where two may race, the port's one call decides.
//! - What is hot: channel history and presence ([`hot::HotState`]).
//!
//! Engines: [`embedded`], for a node alone, and [`scylla`], for nodes that share.
//! Nothing above this crate sees which engine stands behind a port. Each port has one conformance suite
//! ([`conformance`]) that runs against every adapter.

pub mod accounts;
mod breaker;
pub mod cache;
pub mod cached;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod conversations;
pub mod embedded;
mod error;
pub mod events;
pub mod history;
pub mod hot;
mod keyed_lock;
mod page;
pub mod posts;
mod redis_link;
pub mod revocations;
mod rsvp_rules;
pub mod scylla;
mod time;
mod tls;

use std::sync::Arc;

pub use error::StoreError;
pub use page::{Page, PageRequest, PageStart};
pub use redis_link::{RedisLink, RedisOptions};
pub use time::{now, to_the_millisecond};
pub use tls::TlsFiles;

/// The stores of all aggregates, on one engine.
#[derive(Clone)]
pub struct Stores {
    /// Users and their logins.
    pub accounts: Arc<dyn accounts::AccountStore>,
    /// Posts and reactions.
    pub posts: Arc<dyn posts::PostStore>,
    /// Events and RSVPs.
    pub events: Arc<dyn events::EventStore>,
    /// Blocked users and revoked tokens.
    pub revocations: Arc<dyn revocations::RevocationStore>,
    /// Conversations with agents.
    pub conversations: Arc<dyn conversations::ConversationStore>,
    /// Publications that outlive hot state.
    pub history: Arc<dyn history::HistoryStore>,
}
