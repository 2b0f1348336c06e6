//! The engine as a transport and an application use it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "the modules of one test binary share helpers")]

mod balance;
mod bus;
mod client;
mod cluster;
mod encodings;
mod faults;
mod faulty;
mod features;
mod model;
mod owned;
mod progress;
mod recorder;
mod script;
mod scripts;
mod sessions;
mod source;
mod supervision;
