//! The queues on a real store.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "the modules of one test binary share helpers")]

mod random;
mod shard;
mod week;
