//! Users, as admins look after them: finding one, giving one a role, locking one out and letting one in again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson, ValidQuery};
use mundotango_gateway::input::{BadFields, Choice, Given, Time};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_storage::{StoreError, now};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::held;
use super::roster::Decided;
use crate::community::Community;
use crate::community::accounts::store::User;
use crate::community::audit::rules::Act;
use crate::community::roles::{self, Role};
use crate::texts::{Reason, SearchedUser};

type Shared = State<Arc<Community>>;

const THING: &str = "user";

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(find))
        .routes(routes!(set_role))
        .routes(routes!(block))
        .routes(routes!(unblock))
}

/// Who is looked for.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UserQuery {
    /// An id, an e-mail address or a username, as a whole.
    #[param(value_type = SearchedUser, inline)]
    q: SearchedUser,
}

/// A user, as admins see one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AdminUser {
    id: String,
    email: String,
    email_verified: bool,
    username: String,
    full_name: String,
    role: Role,
    created_at: Time,
    /// Whether the user is locked out.
    blocked: bool,
}

/// Users who were found.
#[derive(Debug, Serialize, ToSchema)]
struct AdminUsers {
    items: Vec<AdminUser>,
}

/// The role that a user is to have.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct UserRole {
    #[schema(value_type = Role)]
    role: Choice<Role>,
    /// Why.
    reason: Reason,
}

/// Why and until when a user is locked out.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({"reason": "Spam in chats.", "until": "2030-12-04T21:00:00Z"}))]
struct BlockBody {
    /// Why.
    reason: Reason,
    /// Until when; for ever if absent.
    #[deserr(default)]
    #[schema(value_type = Time, required = false)]
    until: Given<Time>,
}

/// Why a user may come in again.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct UnblockBody {
    /// Why.
    reason: Reason,
    /// Also ends the locks of decisions of the moderators; without it, these stand.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    decisions: bool,
}

impl Community {
    fn admin_user(&self, user: User) -> AdminUser {
        AdminUser {
            blocked: self.revocations.is_blocked(&user.id),
            id: user.id,
            email: user.email,
            email_verified: user.is_verified,
            username: user.username,
            full_name: user.full_name,
            role: user.role,
            created_at: user.created_at.into(),
        }
    }

    async fn user_for_admins(&self, identity: &Identity, id: &str) -> Result<User, Problem> {
        roles::require(identity, Role::Admin)?;
        self.accounts.user(id).await?.ok_or_else(|| Problem::not_found(THING))
    }
}

/// Find users by id, e-mail address or username, each as a whole; for admins.
#[utoipa::path(
    get, path = "/api/admin/users", operation_id = "findUsers", tag = "admin", params(UserQuery),
    responses(
        (status = OK, body = AdminUsers),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn find(
    identity: Identity,
    State(community): Shared,
    ValidQuery(query): ValidQuery<UserQuery>,
) -> Result<Json<AdminUsers>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let found = community.accounts.named(&query.q.into_string()).await?;
    Ok(Json(AdminUsers { items: found.into_iter().map(|user| community.admin_user(user)).collect() }))
}

/// Give a user a role; for admins. The user's logins end at once, as their tokens say the role of before. Nobody changes the own role,
/// so there is always an admin.
#[utoipa::path(
    put, path = "/api/admin/users/{id}/role", operation_id = "setRole", tag = "admin", request_body = UserRole,
    responses(
        (status = OK, body = AdminUser),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn set_role(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<UserRole>,
) -> Result<Json<AdminUser>, Problem> {
    let user = community.user_for_admins(&identity, &id).await?;
    if user.id == identity.user_id {
        let detail = "nobody changes the own role: another admin does";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let not_admin = || Problem::forbidden("only an admin with an account of this server gives roles");
    // A token may say more than the account: what is given has to come from somebody who stays an admin.
    let by = community.accounts.user(&identity.user_id).await?;
    by.filter(|by| by.role >= Role::Admin).ok_or_else(not_admin)?;
    let (now, role) = (now(), body.role.0);
    let act = Act::by(&identity, "user.roleSet", THING, &id, now)
        .about(&id)
        .because(Some(body.reason.into_string()))
        .with("role", role.as_str())
        .with("before", user.role.as_str());
    let roster = &community.desks.roster;
    match roster.give((&id, user.role), role, &identity.user_id, act, now).await? {
        Decided::NotAdmin => return Err(not_admin()),
        Decided::Given | Decided::Stands => community.role_changes.follow(&id).await?,
    }
    let user = community.accounts.user(&id).await?.ok_or_else(|| Problem::not_found(THING))?;
    Ok(Json(community.admin_user(user)))
}

/// Lock a user out, and close the user's sockets; for admins. A lock by a decision of the moderators stands beside it: the user is
/// out while either does.
#[utoipa::path(
    post, path = "/api/admin/users/{id}/block", operation_id = "lockUser", tag = "admin", request_body = BlockBody,
    responses(
        (status = OK, body = AdminUser),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn block(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<BlockBody>,
) -> Result<Json<AdminUser>, Problem> {
    let user = community.user_for_admins(&identity, &id).await?;
    if user.role >= Role::Admin {
        let detail = "an admin cannot be locked out: take the role away first";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let (now, until) = (now(), body.until.0.map(|until| until.0));
    if until.is_some_and(|until| until <= now) {
        return Err(Problem::invalid_field("until", FieldCode::OutOfRange, "must be later than now"));
    }
    let mut act = Act::by(&identity, "user.blocked", THING, &id, now)
        .about(&id)
        .because(Some(body.reason.into_string()));
    if let Some(until) = until {
        act = act.with("until", until.to_string());
    }
    community.audit.note(act).await?;
    community.enforcer.block(&id, until, now).await?;
    // Others can take what a moderator holds who is locked out.
    if user.role >= Role::Moderator {
        for job in held::jobs_of_locked_out(&id, now)? {
            community.jobs.enqueue(job).await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        }
    }
    Ok(Json(community.admin_user(user)))
}

/// Take back that the user is locked out, as far as an admin said so; for admins. Locks by decisions of the moderators stand,
/// unless `decisions` ends them too.
#[utoipa::path(
    post, path = "/api/admin/users/{id}/unblock", operation_id = "unlockUser", tag = "admin", request_body = UnblockBody,
    responses(
        (status = OK, body = AdminUser),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn unblock(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<UnblockBody>,
) -> Result<Json<AdminUser>, Problem> {
    let user = community.user_for_admins(&identity, &id).await?;
    let (now, decisions) = (now(), body.decisions);
    let mut act = Act::by(&identity, "user.unblocked", THING, &id, now);
    if decisions {
        act = act.with("decisions", "true");
    }
    community.audit.note(act.about(&id).because(Some(body.reason.into_string()))).await?;
    community.enforcer.unblock(&id, decisions, now).await?;
    Ok(Json(community.admin_user(user)))
}
