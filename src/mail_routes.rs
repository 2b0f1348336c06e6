//! What becomes of letters after they were sent: providers and mail servers report it here, and admins see it.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use deserr::Deserr;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidQuery};
use mundotango_gateway::input::{BadFields, Time};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_storage::db::Db;
use mundotango_storage::{StoreError, now};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::community::audit::rules::Act;
use crate::community::audit::store::AuditStore;
use crate::community::roles::{self, Role};
use crate::email::{
    Address, Feedback, MailOptions, ReturnPaths, SendgridKey, SnsClient, SnsNews, SuppressionList,
    WebhookError, read_dsn, read_sendgrid, read_sns,
};
use crate::texts::EmailAddress;

/// What the routes need.
#[derive(Clone)]
struct MailState {
    suppressions: SuppressionList,
    topic_arn: Option<String>,
    sns: Arc<SnsClient>,
    sendgrid: Option<Arc<SendgridKey>>,
    bounces: Option<ReturnPaths>,
    audit: AuditStore,
}

/// The routes. The secret is that which signs return paths.
pub(crate) fn router(
    db: &Db,
    options: &MailOptions,
    secret: &[u8],
    audit: AuditStore,
) -> anyhow::Result<OpenApiRouter> {
    let key = options.sendgrid.webhook_public_key.as_deref();
    let sendgrid = key.map(str::parse::<SendgridKey>).transpose();
    let bounces = ReturnPaths::of_mailbox(options.bounces.as_deref(), secret);
    let state = MailState {
        suppressions: SuppressionList::new(db.clone()),
        topic_arn: options.ses.topic_arn.clone(),
        sns: Arc::new(SnsClient::new()?),
        sendgrid: sendgrid.context("mail.sendgrid.webhook_public_key")?.map(Arc::new),
        bounces: bounces.context("mail.bounces")?,
        audit,
    };
    Ok(OpenApiRouter::new()
        .routes(routes!(of_ses))
        .routes(routes!(of_sendgrid))
        .routes(routes!(of_mail_server))
        .routes(routes!(address, lift))
        .with_state(state))
}

fn problem_of(error: &WebhookError) -> Problem {
    let status = match error {
        WebhookError::Malformed(_) => StatusCode::BAD_REQUEST,
        WebhookError::Forged(_) | WebhookError::Stale => StatusCode::UNAUTHORIZED,
        WebhookError::Unavailable(_) => return Problem::unavailable(error.to_string()),
    };
    Problem::new(status, error.to_string())
}

impl MailState {
    async fn record(&self, all: &[Feedback]) -> Result<StatusCode, StoreError> {
        for feedback in all {
            if self.suppressions.record(feedback, now()).await? {
                tracing::info!(kind = ?feedback.kind, enhanced = feedback.enhanced, "a letter came back");
            }
        }
        Ok(StatusCode::NO_CONTENT)
    }
}

/// What Amazon SES says of letters, by a topic of SNS. The topic has to be in `mail.ses.topic_arn`.
#[utoipa::path(
    post, path = "/api/mail/webhooks/ses", operation_id = "receiveSesNews", tag = "mail", security(()),
    request_body(content = String, content_type = "text/plain"),
    responses(
        (status = NO_CONTENT),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn of_ses(State(state): State<MailState>, body: Bytes) -> Result<StatusCode, Problem> {
    let topic = state.topic_arn.as_deref().ok_or_else(|| Problem::not_found("webhook"))?;
    match read_sns(&body, topic, now(), state.sns.as_ref()).await.map_err(|error| problem_of(&error))? {
        SnsNews::Feedback(all) => Ok(state.record(&all).await?),
        SnsNews::Confirm(url) => {
            state.sns.confirm(&url).await.map_err(|error| problem_of(&error))?;
            tracing::info!(topic, "the subscription of the mail provider's news is confirmed");
            Ok(StatusCode::NO_CONTENT)
        }
    }
}

/// What SendGrid says of letters. The webhook's key has to be in `mail.sendgrid.webhook_public_key`.
#[utoipa::path(
    post, path = "/api/mail/webhooks/sendgrid", operation_id = "receiveSendgridNews",
    tag = "mail", security(()),
    request_body(content = String, content_type = "application/json"),
    responses(
        (status = NO_CONTENT),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn of_sendgrid(
    State(state): State<MailState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let key = state.sendgrid.as_ref().ok_or_else(|| Problem::not_found("webhook"))?;
    let all = read_sendgrid(&headers, &body, now(), key).map_err(|error| problem_of(&error))?;
    Ok(state.record(&all).await?)
}

/// To which address a report came.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReportQuery {
    /// The recipient of the report's envelope: the return path of the letter that it is about.
    #[param(value_type = EmailAddress, inline)]
    recipient: EmailAddress,
}

/// A delivery report that a mail server sent to the return path of a letter (`mail.bounces`), as the mail itself; for admins,
/// such as a mail server of the operator's.
#[utoipa::path(
    post, path = "/api/admin/mail/reports", operation_id = "receiveDeliveryReport",
    tag = "admin", params(ReportQuery),
    request_body(content = String, content_type = "message/rfc822"),
    responses(
        (status = NO_CONTENT),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn of_mail_server(
    identity: Identity,
    State(state): State<MailState>,
    ValidQuery(query): ValidQuery<ReportQuery>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    roles::require(&identity, Role::Admin)?;
    let not_allowed = |message: &str| Problem::invalid_field("recipient", FieldCode::NotAllowed, message);
    let recipient = query.recipient.into_string().parse::<Address>().ok();
    let path = recipient.as_ref().zip(state.bounces.as_ref()).and_then(|(path, paths)| paths.read(path));
    let path = path.ok_or_else(|| not_allowed("must be the return path of a letter from here"))?;
    let reported = read_dsn(&body);
    if reported.is_empty() {
        // No failure of an address, such as an out-of-office answer.
        return Ok(StatusCode::NO_CONTENT);
    }
    // Anybody can write a report about anybody; only the servers that got a letter know its return path.
    let own = reported.into_iter().filter(|feedback| path.is_of(&feedback.address));
    let own = own.map(|feedback| Feedback { message_id: Some(path.message().clone()), ..feedback });
    let own: Vec<_> = own.collect();
    if own.is_empty() {
        return Err(not_allowed(
            "must be the return path of a letter to the address that the report is about",
        ));
    }
    Ok(state.record(&own).await?)
}

fn address_of(path: &str) -> Result<Address, Problem> {
    path.parse().map_err(|_| Problem::not_found("address"))
}

/// What came back from an address. After a hard bounce only letters about the account itself are tried, a week later; after a
/// complaint, and for two weeks after five failures, those alone are sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AddressBody {
    address: String,
    /// When a mail server first said that there is no such address.
    #[schema(required = true)]
    hard_bounce_since: Option<Time>,
    /// The mail server's code for that.
    #[schema(required = true)]
    hard_bounce_code: Option<String>,
    /// When somebody called a letter spam.
    #[schema(required = true)]
    complaint_since: Option<Time>,
    /// Letters that failed for a while, of the last five.
    soft_bounces: usize,
}

/// What came back from an address; for admins.
#[utoipa::path(
    get, path = "/api/admin/mail/addresses/{address}", operation_id = "getMailAddress", tag = "admin",
    responses((status = OK, body = AddressBody), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem)),
)]
async fn address(
    identity: Identity,
    State(state): State<MailState>,
    Path(path): Path<String>,
) -> Result<Json<AddressBody>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let address = address_of(&path)?;
    let known = state.suppressions.of(&address).await?;
    Ok(Json(AddressBody {
        hard_bounce_since: known.hard.as_ref().map(|hard| hard.since.into()),
        hard_bounce_code: known.hard.as_ref().and_then(|hard| hard.enhanced.clone()),
        complaint_since: known.complaint.map(Into::into),
        soft_bounces: known.soft.len(),
        address: path,
    }))
}

/// Send letters to an address again, which bounced or complained; for admins.
#[utoipa::path(
    delete, path = "/api/admin/mail/addresses/{address}", operation_id = "liftMailAddress", tag = "admin",
    responses((status = NO_CONTENT), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem)),
)]
async fn lift(
    identity: Identity,
    State(state): State<MailState>,
    Path(path): Path<String>,
) -> Result<StatusCode, Problem> {
    roles::require(&identity, Role::Admin)?;
    let address = address_of(&path)?;
    // The trail is for long, so an address stands in it as a digest.
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(path.to_lowercase().as_bytes()));
    state.audit.note(Act::by(&identity, "mail.lifted", "mailAddress", digest, now())).await?;
    if state.suppressions.lift(&address).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("address"))
    }
}
