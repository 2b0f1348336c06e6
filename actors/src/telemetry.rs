//! The keeper of the gauges that are sampled now and then instead of at each change.

use std::sync::Arc;

use crate::supervised::{Intensity, Supervised};

/// A gauge of waiting messages.
pub(crate) type Depth = Box<dyn Fn() -> usize + Send + Sync>;

/// Samples the depths of mailboxes.
pub(crate) struct Telemetry {
    depths: Vec<(&'static str, Depth)>,
}

impl Telemetry {
    pub(crate) fn new(depths: Vec<(&'static str, Depth)>) -> Arc<Self> {
        Arc::new(Self { depths })
    }
}

impl Supervised for Telemetry {
    fn name(&self) -> &'static str {
        "telemetry"
    }

    fn intensity(&self) -> Intensity {
        Intensity::NodeOwn(0)
    }

    fn tick(&self) {
        for (kind, depth) in &self.depths {
            let depth = i64::try_from(depth()).unwrap_or(i64::MAX);
            mundotango_ops::metrics().actor_mailbox_depth.with_label_values(&[kind]).set(depth);
        }
    }
}
