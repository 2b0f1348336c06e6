//! Lists in parts that fill one after the other, and requests that are run again: what an earlier run wrote may lie in a part before
//! the one that takes what is new.

use jiff::{SignedDuration, Timestamp};

/// By how much clocks of nodes may differ.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(10);
/// Parts before the present one in which it is looked for what a request wrote that was cut off.
pub(super) const MOST_BEFORE: u32 = 32;

/// Whether a part that was opened at a time may not have been there when a request ran first.
pub(super) fn may_be_later(opened_at: Timestamp, first_run: Timestamp) -> bool {
    opened_at > first_run.checked_sub(CLOCKS_DIFFER).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_hide_no_earlier_run() {
        let run = Timestamp::UNIX_EPOCH;
        for (seconds, is_later) in [(-11, false), (-10, false), (-9, true), (0, true), (60, true)] {
            let opened_at = run + SignedDuration::from_secs(seconds);
            assert_eq!(may_be_later(opened_at, run), is_later, "{seconds}");
        }
        assert!(may_be_later(run, Timestamp::MIN));
    }
}
