//! Proposals, and who may decide them: where two have to agree, four eyes see it that are not the proposer's. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::community::admin::error::WorkError;
use crate::community::admin::staff::Staff;
use crate::community::admin::work::Head;

/// What a proposal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ProposalArea)]
pub enum Area {
    /// Posts, groups and profiles.
    Community,
    /// Events and series.
    Events,
    /// Places to stay.
    Housing,
    /// What money does. Two have to agree.
    Payments,
    /// What keeps people safe. Two have to agree.
    Safety,
    /// The server itself.
    Platform,
}

impl Area {
    /// Whether two always have to agree.
    pub const fn needs_two(self) -> bool {
        matches!(self, Self::Payments | Self::Safety)
    }
}

/// What never changes about a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// What is proposed, in a line.
    pub title: String,
    /// What it is, at length.
    pub description: String,
    /// What it is about.
    pub area: Area,
    /// The user who proposes it.
    pub requested_by: String,
    /// Whether two have to agree.
    pub needs_two: bool,
    /// When it was proposed.
    pub created_at: Timestamp,
}

/// What somebody said to a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The user.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ProposalOutcome)]
pub enum Outcome {
    /// It is to be.
    Approved,
    /// It is not to be.
    Rejected,
}

/// What changes about a proposal besides its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Who approved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Vote>,
    /// Who rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Vote>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

fn not_the_proposer(facts: &Facts, staff: &Staff) -> Result<(), WorkError> {
    if facts.requested_by == staff.user_id {
        return Err(WorkError::Forbidden("what somebody proposes is for others to decide"));
    }
    Ok(())
}

/// Approves; whether that changed anything.
pub fn approve(
    facts: &Facts,
    head: &mut Head<Own>,
    staff: &Staff,
    reason: Option<String>,
    now: Timestamp,
) -> Result<bool, WorkError> {
    not_the_proposer(facts, staff)?;
    let has_approved = head.own.approvals.iter().any(|vote| vote.by == staff.user_id);
    if has_approved && head.own.outcome != Some(Outcome::Rejected) {
        return Ok(false);
    }
    head.work.still_open()?;
    head.own.approvals.push(Vote { by: staff.user_id.clone(), at: now, reason });
    if head.own.approvals.len() >= if facts.needs_two { 2 } else { 1 } {
        head.own.outcome = Some(Outcome::Approved);
        head.work.finish();
    }
    Ok(true)
}

/// Rejects; whether that changed anything. One is enough.
pub fn reject(
    facts: &Facts,
    head: &mut Head<Own>,
    staff: &Staff,
    reason: String,
    now: Timestamp,
) -> Result<bool, WorkError> {
    not_the_proposer(facts, staff)?;
    if head.own.rejection.as_ref().is_some_and(|vote| vote.by == staff.user_id) {
        return Ok(false);
    }
    head.work.still_open()?;
    head.own.rejection = Some(Vote { by: staff.user_id.clone(), at: now, reason: Some(reason) });
    head.own.outcome = Some(Outcome::Rejected);
    head.work.finish();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::community::admin::staff::tests::staff;

    fn facts(needs_two: bool, by: &str) -> Facts {
        Facts {
            title: "Dark mode".to_owned(),
            description: "For the night.".to_owned(),
            area: Area::Platform,
            requested_by: by.to_owned(),
            needs_two,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    proptest! {
        /// Four eyes: the second who approves is neither the first nor who proposed.
        #[test]
        fn what_is_approved_was_approved_by_so_many_others(
            needs_two in any::<bool>(),
            proposer in "s[0-3]",
            steps in prop::collection::vec((staff(), prop::bool::weighted(0.8)), 0..12),
        ) {
            let facts = facts(needs_two, &proposer);
            let mut head = Head::<Own>::default();
            for (by, approves) in steps {
                let before = head.clone();
                let outcome = if approves {
                    approve(&facts, &mut head, &by, None, Timestamp::UNIX_EPOCH)
                } else {
                    reject(&facts, &mut head, &by, "x".to_owned(), Timestamp::UNIX_EPOCH)
                };
                prop_assert_eq!(matches!(outcome, Ok(true)), head != before, "{:?}", outcome);
                prop_assert!(!before.work.is_done() || head == before, "what is decided stays so");
            }
            let voters: BTreeSet<_> = head.own.approvals.iter().map(|vote| &vote.by).collect();
            prop_assert_eq!(voters.len(), head.own.approvals.len());
            prop_assert!(!voters.contains(&proposer));
            prop_assert_eq!(head.own.outcome.is_some(), head.work.is_done());
            let enough = if needs_two { 2 } else { 1 };
            prop_assert_eq!(head.own.outcome == Some(Outcome::Approved), voters.len() == enough);
            let rejected = head.own.rejection.as_ref().map(|vote| &vote.by);
            prop_assert_eq!(head.own.outcome == Some(Outcome::Rejected), rejected.is_some());
            prop_assert_ne!(rejected, Some(&proposer));
        }
    }

    #[test]
    fn of_two_who_decide_the_same_one_is_told_what_became_of_it() {
        let facts = facts(false, "ana");
        let mut head = Head::<Own>::default();
        let [one, other] = ["s0", "s1"].map(|id| Staff { user_id: id.to_owned(), is_admin: true });
        let now = Timestamp::UNIX_EPOCH;
        assert!(approve(&facts, &mut head, &one, None, now).unwrap());
        assert!(!approve(&facts, &mut head, &one, None, now).unwrap(), "doing it again changes nothing");
        assert!(matches!(approve(&facts, &mut head, &other, None, now), Err(WorkError::Over(_))));
        assert!(matches!(reject(&facts, &mut head, &other, "x".to_owned(), now), Err(WorkError::Over(_))));
    }
}
