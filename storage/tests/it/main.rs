//! Every port's suite against the embedded adapters, and what is these adapters' own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cache;
mod embedded;
mod folder;
mod memory;
mod redis;
mod scylla;
mod transfer;
