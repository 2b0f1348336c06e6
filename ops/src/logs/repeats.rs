//! A bound on warnings and errors that repeat each other, so that one cause cannot flood the log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter};

use crate::metrics::{DROPPED_REPEATED, metrics};

/// Most lines of one place in the code within a period.
const MAX_LINES: u32 = 50;
/// How long a period is.
const PERIOD: Duration = Duration::from_secs(10);

/// Lets so many lines of one place in the code through in each period, and counts the others.
#[derive(Default)]
pub(super) struct Repeats(Mutex<HashMap<Identifier, Count>>);

/// The lines of one place in the code within the current period.
struct Count {
    since: Instant,
    lines: u32,
}

impl Count {
    fn from(now: Instant) -> Self {
        Self { since: now, lines: 0 }
    }

    fn admits(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= PERIOD {
            *self = Self::from(now);
        }
        self.lines += 1;
        self.lines <= MAX_LINES
    }
}

impl Repeats {
    fn admits(&self, place: Identifier) -> bool {
        let now = Instant::now();
        self.0.lock().entry(place).or_insert_with(|| Count::from(now)).admits(now)
    }
}

impl<S: Subscriber> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    /// "Sometimes" makes the registry reset its per-event state before each event. With "always" one dropped line would
    /// leave that state behind, which drops all later lines and fails an assertion of debug builds.
    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    /// Without a hint every line of every library would be looked at, whatever the other filter says.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        // Who asks for more than warnings wants every line.
        let admitted = *event.metadata().level() > Level::WARN || self.admits(event.metadata().callsite());
        if !admitted {
            metrics().count_dropped_line(DROPPED_REPEATED);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::filter::FilterExt as _;
    use tracing_subscriber::layer::{Layer, SubscriberExt as _};

    use super::*;

    /// Keeps the levels of the lines that come through.
    struct Seen(Arc<Mutex<Vec<Level>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().push(*event.metadata().level());
        }
    }

    #[test]
    fn a_flood_of_one_warning_is_cut_and_others_come_through() {
        let seen = Arc::default();
        // Combined as in `init`: the other filter must not make a place "always" enabled again.
        let layer = Seen(Arc::clone(&seen)).with_filter(LevelFilter::INFO.and(Repeats::default()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for number in 0..5_000 {
                tracing::warn!(number, "free space not known");
                tracing::info!(number, "request");
            }
            tracing::error!("another place");
        });
        let seen = seen.lock();
        let count = |level: Level| seen.iter().filter(|seen| **seen == level).count();
        assert_eq!((count(Level::WARN), count(Level::INFO), count(Level::ERROR)), (50, 5_000, 1));
    }

    #[test]
    fn a_new_period_begins_anew() {
        let start = Instant::now();
        let mut count = Count::from(start);
        let mut admitted = |at| (0..100).filter(|_| count.admits(at)).count();
        assert_eq!((admitted(start), admitted(start), admitted(start + PERIOD)), (50, 0, 50));
    }
}
