//! "Trace this user for ten minutes": what is traced always, on all nodes, and the routes by which admins say so.
//!
//! The list lies in the store. A node that changes it tells the others, which read it again; each also reads it now and
//! then, as a word may be lost and entries end.

pub(crate) mod store;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use deserr::Deserr;
use jiff::SignedDuration;
use mundotango_actors::{Engine, Pace, TopicHandler, Vitals};
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::input::{BadFields, Maybe, Time, Whole};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_ops::traces;
use mundotango_storage::db::Db;
use mundotango_storage::{StoreError, now};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::store::{Chosen, ChosenStore, What, always};
use crate::community::audit::rules::Act;
use crate::community::audit::store::AuditStore;
use crate::community::roles::{self, Role};
use crate::texts::{Id, Title};

/// On what nodes tell each other that the list changed.
const TOPIC: &str = "traces";
/// How often the list is read again.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// What the routes need.
#[derive(Clone)]
struct TracesState {
    store: ChosenStore,
    engine: Arc<Engine>,
    audit: AuditStore,
}

/// The routes. From now on the node traces what is in the list, if it sends traces anywhere.
pub(crate) fn router(db: &Db, engine: &Arc<Engine>, audit: AuditStore) -> OpenApiRouter {
    let store = ChosenStore(db.clone());
    if traces::is_on() {
        engine.set_topic(TOPIC, Arc::new(Hearer(store.clone())));
        let reader = store.clone();
        engine.keep_running("traces", Pace::OnDemand, move |vitals| {
            let reader = reader.clone();
            Box::pin(async move { read_again(&reader, &vitals).await })
        });
    }
    let state = TracesState { store, engine: Arc::clone(engine), audit };
    OpenApiRouter::new().routes(routes!(list, choose)).routes(routes!(forget)).with_state(state)
}

/// Hears that another node changed the list.
struct Hearer(ChosenStore);

#[async_trait]
impl TopicHandler for Hearer {
    async fn handle(&self, _: Bytes) -> Result<Bytes, String> {
        self.0.take_over().await.map_err(|error| error.to_string())?;
        Ok(Bytes::new())
    }
}

impl ChosenStore {
    /// Has this node trace what is in the list now.
    async fn take_over(&self) -> Result<(), StoreError> {
        traces::choose_always(always(self.all().await?));
        Ok(())
    }
}

async fn read_again(store: &ChosenStore, vitals: &Vitals) {
    loop {
        if let Err(error) = store.take_over().await {
            tracing::debug!(%error, "the list of what is traced always was not read");
        }
        vitals.handled();
        tokio::time::sleep(READ_AGAIN).await;
    }
}

/// Something that is traced always; one of `user`, `channel` and `command` is there.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ChosenBody {
    /// Its id in this list.
    id: String,
    /// The id of a user whose commands and requests are traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user: Option<String>,
    /// A channel whose publications and commands are traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    channel: Option<String>,
    /// A command of sockets such as `subscribe`, or a route such as `POST /api/posts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    command: Option<String>,
    /// Until when.
    until: Time,
    /// The id of the admin who said so.
    by: String,
}

impl From<Chosen> for ChosenBody {
    fn from(chosen: Chosen) -> Self {
        let Chosen { id, what, until, by } = chosen;
        let (user, channel, command) = match what {
            What::User(user) => (Some(user), None, None),
            What::Channel(channel) => (None, Some(channel), None),
            What::Command(command) => (None, None, Some(command)),
        };
        Self { id, user, channel, command, until: until.into(), by }
    }
}

/// What is traced always.
#[derive(Debug, Serialize, ToSchema)]
struct ChosenList {
    items: Vec<ChosenBody>,
}

/// What is to be traced; one of `user`, `channel` and `command`.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase", example = json!({"command": "POST /api/posts", "minutes": 10}))]
struct NewChosen {
    /// The id of a user: all requests and commands.
    #[deserr(default)]
    #[schema(value_type = Option<Id>)]
    user: Maybe<Id>,
    /// The name of a channel: all publications into it and commands about it.
    #[deserr(default)]
    #[schema(value_type = Option<Title>)]
    channel: Maybe<Title>,
    /// The name of a command of sockets such as `subscribe`, or a route such as `POST /api/posts/{id}`.
    #[deserr(default)]
    #[schema(value_type = Option<Title>)]
    command: Maybe<Title>,
    /// For how many minutes.
    #[schema(value_type = u32, minimum = 1, maximum = 60)]
    minutes: Whole<1, 60>,
}

impl NewChosen {
    fn what(self) -> Result<What, Problem> {
        let user = self.user.value().map(|user| What::User(user.into_string()));
        let channel = self.channel.value().map(|channel| What::Channel(channel.into_string()));
        let command = self.command.value().map(|command| What::Command(command.into_string()));
        let mut given = [user, channel, command].into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(what), None) => Ok(what),
            (None, _) => Err(Problem::invalid_field(
                "user",
                FieldCode::Missing,
                "one of user, channel and command must be there",
            )),
            (Some(_), Some(_)) => Err(Problem::invalid_field(
                "user",
                FieldCode::Contradiction,
                "user, channel and command exclude each other",
            )),
        }
    }
}

/// What is traced always; for admins.
#[utoipa::path(
    get, path = "/api/admin/system/traces", operation_id = "listTraces", tag = "system",
    responses((status = OK, body = ChosenList), (status = FORBIDDEN, body = Problem)),
)]
async fn list(identity: Identity, State(state): State<TracesState>) -> Result<Json<ChosenList>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let items = state.store.all().await?.into_iter().map(ChosenBody::from).collect();
    Ok(Json(ChosenList { items }))
}

/// Trace a user, a channel or a command always, on all nodes, for some minutes, whatever `traces.ratio` says; for admins.
#[utoipa::path(
    post, path = "/api/admin/system/traces", operation_id = "createTrace", tag = "system",
    request_body = NewChosen,
    responses(
        (status = CREATED, body = ChosenBody), (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = CONFLICT, body = Problem, description = "traces are sent nowhere"),
        (status = INSUFFICIENT_STORAGE, body = Problem, description = "100 are traced already"),
    ),
)]
async fn choose(
    identity: Identity,
    State(state): State<TracesState>,
    ValidJson(body): ValidJson<NewChosen>,
) -> Result<(StatusCode, Json<ChosenBody>), Problem> {
    roles::require(&identity, Role::Admin)?;
    let until = now() + SignedDuration::from_mins(i64::from(body.minutes.get()));
    let what = body.what()?;
    if !traces::is_on() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "traces are sent nowhere: traces.endpoint is not set here",
        ));
    }
    let act = Act::by(&identity, "trace.chosen", "trace", "", now());
    let act = act.with("what", format!("{what:?}")).with("until", until.to_string());
    state.audit.note(act).await?;
    let chosen = state.store.add(what, until, identity.user_id.clone()).await?;
    state.changed().await?;
    tracing::info!(what = ?chosen.what, until = %chosen.until, admin = identity.user_id, "traced always for a while");
    Ok((StatusCode::CREATED, Json(chosen.into())))
}

/// Trace something no longer than the rest; for admins.
#[utoipa::path(
    delete, path = "/api/admin/system/traces/{id}", operation_id = "removeTrace", tag = "system",
    responses((status = NO_CONTENT), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem)),
)]
async fn forget(
    identity: Identity,
    State(state): State<TracesState>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    roles::require(&identity, Role::Admin)?;
    state.audit.note(Act::by(&identity, "trace.removed", "trace", &*id, now())).await?;
    if !state.store.remove(id.clone()).await? {
        return Err(Problem::not_found("trace"));
    }
    state.changed().await?;
    tracing::info!(id, admin = identity.user_id, "no longer traced always");
    Ok(StatusCode::NO_CONTENT)
}

impl TracesState {
    /// Takes the list over here, and has all other nodes do so.
    async fn changed(&self) -> Result<(), StoreError> {
        if traces::is_on() {
            self.store.take_over().await?;
        }
        self.engine.tell_topic(TOPIC, Bytes::new()).await;
        Ok(())
    }
}
