//! The gateway's doors, without an application behind them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "the modules of one test binary share helpers")]

mod bounds;
mod conformance;
mod keys;
mod providers;
mod supervised;
