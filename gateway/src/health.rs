//! Whether the node lives, and whether it can take work.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use mundotango_actors::Engine;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::openapi::Schema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::describe::one_of;

/// One part that the node needs.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PartHealth {
    /// Which part.
    pub name: &'static str,
    /// Whether it does its work.
    pub healthy: bool,
    /// Whether the node can take no work without it.
    pub required: bool,
    /// What is wrong, or what should be set otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub detail: Option<String>,
}

/// Who knows how the node's parts are.
#[async_trait]
pub trait HealthCheck: Send + Sync {
    /// Looks at every part. Has to answer within seconds even if a part does not.
    async fn parts(&self) -> Vec<PartHealth>;
}

/// How long what a look found is told to others, who ask without a token and as often as they like.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Looks at most once a second, for parts that are asked over a network.
pub struct OnceASecond<C> {
    check: C,
    // Held while a look is under way: those who ask meanwhile wait for its result instead of looking too.
    last: tokio::sync::Mutex<Option<(Instant, Vec<PartHealth>)>>,
}

impl<C> OnceASecond<C> {
    /// Bounds how often `check` looks.
    pub fn new(check: C) -> Self {
        Self { check, last: tokio::sync::Mutex::default() }
    }
}

#[async_trait]
impl<C: HealthCheck> HealthCheck for OnceASecond<C> {
    async fn parts(&self) -> Vec<PartHealth> {
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, parts)) if at.elapsed() < FRESH_FOR => parts.clone(),
            _ => {
                let parts = self.check.parts().await;
                *last = Some((Instant::now(), parts.clone()));
                parts
            }
        }
    }
}

/// Whether a path tells how the node is: such requests are answered also where no other connection is taken.
pub(crate) fn is_monitoring(path: &str) -> bool {
    matches!(path, "/api/health" | "/api/health/live" | "/api/health/ready" | "/metrics")
}

pub(crate) struct HealthState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) check: Arc<dyn HealthCheck>,
    pub(crate) version: String,
}

fn statuses() -> Schema {
    one_of(&["ok", "degraded", "unavailable", "draining"])
}

/// How a node is.
#[derive(Serialize, utoipa::ToSchema)]
struct Health {
    /// `ok`, `degraded` (a part is gone, and what needs it answers so), `unavailable` or `draining`.
    #[schema(schema_with = statuses)]
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
    let mut parts = state.check.parts().await;
    let conflicts = state.engine.conflicts();
    if !conflicts.is_empty() {
        // Users would be refused, or histories cut, depending on the node that they come to.
        let detail = Some(conflicts.join("; "));
        parts.push(PartHealth { name: "configuration", healthy: false, required: true, detail });
    }
    let unheard = state.engine.unheard_nodes();
    if !unheard.is_empty() {
        let detail = Some(format!("in Redis but not heard on NATS: {}", unheard.join(", ")));
        parts.push(PartHealth { name: "nodes", healthy: false, required: false, detail });
    }
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
#[utoipa::path(
    get, path = "/api/health", operation_id = "getHealth",
    tag = "monitoring", security(()), responses((status = OK, body = Health)),
)]
async fn health(State(state): State<Arc<HealthState>>) -> impl IntoResponse {
    Json(look(&state).await)
}

/// 200 as long as the node lives.
#[utoipa::path(
    get, path = "/api/health/live", operation_id = "isLive",
    tag = "monitoring", security(()), responses((status = OK, body = String)),
)]
async fn live() -> &'static str {
    "ok"
}

/// 200 when the node can take work; else 503, and the parts tell why.
#[utoipa::path(
    get, path = "/api/health/ready", operation_id = "isReady", tag = "monitoring", security(()),
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    #[async_trait]
    impl HealthCheck for Counted {
        async fn parts(&self) -> Vec<PartHealth> {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
            Vec::new()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn parts_are_asked_once_a_second_by_however_many() {
        let check = OnceASecond::new(Counted::default());
        futures_util::future::join_all((0..100).map(|_| check.parts())).await;
        assert_eq!(check.check.0.load(Ordering::Relaxed), 1);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        check.parts().await;
        assert_eq!(check.check.0.load(Ordering::Relaxed), 2);
    }
}
