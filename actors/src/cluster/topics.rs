//! Messages between nodes on topics of the application's own.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base64_bytes;

/// Messages on topics that are worked on at the same time; more are refused. Clients cause many of them, and they must not
/// take the places of what nodes ask each other.
const MESSAGES_AT_ONCE: usize = 64;

/// Handles the messages of other nodes on a topic of the application's own.
#[async_trait]
pub trait TopicHandler: Send + Sync {
    /// Handles a message and returns the answer.
    async fn handle(&self, data: Bytes) -> Result<Bytes, String>;
}

/// Bytes as an answer.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Encoded(#[serde(with = "base64_bytes")] pub(crate) Bytes);

/// The handlers of topics, and how much they do at once.
pub(crate) struct Topics {
    handlers: Mutex<HashMap<String, Arc<dyn TopicHandler>>>,
    slots: Arc<Semaphore>,
}

impl Topics {
    pub(super) fn new() -> Self {
        Self { handlers: Mutex::default(), slots: Arc::new(Semaphore::new(MESSAGES_AT_ONCE)) }
    }

    /// Sets the handler of a topic.
    pub(crate) fn set(&self, topic: &str, handler: Arc<dyn TopicHandler>) {
        self.handlers.lock().insert(topic.to_owned(), handler);
    }

    /// Has a message handled.
    pub(crate) async fn handle(&self, topic: &str, data: Bytes) -> Result<Value, String> {
        let handler = self.handlers.lock().get(topic).cloned();
        let handler = handler.ok_or_else(|| format!("no handler of topic {topic} here"))?;
        let answer = handler.handle(data).await?;
        serde_json::to_value(Encoded(answer)).map_err(|error| error.to_string())
    }

    /// A place for a message of another node, unless too many are worked on.
    pub(super) fn admit(&self) -> Result<OwnedSemaphorePermit, String> {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        slot.map_err(|_| "too many messages on topics at once".to_owned())
    }
}
