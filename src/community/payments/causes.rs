//! What changes of payments cause: jobs, messages, and words to the payer.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mundotango_jobs::{JobKind, NewJob, Priority, Queue};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use super::bodies::{PaymentBody, PaymentMessage};
use super::quote::Purpose;
use super::reads::Payment;
use super::state::{Head, Stage};
use crate::community::effects::Effect;
use crate::community::letters;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::Tell;
use crate::community::personal_channel;

/// The steps of payments that wait.
pub static PAYMENT: Queue = Queue::new("payment", 5);

/// Does what a payment's stage asks for: takes what was paid for, or gives it back.
pub(super) static STEP: JobKind<OfPayment> =
    JobKind::new("payment_step", &PAYMENT, 1).priority(Priority::High);
/// Asks Stripe how a payment is, and does what that asks for, until it has an end.
pub(super) static LOOK: JobKind<OfPayment> = JobKind::new("payment_look", &PAYMENT, 1);
/// Asks Stripe how a payment is, once, for a payer who waits.
pub(super) static GLANCE: JobKind<OfPayment> = JobKind::new("payment_glance", &PAYMENT, 1)
    .priority(Priority::High)
    .attempts(1)
    .useless_after(Duration::from_mins(1));
/// Sends money back.
pub(super) static REFUND: JobKind<OfRefund> = JobKind::new("payment_refund", &PAYMENT, 1).attempts(15);
/// Writes what moved into the ledger.
pub(super) static POST: JobKind<OfPosting> = JobKind::new("payment_posting", &PAYMENT, 1).attempts(20);
/// Takes an event whose payment was not known.
pub(super) static PARKED: JobKind<OfEvent> =
    JobKind::new("stripe_event", &PAYMENT, 1).useless_after(Duration::from_hours(6 * 24));
/// Asks for a refund that something else caused.
pub(super) static ASK_REFUND: JobKind<OwedRefund> = JobKind::new("payment_refund_owed", &PAYMENT, 1);
/// Asks once more for a refund that failed for want of money.
pub(super) static ASK_AGAIN: JobKind<OfRefund> =
    JobKind::new("payment_refund_again", &PAYMENT, 1).attempts(15);
/// Asks Stripe how a payee's account is.
pub(super) static PAYEE_NEWS: JobKind<OfAccount> = JobKind::new("payee_news", &PAYMENT, 1).attempts(6);
/// Ends the page on which a thing is paid that is not to be had any more.
pub(super) static END_PAGE: JobKind<OfOrder> = JobKind::new("payment_page_end", &PAYMENT, 1)
    .priority(Priority::High)
    .useless_after(Duration::from_hours(24));

/// How soon is looked how a refund is.
const REFUND_LOOK: SignedDuration = SignedDuration::from_mins(10);

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfPayment {
    pub(super) payment_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfRefund {
    pub(super) payment_id: String,
    pub(super) refund_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfAccount {
    pub(super) account: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfOrder {
    pub(super) purpose: Purpose,
    pub(super) thing: String,
    pub(super) payer: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfPosting {
    pub(super) payment_id: String,
    pub(super) cause: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfEvent {
    pub(super) event_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OwedRefund {
    pub(super) payment_id: String,
    /// What caused it: the refund's id.
    pub(super) cause: String,
    /// How much of the payment is to be back in all, in minor units; everything without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) minor: Option<u64>,
}

/// A payment after a change, and how it was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// As it was.
    pub before: Head,
    /// As it is.
    pub after: Payment,
}

/// What a change tells besides.
pub(super) enum Told {
    /// So much goes back, in minor units.
    GoesBack(u64),
    /// Stripe has to be asked.
    ToBeAsked,
    /// So much is to be back in all, in minor units, or everything, for this cause.
    IsOwed(String, Option<u64>),
    /// A refund failed that is asked for once more at a time.
    IsTriedAgain(String, Timestamp),
}

/// Looks how a payment is, at a time.
pub(super) fn look(payment_id: &str, at: Timestamp) -> Result<Effect, StoreError> {
    let payload = OfPayment { payment_id: payment_id.to_owned() };
    Ok(Effect::job(LOOK.job(&payload)?.due(at)))
}

/// Looks how a payment is, once.
pub(super) fn look_once(payment_id: &str) -> Result<NewJob, StoreError> {
    GLANCE.job(&OfPayment { payment_id: payment_id.to_owned() })
}

/// Sends money back.
pub(super) fn refund(payment_id: &str, refund_id: &str) -> Result<Effect, StoreError> {
    let payload = OfRefund { payment_id: payment_id.to_owned(), refund_id: refund_id.to_owned() };
    Ok(Effect::job(REFUND.job(&payload)?))
}

/// Sends money back, at a time.
pub(super) fn refund_at(payment_id: &str, refund_id: &str, at: Timestamp) -> Result<Effect, StoreError> {
    let payload = OfRefund { payment_id: payment_id.to_owned(), refund_id: refund_id.to_owned() };
    Ok(Effect::job(REFUND.job(&payload)?.due(at)))
}

/// Asks Stripe how a payee's account is.
pub(super) fn payee_news(account: &str) -> Result<NewJob, StoreError> {
    PAYEE_NEWS.job(&OfAccount { account: account.to_owned() })
}

/// Ends the page on which somebody pays for a thing that is not to be had any more, as where an event or a stay is cancelled.
/// Money that comes all the same goes back.
pub fn page_ends(purpose: Purpose, thing: &str, payer: &str) -> Result<NewJob, StoreError> {
    END_PAGE.job(&OfOrder { purpose, thing: thing.to_owned(), payer: payer.to_owned() })
}

/// Writes what moved into the ledger.
pub(super) fn posting(payment_id: &str, cause: &str) -> Result<Effect, StoreError> {
    let payload = OfPosting { payment_id: payment_id.to_owned(), cause: cause.to_owned() };
    Ok(Effect::job(POST.job(&payload)?))
}

/// Takes an event whose payment was not known.
pub(super) fn parked(event_id: &str) -> Result<Effect, StoreError> {
    Ok(Effect::job(PARKED.job(&OfEvent { event_id: event_id.to_owned() })?))
}

/// A refund that something else causes, as where an event or a stay is cancelled: so that so much is back in all, in minor units,
/// or everything. However often it is caused under one `cause` (an id of the caller's), it is one refund.
pub fn owed(payment_id: &str, cause: &str, minor: Option<u64>) -> Result<NewJob, StoreError> {
    ASK_REFUND.job(&OwedRefund { payment_id: payment_id.to_owned(), cause: cause.to_owned(), minor })
}

/// All that a change causes.
pub(super) fn of(changed: &Changed, told: &[Told], now: Timestamp) -> Result<Vec<Effect>, StoreError> {
    let Changed { before, after } = changed;
    let (id, head) = (after.id.as_str(), &after.head);
    let mut effects = Vec::new();
    let shown = |head: &Head| (head.status(), head.refunded, head.refunding, head.owed());
    if shown(before) != shown(head) {
        let message = PaymentMessage::Changed { payment: Box::new(PaymentBody::from(after)) };
        effects.push(Effect::publish(personal_channel(&after.facts.payer), &message)?);
    }
    if before.stage != head.stage {
        match head.stage {
            Stage::Paid | Stage::Expired => effects.push(step(id)?),
            Stage::Failed => {
                effects.push(step(id)?);
                // Where there is no session the payer was answered so.
                if head.session.is_some() {
                    effects.extend(tell(after, NotificationKind::PaymentFailed, after.facts.total.minor)?);
                }
            }
            Stage::Fulfilled => {
                effects.extend(tell(after, NotificationKind::PaymentReceived, head.captured)?);
            }
            Stage::RefundDue if head.refunding > before.refunding => {
                let minor = head.refunding - before.refunding;
                effects.extend(tell(after, NotificationKind::PaymentRefunded, minor)?);
            }
            Stage::RefundDue | Stage::Created | Stage::Session | Stage::Processing => {}
        }
    }
    let is_settled = |head: &Head| matches!(head.stage, Stage::Fulfilled | Stage::RefundDue);
    let was_untold = !is_settled(before) && head.refunded > 0;
    if is_settled(head) && (was_untold || before.refunded != head.refunded) {
        effects.push(step(id)?);
    }
    if before.refunding == 0 && head.refunding > 0 {
        effects.push(look(id, now.saturating_add(REFUND_LOOK).unwrap_or(now))?);
    }
    // Who is told that money does not come is told so when nothing here tries it again.
    let is_tried = |told: &Told| matches!(told, Told::IsOwed(..) | Told::IsTriedAgain(..));
    if head.owed() > before.owed() && !told.iter().any(is_tried) {
        let minor = head.owed() - before.owed();
        effects.extend(tell(after, NotificationKind::RefundFailed, minor)?);
    }
    for told in told {
        match told {
            Told::GoesBack(minor) => effects.extend(tell(after, NotificationKind::PaymentRefunded, *minor)?),
            Told::ToBeAsked => effects.push(look(id, now)?),
            Told::IsOwed(cause, in_all) => effects.push(Effect::job(owed(id, cause, *in_all)?)),
            Told::IsTriedAgain(refund_id, at) => {
                let (payment_id, refund_id) = (id.to_owned(), refund_id.clone());
                let again = ASK_AGAIN.job(&OfRefund { payment_id, refund_id })?;
                effects.push(Effect::job(again.due(*at)));
            }
        }
    }
    Ok(effects)
}

fn step(payment_id: &str) -> Result<Effect, StoreError> {
    Ok(Effect::job(STEP.job(&OfPayment { payment_id: payment_id.to_owned() })?))
}

/// Tells the payer, in the list and by a letter.
fn tell(payment: &Payment, kind: NotificationKind, minor: u64) -> Result<[Effect; 2], StoreError> {
    let payer = payment.facts.payer.as_str();
    let told = Tell {
        kind,
        thing: payment.id.clone(),
        title: payment.facts.title.clone(),
        actor_id: None,
        count: 1,
        stale_at: None,
    };
    Ok([told.effect(payer)?, letters::payments::told(payer, &payment.id, kind, minor)?])
}
