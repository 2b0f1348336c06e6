//! Money: whole numbers of a currency's smallest unit. Nothing here knows a fraction, so nothing is rounded by accident.

use std::fmt;

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use mundotango_gateway::input::BadFields;
use mundotango_gateway::problem::FieldCode;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A currency of ISO 4217, by its code and how many decimals its smallest unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    code: &'static str,
    exponent: u8,
}

/// Declares the currencies by their exponents.
macro_rules! currencies {
    ($($exponent:literal: $($code:ident)+;)+) => {
        /// All that there are. Funds, metals and what is no country's money are left out.
        const CURRENCIES: &[Currency] =
            &[$($(Currency { code: stringify!($code), exponent: $exponent }),+),+];
    };
}

currencies! {
    0: BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF;
    2: AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP
        CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES
        KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
        NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB
        TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD XCG YER ZAR ZMW ZWG;
    3: BHD IQD JOD KWD LYD OMR TND;
}

impl Default for Currency {
    /// The euro, where nobody says.
    fn default() -> Self {
        Self { code: "EUR", exponent: 2 }
    }
}

impl Currency {
    /// The currency of a code, in capitals or not.
    pub fn parse(code: &str) -> Option<Self> {
        CURRENCIES.iter().copied().find(|currency| currency.code.eq_ignore_ascii_case(code))
    }

    /// Its code, such as `EUR`.
    pub const fn code(self) -> &'static str {
        self.code
    }

    /// How many decimals its smallest unit is: 2 for the cent, 0 for the yen, 3 for the fils.
    pub const fn exponent(self) -> u8 {
        self.exponent
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::parse(&code).ok_or_else(|| de::Error::custom(format_args!("{code:?} is no currency")))
    }
}

impl Deserr<BadFields> for Currency {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        const WANTED: &str = "the code of a currency (ISO 4217), such as EUR";
        let Value::String(code) = value else { return Err(BadFields::wrong_type(&value, WANTED, at)) };
        let found = Self::parse(&code);
        found.ok_or_else(|| BadFields::one(at, FieldCode::NotAllowed, format!("must be {WANTED}")))
    }
}

impl PartialSchema for Currency {
    fn schema() -> RefOr<Schema> {
        let about = "A currency by its code (ISO 4217).";
        let schema = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
        let schema = schema.min_length(Some(3)).max_length(Some(3)).pattern(Some("^[A-Za-z]{3}$"));
        schema.examples(["EUR"]).into()
    }
}

impl ToSchema for Currency {}

/// An amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Money {
    /// In the currency's smallest unit: 1250 is 12.50 EUR, and 1250 JPY.
    pub minor: u64,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// So many of the smallest unit.
    pub const fn new(minor: u64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Both together; `None` of two currencies, and past what can be counted.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let minor = self.minor.checked_add(self.same(other)?)?;
        Some(Self { minor, ..self })
    }

    /// What is left; `None` of two currencies, and below nothing.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        let minor = self.minor.checked_sub(self.same(other)?)?;
        Some(Self { minor, ..self })
    }

    /// So many times as much; `None` past what can be counted.
    pub fn checked_mul(self, times: u64) -> Option<Self> {
        Some(Self { minor: self.minor.checked_mul(times)?, ..self })
    }

    /// So many per cent of it, to the nearest smallest unit; a half is rounded up.
    #[must_use]
    pub fn percent(self, percent: u32) -> Self {
        let exact = u128::from(self.minor) * u128::from(percent);
        Self { minor: u64::try_from((exact + 50) / 100).unwrap_or(u64::MAX), ..self }
    }

    /// As people write it: `12.50 EUR`.
    pub fn display(self) -> String {
        let decimals = usize::from(self.currency.exponent);
        if decimals == 0 {
            return format!("{} {}", self.minor, self.currency);
        }
        let unit = 10_u64.pow(u32::from(self.currency.exponent));
        format!("{}.{:0decimals$} {}", self.minor / unit, self.minor % unit, self.currency)
    }

    fn same(self, other: Self) -> Option<u64> {
        (self.currency == other.currency).then_some(other.minor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mundotango_gateway::input::read_value;
    use serde_json::json;

    use super::*;

    fn money(minor: u64, code: &str) -> Money {
        Money::new(minor, Currency::parse(code).unwrap())
    }

    #[test]
    fn each_currency_is_there_once_with_its_decimals() {
        let codes: BTreeSet<_> = CURRENCIES.iter().map(|currency| currency.code).collect();
        assert_eq!(codes.len(), CURRENCIES.len());
        assert!(codes.iter().all(|code| code.len() == 3));
        for (code, exponent) in [("JPY", 0), ("isk", 0), ("EUR", 2), ("ars", 2), ("KWD", 3), ("MGA", 2)] {
            assert_eq!(Currency::parse(code).map(Currency::exponent), Some(exponent), "{code}");
        }
        assert_eq!(Currency::parse("EUR"), Some(Currency::default()));
        for none in ["", "EU", "EURO", "XAU", "XXX", "BTC"] {
            assert_eq!(Currency::parse(none), None, "{none}");
        }
    }

    #[test]
    fn amounts_are_shown_with_the_decimals_of_their_currency() {
        assert_eq!(money(1250, "EUR").display(), "12.50 EUR");
        assert_eq!(money(5, "EUR").display(), "0.05 EUR");
        assert_eq!(money(1250, "JPY").display(), "1250 JPY");
        assert_eq!(money(5120, "KWD").display(), "5.120 KWD");
    }

    #[test]
    fn sums_of_two_currencies_are_none_and_so_is_what_cannot_be_counted() {
        let (euros, pesos) = (money(10, "EUR"), money(10, "ARS"));
        assert_eq!(euros.checked_add(euros), Some(money(20, "EUR")));
        assert_eq!((euros.checked_add(pesos), euros.checked_sub(pesos)), (None, None));
        assert_eq!(euros.checked_sub(money(11, "EUR")), None);
        assert_eq!(money(u64::MAX, "EUR").checked_add(euros), None);
        assert_eq!(euros.checked_mul(3), Some(money(30, "EUR")));
        assert_eq!(euros.checked_mul(u64::MAX), None);
    }

    #[test]
    fn per_cents_are_rounded_to_the_nearest_smallest_unit() {
        let of = |minor, percent| money(minor, "EUR").percent(percent).minor;
        assert_eq!((of(101, 50), of(100, 50), of(99, 33), of(7, 0), of(7, 100)), (51, 50, 33, 0, 7));
        assert_eq!(of(u64::MAX, 100), u64::MAX);
    }

    #[test]
    fn a_currency_is_read_and_written_by_its_code() {
        assert_eq!(read_value::<Currency>(json!("eur")).unwrap().code(), "EUR");
        for bad in [json!("euro"), json!(""), json!(978), json!(null)] {
            assert!(read_value::<Currency>(bad.clone()).is_err(), "{bad}");
        }
        let kept = serde_json::to_value(money(1250, "EUR")).unwrap();
        assert_eq!(kept, json!({"minor": 1250, "currency": "EUR"}));
        assert_eq!(serde_json::from_value::<Money>(kept).unwrap(), money(1250, "EUR"));
    }
}
