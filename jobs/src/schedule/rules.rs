//! What is due of a schedule: a pure function of what has fired and of the time.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::timing::{Occurrence, Timing};

/// How a schedule makes up for occurrences at which no node was up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// Nothing: they are missed.
    Skip,
    /// The last one fires, for all of them.
    #[default]
    Once,
    /// Each one fires.
    All,
}

/// How late an occurrence may fire without having to be caught up.
const PUNCTUAL: SignedDuration = SignedDuration::from_mins(1);
/// Most occurrences that are decided upon at once; the others follow.
const MOST_AT_ONCE: usize = 100;
/// A clock that was ahead by more than this was wrong. What fired by it is forgotten, as the schedule would otherwise do
/// nothing until the time comes again. Within it nothing fires a second time.
const WRONG_CLOCK: SignedDuration = SignedDuration::from_hours(25);

/// What is known of a schedule: the row that decides whether an occurrence has fired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// The last occurrence that fired or was left out; nothing before it fires any more. At first, when the schedule was
    /// first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<Timestamp>,
    /// The local time of the last occurrence in the schedule's zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) local: Option<DateTime>,
    /// How often it fired.
    #[serde(default)]
    pub(super) count: u64,
    /// Occurrences that were left out.
    #[serde(default)]
    pub(super) missed: u64,
}

/// What comes of looking at a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// What fires now.
    pub fire: Vec<Occurrence>,
    /// How many are left out.
    pub missed: u64,
    /// When to look again; `None` if there is no further occurrence.
    pub next: Option<Timestamp>,
    /// Whether the clock was found to have been far ahead.
    pub was_ahead: bool,
}

/// Decides what fires, and writes it down in `fired`; whether there is anything to write.
pub(super) fn decide(
    fired: &mut Fired,
    timing: &Timing,
    catch_up: CatchUp,
    window: Duration,
    now: Timestamp,
) -> (Due, bool) {
    let mut due = Due::default();
    let Some(last) = fired.last else {
        // What was before a schedule was first seen is not owed by anybody.
        fired.last = Some(now);
        due.next = timing.after(now).map(|next| next.at);
        return (due, true);
    };
    let tolerance = match timing {
        Timing::Every(interval) => *interval,
        Timing::Cron { .. } => WRONG_CLOCK,
    };
    if last.duration_since(now) > tolerance {
        due.was_ahead = true;
        fired.last = Some(now);
        fired.local = None;
        due.next = timing.after(now).map(|next| next.at);
        return (due, true);
    }
    let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
    let oldest = now.checked_sub(window).unwrap_or(Timestamp::MIN);
    let mut at = last;
    if at < oldest {
        // What is older than the window is passed over in one step, however many those are.
        let skipped = timing.after(at).filter(|next| next.at <= oldest);
        due.missed += u64::from(skipped.is_some());
        at = oldest;
    }
    let mut found = Vec::new();
    while found.len() < MOST_AT_ONCE {
        let Some(next) = timing.after(at).filter(|next| next.at <= now) else { break };
        at = next.at;
        // The rules of a zone may have changed since the last one fired.
        if fired.local == Some(next.local) && timing.is_once_a_day(next.local) {
            continue;
        }
        found.push(next);
    }
    let is_more = found.len() == MOST_AT_ONCE;
    if let Some(newest) = found.last() {
        fired.local = Some(newest.local);
    }
    let count = found.len() as u64;
    due.fire = match catch_up {
        CatchUp::All => found,
        // Where more follow, none of these is the last.
        CatchUp::Once if is_more => Vec::new(),
        CatchUp::Once => found.pop().into_iter().collect(),
        CatchUp::Skip => found.into_iter().filter(|one| now.duration_since(one.at) <= PUNCTUAL).collect(),
    };
    due.missed += count - due.fire.len() as u64;
    fired.count += due.fire.len() as u64;
    fired.missed += due.missed;
    due.next = if is_more { Some(now) } else { timing.after(now.max(last)).map(|next| next.at) };
    let is_changed = at != last;
    fired.last = Some(at);
    (due, is_changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Looks at a daily schedule of nine o'clock in Paris at some times; what fired at each.
    fn looks(catch_up: CatchUp, window: Duration, times: &[&str]) -> Vec<Vec<String>> {
        let timing = Timing::cron("0 9 * * *", "Europe/Paris").unwrap();
        let mut fired = Fired::default();
        let look = |time: &&str| {
            let (due, _) = decide(&mut fired, &timing, catch_up, window, at(time));
            due.fire.iter().map(|one| one.local.to_string()).collect()
        };
        times.iter().map(look).collect()
    }

    #[test]
    fn t22_what_nobody_was_there_for_is_caught_up_as_it_was_said() {
        let times = ["2026-06-01T12:00:00Z", "2026-06-04T12:00:00Z", "2026-06-05T07:00:30Z"];
        let fired = |catch_up, window| looks(catch_up, window, &times)[1..].to_vec();
        assert_eq!(fired(CatchUp::Once, 7 * DAY), [vec!["2026-06-04T09:00:00"], vec!["2026-06-05T09:00:00"]]);
        let all = ["2026-06-02T09:00:00", "2026-06-03T09:00:00", "2026-06-04T09:00:00"];
        assert_eq!(fired(CatchUp::All, 7 * DAY), [all.to_vec(), vec!["2026-06-05T09:00:00"]]);
        assert_eq!(fired(CatchUp::Skip, 7 * DAY), [vec![], vec!["2026-06-05T09:00:00"]]);
        // The window ends how far back anything is owed.
        assert_eq!(fired(CatchUp::All, DAY), [vec!["2026-06-04T09:00:00"], vec!["2026-06-05T09:00:00"]]);
    }

    #[test]
    fn t25_a_clock_that_steps_fires_nothing_twice_and_forgets_nothing() {
        let fired = looks(
            CatchUp::Once,
            7 * DAY,
            &[
                "2026-06-01T12:00:00Z",
                "2026-06-02T07:00:00Z",
                // One hour and one day ahead, and back again.
                "2026-06-02T08:00:00Z",
                "2026-06-02T07:00:10Z",
                "2026-06-03T07:00:10Z",
                "2026-06-02T07:00:20Z",
                "2026-06-03T07:00:00Z",
                "2026-06-04T07:00:00Z",
            ],
        );
        let counts: Vec<_> = fired.iter().map(Vec::len).collect();
        assert_eq!(counts, [0, 1, 0, 0, 1, 0, 0, 1], "{fired:?}");
    }

    #[test]
    fn t25_a_clock_that_was_a_year_ahead_does_not_stop_a_schedule_for_a_year() {
        let fired = looks(
            CatchUp::Once,
            7 * DAY,
            &["2026-06-01T12:00:00Z", "2027-06-02T12:00:00Z", "2026-06-01T12:00:01Z", "2026-06-02T07:00:00Z"],
        );
        assert_eq!(fired.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 0, 1]);
    }

    #[test]
    fn t25_an_interval_goes_on_when_the_clock_steps_back() {
        let timing = Timing::every(Duration::from_mins(5)).unwrap();
        let mut fired = Fired { last: Some(at("2026-06-02T07:00:00Z")), ..Fired::default() };
        let mut look = |time| decide(&mut fired, &timing, CatchUp::Once, DAY, at(time)).0;
        assert!(look("2026-06-02T06:00:00Z").was_ahead);
        assert_eq!(look("2026-06-02T06:05:00Z").fire.len(), 1);
    }

    #[test]
    fn a_year_of_minutes_is_looked_at_in_bounded_steps() {
        let timing = Timing::cron("* * * * *", "UTC").unwrap();
        let mut fired = Fired { last: Some(at("2025-06-01T00:00:00Z")), ..Fired::default() };
        let now = at("2026-06-01T00:00:00Z");
        let mut total = 0;
        for looks in 1.. {
            let (due, _) = decide(&mut fired, &timing, CatchUp::All, DAY, now);
            assert!(due.fire.len() <= MOST_AT_ONCE);
            total += due.fire.len();
            if due.next.is_none_or(|next| next > now) {
                assert_eq!((looks, total), (15, 1440), "a day of them");
                break;
            }
        }
    }

    #[test]
    fn a_zone_whose_rules_change_fires_the_same_local_time_once() {
        let timing = Timing::cron("0 9 * * *", "Europe/Paris").unwrap();
        // By the rules of then, nine o'clock was an hour earlier.
        let local = "2026-06-02T09:00:00".parse().unwrap();
        let last = Some(at("2026-06-02T06:00:00Z"));
        let mut fired = Fired { last, local: Some(local), ..Fired::default() };
        let (due, _) = decide(&mut fired, &timing, CatchUp::Once, DAY, at("2026-06-02T12:00:00Z"));
        assert!(due.fire.is_empty(), "{due:?}");
    }
}
