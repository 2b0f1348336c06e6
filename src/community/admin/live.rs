//! `staff:queue`: what changes in the queues, for those who work on them; and what those are told who opened a case.

use std::sync::Arc;

use async_trait::async_trait;
use mundotango_actors::{ChannelGate, Engine};
use mundotango_gateway::input::Time;
use mundotango_protocol::ChannelName;
use mundotango_storage::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::desk::{Case, Kept};
use super::work::{State, Workflow};
use crate::community::accounts::store::AccountStore;
use crate::community::effects::Effect;
use crate::community::personal_channel;
use crate::community::roles::Role;

/// The namespace of the channels of those who work on cases.
const NAMESPACE: &str = "staff";
/// What changes in all queues.
const QUEUE: &str = "staff:queue";

/// What `staff:queue` publishes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum QueueMessage {
    /// A case was opened, or changed.
    #[serde(rename = "queue.changed", rename_all = "camelCase")]
    Changed {
        workflow: Workflow,
        id: String,
        state: State,
        /// Who works on it, or did last; null for safety reviews, as those hear this too whom one is about.
        #[schema(required = true)]
        assignee_id: Option<String>,
        /// Until when something is to be done.
        due: Time,
        /// Rises with each change.
        version: u64,
    },
}

/// What the personal channel publishes of a case that the user opened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum CaseMessage {
    /// It changed.
    #[serde(rename = "case.changed", rename_all = "camelCase")]
    Changed {
        workflow: Workflow,
        id: String,
        state: State,
        /// Rises with each change.
        version: u64,
    },
}

/// Tells those who work on cases of one.
pub(super) fn to_staff<C: Case>(case: &Kept<C>) -> Result<Effect, StoreError> {
    let assignee = case.work.assignee.clone();
    let message = QueueMessage::Changed {
        workflow: C::WORKFLOW,
        id: case.id.clone(),
        state: case.work.state,
        assignee_id: assignee.filter(|_| C::WORKFLOW != Workflow::Safety),
        due: case.due().into(),
        version: case.work.version,
    };
    Effect::publish(QUEUE, &message)
}

/// Tells who opened a case of it, and those who work on cases.
pub(super) fn to_all<C: Case>(case: &Kept<C>) -> Result<Vec<Effect>, StoreError> {
    let mut effects = vec![to_staff(case)?];
    if let Some(user_id) = case.opened_by() {
        let message = CaseMessage::Changed {
            workflow: C::WORKFLOW,
            id: case.id.clone(),
            state: case.work.state,
            version: case.work.version,
        };
        effects.push(Effect::publish(personal_channel(user_id), &message)?);
    }
    Ok(effects)
}

/// Lets those in who work on cases, by the role that their account has now.
struct Staff(AccountStore);

#[async_trait]
impl ChannelGate for Staff {
    async fn may_subscribe(&self, user: &str, channel: &ChannelName) -> Result<bool, String> {
        if channel.as_str() != QUEUE {
            return Ok(false);
        }
        let user = self.0.user(user).await.map_err(|error| error.to_string())?;
        Ok(user.is_some_and(|user| user.role >= Role::Moderator))
    }
}

/// Opens the channel of those who work on cases.
pub(in crate::community) fn start(accounts: &AccountStore, engine: &Engine) {
    engine.set_gate(NAMESPACE, Arc::new(Staff(accounts.clone())));
}
