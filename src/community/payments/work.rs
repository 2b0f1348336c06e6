//! The jobs of payments.

use std::sync::Arc;

use async_trait::async_trait;
use mundotango_jobs::{Attempted, Failure, Handler, NewPools};
use mundotango_storage::now;

use super::causes::{
    ASK_AGAIN, ASK_REFUND, END_PAGE, GLANCE, LOOK, OfAccount, OfEvent, OfOrder, OfPayment, OfPosting,
    OfRefund, OwedRefund, PARKED, PAYEE_NEWS, POST, REFUND, STEP,
};
use super::reads::Order;
use super::service::Payments;

/// The jobs that are done by who takes payments.
pub fn handled(pools: NewPools, payments: &Arc<Payments>) -> NewPools {
    let own = || Own(Arc::clone(payments));
    pools
        .handle(&STEP, own())
        .handle(&LOOK, Look(own()))
        .handle(&GLANCE, Glance(own()))
        .handle(&REFUND, own())
        .handle(&POST, own())
        .handle(&PARKED, own())
        .handle(&ASK_REFUND, own())
        .handle(&ASK_AGAIN, Again(own()))
        .handle(&END_PAGE, own())
        .handle(&PAYEE_NEWS, own())
}

/// The one who takes payments, shared by the kinds of jobs.
struct Own(Arc<Payments>);
struct Look(Own);
struct Glance(Own);
struct Again(Own);

#[async_trait]
impl Handler<OfPayment> for Own {
    async fn run(&self, _: &Attempted, job: OfPayment) -> Result<(), Failure> {
        self.0.step(&job.payment_id, now()).await
    }
}

#[async_trait]
impl Handler<OfPayment> for Look {
    async fn run(&self, _: &Attempted, job: OfPayment) -> Result<(), Failure> {
        let Own(payments) = &self.0;
        payments.look(&job.payment_id, now()).await
    }
}

#[async_trait]
impl Handler<OfPayment> for Glance {
    async fn run(&self, _: &Attempted, job: OfPayment) -> Result<(), Failure> {
        let Own(payments) = &self.0;
        if let Err(error) = payments.glance(&job.payment_id, now()).await {
            // It is looked at again in its time.
            tracing::debug!(%error, payment = job.payment_id, "not asked for");
        }
        Ok(())
    }
}

#[async_trait]
impl Handler<OfRefund> for Again {
    async fn run(&self, _: &Attempted, job: OfRefund) -> Result<(), Failure> {
        let Own(payments) = &self.0;
        payments.ask_again(&job.payment_id, &job.refund_id, now()).await
    }
}

#[async_trait]
impl Handler<OfAccount> for Own {
    async fn run(&self, attempted: &Attempted, job: OfAccount) -> Result<(), Failure> {
        self.0.take_news(&job.account, attempted.is_last, now()).await
    }
}

#[async_trait]
impl Handler<OfOrder> for Own {
    async fn run(&self, _: &Attempted, job: OfOrder) -> Result<(), Failure> {
        let order = Order { purpose: job.purpose, thing: job.thing, payer: job.payer };
        self.0.end_page(&order, now()).await
    }
}

#[async_trait]
impl Handler<OfRefund> for Own {
    async fn run(&self, _: &Attempted, job: OfRefund) -> Result<(), Failure> {
        self.0.send_refund(&job.payment_id, &job.refund_id, now()).await
    }
}

#[async_trait]
impl Handler<OfPosting> for Own {
    async fn run(&self, _: &Attempted, job: OfPosting) -> Result<(), Failure> {
        self.0.post(&job.payment_id, &job.cause).await
    }
}

#[async_trait]
impl Handler<OfEvent> for Own {
    async fn run(&self, attempted: &Attempted, job: OfEvent) -> Result<(), Failure> {
        self.0.take_parked(&job.event_id, attempted.is_last, now()).await
    }
}

#[async_trait]
impl Handler<OwedRefund> for Own {
    async fn run(&self, _: &Attempted, job: OwedRefund) -> Result<(), Failure> {
        self.0.ask_owed_refund(&job.payment_id, &job.cause, job.minor, now()).await
    }
}
