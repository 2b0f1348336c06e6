//! Which blocks of long histories a node has listed, so that not every publication lists its block again.

use std::time::Instant;

use moka::future::Cache;

/// Blocks that a node remembers to have listed.
const REMEMBERED: u64 = 20_000;

/// The blocks that this node has listed, by channel and number, and until when they are.
pub(super) type Listed = Cache<(String, i64), Instant>;

pub(super) fn none_listed() -> Listed {
    Cache::new(REMEMBERED)
}
