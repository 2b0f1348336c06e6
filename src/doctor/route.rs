//! The findings of a running node, for admins: what it can look at without asking other machines, and how its parts are.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{HealthCheck, Identity};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::finding::Finding;
use super::{look_here, node, sorted};
use crate::community::roles::{self, Role};
use crate::config::Config;

/// How long what was found is told to others who ask.
const FRESH_FOR: Duration = Duration::from_mins(1);

/// What the route needs.
struct Doctor {
    config: Arc<Config>,
    file: Option<PathBuf>,
    health: Arc<dyn HealthCheck>,
    // Held while a look is under way: those who ask meanwhile wait for its result instead of looking too.
    last: Mutex<Option<(Instant, Findings)>>,
}

/// What was found.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Findings {
    /// When it was looked.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The worst first.
    findings: Vec<Finding>,
}

/// The route. `config` is the configuration before it was fitted to the machine, `file` where it came from.
pub(crate) fn router(
    config: Arc<Config>,
    file: Option<PathBuf>,
    health: Arc<dyn HealthCheck>,
) -> OpenApiRouter {
    let doctor = Doctor { config, file, health, last: Mutex::default() };
    OpenApiRouter::new().routes(routes!(findings)).with_state(Arc::new(doctor))
}

/// What is wrong with this node's configuration, machine, disk, certificates and parts, why it matters and what to do. Looked
/// at once a minute at most. `mundotango doctor` looks at the engines and the mail server as well.
#[utoipa::path(
    get, path = "/api/admin/system/findings", operation_id = "listFindings", tag = "system",
    responses((status = OK, body = Findings), (status = FORBIDDEN, body = Problem)),
)]
async fn findings(identity: Identity, State(doctor): State<Arc<Doctor>>) -> Result<Json<Findings>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let mut last = doctor.last.lock().await;
    if let Some((at, found)) = &*last
        && at.elapsed() < FRESH_FOR
    {
        return Ok(Json(found.clone()));
    }
    let here = look_here(Arc::clone(&doctor.config), doctor.file.clone());
    let (mut found, parts) = tokio::join!(here, doctor.health.parts());
    found.extend(node::of_parts(&parts));
    found.extend(node::of_search(mundotango_ops::metrics().search_lag_seconds.get()));
    let found = Findings { at: Timestamp::now(), findings: sorted(found) };
    *last = Some((Instant::now(), found.clone()));
    Ok(Json(found))
}
