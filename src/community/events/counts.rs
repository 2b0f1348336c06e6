//! When those who look at a list of events hear of an event's counts: at once, and then about once a second while answers go
//! on. The last counts are always told.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Least time between two times that the counts of an event are told.
const PERIOD: SignedDuration = SignedDuration::from_secs(1);
/// The counts should have been told so long ago: the job was dropped. The next answer tells them.
const TELLING_IS_LOST: SignedDuration = SignedDuration::from_mins(1);

/// How far lists of events have heard of an event's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountsTold {
    /// The counts are not told again before then.
    next: Timestamp,
    /// Whether there is a job that tells them then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_arranged: bool,
}

/// When counts that changed are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TellCounts {
    /// With the change itself.
    Now,
    /// By a job at this time, which tells what they are by then.
    At(Timestamp),
}

impl CountsTold {
    /// That they are told now.
    pub(super) fn at(now: Timestamp) -> Self {
        Self { next: after_a_pause(now), is_arranged: false }
    }

    /// What is kept of counts that changed, and when they are to be told, if that is still to be arranged.
    pub(super) fn note(before: Option<Self>, now: Timestamp) -> (Self, Option<TellCounts>) {
        let Some(before) = before else { return (Self::at(now), Some(TellCounts::Now)) };
        let late = now.duration_since(before.next);
        // A clock that was an hour ahead does not make all wait for an hour.
        let is_near = late.abs() < TELLING_IS_LOST;
        if before.is_arranged && is_near {
            return (before, None);
        }
        if before.is_arranged || late >= SignedDuration::ZERO {
            return (Self::at(now), Some(TellCounts::Now));
        }
        // A node whose clock is ahead does not make the others wait for longer than the pause.
        let next = before.next.min(after_a_pause(now));
        (Self { next, is_arranged: true }, Some(TellCounts::At(next)))
    }
}

fn after_a_pause(now: Timestamp) -> Timestamp {
    now.saturating_add(PERIOD).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn counts_are_told_at_once_and_then_once_a_second() {
        let mut told = None;
        let mut note = |millis| {
            let (kept, tell) = CountsTold::note(told, at(millis));
            told = Some(kept);
            tell
        };
        assert_eq!(note(0), Some(TellCounts::Now));
        assert_eq!(note(10), Some(TellCounts::At(at(1_000))), "the last of a burst");
        assert_eq!([note(20), note(999), note(1_500)], [None; 3], "the job tells these as well");
        // The job, a moment late.
        told = Some(CountsTold::at(at(1_600)));
        let mut note = |millis| {
            let (kept, tell) = CountsTold::note(told, at(millis));
            told = Some(kept);
            tell
        };
        assert_eq!(note(1_700), Some(TellCounts::At(at(2_600))));
        assert_eq!(note(2_600 + 59_999), None);
        assert_eq!(note(2_600 + 60_000), Some(TellCounts::Now), "the job was lost");
        assert_eq!(note(90_000), Some(TellCounts::Now), "after a quiet time");
    }

    #[test]
    fn a_clock_that_is_ahead_puts_nothing_off_for_long() {
        let (told, _) = CountsTold::note(Some(CountsTold::at(at(3_600_000))), at(0));
        assert_eq!(told, CountsTold { next: at(1_000), is_arranged: true });
        let arranged = CountsTold { next: at(3_600_000), is_arranged: true };
        assert_eq!(CountsTold::note(Some(arranged), at(0)).1, Some(TellCounts::Now));
    }

    #[test]
    fn what_is_kept_is_small_and_read_again() {
        let told = CountsTold::at(at(0));
        let kept = serde_json::to_string(&told).unwrap();
        assert_eq!(kept, r#"{"next":"1970-01-01T00:00:01Z"}"#);
        assert_eq!(serde_json::from_str::<CountsTold>(&kept).unwrap(), told);
    }
}
