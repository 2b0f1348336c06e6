//! A conversation's actor: it stores what the user says, and streams the answer into the conversation's channel.
//!
//! Each piece of an answer is in the store, under the actor's fence, before it is published. So what clients see was
//! written by the one owner of its time, and the next owner goes on from there.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_actors::{Engine, OwnedActor, OwnedError, OwnedKind, Publish};
use mundotango_ops::traces::{Kind, Span, current, within};
use mundotango_protocol::{ChannelName, Publication, new_id};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::agents::script;
use super::messages::{AgentMessage, TurnBody};
use super::store::{Conversation, ConversationStore, Fence, Speaker, Turn, TurnError};

/// The namespace of the channels into which answers stream: `agent:{conversationId}`.
pub(super) const NAMESPACE: &str = "agent";
/// The kind of actor that a conversation is.
pub(super) const KIND: &str = "conversation";
/// Words of an answer that are stored and published together.
const WORDS_AT_ONCE: usize = 4;
/// Pause between them, as somebody who speaks makes.
const PACE: Duration = Duration::from_millis(40);
/// Turns that an actor has in memory: what it looks back on, and by which it knows a turn again.
const REMEMBERED: usize = 100;

/// What a conversation can be asked.
#[derive(Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(super) enum Ask {
    /// The user says something. The turn's id tells a repetition.
    Say { turn_id: String, text: String },
    /// Go on with an answer that was left unfinished.
    Wake,
}

/// What it answers.
#[derive(Serialize, Deserialize)]
pub(super) struct Said {
    /// The place of the user's turn; 0 for a wake-up.
    pub(super) number: u64,
}

/// How conversations are started.
pub(super) struct Conversations {
    store: ConversationStore,
    engine: Weak<Engine>,
}

struct Actor {
    store: ConversationStore,
    engine: Weak<Engine>,
    conversation: Conversation,
    channel: ChannelName,
    fence: Fence,
    /// The last turns, in their order.
    turns: Vec<Turn>,
    /// When it said something last.
    spoke_at: Instant,
    /// The answer under way: a trace of its own, as it goes on long after whoever asked has got an answer.
    answering: Span,
}

impl Conversations {
    pub(super) fn new(store: ConversationStore, engine: &Arc<Engine>) -> Self {
        Self { store, engine: Arc::downgrade(engine) }
    }
}

fn unavailable(error: &StoreError) -> OwnedError {
    OwnedError::Unavailable(error.to_string())
}

fn written<T>(outcome: Result<T, TurnError>) -> Result<T, OwnedError> {
    let error = match outcome {
        Ok(value) => return Ok(value),
        Err(TurnError::Fenced) => return Err(OwnedError::Fenced),
        Err(TurnError::Store(error)) => error,
    };
    match error {
        StoreError::Full(what) => Err(OwnedError::Refused(StoreError::Full(what).to_string())),
        // It may have been written: what is in memory is not to be trusted any more, so the actor starts anew.
        error @ StoreError::Unknown(_) => {
            tracing::warn!(%error, KIND, "outcome of a write unknown");
            Err(OwnedError::Fenced)
        }
        error => Err(unavailable(&error)),
    }
}

#[async_trait]
impl OwnedKind for Conversations {
    async fn activate(&self, id: &str) -> Result<Box<dyn OwnedActor>, OwnedError> {
        let gone = || OwnedError::Refused("there is no such conversation".to_owned());
        // The fence first: nobody writes any more when the turns are read.
        let fence = self.store.take_over(id).await.map_err(|error| unavailable(&error))?.ok_or_else(gone)?;
        let conversation = self.store.conversation(id).await.map_err(|error| unavailable(&error))?;
        let turns = self.store.last_turns(id, REMEMBERED).await.map_err(|error| unavailable(&error))?;
        let channel = ChannelName::parse(&format!("{NAMESPACE}:{id}")).map_err(|_| gone())?;
        tracing::debug!(id, fence = fence.0, "conversation taken over");
        Ok(Box::new(Actor {
            store: self.store.clone(),
            engine: Weak::clone(&self.engine),
            conversation: conversation.ok_or_else(gone)?,
            channel,
            fence,
            turns,
            spoke_at: Instant::now(),
            answering: Span::none(),
        }))
    }
}

impl Actor {
    async fn add(
        &mut self,
        id: String,
        speaker: Speaker,
        content: String,
        finished: bool,
    ) -> Result<u64, OwnedError> {
        let turn = Turn { number: 0, id, speaker, content, finished, created_at: mundotango_storage::now() };
        let number = written(self.store.add_turn(&self.conversation.id, self.fence, turn.clone()).await)?;
        let turn = Turn { number, ..turn };
        if self.turns.len() >= REMEMBERED {
            self.turns.remove(0);
        }
        self.turns.push(turn.clone());
        self.announce(&AgentMessage::Turn { turn: TurnBody::from(turn) }).await;
        Ok(number)
    }

    async fn announce(&self, message: &AgentMessage) {
        let (Some(engine), Ok(data)) = (self.engine.upgrade(), serde_json::to_vec(message)) else { return };
        let publication = Publication { data: Bytes::from(data), ..Publication::default() };
        if let Err(error) = engine.publish(&self.channel, Publish::new(publication)).await {
            tracing::warn!(%error, channel = %self.channel, "turn not published");
        }
    }

    async fn say(&mut self, turn_id: String, text: String) -> Result<Said, OwnedError> {
        if let Some(known) = self.turns.iter().find(|turn| turn.id == turn_id) {
            return Ok(Said { number: known.number });
        }
        if self.turns.last().is_some_and(|turn| turn.speaker == Speaker::User || !turn.finished) {
            return Err(OwnedError::Busy);
        }
        let number = self.add(turn_id, Speaker::User, text, true).await?;
        self.answering = Span::linked_to(current(), "invoke_agent", Kind::Client);
        if let Some(span) = self.answering.recorded() {
            // Names of the OpenTelemetry semantic conventions for generative AI.
            span.set("gen_ai.operation.name", "invoke_agent")
                .set("gen_ai.agent.id", &self.conversation.agent_id);
            span.set("gen_ai.conversation.id", &self.conversation.id);
        }
        Ok(Said { number })
    }

    /// Says the next words of the answer that is due.
    async fn answer_on(&mut self) -> Result<(), OwnedError> {
        let Some(last) = self.turns.last() else { return Ok(()) };
        if last.speaker == Speaker::User {
            self.add(new_id(), Speaker::Agent, String::new(), false).await?;
            return Ok(());
        }
        let asked = self.turns.iter().rev().find(|turn| turn.speaker == Speaker::User);
        let script = script(&self.conversation.agent_id, asked.map_or("", |turn| &turn.content));
        let mut said = String::with_capacity(script.iter().map(String::len).sum());
        let mut rest = script.iter();
        // What an owner before has said already.
        while said.len() < last.content.len()
            && let Some(word) = rest.next()
        {
            said.push_str(word);
        }
        let from = last.content.len();
        let words: String = rest.by_ref().take(WORDS_AT_ONCE).map(String::as_str).collect();
        said.push_str(&words);
        let finished = rest.next().is_none();
        let number = last.number;
        written(self.store.set_turn(&self.conversation.id, self.fence, number, &said, finished).await)?;
        if let Some(last) = self.turns.last_mut() {
            last.content = said;
            last.finished = finished;
        }
        self.announce(&AgentMessage::Delta { number, from, text: words }).await;
        if finished && let Some(turn) = self.turns.last().cloned() {
            self.announce(&AgentMessage::Turn { turn: TurnBody::from(turn) }).await;
            let labels = [self.conversation.agent_id.as_str(), "success"];
            mundotango_ops::metrics().life_ceo_agent_invocations_total.with_label_values(&labels).inc();
            std::mem::take(&mut self.answering).end();
        }
        Ok(())
    }
}

#[async_trait]
impl OwnedActor for Actor {
    async fn handle(&mut self, message: Bytes) -> Result<Bytes, OwnedError> {
        let ask = serde_json::from_slice(&message).map_err(|error| OwnedError::Refused(error.to_string()))?;
        let said = match ask {
            Ask::Say { turn_id, text } => self.say(turn_id, text).await?,
            Ask::Wake => Said { number: 0 },
        };
        serde_json::to_vec(&said).map(Bytes::from).map_err(|error| OwnedError::Refused(error.to_string()))
    }

    async fn wait(&mut self) {
        match self.turns.last() {
            Some(last) if last.speaker == Speaker::User || !last.finished => {
                // A point in time, as those who ask meanwhile make this begin anew.
                tokio::time::sleep_until(self.spoke_at + PACE).await;
            }
            _ => std::future::pending().await,
        }
    }

    async fn proceed(&mut self) -> Result<(), OwnedError> {
        let span = self.answering.context();
        let outcome = within(span, self.answer_on()).await;
        self.spoke_at = Instant::now();
        outcome
    }
}
