//! The inbox of a user, as pure rules: what is unread, what is pushed, and what goes into a digest.
//!
//! What is unread is a set of numbers, never a counter that goes up and down: it cannot drift. Rungs of the ladder are claimed
//! here, in the same change that decides what they tell, so that two of them never tell the same.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Notifications that a user has; the oldest go when there are more.
pub const MOST: usize = 500;
/// Jobs that are remembered, so that one which is done again notifies nobody again.
const REMEMBERED: usize = 32;
/// Pushes to a user in an hour; what comes on top waits for the digest.
pub const PUSHES_AN_HOUR: usize = 12;
/// Notifications that one push can name; of more it says how many there are.
pub const MOST_NAMED: usize = 20;
/// A rung that was to be taken so long ago was lost: an operator dropped its job. The next notification begins it again.
const RUNG_IS_LOST: SignedDuration = SignedDuration::from_hours(1);

/// What changes about a user's notifications besides the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbox {
    /// The number of the newest one.
    #[serde(default)]
    pub last: u64,
    /// The numbers of those that are there.
    #[serde(default)]
    pub there: BTreeSet<u64>,
    /// The numbers of those that are not read.
    #[serde(default)]
    pub unread: BTreeSet<u64>,
    /// A device of the user's has shown all up to this number.
    #[serde(default)]
    pub shown: u64,
    /// All up to this number were pushed, or are not to be.
    #[serde(default)]
    pub pushed: u64,
    /// All up to this number were in a digest, or are not to be.
    #[serde(default)]
    pub digested: u64,
    /// When the next push is to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_at: Option<Timestamp>,
    /// When the next digest is to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_at: Option<Timestamp>,
    /// When devices are to be told what is still unread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_at: Option<Timestamp>,
    /// The push that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushing: Option<Rung>,
    /// When the last pushes were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pushes: Vec<Timestamp>,
    /// The local day of the last digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_on: Option<Date>,
    /// The jobs that notified last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// What one rung of the ladder tells: frozen when its job began, so that the job tells the same however often it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// The job.
    pub job: String,
    /// The numbers, the oldest first.
    pub numbers: Vec<u64>,
    /// Devices that have been told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<String>,
    /// Jobs whose numbers it took over: they have nothing to tell any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relieved: Vec<String>,
}

/// What came of a new notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its number.
    pub number: u64,
    /// The numbers of those that made room.
    pub gone: Vec<u64>,
}

impl Inbox {
    /// Gives a notification a number; `None` where the job did that before. `replaced` is the one of the same thing that it
    /// takes the place of, if that is unread.
    pub fn add(&mut self, source: &str, replaced: Option<u64>) -> Option<Added> {
        if self.sources.iter().any(|known| known == source) {
            return None;
        }
        if self.sources.len() >= REMEMBERED {
            self.sources.remove(0);
        }
        self.sources.push(source.to_owned());
        let mut gone: Vec<_> = replaced.into_iter().collect();
        self.last += 1;
        self.there.insert(self.last);
        self.unread.insert(self.last);
        let too_many = self.there.len().saturating_sub(MOST + gone.len());
        gone.extend(self.there.iter().copied().filter(|number| Some(*number) != replaced).take(too_many));
        for number in &gone {
            self.remove(*number);
        }
        Some(Added { number: self.last, gone })
    }

    /// Takes one away.
    pub fn remove(&mut self, number: u64) {
        self.there.remove(&number);
        self.unread.remove(&number);
    }

    /// Whether a push is still to be arranged, where one is wanted at a time; it is noted then.
    pub fn arrange_push(&mut self, at: Timestamp, now: Timestamp) -> bool {
        arrange(&mut self.push_at, at, now)
    }

    /// Whether a digest is still to be arranged, where one is wanted at a time; it is noted then.
    pub fn arrange_digest(&mut self, at: Timestamp, now: Timestamp) -> bool {
        arrange(&mut self.digest_at, at, now)
    }

    /// Whether devices are still to be told what is unread. They are told nothing where nothing was pushed.
    pub fn arrange_clear(&mut self, at: Timestamp, now: Timestamp) -> bool {
        self.pushed > 0 && arrange(&mut self.clear_at, at, now)
    }

    /// What a job is to push. It is frozen for this job: again it gets the same, without what was read meanwhile.
    pub fn take_push(&mut self, job: &str, now: Timestamp) -> Rung {
        if let Some(rung) = self.pushing.as_mut().filter(|rung| rung.job == job) {
            rung.numbers.retain(|number| self.unread.contains(number));
            return rung.clone();
        }
        let before = self.pushing.take();
        if let Some(rung) = before.as_ref().filter(|rung| rung.relieved.iter().any(|known| known == job)) {
            let nothing = Rung { job: job.to_owned(), ..Rung::default() };
            self.pushing = Some(rung.clone());
            return nothing;
        }
        self.push_at = None;
        self.pushes.retain(|at| now.duration_since(*at) < SignedDuration::from_hours(1));
        // What another job could not deliver yet is told with what came since.
        let (left, relieved) = before.map_or_else(Default::default, |before| {
            let Rung { job, numbers, mut relieved, .. } = before;
            relieved.push(job);
            // More than so many attempts none of them makes.
            let surplus = relieved.len().saturating_sub(REMEMBERED);
            relieved.drain(..surplus);
            (numbers, relieved)
        });
        let from = self.pushed.max(self.shown);
        let fresh: Vec<_> = self.unread.range(from + 1..).copied().collect();
        let mut numbers: Vec<_> = left.into_iter().filter(|number| self.unread.contains(number)).collect();
        if self.pushes.len() < PUSHES_AN_HOUR {
            if !fresh.is_empty() {
                self.pushes.push(now);
            }
            numbers.extend(fresh);
        }
        self.pushed = self.last;
        let rung = Rung { job: job.to_owned(), numbers, told: Vec::new(), relieved };
        self.pushing = Some(rung.clone());
        rung
    }

    /// Notes that a job has told all devices.
    pub fn finish_push(&mut self, job: &str) -> bool {
        self.pushing.take_if(|rung| rung.job == job).is_some()
    }

    /// The numbers of what a digest tells, the newest last, on a local day; none where that day had one. What that one did not
    /// tell waits for the next, if there is one.
    pub fn take_digest(&mut self, today: Date, next: Option<Timestamp>) -> Vec<u64> {
        self.digest_at = None;
        let numbers: Vec<_> = self.unread.range(self.digested + 1..).copied().collect();
        if self.digest_on.is_some_and(|day| day >= today) {
            self.digest_at = next.filter(|_| !numbers.is_empty());
            return Vec::new();
        }
        if !numbers.is_empty() {
            self.digest_on = Some(today);
            self.digested = self.last;
        }
        numbers
    }
}

fn arrange(arranged: &mut Option<Timestamp>, at: Timestamp, now: Timestamp) -> bool {
    // One that is arranged for later than it is wanted now was arranged by other preferences.
    let stands = arranged.is_some_and(|known| known <= at && now.duration_since(known) < RUNG_IS_LOST);
    if !stands {
        *arranged = Some(at);
    }
    !stands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn unread_is_a_set_and_one_that_replaces_another_counts_once() {
        let mut inbox = Inbox::default();
        for job in ["a", "b", "a"] {
            inbox.add(job, None);
        }
        assert_eq!((inbox.unread.len(), inbox.last), (2, 2), "a job that is done again notifies nobody");
        assert_eq!(inbox.add("c", Some(2)), Some(Added { number: 3, gone: vec![2] }));
        assert_eq!(inbox.unread, BTreeSet::from([1, 3]));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut inbox = Inbox::default();
        for job in 0..=MOST {
            inbox.add(&job.to_string(), None);
        }
        assert_eq!((inbox.there.len(), inbox.unread.len()), (MOST, MOST));
        assert!(!inbox.unread.contains(&1));
        let added = inbox.add("one more", Some(2)).unwrap();
        assert_eq!(added.gone, [2], "what is replaced makes room enough");
    }

    #[test]
    fn a_storm_becomes_one_push_and_none_is_told_twice() {
        let mut inbox = Inbox::default();
        let mut arranged = 0;
        for job in 0..100 {
            inbox.add(&job.to_string(), None);
            arranged += usize::from(inbox.arrange_push(at(10), at(0)));
        }
        assert_eq!(arranged, 1);
        let rung = inbox.take_push("push", at(10));
        assert_eq!(rung.numbers.len(), 100);
        inbox.unread.remove(&50);
        assert_eq!(
            inbox.take_push("push", at(11)).numbers.len(),
            99,
            "the same again, without what was read"
        );
        assert!(inbox.finish_push("push"));
        assert!(inbox.take_push("another", at(12)).numbers.is_empty());
    }

    #[test]
    fn what_one_job_could_not_push_the_next_one_does() {
        let mut inbox = Inbox::default();
        inbox.add("a", None);
        assert_eq!(inbox.take_push("first", at(0)).numbers, [1]);
        inbox.add("b", None);
        assert_eq!(inbox.take_push("second", at(60)).numbers, [1, 2]);
        assert!(!inbox.finish_push("first"), "the second has it now");
        assert!(inbox.take_push("first", at(61)).numbers.is_empty());
        assert_eq!(inbox.take_push("second", at(62)).numbers, [1, 2]);
    }

    #[test]
    fn what_a_device_has_shown_is_not_pushed() {
        let mut inbox = Inbox::default();
        inbox.add("a", None);
        inbox.shown = 1;
        inbox.add("b", None);
        assert_eq!(inbox.take_push("push", at(0)).numbers, [2]);
    }

    #[test]
    fn pushes_have_a_budget_and_what_is_over_it_stays_for_the_digest() {
        let mut inbox = Inbox::default();
        let mut told = 0;
        for minute in 0..60 {
            inbox.add(&minute.to_string(), None);
            let job = format!("push {minute}");
            told += inbox.take_push(&job, at(minute * 60)).numbers.len();
            inbox.finish_push(&job);
        }
        assert_eq!(told, PUSHES_AN_HOUR);
        assert_eq!(inbox.take_digest("2027-01-15".parse().unwrap(), None).len(), 60);
    }

    #[test]
    fn t27_a_day_has_one_digest() {
        let (today, tomorrow) = ("2027-01-15".parse().unwrap(), "2027-01-16".parse().unwrap());
        let mut inbox = Inbox::default();
        assert!(inbox.take_digest(today, Some(at(90))).is_empty(), "nothing is unread");
        inbox.add("a", None);
        assert_eq!(inbox.take_digest(today, Some(at(90))), [1]);
        inbox.add("b", None);
        assert!(inbox.take_digest(today, Some(at(90))).is_empty());
        assert_eq!(inbox.digest_at, Some(at(90)), "what came since waits for the next one");
        assert_eq!(inbox.take_digest(tomorrow, None), [2]);
    }

    #[test]
    fn a_rung_whose_job_was_dropped_is_arranged_again() {
        let mut inbox = Inbox::default();
        assert!(inbox.arrange_push(at(10), at(0)));
        assert!(!inbox.arrange_push(at(20), at(10)));
        assert!(inbox.arrange_push(at(5), at(0)), "sooner than it was arranged");
        assert!(inbox.arrange_push(at(3_700), at(3_690)));
        assert!(!inbox.arrange_clear(at(1), at(0)), "nothing was pushed");
    }
}
