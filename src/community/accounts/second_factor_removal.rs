//! Taking the second factor off an account whose owner has lost device and codes. An admin says so; it is done a day later, so that the
//! owner, who gets a letter, can keep it: by the link in it, or by a good code anywhere.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::input::{BadFields, Time};
use mundotango_gateway::problem::Problem;
use mundotango_protocol::new_id;
use mundotango_storage::now;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::email::{LinkBody, not_good};
use super::links::{MailedLink, Purpose};
use crate::community::Community;
use crate::community::audit::rules::Act;
use crate::community::roles::{self, Role};
use crate::texts::{LinkToken, Reason};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(take_off)).routes(routes!(keep))
}

/// Why a second factor is taken off.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(as = SecondFactorTakenOff)]
struct TakeOffBody {
    /// Why, and how it is known that the owner asks for it.
    reason: Reason,
}

/// When a second factor ends.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SecondFactorEnd)]
struct EndView {
    /// Until when the owner can keep it, by the link in the letter or by a good code.
    until: Time,
}

impl Community {
    /// Keeps a second factor that an admin takes off, by the token of a link.
    pub(super) async fn keep_second_factor(&self, token: LinkToken) -> Result<(), Problem> {
        let MailedLink { user_id, id, .. } = self.mailed_link(token, Purpose::KeepSecondFactor)?;
        let is_kept = self.accounts.keep_totp(&user_id, &id, now()).await?;
        is_kept.then_some(()).ok_or_else(not_good)
    }
}

/// Take the second factor off the account of somebody else who has lost device and codes; for admins. All logins end at once. It is done
/// after 24 hours: until then the link in a letter to the owner keeps it, and so does a good code.
#[utoipa::path(
    delete, path = "/api/admin/users/{id}/second-factor", operation_id = "takeOffSecondFactor", tag = "admin",
    request_body = TakeOffBody,
    responses(
        (status = ACCEPTED, body = EndView),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn take_off(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<TakeOffBody>,
) -> Result<(StatusCode, Json<EndView>), Problem> {
    roles::require(&identity, Role::Admin)?;
    let user = community.existing_user(&id).await?;
    if user.id == identity.user_id {
        let detail = "nobody takes off the own second factor so: another admin does";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let (now, is_off) = (now(), || Problem::not_found("second factor"));
    let totp = community.accounts.totp(&id).await?;
    totp.filter(|totp| totp.is_on_at(now)).ok_or_else(is_off)?;
    let act = Act::by(&identity, "user.secondFactorTakenOff", "user", &id, now);
    community.audit.note(act.about(&id).because(Some(body.reason.into_string()))).await?;
    let until = community.accounts.take_off_totp(&id, &new_id(), now).await?.ok_or_else(is_off)?;
    // The rows are gone, so no login that there was gets other tokens.
    community.lock_out_user(&id).await?;
    Ok((StatusCode::ACCEPTED, Json(EndView { until: until.into() })))
}

/// Keep the second factor that an admin takes off, by the token of the link that was mailed.
#[utoipa::path(
    post, path = "/api/auth/keep-second-factor", operation_id = "keepSecondFactor",
    tag = "auth", security(()), request_body = LinkBody,
    responses((status = NO_CONTENT), (status = BAD_REQUEST, body = Problem), (status = GONE, body = Problem)),
)]
async fn keep(State(community): Shared, ValidJson(body): ValidJson<LinkBody>) -> Result<StatusCode, Problem> {
    community.keep_second_factor(body.token).await?;
    Ok(StatusCode::NO_CONTENT)
}
