//! Payments by Stripe: paying for tickets and stays, and sending money back.
//!
//! - A payment is a partition ([`reads`]); what becomes of it is decided by pure functions ([`rules`]) of what is kept of it and
//!   what Stripe says, in whatever order that comes.
//! - [`checkout`] gives the payer a page of Stripe's; [`webhook`] takes what Stripe says; [`saga`] does what follows, as jobs.
//! - What is paid for is a [`payable`]: a feature says what it costs and takes the place when the money is there.
//! - With Connect what is paid goes on to [`payees`], who make accounts of their own at Stripe.
//! - The [`ledger`] has each movement of money as lines of double entry, and what a day comes to.

mod admin;
mod bodies;
pub mod causes;
pub mod checkout;
pub mod ledger;
pub mod payable;
pub mod payees;
pub mod quote;
pub mod reads;
mod retries;
pub mod rules;
mod saga;
pub mod service;
pub mod state;
pub mod store;
pub mod stripe;
mod webhook;
pub mod work;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use jiff::Timestamp;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Maybe, Whole};
use mundotango_gateway::problem::{Code, Problem};
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::db::outbox_key;
use mundotango_storage::{StoreError, now};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use self::bodies::PaymentMessage;
use self::bodies::{CheckoutBody, PaymentBody, PaymentDetails};
use self::quote::Purpose;
use self::reads::{Order, Payment};
use self::rules::RefundRefusal;
use self::service::{Payments, noted};
use self::state::Stage;
use self::store::{AskedRefund, RefundError};
use super::Community;
use super::policy::{self, Action, Object, Viewer};
use crate::texts::{Id, Reason};

type Shared = State<Arc<Community>>;

/// Who waits for the end of a payment has Stripe asked for it, once in so many seconds.
const ASKED_EACH: i64 = 10;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(checkout))
        .routes(routes!(list))
        .routes(routes!(read))
        .routes(routes!(refund))
        .merge(payees::router())
        .merge(webhook::router())
        .merge(admin::router())
}

/// What is to be paid for.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase", example = json!({
    "purpose": "ticket", "thingId": "01a22267-5695-774a-9335-497936266a2f",
}))]
struct NewCheckout {
    #[schema(value_type = Purpose)]
    purpose: Choice<Purpose>,
    /// The id of what is paid for: of the event, or of the booking.
    thing_id: Id,
}

/// How much goes back.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase", example = json!({"amount": 1250, "reason": "The hall is flooded."}))]
struct NewRefund {
    /// In the smallest unit of the payment's currency; all that is left if absent.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1)]
    amount: Maybe<Whole<1, { u32::MAX }>>,
    /// Why, for those who run the site.
    #[deserr(default)]
    #[schema(value_type = Option<Reason>)]
    reason: Maybe<Reason>,
}

impl From<RefundError> for Problem {
    fn from(error: RefundError) -> Self {
        match error {
            RefundError::Refused(error @ RefundRefusal::TooMany) => {
                Self::new(StatusCode::CONFLICT, error.to_string()).with_code(Code::Full)
            }
            RefundError::Refused(error) => {
                // What is left, or owed, is in the detail.
                Self::new(StatusCode::CONFLICT, error.to_string()).with_code(Code::NotRefundable)
            }
            RefundError::Store(error) => error.into(),
        }
    }
}

impl Payments {
    /// The payment, if a viewer may do so with it.
    async fn seen_by(&self, id: &str, viewer: Viewer<'_>, action: Action) -> Result<Payment, Problem> {
        let payment = self.store.reads().payment(id).await?.ok_or_else(|| Problem::not_found("payment"))?;
        let object = Object::Payment { payer: &payment.facts.payer, payee: &payment.facts.payee };
        policy::may(viewer, action, &object).allows("payment")?;
        Ok(payment)
    }

    async fn details(&self, payment: &Payment, viewer_id: &str) -> Result<PaymentDetails, StoreError> {
        let refunds = self.store.reads().refunds(&payment.id).await?;
        let is_open = payment.head.stage == Stage::Session && payment.facts.payer == viewer_id;
        let session = payment.head.session.as_ref().filter(|_| is_open);
        Ok(PaymentDetails {
            payment: payment.into(),
            url: session.and_then(|session| session.url.clone()),
            refunds: refunds.into_iter().map(Into::into).collect(),
        })
    }

    /// Has Stripe asked how a payment is, for a payer who has come back and waits: webhooks may be late.
    async fn ask_soon(&self, payment: &Payment, now: Timestamp) {
        let second = now.as_second() / ASKED_EACH * ASKED_EACH;
        let at = Timestamp::from_second(second).unwrap_or(now);
        // Under this name there is one such job, or was.
        let name = format!("{}.{}", outbox_key(at), payment.id);
        let asked = match causes::look_once(&payment.id) {
            Ok(job) => self.jobs.enqueue_as(name, job).await.map(drop),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = asked {
            tracing::warn!(%error, payment = payment.id, "Stripe is not asked for a payment before its time");
        }
    }
}

/// Pay for a ticket or a booking, on a page of Stripe's. It is kept for you until `expiresAt`.
///
/// Asked again while it is not paid, the answer is the same page; where the price has changed, it is another one.
#[utoipa::path(
    post, path = "/api/payments/checkout", operation_id = "beginPayment",
    tag = "payments", params(IdempotencyKey), request_body = NewCheckout,
    responses(
        (status = CREATED, body = CheckoutBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
        (status = SERVICE_UNAVAILABLE, body = Problem),
    ),
)]
async fn checkout(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewCheckout>,
) -> Result<(StatusCode, Json<CheckoutBody>), Problem> {
    let (purpose, thing) = (body.purpose.0, body.thing_id.into_string());
    community.limits.checkout(&identity.user_id).await?;
    let order = Order { purpose, thing, payer: identity.user_id };
    let made = community.payments.checkout(&order, new_id.into_text(), now()).await?;
    let body =
        CheckoutBody { payment_id: made.payment_id, url: made.url, expires_at: made.expires_at.into() };
    Ok((StatusCode::CREATED, Json(body)))
}

/// The caller's payments, the newest first.
#[utoipa::path(
    get, path = "/api/payments", operation_id = "listPayments", tag = "payments", params(PageQuery),
    responses((status = OK, body = PageBody<PaymentBody>), (status = BAD_REQUEST, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<PaymentBody>>, Problem> {
    let reads = community.payments.store.reads();
    let page = reads.of_payer(&identity.user_id, query.page.request()).await?;
    Ok(Json(query.page.body(page.map(|payment| PaymentBody::from(&payment)))))
}

/// One payment, for its payer and its payee. While it is not paid, a payer who asks has Stripe asked.
#[utoipa::path(
    get, path = "/api/payments/{id}", operation_id = "getPayment", tag = "payments",
    responses((status = OK, body = PaymentDetails), (status = NOT_FOUND, body = Problem)),
)]
async fn read(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<PaymentDetails>, Problem> {
    let payments = &community.payments;
    let payment = payments.seen_by(&id, Viewer::from(&identity), Action::Read).await?;
    let waits = matches!(payment.head.stage, Stage::Session | Stage::Processing);
    if waits && payment.facts.payer == identity.user_id {
        payments.ask_soon(&payment, now()).await;
    }
    Ok(Json(payments.details(&payment, &identity.user_id).await?))
}

/// Send money back; for the payee. What was paid for stays the payer's: giving it up is another matter.
#[utoipa::path(
    post, path = "/api/payments/{id}/refund", operation_id = "refundPayment",
    tag = "payments", params(IdempotencyKey), request_body = NewRefund,
    responses(
        (status = ACCEPTED, body = PaymentDetails),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn refund(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewRefund>,
) -> Result<(StatusCode, Json<PaymentDetails>), Problem> {
    let payments = &community.payments;
    let payment = payments.seen_by(&id, Viewer::from(&identity), Action::Change).await?;
    community.note_admins_right(&identity, Action::Change, ("payment", &id, &payment.facts.payee)).await?;
    let asked = AskedRefund {
        id: new_id.into_text(),
        minor: body.amount.value().map(|amount| amount.get().into()),
        by: Some(identity.user_id.clone()),
        reason: body.reason.value().map(Reason::into_string),
    };
    let changed = payments.store.ask_refund(&id, asked, now()).await?;
    let payment = noted(changed).ok_or_else(|| Problem::not_found("payment"))?;
    Ok((StatusCode::ACCEPTED, Json(payments.details(&payment, &identity.user_id).await?)))
}
