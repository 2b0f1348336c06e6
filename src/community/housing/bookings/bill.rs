//! How the money of a booking stands. This is the seam to payments: they carry money, tell by [`Bill::paid`] and
//! [`Bill::refunded`] that they did, and read here what is due. Without them a bill stays due, and the guest pays the host.

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// How it stands.
    #[serde(default)]
    pub payment: Payment,
    /// What the guest gets back, once the booking is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<Refund>,
}

impl Bill {
    /// The stay is confirmed.
    pub(super) fn confirmed(&mut self, total: Money) {
        self.payment = if total.minor == 0 { Payment::None } else { Payment::Due };
    }

    /// A confirmed stay is cancelled, of which so much is paid back.
    pub(super) fn cancelled(&mut self, total: Money, percent: u32) {
        let minor = total.percent(percent).minor;
        self.refund = Some(Refund { percent, minor });
        self.payment = match self.payment {
            Payment::Paid if minor > 0 => Payment::RefundDue,
            Payment::Due => Payment::None,
            payment => payment,
        };
    }

    /// The guest has paid; whether that is news. Money that comes when the stay is cancelled is to be paid back, all of it.
    pub fn paid(&mut self, total: Money, status: Status) -> bool {
        if matches!(self.payment, Payment::Paid | Payment::RefundDue) {
            return false;
        }
        match status {
            Status::Confirmed | Status::Completed | Status::NoShow => self.payment = Payment::Paid,
            Status::Cancelled => {
                self.payment = Payment::RefundDue;
                self.refund = Some(Refund { percent: 100, minor: total.minor });
            }
            Status::Requested
            | Status::Countered
            | Status::Declined
            | Status::Superseded
            | Status::Expired => return false,
        }
        true
    }

    /// The guest got back what was due; whether that is news.
    pub fn refunded(&mut self) -> bool {
        let is_due = self.payment == Payment::RefundDue;
        if is_due {
            self.payment = Payment::None;
        }
        is_due
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
        for (percent, minor, payment) in
            [(100, 12_000, Payment::RefundDue), (50, 6_000, Payment::RefundDue), (0, 0, Payment::Paid)]
        {
            let mut bill = due();
            assert!(bill.paid(total(), Status::Confirmed));
            assert!(!bill.paid(total(), Status::Confirmed), "told twice");
            bill.cancelled(total(), percent);
            assert_eq!((bill.payment, bill.refund), (payment, Some(Refund { percent, minor })));
            assert_eq!(bill.refunded(), percent > 0);
            assert!(!bill.refunded());
        }
    }

    #[test]
    fn late_money_goes_back() {
        let mut bill = due();
        bill.cancelled(total(), 0);
        assert_eq!(bill.payment, Payment::None);
        assert!(bill.paid(total(), Status::Cancelled));
        let refund = Some(Refund { percent: 100, minor: 12_000 });
        assert_eq!((bill.payment, bill.refund), (Payment::RefundDue, refund));
    }

    #[test]
    fn what_costs_nothing_is_not_due() {
        let mut bill = Bill::default();
        bill.confirmed(Money { minor: 0, ..total() });
        assert_eq!(bill.payment, Payment::None);
    }
}
