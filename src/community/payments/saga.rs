//! What follows from a payment: the place is taken or the money goes back, and Stripe is asked where it says nothing.
//!
//! Each step may be taken twice, by two nodes at once, and long after it was due: what it does is decided by the payment as it
//! is then.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mundotango_jobs::Failure;

use super::checkout::{end_session, was_given_up};
use super::payable::Payable;
use super::reads::{Order, Payment};
use super::rules::{RefundRefusal, is_want_of_money, sent_by_hand_since};
use super::service::{Payments, noted};
use super::state::{Place, Stage};
use super::store::{AskedRefund, RefundError};
use super::stripe::{NewRefund, RefundStatus, Seen, SeenRefund, Stripe, StripeError};
use crate::community::money::Money;

/// How often is said what went back of a payment of which more goes back meanwhile.
const MOST_ROUNDS: usize = 4;
/// How soon is looked again where something failed, and whether a payment that was begun is made.
const LOOKED_AGAIN: SignedDuration = SignedDuration::from_mins(10);
/// How long after its end a payment of which Stripe never told a session is over.
const NO_SESSION: SignedDuration = SignedDuration::from_mins(5);
/// How soon somebody may have sent a refund by Stripe's dashboard that was asked for here and is not out yet.
const MAY_BE_SENT: SignedDuration = SignedDuration::from_mins(1);
/// How soon is looked again whether a bank has decided whose the money is. It takes weeks.
const WHILE_DISPUTED: Duration = Duration::from_hours(6);
/// How soon is looked again whether a page is made that is to be ended.
const WHILE_MADE: Duration = Duration::from_mins(1);
/// How long refunds wait where payments are off.
const WHILE_OFF: Duration = Duration::from_hours(1);

impl Payments {
    fn payable_of(&self, payment: &Payment) -> Result<&dyn Payable, Failure> {
        let purpose = payment.facts.purpose;
        let payable = self.payables.of(purpose);
        payable.ok_or_else(|| Failure::retry(format!("nothing here is paid for as a {}", purpose.as_str())))
    }

    /// Does what a payment's stage asks for.
    pub async fn step(&self, id: &str, now: Timestamp) -> Result<(), Failure> {
        let Some(payment) = self.store.reads().payment(id).await? else { return Ok(()) };
        let thing = payment.facts.thing.as_str();
        match payment.head.stage {
            Stage::Paid => {
                if payment.head.is_odd {
                    tracing::error!(payment = id, "what was paid is not what was asked for, and goes back");
                }
                let place = if payment.head.is_void() {
                    Place::NoRoom
                } else {
                    self.payable_of(&payment)?.paid(thing, &payment).await?
                };
                noted(self.store.settle(id, place, now).await?);
            }
            Stage::Failed | Stage::Expired if !payment.head.released => {
                // What is held is held for the last payment: where another one has begun, it goes on being held.
                let last = self.store.reads().last(&payment.order()).await?;
                if last.as_deref() == Some(id) {
                    self.payable_of(&payment)?.released(thing, &payment).await?;
                }
                self.store.note_released(id, now).await?;
            }
            Stage::Fulfilled | Stage::RefundDue => self.tell_what_went_back(payment).await?,
            _ => {}
        }
        Ok(())
    }

    /// Says what went back until that is what is kept: of two who say it at the same time, the first may say what is newer.
    async fn tell_what_went_back(&self, mut payment: Payment) -> Result<(), Failure> {
        for _ in 0..MOST_ROUNDS {
            self.payable_of(&payment)?.went_back(&payment.facts.thing, &payment).await?;
            let Some(now) = self.store.reads().payment(&payment.id).await? else { return Ok(()) };
            if now.head.refunded == payment.head.refunded {
                return Ok(());
            }
            payment = now;
        }
        Err(Failure::retry("more goes back meanwhile"))
    }

    /// Asks Stripe how a payment is, and does what that asks for; put off until it has an end, whatever fails meanwhile.
    pub async fn look(&self, id: &str, now: Timestamp) -> Result<(), Failure> {
        let looked = match self.step(id, now).await {
            Ok(()) => self.glance(id, now).await,
            outcome => outcome,
        };
        let failed = match looked {
            Ok(()) => None,
            Err(Failure::Retry { why, .. }) => Some(why),
            hopeless => return hopeless,
        };
        let again = match self.store.reads().payment(id).await? {
            Some(payment) => payment.head.looked_again_in(&payment.facts, now),
            // It was begun, and may be made by who comes next.
            None => Some(LOOKED_AGAIN).filter(|_| !was_given_up(id, now)),
        };
        let least = if failed.is_some() { LOOKED_AGAIN } else { SignedDuration::ZERO };
        let again = again.and_then(|again| Duration::try_from(again.max(least)).ok());
        match (again, failed) {
            (Some(after), failed) => {
                let why = failed.unwrap_or_else(|| "the payment has no end yet".to_owned());
                Err(Failure::Later { why, after })
            }
            // It has an end, and something more was to be asked.
            (None, Some(why)) => Err(Failure::retry(why)),
            (None, None) => Ok(()),
        }
    }

    /// Asks Stripe once how a payment is, and does what that asks for.
    pub async fn glance(&self, id: &str, now: Timestamp) -> Result<(), Failure> {
        let Some(payment) = self.store.reads().payment(id).await? else { return Ok(()) };
        let Some(stripe) = &self.stripe else { return Ok(()) };
        self.ask(stripe, &payment, now).await?;
        self.step(id, now).await
    }

    async fn ask(&self, stripe: &Stripe, payment: &Payment, now: Timestamp) -> Result<(), Failure> {
        let (id, head) = (payment.id.as_str(), &payment.head);
        let is_over = |after: SignedDuration| now.duration_since(payment.facts.expires_at) > after;
        match (head.stage, &head.session) {
            // Nobody ever got a page to pay on.
            (Stage::Created, None) if is_over(NO_SESSION) => {
                noted(self.store.abandon(id, Stage::Expired, now).await?);
            }
            (Stage::Session | Stage::Processing, Some(session)) => {
                let is_open = head.stage == Stage::Session;
                let seen = if is_open && is_over(SignedDuration::ZERO) {
                    end_session(stripe, id, &session.id).await
                } else {
                    stripe.session(&session.id).await
                };
                let seen = Seen::Session(seen.map_err(StripeError::failure)?);
                noted(self.store.see(id, None, seen, now).await?);
            }
            _ => {}
        }
        if let Some(intent) = head.intent.as_deref().filter(|_| head.captured > 0) {
            self.see_refunds(stripe, id, intent, now).await?;
            self.see_disputes(stripe, id, intent, now).await?;
        }
        if head.refunding > 0 {
            for (refund_id, refund) in self.store.reads().refunds(id).await? {
                if refund.status == RefundStatus::Due {
                    self.send_refund(id, &refund_id, now).await?;
                }
            }
        }
        Ok(())
    }

    async fn see_refunds(
        &self,
        stripe: &Stripe,
        id: &str,
        intent: &str,
        now: Timestamp,
    ) -> Result<(), Failure> {
        // The oldest first: what failed is owed before the dashboard sends it again.
        for refund in stripe.refunds_of(intent).await.map_err(StripeError::failure)?.into_iter().rev() {
            noted(self.store.see(id, None, Seen::Refund(refund), now).await?);
        }
        Ok(())
    }

    async fn see_disputes(
        &self,
        stripe: &Stripe,
        id: &str,
        intent: &str,
        now: Timestamp,
    ) -> Result<(), Failure> {
        for dispute in stripe.disputes_of(intent).await.map_err(StripeError::failure)? {
            noted(self.store.see(id, None, Seen::Dispute(dispute), now).await?);
        }
        Ok(())
    }

    /// Sends money back, if it is still due.
    pub async fn send_refund(&self, id: &str, refund_id: &str, now: Timestamp) -> Result<(), Failure> {
        let reads = self.store.reads();
        let Some(payment) = reads.payment(id).await? else { return Ok(()) };
        let Some(refund) = reads.refund(id, refund_id).await? else { return Ok(()) };
        // A job of its own does it at that time.
        let is_put_off = refund.not_before.is_some_and(|at| now < at);
        if refund.status != RefundStatus::Due || is_put_off {
            return Ok(());
        }
        let Some(stripe) = &self.stripe else {
            return Err(Failure::Later { why: "payments are off".to_owned(), after: WHILE_OFF });
        };
        let intent = payment.head.intent.as_deref();
        let intent = intent.ok_or_else(|| Failure::retry("Stripe has not told the payment's intent yet"))?;
        let is_due = async || -> Result<bool, Failure> {
            let refund = reads.refund(id, refund_id).await?;
            Ok(refund.is_some_and(|refund| refund.status == RefundStatus::Due))
        };
        // Others may have lost patience, and have sent it by Stripe's dashboard.
        if refund.tries > 0 || now.duration_since(refund.at) > MAY_BE_SENT {
            self.see_refunds(stripe, id, intent, now).await?;
            noted(self.store.give_way(id, refund_id, now).await?);
            if !is_due().await? {
                return Ok(());
            }
        }
        // Of money that is not what was asked for all goes back, however much it is.
        let is_whole = payment.head.is_odd && refund_id == id;
        let amount = Money::new(refund.minor, payment.facts.total.currency);
        let new = NewRefund {
            payment: id,
            refund: refund_id,
            tries: refund.tries,
            intent,
            amount: Some(amount).filter(|_| !is_whole),
            is_connected: payment.facts.account.is_some(),
            has_share: payment.facts.fee > 0,
        };
        match stripe.create_refund(&new).await {
            Ok(seen) => {
                let seen = SeenRefund { own: Some(refund_id.to_owned()), ..seen };
                noted(self.store.see(id, None, Seen::Refund(seen), now).await?);
                Ok(())
            }
            Err(StripeError::Refused { code, .. }) if is_want_of_money(&code) => {
                let put_off = self.store.put_off_refund(id, refund_id, refund.tries, code, now).await?;
                noted(put_off);
                Ok(())
            }
            Err(error @ StripeError::Refused { .. }) => {
                // Most often all went back already, by Stripe's dashboard.
                self.see_refunds(stripe, id, intent, now).await?;
                self.see_disputes(stripe, id, intent, now).await?;
                tracing::error!(payment = id, refund = refund_id, %error, "money does not go back");
                let why = match &error {
                    StripeError::Refused { code, .. } if !code.is_empty() => code.clone(),
                    _ => error.to_string(),
                };
                noted(self.store.refuse_refund(id, refund_id, why, now).await?);
                Ok(())
            }
            Err(error @ StripeError::Unknown(_)) => {
                self.see_refunds(stripe, id, intent, now).await?;
                if is_due().await? { Err(error.failure()) } else { Ok(()) }
            }
            Err(error) => Err(error.failure()),
        }
    }

    /// Asks once more for a refund that failed for want of money, unless Stripe's dashboard has sent it meanwhile.
    pub async fn ask_again(&self, id: &str, refund_id: &str, now: Timestamp) -> Result<(), Failure> {
        let reads = self.store.reads();
        let Some(payment) = reads.payment(id).await? else { return Ok(()) };
        if let Some((stripe, intent)) = self.stripe.as_ref().zip(payment.head.intent.as_deref()) {
            self.see_refunds(stripe, id, intent, now).await?;
        }
        let refunds = reads.refunds(id).await?;
        let Some((_, failed)) = refunds.iter().find(|(own, _)| own == refund_id) else { return Ok(()) };
        let by_hand = sent_by_hand_since(&refunds, failed.at);
        noted(self.store.ask_again(id, refund_id, by_hand, now).await?);
        Ok(())
    }

    /// Ends the page on which somebody pays for a thing that is not to be had any more. Where somebody has paid meanwhile, the
    /// thing itself says that there is no room.
    pub async fn end_page(&self, order: &Order, now: Timestamp) -> Result<(), Failure> {
        let reads = self.store.reads();
        let Some(id) = reads.last(order).await? else { return Ok(()) };
        let Some(payment) = reads.payment(&id).await? else {
            if was_given_up(&id, now) {
                return Ok(());
            }
            return Err(Failure::Later {
                why: "the payment is just being made".to_owned(),
                after: WHILE_MADE,
            });
        };
        let Some(stripe) = &self.stripe else { return Ok(()) };
        match (payment.head.stage, &payment.head.session) {
            (Stage::Created, None) if now < payment.facts.expires_at => {
                Err(Failure::Later { why: "the page is just being made".to_owned(), after: WHILE_MADE })
            }
            (Stage::Session, Some(session)) => {
                let seen = end_session(stripe, &id, &session.id).await.map_err(StripeError::failure)?;
                noted(self.store.see(&id, None, Seen::Session(seen), now).await?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether a bank has money of a payment and has not decided yet whose it is. Stripe is asked where it has not told the end.
    async fn is_in_dispute(&self, id: &str, now: Timestamp) -> Result<bool, Failure> {
        let reads = self.store.reads();
        if !reads.is_in_dispute(id).await? {
            return Ok(false);
        }
        self.glance(id, now).await?;
        Ok(reads.is_in_dispute(id).await?)
    }

    /// Asks for a refund that something else caused, so that `in_all` is back, with what went back before and what is on its way;
    /// or everything. While a bank has the money it waits, as what the payer wins there must not go back once more.
    pub async fn ask_owed_refund(
        &self,
        id: &str,
        cause: &str,
        in_all: Option<u64>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        if self.is_in_dispute(id, now).await? {
            let why = "a bank has the money, and decides whose it is".to_owned();
            return Err(Failure::Later { why, after: WHILE_DISPUTED });
        }
        let Some(payment) = self.store.reads().payment(id).await? else { return Ok(()) };
        let before = payment.head.refunded.saturating_add(payment.head.refunding);
        let mut wanted = in_all.map(|in_all| in_all.saturating_sub(before));
        if wanted == Some(0) {
            return Ok(());
        }
        // Twice at the most: what is left is told, and may be less by then.
        for _ in 0..2 {
            let asked = AskedRefund { id: cause.to_owned(), minor: wanted, by: None, reason: None };
            match self.store.ask_refund(id, asked, now).await {
                Ok(changed) => {
                    noted(changed);
                    return Ok(());
                }
                // Money that comes later finds that there is no room.
                Err(RefundError::Refused(RefundRefusal::NotPaid)) => return Ok(()),
                Err(RefundError::Refused(RefundRefusal::TooMuch(left))) if left.minor == 0 => return Ok(()),
                Err(RefundError::Refused(RefundRefusal::TooMuch(left))) => wanted = Some(left.minor),
                Err(RefundError::Refused(error @ (RefundRefusal::TooMany | RefundRefusal::NotOwed(_)))) => {
                    return Err(Failure::Hopeless(error.to_string()));
                }
                Err(RefundError::Store(error)) => return Err(error.into()),
            }
        }
        Err(Failure::retry("other refunds are asked for at the same time"))
    }

    /// Writes what moved into the ledger.
    pub async fn post(&self, id: &str, cause: &str) -> Result<(), Failure> {
        let reads = self.store.reads();
        let Some(payment) = reads.payment(id).await? else { return Ok(()) };
        let Some(posting) = reads.posting(id, cause).await? else { return Ok(()) };
        Ok(self.ledger.post(id, &payment.facts, cause, posting).await?)
    }

    /// Takes an event whose payment was not known, or not by its name.
    pub async fn take_parked(&self, event: &str, is_last: bool, now: Timestamp) -> Result<(), Failure> {
        let Some(about) = self.store.reads().parked(event).await? else { return Ok(()) };
        let id = match (about.payment, &about.intent, &self.stripe) {
            (Some(id), _, _) => Some(id),
            (None, Some(intent), Some(stripe)) => match stripe.payment_of(intent).await {
                // One of another program's.
                Err(StripeError::Refused { .. }) => None,
                outcome => outcome.map_err(StripeError::failure)?,
            },
            (None, _, _) => None,
        };
        let Some(id) = id else { return Ok(()) };
        let changed = self.store.see(&id, Some(event), about.seen, now).await?;
        if noted(changed).is_some() || is_last {
            return Ok(());
        }
        Err(Failure::retry("the payment that an event is about is not known"))
    }
}
