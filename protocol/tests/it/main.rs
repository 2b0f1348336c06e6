//! Properties of the codec: what is written is read back, and no bytes make it panic.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "the modules of one test binary share helpers")]

mod delta;
mod frames;
mod wire;
