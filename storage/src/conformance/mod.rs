//! One suite a port: what every adapter has to do, the same cases for each.
//!
//! Every suite works on ids of its own, so that suites can share a server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache;
mod db;
mod history;
mod hot_state;
mod model;
mod whole;

pub use cache::cache;
pub use db::{TABLES_OF_THE_SUITE, db, schema};
pub use history::{archived_hot_state, history};
pub use hot_state::{hot_state, shared_hot_state};
pub use model::{ModelReport, ModelRun, Mutant, model};
use mundotango_protocol::new_id;
pub use whole::{fill, whole};
