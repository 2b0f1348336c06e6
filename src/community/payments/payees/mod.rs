//! Payees with accounts of their own at Stripe (Connect): they make one on Stripe's pages, and what is paid to them goes on there.
//!
//! What Stripe tells of an account by an event is never believed: it only has Stripe asked, so no order of events matters, and an
//! answer counts only if nothing changed since it was asked for.

pub mod rules;
pub mod store;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_gateway::input::Time;
use mundotango_gateway::problem::{Code, Problem};
use mundotango_jobs::Failure;
use mundotango_protocol::new_id;
use mundotango_storage::{StoreError, now};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::rules::{Payee, PayeeState};
use super::causes;
use super::service::Payments;
use super::stripe::{Stripe, StripeError};
use crate::community::Community;

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(connect)).routes(routes!(read)).routes(routes!(dashboard))
}

/// A page of Stripe's.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PayeePage {
    /// It can be opened once.
    url: String,
    /// Until when; null where Stripe does not say.
    #[schema(required = true)]
    expires_at: Option<Time>,
}

/// The caller as a payee.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Payee)]
struct PayeeBody {
    state: PayeeState,
    /// What Stripe still wants to know, by Stripe's names, such as `external_account`. Where nothing is due and it is incomplete,
    /// Stripe looks at what it was told.
    due: Vec<String>,
    /// Why no money goes there, as Stripe names it, such as `rejected.fraud`.
    #[schema(required = true)]
    reason: Option<String>,
    /// Whether Stripe pays out from the account.
    pays_out: bool,
}

impl From<Payee> for PayeeBody {
    fn from(payee: Payee) -> Self {
        let state = payee.state();
        let (due, reason, pays_out) = match payee.seen {
            Some(seen) => (seen.due, seen.disabled, seen.pays_out),
            None => (Vec::new(), None, false),
        };
        Self { state, due, reason, pays_out }
    }
}

/// The problem of a server from which no money goes on.
fn connect_off() -> Problem {
    let detail = "no money goes on to payees' own accounts here: payments.connect is not set";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with_code(Code::ConnectOff)
}

/// The problem of a payee to whom no money can go on.
fn not_ready(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, detail).with_code(Code::PayeeNotReady)
}

/// What a payee is told whose account Stripe does not make, or show.
fn refused(error: StripeError) -> Problem {
    if let StripeError::Refused { code, .. } = &error {
        tracing::warn!(%error, "an account of a payee is refused");
        return not_ready(format!("Stripe refuses it: {code}"));
    }
    error.into()
}

impl Payments {
    /// Stripe, where money goes on to payees.
    fn connecting(&self) -> Result<&Stripe, Problem> {
        let stripe = self.stripe()?;
        if self.connects { Ok(stripe) } else { Err(connect_off()) }
    }

    /// The account of a payee, made if there is none.
    pub async fn account_for(&self, user_id: &str, now: Timestamp) -> Result<String, Problem> {
        let stripe = self.connecting()?;
        let payee = self.payees.of(user_id).await?;
        let payee = if payee.account.is_some() {
            payee
        } else {
            // Whoever asks at the same time asks under the same key, and gets the same account.
            let seen = stripe.create_account(user_id, payee.before).await.map_err(refused)?;
            self.payees.take(user_id, payee.before, seen, now).await?
        };
        payee.account.ok_or_else(|| Problem::unavailable("the account was cut off at this moment"))
    }

    /// A page of Stripe's on which a payee says what is due, made anew; and the account, if there is none.
    async fn onboarding_page(&self, user_id: &str, now: Timestamp) -> Result<PayeePage, Problem> {
        let stripe = self.connecting()?;
        let account = self.account_for(user_id, now).await?;
        let page = |onboarding: &str| {
            let mut page = self.payee_url.clone();
            page.query_pairs_mut().append_pair("onboarding", onboarding);
            String::from(page)
        };
        let link = stripe.account_link(&account, &page("again"), &page("done"), &new_id()).await;
        let link = link.map_err(refused)?;
        let expires_at = link.expires_at.and_then(|at| Timestamp::from_second(at).ok()).map(Time);
        Ok(PayeePage { url: link.url, expires_at })
    }

    /// What is known of a payee; Stripe is asked where that is old, by one reader at a time, and what is kept counts for the others
    /// and where it does not answer.
    async fn payee(&self, user_id: &str, now: Timestamp) -> Result<Payee, StoreError> {
        let payee = self.payees.of(user_id).await?;
        // Asked of the store once more, as others read it at the same time.
        if !payee.is_to_be_asked(now) || !self.payees.ask(user_id, now).await? {
            return Ok(payee);
        }
        if let Err(error) = self.learn(user_id, now).await {
            tracing::debug!(%error, "Stripe does not say how a payee is");
        }
        self.payees.of(user_id).await
    }

    /// Asks Stripe how a payee's account is.
    pub async fn learn(&self, user_id: &str, now: Timestamp) -> Result<(), Failure> {
        let Some(stripe) = &self.stripe else { return Ok(()) };
        let payee = self.payees.of(user_id).await?;
        let Some(account) = &payee.account else { return Ok(()) };
        let seen = match stripe.account(account).await {
            Ok(seen) => Some(seen),
            // The payee has closed it, or cut it off from here.
            Err(StripeError::Refused { .. }) => None,
            Err(error) => return Err(error.failure()),
        };
        if self.payees.note(user_id, payee.version, seen, now).await? {
            return Ok(());
        }
        Err(Failure::retry("the payee changed while Stripe was asked"))
    }

    /// Takes the news that something of an account is another way.
    pub async fn take_news(&self, account: &str, is_last: bool, now: Timestamp) -> Result<(), Failure> {
        match self.payees.owner_of(account).await? {
            Some(user_id) => self.learn(&user_id, now).await,
            // One of another program's, or of somebody who has left.
            None if is_last => Ok(()),
            None => Err(Failure::retry("nobody is known whose account it is")),
        }
    }

    /// Has Stripe asked how an account is of which an event tells.
    pub(super) async fn hear_of(&self, account: &str) -> Result<(), Problem> {
        if !self.connects {
            return Ok(());
        }
        let job = causes::payee_news(account)?;
        let kept = self.jobs.enqueue(job).await;
        kept.map(drop).map_err(|error| Problem::unavailable(error.to_string()))
    }

    /// The account that what is paid to a payee goes on to; none where all money stays in the platform's.
    pub(super) async fn account_of(&self, payee: &str, now: Timestamp) -> Result<Option<String>, Problem> {
        if !self.connects {
            return Ok(None);
        }
        let known = self.payee(payee, now).await?;
        let account = known.ready_account().map(str::to_owned);
        let unready =
            || not_ready("the payee cannot take money yet: Stripe has not said that the account is ready");
        account.map(Some).ok_or_else(unready)
    }
}

/// Take money yourself: makes your account at Stripe once, and answers a page of Stripe's on which you say what it wants to know.
///
/// The page opens once and for some minutes: ask anew each time. It leads back to `/payments/payee` with `?onboarding=done`, or with
/// `again` where it was over.
#[utoipa::path(
    post, path = "/api/payments/payee", operation_id = "connectPayee", tag = "payments",
    responses(
        (status = OK, body = PayeePage),
        (status = CONFLICT, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
        (status = SERVICE_UNAVAILABLE, body = Problem),
    ),
)]
async fn connect(identity: Identity, State(community): Shared) -> Result<Json<PayeePage>, Problem> {
    let payments = &community.payments;
    payments.connecting()?;
    community.limits.payee_page(&identity.user_id).await?;
    Ok(Json(payments.onboarding_page(&identity.user_id, now()).await?))
}

/// Whether you can take money, and what Stripe still wants to know.
#[utoipa::path(
    get, path = "/api/payments/payee", operation_id = "getPayee", tag = "payments",
    responses((status = OK, body = PayeeBody), (status = SERVICE_UNAVAILABLE, body = Problem)),
)]
async fn read(identity: Identity, State(community): Shared) -> Result<Json<PayeeBody>, Problem> {
    let payments = &community.payments;
    payments.connecting()?;
    Ok(Json(payments.payee(&identity.user_id, now()).await?.into()))
}

/// A page of Stripe's on which you see your money there.
#[utoipa::path(
    post, path = "/api/payments/payee/dashboard", operation_id = "openPayeeDashboard", tag = "payments",
    responses(
        (status = OK, body = PayeePage),
        (status = CONFLICT, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
        (status = SERVICE_UNAVAILABLE, body = Problem),
    ),
)]
async fn dashboard(identity: Identity, State(community): Shared) -> Result<Json<PayeePage>, Problem> {
    let payments = &community.payments;
    let stripe = payments.connecting()?;
    let payee = payments.payees.of(&identity.user_id).await?;
    let account = payee.account.ok_or_else(|| not_ready("you have no account for payments yet"))?;
    community.limits.payee_page(&identity.user_id).await?;
    let url = stripe.login_link(&account, &new_id()).await.map_err(refused)?;
    Ok(Json(PayeePage { url, expires_at: None }))
}
