//! Telemetry: what the process says of itself, as metrics and as logs. It knows no other part of the product.

mod logs;
mod metrics;
mod seldom;
pub mod trace;

pub use logs::{LogError, LogFormat, LogOptions, init as init_logs};
pub use metrics::{Metrics, metrics, render};
pub use seldom::Seldom;
