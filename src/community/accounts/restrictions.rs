//! What decisions of the moderators keep a user from. It lies with the account, so asking costs what reading the account costs,
//! and each restriction ends by itself: whether it holds is judged when it is read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Most restrictions of one user.
pub const MOST_RESTRICTIONS: usize = 100;

/// In the place of a decision's id: an admin has locked the user out by hand.
pub const BY_HAND: &str = "admin";

/// What a user can be kept from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ability {
    /// Writing posts, and changing them.
    Posting,
    /// Writing comments, and changing them.
    Commenting,
    /// Beginning conversations, writing messages and changing them.
    Messaging,
    /// Giving events and series, and offering places to stay.
    Hosting,
}

/// What a decision keeps a user from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restriction {
    /// The decision's id, or [`BY_HAND`].
    pub decision: String,
    /// What the user is kept from; nothing where the account is locked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ability: Option<Ability>,
    /// Until when; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// An admin has let the user in since: what the decision says of that is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_over: bool,
}

impl Restriction {
    /// Whether it still holds.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Puts restrictions in the place of those of the same decision, and forgets those that are over; whether that changes anything.
/// Of a decision that an admin has taken over, all stays.
pub(super) fn put(known: &mut Vec<Restriction>, decision: &str, new: &[Restriction], now: Timestamp) -> bool {
    let before = known.clone();
    let is_taken_over = is_taken_over(known, decision);
    known.retain(|one| one.holds(now) && (is_taken_over || one.decision != decision));
    known.extend(new.iter().filter(|one| one.holds(now) && !is_taken_over).cloned());
    *known != before
}

/// Whether an admin has said since what a decision says of who is locked out.
pub fn is_taken_over(known: &[Restriction], decision: &str) -> bool {
    known.iter().any(|one| one.decision == decision && one.taken_over)
}

/// Marks the locks of all decisions as taken over by an admin; whether that changes anything.
pub(super) fn take_locks_over(known: &mut [Restriction]) -> bool {
    let mut is_changed = false;
    for lock in known.iter_mut().filter(|one| one.ability.is_none() && one.decision != BY_HAND) {
        is_changed |= !std::mem::replace(&mut lock.taken_over, true);
    }
    is_changed
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    fn one(decision: &str, until: Option<i64>) -> Restriction {
        let ability = Some(Ability::Posting);
        Restriction { decision: decision.to_owned(), ability, until: until.map(at), taken_over: false }
    }

    #[test]
    fn what_is_lifted_is_what_the_decision_put_there_and_no_more() {
        let mut known = Vec::new();
        assert!(put(&mut known, "a", &[one("a", Some(5))], at(0)));
        assert!(!put(&mut known, "a", &[one("a", Some(5))], at(0)), "doing it again changes nothing");
        assert!(put(&mut known, "b", &[one("b", None)], at(0)));
        assert!(put(&mut known, "a", &[], at(0)));
        assert_eq!(known, [one("b", None)]);
    }

    #[test]
    fn a_lock_that_an_admin_has_taken_over_is_neither_carried_out_again_nor_lifted() {
        let lock = Restriction { ability: None, ..one("a", Some(5)) };
        let mut known = vec![lock.clone(), one("b", None)];
        assert!(take_locks_over(&mut known) && !take_locks_over(&mut known));
        assert!(is_taken_over(&known, "a") && !is_taken_over(&known, "b"));
        let before = known.clone();
        assert!(
            !put(&mut known, "a", std::slice::from_ref(&lock), at(1)) && !put(&mut known, "a", &[], at(1))
        );
        assert_eq!(known, before);
        assert!(put(&mut known, "c", &[], at(5)), "it is forgotten when it would have ended");
        assert!(!put(&mut known, "a", &[lock], at(5)), "and holds no more then");
    }

    #[test]
    fn an_admins_own_lock_is_apart_from_those_of_decisions() {
        let lock = |by: &str| Restriction { ability: None, ..one(by, None) };
        let mut known = vec![lock("a"), lock(BY_HAND)];
        assert!(take_locks_over(&mut known));
        assert!(is_taken_over(&known, "a") && !is_taken_over(&known, BY_HAND));
        assert!(put(&mut known, BY_HAND, &[], at(1)));
        assert_eq!(known.len(), 1, "it is lifted alone");
    }

    #[test]
    fn a_restriction_ends_at_its_moment_and_is_forgotten_with_the_next_one() {
        let short = one("a", Some(5));
        assert!(short.holds(at(4)) && !short.holds(at(5)));
        assert!(one("a", None).holds(at(1_000_000)));
        let mut known = vec![short];
        assert!(put(&mut known, "b", &[one("b", Some(9)), one("b", Some(6))], at(6)));
        assert_eq!(known, [one("b", Some(9))]);
    }
}
