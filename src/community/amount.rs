//! Amounts of money as clients write them: decimal numbers, such as 45.5 for 45.50 EUR.
//!
//! A decimal number is read digit by digit. No amount is ever multiplied or divided as a floating-point number, which would
//! lose a cent here and a factor of a hundred there.

use std::borrow::Cow;

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use mundotango_gateway::input::BadFields;
use mundotango_gateway::problem::FieldCode;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::money::{Currency, Money};

/// Digits behind the point that any currency has at most.
const MOST_DIGITS: u32 = 3;
/// An amount is counted in thousandths while its currency is not known.
const THOUSAND: u64 = 1_000;

/// How many thousandths of the whole unit a currency's smallest unit has.
fn thousandths_of(currency: Currency) -> u64 {
    10_u64.pow(MOST_DIGITS.saturating_sub(u32::from(currency.exponent())))
}

/// A decimal number from 0 to `MAX` with at most three digits behind the point: money of a currency that is told elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount<const MAX: u64> {
    thousandths: u64,
}

/// What one night or one ticket costs.
pub type Price = Amount<100_000_000>;
/// What a whole stay or order costs. A total has few enough digits that a double holds each of them.
pub type Total = Amount<100_000_000_000>;

impl<const MAX: u64> Amount<MAX> {
    /// The same as money, unless it has more digits behind the point than the currency.
    pub fn of(self, currency: Currency) -> Option<Money> {
        let unit = thousandths_of(currency);
        self.thousandths.is_multiple_of(unit).then(|| Money { minor: self.thousandths / unit, currency })
    }

    /// In thousandths, which amounts of all currencies can be counted in.
    pub fn thousandths(self) -> u64 {
        self.thousandths
    }

    /// Reads a number that is in range.
    fn read(number: f64) -> Option<Self> {
        // The shortest text that reads as this number: what the client wrote, without zeros at its end.
        let text = number.abs().to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, "0"));
        let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= MOST_DIGITS)?;
        let fraction = fraction.parse::<u64>().ok()? * 10_u64.pow(MOST_DIGITS - digits);
        let whole = whole.parse::<u64>().ok()?.checked_mul(THOUSAND)?;
        Some(Self { thousandths: whole + fraction })
    }
}

impl Money {
    /// The decimal number by which clients write it.
    pub fn amount(self) -> Total {
        Amount { thousandths: self.minor.saturating_mul(thousandths_of(self.currency)) }
    }
}

/// What is wrong with an amount that its currency cannot express.
pub fn too_fine(currency: Currency) -> String {
    match currency.exponent() {
        0 => format!("must be a whole number: {} has no smaller unit", currency.code()),
        digits => format!("must have at most {digits} digits behind the point, as {} has", currency.code()),
    }
}

impl<const MAX: u64> Serialize for Amount<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (whole, rest) = (self.thousandths / THOUSAND, self.thousandths % THOUSAND);
        match format!("{whole}.{rest:03}").parse::<f64>() {
            Ok(number) if rest > 0 => serializer.serialize_f64(number),
            _ => serializer.serialize_u64(whole),
        }
    }
}

impl<const MAX: u64> Deserr<BadFields> for Amount<MAX> {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let wanted = format!("a number from 0 to {MAX}");
        let out_of_range = || BadFields::one(at, FieldCode::OutOfRange, format!("must be {wanted}"));
        match value {
            Value::Integer(whole) if whole <= MAX => Ok(Self { thousandths: whole * THOUSAND }),
            Value::Float(number) if (0.0..=MAX as f64).contains(&number) => {
                let message = format!("must have at most {MOST_DIGITS} digits behind the point");
                Self::read(number).ok_or_else(|| BadFields::one(at, FieldCode::BadForm, message))
            }
            Value::Integer(_) | Value::NegativeInteger(_) | Value::Float(_) => Err(out_of_range()),
            other => Err(BadFields::wrong_type(&other, &wanted, at)),
        }
    }
}

impl<const MAX: u64> PartialSchema for Amount<MAX> {
    fn schema() -> RefOr<Schema> {
        let about =
            "An amount of money, with as many digits behind the point as its currency has (ISO 4217).";
        let schema = ObjectBuilder::new().schema_type(Type::Number).description(Some(about));
        schema.minimum(Some(0)).maximum(Some(MAX)).examples([45.5]).into()
    }
}

impl<const MAX: u64> ToSchema for Amount<MAX> {
    fn name() -> Cow<'static, str> {
        format!("AmountTo{MAX}").into()
    }
}

#[cfg(test)]
mod tests {
    use mundotango_gateway::input::read_value;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    fn read(number: serde_json::Value) -> Result<Price, FieldCode> {
        read_value::<Price>(number).map_err(|problem| problem.errors()[0].code)
    }

    #[test]
    fn a_number_has_the_digits_of_its_currency() {
        for (number, code, expected) in [
            (json!(45), "EUR", Some(4_500)),
            (json!(45.5), "EUR", Some(4_550)),
            (json!(19.99), "USD", Some(1_999)),
            (json!(0.29), "EUR", Some(29)),
            (json!(45.555), "EUR", None),
            (json!(3000), "JPY", Some(3_000)),
            (json!(3000.5), "JPY", None),
            (json!(12.345), "KWD", Some(12_345)),
            (json!(0), "ARS", Some(0)),
        ] {
            let minor = read(number.clone()).unwrap().of(currency(code)).map(|money| money.minor);
            assert_eq!(minor, expected, "{number} {code}");
        }
        for (number, wrong) in [
            (json!(-1), FieldCode::OutOfRange),
            (json!(-0.5), FieldCode::OutOfRange),
            (json!(100_000_001), FieldCode::OutOfRange),
            (json!(1e300), FieldCode::OutOfRange),
            (json!(0.1234), FieldCode::BadForm),
            (json!(0.1 + 0.2), FieldCode::BadForm),
            (json!("45"), FieldCode::WrongType),
            (json!(null), FieldCode::WrongType),
        ] {
            assert_eq!(read(number.clone()), Err(wrong), "{number}");
        }
    }

    #[test]
    fn money_goes_out_as_it_came_in() {
        let sent = |minor, code| serde_json::to_value(Money::new(minor, currency(code)).amount()).unwrap();
        assert_eq!(sent(4_550, "EUR"), json!(45.5));
        assert_eq!(sent(4_500, "EUR"), json!(45));
        assert_eq!(sent(12_345, "KWD"), json!(12.345));
        assert_eq!(sent(3_000, "JPY"), json!(3_000));
    }

    proptest! {
        #[test]
        fn no_digit_is_lost(minor in 0..100_000_000_000_u64, code in 0..3_usize) {
            let money = Money::new(minor, currency(["JPY", "EUR", "KWD"][code]));
            let sent = serde_json::to_string(&money.amount()).unwrap();
            let amount: Total = read_value(serde_json::from_str(&sent).unwrap()).unwrap();
            prop_assert_eq!(amount.of(money.currency), Some(money));
        }
    }
}
