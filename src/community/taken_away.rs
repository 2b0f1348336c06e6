//! Decisions of the moderators that take a thing away, as the thing's own partition keeps them: it is hidden while one of them does,
//! and is as it was once none does any more. Pure.

use std::collections::BTreeSet;

use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

/// Most decisions that take one thing away.
const MOST: usize = 20;

/// The decisions that take a thing away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TakenAway(BTreeSet<String>);

/// What came of a decision that takes a thing away, or does so no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was so before.
    None,
    /// It is noted, and the thing is hidden as before.
    Noted,
    /// The thing is hidden by it, or shown again.
    Turned,
}

impl TakenAway {
    /// Whether no decision takes the thing away.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this decision takes it away.
    pub fn has(&self, decision: &str) -> bool {
        self.0.contains(decision)
    }

    /// Has a decision take the thing away.
    pub fn take(&mut self, decision: &str) -> Result<Change, StoreError> {
        if self.has(decision) {
            return Ok(Change::None);
        }
        if self.0.len() >= MOST {
            return Err(StoreError::Full("the list of decisions that take this away"));
        }
        let is_first = self.0.is_empty();
        self.0.insert(decision.to_owned());
        Ok(if is_first { Change::Turned } else { Change::Noted })
    }

    /// Has a decision take the thing away no longer.
    pub fn give_back(&mut self, decision: &str) -> Change {
        if !self.0.remove(decision) {
            return Change::None;
        }
        if self.0.is_empty() { Change::Turned } else { Change::Noted }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Take(u8),
        GiveBack(u8),
    }

    proptest! {
        /// However often each is carried out and in which order, the thing is hidden exactly while a decision stands.
        #[test]
        fn a_thing_is_hidden_exactly_while_a_decision_stands(
            acts in prop::collection::vec(
                (any::<bool>(), 0u8..4).prop_map(|(takes, by)| if takes { Act::Take(by) } else { Act::GiveBack(by) }),
                0..40,
            ),
        ) {
            let (mut taken, mut standing) = (TakenAway::default(), BTreeSet::new());
            for act in acts {
                let was_hidden = !taken.is_empty();
                let (change, is_new) = match act {
                    Act::Take(by) => (taken.take(&by.to_string()).unwrap(), standing.insert(by)),
                    Act::GiveBack(by) => (taken.give_back(&by.to_string()), standing.remove(&by)),
                };
                prop_assert_eq!(taken.is_empty(), standing.is_empty());
                prop_assert!((0..4).all(|by| taken.has(&by.to_string()) == standing.contains(&by)));
                prop_assert_eq!(change != Change::None, is_new, "carried out again, it changes nothing");
                let is_hidden = !taken.is_empty();
                prop_assert_eq!(change == Change::Turned, was_hidden != is_hidden);
            }
        }
    }

    #[test]
    fn there_is_an_end_of_decisions_about_one_thing() {
        let mut taken = TakenAway::default();
        for by in 0..MOST {
            taken.take(&by.to_string()).unwrap();
        }
        assert!(matches!(taken.take("x"), Err(StoreError::Full(_))));
        assert_eq!(taken.take("0").unwrap(), Change::None, "one that is there is there");
    }
}
