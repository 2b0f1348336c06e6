//! Refunds that could not be sent, or did not arrive, and are tried again.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Wants, last_part};

use super::causes::{self, Changed};
use super::reads::{MOST_REFUNDS_READ, Row, refund_key, refunds_prefix};
use super::state::Refund;
use super::store::{Paying, PaymentStore, refund_in};
use super::stripe::RefundStatus;

fn refunds_in(part: &mut Paying<'_>) -> Vec<(String, Refund)> {
    let rows = part.first(&refunds_prefix(), MOST_REFUNDS_READ).into_iter();
    let refunds = rows.filter_map(|(key, row)| match row {
        Row::Refund(refund) => Some((last_part(&key), refund.clone())),
        _ => None,
    });
    refunds.collect()
}

impl PaymentStore {
    /// Puts a refund off for which there is no money at Stripe, after so many tries; it is refused where that was tried often
    /// enough.
    pub async fn put_off_refund(
        &self,
        id: &str,
        refund_id: &str,
        tries: u32,
        why: String,
        now: Timestamp,
    ) -> Result<Option<Changed>, StoreError> {
        let refund_id = refund_id.to_owned();
        let wants = Wants::head().row(refund_key(&refund_id));
        self.change(id, wants, now, move |changing, part| {
            let before = refund_in(part, &refund_id);
            let is_it = |refund: &Refund| refund.status == RefundStatus::Due && refund.tries == tries;
            let Some(before) = before.filter(is_it) else { return Ok(()) };
            let after = match before.put_off(why.clone(), now) {
                Some(after) => {
                    part.emit(&causes::refund_at(changing.id, &refund_id, after.not_before.unwrap_or(now))?)?;
                    Some(after)
                }
                None => part.head.refuse_refund(&before, why.clone()),
            };
            if let Some(after) = after {
                part.set(refund_key(&refund_id), Row::Refund(after));
                changing.has_changed = true;
            }
            Ok(())
        })
        .await
    }

    /// Asks once more for a refund that failed for want of money, as far as that is still owed, less what Stripe's dashboard may have
    /// sent of it.
    pub async fn ask_again(
        &self,
        id: &str,
        refund_id: &str,
        by_hand: u64,
        now: Timestamp,
    ) -> Result<Option<Changed>, StoreError> {
        let (refund_id, again) = (refund_id.to_owned(), format!("{refund_id}.again"));
        let wants = Wants::head().row(refund_key(&refund_id)).row(refund_key(&again));
        self.change(id, wants, now, move |changing, part| {
            let (failed, is_asked) = (refund_in(part, &refund_id), refund_in(part, &again).is_some());
            let Some(failed) = failed.filter(|_| !is_asked) else { return Ok(()) };
            // What can go back at all is less by what the dashboard sent already.
            let wanted = failed.minor.min(part.head.failed).saturating_sub(by_hand);
            let minor = wanted.min(part.head.refundable());
            let currency = part.facts.total.currency;
            let by = failed.by.clone();
            let asked = part.head.ask_refund(currency, Some(minor), by, failed.reason.clone(), now);
            // Nothing is owed any more, or too many were asked for: then it stays in the list.
            let Ok(refund) = asked else { return Ok(()) };
            part.set(refund_key(&again), Row::Refund(Refund { tries: failed.tries + 1, ..refund }));
            part.emit(&causes::refund(changing.id, &again)?)?;
            changing.has_changed = true;
            Ok(())
        })
        .await
    }

    /// Has a refund that is still due give way to what Stripe's dashboard sent meanwhile.
    pub async fn give_way(
        &self,
        id: &str,
        refund_id: &str,
        now: Timestamp,
    ) -> Result<Option<Changed>, StoreError> {
        let refund_id = refund_id.to_owned();
        let wants = Wants::head().row(refund_key(&refund_id)).first(&refunds_prefix(), MOST_REFUNDS_READ);
        self.change(id, wants, now, move |changing, part| {
            let refunds = refunds_in(part);
            let Some(before) = refund_in(part, &refund_id) else { return Ok(()) };
            let Some((after, sent)) = part.head.give_way(&before, refunds) else { return Ok(()) };
            part.set(refund_key(&refund_id), Row::Refund(after));
            for (own, refund) in sent {
                part.set(refund_key(&own), Row::Refund(refund));
            }
            changing.has_changed = true;
            Ok(())
        })
        .await
    }
}
