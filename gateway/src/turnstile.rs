//! Letting sockets in at a bounded rate: after a node went away thousands come at once, and each costs more CPU at its
//! start than in an hour of its life. They wait for their turn instead of being refused.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::problem::Problem;

/// Longest wait for a turn. Clients give up after a while and come again, so a longer one would serve nobody.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// What may pass at once after a quiet time, in seconds' worth.
const BURST: Duration = Duration::from_millis(100);

/// Where sockets pass one after the other.
pub(crate) struct Turnstile {
    /// Time between two; zero for no limit.
    interval: Duration,
    /// When the next may pass.
    next: Mutex<Instant>,
}

impl Turnstile {
    /// Lets so many pass a second; 0 for no limit.
    pub(crate) fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self { interval, next: Mutex::new(Instant::now()) }
    }

    /// Waits for a turn. Refuses those whose turn is too far away.
    pub(crate) async fn pass(&self) -> Result<(), Problem> {
        if self.interval.is_zero() {
            return Ok(());
        }
        let now = Instant::now();
        let turn = {
            let mut next = self.next.lock();
            let turn = (*next).max(now.checked_sub(BURST).unwrap_or(now));
            if turn > now + MAX_WAIT {
                return Err(Problem::unavailable("too many connections at once (http.connection_rate)"));
            }
            *next = turn + self.interval;
            turn
        };
        // A sleep for a past time would still cost a turn of the runtime.
        if turn > now {
            tokio::time::sleep_until(turn).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_storm_passes_at_the_rate() {
        let turnstile = Arc::new(Turnstile::new(100));
        let start = Instant::now();
        let storm: Vec<_> = (0..500)
            .map(|_| {
                let turnstile = Arc::clone(&turnstile);
                tokio::spawn(async move { turnstile.pass().await.map(|()| start.elapsed()) })
            })
            .collect();
        let mut last = Duration::ZERO;
        for one in storm {
            last = last.max(one.await.unwrap().unwrap());
        }
        assert!((4.8..=5.1).contains(&last.as_secs_f64()), "{last:?}");
        let too_many: Vec<_> = (0..2000)
            .map(|_| {
                let turnstile = Arc::clone(&turnstile);
                tokio::spawn(async move { turnstile.pass().await })
            })
            .collect();
        let mut refused = 0;
        for one in too_many {
            refused += usize::from(one.await.unwrap().is_err());
        }
        assert!((900..1100).contains(&refused), "{refused}");
    }
}
