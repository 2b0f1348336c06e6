//! Actors that exist once in the cluster, whatever node they are asked on.
//!
//! Who listens to an actor's subject owns it: a question finds the owner, or learns at once that there is none. Then the
//! node that rendezvous hashing picks among those alive starts it. This is only the fast path. What makes an owner the
//! only one is the **fence** that its kind takes from the store when it starts: each start raises it, and the store
//! refuses writes under an older one. So nothing rests on clocks, on the bus, or on who thinks who is alive.
//!
//! A question may be handled twice when an owner is lost in the middle of it: a kind has to know a message again.

mod owned;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_protocol::new_id;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::bus::{BusError, subject_part};
use crate::cluster::{NodeError, NodeRequest, base64_bytes};
use crate::engine::Parts;
use owned::Owned;

/// Messages that may wait for one actor.
const MAILBOX_CAPACITY: usize = 64;
/// How long an actor that nobody asks stays in memory.
const IDLE_AFTER: Duration = Duration::from_mins(5);
/// How long a question waits for its answer in all.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long an owner may take before it is asked whether it is there at all.
const OWNER_TIMEOUT: Duration = Duration::from_secs(4);
/// Pause before an actor that is going away is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

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

/// What waits for an actor of this node.
pub(crate) enum OwnedMessage {
    /// A question, and where its answer goes.
    Ask(Bytes, oneshot::Sender<Result<Bytes, OwnedError>>),
    /// From the node: end.
    Passivate,
}

/// The node's part in all actors that exist once.
#[derive(Default)]
pub(crate) struct Placement {
    kinds: Mutex<HashMap<String, Arc<dyn OwnedKind>>>,
    here: Mutex<HashMap<(String, String), Entry>>,
}

#[derive(Clone)]
struct Entry {
    number: String,
    mailbox: mpsc::Sender<OwnedMessage>,
}

/// A question on its way to another node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) kind: String,
    pub(crate) id: String,
    #[serde(with = "base64_bytes")]
    pub(crate) message: Bytes,
}

/// Its answer.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
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

pub(crate) fn subject_of(kind: &str, id: &str) -> String {
    format!("owner.{kind}.{}", subject_part(id))
}

/// The node of the highest hash with the actor (rendezvous hashing): all nodes pick the same, and a node that goes takes
/// only its own actors along.
fn pick<'a>(nodes: impl Iterator<Item = &'a str>, kind: &str, id: &str) -> Option<&'a str> {
    nodes.max_by_key(|node| fnv([*node, kind, id].iter().flat_map(|part| part.bytes().chain([0]))))
}

/// FNV-1a with a final mix, as nodes of every version must come to the same.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Placement {
    pub(crate) fn set_kind(&self, name: &str, kind: Arc<dyn OwnedKind>) {
        self.kinds.lock().insert(name.to_owned(), kind);
    }

    /// How many actors are here.
    pub(crate) fn len(&self) -> usize {
        self.here.lock().len()
    }

    /// Asks an actor, wherever it is, starting it where there is none.
    pub(crate) async fn ask(
        &self,
        parts: &Arc<Parts>,
        kind: &str,
        id: &str,
        message: Bytes,
    ) -> Result<Bytes, OwnedError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outcome =
                tokio::time::timeout_at(deadline, self.ask_once(parts, kind, id, message.clone())).await;
            match outcome {
                // It was the owner until now: somebody else is, or nobody.
                Ok(Err(OwnedError::Fenced)) => tokio::time::sleep(ASK_AGAIN).await,
                Ok(outcome) => return outcome,
                Err(_) => return Err(OwnedError::Unavailable("no answer in time".to_owned())),
            }
        }
    }

    async fn ask_once(
        &self,
        parts: &Arc<Parts>,
        kind: &str,
        id: &str,
        message: Bytes,
    ) -> Result<Bytes, OwnedError> {
        if let Some(entry) = self.find(kind, id) {
            return ask_entry(&entry, message).await;
        }
        let bus = &parts.cluster.bus;
        if !bus.is_remote() {
            return self.ask_here(parts, kind, id, message).await;
        }
        match bus.request(&subject_of(kind, id), message.clone(), OWNER_TIMEOUT).await {
            Ok(reply) => read_reply(&reply),
            // Without the bus each node is on its own; the fence sees to it that one writes at a time.
            Err(BusError::Unavailable(_)) => self.ask_here(parts, kind, id, message).await,
            // An owner that does not answer is asked no more than that: it may be frozen, and is fenced by the next.
            Err(BusError::NoResponders | BusError::TimedOut) => {
                self.ask_picked(parts, kind, id, message).await
            }
            Err(error @ BusError::TooLarge { .. }) => Err(OwnedError::Refused(error.to_string())),
        }
    }

    /// Asks on the node that is to own the actor.
    async fn ask_picked(
        &self,
        parts: &Arc<Parts>,
        kind: &str,
        id: &str,
        message: Bytes,
    ) -> Result<Bytes, OwnedError> {
        let others = parts.cluster.others();
        let own = (!parts.is_draining()).then_some(parts.node_id.as_str());
        let alive = others.iter().filter(|node| !node.draining).map(|node| node.id.as_str());
        let picked = pick(alive.chain(own), kind, id).unwrap_or(&parts.node_id);
        if picked == parts.node_id {
            return self.ask_here(parts, kind, id, message).await;
        }
        let question = Question { kind: kind.to_owned(), id: id.to_owned(), message };
        match parts.cluster.ask::<Reply>(parts, picked, NodeRequest::Owned(question)).await {
            Ok(reply) => reply.into(),
            // It is gone: the next attempt picks another.
            Err(NodeError::Gone) => Err(OwnedError::Fenced),
            Err(NodeError::Unavailable) => Err(OwnedError::Unavailable("its node did not answer".to_owned())),
            Err(NodeError::Refused(error)) => Err(OwnedError::Refused(error)),
        }
    }

    /// Asks the actor here, starting it if need be.
    async fn ask_here(
        &self,
        parts: &Arc<Parts>,
        kind: &str,
        id: &str,
        message: Bytes,
    ) -> Result<Bytes, OwnedError> {
        let entry = match self.find(kind, id) {
            Some(entry) => entry,
            None => self.start(parts, kind, id)?,
        };
        ask_entry(&entry, message).await
    }

    /// Answers what another node asks of an actor that is to be here.
    pub(crate) async fn answer(
        &self,
        parts: &Arc<Parts>,
        question: Question,
    ) -> Result<serde_json::Value, String> {
        let Question { kind, id, message } = question;
        let outcome = self.ask_here(parts, &kind, &id, message).await;
        serde_json::to_value(Reply::from(outcome)).map_err(|error| error.to_string())
    }

    fn find(&self, kind: &str, id: &str) -> Option<Entry> {
        self.here.lock().get(&(kind.to_owned(), id.to_owned())).cloned()
    }

    fn start(&self, parts: &Arc<Parts>, kind: &str, id: &str) -> Result<Entry, OwnedError> {
        let factory = self.kinds.lock().get(kind).cloned();
        let factory = factory.ok_or_else(|| OwnedError::Refused(format!("nobody here knows {kind}")))?;
        let mut here = self.here.lock();
        let key = (kind.to_owned(), id.to_owned());
        if let Some(entry) = here.get(&key) {
            return Ok(entry.clone());
        }
        let (mailbox, receiver) = mpsc::channel(MAILBOX_CAPACITY);
        let entry = Entry { number: new_id(), mailbox };
        here.insert(key, entry.clone());
        drop(here);
        mundotango_ops::metrics().owned_actors_active.inc();
        let owned = Owned {
            parts: Arc::clone(parts),
            factory,
            kind: kind.to_owned(),
            id: id.to_owned(),
            number: entry.number.clone(),
        };
        tokio::spawn(owned.run(receiver));
        Ok(entry)
    }

    /// Called by an actor that ends.
    fn remove(&self, kind: &str, id: &str, number: &str) {
        let mut here = self.here.lock();
        let key = (kind.to_owned(), id.to_owned());
        if here.get(&key).is_some_and(|entry| entry.number == number) {
            here.remove(&key);
            mundotango_ops::metrics().owned_actors_active.dec();
        }
    }

    /// Ends all actors here, so that other nodes start them when they are asked.
    pub(crate) async fn passivate_all(&self, deadline: Duration) {
        let all: Vec<_> = self.here.lock().values().cloned().collect();
        for entry in all {
            // One whose mailbox is full ends with the process.
            let _ = entry.mailbox.try_send(OwnedMessage::Passivate);
        }
        let end = Instant::now() + deadline;
        while self.len() > 0 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn ask_entry(entry: &Entry, message: Bytes) -> Result<Bytes, OwnedError> {
    let (answer, answered) = oneshot::channel();
    match entry.mailbox.try_send(OwnedMessage::Ask(message, answer)) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(_)) => return Err(OwnedError::Busy),
        Err(mpsc::error::TrySendError::Closed(_)) => return Err(OwnedError::Fenced),
    }
    // An actor that ends without an answer did not take the message.
    answered.await.unwrap_or(Err(OwnedError::Fenced))
}

fn read_reply(reply: &[u8]) -> Result<Bytes, OwnedError> {
    match serde_json::from_slice::<Reply>(reply) {
        Ok(reply) => reply.into(),
        Err(error) => Err(OwnedError::Unavailable(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_goes_takes_only_its_own_along() {
        let nodes = ["a", "b", "c"];
        let mut counts = HashMap::new();
        for number in 0..3000 {
            let id = number.to_string();
            let picked = pick(nodes.into_iter(), "x", &id).unwrap();
            *counts.entry(picked).or_insert(0) += 1;
            let without = pick(nodes.into_iter().filter(|node| *node != "c"), "x", &id).unwrap();
            assert!(picked == "c" || picked == without);
        }
        assert!(counts.values().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
