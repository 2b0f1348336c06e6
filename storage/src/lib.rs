//! The ports to everything that is kept, and the adapters behind them.
//!
//! - What lasts: partitions and indexes ([`db`]), which features declare; and, for what is a stream of its own, the trait
//!   [`history::HistoryStore`]; held together by [`Stores`].
//!   A write is acknowledged when it would survive `kill -9`; where two may race, the port's one call decides.
//! - What is hot: channel history and presence ([`hot::HotState`]).
//!
//! Engines: [`embedded`], for a node alone, and [`scylla`], for nodes that share.
//! Nothing above this crate sees which engine stands behind a port. Each port has one conformance suite
//! ([`conformance`]) that runs against every adapter.

mod breaker;
pub mod cache;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod db;
pub mod embedded;
mod error;
mod hex;
pub mod history;
pub mod hot;
mod json;
mod page;
mod redis_link;
mod redis_report;
pub mod scylla;
mod time;
mod tls;
pub mod transfer;

use std::sync::Arc;

pub use error::StoreError;
pub use page::{Page, PageRequest, PageStart};
pub use redis_link::{RedisLink, RedisOptions};
pub use redis_report::RedisReport;
pub use time::{ZONES, now, to_the_millisecond, zone_named};
pub use tls::TlsFiles;

/// The stores of all aggregates, on one engine.
#[derive(Clone)]
pub struct Stores {
    /// Partitions and indexes.
    pub db: db::Db,
    /// Publications that outlive hot state.
    pub history: Arc<dyn history::HistoryStore>,
}
