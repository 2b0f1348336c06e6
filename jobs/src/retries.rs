//! The budget of a shard's retries: when all attempts fail, what is tried again must not be most of what is done.

use serde::{Deserialize, Serialize};

/// The price of a retry, in jobs that were done: a fifth of the work may be retries.
const COST: u32 = 5;
/// The most that may be spent before any job is done: 100 retries at once.
const MOST: u32 = 100 * COST;
/// The time between retries beyond that, in milliseconds.
const EVERY: i64 = 100;
/// The longest that the budget makes a retry wait, in milliseconds.
const LONGEST: i64 = 3_600_000;

/// The balance of retries (which spend) and jobs that were done (which earn). When all is spent, retries are planned one
/// after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RetryBudget {
    spent: u32,
    /// When the next retry beyond the budget may be, in milliseconds of the Unix epoch.
    next: i64,
}

impl RetryBudget {
    /// Counts a job that was done.
    pub(crate) fn earn(&mut self) {
        self.spent = self.spent.saturating_sub(1);
    }

    /// When a job is tried again that would be due at a time.
    pub(crate) fn plan(&mut self, due: i64, now: i64) -> i64 {
        if self.spent + COST <= MOST {
            self.spent += COST;
            return due;
        }
        let slot = self.next.clamp(now, now.saturating_add(LONGEST));
        self.next = slot.saturating_add(EVERY);
        due.max(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t15_when_all_fails_retries_come_one_after_the_other() {
        let mut budget = RetryBudget::default();
        let due: Vec<_> = (0..300).map(|_| budget.plan(5_000, 0)).collect();
        assert!(due[..150].iter().all(|due| *due == 5_000), "the first ones as their pauses say");
        assert_eq!((due[200], due[299]), (10_000, 19_900));
        let far = (0..100_000).map(|_| budget.plan(5_000, 0)).max().unwrap();
        assert_eq!(far, LONGEST, "no retry waits longer for the budget");
    }

    #[test]
    fn while_most_is_done_retries_are_not_held_back() {
        let mut budget = RetryBudget::default();
        for now in 0..10_000 {
            for _ in 0..COST {
                budget.earn();
            }
            assert_eq!(budget.plan(now, now), now);
        }
    }
}
