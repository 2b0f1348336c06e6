//! What a session does by the clock, on one timer.

use std::time::Duration;

use mundotango_protocol::Disconnect;
use tokio::time::Instant;

use crate::options::SessionOptions;

/// How long a connection of no use stays open, for its client to read the answer and leave.
const REFUSED_FOR: Duration = Duration::from_secs(3);

/// What the clock says is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ping the client.
    Ping,
    /// End the session.
    End(Disconnect),
    /// A subscription's token has not been refreshed.
    Subscriptions,
}

/// The session's deadlines.
#[derive(Debug)]
pub(crate) struct Timers {
    ping_interval: Duration,
    pong_timeout: Duration,
    wants_pongs: bool,
    stale_at: Option<Instant>,
    ping_at: Option<Instant>,
    pong_by: Option<Instant>,
    expires_at: Option<Instant>,
    subscriptions_at: Option<Instant>,
}

impl Timers {
    /// A new connection's: only the time to connect runs.
    pub(crate) fn new(options: &SessionOptions) -> Self {
        Self {
            ping_interval: options.ping_interval,
            pong_timeout: options.pong_timeout,
            wants_pongs: true,
            stale_at: Some(Instant::now() + options.stale_timeout),
            ping_at: None,
            pong_by: None,
            expires_at: None,
            subscriptions_at: None,
        }
    }

    /// The session is connected: pings begin. Some transports have no way back for a pong.
    pub(crate) fn connected(&mut self, wants_pongs: bool) {
        self.wants_pongs = wants_pongs;
        self.stale_at = None;
        // Sessions that came together shall not be pinged together.
        self.ping_at = Some(Instant::now() + self.ping_interval.mul_f64(rand::random_range(0.5..1.0)));
    }

    /// The connect command was refused: the client has a moment to read why.
    pub(crate) fn refused(&mut self) {
        self.stale_at = Some(Instant::now() + REFUSED_FOR);
    }

    /// Ends the session at a time, unless that is set anew.
    pub(crate) fn expire_at(&mut self, at: Option<Instant>) {
        self.expires_at = at;
    }

    /// Looks at the subscriptions' tokens at a time.
    pub(crate) fn look_at_subscriptions(&mut self, at: Option<Instant>) {
        self.subscriptions_at = at;
    }

    /// A pong came. `false` if nobody asked for it.
    pub(crate) fn pong(&mut self) -> bool {
        self.pong_by.take().is_some()
    }

    fn next(&self) -> Option<(Instant, Due)> {
        [
            (self.stale_at, Due::End(Disconnect::Stale)),
            (self.pong_by, Due::End(Disconnect::NoPong)),
            (self.expires_at, Due::End(Disconnect::Expired)),
            (self.subscriptions_at, Due::Subscriptions),
            (self.ping_at, Due::Ping),
        ]
        .into_iter()
        .filter_map(|(at, due)| Some((at?, due)))
        .min_by_key(|(at, _)| *at)
    }

    /// Waits for the next deadline and moves past it.
    pub(crate) async fn due(&mut self) -> Due {
        let Some((at, due)) = self.next() else { return std::future::pending().await };
        tokio::time::sleep_until(at).await;
        match due {
            Due::Ping => {
                let now = Instant::now();
                self.ping_at = Some(now + self.ping_interval);
                self.pong_by = self.wants_pongs.then(|| now + self.pong_timeout);
            }
            Due::End(_) => {
                *self = Self {
                    stale_at: None,
                    ping_at: None,
                    pong_by: None,
                    expires_at: None,
                    subscriptions_at: None,
                    ..*self
                }
            }
            Due::Subscriptions => self.subscriptions_at = None,
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pings_and_misses_the_pong() {
        let mut timers = Timers::new(&SessionOptions::default());
        let start = Instant::now();
        timers.connected(true);
        assert_eq!(timers.due().await, Due::Ping);
        let first = start.elapsed();
        assert!(first >= Duration::from_millis(12_500) && first < Duration::from_secs(25), "{first:?}");
        assert!(timers.pong());
        assert!(!timers.pong(), "one ping admits one pong");
        assert_eq!(timers.due().await, Due::Ping);
        assert_eq!(timers.due().await, Due::End(Disconnect::NoPong));
    }

    #[tokio::test(start_paused = true)]
    async fn ends_who_does_not_connect() {
        let mut timers = Timers::new(&SessionOptions::default());
        let start = Instant::now();
        assert_eq!(timers.due().await, Due::End(Disconnect::Stale));
        assert_eq!(start.elapsed().as_secs(), 10);
    }
}
