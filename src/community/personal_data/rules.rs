//! How a round of the sweep goes on, as pure functions of what is kept of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Most who leave, and most who want an export, of one round; the others wait for the next one.
pub const MOST_OF_A_ROUND: usize = 200;
/// Most who leave or want an export at the same time; others are told to come later.
pub const MOST_WAITING: usize = 10_000;
/// A sweeper that was not heard of for so long is taken for dead.
pub const SILENT_FOR: SignedDuration = SignedDuration::from_secs(120);
/// Rounds after which somebody should look why traces of a user stay.
pub const MOST_ROUNDS: u32 = 10;

/// How far a departure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DepartureStage)]
pub enum Stage {
    /// The account is hidden, and can still be kept.
    Leaving,
    /// What is open is being settled: events, stays, places.
    Settling,
    /// It waits for a round that goes over all that is stored, or is part of one.
    Sweeping,
}

/// Somebody who leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// Since when.
    pub since: Timestamp,
    /// Until when the account can be kept.
    pub until: Timestamp,
    /// How far it is.
    pub stage: Stage,
    /// The id of nobody that stands where the user's stood; once the sweep begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Rounds that were made for it.
    #[serde(default)]
    pub rounds: u32,
    /// What the last round changed, and what it could not.
    #[serde(default)]
    pub last: Tally,
}

/// What a round did for one user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Partitions, rows and entries that it changed or removed.
    pub changed: u64,
    /// Partitions and entries in which the user is left.
    pub left: u64,
}

/// Where a round is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Which of the kinds and indexes, in the order of the schema.
    pub table: usize,
    /// Behind which position in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// A round over all that is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Rises with each.
    pub number: u64,
    /// When it began.
    pub begun_at: Timestamp,
    /// Where it is.
    pub place: Place,
    /// Partitions and entries that it has gone over.
    pub looked_at: u64,
    /// Those who leave, and what was done for each so far.
    pub leavers: BTreeMap<String, Tally>,
    /// Those who want an export.
    pub exporters: Vec<String>,
}

/// Who makes the round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runner {
    /// The job, and its attempt.
    pub job: String,
    /// When it was heard of last.
    pub heard_at: Timestamp,
}

/// What is kept of all rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sweep {
    /// The one under way.
    pub round: Option<Round>,
    /// Who makes it.
    pub runner: Option<Runner>,
    /// How many rounds there were.
    pub rounds: u64,
    /// Partitions and entries that the last whole one went over: about so many the next one will.
    pub last_looked_at: u64,
    /// Users who have left, and of whom nothing is there any more.
    pub done: u64,
    /// Those who wait.
    pub waiting: usize,
}

impl Sweep {
    /// Lets a sweeper go on, unless another one does; whether it may.
    pub fn admit(&mut self, job: &str, now: Timestamp) -> bool {
        let is_other =
            |runner: &Runner| runner.job != job && now.duration_since(runner.heard_at) < SILENT_FOR;
        if self.runner.as_ref().is_some_and(is_other) {
            return false;
        }
        self.runner = Some(Runner { job: job.to_owned(), heard_at: now });
        true
    }

    /// Begins a round for those who wait, if there is none under way and somebody waits.
    pub fn begin(&mut self, leavers: Vec<String>, exporters: Vec<String>, now: Timestamp) {
        if self.round.is_some() || (leavers.is_empty() && exporters.is_empty()) {
            return;
        }
        self.rounds += 1;
        self.round = Some(Round {
            number: self.rounds,
            begun_at: now,
            place: Place::default(),
            looked_at: 0,
            leavers: leavers.into_iter().map(|user| (user, Tally::default())).collect(),
            exporters,
        });
    }

    /// Notes that a page is done; whether the sweeper still is the one.
    pub fn advance(&mut self, job: &str, page: &Page, now: Timestamp) -> bool {
        if self.runner.as_ref().is_none_or(|runner| runner.job != job) {
            return false;
        }
        let Some(round) = self.round.as_mut().filter(|round| round.place == page.before) else {
            return false;
        };
        round.place = page.after.clone();
        round.looked_at += page.looked_at;
        for (user, tally) in &page.leavers {
            let sum = round.leavers.entry(user.clone()).or_default();
            sum.changed += tally.changed;
            sum.left += tally.left;
        }
        self.runner = Some(Runner { job: job.to_owned(), heard_at: now });
        true
    }

    /// Ends the round; it, if there was one.
    pub fn end(&mut self) -> Option<Round> {
        let round = self.round.take()?;
        self.last_looked_at = round.looked_at;
        Some(round)
    }
}

/// What was done with a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Where it began.
    pub before: Place,
    /// Where the next one begins.
    pub after: Place,
    /// How many partitions or entries it had.
    pub looked_at: u64,
    /// What was done for each who leaves.
    pub leavers: BTreeMap<String, Tally>,
}

impl Departure {
    /// Somebody who leaves since a time.
    pub fn new(since: Timestamp, until: Timestamp, stage: Stage) -> Self {
        Self { since, until, stage, alias: None, rounds: 0, last: Tally::default() }
    }

    /// Notes what a round did; whether nothing of the user is there any more: a whole round found nothing.
    pub fn note_round(&mut self, tally: Tally) -> bool {
        self.rounds += 1;
        self.last = tally;
        tally == Tally::default()
    }

    /// Whether traces stay, however often they are removed: somebody should look.
    pub fn is_stuck(&self) -> bool {
        self.rounds >= MOST_ROUNDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn page(before: usize, after: usize, changed: u64) -> Page {
        let place = |table| Place { table, from: None };
        let leavers = BTreeMap::from([("ana".to_owned(), Tally { changed, left: 0 })]);
        Page { before: place(before), after: place(after), looked_at: 10, leavers }
    }

    #[test]
    fn one_sweeper_goes_on_at_a_time_and_a_silent_one_is_replaced() {
        let mut sweep = Sweep::default();
        assert!(sweep.admit("a", at(0)) && sweep.admit("a", at(1)));
        assert!(!sweep.admit("b", at(100)));
        assert!(sweep.admit("b", at(121)));
        sweep.begin(vec!["ana".to_owned()], Vec::new(), at(121));
        assert!(!sweep.advance("a", &page(0, 1, 1), at(122)), "who was replaced writes nothing down");
        assert!(sweep.advance("b", &page(0, 1, 1), at(122)));
        assert!(!sweep.advance("b", &page(0, 1, 1), at(122)), "a page counts once");
        assert!(sweep.advance("b", &page(1, 2, 2), at(123)));
        let round = sweep.end().unwrap();
        assert_eq!((round.looked_at, round.leavers["ana"].changed), (20, 3));
        assert_eq!((sweep.end(), sweep.last_looked_at), (None, 20));
    }

    #[test]
    fn a_round_takes_nobody_in_who_comes_while_it_is_under_way() {
        let mut sweep = Sweep::default();
        sweep.begin(Vec::new(), Vec::new(), at(0));
        assert_eq!(sweep.round, None);
        sweep.begin(vec!["ana".to_owned()], Vec::new(), at(0));
        sweep.begin(vec!["ben".to_owned()], Vec::new(), at(1));
        assert_eq!(sweep.round.unwrap().leavers.into_keys().collect::<Vec<_>>(), ["ana"]);
    }

    #[test]
    fn nobody_is_gone_before_a_whole_round_has_found_nothing() {
        let mut departure = Departure::new(at(0), at(1), Stage::Sweeping);
        assert!(!departure.note_round(Tally { changed: 3, left: 0 }));
        assert!(!departure.note_round(Tally { changed: 0, left: 1 }));
        assert!(departure.note_round(Tally::default()));
        assert!(!departure.is_stuck());
    }
}
