//! What can be paid for: the one thing that a feature has to say to be paid.
//!
//! Money and places lie in different partitions, so nothing here is one transaction. The payment is the commit point: once the
//! money is there, [`Payable::paid`] is asked until it answers, and its answer decides between giving and sending back.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::StatusCode;
use mundotango_gateway::problem::{Code, Problem};
use mundotango_jobs::Failure;

use super::quote::{Purpose, Quote};
use super::reads::Payment;
use super::state::Place;

/// Things of one kind that are paid for.
///
/// A feature holds the place or the nights for the payer before the payer is asked for money, and says until when. Holds end by
/// themselves, judged when they are read; nothing that is said here has to come in time for that.
#[async_trait]
pub trait Payable: Send + Sync {
    /// What the payer owes for a thing, and until when it is held, which may be made longer here. The answer is the terms: a
    /// checkout that is open goes on while they are the same, and is withdrawn where they are others. A thing that the payer may
    /// not see, has already, or that is not held for the payer is refused as the feature's own routes would (404, 409).
    async fn quote(&self, thing: &str, payer: &str) -> Result<Quote, Problem>;

    /// The money is there: takes what was paid for, although the hold may be over. Asked again for the same payment it answers
    /// the same; the payment's id is worth keeping beside the place. Where the payer has it by another payment, there is no
    /// room for this one.
    async fn paid(&self, thing: &str, payment: &Payment) -> Result<Place, Failure>;

    /// No money comes for a payment: the hold may end now. It is only said of the payer's last payment for the thing, and may
    /// be said twice, or late: where the payer has the thing by now, there is nothing to do.
    async fn released(&self, thing: &str, payment: &Payment) -> Result<(), Failure>;

    /// So much of a payment has gone back in all ([`Head::refunded`](super::state::Head)): less than before where a bank refused
    /// it. It may be said twice, or late, and of payments that were answered with [`Place::NoRoom`]. What was paid for stays the
    /// payer's.
    async fn went_back(&self, _thing: &str, _payment: &Payment) -> Result<(), Failure> {
        Ok(())
    }
}

/// All kinds of things that are paid for.
#[derive(Clone, Default)]
pub struct Payables(BTreeMap<Purpose, Arc<dyn Payable>>);

impl Payables {
    /// One kind more.
    #[must_use]
    pub fn with(mut self, purpose: Purpose, payable: Arc<dyn Payable>) -> Self {
        self.0.insert(purpose, payable);
        self
    }

    pub(super) fn of(&self, purpose: Purpose) -> Option<&dyn Payable> {
        self.0.get(&purpose).map(Arc::as_ref)
    }
}

/// The problem of a thing that cannot be paid for now.
pub fn not_payable(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, detail).with_code(Code::NotPayable)
}
