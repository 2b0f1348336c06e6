//! The logins of a user: on which device each is, from where it was used last, and its end.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::try_join_all;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::Path;
use mundotango_gateway::input::Time;
use mundotango_gateway::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rules::Login;
use crate::community::Community;

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(list, end_others)).routes(routes!(end))
}

/// The logins of the caller.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LoginSessions)]
struct SessionsView {
    /// Those that are good, the one that was used last first; 50 at most.
    items: Vec<SessionView>,
}

/// A login.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LoginSession)]
struct SessionView {
    id: String,
    /// The device, as its program told or its user called it at the login.
    #[schema(required = true)]
    device: Option<String>,
    /// The network from which it was used last, and no address: a /24 of IPv4, a /48 of IPv6.
    #[schema(required = true)]
    network: Option<String>,
    created_at: Time,
    /// When it last got tokens.
    last_used_at: Time,
    /// Until when it stays if it gets no others.
    expires_at: Time,
    /// Whether it is the one that asks.
    current: bool,
}

impl SessionView {
    fn new(login: Login, current: Option<&str>) -> Self {
        Self {
            current: current == Some(login.id.as_str()),
            last_used_at: login.used_at().into(),
            created_at: login.created_at.into(),
            expires_at: login.expires_at.into(),
            device: login.device,
            network: login.network,
            id: login.id,
        }
    }
}

impl Community {
    /// The logins of a user that are good, the one that was used last first.
    async fn good_logins(&self, user_id: &str) -> Result<Vec<Login>, Problem> {
        let now = mundotango_storage::now();
        let mut logins = self.accounts.logins(user_id).await?;
        logins.retain(|login| login.expires_at > now && !self.is_logged_out_since(user_id, login.created_at));
        logins.sort_by(|one, other| other.used_at().cmp(&one.used_at()).then_with(|| other.id.cmp(&one.id)));
        Ok(logins)
    }

    /// Locks out the tokens of several logins of a user.
    async fn lock_out_logins(&self, user_id: &str, ids: &[String]) -> Result<(), Problem> {
        let locking = ids.iter().map(|id| self.lock_out_login(id, user_id.to_owned()));
        try_join_all(locking).await.map(drop)
    }
}

/// The logins of the caller, with the device and the network of each.
#[utoipa::path(
    get, path = "/api/auth/sessions", operation_id = "listSessions",
    tag = "auth", responses((status = OK, body = SessionsView)),
)]
async fn list(identity: Identity, State(community): Shared) -> Result<Json<SessionsView>, Problem> {
    let logins = community.good_logins(&identity.user_id).await?.into_iter();
    let current = identity.login_id.as_deref();
    Ok(Json(SessionsView { items: logins.map(|login| SessionView::new(login, current)).collect() }))
}

/// End one login of the caller. Its tokens are good no longer, and its sockets are closed.
#[utoipa::path(
    delete, path = "/api/auth/sessions/{id}", operation_id = "endSession", tag = "auth",
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem)),
)]
async fn end(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let user_id = identity.user_id;
    if community.accounts.login(&user_id, &id).await?.is_none() {
        return Err(Problem::not_found("session"));
    }
    // The row goes last: if something fails before, the caller can try again.
    community.lock_out_login(&id, user_id.clone()).await?;
    if community.accounts.delete_login(&user_id, &id).await? {
        // A refresh between the two gave a token that is good a moment longer than the first lock.
        community.lock_out_login(&id, user_id).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// End all logins of the caller but this one, and close their sockets.
#[utoipa::path(
    delete, path = "/api/auth/sessions", operation_id = "endOtherSessions",
    tag = "auth", responses((status = NO_CONTENT)),
)]
async fn end_others(identity: Identity, State(community): Shared) -> Result<StatusCode, Problem> {
    let (user_id, current) = (identity.user_id, identity.login_id);
    let others = community.accounts.logins(&user_id).await?.into_iter().map(|login| login.id);
    let others: Vec<_> = others.filter(|id| Some(id) != current.as_ref()).collect();
    // The rows go last: if something fails before, the caller can try again.
    community.lock_out_logins(&user_id, &others).await?;
    let ended = community.accounts.delete_other_logins(&user_id, current.as_deref()).await?;
    // Among them are logins that were made meanwhile, and tokens that others got meanwhile.
    community.lock_out_logins(&user_id, &ended).await?;
    Ok(StatusCode::NO_CONTENT)
}
