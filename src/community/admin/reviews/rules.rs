//! Safety reviews: what is looked at, and what comes of it. Pure.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::community::admin::error::WorkError;
use crate::community::admin::staff::Staff;
use crate::community::admin::work::Head;

/// Within what time an admin is to look at what a moderator hands on.
const ESCALATED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// Of what kind the thing is that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReviewedKind)]
pub enum ThingKind {
    /// A user.
    User,
    /// A post.
    Post,
    /// A comment.
    Comment,
    /// An event.
    Event,
    /// A series of events.
    Series,
    /// A place to stay.
    Listing,
    /// A booking.
    Booking,
    /// A message of a chat.
    Message,
}

/// What never changes about a review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Of what kind the thing is.
    pub kind: ThingKind,
    /// The thing's id.
    pub thing: String,
    /// The user whom it is about, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Who opened it; nobody where a rule did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_by: Option<String>,
    /// The rule that opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why.
    pub reason: String,
    /// When.
    pub created_at: Timestamp,
}

impl Facts {
    /// The user whom it is about: the thing itself, or who is named.
    pub fn subject(&self) -> Option<&str> {
        if self.kind == ThingKind::User { Some(&self.thing) } else { self.about.as_deref() }
    }

    /// The same, with whom it is about in the one field that says so, by which it is found when that user leaves.
    #[must_use]
    pub fn with_subject(self) -> Self {
        let about = self.subject().map(str::to_owned);
        Self { about, ..self }
    }
}

/// What comes of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReviewOutcome)]
pub enum Outcome {
    /// Nothing.
    None,
    /// A warning.
    Warn,
    /// A restriction.
    Restrict,
}

impl Outcome {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Warn => "warn",
            Self::Restrict => "restrict",
        }
    }
}

/// What somebody of the staff said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// What changes about a review besides its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// It was handed on to admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalated: Option<Said>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Who said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Said>,
}

/// Refuses those who may not work on a review: whom it is about, and moderators once it is for admins.
pub fn may_work(facts: &Facts, own: &Own, staff: &Staff) -> Result<(), WorkError> {
    if facts.subject() == Some(staff.user_id.as_str()) {
        return Err(WorkError::Forbidden("what is about somebody is for others to review"));
    }
    if own.escalated.is_some() && !staff.is_admin {
        return Err(WorkError::Forbidden("this is for admins now"));
    }
    Ok(())
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
    if head.own.escalated.is_some() && !head.work.is_done() {
        return Ok(false);
    }
    may_work(facts, &head.own, staff)?;
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
