//! A circuit breaker: who does not answer is left alone for a while, so that callers fail at once instead of waiting.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Counts failures in a row and decides whether the next call is let through.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures: u32,
    open_for: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failed: u32,
    /// When the next call may try; `None` while all may.
    next_try: Option<Instant>,
}

impl Breaker {
    /// A breaker that opens after so many failures in a row, for so long.
    pub(crate) fn new(failures: u32, open_for: Duration) -> Self {
        Self { failures, open_for, state: Mutex::default() }
    }

    /// Whether a call may be made. While the breaker is open one call in each period is let through, to look.
    pub(crate) fn admits(&self) -> bool {
        let mut state = self.state.lock();
        match state.next_try {
            None => true,
            Some(at) if Instant::now() >= at => {
                state.next_try = Some(Instant::now() + self.open_for);
                true
            }
            Some(_) => false,
        }
    }

    /// A call was answered.
    pub(crate) fn succeeded(&self) {
        let mut state = self.state.lock();
        if state.failed > 0 {
            *state = State::default();
        }
    }

    /// A call was not answered.
    pub(crate) fn failed(&self) {
        let mut state = self.state.lock();
        state.failed = state.failed.saturating_add(1);
        if state.failed >= self.failures {
            state.next_try = Some(Instant::now() + self.open_for);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_and_looks_again() {
        let breaker = Breaker::new(3, Duration::from_secs(1));
        for _ in 0..3 {
            assert!(breaker.admits());
            breaker.failed();
        }
        assert!(!breaker.admits());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(breaker.admits(), "one looks");
        assert!(!breaker.admits(), "the others wait for it");
        breaker.failed();
        assert!(!breaker.admits());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(breaker.admits());
        breaker.succeeded();
        assert!(breaker.admits() && breaker.admits());
    }

    #[test]
    fn failures_between_successes_do_not_open() {
        let breaker = Breaker::new(2, Duration::from_secs(1));
        for _ in 0..10 {
            breaker.failed();
            breaker.succeeded();
        }
        assert!(breaker.admits());
    }
}
