//! Circuit breakers, one a destination: while a server does not answer, jobs for it wait without being tried, and when it comes
//! back they do not all come at once.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::work::Failure;

/// Failures in a row that open a breaker.
const FAILURES: u32 = 5;
/// How long it stays open at first; twice as long each time that the one that tries fails.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// The longest time for which it stays open.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// How long the one that tries may take until another one may.
const PROBE: Duration = Duration::from_mins(1);
/// Destinations that are remembered; more are let through, as they were not seen to fail.
const MOST: usize = 10_000;

/// The destinations that fail, each with its breaker.
#[derive(Debug, Default)]
pub struct Breakers {
    failing: Mutex<HashMap<String, Failing>>,
}

#[derive(Debug)]
struct Failing {
    in_a_row: u32,
    /// How long it was open last.
    pause: Duration,
    /// Until when nobody is let through.
    open_until: Option<Instant>,
    /// Nobody was let through since it opened.
    is_resting: bool,
}

/// How a job found its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The destination works.
    Works,
    /// The destination failed; several failures in a row open the breaker.
    Fails,
    /// The destination refuses every job, as the configuration is wrong: the breaker opens at once.
    RefusesAll,
}

impl Breakers {
    /// Lets a job through, or puts it off without using up an attempt.
    pub fn admit(&self, destination: &str) -> Result<(), Failure> {
        let mut failing = self.failing.lock();
        let Some(state) = failing.get_mut(destination) else { return Ok(()) };
        let Some(until) = state.open_until else { return Ok(()) };
        let now = Instant::now();
        if now < until {
            let why = format!("{destination} does not work at the moment");
            return Err(Failure::Later { why, after: until - now });
        }
        // One tries, and the others wait for what comes of that.
        state.open_until = Some(now + PROBE);
        state.is_resting = false;
        Ok(())
    }

    /// Notes what a job saw of its destination.
    pub fn note(&self, destination: &str, seen: Seen) {
        let mut failing = self.failing.lock();
        if seen == Seen::Works {
            failing.remove(destination);
            return;
        }
        if failing.len() >= MOST && !failing.contains_key(destination) {
            let now = Instant::now();
            failing.retain(|_, other| other.open_until.is_some_and(|until| until > now));
            if failing.len() >= MOST {
                return;
            }
        }
        let new = || Failing { in_a_row: 0, pause: FIRST_PAUSE / 2, open_until: None, is_resting: false };
        let state = failing.entry(destination.to_owned()).or_insert_with(new);
        state.in_a_row = state.in_a_row.saturating_add(1);
        if state.in_a_row >= FAILURES || seen == Seen::RefusesAll {
            state.in_a_row = FAILURES;
            // Jobs that were under way together open the breaker once, or its pause would double for each of them.
            if !std::mem::replace(&mut state.is_resting, true) {
                state.pause = (state.pause * 2).min(LONGEST_PAUSE);
                state.open_until = Some(Instant::now() + state.pause);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn t15_a_destination_that_fails_is_left_alone_and_tried_by_one() {
        let breakers = Breakers::default();
        for _ in 0..FAILURES {
            breakers.admit("smtp").unwrap();
            breakers.note("smtp", Seen::Fails);
        }
        let Err(Failure::Later { after, .. }) = breakers.admit("smtp") else { panic!("it is open") };
        assert_eq!(after, FIRST_PAUSE);
        breakers.admit("another").unwrap();
        tokio::time::advance(after).await;
        breakers.admit("smtp").unwrap();
        assert!(breakers.admit("smtp").is_err(), "one tries, and no other");
        breakers.note("smtp", Seen::Works);
        breakers.admit("smtp").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_key_opens_it_at_once_and_pauses_grow() {
        let breakers = Breakers::default();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            breakers.note("apns", Seen::RefusesAll);
            let Err(Failure::Later { after, .. }) = breakers.admit("apns") else { panic!("it is open") };
            pauses.push(after.as_secs());
            tokio::time::advance(after).await;
            breakers.admit("apns").unwrap();
            tokio::time::advance(PROBE).await;
        }
        assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 600, 600]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_under_way_together_count_once() {
        let breakers = Breakers::default();
        for _ in 0..50 {
            breakers.note("smtp", Seen::Fails);
        }
        let Err(Failure::Later { after, .. }) = breakers.admit("smtp") else { panic!("it is open") };
        assert_eq!(after, FIRST_PAUSE);
    }
}
