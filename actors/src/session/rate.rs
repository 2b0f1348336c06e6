//! How many commands a session may send: a bucket that fills at the allowed rate and holds two seconds' worth.
//!
//! A client of a socket may owe commands: its socket is read again when they are paid, so that it is slowed and not
//! refused. Who sends more all the same, or over a transport that cannot be slowed, is refused and in the end
//! disconnected.

use std::time::Duration;

use mundotango_protocol::{Disconnect, ErrorCode};
use tokio::time::Instant;

use super::refusal::Refusal;
use crate::options::SessionOptions;

/// That much worth of commands may come at once.
const BURST: Duration = Duration::from_secs(2);
/// Most worth of commands that a client may owe. Half of the time for a pong, if that is less: a client that is not
/// read cannot answer a ping.
const MAX_DEBT: Duration = Duration::from_secs(4);
/// Refused commands after which the session ends, in seconds' worth of allowed ones. Allowed commands make up for
/// refused ones, so only who sends at more than twice the rate gets there.
const REFUSED_SECONDS: u32 = 10;

/// A session's bucket.
pub(super) struct CommandRate {
    /// When all commands so far are paid. In the past by up to [`BURST`], in the future by up to [`MAX_DEBT`].
    paid_at: Instant,
    refused: u32,
}

impl Default for CommandRate {
    fn default() -> Self {
        let now = Instant::now();
        Self { paid_at: now.checked_sub(BURST).unwrap_or(now), refused: 0 }
    }
}

impl CommandRate {
    /// Takes one command out, unless the bucket is empty and the client may not owe. A rate of 0 allows everything.
    pub(super) fn take(&mut self, options: &SessionOptions, may_owe: bool) -> Result<(), Refusal> {
        let per_second = options.commands_per_second;
        let Some(cost) = Duration::from_secs(1).checked_div(per_second) else { return Ok(()) };
        let now = Instant::now();
        let paid_at = self.paid_at.max(now.checked_sub(BURST).unwrap_or(now)) + cost;
        let debt = if may_owe { MAX_DEBT.min(options.pong_timeout / 2) } else { Duration::ZERO };
        if paid_at <= now + debt {
            self.paid_at = paid_at;
            self.refused = self.refused.saturating_sub(1);
            return Ok(());
        }
        self.refused += 1;
        if self.refused > per_second.saturating_mul(REFUSED_SECONDS) {
            return Err(Disconnect::TooManyRequests.into());
        }
        Err(ErrorCode::TooManyRequests.into())
    }

    /// Until when no further command is to be read, if the client owes some.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        (self.paid_at > Instant::now()).then_some(self.paid_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(commands_per_second: u32) -> SessionOptions {
        SessionOptions { commands_per_second, ..SessionOptions::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn lets_bursts_pass_and_then_the_rate() {
        let (mut rate, options) = (CommandRate::default(), options(10));
        let passed = |rate: &mut CommandRate| (0..50).filter(|_| rate.take(&options, false).is_ok()).count();
        assert_eq!(passed(&mut rate), 20);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(passed(&mut rate), 5);
        assert!(rate.paused_until().is_none());
        let unlimited = self::options(0);
        assert!((0..1000).all(|_| rate.take(&unlimited, false).is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_may_owe_and_is_read_later() {
        let (mut rate, options) = (CommandRate::default(), options(200));
        assert!((0..1000).all(|_| rate.take(&options, true).is_ok()));
        let pause = rate.paused_until().unwrap() - Instant::now();
        assert_eq!(pause, Duration::from_secs(3));
        let passed = (0..1000).filter(|_| rate.take(&options, true).is_ok()).count();
        assert_eq!(passed, 200, "the debt is bounded");
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(rate.paused_until().is_none());
    }

    // A count that starts again at each command let through never reaches the end, whatever the client sends.
    #[tokio::test(start_paused = true)]
    async fn who_goes_on_is_disconnected() {
        let (mut rate, options) = (CommandRate::default(), options(10));
        let mut ended = false;
        for _ in 0..100 {
            tokio::time::advance(Duration::from_millis(100)).await;
            ended |= (0..10).any(|_| matches!(rate.take(&options, false), Err(Refusal::Disconnect(_))));
        }
        assert!(ended);
        let mut rate = CommandRate::default();
        for _ in 0..1000 {
            tokio::time::advance(Duration::from_millis(60)).await;
            let refused = matches!(rate.take(&options, false), Err(Refusal::Disconnect(_)));
            assert!(!refused, "a little too fast is only refused");
        }
    }
}
