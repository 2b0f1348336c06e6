//! What a poll takes, and what votes come to. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Fewest options of a poll.
pub const FEWEST_OPTIONS: usize = 2;
/// Most options of a poll.
pub const MOST_OPTIONS: usize = 8;
/// How long a poll is open at least and at most.
const OPEN_FOR: [SignedDuration; 2] = [SignedDuration::from_mins(5), SignedDuration::from_hours(90 * 24)];

/// What is asked with a post. It never changes, so nobody has voted for something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poll {
    /// What can be chosen.
    pub options: Vec<String>,
    /// Whether more than one can be.
    #[serde(default)]
    pub multiple: bool,
    /// From when on nobody votes any more.
    pub until: Timestamp,
}

/// What a user chose: the places of options, from 0 on; never nothing.
pub type Vote = BTreeSet<u8>;

/// How often was voted, by those whose votes are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    /// Users who voted.
    #[serde(default)]
    pub voters: u64,
    /// How many chose each option; options that nobody chose are absent.
    #[serde(default)]
    pub choices: BTreeMap<u8, u64>,
}

impl Poll {
    /// Whether nobody votes any more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.until
    }

    /// Whether it may be open so long, when it is made.
    pub fn is_timely(&self, made_at: Timestamp) -> bool {
        let [least, most] = OPEN_FOR;
        (least..=most).contains(&self.until.duration_since(made_at))
    }

    /// Whether there are options of these places, and as many may be chosen.
    pub fn takes(&self, vote: &Vote) -> bool {
        let is_there = |place: &u8| usize::from(*place) < self.options.len();
        !vote.is_empty() && vote.iter().all(is_there) && (self.multiple || vote.len() == 1)
    }
}

impl Votes {
    /// Counts a user's vote in the place of the one before; whether that changes anything.
    pub fn replace(&mut self, before: Option<&Vote>, after: Option<&Vote>) -> bool {
        if before == after {
            return false;
        }
        self.voters =
            self.voters.saturating_add(after.is_some().into()).saturating_sub(before.is_some().into());
        for place in before.into_iter().flatten() {
            if let Some(count) = self.choices.get_mut(place) {
                *count = count.saturating_sub(1);
            }
        }
        for place in after.into_iter().flatten() {
            *self.choices.entry(*place).or_default() += 1;
        }
        self.choices.retain(|_, count| *count > 0);
        true
    }

    /// Adds votes that were counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.voters = self.voters.saturating_add(other.voters);
        for (place, count) in &other.choices {
            *self.choices.entry(*place).or_default() += count;
        }
    }

    /// How many chose each of so many options.
    pub fn of_options(&self, options: usize) -> Vec<u64> {
        let places = (0..=u8::MAX).take(options);
        places.map(|place| self.choices.get(&place).copied().unwrap_or_default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn poll(options: usize, multiple: bool) -> Poll {
        let options = (0..options).map(|option| option.to_string()).collect();
        Poll { options, multiple, until: Timestamp::from_second(1_000_000).unwrap() }
    }

    #[test]
    fn a_poll_takes_what_can_be_chosen() {
        let (one, many) = (poll(3, false), poll(3, true));
        assert!(one.takes(&[2].into()) && !one.takes(&[3].into()) && !one.takes(&[0, 1].into()));
        assert!(many.takes(&[0, 1, 2].into()) && !many.takes(&[0, 3].into()) && !many.takes(&Vote::new()));
    }

    #[test]
    fn a_poll_is_over_at_its_time() {
        let poll = poll(2, false);
        let at = |seconds: i64| poll.until + SignedDuration::from_secs(seconds);
        assert!(!poll.is_over(at(-1)) && poll.is_over(at(0)));
        assert!(poll.is_timely(at(-300)) && !poll.is_timely(at(-299)));
        assert!(poll.is_timely(at(-90 * 86_400)) && !poll.is_timely(at(-90 * 86_400 - 1)));
    }

    proptest! {
        #[test]
        fn counts_are_what_the_last_votes_come_to(
            votes in prop::collection::vec((0..4_usize, prop::option::of(prop::collection::btree_set(0..8_u8, 1..4))), 0..40),
        ) {
            // Users vote in two shards.
            let (mut shards, mut last) = ([Votes::default(), Votes::default()], BTreeMap::<usize, Vote>::new());
            for (user, vote) in votes {
                let changed = shards[user % 2].replace(last.get(&user), vote.as_ref());
                prop_assert_eq!(changed, last.get(&user) != vote.as_ref());
                match vote {
                    Some(vote) => drop(last.insert(user, vote)),
                    None => drop(last.remove(&user)),
                }
            }
            let mut sum = Votes::default();
            for shard in &shards {
                sum.add(shard);
            }
            prop_assert_eq!(sum.voters, last.len() as u64);
            let counted = |place: u8| last.values().filter(|vote| vote.contains(&place)).count() as u64;
            prop_assert_eq!(sum.of_options(8), (0..8).map(counted).collect::<Vec<_>>());
        }
    }
}
