//! The ledger: what moved, as lines of double entry, and what that comes to each day.
//!
//! Both follow from the postings in the payments' partitions. A line's place is its posting's time and cause, and a day knows
//! the causes that it counted, so what is posted twice counts once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Index, Kind, Order, Wants, Whose, key, number,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

use super::quote::Purpose;
use super::state::{Facts, Movement, Posting};
use crate::community::money::Currency;

/// The lines of each account: `stripe:EUR` has what is at Stripe, `outside:EUR` what admins gave back by other means,
/// `platform:EUR` what is the platform's of it, and `payee:{user}:EUR` what is a user's. By time, then by cause.
pub static LEDGER: Index<LedgerLine> = Index::new(
    "ledger",
    "a day of an account: 100,000 lines of 250 B, 25 MB",
    bucket,
    Order::OldestFirst,
    PERSONAL,
);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::User,
        Export::NotGiven("the payments are"),
        Erasure::Anonymous("lines stay for bookkeeping, in an account that names nobody"),
        &["list"],
    ),
    Fields::of(
        Whose::Sides,
        Export::NotGiven("the payments are"),
        Erasure::Kept("10 years for bookkeeping, or as long as the operator's law asks"),
        &["key", "entry.payment", "entry.movement", "entry.side", "entry.minor"],
    ),
];

/// What each day (in UTC) comes to, and what it counted.
pub static LEDGER_DAYS: Kind<(), Day, u64> =
    Kind::new("ledger_days", "a day: 200,000 postings of 100 B, 20 MB", PERSONAL_OF_DAYS).implicit();
/// The same of ledger days.
const PERSONAL_OF_DAYS: &[Fields] = &[
    Fields::of(
        Whose::Sides,
        Export::NotGiven("the payments are"),
        Erasure::Kept("10 years for bookkeeping, or as long as the operator's law asks"),
        &["keys.*", "rows.*"],
    ),
    Fields::of_nobody(&["id", "head.sums.**"]),
];

const MILLIS_OF_A_DAY: u64 = 24 * 60 * 60 * 1000;
/// Digits of a time in a key.
const DIGITS: usize = 20;

fn bucket(key: &str) -> Option<i64> {
    let millis: u64 = key.get(..DIGITS)?.parse().ok()?;
    i64::try_from(millis / MILLIS_OF_A_DAY).ok()
}

/// On which side of an account a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// What an account of things that one has gains, and an account of debts loses.
    Debit,
    /// The other way round.
    Credit,
}

/// A line of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// The payment.
    pub payment: String,
    /// Which way its money moved.
    pub movement: Movement,
    /// On which side.
    pub side: Side,
    /// How much, in minor units.
    pub minor: u64,
}

/// What a day comes to, by [`label`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    sums: BTreeMap<String, Sums>,
}

/// What some postings come to, in minor units of one currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sums {
    /// How many payments came.
    pub payments: u64,
    /// What came.
    pub captured: u64,
    /// What went back.
    pub refunded: u64,
    /// What was to go back and came again.
    pub refund_failed: u64,
    /// What banks took.
    pub disputed: u64,
    /// What banks gave again.
    pub reinstated: u64,
    /// The platform's part of what came.
    pub fees: u64,
    /// The platform's part of what went back.
    pub fees_back: u64,
}

impl Sums {
    fn post(&mut self, posting: &Posting) {
        let add = |sum: &mut u64, minor: u64| *sum = sum.saturating_add(minor);
        let (sum, fees) = match posting.movement {
            Movement::Captured => {
                add(&mut self.payments, 1);
                (&mut self.captured, &mut self.fees)
            }
            Movement::Refunded | Movement::Settled => (&mut self.refunded, &mut self.fees_back),
            Movement::RefundFailed => (&mut self.refund_failed, &mut self.fees),
            Movement::Disputed => (&mut self.disputed, &mut self.fees_back),
            Movement::Reinstated => (&mut self.reinstated, &mut self.fees),
        };
        add(sum, posting.minor);
        add(fees, posting.fee);
    }

    /// Both together.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.payments, other.payments),
            (&mut self.captured, other.captured),
            (&mut self.refunded, other.refunded),
            (&mut self.refund_failed, other.refund_failed),
            (&mut self.disputed, other.disputed),
            (&mut self.reinstated, other.reinstated),
            (&mut self.fees, other.fees),
            (&mut self.fees_back, other.fees_back),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
    }

    /// What is left of what came. On a day on which more went back than came it is below nothing.
    pub fn net(&self) -> i64 {
        let came = u128::from(self.captured) + u128::from(self.refund_failed) + u128::from(self.reinstated);
        difference(came, u128::from(self.refunded) + u128::from(self.disputed))
    }

    /// What went back, less what came again.
    pub fn net_refunded(&self) -> i64 {
        difference(self.refunded.into(), self.refund_failed.into())
    }

    /// What banks took, less what they gave again.
    pub fn net_disputed(&self) -> i64 {
        difference(self.disputed.into(), self.reinstated.into())
    }

    /// What is left to the platform of that.
    pub fn net_fees(&self) -> i64 {
        difference(self.fees.into(), self.fees_back.into())
    }
}

/// Within what a whole number holds.
fn difference(came: u128, went: u128) -> i64 {
    let left = i64::try_from(came.abs_diff(went)).unwrap_or(i64::MAX);
    if came >= went { left } else { -left }
}

/// What is summed apart: kinds of things, and currencies.
fn label(purpose: Purpose, currency: Currency) -> String {
    key(&[purpose.as_str(), currency.code()])
}

fn read_label(label: &str) -> Option<(Purpose, Currency)> {
    let (purpose, code) = label.split_once('/')?;
    let purpose = Purpose::ALL.into_iter().find(|known| known.as_str() == purpose)?;
    Some((purpose, Currency::parse(code)?))
}

/// The lines of a posting: an account, a side, and how much. Both sides come to the same.
pub fn lines(facts: &Facts, posting: &Posting) -> Vec<(String, Side, u64)> {
    let currency = facts.total.currency;
    let (ours, theirs) = match posting.movement {
        Movement::Captured | Movement::RefundFailed | Movement::Reinstated => (Side::Debit, Side::Credit),
        Movement::Refunded | Movement::Disputed | Movement::Settled => (Side::Credit, Side::Debit),
    };
    let from = if posting.movement == Movement::Settled { "outside" } else { "stripe" };
    let fee = posting.fee.min(posting.minor);
    let lines = [
        (format!("{from}:{currency}"), ours, posting.minor),
        (format!("payee:{}:{currency}", facts.payee), theirs, posting.minor - fee),
        (format!("platform:{currency}"), theirs, fee),
    ];
    lines.into_iter().filter(|(_, _, minor)| *minor > 0).collect()
}

/// The days of a time in UTC, by which sums are kept.
fn day_of(at: Timestamp) -> Date {
    at.to_zoned_datetime(TimeZone::UTC).date()
}

/// What a day came to, of one kind of things in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfDay {
    /// The day, in UTC.
    pub day: Date,
    /// What was paid for.
    pub purpose: Purpose,
    /// In what currency.
    pub currency: Currency,
    /// What it came to.
    pub sums: Sums,
}

/// The ledger of a store.
#[derive(Clone)]
pub struct Ledger(Db);

impl Ledger {
    /// The ledger of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Posts what moved; once, however often this is asked for.
    pub async fn post(
        &self,
        payment: &str,
        facts: &Facts,
        cause: &str,
        posting: Posting,
    ) -> Result<(), StoreError> {
        let millis = u64::try_from(posting.at.as_millisecond()).unwrap_or_default();
        let place = key(&[&number(millis), payment, cause]);
        let movement = posting.movement;
        let entries = lines(facts, &posting).into_iter().map(|(account, side, minor)| {
            let line = LedgerLine { payment: payment.to_owned(), movement, side, minor };
            LEDGER.entry(account, &place, &line)
        });
        self.0.add_entries(&entries.collect::<Result<Vec<_>, _>>()?).await?;
        let counted = key(&[payment, cause]);
        let label = label(facts.purpose, facts.total.currency);
        let day = day_of(posting.at).to_string();
        let posted = self.0.change(&LEDGER_DAYS, &day, Wants::head().row(&counted), move |part| {
            if part.row(&counted).is_some() {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.set(&counted, posting.minor);
            part.head.sums.entry(label.clone()).or_default().post(&posting);
            Ok(Decision::Write(()))
        });
        posted.await.map(drop)
    }

    /// The lines of an account, the oldest first.
    pub async fn lines(&self, account: &str, page: PageRequest) -> Result<Page<LedgerLine>, StoreError> {
        let (after, skip) = page.start.behind(Some)?;
        let page = self.0.walk(&LEDGER, &[account], after.as_deref(), skip + page.limit).await?;
        let items = page.items.into_iter().skip(skip).map(|(_, line)| line).collect();
        Ok(Page { items, next: page.next })
    }

    /// What some days came to, in their order.
    pub async fn days(&self, days: &[Date]) -> Result<Vec<OfDay>, StoreError> {
        let ids: Vec<_> = days.iter().map(Date::to_string).collect();
        let found = self.0.read_all(&LEDGER_DAYS, &ids).await?;
        let known = days.iter().zip(found).filter_map(|(day, found)| Some((*day, found?.head.sums)));
        let all = known.flat_map(|(day, sums)| {
            // What is summed apart in a later version is left to it.
            sums.into_iter().filter_map(move |(label, sums)| {
                let (purpose, currency) = read_label(&label)?;
                Some(OfDay { day, purpose, currency, sums })
            })
        });
        Ok(all.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::facts;
    use super::*;

    fn posting(movement: Movement, minor: u64, fee: u64) -> Posting {
        Posting { movement, minor, fee, at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn both_sides_of_a_posting_come_to_the_same() {
        let all = [
            Movement::Captured,
            Movement::Refunded,
            Movement::RefundFailed,
            Movement::Disputed,
            Movement::Reinstated,
            Movement::Settled,
        ];
        for movement in all {
            for (minor, fee) in [(2500, 62), (2500, 0), (1, 1), (0, 0), (10, 20)] {
                let lines = lines(&facts(), &posting(movement, minor, fee));
                let side = |wanted: Side| -> u64 {
                    lines.iter().filter(|(_, side, _)| *side == wanted).map(|(_, _, minor)| minor).sum()
                };
                assert_eq!(
                    (side(Side::Debit), side(Side::Credit)),
                    (minor, minor),
                    "{movement:?} {minor} {fee}"
                );
            }
        }
    }

    #[test]
    fn what_went_back_and_was_taken_is_no_revenue() {
        let mut sums = Sums::default();
        for (movement, minor, fee) in [
            (Movement::Captured, 2500, 250),
            (Movement::Refunded, 1000, 100),
            (Movement::Disputed, 1500, 0),
            (Movement::RefundFailed, 1000, 100),
        ] {
            sums.post(&posting(movement, minor, fee));
        }
        assert_eq!((sums.payments, sums.net(), sums.net_fees()), (1, 1000, 250));
        sums.post(&posting(Movement::Refunded, 2000, 200));
        assert_eq!((sums.net(), sums.net_fees()), (-1000, 50));
        let mut twice = sums;
        twice.add(&sums);
        assert_eq!((twice.payments, twice.net()), (2, -2000));
    }

    #[test]
    fn places_sort_by_time_and_labels_come_back() {
        let place = |millis| key(&[&number(millis), "payment", "capture"]);
        assert!(place(9) < place(10));
        assert_eq!(bucket(&place(3 * MILLIS_OF_A_DAY + 1)), Some(3));
        assert_eq!((bucket("x"), bucket("")), (None, None));
        for purpose in Purpose::ALL {
            let euro = Currency::parse("EUR").unwrap();
            assert_eq!(read_label(&label(purpose, euro)), Some((purpose, euro)));
        }
        assert_eq!(read_label("concert/EUR"), None);
    }
}
