//! Letters about payments: receipts, money that goes back or cannot be sent, and payments that did not work.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use super::{EMAIL, Letters, Own, SEND_TIMEOUT};
use crate::community::effects::Effect;
use crate::community::money::Money;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::payments::reads::Payment;
use crate::email::{Letter, PaymentStep, ReceiptLine};

/// To somebody who paid.
static PAYMENT: JobKind<PaymentLetter> = JobKind::new("payment_letter", &EMAIL, 1)
    .timeout(SEND_TIMEOUT)
    .backoff(Duration::from_secs(15), Duration::from_hours(1))
    .useless_after(Duration::from_hours(7 * 24));

/// What the payer is told of which payment.
#[derive(Debug, Serialize, Deserialize)]
struct PaymentLetter {
    user_id: String,
    payment_id: String,
    kind: NotificationKind,
    /// How much it is about, in minor units: of several refunds each has a letter of its own.
    minor: u64,
}

/// Tells a payer something of a payment.
pub(in crate::community) fn told(
    user_id: &str,
    payment_id: &str,
    kind: NotificationKind,
    minor: u64,
) -> Result<Effect, StoreError> {
    let (user_id, payment_id) = (user_id.to_owned(), payment_id.to_owned());
    Ok(Effect::job(PAYMENT.job(&PaymentLetter { user_id, payment_id, kind, minor })?))
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    pools.handle(&PAYMENT, Own(Arc::clone(letters)))
}

#[async_trait]
impl Handler<PaymentLetter> for Own {
    async fn run(&self, attempted: &Attempted, job: PaymentLetter) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(payment) = letters.payments.payment(&job.payment_id).await? else { return Ok(()) };
        let Some(reader) = letters.reader(&job.user_id).await? else { return Ok(()) };
        if !reader.preferences.ways(job.kind).email {
            return Ok(());
        }
        let step = match job.kind {
            NotificationKind::PaymentReceived => PaymentStep::Received,
            NotificationKind::PaymentRefunded => PaymentStep::Refunded,
            NotificationKind::PaymentFailed => PaymentStep::Failed,
            NotificationKind::RefundFailed => PaymentStep::Stuck,
            other => return Err(Failure::Hopeless(format!("{other:?} is about no payment"))),
        };
        let amount = Money::new(job.minor, payment.facts.total.currency).display();
        let letter = Letter::PaymentStep {
            name: reader.name(),
            step,
            lines: if step == PaymentStep::Received { receipt(&payment) } else { Vec::new() },
            amount,
            number: payment.id.clone(),
            url: format!("{}/payments/{}", letters.public_url, payment.id),
            title: payment.facts.title,
        };
        letters.send(attempted, &reader, &letter).await
    }
}

/// What makes up the total of a payment.
fn receipt(payment: &Payment) -> Vec<ReceiptLine> {
    let currency = payment.facts.total.currency;
    let lines = payment.facts.lines.iter().map(|line| {
        let price = Money::new(line.unit, currency);
        // A quote whose total could not be counted was never paid.
        let amount = price.checked_mul(line.quantity.into()).unwrap_or(payment.facts.total).display();
        let name = if line.quantity == 1 {
            line.name.clone()
        } else {
            format!("{} × {}, {}", line.quantity, line.name, price.display())
        };
        ReceiptLine { name, amount }
    });
    lines.collect()
}
