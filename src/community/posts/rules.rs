//! What a reaction does to a post.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a reader thinks of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ReactionType {
    Heart,
    Like,
    Celebrate,
    Laugh,
    Support,
}

/// How often a post was reacted to, by those whose reactions are counted together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// How many reactions of each kind; kinds without any are absent.
    #[serde(default)]
    pub reactions: BTreeMap<ReactionType, u64>,
}

/// Adds reactions to those that were counted elsewhere.
pub fn add(sum: &mut BTreeMap<ReactionType, u64>, counts: &Counts) {
    for (reaction, count) in &counts.reactions {
        *sum.entry(*reaction).or_default() += count;
    }
}

/// Counts a user's reaction in the place of the one before; whether that changes anything.
pub fn react(counts: &mut Counts, previous: Option<ReactionType>, reaction: Option<ReactionType>) -> bool {
    if previous == reaction {
        return false;
    }
    if let Some(count) = previous.and_then(|previous| counts.reactions.get_mut(&previous)) {
        *count = count.saturating_sub(1);
    }
    if let Some(reaction) = reaction {
        *counts.reactions.entry(reaction).or_default() += 1;
    }
    counts.reactions.retain(|_, count| *count > 0);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaction_takes_the_place_of_the_one_before() {
        let mut counts = Counts::default();
        assert!(react(&mut counts, None, Some(ReactionType::Heart)));
        assert!(!react(&mut counts, Some(ReactionType::Heart), Some(ReactionType::Heart)));
        assert!(react(&mut counts, Some(ReactionType::Heart), Some(ReactionType::Laugh)));
        assert_eq!(counts.reactions, BTreeMap::from([(ReactionType::Laugh, 1)]));
        assert!(react(&mut counts, Some(ReactionType::Laugh), None));
        assert!(counts.reactions.is_empty());
    }
}
