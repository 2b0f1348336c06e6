//! What is kept of a payment.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::quote::{Line, Purpose, Quote};
use super::stripe::{DisputeStatus, RefundStatus};
use crate::community::money::Money;

/// What never changes about a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// What is paid for.
    pub purpose: Purpose,
    /// The id of the very thing.
    pub thing: String,
    /// Which of the payer's payments for it this is; the first is 1.
    pub attempt: u32,
    /// The user who pays.
    pub payer: String,
    /// The user whom the money is for.
    pub payee: String,
    /// What the thing is called.
    pub title: String,
    /// What makes up the total.
    pub lines: Vec<Line>,
    /// What is owed.
    pub total: Money,
    /// The platform's share of that, in minor units.
    pub fee: u64,
    /// The payee's connected account, where the money goes on to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// When it was begun.
    pub made_at: Timestamp,
    /// Until when it can be paid.
    pub expires_at: Timestamp,
}

impl Facts {
    /// Whether these are still the terms. The title may be another one.
    pub(super) fn are_those_of(&self, quote: &Quote) -> bool {
        quote.total() == Some(self.total)
            && quote.lines == self.lines
            && quote.payee == self.payee
            && quote.held_until > self.expires_at
    }

    /// The platform's share of so much of the total, rounded down. It only rises with that, so parts of it add up.
    pub(super) fn fee_of(&self, minor: u64) -> u64 {
        let share = u128::from(self.fee) * u128::from(minor) / u128::from(self.total.minor.max(1));
        u64::try_from(share).unwrap_or(self.fee)
    }
}

/// How far a payment is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Stripe may not know of it yet.
    #[default]
    Created,
    /// The payer has a page to pay on.
    Session,
    /// The payer has paid by a way that takes days.
    Processing,
    /// It did not work.
    Failed,
    /// The payer has not paid in time.
    Expired,
    /// The money is there.
    Paid,
    /// The payer has what was paid for.
    Fulfilled,
    /// The money is there, and what was paid for is not: it goes back.
    RefundDue,
}

impl Stage {
    /// A stage gives way only to one of a higher rank.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::Created => 0,
            Self::Session => 1,
            Self::Processing => 2,
            Self::Failed | Self::Expired => 3,
            Self::Paid => 4,
            Self::Fulfilled | Self::RefundDue => 5,
        }
    }
}

/// How a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PaymentStatus)]
pub enum Status {
    /// It is begun.
    Created,
    /// The payer has a page to pay on.
    Session,
    /// The payer has paid by a way that takes days.
    Processing,
    /// The money is there; the place is being taken.
    Paid,
    /// The payer has what was paid for.
    Fulfilled,
    /// It did not work.
    Failed,
    /// The payer has not paid in time.
    Expired,
    /// What was paid for was no longer to be had: the money goes back.
    RefundDue,
    /// All of the money went back.
    Refunded,
    /// The payer's bank took the money back, for now or for good.
    Disputed,
}

/// The session at Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// Where the payer pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What changes about a payment besides its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// How far it is.
    pub stage: Stage,
    /// The session at Stripe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// The payment intent at Stripe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// What came, in minor units.
    pub captured: u64,
    /// What came is not what was asked for: nothing is given for it.
    pub is_odd: bool,
    /// What went back: the sum of refunds that succeeded.
    pub refunded: u64,
    /// What is on its way back: the sum of refunds that are due or pending.
    pub refunding: u64,
    /// What banks took back: the sum of disputes that are open or lost.
    pub disputed: u64,
    /// What was asked for here and did not go back, less what was asked for again, sent by Stripe's dashboard or settled since.
    pub failed: u64,
    /// Why the last of that did not, as Stripe says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_why: Option<String>,
    /// The thing was told that no money comes.
    pub released: bool,
    /// How many refunds there are.
    pub refunds: u32,
    /// How many events left a row.
    pub events: u32,
    /// Rises with each change.
    pub version: u64,
}

impl Head {
    /// How it stands.
    pub fn status(&self) -> Status {
        if self.disputed > 0 {
            return Status::Disputed;
        }
        if self.is_all_refunded() {
            return Status::Refunded;
        }
        match self.stage {
            Stage::Created => Status::Created,
            Stage::Session => Status::Session,
            Stage::Processing => Status::Processing,
            Stage::Failed => Status::Failed,
            Stage::Expired => Status::Expired,
            Stage::Paid => Status::Paid,
            Stage::Fulfilled => Status::Fulfilled,
            Stage::RefundDue => Status::RefundDue,
        }
    }

    /// What could go back, in minor units. What is on its way counts as gone.
    pub fn refundable(&self) -> u64 {
        let gone = [self.refunded, self.refunding, self.disputed];
        gone.into_iter().fold(self.captured, u64::saturating_sub)
    }

    /// What should have gone back, did not, and is still there.
    pub fn owed(&self) -> u64 {
        self.failed.min(self.refundable())
    }

    fn is_all_refunded(&self) -> bool {
        self.captured > 0 && self.refunded >= self.captured
    }

    /// Whether nothing is to be given for the money: it went back already, or is not what was asked for.
    pub fn is_void(&self) -> bool {
        self.is_odd || self.is_all_refunded()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over so")]
fn is_nothing(minor: &u64) -> bool {
    *minor == 0
}

/// A refund.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// How much, in minor units.
    pub minor: u64,
    /// How far it is.
    pub status: RefundStatus,
    /// Its id at Stripe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe: Option<String>,
    /// Who asked for it; nobody where Stripe's dashboard or this program did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, in that user's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why Stripe did not do it, or not yet; or why the bank did not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// How often it was tried in vain for want of money.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u32,
    /// Until when it is not tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// How much of what was owed it stands for, where Stripe's dashboard made it: that is owed again if it fails.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub covers: u64,
    /// When it was asked for, or seen first.
    pub at: Timestamp,
}

impl Refund {
    /// One that is still to be made.
    pub(super) fn due(minor: u64, at: Timestamp) -> Self {
        Self {
            minor,
            status: RefundStatus::Due,
            stripe: None,
            by: None,
            reason: None,
            refused: None,
            tries: 0,
            not_before: None,
            covers: 0,
            at,
        }
    }

    /// Its part of what is on its way back, and of what went back.
    pub(super) fn shares(&self) -> (u64, u64) {
        match self.status {
            RefundStatus::Due | RefundStatus::NeedsAction | RefundStatus::Pending => (self.minor, 0),
            RefundStatus::Succeeded | RefundStatus::Settled => (0, self.minor),
            RefundStatus::Refused | RefundStatus::Failed => (0, 0),
        }
    }

    /// Whether it went back, or is on its way.
    pub(super) fn counts(&self) -> bool {
        self.shares() != (0, 0)
    }

    /// Whether Stripe's dashboard made it, whose refunds have here the id that they have at Stripe, at that time or later, and not
    /// all of it stands for something that was owed.
    pub(super) fn is_by_hand_since(&self, id: &str, at: Timestamp) -> bool {
        self.stripe.as_deref() == Some(id) && self.counts() && self.at >= at && self.uncovering() > 0
    }

    /// How much of it stands for nothing that was owed.
    pub(super) fn uncovering(&self) -> u64 {
        self.minor.saturating_sub(self.covers)
    }
}

/// A dispute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// How much it is about, in minor units.
    pub minor: u64,
    /// How far it is.
    pub status: DisputeStatus,
}

impl Dispute {
    /// What the bank has of it.
    pub(super) fn withdrawn(&self) -> u64 {
        if self.status.is_withdrawn() { self.minor } else { 0 }
    }
}

/// Money that moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// Which way.
    pub movement: Movement,
    /// How much, in minor units.
    pub minor: u64,
    /// The platform's part of it.
    pub fee: u64,
    /// When it was seen.
    pub at: Timestamp,
}

/// Which way money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Movement {
    /// The payer paid.
    Captured,
    /// It went back to the payer.
    Refunded,
    /// What was to go back came again.
    RefundFailed,
    /// The payer's bank took it.
    Disputed,
    /// The payer's bank gave it again.
    Reinstated,
    /// An admin gave it back by other means than Stripe.
    Settled,
}

/// What came of asking for what was paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The payer has it, by this payment.
    Taken,
    /// It is not to be had any more, or the payer has it by another payment: the money goes back.
    NoRoom,
}
