//! One actor of the running node or of another one, closely, for operators.

use axum::Json;
use axum::extract::State;
use mundotango_actors::{ActorView, Doing, Failure, HandledMessage};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::Path;
use crate::identity::Identity;
use crate::input::Time;
use crate::problem::Problem;
use crate::system::{SystemState, actor_id};

pub(crate) fn router(state: SystemState) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(actor)).with_state(state)
}

/// A message that an actor handled.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct ActorMessage {
    /// When its handling began.
    at: Time,
    /// The kind of message.
    kind: String,
    /// Size of what it carries, in bytes.
    bytes: u32,
    /// How long it waited in the mailbox, in microseconds; absent where that is not known, as of what a client sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    waited_micros: Option<u32>,
    /// How long its handling took, in microseconds.
    took_micros: u32,
    /// The id of the trace that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    trace_id: Option<String>,
    /// Whether its handling ended by a panic.
    panicked: bool,
}

impl From<HandledMessage> for ActorMessage {
    fn from(message: HandledMessage) -> Self {
        Self {
            at: message.at.into(),
            kind: message.kind.into_owned(),
            bytes: message.bytes,
            waited_micros: message.waited_micros,
            took_micros: message.took_micros,
            trace_id: message.trace_id,
            panicked: message.panicked,
        }
    }
}

/// What an actor does at the moment.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct ActorDoing {
    /// The kind of message that it handles.
    kind: String,
    /// Since when.
    since: Time,
}

impl From<Doing> for ActorDoing {
    fn from(doing: Doing) -> Self {
        Self { kind: doing.kind.into_owned(), since: doing.since.into() }
    }
}

/// A crash of an actor.
#[derive(Serialize, utoipa::ToSchema)]
struct ActorFailure {
    /// When.
    at: Time,
    /// The text of the panic.
    reason: String,
    /// The actor's last messages then, the oldest first; 64 at most.
    messages: Vec<ActorMessage>,
}

impl From<Failure> for ActorFailure {
    fn from(failure: Failure) -> Self {
        Self {
            at: failure.at.into(),
            reason: failure.reason,
            messages: failure.messages.into_iter().map(ActorMessage::from).collect(),
        }
    }
}

/// One actor.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct ActorDetails {
    /// Its id.
    id: String,
    /// The id of its node.
    node: String,
    /// `supervisor`, `keeper`, `task`, `session`, `channel` or `owned`.
    kind: String,
    /// Its name in the tree.
    name: String,
    /// The names of those above it in the tree, and its own.
    path: Vec<String>,
    /// `running`, `draining`, `restarting`, `hung`, or `ended` for one that is known by its crash alone.
    state: &'static str,
    /// Since when it runs, or last started anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    since: Option<Time>,
    /// How often it was started anew after a crash.
    restarts: u32,
    /// Messages that wait in its mailbox.
    mailbox_depth: usize,
    /// Messages that may wait there; absent where there is no mailbox. Of a channel these are publications.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    mailbox_bound: Option<usize>,
    /// Messages that it has handled.
    messages_handled: u64,
    /// When it was done with a message last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_progress: Option<Time>,
    /// What it does at the moment; absent while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    doing: Option<ActorDoing>,
    /// Its last crashes, the newest first. The node remembers the last few of each actor and 64 below each keeper.
    failures: Vec<ActorFailure>,
    /// Its last messages, the oldest first; 64 at most, and fewer where others of its threads were busy since.
    messages: Vec<ActorMessage>,
}

impl ActorDetails {
    fn new(node: &str, kind: &str, name: &str, view: ActorView) -> Self {
        let keeper = view.keeper.as_deref();
        let above = (kind != "supervisor").then_some("root");
        let path = above.into_iter().chain(keeper).chain([name]).map(str::to_owned).collect();
        let actor = view.actor.as_ref();
        Self {
            id: actor_id(node, kind, name),
            node: node.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            path,
            state: actor.map_or("ended", |actor| actor.state.as_str()),
            since: actor.map(|actor| actor.since.into()),
            restarts: actor.map_or(0, |actor| actor.restarts),
            mailbox_depth: actor.map_or(0, |actor| actor.mailbox_depth),
            mailbox_bound: view.mailbox_bound,
            messages_handled: actor.map_or(0, |actor| actor.messages_handled),
            last_progress: actor.and_then(|actor| actor.last_progress).map(Time),
            doing: view.doing.map(ActorDoing::from),
            failures: view.failures.into_iter().map(ActorFailure::from).collect(),
            messages: view.messages.into_iter().map(ActorMessage::from).collect(),
        }
    }
}

/// One actor, of whichever node: its state, its last crashes, and what it handled last.
#[utoipa::path(
    get, path = "/api/admin/system/actors/{id}", operation_id = "getActor", tag = "system",
    params(("id" = String, Path, description = "The actor's id, as the tree and the lists of what is slow have it.")),
    responses(
        (status = OK, body = ActorDetails), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem),
        (status = SERVICE_UNAVAILABLE, body = Problem, description = "Its node does not answer."),
    ),
)]
async fn actor(
    identity: Identity,
    State(state): State<SystemState>,
    Path(id): Path<String>,
) -> Result<Json<ActorDetails>, Problem> {
    state.admit(&identity)?;
    let mut parts = id.splitn(3, '.');
    let (Some(node), Some(kind), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Problem::not_found("actor"));
    };
    let view = state.engine.actor_of(node, kind, name).await?;
    let view = view.ok_or_else(|| Problem::not_found("actor"))?;
    Ok(Json(ActorDetails::new(node, kind, name, view)))
}
