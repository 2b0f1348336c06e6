//! Telemetry: what the process says of itself, as metrics and as logs, and the forms of values that it must not print or
//! that people write by hand. It knows no other part of the product.

pub mod duration;
mod logs;
mod metrics;
mod secret;
mod seldom;
mod server_urls;
pub mod trace;

pub use logs::{
    LogError, LogFormat, LogOptions, flush as flush_logs, init as init_logs, set_filter as set_log_filter,
};
pub use metrics::{Metrics, ProcessUsage, metrics, process_usage, render};
pub use secret::Secret;
pub use seldom::Seldom;
pub use server_urls::ServerUrls;
