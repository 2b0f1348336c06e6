//! What members' reports weigh, and what they are told of them. Pure.

use serde::{Deserialize, Serialize};

use crate::community::admin::reviews::case::{Outcome, Own};
use crate::community::admin::reviews::rules::USUAL_WEIGHT;

/// Reports of a member that are remembered as good or bad; older ones are forgotten.
pub const REMEMBERED: usize = 200;
/// The most that a report weighs.
const MOST_WEIGHT: u32 = 2 * USUAL_WEIGHT;

/// What a report of a member weighs, by how many of the earlier ones were good and how many were not. It is never nothing, as
/// whoever was wrong before may be right now.
pub fn weight(upheld: u32, refused: u32) -> u32 {
    USUAL_WEIGHT.saturating_add(upheld).saturating_sub(refused).clamp(1, MOST_WEIGHT)
}

/// What a member is told of an own report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReportOutcome {
    /// Nobody has decided yet.
    Open,
    /// Something was done.
    ActionTaken,
    /// No rule was broken, as far as the moderators see.
    NoViolation,
}

impl ReportOutcome {
    /// What came of a case.
    pub fn of(own: &Own) -> Self {
        match own.outcome {
            None => Self::Open,
            Some(Outcome::None) => Self::NoViolation,
            Some(_) if own.is_overturned() => Self::NoViolation,
            Some(_) => Self::ActionTaken,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Trap 64: however often somebody was right or wrong, a report is neither nothing nor a weapon.
        #[test]
        fn a_report_weighs_by_the_record_and_within_bounds(upheld: u32, refused: u32) {
            let weighs = weight(upheld, refused);
            prop_assert!((1..=MOST_WEIGHT).contains(&weighs));
            prop_assert!(weight(upheld.saturating_add(1), refused) >= weighs);
            prop_assert!(weight(upheld, refused.saturating_add(1)) <= weighs);
        }
    }

    #[test]
    fn who_has_reported_nothing_weighs_as_usual() {
        assert_eq!((weight(0, 0), weight(2, 0), weight(0, 2), weight(0, 100)), (4, 6, 2, 1));
    }
}
