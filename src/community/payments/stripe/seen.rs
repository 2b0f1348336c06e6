//! What Stripe says, by an event or as an answer: the few fields that matter, whatever else its objects hold.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What Stripe says of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Seen {
    /// How its session is.
    Session(SeenSession),
    /// How one of its refunds is.
    Refund(SeenRefund),
    /// That something of it is another way, and no more: Stripe has to be asked.
    Changed,
    /// How a dispute about it is.
    Dispute(SeenDispute),
}

/// How a session is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenSession {
    /// Its id.
    pub id: String,
    /// Where the payer pays, while that is so.
    pub url: Option<String>,
    /// The payment intent, once there is one.
    pub intent: Option<String>,
    /// Whether it goes on.
    pub status: SessionStatus,
    /// Whether the money is there. A session can be complete without it.
    pub is_paid: bool,
    /// Whether a way of paying that takes days has failed.
    pub has_failed: bool,
    /// The total, as Stripe counts.
    pub total: Option<u64>,
    /// The code of its currency.
    pub currency: Option<String>,
}

/// Whether a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionStatus {
    /// The payer can pay.
    Open,
    /// The payer is done. Whether that was paid for is another matter.
    Complete,
    /// Nobody can pay any more.
    Expired,
}

/// How a refund is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRefund {
    /// Its id at Stripe.
    pub id: String,
    /// The id that it was given here, if it was asked for here.
    pub own: Option<String>,
    /// How much, as Stripe counts.
    pub amount: u64,
    /// How far it is.
    pub status: RefundStatus,
    /// Why the bank did not take it, as Stripe names that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How far a refund is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum RefundStatus {
    /// Stripe is still to be asked for it.
    Due,
    /// Stripe does not make it.
    Refused,
    /// The payer has to say first where the money is to go: Stripe asks by a letter of its own.
    NeedsAction,
    /// The bank is at it.
    Pending,
    /// The money went back.
    Succeeded,
    /// The bank did not take it: the money came again.
    Failed,
    /// An admin gave the money back by other means than Stripe.
    Settled,
}

impl RefundStatus {
    /// A status gives way only to one of a higher rank: banks refuse what seemed to have succeeded, and not the other way
    /// round.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Due => 0,
            Self::Refused => 1,
            Self::NeedsAction => 2,
            Self::Pending => 3,
            Self::Succeeded => 4,
            Self::Failed => 5,
            Self::Settled => 6,
        }
    }
}

/// How a payee's account is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAccount {
    /// Its id.
    pub id: String,
    /// Whether money can go on to it.
    pub takes_money: bool,
    /// Whether Stripe pays out from it.
    pub pays_out: bool,
    /// What Stripe still wants to know, by Stripe's names.
    pub due: Vec<String>,
    /// Why it is not in use, by Stripe's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<String>,
}

impl SeenAccount {
    /// Whether the payee can do nothing about it. What is only missing has a reason that begins with `requirements.`.
    pub fn is_closed(&self) -> bool {
        self.disabled.as_deref().is_some_and(|why| !why.starts_with("requirements."))
    }
}

/// How a dispute is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenDispute {
    /// Its id.
    pub id: String,
    /// How much it is about, as Stripe counts.
    pub amount: u64,
    /// How far it is.
    pub status: DisputeStatus,
}

/// How far a dispute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DisputeStatus {
    /// The bank asks, and has taken nothing.
    Inquiry,
    /// The bank has taken the money, for now.
    Open,
    /// The bank gave the money again.
    Won,
    /// The bank keeps the money.
    Lost,
}

impl DisputeStatus {
    /// A status gives way only to one of a higher rank.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Inquiry => 0,
            Self::Open => 1,
            Self::Won | Self::Lost => 2,
        }
    }

    /// Whether the bank has the money.
    pub const fn is_withdrawn(self) -> bool {
        matches!(self, Self::Open | Self::Lost)
    }
}
