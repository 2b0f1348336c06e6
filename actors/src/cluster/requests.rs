//! Requests between nodes: to one node, to all, and the answers to theirs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mundotango_ops::traces::{Kind, Span};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::answers::{Everywhere, NodeError};
use super::messages::{Envelope, NodeRequest, Reply};
use super::{Cluster, Perform};
use crate::bus::{BusError, BusMessage};
use crate::tasks::IDLE_TICK;
use crate::vitals::Vitals;

/// The subject of requests to all nodes.
const EVERYBODY: &str = "nodes.all";
/// How long a node is waited for.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an actor on another node is waited for, which may have to be started first.
const OWNED_TIMEOUT: Duration = Duration::from_secs(8);

/// The bus subject of requests to one node.
fn subject_of(node: &str) -> String {
    format!("nodes.{node}")
}

impl Cluster {
    /// Asks all other nodes.
    pub(crate) async fn ask_others(&self, request: NodeRequest) -> Everywhere<Vec<(String, Value)>> {
        let mut waited_for = self.members.ids();
        let mut all = Everywhere { answers: Vec::new(), missing: waited_for.len() };
        if waited_for.is_empty() {
            return all;
        }
        let asked = Envelope { from: self.identity.id.clone(), request };
        let Ok(payload) = serde_json::to_vec(&asked) else { return all };
        // A node that has just joined may answer as well: only the answers of known members end the wait.
        let mut answered = BTreeMap::new();
        let mut is_enough = |payload: &Bytes| {
            if let Ok(answer) = serde_json::from_slice::<Reply>(payload) {
                waited_for.remove(&answer.node);
                answered.insert(answer.node.clone(), answer);
            }
            waited_for.is_empty()
        };
        if let Err(error) = self.bus.survey(EVERYBODY, payload.into(), &mut is_enough, SURVEY_TIMEOUT).await {
            tracing::warn!(%error, "other nodes not asked");
            return all;
        }
        all.missing = waited_for.len();
        for (node, answer) in answered {
            match answer.error {
                None => all.answers.push((node, answer.answer)),
                Some(error) => {
                    tracing::warn!(node, error, "a node refused a request");
                    all.missing += 1;
                }
            }
        }
        if all.missing > 0 {
            tracing::warn!(missing = all.missing, answered = all.answers.len(), "not all nodes answered");
        }
        all
    }

    /// Asks another node.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        node: &str,
        request: NodeRequest,
    ) -> Result<T, NodeError> {
        // The name may be a client's text: it must be a node's, not that of a subject which all nodes hear.
        if !self.members.has(node) {
            return Err(NodeError::Gone);
        }
        let refused = |error: serde_json::Error| NodeError::Refused(error.to_string());
        let owned = matches!(request, NodeRequest::Owned(_));
        let timeout = if owned { OWNED_TIMEOUT } else { SURVEY_TIMEOUT };
        let asked = Envelope { from: self.identity.id.clone(), request };
        let payload = serde_json::to_vec(&asked).map_err(refused)?;
        let answer = self.bus.request(&subject_of(node), payload.into(), timeout).await;
        let answer = answer.map_err(|error| match error {
            BusError::NoResponders => NodeError::Gone,
            _ => NodeError::Unavailable,
        })?;
        let reply: Reply = serde_json::from_slice(&answer).map_err(refused)?;
        match reply.error {
            Some(error) => Err(NodeError::Refused(error)),
            None => serde_json::from_value(reply.answer).map_err(refused),
        }
    }

    async fn answer(&self, node: &dyn Perform, message: &BusMessage, asked: Envelope<NodeRequest>) {
        tracing::debug!(from = asked.from, "asked by another node");
        let outcome = node.perform(asked.request).await;
        let mut replied = self.reply(message, outcome).await;
        if let Err(error @ BusError::TooLarge { .. }) = replied {
            // Silence would look like a dead node.
            replied = self.reply(message, Err(format!("the answer is too large: {error}"))).await;
        }
        if let Err(error) = replied {
            tracing::warn!(%error, "answer not sent");
        }
    }

    /// Reads a request and gives it a place among those that are worked on.
    async fn admit(
        &self,
        message: &BusMessage,
    ) -> Result<(Envelope<NodeRequest>, OwnedSemaphorePermit), String> {
        let asked: Envelope<NodeRequest> =
            serde_json::from_slice(&message.payload).map_err(|error| format!("not understood: {error}"))?;
        let permit = if matches!(asked.request, NodeRequest::Topic { .. }) {
            self.topics.admit()?
        } else {
            let permit = Arc::clone(&self.requests).acquire_owned().await;
            permit.map_err(|_| "the node ends".to_owned())?
        };
        Ok((asked, permit))
    }

    async fn reply(&self, message: &BusMessage, outcome: Result<Value, String>) -> Result<(), BusError> {
        let node = self.identity.id.clone();
        let answer = match outcome {
            Ok(answer) => Reply { node, answer, error: None },
            Err(error) => Reply { node, answer: Value::Null, error: Some(error) },
        };
        let payload = serde_json::to_vec(&answer).unwrap_or_default();
        self.bus.reply(message, payload.into()).await
    }

    /// Answers the requests to this node and those to all nodes.
    pub(super) async fn answer_requests(self: &Arc<Self>, node: Arc<dyn Perform>, vitals: &Vitals) {
        let Some(mut own) = self.listen(&subject_of(&self.identity.id)).await else { return };
        let Some(mut everybody) = self.listen(EVERYBODY).await else { return };
        loop {
            vitals.handled();
            let message = tokio::select! {
                message = own.next() => message,
                message = everybody.next() => message,
                () = tokio::time::sleep(IDLE_TICK) => continue,
            };
            let Some(message) = message else { return };
            let (asked, permit) = match self.admit(&message).await {
                Ok(admitted) => admitted,
                Err(refusal) => {
                    if let Err(error) = self.reply(&message, Err(refusal)).await {
                        tracing::warn!(%error, "refusal not sent");
                    }
                    continue;
                }
            };
            let (cluster, node) = (Arc::clone(self), Arc::clone(&node));
            tokio::spawn(async move {
                let mut span = Span::child_of(message.trace, "node request", Kind::Server);
                if let Some(span) = span.recorded() {
                    span.set("node.request", asked.request.name()).set("node.from", &asked.from);
                }
                span.around(cluster.answer(&*node, &message, asked)).await;
                span.end();
                drop(permit);
            });
        }
    }
}
