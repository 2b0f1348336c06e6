//! Who gets a place: parties of people who dance one role or the other, limits in all and by role, and the lines of those who
//! wait.
//!
//! **First come, first served.** Nobody passes a party that waits for the same: not a newcomer, and not a smaller party that
//! would fit. Who dances leads only and who dances follows only wait for different places, so they have lines of their own,
//! and one of them goes on while the other stands. A party that holds both passes nobody and is passed by nobody.

use serde::{Deserialize, Serialize};

/// What somebody dances.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum DanceRole {
    /// Leads.
    Lead,
    /// Follows.
    Follow,
    /// Either, as it is needed.
    Both,
    /// Neither, or has not said.
    #[default]
    None,
}

/// Those who come by one answer: a user, and guests whom the user brings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// What the user dances.
    #[serde(default)]
    pub role: DanceRole,
    /// What each of the guests dances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<DanceRole>,
}

/// Most guests of one user.
pub const MOST_GUESTS: usize = 9;

impl Party {
    /// A user who comes alone and has not said a role: what an answer without a party is.
    pub fn is_one(&self) -> bool {
        *self == Self::default()
    }

    /// How many they are, by what they dance.
    pub fn heads(&self) -> Heads {
        let mut heads = Heads::default();
        for role in self.guests.iter().chain([&self.role]) {
            match role {
                DanceRole::Lead => heads.leads += 1,
                DanceRole::Follow => heads.follows += 1,
                DanceRole::Both => heads.both += 1,
                DanceRole::None => heads.none += 1,
            }
        }
        heads
    }
}

/// People, counted by what they dance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heads {
    /// Lead.
    pub leads: u32,
    /// Follow.
    pub follows: u32,
    /// Do either.
    pub both: u32,
    /// Do neither, or have not said.
    pub none: u32,
}

impl Heads {
    fn parts(self) -> [u32; 4] {
        [self.leads, self.follows, self.both, self.none]
    }

    fn with(self, other: Self, join: fn(u32, u32) -> u32) -> Self {
        Self {
            leads: join(self.leads, other.leads),
            follows: join(self.follows, other.follows),
            both: join(self.both, other.both),
            none: join(self.none, other.none),
        }
    }

    /// All of them.
    pub fn total(self) -> u32 {
        self.parts().into_iter().fold(0, u32::saturating_add)
    }

    /// Together with others.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        self.with(others, u32::saturating_add)
    }

    /// Without some of them.
    #[must_use]
    pub fn without(self, some: Self) -> Self {
        self.with(some, u32::saturating_sub)
    }

    /// Whether of no role there are more than among others.
    pub fn is_within(self, others: Self) -> bool {
        self.parts().into_iter().zip(others.parts()).all(|(own, other)| own <= other)
    }
}

/// How many may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// In all; `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
    /// Who lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leads: Option<u32>,
    /// Who follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<u32>,
}

/// Which limit it is that binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// Of all who come.
    Capacity,
    /// Of those who lead.
    Leads,
    /// Of those who follow.
    Follows,
    /// Of both roles together: of those who would dance either, so many find no partner.
    Dancers,
}

impl Limits {
    /// In all only.
    pub fn total(total: Option<u32>) -> Self {
        Self { total, ..Self::default() }
    }

    /// The limit that so many are too many for.
    ///
    /// Who dances either role takes none until the door. There is a place for each exactly if each role has room for its
    /// own, and both together for all who dance (Hall's condition for two roles).
    pub fn broken_by(&self, heads: Heads) -> Option<Limit> {
        let is_above = |limit: Option<u32>, count| limit.is_some_and(|limit| count > limit);
        let both_roles = self.leads.zip(self.follows).map(|(leads, follows)| leads.saturating_add(follows));
        let dancers = Heads { none: 0, ..heads }.total();
        let limits = [
            (self.total, heads.total(), Limit::Capacity),
            (self.leads, heads.leads, Limit::Leads),
            (self.follows, heads.follows, Limit::Follows),
            (both_roles, dancers, Limit::Dancers),
        ];
        limits.into_iter().find(|(limit, count, _)| is_above(*limit, *count)).map(|(_, _, which)| which)
    }

    /// Whether people take no more of any limit than others do.
    pub fn asks_no_more(&self, heads: Heads, than: Heads) -> bool {
        let dancers = |heads: Heads| Heads { none: 0, ..heads }.total();
        heads.total() <= than.total()
            && (self.leads.is_none() || heads.leads <= than.leads)
            && (self.follows.is_none() || heads.follows <= than.follows)
            && (self.leads.is_none() || self.follows.is_none() || dancers(heads) <= dancers(than))
    }

    /// How many may come in before the total is reached.
    pub fn room(&self, heads: Heads) -> u32 {
        self.total.map_or(u32::MAX, |total| total.saturating_sub(heads.total()))
    }
}

/// A line of those who wait. All count their numbers together, so that it is known who came first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// Parties of several roles, and all where roles have no limits.
    #[default]
    Any,
    /// Who lead.
    Leads,
    /// Who follow.
    Follows,
    /// Who do not dance.
    Others,
}

impl Line {
    /// All lines.
    pub const ALL: [Self; 4] = [Self::Any, Self::Leads, Self::Follows, Self::Others];

    /// Whether it is the line of all.
    pub fn is_of_all(&self) -> bool {
        *self == Self::Any
    }

    /// Where a party waits.
    pub fn of(party: Heads, limits: &Limits) -> Self {
        if limits.leads.is_none() && limits.follows.is_none() {
            return Self::Any;
        }
        match party.parts() {
            [_, 0, 0, 0] => Self::Leads,
            [0, _, 0, 0] => Self::Follows,
            [0, 0, 0, _] => Self::Others,
            _ => Self::Any,
        }
    }
}

/// A party that is the first of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// Its line.
    pub line: Line,
    /// Its number: the lower one came first.
    pub number: u64,
    /// Who they are.
    pub party: Heads,
}

/// Which of the parties that are first in their lines gets a place, beside those who have one.
pub fn next_in(going: Heads, limits: &Limits, firsts: &[First]) -> Option<First> {
    let mut firsts = firsts.to_vec();
    firsts.sort_unstable_by_key(|first| first.number);
    let mut a_role_stands = false;
    for first in firsts {
        let is_mixed = first.line == Line::Any;
        match limits.broken_by(going.and(first.party)) {
            // A party of several roles is not let past those who wait for one of them.
            None if !(is_mixed && a_role_stands) => return Some(first),
            Some(Limit::Leads | Limit::Follows | Limit::Dancers) if !is_mixed => a_role_stands = true,
            // Whoever came later would take of what this party waits for.
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn heads(leads: u32, follows: u32, both: u32, none: u32) -> Heads {
        Heads { leads, follows, both, none }
    }

    fn first(line: Line, number: u64, party: Heads) -> First {
        First { line, number, party }
    }

    const ROLES: Limits = Limits { total: Some(5), leads: Some(2), follows: Some(2) };

    #[test]
    fn who_dances_either_role_fills_the_one_with_room() {
        assert_eq!(ROLES.broken_by(heads(2, 0, 2, 0)), None);
        assert_eq!(ROLES.broken_by(heads(2, 1, 2, 0)), Some(Limit::Dancers));
        assert_eq!(ROLES.broken_by(heads(3, 0, 0, 0)), Some(Limit::Leads));
        assert_eq!(ROLES.broken_by(heads(2, 2, 0, 2)), Some(Limit::Capacity));
        let leads_alone = Limits { leads: Some(1), ..Limits::default() };
        assert_eq!(leads_alone.broken_by(heads(1, 40, 40, 40)), None);
    }

    #[test]
    fn a_role_that_is_full_holds_up_the_other_only_through_a_couple() {
        let going = heads(2, 1, 0, 0);
        let lead = first(Line::Leads, 3, heads(1, 0, 0, 0));
        let follow = first(Line::Follows, 7, heads(0, 1, 0, 0));
        let couple = first(Line::Any, 5, heads(1, 1, 0, 0));
        assert_eq!(next_in(going, &ROLES, &[lead, follow]), Some(follow));
        assert_eq!(next_in(going, &ROLES, &[follow, couple, lead]), None);
        let free = heads(1, 1, 0, 0);
        assert_eq!(next_in(free, &ROLES, &[follow, couple, lead]), Some(lead));
        assert_eq!(next_in(free, &ROLES, &[follow, couple]), Some(couple));
    }

    #[test]
    fn a_small_party_does_not_pass_a_large_one() {
        let limits = Limits::total(Some(4));
        let going = heads(0, 0, 0, 3);
        let couple = first(Line::Any, 1, heads(0, 0, 0, 2));
        let one = first(Line::Others, 2, heads(0, 0, 0, 1));
        assert_eq!(next_in(going, &limits, &[one, couple]), None);
    }

    fn roles() -> impl Strategy<Value = DanceRole> {
        prop_oneof![
            Just(DanceRole::Lead),
            Just(DanceRole::Follow),
            Just(DanceRole::Both),
            Just(DanceRole::None)
        ]
    }

    fn parties() -> impl Strategy<Value = Party> {
        (roles(), prop::collection::vec(roles(), 0..3)).prop_map(|(role, guests)| Party { role, guests })
    }

    fn limits() -> impl Strategy<Value = Limits> {
        let some = || prop::option::of(0..6_u32);
        (some(), some(), some()).prop_map(|(total, leads, follows)| Limits { total, leads, follows })
    }

    proptest! {
        /// However parties come and go, no limit is broken, and nobody has a place who came behind a party that waits in
        /// the same line.
        #[test]
        fn lines_are_kept_and_limits_hold(
            limits in limits(),
            steps in prop::collection::vec((parties(), any::<bool>(), 0..8_usize), 1..60),
        ) {
            let mut going: Vec<(u64, Line, Heads)> = Vec::new();
            let mut lines: BTreeMap<Line, Vec<(u64, Heads)>> = BTreeMap::new();
            for (number, (party, leaves, which)) in (0_u64..).zip(steps) {
                if leaves && !going.is_empty() {
                    going.remove(which % going.len());
                } else {
                    let heads = party.heads();
                    lines.entry(Line::of(heads, &limits)).or_default().push((number, heads));
                }
                loop {
                    let sum = going.iter().fold(Heads::default(), |sum, one| sum.and(one.2));
                    prop_assert_eq!(limits.broken_by(sum), None);
                    let firsts: Vec<_> = lines
                        .iter()
                        .filter_map(|(line, waiting)| waiting.first().map(|one| first(*line, one.0, one.1)))
                        .collect();
                    let Some(next) = next_in(sum, &limits, &firsts) else { break };
                    lines.entry(next.line).or_default().remove(0);
                    let overtaken = firsts.iter().filter(|other| other.number < next.number);
                    for other in overtaken {
                        prop_assert!(other.line != next.line && other.line != Line::Any && next.line != Line::Any);
                    }
                    going.push((next.number, next.line, next.party));
                }
            }
        }
    }
}
