//! Whose turn it is at a host: a crowd that links to one site asks it no faster than one reader would.

use std::collections::HashMap;
use std::time::Duration;

use mundotango_jobs::Failure;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The pause between two pages of a host.
const PAUSE: Duration = Duration::from_secs(1);
/// Most jobs whose turns are spread out; more come back as late as the last of these.
const MOST_SPREAD: u32 = 600;
/// Hosts that are remembered.
const MOST_HOSTS: usize = 10_000;

/// When each host may be asked again, by this node.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Host>>);

#[derive(Debug)]
struct Host {
    next: Instant,
    /// Jobs that were put off and did not come back yet, about.
    put_off: u32,
}

impl Turns {
    /// Lets a job ask a host, or puts it off without using up an attempt. `chance` is between 0 and 1: those that are put off do not
    /// come back together.
    pub(super) fn take(&self, name: &str, chance: f64) -> Result<(), Failure> {
        let (now, mut hosts) = (Instant::now(), self.0.lock());
        if let Some(host) = hosts.get_mut(name) {
            if now < host.next {
                host.put_off = (host.put_off + 1).min(MOST_SPREAD);
                let spread = (PAUSE * host.put_off).mul_f64(chance.clamp(0.0, 1.0));
                let why = format!("{name} was asked a moment ago");
                return Err(Failure::Later { why, after: host.next - now + spread });
            }
            host.next = now + PAUSE;
            host.put_off = host.put_off.saturating_sub(1);
            return Ok(());
        }
        if hosts.len() >= MOST_HOSTS {
            hosts.retain(|_, host| now < host.next);
        }
        if hosts.len() >= MOST_HOSTS {
            return Err(Failure::Later { why: "too many hosts are asked".to_owned(), after: PAUSE });
        }
        hosts.insert(name.to_owned(), Host { next: now + PAUSE, put_off: 0 });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_is_asked_once_a_second_and_those_put_off_are_spread() {
        let turns = Turns::default();
        assert!(turns.take("a.example", 0.5).is_ok() && turns.take("b.example", 0.5).is_ok());
        let wait = |chance| match turns.take("a.example", chance) {
            Err(Failure::Later { after, .. }) => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(0.0), PAUSE);
        assert_eq!(wait(1.0), PAUSE + 2 * PAUSE);
        tokio::time::advance(PAUSE).await;
        assert!(turns.take("a.example", 0.5).is_ok());
        for _ in 0..2 * MOST_SPREAD {
            assert!(wait(1.0) <= PAUSE * (MOST_SPREAD + 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_are_remembered_in_a_bounded_number() {
        let turns = Turns::default();
        for number in 0..MOST_HOSTS {
            assert!(turns.take(&number.to_string(), 0.0).is_ok());
        }
        assert!(turns.take("another", 0.0).is_err());
        tokio::time::advance(PAUSE).await;
        assert!(turns.take("another", 0.0).is_ok());
        assert_eq!(turns.0.lock().len(), 1);
    }
}
