//! A breaker before a server: once the server stopped answering, calls fail at once instead of waiting for time-outs.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::StoreError;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// How many failures a silence is: it costs callers the whole time-out.
const SILENCE: u32 = 3;
/// How long it stays open before one call may try.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a call waits for what comes of the one that tries: a server that is well again answers within this, and of
/// several calls that one operation makes together, none fails because another of them is trying.
const PROBE_PATIENCE: Duration = Duration::from_millis(15);

/// Lets calls to a server through while it answers.
#[derive(Debug)]
pub(crate) struct Breaker {
    server: &'static str,
    state: Mutex<State>,
    /// Whether somebody looks after the server while the breaker is open, so that no caller has to try.
    looked_after: bool,
    /// Told when the one that tries is done.
    tried: Notify,
}

#[derive(Debug)]
enum State {
    /// Calls go through; so many failed in a row.
    Closed { failures: u32 },
    /// Calls fail until then.
    Open { until: Instant },
    /// One call is trying; the others wait for it a moment.
    Probing,
}

impl Breaker {
    /// A closed breaker; the server's name is for errors.
    pub(crate) fn new(server: &'static str) -> Self {
        let state = Mutex::new(State::Closed { failures: 0 });
        Self { server, state, looked_after: false, tried: Notify::new() }
    }

    /// A closed breaker that stays open once it is, until somebody who was let through by [`Breaker::probe`] closes it.
    pub(crate) fn looked_after(server: &'static str) -> Self {
        Self { looked_after: true, ..Self::new(server) }
    }

    /// Lets the one through who looks after the server; nothing if the breaker is closed.
    pub(crate) fn probe(&self) -> Option<Pass<'_>> {
        let mut state = self.state.lock();
        if matches!(*state, State::Closed { .. }) {
            return None;
        }
        *state = State::Probing;
        Some(Pass { breaker: self, is_probe: true })
    }

    /// Whether calls fail at once.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(*self.state.lock(), State::Closed { .. })
    }

    /// Lets a call through, which has to say what came of it, or fails at once, or nearly.
    pub(crate) async fn admit(&self) -> Result<Pass<'_>, StoreError> {
        let end = Instant::now() + PROBE_PATIENCE;
        loop {
            // Listening before looking, so that no word is missed.
            let tried = self.tried.notified();
            if let Some(pass) = self.look()? {
                return Ok(pass);
            }
            if tokio::time::timeout_at(end, tried).await.is_err() {
                return Err(self.refusal());
            }
        }
    }

    /// A pass, or nothing while another call is trying.
    fn look(&self) -> Result<Option<Pass<'_>>, StoreError> {
        let mut state = self.state.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } if !self.looked_after && Instant::now() >= until => {
                *state = State::Probing;
                true
            }
            State::Open { .. } => return Err(self.refusal()),
            State::Probing => return Ok(None),
        };
        drop(state);
        Ok(Some(Pass { breaker: self, is_probe }))
    }

    fn refusal(&self) -> StoreError {
        StoreError::Unavailable(format!("{} is not answering", self.server))
    }

    fn succeed(&self) {
        let mut state = self.state.lock();
        if !matches!(*state, State::Closed { .. }) {
            tracing::info!(server = self.server, "answers again");
        }
        *state = State::Closed { failures: 0 };
        drop(state);
        self.tried.notify_waiters();
    }

    fn fail(&self, weight: u32) {
        let mut state = self.state.lock();
        let open = State::Open { until: Instant::now() + PAUSE };
        *state = match *state {
            State::Closed { failures } if failures + weight < FAILURES => {
                State::Closed { failures: failures + weight }
            }
            State::Closed { .. } => {
                tracing::warn!(server = self.server, "does not answer; calls fail at once");
                open
            }
            State::Probing => open,
            // A call that was let through before says nothing new.
            State::Open { until } => State::Open { until },
        };
        drop(state);
        self.tried.notify_waiters();
    }
}

/// A call that was let through. One that is dropped without a word, as its caller went away, counts for nothing.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Pass<'_> {
    /// The server answered, be it with an error.
    pub(crate) fn succeed(self) {
        self.breaker.succeed();
    }

    /// The server is not there, or did not answer.
    pub(crate) fn fail(self) {
        self.fail_by(1);
    }

    /// The server said nothing for as long as a caller can wait.
    pub(crate) fn fail_by_silence(self) {
        self.fail_by(SILENCE);
    }

    fn fail_by(self, weight: u32) {
        // One that came through before the breaker opened must not end the probe of another.
        if self.is_probe || !matches!(*self.breaker.state.lock(), State::Probing) {
            self.breaker.fail(weight);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state.lock();
        if self.is_probe && matches!(*state, State::Probing) {
            *state = State::Open { until: Instant::now() };
            drop(state);
            self.breaker.tried.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    async fn opened() -> Breaker {
        let breaker = Breaker::new("server");
        for _ in 0..FAILURES {
            breaker.admit().await.unwrap().fail();
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_in_a_row() {
        let breaker = Breaker::new("server");
        for _ in 0..3 {
            for _ in 1..FAILURES {
                breaker.admit().await.unwrap().fail();
            }
            breaker.admit().await.unwrap().succeed();
        }
        breaker.admit().await.unwrap().fail_by_silence();
        assert!(!breaker.is_open(), "once may be chance");
        breaker.admit().await.unwrap().fail_by_silence();
        assert!(breaker.is_open());
        let refused = opened().await.admit().await.unwrap_err();
        assert_eq!(refused.to_string(), "store unavailable: server is not answering");
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_tries_and_closes_or_opens_again() {
        let breaker = opened().await;
        advance(PAUSE).await;
        let probe = breaker.admit().await.unwrap();
        assert!(breaker.admit().await.is_err(), "one tries at a time");
        probe.fail();
        assert!(breaker.admit().await.is_err());
        advance(PAUSE).await;
        breaker.admit().await.unwrap().succeed();
        for _ in 1..FAILURES {
            breaker.admit().await.unwrap().fail();
        }
        assert!(breaker.admit().await.is_ok(), "counts from nought again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_looks_after_a_server_spares_callers_the_trying() {
        let breaker = Breaker::looked_after("server");
        assert!(breaker.probe().is_none() && !breaker.is_open());
        for _ in 0..FAILURES {
            breaker.admit().await.unwrap().fail();
        }
        advance(PAUSE * 3).await;
        assert!(breaker.admit().await.is_err() && breaker.is_open());
        breaker.probe().unwrap().fail();
        assert!(breaker.admit().await.is_err());
        breaker.probe().unwrap().succeed();
        assert!(breaker.admit().await.is_ok() && !breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_dropped_makes_way_for_another() {
        let breaker = opened().await;
        advance(PAUSE).await;
        drop(breaker.admit().await.unwrap());
        breaker.admit().await.unwrap().succeed();
        assert!(breaker.admit().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_from_before_neither_ends_the_probe_nor_holds_it_up() {
        let breaker = Breaker::new("server");
        let (early, late) = (breaker.admit().await.unwrap(), breaker.admit().await.unwrap());
        for _ in 0..FAILURES {
            breaker.admit().await.unwrap().fail();
        }
        advance(PAUSE).await;
        let probe = breaker.admit().await.unwrap();
        early.fail();
        assert!(breaker.admit().await.is_err());
        late.succeed();
        assert!(breaker.admit().await.is_ok(), "the server answers");
        probe.fail();
        assert!(breaker.admit().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_one_operation_go_through_together() {
        let breaker = opened().await;
        advance(PAUSE).await;
        let call = async || {
            let pass = breaker.admit().await?;
            tokio::time::sleep(Duration::from_millis(2)).await;
            pass.succeed();
            Ok::<_, StoreError>(())
        };
        tokio::try_join!(call(), call(), call()).unwrap();
    }
}
