//! What a node answers before its parts are there: it lives, it is not ready, and which part it waits for.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use serde_json::json;
use tower::ServiceExt as _;

use crate::health::PartHealth;
use crate::problem::Problem;

/// A node that starts.
#[derive(Default)]
pub struct Starting {
    router: OnceLock<Router>,
    waits_for: Mutex<Vec<PartHealth>>,
}

impl Starting {
    /// The routes of a node that starts, and from then on of one that is ready.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(answer).with_state(Arc::clone(self))
    }

    /// Says which part is waited for, and what is wrong with it.
    pub fn wait_for(&self, name: &'static str, detail: String) {
        *self.waits_for.lock() =
            vec![PartHealth { name, healthy: false, required: true, detail: Some(detail) }];
    }

    /// The node is ready. The first routes count.
    pub fn ready(&self, router: Router) {
        let _ = self.router.set(router);
    }
}

async fn answer(State(starting): State<Arc<Starting>>, request: Request) -> Response {
    if let Some(router) = starting.router.get() {
        return match router.clone().oneshot(request).await {
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
