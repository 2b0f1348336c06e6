//! Whether money can go on to a payee: pure functions of what Stripe said last of the payee's account.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::community::payments::stripe::SeenAccount;

/// After how long Stripe is asked again how an account is that takes money.
const READY_FOR: SignedDuration = SignedDuration::from_hours(24);
/// The same of one that does not: whoever comes back from Stripe's pages wants to see it at once.
const UNREADY_FOR: SignedDuration = SignedDuration::from_secs(10);

/// What is kept of a payee.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Payee {
    /// The account at Stripe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// How many accounts there were before, which the payee has closed or cut off.
    pub before: u32,
    /// What Stripe said of it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<SeenAccount>,
    /// When it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Timestamp>,
    /// When Stripe was asked last because it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// Rises with each change: who asked Stripe before the last one writes nothing.
    pub version: u64,
}

/// How far a payee is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PayeeState {
    /// There is no account.
    None,
    /// Stripe wants to know more, or looks at what it was told.
    Incomplete,
    /// Money goes on to the account.
    Ready,
    /// Stripe has closed the account for money.
    Disabled,
}

impl Payee {
    /// How far the payee is.
    pub fn state(&self) -> PayeeState {
        match (&self.account, &self.seen) {
            (None, _) => PayeeState::None,
            (Some(_), Some(seen)) if seen.takes_money && seen.pays_out => PayeeState::Ready,
            (Some(_), Some(seen)) if seen.is_closed() => PayeeState::Disabled,
            (Some(_), _) => PayeeState::Incomplete,
        }
    }

    /// The account that takes money, if it does.
    pub fn ready_account(&self) -> Option<&str> {
        self.account.as_deref().filter(|_| self.state() == PayeeState::Ready)
    }

    /// Whether Stripe is to be asked before this is believed.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let lasts = if self.state() == PayeeState::Ready { READY_FOR } else { UNREADY_FOR };
        let is_fresh = self.seen_at.is_some_and(|at| now.duration_since(at) < lasts);
        self.account.is_some() && !is_fresh
    }

    /// Whether Stripe is to be asked for who reads it now: of those who read it at the same time one asks, and the next one no sooner
    /// than what is not ready is old.
    pub fn is_to_be_asked(&self, now: Timestamp) -> bool {
        // A clock that was ahead does not keep the others from asking.
        let is_asked = self.asked_at.is_some_and(|at| now.duration_since(at).abs() < UNREADY_FOR);
        self.is_stale(now) && !is_asked
    }

    /// Takes an account, unless there is one or others came and went meanwhile; whether it did.
    pub fn take(&mut self, before: u32, seen: &SeenAccount, now: Timestamp) -> bool {
        if self.account.is_some() || self.before != before {
            return false;
        }
        self.account = Some(seen.id.clone());
        (self.seen, self.seen_at) = (Some(seen.clone()), Some(now));
        self.version += 1;
        true
    }

    /// Notes what Stripe says who was asked after a version: how the account is, or that there is none any more. Whether that
    /// still counts.
    pub fn note(&mut self, version: u64, seen: Option<SeenAccount>, now: Timestamp) -> bool {
        if self.version != version {
            return false;
        }
        if seen.is_none() {
            self.account = None;
            self.before += 1;
        }
        (self.seen, self.seen_at) = (seen, Some(now));
        self.version += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-12-04T21:00:00Z".parse().unwrap()
    }

    fn account(works: bool, disabled: Option<&str>) -> SeenAccount {
        SeenAccount {
            id: "acct_1".to_owned(),
            takes_money: works,
            pays_out: works,
            due: if works { Vec::new() } else { vec!["external_account".to_owned()] },
            disabled: disabled.map(str::to_owned),
        }
    }

    #[test]
    fn a_payee_is_as_far_as_stripe_says() {
        let mut payee = Payee::default();
        assert_eq!((payee.state(), payee.is_stale(now())), (PayeeState::None, false));
        assert!(payee.take(0, &account(false, Some("requirements.past_due")), now()));
        assert_eq!((payee.state(), payee.ready_account()), (PayeeState::Incomplete, None));
        for (seen, state) in [
            (account(false, Some("requirements.pending_verification")), PayeeState::Incomplete),
            (account(true, None), PayeeState::Ready),
            (account(false, Some("rejected.fraud")), PayeeState::Disabled),
            (account(false, Some("rejected.listed")), PayeeState::Disabled),
            (account(false, Some("platform_paused")), PayeeState::Disabled),
        ] {
            let version = payee.version;
            assert!(payee.note(version, Some(seen), now()));
            assert_eq!(payee.state(), state);
            assert_eq!(payee.ready_account().is_some(), state == PayeeState::Ready);
        }
    }

    #[test]
    fn of_those_who_read_an_old_payee_one_has_stripe_asked() {
        let mut payee = Payee::default();
        assert!(!payee.is_to_be_asked(now()), "there is nothing to ask for");
        payee.take(0, &account(false, None), now());
        assert!(!payee.is_to_be_asked(now()));
        let later = now() + UNREADY_FOR;
        assert!(payee.is_to_be_asked(later));
        payee.asked_at = Some(later);
        assert!(!payee.is_to_be_asked(later) && payee.is_stale(later));
        assert!(payee.is_to_be_asked(later + UNREADY_FOR), "nothing came of that");
    }

    #[test]
    fn what_was_asked_before_a_change_does_not_count() {
        let mut payee = Payee::default();
        assert!(payee.take(0, &account(false, None), now()));
        assert!(!payee.take(0, &account(false, None), now()), "there is one");
        let version = payee.version;
        assert!(payee.note(version, None, now()), "it is cut off");
        assert!(!payee.note(version, Some(account(true, None)), now()), "Stripe was asked before that");
        assert_eq!((payee.state(), payee.before), (PayeeState::None, 1));
        assert!(!payee.take(0, &account(false, None), now()), "the old account");
        assert!(payee.take(1, &account(false, None), now()));
    }

    #[test]
    fn stripe_is_asked_again_sooner_while_nothing_works() {
        let mut payee = Payee::default();
        payee.take(0, &account(false, None), now());
        let later = |seconds| now() + SignedDuration::from_secs(seconds);
        assert_eq!((payee.is_stale(later(9)), payee.is_stale(later(10))), (false, true));
        payee.note(payee.version, Some(account(true, None)), now());
        assert_eq!((payee.is_stale(later(3600)), payee.is_stale(later(24 * 3600))), (false, true));
    }
}
