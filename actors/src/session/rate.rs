//! How many commands a session may send: a bucket that fills at the allowed rate and holds twice that much.

use mundotango_protocol::{Disconnect, ErrorCode};
use tokio::time::Instant;

use super::Refusal;

/// Microseconds in which the bucket fills: that much worth of commands may come at once.
const BURST_MICROS: u32 = 2_000_000;
/// Seconds' worth of refused commands in a row after which the session ends.
const REFUSED_SECONDS: u32 = 10;

/// A session's bucket.
pub(super) struct CommandRate {
    /// Microseconds' worth of commands that may still come.
    left: u32,
    filled_at: Instant,
    refused: u32,
}

impl Default for CommandRate {
    fn default() -> Self {
        Self { left: BURST_MICROS, filled_at: Instant::now(), refused: 0 }
    }
}

impl CommandRate {
    /// Takes one command out, unless the bucket is empty. A rate of 0 allows everything.
    pub(super) fn take(&mut self, per_second: u32) -> Result<(), Refusal> {
        if per_second == 0 {
            return Ok(());
        }
        let now = Instant::now();
        let passed = u32::try_from(now.duration_since(self.filled_at).as_micros()).unwrap_or(BURST_MICROS);
        self.left = self.left.saturating_add(passed).min(BURST_MICROS);
        self.filled_at = now;
        let cost = 1_000_000 / per_second;
        if self.left >= cost {
            self.left -= cost;
            self.refused = 0;
            return Ok(());
        }
        self.refused += 1;
        if self.refused > per_second.saturating_mul(REFUSED_SECONDS) {
            return Err(Disconnect::TooManyRequests.into());
        }
        Err(ErrorCode::TooManyRequests.into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lets_bursts_pass_and_then_the_rate() {
        let mut rate = CommandRate::default();
        let mut passed = || (0..100).filter(|_| rate.take(10).is_ok()).count();
        assert_eq!(passed(), 20);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(passed(), 5);
        assert!((0..100).any(|_| matches!(rate.take(10), Err(Refusal::Disconnect(_)))));
        assert!((0..1000).all(|_| CommandRate::default().take(0).is_ok()));
    }
}
