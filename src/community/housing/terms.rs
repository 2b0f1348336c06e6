//! What host and guest agree on: the price of the nights, and what is paid back where the stay is cancelled. Both are frozen
//! when the guest asks, so that no later change of the listing touches them.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::stay::{Stay, days_between};
use crate::community::money::{Currency, Money};

/// The price of a stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The currency of all its prices.
    pub currency: Currency,
    /// The nights, those of one price together.
    pub lines: Vec<QuoteLine>,
    /// All of it, in minor units.
    pub total: u64,
}

/// Nights of one price that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteLine {
    /// The first of them.
    pub from: Date,
    /// How many.
    pub nights: u32,
    /// The price of each, in minor units; `None` where a total was agreed on instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<u64>,
}

impl Quote {
    /// What a stay costs by the prices of its nights.
    pub fn of(stay: Stay, currency: Currency, price_of: impl Fn(Date) -> u64) -> Self {
        let (mut lines, mut total) = (Vec::<QuoteLine>::new(), 0_u64);
        for date in stay.dates() {
            let price = price_of(date);
            total = total.saturating_add(price);
            match lines.last_mut().filter(|line| line.price == Some(price)) {
                Some(line) => line.nights += 1,
                None => lines.push(QuoteLine { from: date, nights: 1, price: Some(price) }),
            }
        }
        Self { currency, lines, total }
    }

    /// A stay for a total that the host names.
    pub fn agreed(stay: Stay, total: Money) -> Self {
        let line = QuoteLine { from: stay.from, nights: stay.nights(), price: None };
        Self { currency: total.currency, lines: vec![line], total: total.minor }
    }

    /// All of it.
    pub fn total(&self) -> Money {
        Money { minor: self.total, currency: self.currency }
    }
}

/// How much is paid back to a guest who cancels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CancellationPolicy {
    /// All of it up to one day before check-in.
    #[default]
    Flexible,
    /// All of it up to five days before check-in, half of it up to one day before.
    Moderate,
    /// All of it up to fourteen days before check-in, half of it up to seven days before.
    Strict,
}

/// What is paid back to a guest who cancels so long before check-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRule {
    /// Whole days from the day of cancelling to the check-in day, on the listing's calendar: at least so many.
    pub days_before: u32,
    /// So much of the total.
    pub percent: u32,
}

const fn rule(days_before: u32, percent: u32) -> RefundRule {
    RefundRule { days_before, percent }
}

impl CancellationPolicy {
    /// Its rules, the one that pays back most first. Later than the last one says nothing is paid back.
    pub const fn rules(self) -> &'static [RefundRule] {
        match self {
            Self::Flexible => const { &[rule(1, 100)] },
            Self::Moderate => const { &[rule(5, 100), rule(1, 50)] },
            Self::Strict => const { &[rule(14, 100), rule(7, 50)] },
        }
    }
}

/// The rules of cancelling as they were when the guest asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenPolicy {
    /// What they were called.
    pub name: CancellationPolicy,
    /// What they were.
    pub rules: Vec<RefundRule>,
}

impl From<CancellationPolicy> for FrozenPolicy {
    fn from(name: CancellationPolicy) -> Self {
        Self { name, rules: name.rules().to_vec() }
    }
}

impl FrozenPolicy {
    /// How much a guest gets back who cancels on a day, in per cent.
    pub fn percent(&self, stay: Stay, today: Date) -> u32 {
        let days = days_between(today, stay.from);
        let holds = |rule: &&RefundRule| days >= i64::from(rule.days_before);
        self.rules.iter().filter(holds).map(|rule| rule.percent).max().unwrap_or_default()
    }
}

/// What a guest asks for. It never changes: these are a booking's facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The listing.
    pub listing_id: String,
    /// What it was called.
    pub title: String,
    /// The user who offers it.
    pub host_id: String,
    /// The user who asks.
    pub guest_id: String,
    /// When.
    pub created_at: Timestamp,
    /// The IANA name of the listing's time zone.
    pub time_zone: String,
    /// The nights.
    pub stay: Stay,
    /// For how many.
    pub guests: u32,
    /// What it costs.
    pub quote: Quote,
    /// What is paid back where it is cancelled.
    pub policy: FrozenPolicy,
    /// What the guest writes to the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Until when the host can answer.
    pub answer_by: Timestamp,
}

/// Other nights or another price that the host offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Which offer of the booking it is; the first is 1.
    pub number: u32,
    /// The nights.
    pub stay: Stay,
    /// What they cost.
    pub quote: Quote,
    /// What the host writes to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Until when the guest can accept.
    pub answer_by: Timestamp,
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::super::stay::days_later;
    use super::*;

    fn stay(from: i8, to: i8) -> Stay {
        Stay::new(date(2030, 5, from), date(2030, 5, to)).unwrap()
    }

    #[test]
    fn a_quote_has_a_line_for_each_price() {
        let weekend = |date: Date| if (3..=4).contains(&date.day()) { 5_000 } else { 4_000 };
        let quote = Quote::of(stay(1, 6), Currency::default(), weekend);
        let line = |day, nights, price| QuoteLine { from: date(2030, 5, day), nights, price: Some(price) };
        assert_eq!(quote.lines, [line(1, 2, 4_000), line(3, 2, 5_000), line(5, 1, 4_000)]);
        assert_eq!(quote.total, 22_000);
        let agreed = Quote::agreed(stay(1, 6), Money { minor: 20_000, currency: Currency::default() });
        assert_eq!((agreed.total, agreed.lines[0].nights, agreed.lines[0].price), (20_000, 5, None));
    }

    #[test]
    fn what_is_paid_back_depends_on_whole_days_before_check_in() {
        let percent = |name, days: i32| {
            let stay = stay(20, 22);
            FrozenPolicy::from(name).percent(stay, days_later(stay.from, -days))
        };
        for (name, expected) in [
            (CancellationPolicy::Flexible, [100, 100, 100, 100, 100, 0, 0]),
            (CancellationPolicy::Moderate, [100, 100, 100, 50, 50, 0, 0]),
            (CancellationPolicy::Strict, [100, 50, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!([14, 7, 5, 4, 1, 0, -1].map(|days| percent(name, days)), expected, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn lines_add_up(prices in prop::collection::vec(0..3_u64, 1..30)) {
            let nights = i32::try_from(prices.len()).unwrap();
            let stay = Stay::new(date(2030, 5, 1), days_later(date(2030, 5, 1), nights)).unwrap();
            let price_of = |date: Date| prices[usize::try_from(days_between(stay.from, date)).unwrap()];
            let quote = Quote::of(stay, Currency::parse("JPY").unwrap(), price_of);
            let sum: u64 = quote.lines.iter().map(|line| line.price.unwrap() * u64::from(line.nights)).sum();
            prop_assert_eq!((quote.total, sum), (prices.iter().sum(), prices.iter().sum()));
            prop_assert_eq!(quote.lines.iter().map(|line| line.nights).sum::<u32>(), stay.nights());
            prop_assert!(quote.lines.windows(2).all(|pair| pair[0].price != pair[1].price));
        }
    }
}
