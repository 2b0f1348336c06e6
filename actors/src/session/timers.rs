//! The deadlines of a session, on one timer.

use std::time::Duration;

use mundotango_protocol::Disconnect;
use tokio::time::Instant;

use crate::options::SessionOptions;

/// How long a connection of no use stays open, for its client to read the answer and leave.
const REFUSED_FOR: Duration = Duration::from_secs(3);
/// How long the socket of a session that ends may take for what was written before the end.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// How much shorter or longer than [`SessionOptions::max_age`] a session's own time is, as a share of it: sessions that
/// came together shall not go together.
const AGE_JITTER: f64 = 0.1;
/// Bytes that a socket has to take within the time of a pong. A slower one ends with [`Disconnect::Slow`].
const WRITE_BYTES: usize = 64 * 1024;

/// The work for which a deadline is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ping the client.
    Ping,
    /// End the session.
    End(Disconnect),
    /// A subscription's token has not been refreshed.
    Subscriptions,
    /// The socket does not take what it was given: close it.
    GiveUp,
    /// The client's commands may be read again.
    Resume,
}

/// The session's deadlines.
#[derive(Debug)]
pub(crate) struct Timers {
    ping_interval: Duration,
    pong_timeout: Duration,
    max_age: Duration,
    wants_pongs: bool,
    stale_at: Option<Instant>,
    ping_at: Option<Instant>,
    pong_by: Option<Instant>,
    /// Until when a second pong to the same ping does no harm.
    pongs_until: Option<Instant>,
    expires_at: Option<Instant>,
    /// When the client is asked to connect anew.
    moves_at: Option<Instant>,
    subscriptions_at: Option<Instant>,
    /// Until when the socket has to have taken what it was given.
    write_by: Option<Instant>,
    resume_at: Option<Instant>,
    is_ending: bool,
}

impl Timers {
    /// A new connection's: only the time to connect runs.
    pub(crate) fn new(options: &SessionOptions) -> Self {
        Self {
            ping_interval: options.ping_interval,
            pong_timeout: options.pong_timeout,
            max_age: options.max_age,
            wants_pongs: true,
            stale_at: Some(Instant::now() + options.stale_timeout),
            ping_at: None,
            pong_by: None,
            pongs_until: None,
            expires_at: None,
            moves_at: None,
            subscriptions_at: None,
            write_by: None,
            resume_at: None,
            is_ending: false,
        }
    }

    /// The session is connected: pings begin. Some transports have no way back for a pong.
    pub(crate) fn connected(&mut self, wants_pongs: bool) {
        self.wants_pongs = wants_pongs;
        self.stale_at = None;
        // Sessions that came together shall not be pinged together.
        let now = Instant::now();
        self.ping_at = Some(now + self.ping_interval.mul_f64(rand::random_range(0.5..1.0)));
        let of_age = 1.0 + rand::random_range(-AGE_JITTER..AGE_JITTER);
        self.moves_at = (!self.max_age.is_zero()).then(|| now + self.max_age.mul_f64(of_age));
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

    /// Sets until when the socket has to take so many bytes.
    pub(crate) fn write_by(&mut self, bytes: Option<usize>) {
        if self.is_ending {
            return;
        }
        let time = |bytes: usize| {
            let parts = u32::try_from(bytes.div_ceil(WRITE_BYTES).max(1)).unwrap_or(u32::MAX);
            self.pong_timeout.saturating_mul(parts)
        };
        self.write_by = bytes.map(|bytes| Instant::now() + time(bytes));
    }

    /// The session ends: nothing else is done by the clock, and the socket has a moment left.
    pub(crate) fn ending(&mut self) {
        if !self.is_ending {
            self.stop();
            self.is_ending = true;
            self.write_by = Some(Instant::now() + END_PATIENCE);
        }
    }

    /// Wakes the session when the client's commands may be read again.
    pub(crate) fn resume_at(&mut self, at: Option<Instant>) {
        self.resume_at = at;
    }

    /// A pong came. `false` if nobody can have asked for it.
    pub(crate) fn pong(&mut self) -> bool {
        self.pong_by.take().is_some() || self.pongs_until.is_some_and(|until| Instant::now() < until)
    }

    /// Gives the client the time for its pong again.
    pub(crate) fn wait_for_pong(&mut self) {
        self.pong_by = Some(Instant::now() + self.pong_timeout);
    }

    /// Lets the next ping be due at once.
    pub(crate) fn ping_again(&mut self) {
        self.ping_at = Some(Instant::now());
        self.pong_by = None;
    }

    fn stop(&mut self) {
        let (ping_interval, pong_timeout) = (self.ping_interval, self.pong_timeout);
        *self = Self {
            ping_interval,
            pong_timeout,
            max_age: self.max_age,
            wants_pongs: self.wants_pongs,
            is_ending: self.is_ending,
            write_by: self.write_by,
            stale_at: None,
            ping_at: None,
            pong_by: None,
            pongs_until: None,
            expires_at: None,
            moves_at: None,
            subscriptions_at: None,
            resume_at: None,
        };
    }

    fn next(&self) -> Option<(Instant, Due)> {
        [
            (self.write_by, Due::GiveUp),
            (self.stale_at, Due::End(Disconnect::Stale)),
            (self.pong_by, Due::End(Disconnect::NoPong)),
            (self.expires_at, Due::End(Disconnect::Expired)),
            (self.moves_at, Due::End(Disconnect::ForceReconnect)),
            (self.subscriptions_at, Due::Subscriptions),
            (self.resume_at, Due::Resume),
            (self.ping_at, Due::Ping),
        ]
        .into_iter()
        .filter_map(|(at, due)| Some((at?, due)))
        .min_by_key(|(at, _)| *at)
    }

    /// When the clock ends the session, and why, if nothing comes before.
    pub(crate) fn end(&self) -> Option<(Instant, Disconnect)> {
        [(self.stale_at, Disconnect::Stale), (self.expires_at, Disconnect::Expired)]
            .into_iter()
            .filter_map(|(at, reason)| Some((at?, reason)))
            .min_by_key(|(at, _)| *at)
    }

    /// The next deadline, if it is over; moves past it.
    pub(crate) fn overdue(&mut self) -> Option<Due> {
        let (at, due) = self.next()?;
        (at <= Instant::now()).then(|| self.pass(due))
    }

    /// Waits for the next deadline and moves past it.
    pub(crate) async fn due(&mut self) -> Due {
        let Some((at, due)) = self.next() else { return std::future::pending().await };
        tokio::time::sleep_until(at).await;
        self.pass(due)
    }

    fn pass(&mut self, due: Due) -> Due {
        match due {
            Due::Ping => {
                let now = Instant::now();
                self.ping_at = Some(now + self.ping_interval);
                self.pong_by = self.wants_pongs.then(|| now + self.pong_timeout);
                self.pongs_until = self.pong_by;
            }
            Due::End(Disconnect::NoPong) => self.pong_by = None,
            Due::End(_) => self.stop(),
            Due::Subscriptions => self.subscriptions_at = None,
            Due::GiveUp => self.write_by = None,
            Due::Resume => self.resume_at = None,
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
        assert!(timers.pong(), "a second pong to a ping does no harm");
        tokio::time::advance(Duration::from_secs(8)).await;
        assert!(!timers.pong(), "nobody asked");
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

    #[tokio::test(start_paused = true)]
    async fn sessions_that_came_together_do_not_go_together() {
        let options = SessionOptions {
            max_age: Duration::from_hours(1),
            ping_interval: Duration::from_hours(9),
            ..SessionOptions::default()
        };
        let mut ends = Vec::new();
        for _ in 0..100 {
            let mut timers = Timers::new(&options);
            timers.connected(true);
            let start = Instant::now();
            assert_eq!(timers.due().await, Due::End(Disconnect::ForceReconnect));
            ends.push(start.elapsed().as_secs());
        }
        ends.sort_unstable();
        assert!((3240..3960).contains(&ends[0]) && ends[99] < 3961, "{ends:?}");
        assert!(ends[99] - ends[0] > 360, "spread over most of twelve minutes: {ends:?}");

        let mut forever = Timers::new(&SessionOptions::default());
        forever.connected(true);
        assert_eq!(forever.moves_at, None, "off unless it is set");
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_a_socket_that_takes_nothing() {
        let mut timers = Timers::new(&SessionOptions::default());
        let start = Instant::now();
        timers.connected(true);
        timers.write_by(Some(1));
        assert_eq!((timers.due().await, start.elapsed().as_secs()), (Due::GiveUp, 8));
        timers.ending();
        timers.write_by(None);
        assert_eq!((timers.due().await, start.elapsed().as_secs()), (Due::GiveUp, 9));
    }
}
