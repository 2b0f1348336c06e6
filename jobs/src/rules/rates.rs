//! How many jobs a group may begin in a minute.

use std::collections::HashMap;
use std::sync::Arc;

use crate::kind::SHARDS;

/// The burst of a group, as the time in which its rate allows so many jobs, in milliseconds.
const WINDOW: i64 = 60_000;

/// Until when groups have used up their rates, in milliseconds of the Unix epoch: the generic cell rate algorithm, with a
/// minute's jobs as the burst.
///
/// Whoever gives out the jobs of a shard keeps it in memory. When another node begins to, each group may begin a minute's
/// jobs anew.
#[derive(Clone, Debug, Default)]
pub struct GroupRates {
    used_until: Arc<HashMap<String, i64>>,
}

/// The rate of each group of a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// The time that each job uses up, in milliseconds.
    each: i64,
}

impl Rate {
    /// The rate in one shard: an equal part of the queue's, as jobs of a group are spread evenly over the shards.
    pub(super) fn of_shard(per_minute: u32) -> Self {
        let shards = i64::try_from(SHARDS).unwrap_or(1);
        Self { each: (WINDOW * shards / i64::from(per_minute.max(1))).max(1) }
    }
}

impl GroupRates {
    fn used_until(&self, group: &str, now: i64) -> i64 {
        self.used_until.get(group).map_or(now, |until| now.max(*until))
    }

    /// When a group may begin its next job.
    pub(super) fn free_at(&self, group: &str, rate: Rate, now: i64) -> i64 {
        // A group may always begin one job where it has begun none, however low the rate is.
        self.used_until(group, now) - (WINDOW - rate.each).max(0)
    }

    /// Counts a job that a group begins.
    pub(super) fn begin(&mut self, group: &str, rate: Rate, now: i64) {
        let until = self.used_until(group, now).saturating_add(rate.each);
        Arc::make_mut(&mut self.used_until).insert(group.to_owned(), until);
    }

    /// Forgets the groups that have all of their rates again.
    pub(super) fn forget(&mut self, now: i64) {
        if self.used_until.values().any(|until| *until <= now) {
            Arc::make_mut(&mut self.used_until).retain(|_, until| *until > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a group begin at once at a time.
    fn burst(rates: &mut GroupRates, rate: Rate, now: i64) -> usize {
        (0..1_000)
            .take_while(|_| {
                let may = rates.free_at("a", rate, now) <= now;
                if may {
                    rates.begin("a", rate, now);
                }
                may
            })
            .count()
    }

    #[test]
    fn a_group_begins_a_minutes_jobs_at_once_and_then_its_rate() {
        let mut rates = GroupRates::default();
        let rate = Rate::of_shard(80);
        assert_eq!(burst(&mut rates, rate, 0), 20, "a quarter of the queue's, as there are four shards");
        assert_eq!(burst(&mut rates, rate, 2_999), 0);
        assert_eq!(rates.free_at("a", rate, 2_999), 3_000);
        assert_eq!(burst(&mut rates, rate, 3_000), 1);
        assert_eq!(burst(&mut rates, rate, 33_000), 10);
        assert!(rates.free_at("b", rate, 33_000) <= 33_000, "another group has its own");
        rates.forget(1_000_000);
        assert!(rates.used_until.is_empty());
        assert_eq!(burst(&mut rates, rate, 1_000_000), 20);
    }

    #[test]
    fn the_lowest_rate_lets_one_begin() {
        let (mut rates, rate) = (GroupRates::default(), Rate::of_shard(1));
        assert_eq!(burst(&mut rates, rate, 0), 1);
        assert_eq!(burst(&mut rates, rate, 239_999), 0);
        assert_eq!(burst(&mut rates, rate, 240_000), 1);
    }
}
