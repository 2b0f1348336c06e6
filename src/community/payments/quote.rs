//! What is paid for, and what it costs.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::community::money::{Currency, Money};

/// Most lines of a quote.
pub const MOST_LINES: usize = 20;
/// The largest total, in minor units. Stripe takes no more of any currency.
pub const LARGEST: u64 = 999_999_999_999;

/// The shortest time for which a payer can be given a page to pay on, with a minute for the way to Stripe, whose own
/// bound is 30 minutes.
const SHORTEST_SESSION: SignedDuration = SignedDuration::from_mins(31);
/// The longest one; Stripe's own bound is 24 hours.
const LONGEST_SESSION: SignedDuration = SignedDuration::from_hours(23);
/// How long before a hold ends nobody can pay any more.
const BEFORE_THE_HOLD: SignedDuration = SignedDuration::from_mins(1);
/// How long a place has to be held when its quote is asked for, at the least.
pub const SHORTEST_HOLD: SignedDuration = SignedDuration::from_mins(35);

/// What is paid for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A ticket of an event.
    Ticket,
    /// A stay.
    Booking,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Ticket, Self::Booking];

    /// Its name, as clients and metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Booking => "booking",
        }
    }
}

/// A line of a quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PaymentLine)]
pub struct Line {
    /// What it is, in one line.
    pub name: String,
    /// The price of one, in minor units.
    pub unit: u64,
    /// How many.
    pub quantity: u32,
}

/// What a payer owes for a thing, and until when it is the payer's to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The user whom the money is for.
    pub payee: String,
    /// What the thing is called, in one line.
    pub title: String,
    /// In what currency.
    pub currency: Currency,
    /// What makes up the total.
    pub lines: Vec<Line>,
    /// Until when the place or the nights are held for this payer. The page to pay on ends before; [`SHORTEST_HOLD`] from
    /// now at the least.
    pub held_until: Timestamp,
}

impl Quote {
    /// What all lines cost together; `None` of more than can be paid, and of too many lines.
    pub fn total(&self) -> Option<Money> {
        let of = |line: &Line| Money::new(line.unit, self.currency).checked_mul(line.quantity.into());
        let mut lines = self.lines.iter().map(of);
        let total = lines.try_fold(Money::new(0, self.currency), |sum, line| sum.checked_add(line?));
        total.filter(|total| total.minor <= LARGEST && self.lines.len() <= MOST_LINES)
    }

    /// Until when the payer can pay; `None` where the hold ends too soon.
    pub(super) fn payable_until(&self, now: Timestamp) -> Option<Timestamp> {
        let longest = now.checked_add(LONGEST_SESSION).ok()?;
        let end = self.held_until.checked_sub(BEFORE_THE_HOLD).ok()?.min(longest);
        // Stripe counts seconds.
        let end = Timestamp::from_second(end.as_second()).ok()?;
        (end.duration_since(now) >= SHORTEST_SESSION).then_some(end)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two places at 12.50.
    pub(in crate::community::payments) fn quote(now: Timestamp) -> Quote {
        Quote {
            payee: "host".to_owned(),
            title: "Milonga".to_owned(),
            currency: Currency::parse("EUR").unwrap(),
            lines: vec![Line { name: "Entrance".to_owned(), unit: 1250, quantity: 2 }],
            held_until: now + SHORTEST_HOLD,
        }
    }

    #[test]
    fn t10_the_page_to_pay_on_ends_before_the_hold_and_within_stripes_bounds() {
        let now: Timestamp = "2026-12-04T21:00:00.5Z".parse().unwrap();
        let until = |minutes| {
            let held_until = now + SignedDuration::from_mins(minutes);
            let until = Quote { held_until, ..quote(now) }.payable_until(now);
            until.map(|end| (end < held_until, end.duration_since(now).as_mins()))
        };
        assert_eq!(until(30), None);
        assert_eq!(until(32), None, "a part of a second is missing");
        assert_eq!(until(35), Some((true, 33)));
        assert_eq!(until(120), Some((true, 118)));
        assert_eq!(until(10_000), Some((true, 23 * 60 - 1)));
    }

    #[test]
    fn a_total_is_the_sum_of_its_lines_and_bounded() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(quote(now).total().unwrap().minor, 2500);
        let with = |lines| Quote { lines, ..quote(now) }.total().map(|total| total.minor);
        let line = |unit, quantity| Line { name: "x".to_owned(), unit, quantity };
        assert_eq!(with(vec![]), Some(0));
        assert_eq!(with(vec![line(LARGEST, 1)]), Some(LARGEST));
        assert_eq!(with(vec![line(LARGEST, 1), line(1, 1)]), None);
        assert_eq!(with(vec![line(u64::MAX, 2)]), None);
        assert_eq!(with(vec![line(1, 1); MOST_LINES + 1]), None);
    }
}
