//! What a node answers before its parts are there: it lives, it is not ready, and which part it waits for.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::gateway::Routers;
use crate::health::PartHealth;
use crate::problem::Problem;

/// A node that starts.
#[derive(Default)]
pub struct Starting {
    routers: OnceLock<Routers>,
    waits_for: Mutex<Vec<PartHealth>>,
}

impl Starting {
    /// The routes of a node that starts, and from then on those of a node that is ready.
    pub fn routers(self: &Arc<Self>) -> Routers {
        let of = |choose: fn(&Routers) -> &Router| {
            let starting = Arc::clone(self);
            Router::new().fallback(move |request| answer(starting, choose, request))
        };
        let (public, internal) = (of(|routers| &routers.public), of(|routers| &routers.internal));
        Routers { public, internal, running: TaskTracker::new() }
    }

    /// Says which part is waited for, and what is wrong with it.
    pub fn wait_for(&self, name: &'static str, detail: String) {
        *self.waits_for.lock() =
            vec![PartHealth { name, healthy: false, required: true, detail: Some(detail) }];
    }

    /// The node is ready. The first routes count.
    pub fn ready(&self, routers: Routers) {
        let _ = self.routers.set(routers);
    }
}

async fn answer(starting: Arc<Starting>, choose: fn(&Routers) -> &Router, request: Request) -> Response {
    if let Some(routers) = starting.routers.get() {
        return match choose(routers).clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
    }
    match request.uri().path() {
        "/api/health/live" => "ok".into_response(),
        path @ ("/api/health" | "/api/health/ready") => {
            let health = json!({ "status": "starting", "parts": *starting.waits_for.lock() });
            let lives = path == "/api/health";
            let status = if lives { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, Json(health)).into_response()
        }
        _ => Problem::unavailable("the node is starting").into_response(),
    }
}
