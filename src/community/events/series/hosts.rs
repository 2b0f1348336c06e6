//! Who gives a series: its owner, and the hosts beside the owner, who are hosts of all dates that follow it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::problem::Problem;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Wants};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::changing::not_dividing;
use super::state::SERIES;
use super::store::{SeriesError, SeriesStore};
use crate::community::Community;
use crate::community::events::co_hosts::{self, CoHost, co_host_key, set_role};
use crate::community::events::hosts::{CoHostBody, HostsBody};
use crate::community::events::rules::CoHostRole;
use crate::community::policy::Action;

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(set, remove))
}

impl SeriesStore {
    /// What a user may do in a series who is a host beside the owner.
    pub async fn co_host(&self, id: &str, user_id: &str) -> Result<Option<CoHostRole>, StoreError> {
        co_hosts::role_of(&self.0, &SERIES, id, user_id).await
    }

    /// The hosts beside the owner.
    pub async fn co_hosts(&self, id: &str) -> Result<Vec<(String, CoHostRole)>, StoreError> {
        co_hosts::roles(&self.0, &SERIES, id).await
    }

    /// Makes a user a host beside the owner, or with `None` takes that back; whether it changed anything. An owner is none
    /// beside itself. Not while the series is divided, as the hosts go along.
    pub async fn set_co_host(
        &self,
        id: &str,
        user_id: &str,
        role: Option<CoHostRole>,
    ) -> Result<Option<bool>, SeriesError> {
        let (user, wants) = (user_id.to_owned(), Wants::head().row(co_host_key(user_id)));
        self.0
            .change(&SERIES, id, wants, move |part| {
                not_dividing(part)?;
                if part.facts.host_id == user {
                    return Ok(Decision::Stands(false));
                }
                let is_new = set_role(part, &user, role).ok_or(SeriesError::TooManyHosts)?;
                Ok(if is_new { Decision::Write(true) } else { Decision::Stands(false) })
            })
            .await
    }
}

/// Who gives a series. The hosts beside the owner are hosts of each date that the owner has not given away.
#[utoipa::path(
    get, path = "/api/events/series/{id}/hosts", operation_id = "listEventSeriesHosts", tag = "events",
    responses((status = OK, body = HostsBody), (status = NOT_FOUND, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<HostsBody>, Problem> {
    let series = community.series_for(&id, &identity, Action::Read).await?;
    let hosts = community.series.store.co_hosts(&id).await?.into_iter();
    let hosts = hosts.map(|(user_id, role)| CoHost { user_id, role, of_series: true }).collect();
    Ok(Json(community.hosts_body(&series.facts.host_id, hosts).await))
}

/// Make somebody a host of a series beside the owner; for the owner.
#[utoipa::path(
    put, path = "/api/events/series/{id}/hosts/{userId}", operation_id = "setEventSeriesHost", tag = "events",
    request_body = CoHostBody,
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn set(
    identity: Identity,
    State(community): Shared,
    Path((id, user_id)): Path<(String, String)>,
    ValidJson(body): ValidJson<CoHostBody>,
) -> Result<StatusCode, Problem> {
    community.series_for(&id, &identity, Action::HandOver).await?;
    community.known_user(&user_id).await?;
    community.series.store.set_co_host(&id, &user_id, Some(body.role.0)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take back that somebody is a host of a series; for the owner, and for that host.
#[utoipa::path(
    delete, path = "/api/events/series/{id}/hosts/{userId}", operation_id = "removeEventSeriesHost", tag = "events",
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    Path((id, user_id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let action = if identity.user_id == user_id { Action::Read } else { Action::HandOver };
    community.series_for(&id, &identity, action).await?;
    community.series.store.set_co_host(&id, &user_id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
