//! Payments put together: what is kept, Stripe, the ledger, and the things that are paid for.

use anyhow::Context as _;
use axum::http::StatusCode;
use mundotango_gateway::problem::{Code, Problem};
use mundotango_jobs::Jobs;
use mundotango_ops::metrics;
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;
use url::Url;

use super::causes::Changed;
use super::ledger::Ledger;
use super::payable::{Payables, not_payable};
use super::payees::store::PayeeStore;
use super::reads::Payment;
use super::state::Stage;
use super::store::PaymentStore;
use super::stripe::{Stripe, StripeError, Webhook};
use crate::config::PaymentsOptions;

/// Who takes payments.
pub struct Payments {
    pub(super) store: PaymentStore,
    pub(super) ledger: Ledger,
    pub(super) jobs: Jobs,
    /// None without a key.
    pub(super) stripe: Option<Stripe>,
    pub(super) webhook: Webhook,
    pub(super) payables: Payables,
    pub(super) payees: PayeeStore,
    /// Where payees come back to from Stripe's pages.
    pub(super) payee_url: Url,
    success_url: Url,
    cancel_url: Url,
    pub(super) fee_basis_points: u32,
    pub(super) connects: bool,
}

impl Payments {
    /// Payments on a store; the site is where payers come back to who are told nothing else.
    pub fn new(
        db: &Db,
        jobs: Jobs,
        options: &PaymentsOptions,
        site: &str,
        payables: Payables,
    ) -> anyhow::Result<Self> {
        let own = format!("{}/payments", site.trim_end_matches('/'));
        let page = |page: Option<&String>| page.unwrap_or(&own).parse::<Url>();
        let stripe = options.secret_key.as_ref().map(|key| Stripe::new(key, &options.api_url));
        Ok(Self {
            store: PaymentStore::new(db.clone()),
            ledger: Ledger::new(db.clone()),
            jobs,
            stripe: stripe.transpose()?,
            webhook: Webhook::new(&options.webhook_secrets),
            payables,
            payees: PayeeStore::new(db.clone()),
            payee_url: format!("{own}/payee").parse().context("mail.public_url")?,
            success_url: page(options.success_url.as_ref()).context("payments.success_url")?,
            cancel_url: page(options.cancel_url.as_ref()).context("payments.cancel_url")?,
            fee_basis_points: options.fee_basis_points,
            connects: options.connect,
        })
    }

    /// The payments, to be read.
    pub fn store(&self) -> &PaymentStore {
        &self.store
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Where the payer of a payment comes back to: having paid, and not.
    pub(super) fn pages(&self, payment: &str) -> [String; 2] {
        [&self.success_url, &self.cancel_url].map(|page| {
            let mut page = page.clone();
            page.query_pairs_mut().append_pair("payment", payment);
            page.into()
        })
    }

    /// Stripe, where there is a key.
    pub(super) fn stripe(&self) -> Result<&Stripe, Problem> {
        self.stripe.as_ref().ok_or_else(off)
    }
}

/// Counts what a change of a payment came to; the payment after it.
pub(super) fn noted(changed: Option<Changed>) -> Option<Payment> {
    let Changed { before, after } = changed?;
    let count = |status: &str| {
        let labels = [after.facts.purpose.as_str(), status];
        metrics().stripe_payments_total.with_label_values(&labels).inc();
    };
    if before.captured == 0 && after.head.captured > 0 {
        count("succeeded");
    }
    if before.stage != Stage::Failed && after.head.stage == Stage::Failed {
        count("failed");
    }
    if after.head.refunded > before.refunded {
        count("refunded");
    }
    if after.head.owed() > before.owed() {
        count("refund_failed");
        tracing::error!(payment = after.id, "money that should go back could not be sent");
    }
    Some(after)
}

/// The problem of a server without a key.
pub(super) fn off() -> Problem {
    let detail = "this server takes no payments: payments.secret_key is not set";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with_code(Code::PaymentsOff)
}

impl From<StripeError> for Problem {
    fn from(error: StripeError) -> Self {
        match &error {
            StripeError::Refused { code, .. } => {
                tracing::warn!(%error, "a payment is refused");
                not_payable(format!(
                    "this cannot be paid: {}",
                    if code.is_empty() { "Stripe refuses it" } else { code.as_str() }
                ))
            }
            StripeError::Misconfigured(_) => {
                tracing::error!(%error, "payments do not work");
                Self::unavailable("payments do not work at the moment")
            }
            StripeError::Unknown(_) => Self::unavailable("Stripe does not answer as it should"),
            StripeError::Unavailable(_) => {
                tracing::warn!(%error, "a payment waits");
                Self::unavailable("Stripe does not answer as it should")
            }
            StripeError::Busy { after, .. } => {
                tracing::warn!(%error, "a payment waits");
                Self::unavailable("Stripe takes no more calls at the moment").with_retry_after(*after)
            }
            StripeError::Resting { after, .. } => {
                Self::unavailable("Stripe does not answer as it should").with_retry_after(*after)
            }
        }
    }
}

/// A payment that was there a moment ago.
pub(super) fn gone() -> StoreError {
    StoreError::Unavailable("the payment is not there".to_owned())
}
