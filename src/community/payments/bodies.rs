//! What clients see of payments.

use mundotango_gateway::input::Time;
use serde::Serialize;
use utoipa::ToSchema;

use super::quote::{Line, Purpose};
use super::reads::Payment;
use super::state::{Refund, Status};
use super::stripe::RefundStatus;
use crate::community::money::Currency;

/// A payment. All amounts are in the smallest unit of its currency.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Payment)]
pub(in crate::community) struct PaymentBody {
    id: String,
    purpose: Purpose,
    /// The id of what is paid for.
    thing_id: String,
    /// What that is called.
    title: String,
    payer_id: String,
    payee_id: String,
    status: Status,
    currency: Currency,
    /// What is owed, or was paid.
    amount: u64,
    /// What makes it up.
    lines: Vec<Line>,
    /// What went back.
    refunded: u64,
    /// What is on its way back.
    refunding: u64,
    /// What should have gone back and could not be sent: those who run the site look at it.
    owed: u64,
    /// Why, as Stripe says it; null where nothing is owed.
    #[schema(required = true)]
    owed_because: Option<String>,
    /// Until when it can be paid.
    expires_at: Time,
    created_at: Time,
    /// Rises with each change: of two messages the one with the higher version is the newer.
    version: u64,
}

impl From<&Payment> for PaymentBody {
    fn from(payment: &Payment) -> Self {
        let Payment { id, facts, head } = payment;
        Self {
            id: id.clone(),
            purpose: facts.purpose,
            thing_id: facts.thing.clone(),
            title: facts.title.clone(),
            payer_id: facts.payer.clone(),
            payee_id: facts.payee.clone(),
            status: payment.status(),
            currency: facts.total.currency,
            amount: if head.captured > 0 { head.captured } else { facts.total.minor },
            lines: facts.lines.clone(),
            refunded: head.refunded,
            refunding: head.refunding,
            owed: head.owed(),
            owed_because: head.failed_why.clone().filter(|_| head.owed() > 0),
            expires_at: facts.expires_at.into(),
            created_at: facts.made_at.into(),
            version: head.version,
        }
    }
}

/// A refund.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Refund)]
pub(super) struct RefundBody {
    id: String,
    /// In the smallest unit of the payment's currency.
    amount: u64,
    status: RefundStatus,
    /// Who asked for it; null where it was made at Stripe, or because there was no room any more.
    #[schema(required = true)]
    by: Option<String>,
    /// Why, in that user's words.
    #[schema(required = true)]
    reason: Option<String>,
    /// Why it did not go back, or not yet, as Stripe names that.
    #[schema(required = true)]
    failure: Option<String>,
    created_at: Time,
}

impl From<(String, Refund)> for RefundBody {
    fn from((id, refund): (String, Refund)) -> Self {
        Self {
            id,
            amount: refund.minor,
            status: refund.status,
            by: refund.by,
            reason: refund.reason,
            failure: refund.refused,
            created_at: refund.at.into(),
        }
    }
}

/// A payment with its refunds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PaymentDetails {
    #[serde(flatten)]
    pub(super) payment: PaymentBody,
    /// The page of Stripe on which it is paid, for the payer, while that is so.
    #[schema(required = true)]
    pub(super) url: Option<String>,
    pub(super) refunds: Vec<RefundBody>,
}

/// Where to pay.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckoutBody {
    pub(super) payment_id: String,
    /// The page of Stripe on which it is paid.
    pub(super) url: String,
    /// Until when.
    pub(super) expires_at: Time,
}

/// What the payer's own channel publishes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum PaymentMessage {
    /// A payment stands another way, or something of it went back.
    #[serde(rename = "payment.changed")]
    Changed { payment: Box<PaymentBody> },
}
