//! What every part needs: what the process says of itself, as metrics and as logs; the forms of values that it must not print
//! or that people write by hand; work that goes on when nobody waits for it; where the node may connect to when users say where.
//! It knows no other part of the product.

pub mod duration;
mod logs;
mod metrics;
pub mod public_network;
mod retry_after;
mod secret;
mod seldom;
mod server_urls;
mod to_the_end;
pub mod traces;

pub use logs::{
    LogError, LogFormat, LogOptions, flush as flush_logs, init as init_logs, set_filter as set_log_filter,
};
pub use metrics::{DECLARED, Declared, Metrics, ProcessUsage, UNFED, metrics, process_usage, render};
pub use prometheus::{Histogram, IntCounter, IntGauge};
pub use retry_after::retry_after;
pub use secret::Secret;
pub use seldom::Seldom;
pub use server_urls::ServerUrls;
pub use to_the_end::ToTheEnd;
