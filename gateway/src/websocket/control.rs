//! How many control frames a client may send. An honest one sends a few a minute.

use std::time::Duration;

use tokio::time::Instant;

/// Control frames a second.
const PER_SECOND: u32 = 10;
/// Control frames that may come at once, as after a time without a network.
const BURST: u32 = 50;

/// A client's bucket, empty of memory until the first control frame.
#[derive(Default)]
pub(super) struct ControlRate {
    /// When all frames so far are paid.
    paid_at: Option<Instant>,
}

impl ControlRate {
    /// Takes one frame out; `false` if there were too many.
    pub(super) fn take(&mut self) -> bool {
        let cost = Duration::from_secs(1) / PER_SECOND;
        let now = Instant::now();
        let full = now.checked_sub(cost * BURST).unwrap_or(now);
        let paid_at = self.paid_at.map_or(full, |paid_at| paid_at.max(full)) + cost;
        self.paid_at = Some(paid_at);
        paid_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate() {
        let mut rate = ControlRate::default();
        assert_eq!((0..60).filter(|_| rate.take()).count(), 50);
        tokio::time::advance(Duration::from_mins(1)).await;
        for _ in 0..100 {
            tokio::time::advance(Duration::from_millis(100)).await;
            assert!(rate.take());
        }
    }
}
