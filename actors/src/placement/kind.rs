//! A kind of actor that exists once, and the messages of such actors.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::base64_bytes;
use crate::bus::subject_part;
use crate::recorder::Queued;

/// Why an actor does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", content = "detail", rename_all = "snake_case")]
pub enum OwnedError {
    /// Another has become the owner: this one ends.
    #[error("another node owns it")]
    Fenced,
    /// The message is refused.
    #[error("{0}")]
    Refused(String),
    /// A part is gone, or the time is over: it may or may not have been done.
    #[error("not available: {0}")]
    Unavailable(String),
    /// Too many messages wait for it.
    #[error("too many messages wait")]
    Busy,
}

/// A kind of actor that exists once in the cluster.
#[async_trait]
pub trait OwnedKind: Send + Sync {
    /// Brings an actor to life: takes its fence, then reads what it was.
    async fn activate(&self, id: &str) -> Result<Box<dyn OwnedActor>, OwnedError>;

    /// The ids of the actors that always run, although nobody asks them: on one node of the cluster, and soon on another
    /// one when that node goes.
    fn keep(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An actor that exists once in the cluster. Messages come one after the other.
#[async_trait]
pub trait OwnedActor: Send {
    /// Handles a message.
    async fn handle(&mut self, message: Bytes) -> Result<Bytes, OwnedError>;

    /// Resolves when there is something to do that nobody asks for, such as what an owner before left undone. It may be
    /// dropped while it waits.
    async fn wait(&mut self) {
        std::future::pending::<()>().await;
    }

    /// Does what [`wait`](Self::wait) waited for; never dropped in the middle.
    async fn proceed(&mut self) -> Result<(), OwnedError> {
        Ok(())
    }
}

/// A message to an actor of this node.
pub(super) enum OwnedMessage {
    /// A question, and where its answer goes.
    Ask(Queued<Bytes>, oneshot::Sender<Result<Bytes, OwnedError>>),
    /// From the node: end.
    Passivate,
}

/// The answer to a question.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Answer(#[serde(with = "base64_bytes")] Bytes),
    Failed(OwnedError),
}

impl From<Result<Bytes, OwnedError>> for Reply {
    fn from(outcome: Result<Bytes, OwnedError>) -> Self {
        outcome.map_or_else(Self::Failed, Self::Answer)
    }
}

impl From<Reply> for Result<Bytes, OwnedError> {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Answer(answer) => Ok(answer),
            Reply::Failed(error) => Err(error),
        }
    }
}

/// The bus subject to which the owner of an actor listens.
pub(super) fn subject_of(kind: &str, id: &str) -> String {
    format!("owner.{kind}.{}", subject_part(id))
}
