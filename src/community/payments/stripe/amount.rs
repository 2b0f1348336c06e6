//! Amounts as Stripe counts them: in the smallest unit of ISO 4217, but for a few currencies.
//! (Stripe documentation, "Supported currencies": zero-decimal currencies, special cases, three-decimal currencies.)

use crate::community::money::{Currency, Money};

/// How Stripe's unit differs from the smallest one of ISO 4217.
enum Unit {
    /// It does not.
    Same,
    /// Stripe still counts a hundred of them: amounts end in `00`.
    Hundredth,
    /// Stripe counts whole units alone, although ISO 4217 divides them.
    Whole,
    /// Stripe's partners know two of the three decimals: amounts end in `0`.
    Tens,
}

impl Unit {
    // HUF and TWD are whole in payouts alone, which nothing here makes.
    fn of(currency: Currency) -> Self {
        match (currency.code(), currency.exponent()) {
            ("ISK" | "UGX", _) => Self::Hundredth,
            ("MGA", _) => Self::Whole,
            (_, 3) => Self::Tens,
            _ => Self::Same,
        }
    }
}

/// The amount as Stripe is told it; `None` for one that Stripe cannot be told.
pub(super) fn to_stripe(money: Money) -> Option<u64> {
    let minor = money.minor;
    match Unit::of(money.currency) {
        Unit::Same => Some(minor),
        Unit::Hundredth => minor.checked_mul(100),
        Unit::Whole => minor.is_multiple_of(100).then_some(minor / 100),
        Unit::Tens => minor.is_multiple_of(10).then_some(minor),
    }
}

/// The most of an amount that Stripe can be told.
pub fn tellable(money: Money) -> Money {
    let step = match Unit::of(money.currency) {
        Unit::Same | Unit::Hundredth => 1,
        Unit::Whole => 100,
        Unit::Tens => 10,
    };
    Money::new(money.minor - money.minor % step, money.currency)
}

/// The amount that Stripe tells, in the currency's smallest unit; `None` where it is none of the currency.
pub fn from_stripe(amount: u64, currency: Currency) -> Option<u64> {
    match Unit::of(currency) {
        Unit::Same | Unit::Tens => Some(amount),
        Unit::Hundredth => amount.is_multiple_of(100).then_some(amount / 100),
        Unit::Whole => amount.checked_mul(100),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(minor: u64, code: &str) -> Option<u64> {
        to_stripe(Money::new(minor, Currency::parse(code).unwrap()))
    }

    #[test]
    fn t75_five_hundred_yen_are_five_hundred() {
        for (minor, code, amount) in [
            (500, "JPY", Some(500)),
            (500, "EUR", Some(500)),
            (500, "KRW", Some(500)),
            // Five krónur are 500 to Stripe.
            (5, "ISK", Some(500)),
            (5, "UGX", Some(500)),
            // Five ariary are 500 in ISO 4217, and 5 to Stripe.
            (500, "MGA", Some(5)),
            (550, "MGA", None),
            (5_120, "KWD", Some(5_120)),
            (5_124, "KWD", None),
            (u64::MAX, "ISK", None),
            // Of these Stripe has whole payouts, and payments with cents.
            (512, "HUF", Some(512)),
            (512, "TWD", Some(512)),
        ] {
            assert_eq!(told(minor, code), amount, "{minor} {code}");
        }
        let krona = Currency::parse("ISK").unwrap();
        assert_eq!((from_stripe(500, krona), from_stripe(550, krona)), (Some(5), None));
    }

    proptest! {
        #[test]
        fn what_is_tellable_of_it_can_be_told(minor in 0..u64::from(u32::MAX), code in "EUR|JPY|ISK|UGX|MGA|KWD|HUF|CLP") {
            let money = Money::new(minor, Currency::parse(&code).unwrap());
            let most = tellable(money);
            prop_assert!(to_stripe(most).is_some() && most.minor <= minor && minor - most.minor < 100);
            prop_assert!(to_stripe(money).is_none() || most == money);
        }

        #[test]
        fn t75_what_is_told_comes_back(minor in 0..u64::from(u32::MAX), code in "EUR|JPY|ISK|UGX|MGA|KWD|HUF|CLP") {
            let currency = Currency::parse(&code).unwrap();
            if let Some(amount) = to_stripe(Money::new(minor, currency)) {
                prop_assert_eq!(from_stripe(amount, currency), Some(minor));
            }
        }
    }
}
