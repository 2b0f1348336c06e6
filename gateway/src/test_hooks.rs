//! Routes that break actors on purpose. They exist only in builds for tests, and there only where the
//! environment asks for them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use garde::Validate;
use mundotango_actors::{Engine, SessionMessage};
use mundotango_protocol::{ChannelName, ClientId};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::ValidJson;
use crate::problem::Problem;

/// Without this variable a build that has the routes does not serve them.
const SWITCH: &str = "MUNDOTANGO_TEST_HOOKS";

/// Adds the routes where the environment asks for them.
pub(crate) fn add_to(routes: OpenApiRouter, engine: &Arc<Engine>) -> OpenApiRouter {
    if std::env::var_os(SWITCH).is_none_or(|value| value != "1") {
        return routes;
    }
    tracing::warn!("anybody can break actors of this node ({SWITCH})");
    routes.merge(OpenApiRouter::new().routes(routes!(panic)).with_state(Arc::clone(engine)))
}

#[derive(Deserialize, Validate, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[garde(allow_unvalidated)]
enum Victim {
    Channel(String),
    Session(String),
    Keeper(String),
}

/// Makes an actor panic.
#[utoipa::path(post, path = "/api/test-hooks/panic", tag = "test hooks", request_body = Victim, responses((status = NO_CONTENT)))]
async fn panic(
    State(engine): State<Arc<Engine>>,
    ValidJson(victim): ValidJson<Victim>,
) -> Result<StatusCode, Problem> {
    let found = match victim {
        Victim::Channel(name) => match ChannelName::parse(&name) {
            Ok(name) => engine.channels().panic(&name).await,
            Err(_) => false,
        },
        Victim::Session(client) => ClientId::parse(&client)
            .and_then(|client| engine.sessions().find(client))
            .inspect(|session| session.tell(SessionMessage::Panic))
            .is_some(),
        Victim::Keeper(name) => engine.panic_keeper(&name),
    };
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("actor")) }
}
