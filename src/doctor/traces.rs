//! The collector of traces: whether it takes spans. None is sent.

use mundotango_ops::traces::check_collector;

use super::LOOK_TIMEOUT;
use super::finding::{Finding, kinds};
use crate::config::Config;

kinds! { "traces";
    UNREACHABLE: Warning "collector",
        "spans are dropped and counted (`trace_spans_dropped_total`); nothing else suffers",
        "start the collector, or correct `traces.endpoint` and `traces.headers`: \
         it has to take OTLP as protobuf by HTTP (port 4318, not 4317)";
}

/// Looks at the collector, if there is to be one.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    match check_collector(&config.traces).await {
        None | Some(Ok(())) => Vec::new(),
        Some(Err(why)) => vec![UNREACHABLE.says(why)],
    }
}

pub(super) fn late() -> Finding {
    UNREACHABLE.says(format!("no answer within {LOOK_TIMEOUT:?}"))
}
