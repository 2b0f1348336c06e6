//! Panics of actors: their text, the pause after them, and the count of them that supervision reads.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::recorder::{self, HandledMessage, Trail};

/// The time in which crashes are counted together.
pub(crate) const CRASH_WINDOW: Duration = Duration::from_secs(10);
/// Actors whose crashes are remembered within the window; more change nothing, as the intensity is far below.
const MOST_REMEMBERED: usize = 1024;
/// Failures of the actors below one keeper that are kept for operators; older ones are forgotten.
const MOST_FAILURES: usize = 64;
/// Failures of one actor that are kept, so that one that crashes all the time does not push the others out.
const FAILURES_OF_ONE: usize = 4;
/// Bytes of a failure's reason that are kept.
const REASON_BYTES: usize = 500;

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

/// An actor that crashed.
pub(crate) struct Crashed<'a> {
    /// The kind of actor in metrics.
    pub(crate) label: &'a str,
    /// Names the user, the channel or the task: repeated crashes of one count as one towards the intensity, so that a single
    /// user or channel cannot restart a keeper.
    pub(crate) culprit: &'a str,
    /// The actor's kind in the tree.
    pub(crate) kind: &'static str,
    /// The actor's name in the tree.
    pub(crate) name: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) trail: &'a Trail,
}

/// Why an actor failed, and what it did before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// The text of the panic.
    pub reason: String,
    /// Its last messages, the oldest first.
    pub messages: Vec<HandledMessage>,
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
    /// The last failures with the kind and name of the actor, the oldest first.
    failures: VecDeque<(&'static str, Box<str>, Failure)>,
}

impl Log {
    fn keep(&mut self, kind: &'static str, name: &str, failure: Failure) {
        let is_own = |(of, who, _): &(&'static str, Box<str>, Failure)| *of == kind && **who == *name;
        let own = self.failures.iter().filter(|kept| is_own(kept)).count();
        if own >= FAILURES_OF_ONE
            && let Some(oldest) = self.failures.iter().position(is_own)
        {
            self.failures.remove(oldest);
        }
        if self.failures.len() >= MOST_FAILURES {
            self.failures.pop_front();
        }
        self.failures.push_back((kind, name.into(), failure));
    }
}

impl Crashes {
    /// An actor crashed; its last messages, for the log.
    pub(crate) fn report(&self, keeper: &'static str, crashed: &Crashed<'_>) -> String {
        let Crashed { label, culprit, kind, name, reason, trail } = *crashed;
        mundotango_ops::metrics().actor_restarts_total.with_label_values(&[label]).inc();
        let mut hasher = DefaultHasher::new();
        (label, culprit).hash(&mut hasher);
        let messages = recorder::tail(trail.number());
        let in_words = recorder::in_words(&messages);
        let reason = reason[..reason.floor_char_boundary(REASON_BYTES)].to_owned();
        let failure = Failure { at: Timestamp::now(), reason, messages };
        let mut by_keeper = self.by_keeper.lock();
        let log = by_keeper.entry(keeper).or_default();
        log.total += 1;
        if log.recent.len() < MOST_REMEMBERED {
            log.recent.insert(hasher.finish(), Instant::now());
        }
        log.keep(kind, name, failure);
        in_words
    }

    /// The last failures of an actor, the newest first.
    pub(crate) fn failures(&self, keeper: &str, kind: &str, name: &str) -> Vec<Failure> {
        let by_keeper = self.by_keeper.lock();
        let failures = by_keeper.get(keeper).into_iter().flat_map(|log| log.failures.iter().rev());
        let own = failures.filter(|(of, who, _)| *of == kind && **who == *name);
        own.map(|(_, _, failure)| failure.clone()).collect()
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
    use crate::recorder::{Handling, MessageKind};

    /// How many of an actor's last messages are kept.
    const TAIL: usize = 64;

    fn crashed<'a>(name: &'a str, reason: &'a str, trail: &'a Trail) -> Crashed<'a> {
        Crashed { label: "session", culprit: name, kind: "session", name, reason, trail }
    }

    #[test]
    fn failures_are_kept_with_the_last_messages_and_bounded_by_actor_and_by_keeper() {
        let (crashes, trail) = (Crashes::default(), Trail::default());
        for _ in 0..100 {
            drop(Handling::begin(&trail, MessageKind::Publish, 3));
        }
        let log = crashes.report("sessions", &crashed("a", &"é".repeat(1000), &trail));
        assert_eq!(log.matches("publish 3 B took").count(), TAIL);
        for number in 0..100 {
            crashes.report("sessions", &crashed("b", &number.to_string(), &trail));
        }
        let [failure] = &crashes.failures("sessions", "session", "a")[..] else { panic!("one failure") };
        assert_eq!((failure.messages.len(), failure.reason.len()), (TAIL, REASON_BYTES));
        let reasons: Vec<_> =
            crashes.failures("sessions", "session", "b").into_iter().map(|failure| failure.reason).collect();
        assert_eq!(reasons, ["99", "98", "97", "96"]);
        for number in 0..MOST_FAILURES {
            crashes.report("sessions", &crashed(&format!("c{number}"), "", &trail));
        }
        assert!(crashes.failures("sessions", "session", "a").is_empty());
        assert_eq!(crashes.failures("sessions", "session", "c0").len(), 1);
        assert!(crashes.failures("channels", "session", "c0").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_actor_that_crashes_often_counts_once_towards_the_intensity() {
        let (crashes, trail) = (Crashes::default(), Trail::default());
        for _ in 0..100 {
            crashes.report("sessions", &crashed("42", "", &trail));
        }
        crashes.report("sessions", &crashed("43", "", &trail));
        assert_eq!((crashes.total("sessions"), crashes.recent("sessions")), (101, 2));
        assert_eq!(crashes.recent("channels"), 0);
        tokio::time::advance(CRASH_WINDOW).await;
        assert_eq!((crashes.total("sessions"), crashes.recent("sessions")), (101, 0));
    }
}
