//! Beginning a payment: a page of Stripe's for what a payer owes.
//!
//! However often, and by however many devices at once, a payer asks to pay for a thing: there is one payment at a time, with one
//! session at Stripe. The order's partition names the payment before it is made, so whoever comes meanwhile goes on with it.

use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::problem::Problem;
use mundotango_protocol::new_id;
use mundotango_storage::db::time_of_id;

use super::payable::{Payable, not_payable};
use super::quote::Quote;
use super::reads::{Order, Payment};
use super::rules::Standing;
use super::service::{Payments, gone, noted};
use super::state::{Facts, Session, Stage};
use super::stripe::{NewSession, Seen, Stripe, StripeError, tellable};
use crate::community::money::Money;

/// How often a payment is looked at anew that others change meanwhile.
const MOST_ROUNDS: usize = 4;
/// A payment that was begun so long ago and never made is not made any more.
const MADE_WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// The whole, in hundredths of a per cent.
const WHOLE: u128 = 10_000;

/// Where to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// The id of the payment.
    pub payment_id: String,
    /// The page of Stripe.
    pub url: String,
    /// Until when.
    pub expires_at: Timestamp,
}

impl Payments {
    /// Where an order is paid. `first_id` is the id of a payment that begins now.
    pub async fn checkout(
        &self,
        order: &Order,
        first_id: String,
        now: Timestamp,
    ) -> Result<Checkout, Problem> {
        let payable = self.payables.of(order.purpose);
        let payable = payable.ok_or_else(|| Problem::not_found(order.purpose.as_str()))?;
        let mut given = Some(first_id);
        for _ in 0..MOST_ROUNDS {
            if let Some(checkout) = self.round(order, payable, &mut given, now).await? {
                return Ok(checkout);
            }
        }
        Err(Problem::unavailable("others pay for the same at this moment"))
    }

    /// Goes on with the payment that there is, or begins one; `None` where it has to be looked at anew.
    async fn round(
        &self,
        order: &Order,
        payable: &dyn Payable,
        given: &mut Option<String>,
        now: Timestamp,
    ) -> Result<Option<Checkout>, Problem> {
        let reads = self.store.reads();
        let last = reads.last(order).await?;
        let known = match &last {
            Some(id) => reads.payment(id).await?,
            None => None,
        };
        // Asked after the payment was read: where that one was just fulfilled, the thing says so.
        let quote = payable.quote(&order.thing, &order.payer).await?;
        let over = match known {
            Some(payment) => match payment.head.standing(&payment.facts, &quote, now) {
                Standing::Busy(why) => return Err(not_payable(why)),
                Standing::Open => return self.page_of(payment, now).await.map(Some),
                Standing::Stale => {
                    self.withdraw(&payment, now).await?;
                    return Ok(None);
                }
                Standing::Over => Some(payment.id),
            },
            None => last.filter(|id| was_given_up(id, now)),
        };
        let facts = self.terms(order, quote, now).await?;
        let new_id = given.take().filter(|id| over.as_ref() != Some(id)).unwrap_or_else(new_id);
        let (id, attempt) = self.store.begin(order, over, new_id, now).await?;
        let payment = self.store.create(&id, &Facts { attempt, ..facts.clone() }).await?;
        // Another device may have been faster, with what the thing cost then.
        let is_same = payment.facts.total == facts.total && payment.facts.lines == facts.lines;
        if is_same && matches!(payment.head.stage, Stage::Created | Stage::Session) {
            return self.page_of(payment, now).await.map(Some);
        }
        Ok(None)
    }

    /// The terms of a payment that begins now.
    async fn terms(&self, order: &Order, quote: Quote, now: Timestamp) -> Result<Facts, Problem> {
        let total = quote.total().ok_or_else(|| not_payable("this costs more than can be paid"))?;
        if total.minor == 0 {
            return Err(not_payable("there is nothing to pay"));
        }
        self.stripe()?;
        let account = self.account_of(&quote.payee, now).await?;
        let expires_at = quote.payable_until(now);
        let expires_at =
            expires_at.ok_or_else(|| not_payable("it is not held for you long enough to be paid"))?;
        let fee = u128::from(total.minor) * u128::from(self.fee_basis_points) / WHOLE;
        let fee = u64::try_from(fee).unwrap_or(total.minor).min(total.minor);
        // Stripe knows fewer decimals of some currencies: what it cannot be told of the share is the payee's.
        let fee = tellable(Money::new(fee, total.currency)).minor;
        Ok(Facts {
            purpose: order.purpose,
            thing: order.thing.clone(),
            attempt: 0,
            payer: order.payer.clone(),
            payee: quote.payee,
            title: quote.title,
            lines: quote.lines,
            total,
            fee,
            account,
            made_at: now,
            expires_at,
        })
    }

    /// The page on which a payment that goes on is paid.
    async fn page_of(&self, payment: Payment, now: Timestamp) -> Result<Checkout, Problem> {
        if let Some(checkout) = checkout_of(&payment) {
            return Ok(checkout);
        }
        let made = self.stripe()?.create_session(&self.new_session(&payment)).await;
        let seen = match made {
            Ok(seen) => seen,
            Err(error) => {
                // Nobody knows of a page to pay on: if Stripe has one, it ends by itself.
                if matches!(error, StripeError::Refused { .. } | StripeError::Unknown(_)) {
                    noted(self.store.abandon(&payment.id, Stage::Failed, now).await?);
                }
                return Err(error.into());
            }
        };
        let changed = self.store.see(&payment.id, None, Seen::Session(seen), now).await?;
        let payment = noted(changed).ok_or_else(gone)?;
        checkout_of(&payment).ok_or_else(|| not_payable("this is paid, or was withdrawn"))
    }

    fn new_session<'a>(&self, payment: &'a Payment) -> NewSession<'a> {
        let Payment { id, facts, .. } = payment;
        let currency = facts.total.currency;
        let line = |line: &'a super::quote::Line| {
            (line.name.as_str(), Money::new(line.unit, currency), line.quantity)
        };
        let [success_url, cancel_url] = self.pages(id);
        NewSession {
            payment: id,
            lines: facts.lines.iter().map(line).collect(),
            success_url,
            cancel_url,
            expires_at: facts.expires_at,
            connected: facts.account.as_deref().map(|account| (account, Money::new(facts.fee, currency))),
        }
    }

    /// Ends a payment on which nobody has paid. What Stripe says of it then decides.
    async fn withdraw(&self, payment: &Payment, now: Timestamp) -> Result<(), Problem> {
        let Some(Session { id: session, .. }) = &payment.head.session else {
            noted(self.store.abandon(&payment.id, Stage::Expired, now).await?);
            return Ok(());
        };
        let seen = end_session(self.stripe()?, &payment.id, session).await?;
        noted(self.store.see(&payment.id, None, Seen::Session(seen), now).await?);
        Ok(())
    }
}

/// Ends a session if nobody has paid on it; how it is then.
pub(super) async fn end_session(
    stripe: &Stripe,
    payment: &str,
    session: &str,
) -> Result<super::stripe::SeenSession, StripeError> {
    match stripe.expire_session(payment, session).await {
        // It has ended already, or somebody has paid.
        Err(StripeError::Refused { .. }) => stripe.session(session).await,
        outcome => outcome,
    }
}

fn checkout_of(payment: &Payment) -> Option<Checkout> {
    let url = payment.head.session.as_ref()?.url.clone()?;
    let is_open = payment.head.stage == Stage::Session;
    is_open.then(|| Checkout { payment_id: payment.id.clone(), url, expires_at: payment.facts.expires_at })
}

/// Whether a payment that is not there was begun so long ago that nobody makes it any more.
pub(super) fn was_given_up(id: &str, now: Timestamp) -> bool {
    time_of_id(id).is_none_or(|begun| now.duration_since(begun) > MADE_WITHIN)
}
