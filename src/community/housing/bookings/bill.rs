//! How the money of a booking stands. Payments say what came and what went back ([`Bill::paid`], [`Bill::went_back`]), and what is
//! owed is read here. Where no payments are taken a bill stays due, and the guest pays the host.

use serde::{Deserialize, Serialize};

use crate::community::housing::status::Status;
use crate::community::money::Money;

/// How the money of a booking stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BookingPayment)]
pub enum Payment {
    /// Nothing is to be paid: not yet, not any more, or not at all.
    #[default]
    None,
    /// The guest is to pay.
    Due,
    /// The guest has paid.
    Paid,
    /// The guest is to get something back.
    RefundDue,
    /// The guest got back what was due, or all of it.
    Refunded,
}

/// What a guest gets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// So much of the total.
    pub percent: u32,
    /// In minor units of the booking's currency.
    pub minor: u64,
}

/// The bill of a booking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// How it stands.
    #[serde(default)]
    pub payment: Payment,
    /// The payment by which the guest has paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_by: Option<String>,
    /// What the guest gets back in all, once the booking is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<Refund>,
    /// What has gone back of the payment, in minor units.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub back: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_nothing(minor: &u64) -> bool {
    *minor == 0
}

impl Bill {
    /// The stay is confirmed.
    pub(super) fn confirmed(&mut self, total: Money) {
        self.payment = if total.minor == 0 { Payment::None } else { Payment::Due };
    }

    /// A confirmed stay is cancelled, of which so much is paid back. What the host gave back before counts.
    pub(super) fn cancelled(&mut self, total: Money, percent: u32) {
        let minor = total.percent(percent).minor;
        self.refund = Some(Refund { percent, minor });
        self.payment = match self.payment {
            Payment::Paid if minor > 0 && self.back >= minor => Payment::Refunded,
            Payment::Paid if minor > 0 => Payment::RefundDue,
            Payment::Due => Payment::None,
            payment => payment,
        };
    }

    /// The money of a payment has come; whether that is news. It pays a stay that is due and no other: what comes for one that was
    /// cancelled, or paid by another payment, goes back without having been this bill's.
    pub fn paid(&mut self, payment: &str, status: Status) -> bool {
        let is_on = matches!(status, Status::Confirmed | Status::Completed | Status::NoShow);
        let is_news = is_on && self.payment == Payment::Due;
        if is_news {
            self.payment = Payment::Paid;
            self.paid_by = Some(payment.to_owned());
        }
        is_news
    }

    /// Whether the guest has paid by this payment, whatever went back since.
    pub fn is_paid_by(&self, payment: &str) -> bool {
        self.paid_by.as_deref() == Some(payment)
    }

    /// Notes how much of a payment has gone back in all, in minor units; whether that is news. The sum may become less again, as
    /// banks refuse refunds.
    pub fn went_back(&mut self, payment: &str, minor: u64, total: Money) -> bool {
        if !self.is_paid_by(payment) {
            return false;
        }
        let owed = self.refund.filter(|refund| refund.minor > 0);
        let next = match owed {
            _ if minor >= owed.map_or(total.minor, |owed| owed.minor) => Payment::Refunded,
            Some(_) => Payment::RefundDue,
            None => Payment::Paid,
        };
        let before = (self.payment, self.back);
        (self.payment, self.back) = (next, minor);
        before != (next, minor)
    }

    /// The payment of which something is still to go back, and how much of it in all, in minor units.
    pub fn owed(&self) -> Option<(&str, u64)> {
        let is_owed = self.payment == Payment::RefundDue;
        let owed = self.paid_by.as_deref().zip(self.refund).filter(|_| is_owed);
        owed.map(|(payment, refund)| (payment, refund.minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::community::money::Currency;

    fn total() -> Money {
        Money::new(12_000, Currency::default())
    }

    fn due() -> Bill {
        let mut bill = Bill::default();
        bill.confirmed(total());
        bill
    }

    #[test]
    fn what_was_paid_is_paid_back_by_the_rules() {
        for (percent, owed, then) in [
            (100, Some(12_000), Payment::Refunded),
            (50, Some(6_000), Payment::Refunded),
            (0, None, Payment::Paid),
        ] {
            let mut bill = due();
            assert!(bill.paid("p", Status::Confirmed));
            assert!(!bill.paid("p", Status::Confirmed), "told twice");
            bill.cancelled(total(), percent);
            assert_eq!(bill.owed(), owed.map(|minor| ("p", minor)));
            assert_eq!(bill.went_back("p", owed.unwrap_or(0), total()), owed.is_some());
            assert_eq!((bill.payment, bill.owed()), (then, None));
            assert!(!bill.went_back("p", owed.unwrap_or(0), total()), "told twice");
            assert!(bill.is_paid_by("p"), "the payment that is asked about again is the same");
        }
    }

    #[test]
    fn only_what_is_due_is_paid_and_once() {
        let mut cancelled = due();
        cancelled.cancelled(total(), 0);
        assert!(!cancelled.paid("p", Status::Cancelled));
        assert_eq!((cancelled.payment, cancelled.paid_by), (Payment::None, None));
        let mut other = due();
        assert!(other.paid("p", Status::Completed));
        assert!(!other.paid("q", Status::Completed) && !other.went_back("q", 12_000, total()));
        assert_eq!((other.payment, other.is_paid_by("q")), (Payment::Paid, false));
    }

    #[test]
    fn a_host_may_give_money_back_and_a_bank_may_refuse_it() {
        let mut bill = due();
        bill.paid("p", Status::Confirmed);
        assert!(bill.went_back("p", 500, total()));
        assert_eq!(bill.payment, Payment::Paid, "a part of it");
        assert!(bill.went_back("p", 12_000, total()));
        assert_eq!(bill.payment, Payment::Refunded);
        assert!(bill.went_back("p", 0, total()));
        assert_eq!(bill.payment, Payment::Paid);
        bill.cancelled(total(), 50);
        assert!(bill.went_back("p", 6_000, total()));
        assert!(bill.went_back("p", 0, total()));
        assert_eq!(bill.payment, Payment::RefundDue);
    }

    #[test]
    fn what_went_back_before_it_was_cancelled_counts() {
        for (before, owed, payment) in
            [(1_000, Some(("p", 6_000)), Payment::RefundDue), (6_000, None, Payment::Refunded)]
        {
            let mut bill = due();
            bill.paid("p", Status::Confirmed);
            bill.went_back("p", before, total());
            bill.cancelled(total(), 50);
            assert_eq!((bill.owed(), bill.payment), (owed, payment), "{before}");
            bill.went_back("p", 6_000, total());
            assert_eq!((bill.owed(), bill.payment), (None, Payment::Refunded), "{before}");
        }
    }

    #[test]
    fn what_costs_nothing_is_not_due() {
        let mut bill = Bill::default();
        bill.confirmed(Money { minor: 0, ..total() });
        assert_eq!(bill.payment, Payment::None);
    }
}
