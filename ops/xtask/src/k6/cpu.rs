//! How much of the processors a process uses, from `/proc`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Ticks of the kernel's clock in a second, as `/proc` counts them on Linux.
const TICKS_A_SECOND: f64 = 100.0;
/// Over how long the fullest use is looked for: shorter peaks are waited out.
const WINDOW: Duration = Duration::from_secs(5);

/// The seconds of CPU time that a process has used.
pub(super) fn used_by(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    of_stat(&stat).with_context(|| format!("/proc/{pid}/stat is not as expected"))
}

fn of_stat(stat: &str) -> Option<f64> {
    // The name, in parentheses, may hold anything. User and system time are the 14th and 15th fields.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (times.next()?.parse().ok()?, times.next()?.parse().ok()?);
    Some((user + system) / TICKS_A_SECOND)
}

/// The largest share of all processors that a process used for a while.
pub(super) struct Peak {
    since: Instant,
    before: f64,
    share: f64,
}

impl Peak {
    /// Begins to look.
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), before: 0.0, share: 0.0 }
    }

    /// Notes how many seconds the process has used.
    pub(super) fn note(&mut self, used: f64, cores: usize) {
        let passed = self.since.elapsed();
        if passed >= WINDOW {
            self.share = self.share.max((used - self.before) / passed.as_secs_f64() / cores as f64);
            (self.since, self.before) = (Instant::now(), used);
        }
    }

    /// The share, from 0 to 1; 0 where the process did not run for so long.
    pub(super) fn share(&self) -> f64 {
        self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (k6) x) S 1 7 7 0 -1 4194304 900 0 0 0 250 50 0 0 20 0 9 0 100 1 2";
        assert_eq!(of_stat(stat), Some(3.0));
        assert_eq!(of_stat("7"), None);
        assert!(used_by(std::process::id()).unwrap() >= 0.0);
    }
}
