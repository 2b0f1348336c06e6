//! Routes that break actors on purpose. They exist only in builds for tests, and there only where the
//! environment asks for them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use mundotango_actors::{Engine, SessionMessage};
use mundotango_protocol::{ChannelName, ClientId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::ValidJson;
use crate::input::BadFields;
use crate::problem::Problem;

/// Without this variable a build that has the routes does not serve them.
const SWITCH: &str = "MUNDOTANGO_TEST_HOOKS";

/// Adds the routes where the environment asks for them.
pub(crate) fn add_to(routes: OpenApiRouter, engine: &Arc<Engine>) -> OpenApiRouter {
    if std::env::var_os(SWITCH).is_none_or(|value| value != "1") {
        return routes;
    }
    tracing::warn!("anybody can break actors of this node ({SWITCH})");
    routes.merge(
        OpenApiRouter::new().routes(routes!(panic)).routes(routes!(stall)).with_state(Arc::clone(engine)),
    )
}

/// Which actor; one of them.
#[derive(Deserr, utoipa::ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct Victim {
    #[deserr(default)]
    channel: Option<String>,
    #[deserr(default)]
    session: Option<String>,
    #[deserr(default)]
    keeper: Option<String>,
}

/// A channel's actor, and for how long it is busy.
#[derive(Deserr, utoipa::ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct Stall {
    channel: String,
    millis: u32,
}

/// Keeps a channel's actor from its other messages.
#[utoipa::path(post, path = "/api/test-hooks/stall", operation_id = "stall", tag = "test hooks", request_body = Stall, responses((status = NO_CONTENT)))]
async fn stall(
    State(engine): State<Arc<Engine>>,
    ValidJson(stall): ValidJson<Stall>,
) -> Result<StatusCode, Problem> {
    let name = ChannelName::parse(&stall.channel).map_err(|_| Problem::not_found("actor"))?;
    let found = engine.channels().stall(&name, Duration::from_millis(stall.millis.into()));
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("actor")) }
}

/// Makes an actor panic.
#[utoipa::path(
    post, path = "/api/test-hooks/panic", operation_id = "panic",
    tag = "test hooks", request_body = Victim, responses((status = NO_CONTENT)),
)]
async fn panic(
    State(engine): State<Arc<Engine>>,
    ValidJson(victim): ValidJson<Victim>,
) -> Result<StatusCode, Problem> {
    let found = if let Some(name) = victim.channel {
        match ChannelName::parse(&name) {
            Ok(name) => engine.channels().panic(&name).await,
            Err(_) => false,
        }
    } else if let Some(client) = victim.session {
        let session = ClientId::parse(&client).and_then(|client| engine.sessions().find(client));
        session.inspect(|session| session.tell(SessionMessage::Panic)).is_some()
    } else {
        victim.keeper.is_some_and(|name| engine.panic_keeper(&name))
    };
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("actor")) }
}
