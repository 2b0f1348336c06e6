//! Talking with an agent: over REST, or as an RPC; the answer streams into the conversation's channel meanwhile.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use mundotango_actors::{Engine, OwnedError};
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Maybe};
use mundotango_gateway::problem::{Code, Problem};
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::agents::{self, Agent};
use super::conversation::{Ask, KIND, NAMESPACE, Said};
use super::messages::TurnBody;
use super::store::{Conversation, ConversationStore, Speaker, Turn};
use crate::texts::{AgentText, Id};

/// How long a plain request waits for the whole answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two looks whether the answer is whole. Who wants it as it comes subscribes to the channel.
const LOOK: Duration = Duration::from_millis(150);

type Shared = State<Arc<LifeCeo>>;

pub(super) fn router(store: ConversationStore, engine: Arc<Engine>) -> OpenApiRouter {
    let life_ceo = Arc::new(LifeCeo { store, engine });
    OpenApiRouter::new().routes(routes!(chat)).routes(routes!(turns)).with_state(life_ceo)
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase", example = json!({"message": "Where can I dance on Friday?", "agentId": "travel", "stream": true}))]
struct NewMessage {
    message: AgentText,
    /// Who is to answer; the coordinator if absent. A conversation keeps its agent.
    #[deserr(default)]
    #[schema(value_type = Option<Agent>)]
    agent_id: Maybe<Agent>,
    /// The conversation to go on with; a new one if absent.
    #[deserr(default)]
    #[schema(value_type = Option<Id>)]
    conversation_id: Maybe<Id>,
    /// Names the turn, so that sending it again does not say it again.
    #[deserr(default)]
    #[schema(value_type = Option<Id>)]
    turn_id: Maybe<Id>,
    /// Whether to answer at once and let the channel tell the rest; waits for the whole answer if absent.
    #[deserr(default)]
    #[schema(required = false)]
    stream: bool,
}

/// An agent's answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// What the agent said; as much as there is so far.
    response: String,
    /// Whether that is all.
    finished: bool,
    /// The conversation.
    conversation_id: String,
    /// The user's turn.
    turn_id: String,
    /// Where the answer streams.
    channel: String,
}

/// What the routes share.
struct LifeCeo {
    store: ConversationStore,
    engine: Arc<Engine>,
}

impl LifeCeo {
    /// The user's own conversation; to others there is none.
    async fn own(&self, id: &str, user: &str) -> Result<Conversation, Problem> {
        let conversation = self.store.conversation(id).await?;
        conversation
            .filter(|conversation| conversation.user_id == user)
            .ok_or_else(|| Problem::not_found("conversation"))
    }

    async fn begin(&self, new_id: NewId, user_id: String, agent: Agent) -> Result<Conversation, Problem> {
        let conversation = Conversation {
            created_at: new_id.made_at(),
            id: new_id.into_text(),
            user_id,
            agent_id: agent.id.to_owned(),
        };
        self.store.create(&conversation).await?;
        Ok(conversation)
    }

    async fn ask(&self, id: &str, ask: &Ask) -> Result<Said, Problem> {
        let message = serde_json::to_vec(ask).map_err(|error| Problem::internal(&error))?;
        match self.engine.ask_owned(KIND, id, message.into()).await {
            Ok(answer) => serde_json::from_slice(&answer).map_err(|error| Problem::internal(&error)),
            Err(OwnedError::Busy) => {
                let busy =
                    Problem::new(StatusCode::CONFLICT, "the agent is still answering what was said before");
                Err(busy.with_code(Code::AgentBusy))
            }
            Err(OwnedError::Refused(why)) => Err(Problem::new(StatusCode::CONFLICT, why)),
            Err(error @ (OwnedError::Unavailable(_) | OwnedError::Fenced)) => {
                Err(Problem::unavailable(format!("{error}; send it again with the same turnId")))
            }
        }
    }

    /// The answer to the turn of a number, as far as it is said.
    async fn answer_to(&self, id: &str, number: u64) -> Result<Option<Turn>, Problem> {
        let turns = self.store.last_turns(id, 2).await?;
        Ok(turns.into_iter().find(|turn| turn.speaker == Speaker::Agent && turn.number == number + 1))
    }
}

/// Say something to an agent. The answer streams into `agent:{conversationId}`, which the conversation's user may
/// subscribe to; without `stream` it is also waited for.
#[utoipa::path(
    post, path = "/api/life-ceo/chat", operation_id = "sayToAgent", tag = "life-ceo", params(IdempotencyKey),
    request_body = NewMessage,
    responses(
        (status = OK, body = Answer), (status = ACCEPTED, body = Answer, description = "the answer is not whole yet"),
        (status = BAD_REQUEST, body = Problem), (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem, description = "the agent is still answering"),
    ),
)]
async fn chat(
    identity: Identity,
    new_id: NewId,
    State(life_ceo): Shared,
    ValidJson(body): ValidJson<NewMessage>,
) -> Result<(StatusCode, Json<Answer>), Problem> {
    let conversation = if let Some(id) = body.conversation_id.value() {
        life_ceo.own(&id.into_string(), &identity.user_id).await?
    } else {
        let agent = body.agent_id.value().unwrap_or(agents::COORDINATOR);
        life_ceo.begin(new_id.clone(), identity.user_id, agent).await?
    };
    let turn_id = body.turn_id.value().map_or_else(|| new_id.into_text(), Id::into_string);
    let ask = Ask::Say { turn_id: turn_id.clone(), text: body.message.into_string() };
    let said = life_ceo.ask(&conversation.id, &ask).await?;
    let until = Instant::now() + if body.stream { Duration::ZERO } else { ANSWER_WITHIN };
    let answer = loop {
        let answer = life_ceo.answer_to(&conversation.id, said.number).await?;
        if answer.as_ref().is_some_and(|turn| turn.finished) || Instant::now() >= until {
            break answer;
        }
        tokio::time::sleep(LOOK).await;
    };
    let finished = answer.as_ref().is_some_and(|turn| turn.finished);
    let status = if finished { StatusCode::OK } else { StatusCode::ACCEPTED };
    let answer = Answer {
        response: answer.map(|turn| turn.content).unwrap_or_default(),
        finished,
        channel: format!("{NAMESPACE}:{}", conversation.id),
        conversation_id: conversation.id,
        turn_id,
    };
    Ok((status, Json(answer)))
}

/// The turns of a conversation, in their order.
#[utoipa::path(
    get, path = "/api/life-ceo/conversations/{id}/turns", operation_id = "listTurns",
    tag = "life-ceo", params(PageQuery),
    responses((status = OK, body = PageBody<TurnBody>), (status = NOT_FOUND, body = Problem)),
)]
async fn turns(
    identity: Identity,
    State(life_ceo): Shared,
    Path(id): Path<String>,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<TurnBody>>, Problem> {
    life_ceo.own(&id, &identity.user_id).await?;
    let page = life_ceo.store.turns(&id, query.page.request()).await?;
    // Whatever page is read: only the last turn tells.
    let beyond = if page.next.is_some() { life_ceo.store.last_turns(&id, 1).await? } else { Vec::new() };
    let last = beyond.last().or(page.items.last());
    if last.is_some_and(|turn| !turn.finished || turn.speaker == Speaker::User) {
        // Its owner may be gone: whoever owns it now finishes the answer.
        life_ceo.ask(&id, &Ask::Wake).await?;
    }
    Ok(Json(query.page.body(page.map(TurnBody::from))))
}
