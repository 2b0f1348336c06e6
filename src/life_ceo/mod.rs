//! The Life CEO: agents that a user talks with, one conversation an actor.

mod agents;
mod chat;
mod conversation;
mod messages;
pub mod store;

use std::sync::Arc;

use async_trait::async_trait;
use mundotango_actors::{ChannelGate, Engine};
use mundotango_protocol::ChannelName;
use mundotango_storage::db::Db;
use utoipa_axum::router::OpenApiRouter;

use conversation::{Conversations, KIND, NAMESPACE};
pub(crate) use messages::AgentMessage;
use store::ConversationStore;

/// Lets a conversation's user alone into its channel.
struct OwnConversation(ConversationStore);

#[async_trait]
impl ChannelGate for OwnConversation {
    async fn may_subscribe(&self, user: &str, channel: &ChannelName) -> Result<bool, String> {
        let Some(id) = channel.as_str().strip_prefix(NAMESPACE).and_then(|rest| rest.strip_prefix(':'))
        else {
            return Ok(false);
        };
        let conversation = self.0.conversation(id).await.map_err(|error| error.to_string())?;
        Ok(conversation.is_some_and(|conversation| conversation.user_id == user))
    }
}

/// Makes the metrics of an agent, so that none appears only when it counts.
fn touch_metrics(agent: &str) {
    let metrics = mundotango_ops::metrics();
    for status in ["success", "failed"] {
        metrics.life_ceo_agent_invocations_total.with_label_values(&[agent, status]);
    }
    for counter in [&metrics.agent_tasks_completed_total, &metrics.agent_tasks_failed_total] {
        counter.with_label_values(&[agent]);
    }
    for gauge in [&metrics.agent_queue_depth, &metrics.agent_concurrent_tasks] {
        gauge.with_label_values(&[agent]);
    }
    metrics.agent_task_duration_seconds.with_label_values(&[agent]);
}

/// The Life CEO's routes; its actors run in the engine from then on.
pub fn router(db: Db, engine: Arc<Engine>) -> OpenApiRouter {
    let store = ConversationStore::new(db);
    engine.set_kind(KIND, Arc::new(Conversations::new(store.clone(), &engine)));
    engine.set_gate(NAMESPACE, Arc::new(OwnConversation(store.clone())));
    for agent in agents::AGENTS {
        touch_metrics(agent.id);
    }
    chat::router(store, engine)
}
