//! Panics of actors: their text, the pause after them, and the count of them that supervision reads.

use std::any::Any;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time in which crashes are counted together.
pub(crate) const CRASH_WINDOW: Duration = Duration::from_secs(10);
/// Actors whose crashes are remembered within the window; more change nothing, as the intensity is far below.
const MOST_REMEMBERED: usize = 1024;

/// The text of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a text")
}

/// How long a crashed actor waits before it restarts: the longer, the more often it crashes.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    crashes: u32,
    last: Option<Instant>,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(5);
    /// A crash after this long is a first one again.
    const FORGET: Duration = Duration::from_mins(1);

    pub(crate) fn after_crash(&mut self) -> Duration {
        let now = Instant::now();
        if self.last.replace(now).is_some_and(|last| now - last > Self::FORGET) {
            self.crashes = 0;
        }
        let wait = Self::FIRST.saturating_mul(1 << self.crashes.min(16)).min(Self::LONGEST);
        self.crashes = self.crashes.saturating_add(1);
        wait
    }
}

/// The crashes of a node's actors, by the name of their keeper. Actors report here; keepers read at their tick.
#[derive(Debug, Default)]
pub(crate) struct Crashes {
    by_keeper: Mutex<HashMap<&'static str, Log>>,
}

#[derive(Debug, Default)]
struct Log {
    total: u64,
    /// Actors that crashed within the window, and when last.
    recent: HashMap<u64, Instant>,
}

impl Crashes {
    /// An actor crashed. `actor` names the user, the channel or the task: repeated crashes of one actor count as one
    /// towards the intensity, so that a single user or channel cannot restart a keeper.
    pub(crate) fn report(&self, keeper: &'static str, kind: &str, actor: &str) {
        mundotango_ops::metrics().actor_restarts_total.with_label_values(&[kind]).inc();
        let mut hasher = DefaultHasher::new();
        (kind, actor).hash(&mut hasher);
        let mut by_keeper = self.by_keeper.lock();
        let log = by_keeper.entry(keeper).or_default();
        log.total += 1;
        if log.recent.len() < MOST_REMEMBERED {
            log.recent.insert(hasher.finish(), Instant::now());
        }
    }

    /// All crashes below a keeper since the node started.
    pub(crate) fn total(&self, keeper: &str) -> u64 {
        self.by_keeper.lock().get(keeper).map_or(0, |log| log.total)
    }

    /// How many different actors below a keeper crashed within the window.
    pub(crate) fn recent(&self, keeper: &str) -> usize {
        let mut by_keeper = self.by_keeper.lock();
        let Some(log) = by_keeper.get_mut(keeper) else { return 0 };
        log.recent.retain(|_, at| at.elapsed() < CRASH_WINDOW);
        log.recent.len()
    }

    /// Begins another window, after the crashes of this one were escalated.
    pub(crate) fn forget_recent(&self, keeper: &str) {
        if let Some(log) = self.by_keeper.lock().get_mut(keeper) {
            log.recent.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_actor_that_crashes_often_counts_once_towards_the_intensity() {
        let crashes = Crashes::default();
        for _ in 0..100 {
            crashes.report("sessions", "session", "42");
        }
        crashes.report("sessions", "session", "43");
        assert_eq!((crashes.total("sessions"), crashes.recent("sessions")), (101, 2));
        assert_eq!(crashes.recent("channels"), 0);
        tokio::time::advance(CRASH_WINDOW).await;
        assert_eq!((crashes.total("sessions"), crashes.recent("sessions")), (101, 0));
    }
}
