//! What the server sees of its own use: reads of the API, by route, for those whose browser sends no events.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use crate::analytics::Consent;
use crate::analytics::counters::Counters;
use crate::community::notifications::preferences::PreferenceStore;

/// Routes that tell nothing of the community's use.
const OF_OPERATORS: [&str; 3] = ["/api/admin/", "/api/docs", "/api/health"];

/// Counts a read of the API that was answered.
pub(crate) async fn count(State(counters): State<Arc<Counters>>, request: Request, next: Next) -> Response {
    let is_read = request.method() == Method::GET;
    let route = request.extensions().get::<MatchedPath>().filter(|_| is_read).cloned();
    let answer = next.run(request).await;
    if let Some(route) = route.filter(|_| answer.status().is_success()) {
        let route = route.as_str();
        if !OF_OPERATORS.iter().any(|prefix| route.starts_with(prefix)) {
            counters.read(route);
        }
    }
    answer
}

/// Those may be counted who have not said otherwise.
#[async_trait]
impl Consent for PreferenceStore {
    async fn allows(&self, user_id: &str) -> bool {
        self.of(user_id).await.is_ok_and(|preferences| preferences.is_counted())
    }
}
