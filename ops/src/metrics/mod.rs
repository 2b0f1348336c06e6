//! The metrics of the process, in one registry.
//!
//! Names and labels of the application's metrics are those that existing dashboards query. Every label has a bounded
//! set of values; counters of a known set are there at 0 from the start.

mod buckets;
mod families;
mod labels;
#[cfg(test)]
mod page;
mod registrar;

use std::sync::LazyLock;

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder as _, Registry, TextEncoder};

pub use families::{DECLARED, Metrics, UNFED};
pub(crate) use labels::{DROPPED_REPEATED, DROPPED_SLOW, DROPPED_UNWRITTEN};
pub use registrar::Declared;
use registrar::Registrar;

/// The commit that was built, where the build says so.
const COMMIT: &str = match option_env!("MUNDOTANGO_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

static REGISTRY: LazyLock<(Registry, Metrics)> = LazyLock::new(|| {
    let registrar = Registrar(Registry::new());
    let metrics = Metrics::register(&registrar);
    metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), COMMIT]).set(1);
    // Refused only where another of the same process is in, which this registry can't have.
    let _ = registrar.0.register(Box::new(ProcessCollector::for_self()));
    (registrar.0, metrics)
});

impl Metrics {
    pub(crate) fn count_dropped_line(&self, reason: &str) {
        self.log_lines_dropped_total.with_label_values(&[reason]).inc();
    }

    /// How many lines of the log were dropped so far.
    pub(crate) fn dropped_lines(&self) -> u64 {
        let of = |reason: &&str| self.log_lines_dropped_total.with_label_values(&[*reason]).get();
        [DROPPED_SLOW, DROPPED_UNWRITTEN, DROPPED_REPEATED].iter().map(of).sum()
    }
}

/// The metrics of this process.
pub fn metrics() -> &'static Metrics {
    &REGISTRY.1
}

/// What this process has used of its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// Processor time since its start, in seconds.
    pub cpu_seconds: f64,
    /// Memory now, in bytes.
    pub resident_bytes: u64,
}

/// Reads what this process has used; zeros where the system does not say.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes are whole and not negative"
)]
pub fn process_usage() -> ProcessUsage {
    let mut usage = ProcessUsage::default();
    for family in ProcessCollector::for_self().collect() {
        let Some(metric) = family.get_metric().first() else { continue };
        match family.name() {
            "process_cpu_seconds_total" => usage.cpu_seconds = metric.get_counter().get_value(),
            "process_resident_memory_bytes" => usage.resident_bytes = metric.get_gauge().get_value() as u64,
            _ => {}
        }
    }
    usage
}

/// All metrics in the text format of Prometheus.
pub fn render() -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&REGISTRY.0.gather(), &mut text) {
        tracing::error!(%error, "metrics not written");
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_labels_are_there_at_zero() {
        metrics();
        let text = render();
        for line in [
            "events_created_total{event_type=\"milonga\"} 0",
            "event_rsvps_total{action=\"waitlisted\",event_type=\"class\"} 0",
            "posts_created_total{visibility=\"private\"} 0",
            "post_reactions_total{reaction_type=\"heart\"} 0",
            "websocket_connections_active 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes"));
    }
}
