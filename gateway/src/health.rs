//! Whether the node lives, and whether it can take work.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use mundotango_actors::Engine;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// One part that the node needs.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PartHealth {
    /// Which part.
    pub name: &'static str,
    /// Whether it does its work.
    pub healthy: bool,
    /// Whether the node can take no work without it.
    pub required: bool,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Who knows how the node's parts are.
#[async_trait]
pub trait HealthCheck: Send + Sync {
    /// Looks at every part. Has to answer within seconds even if a part does not.
    async fn parts(&self) -> Vec<PartHealth>;
}

pub(crate) struct HealthState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) check: Arc<dyn HealthCheck>,
    pub(crate) version: String,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Health {
    /// `ok`, `degraded` (a part is gone, and what needs it answers so), `unavailable` or `draining`.
    status: &'static str,
    /// The server's name and version.
    version: String,
    /// Open sessions on this node.
    sessions: usize,
    /// Each part that the node needs.
    parts: Vec<PartHealth>,
}

pub(crate) fn router(state: Arc<HealthState>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(live))
        .routes(routes!(ready))
        .with_state(state)
}

async fn look(state: &HealthState) -> Health {
    let parts = state.check.parts().await;
    let status = if state.engine.is_draining() {
        "draining"
    } else if parts.iter().all(|part| part.healthy) {
        "ok"
    } else if parts.iter().all(|part| part.healthy || !part.required) {
        "degraded"
    } else {
        "unavailable"
    };
    Health { status, version: state.version.clone(), sessions: state.engine.sessions().len(), parts }
}

/// How the node and its parts are; 200 as long as the node lives.
#[utoipa::path(get, path = "/api/health", tag = "monitoring", security(()), responses((status = OK, body = Health)))]
async fn health(State(state): State<Arc<HealthState>>) -> impl IntoResponse {
    Json(look(&state).await)
}

/// 200 as long as the node lives.
#[utoipa::path(get, path = "/api/health/live", tag = "monitoring", security(()), responses((status = OK, body = String)))]
async fn live() -> &'static str {
    "ok"
}

/// 200 when the node can take work; else 503, and the parts tell why.
#[utoipa::path(
    get, path = "/api/health/ready", tag = "monitoring", security(()),
    responses((status = OK, body = Health), (status = SERVICE_UNAVAILABLE, body = Health)),
)]
async fn ready(State(state): State<Arc<HealthState>>) -> impl IntoResponse {
    let health = look(&state).await;
    let status = match health.status {
        "ok" | "degraded" => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(health))
}
