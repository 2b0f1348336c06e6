//! Letting sockets in at a bounded rate: after a node went away thousands come at once, and each costs more CPU at its
//! start than in an hour of its life. They wait for their turn instead of being refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use axum::extract::Request;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::client_address::ClientAddress;
use crate::options::HttpOptions;
use crate::problem::Problem;

/// Longest wait for a turn. Clients give up after a while and come again, so a longer one would serve nobody.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// What may pass at once after a quiet time, in seconds' worth.
const BURST: Duration = Duration::from_millis(100);
/// The same for one address, behind which an office may be that comes back at once.
const BURST_OF_ADDRESS: Duration = Duration::from_secs(5);
/// Addresses that are remembered before those are looked for that came long ago.
const MIN_REMEMBERED: usize = 1024;

/// Where sockets pass one after the other.
pub(crate) struct Turnstile {
    /// Time between two; zero for no limit.
    interval: Duration,
    /// When the next may pass.
    next: Mutex<Instant>,
    /// Time between two of one address; zero for no limit.
    interval_of_address: Duration,
    addresses: Mutex<Addresses>,
}

/// When the next of each address may pass.
#[derive(Default)]
struct Addresses {
    next: HashMap<IpAddr, Instant>,
    /// At how many those are forgotten that came long ago.
    sweep_at: usize,
}

impl Turnstile {
    pub(crate) fn new(options: &HttpOptions) -> Self {
        let interval_of = |per_second| Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self {
            interval: interval_of(options.connection_rate),
            next: Mutex::new(Instant::now()),
            interval_of_address: interval_of(options.connection_rate_per_address),
            addresses: Mutex::default(),
        }
    }

    /// Waits for the turn of a request that opens a session. Refuses those whose turn is too far away.
    pub(crate) async fn pass(&self, client: Option<ClientAddress>) -> Result<(), Problem> {
        let now = Instant::now();
        // First that of the address: who comes too often must not use up the turns of others.
        let of_address = self.turn_of_address(client, now)?;
        let turn = of_address.max(self.turn(now)?);
        // A sleep for a past time would still cost a turn of the runtime.
        if turn > now {
            tokio::time::sleep_until(turn).await;
        }
        Ok(())
    }

    fn turn(&self, now: Instant) -> Result<Instant, Problem> {
        if self.interval.is_zero() {
            return Ok(now);
        }
        let taken = take_turn(&mut self.next.lock(), now, self.interval, BURST);
        taken.ok_or_else(|| Problem::unavailable("too many connections at once (http.connection_rate)"))
    }

    fn turn_of_address(&self, client: Option<ClientAddress>, now: Instant) -> Result<Instant, Problem> {
        let Some(client) = client.filter(|_| !self.interval_of_address.is_zero()) else { return Ok(now) };
        let mut addresses = self.addresses.lock();
        if addresses.next.len() >= addresses.sweep_at {
            addresses.next.retain(|_, next| *next + BURST_OF_ADDRESS > now);
            addresses.sweep_at = MIN_REMEMBERED.max(2 * addresses.next.len());
        }
        let next = addresses.next.entry(client.limited_as()).or_insert(now);
        take_turn(next, now, self.interval_of_address, BURST_OF_ADDRESS).ok_or_else(|| {
            Problem::too_many_requests("your address connects too often (http.connection_rate_per_address)")
        })
    }
}

/// The client of a request that opens a session.
pub(crate) fn client_of(request: &Request) -> Option<ClientAddress> {
    request.extensions().get().copied()
}

/// The next turn, which is then taken; `None` if that is too far away.
fn take_turn(next: &mut Instant, now: Instant, interval: Duration, burst: Duration) -> Option<Instant> {
    let turn = (*next).max(now.checked_sub(burst).unwrap_or(now));
    if turn > now + MAX_WAIT {
        return None;
    }
    *next = turn + interval;
    Some(turn)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn turnstile(connection_rate: u32, connection_rate_per_address: u32) -> Turnstile {
        Turnstile::new(&HttpOptions {
            connection_rate,
            connection_rate_per_address,
            ..HttpOptions::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_comes_too_often_waits_and_is_refused_and_others_pass() {
        // A burst of 50, then 10 a second, of whom those of 10 s wait.
        let turnstile = Arc::new(turnstile(0, 10));
        let at = |address: &str| Some(ClientAddress(address.parse().unwrap()));
        tokio::time::sleep(BURST_OF_ADDRESS).await;
        let start = Instant::now();
        let storm = (0..500).map(|_| turnstile.pass(at("203.0.113.1")));
        let storm = futures_util::future::join_all(storm);
        let (results, other) =
            tokio::join!(storm, async { turnstile.pass(at("203.0.113.2")).await.map(|()| start.elapsed()) });
        assert_eq!(other.unwrap(), Duration::ZERO);
        let passed = results.iter().filter(|result| result.is_ok()).count();
        assert!((100..=155).contains(&passed), "{passed}");
        let refused = results.into_iter().find_map(Result::err).unwrap();
        assert_eq!(refused.status(), axum::http::StatusCode::TOO_MANY_REQUESTS);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_forgotten() {
        let turnstile = turnstile(0, 10);
        for number in 0..20_000_u32 {
            turnstile.pass(Some(ClientAddress(std::net::Ipv4Addr::from(number).into()))).await.unwrap();
            if number % 100 == 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        assert!(turnstile.addresses.lock().next.len() <= 2 * MIN_REMEMBERED);
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_passes_at_the_rate() {
        let turnstile = Arc::new(turnstile(100, 0));
        let start = Instant::now();
        let storm: Vec<_> = (0..500)
            .map(|_| {
                let turnstile = Arc::clone(&turnstile);
                tokio::spawn(async move { turnstile.pass(None).await.map(|()| start.elapsed()) })
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
                tokio::spawn(async move { turnstile.pass(None).await })
            })
            .collect();
        let mut refused = 0;
        for one in too_many {
            refused += usize::from(one.await.unwrap().is_err());
        }
        assert!((900..1100).contains(&refused), "{refused}");
    }
}
