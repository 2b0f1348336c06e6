//! Safety reviews: what is looked at, and what comes of it. Pure.

use jiff::{SignedDuration, Timestamp};

pub use super::case::{Facts, Outcome, Own, Said, ThingKind};
use crate::community::admin::error::WorkError;
use crate::community::admin::staff::Staff;
use crate::community::admin::work::Head;

/// Within what time an admin is to look at what a moderator hands on.
const ESCALATED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// What a report weighs of a member whose earlier reports are not known to be good or bad.
pub const USUAL_WEIGHT: u32 = 4;
/// How much longer a case counts as waiting for each doubling of what its reports weigh.
const RAISED_BY: SignedDuration = SignedDuration::from_hours(12);
/// Most doublings that count, so that a crowd brings nothing further forward than three days.
const MOST_RAISES: u32 = 6;

/// How often what the reports of a case weigh has doubled.
pub fn raises(weight: u32) -> u32 {
    (weight / USUAL_WEIGHT).max(1).ilog2().min(MOST_RAISES)
}

/// Since when a case counts as waiting whose reports weigh so much: the queue begins with what has waited longest, so what weighs
/// more comes sooner, and what weighs little still gets its turn.
pub fn queued_at(opened: Timestamp, weight: u32) -> Timestamp {
    let earlier = (0..raises(weight)).try_fold(opened, |at, _| at.checked_sub(RAISED_BY));
    earlier.unwrap_or(opened)
}

/// Refuses whoever decided, or sent the appeal in, where an appeal is to be decided.
fn may_judge(own: &Own, staff: &Staff) -> Result<(), WorkError> {
    let is_own = |by: &str| by == staff.user_id;
    let decided = own.resolution.as_ref().is_some_and(|said| is_own(&said.by));
    let sent_in = own.appeal.as_ref().is_some_and(|appeal| is_own(&appeal.by));
    if own.is_appealed() && (decided || sent_in) {
        return Err(WorkError::NotNow("another reviewer decides an appeal than the one who decided"));
    }
    Ok(())
}

/// Refuses those who may not work on a review: whom it is about, moderators once it is for admins, and who decided it where it is
/// appealed.
pub fn may_work(facts: &Facts, own: &Own, staff: &Staff) -> Result<(), WorkError> {
    if facts.subject() == Some(staff.user_id.as_str()) {
        return Err(WorkError::Forbidden("what is about somebody is for others to review"));
    }
    if own.escalated.is_some() && !staff.is_admin {
        return Err(WorkError::Forbidden("this is for admins now"));
    }
    may_judge(own, staff)
}

/// Resolves a review; whether that changed anything.
pub fn resolve(
    facts: &Facts,
    head: &mut Head<Own>,
    staff: &Staff,
    outcome: Outcome,
    reason: String,
    now: Timestamp,
) -> Result<bool, WorkError> {
    let is_same = head.own.outcome == Some(outcome)
        && head.own.resolution.as_ref().is_some_and(|said| said.by == staff.user_id);
    if is_same {
        return Ok(false);
    }
    may_work(facts, &head.own, staff)?;
    head.work.still_open()?;
    head.work.held_by(staff)?;
    if head.own.is_appealed() {
        return Err(WorkError::NotNow("this is decided, and waits for what comes of the appeal"));
    }
    head.own.outcome = Some(outcome);
    head.own.resolution = Some(Said { by: staff.user_id.clone(), at: now, reason });
    head.work.finish();
    Ok(true)
}

/// Hands a review on to admins; whether that changed anything.
pub fn escalate(
    facts: &Facts,
    head: &mut Head<Own>,
    staff: &Staff,
    reason: String,
    now: Timestamp,
) -> Result<bool, WorkError> {
    let known = head.own.escalated.as_ref().filter(|_| !head.work.is_done());
    // Who handed it on may say so again.
    if known.is_none_or(|said| said.by != staff.user_id) {
        may_work(facts, &head.own, staff)?;
    }
    if known.is_some() {
        return Ok(false);
    }
    head.work.still_open()?;
    head.work.held_by(staff)?;
    head.own.escalated = Some(Said { by: staff.user_id.clone(), at: now, reason });
    head.work.release();
    head.work.due = now.saturating_add(ESCALATED_WITHIN).ok();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::community::admin::staff::tests::staff;
    use crate::community::admin::work::State;

    #[test]
    fn what_weighs_more_comes_sooner_and_not_more_than_three_days() {
        let opened = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1_000);
        let waits = |weight| opened.duration_since(queued_at(opened, weight)).as_hours();
        let waits: Vec<_> = [0, 1, 4, 7, 8, 16, 255, 256, u32::MAX].into_iter().map(waits).collect();
        assert_eq!(waits, [0, 0, 0, 0, 12, 24, 60, 72, 72]);
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Assign,
        Resolve(Outcome),
        Escalate,
    }

    fn act() -> impl Strategy<Value = Act> {
        let outcome = prop_oneof![Just(Outcome::None), Just(Outcome::Warn), Just(Outcome::Restrict)];
        prop_oneof![3 => Just(Act::Assign), 2 => outcome.prop_map(Act::Resolve), 1 => Just(Act::Escalate)]
    }

    proptest! {
        #[test]
        fn a_review_is_resolved_once_and_by_those_who_may(
            about in "s[0-3]",
            steps in prop::collection::vec((staff(), act()), 0..20),
        ) {
            let facts = Facts {
                kind: ThingKind::User,
                thing: about.clone(),
                about: None,
                opened_by: None,
                rule: None,
                reason: "x".to_owned(),
                created_at: Timestamp::UNIX_EPOCH,
            };
            let mut head = Head::<Own>::default();
            for (by, act) in steps {
                let before = head.clone();
                let now = Timestamp::UNIX_EPOCH;
                let outcome = match act {
                    Act::Assign => may_work(&facts, &head.own, &by).and_then(|()| head.work.assign(&by, &by.user_id)),
                    Act::Resolve(outcome) => resolve(&facts, &mut head, &by, outcome, "x".to_owned(), now),
                    Act::Escalate => escalate(&facts, &mut head, &by, "x".to_owned(), now),
                };
                let changed = head != before;
                prop_assert_eq!(matches!(outcome, Ok(true)), changed, "{:?}", outcome);
                prop_assert!(by.user_id != about || outcome.is_err(), "{:?}", outcome);
                if changed {
                    prop_assert_ne!(&by.user_id, &about);
                    prop_assert!(!before.work.is_done());
                    prop_assert!(before.own.escalated.is_none() || by.is_admin);
                    let is_others = before.work.state == State::Assigned && before.work.assignee.as_ref() != Some(&by.user_id);
                    prop_assert!(!is_others || by.is_admin);
                }
                prop_assert_eq!(head.own.outcome.is_some(), head.work.is_done());
            }
        }
    }
}
