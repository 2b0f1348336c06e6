//! Lines that must not flood the log: clients can cause them as often as they like.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets one line of a kind through in each period and counts the others.
#[derive(Debug)]
pub struct Seldom {
    period: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl Seldom {
    /// One line a minute.
    pub const fn once_a_minute() -> Self {
        Self { period: Duration::from_mins(1), state: Mutex::new(State { last: None, left_out: 0 }) }
    }

    /// Whether the line may be written now; if so, how many were left out since the one before.
    pub fn may_write(&self) -> Option<u64> {
        let mut state = self.state.lock();
        if state.last.is_some_and(|last| last.elapsed() < self.period) {
            state.left_out += 1;
            return None;
        }
        state.last = Some(Instant::now());
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_period_says_how_many_were_left_out() {
        let seldom = Seldom { period: Duration::from_millis(50), ..Seldom::once_a_minute() };
        assert_eq!((seldom.may_write(), seldom.may_write(), seldom.may_write()), (Some(0), None, None));
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(seldom.may_write(), Some(2));
    }
}
