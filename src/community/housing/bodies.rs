//! What clients see of prices and of what is paid back.

use serde::Serialize;
use utoipa::ToSchema;

use super::stay::CivilDate;
use super::terms::{CancellationPolicy, FrozenPolicy, Quote, RefundRule};
use crate::community::amount::Total;
use crate::community::money::{Currency, Money};

/// Nights of one price that follow each other.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::community) struct QuoteLineBody {
    /// The first of them.
    #[schema(value_type = CivilDate)]
    from: String,
    nights: u32,
    /// Of each; null where the host named a total instead.
    #[schema(required = true, value_type = Option<f64>)]
    price: Option<Total>,
}

/// What a stay costs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::community) struct QuoteBody {
    currency: Currency,
    lines: Vec<QuoteLineBody>,
    #[schema(value_type = f64)]
    total: Total,
}

impl From<&Quote> for QuoteBody {
    fn from(quote: &Quote) -> Self {
        let currency = quote.currency;
        let lines = quote.lines.iter().map(|line| QuoteLineBody {
            from: line.from.to_string(),
            nights: line.nights,
            price: line.price.map(|minor| Money { minor, currency }.amount()),
        });
        Self { currency, lines: lines.collect(), total: quote.total().amount() }
    }
}

/// What is paid back to a guest who cancels so long before check-in.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct RefundRuleBody {
    /// Whole days from the day of cancelling to the check-in day: at least so many.
    days_before: u32,
    /// So much of the total.
    percent: u32,
}

impl From<RefundRule> for RefundRuleBody {
    fn from(RefundRule { days_before, percent }: RefundRule) -> Self {
        Self { days_before, percent }
    }
}

/// What is paid back to a guest who cancels. Later than the last of the rules says nothing is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::community) struct CancellationBody {
    name: CancellationPolicy,
    rules: Vec<RefundRuleBody>,
}

impl From<&FrozenPolicy> for CancellationBody {
    fn from(policy: &FrozenPolicy) -> Self {
        let rules = policy.rules.iter().map(|rule| (*rule).into());
        Self { name: policy.name, rules: rules.collect() }
    }
}
