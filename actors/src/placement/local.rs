//! The actors that exist once and run on this node.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use mundotango_protocol::new_id;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::kind::{OwnedError, OwnedMessage};
use crate::recorder::Queued;
use crate::supervised::Seen;
use crate::vitals::{State, Vitals};

/// Messages that may wait for one actor.
const MAILBOX_CAPACITY: usize = 64;

/// The kind of such an actor in the tree.
pub(super) const KIND: &str = "owned";

/// An actor's kind and id.
type Key = (String, String);

/// The actors of this node by kind and id.
#[derive(Default)]
pub(super) struct LocalActors {
    actors: Mutex<HashMap<Key, LocalActor>>,
}

/// An actor of this node, as others see it.
#[derive(Clone)]
pub(super) struct LocalActor {
    /// Distinguishes the actor from a later one of the same id.
    pub(super) number: String,
    mailbox: mpsc::Sender<OwnedMessage>,
    pub(super) vitals: Arc<Vitals>,
}

impl LocalActor {
    /// The actor as those see it who look at all, by its name in the tree.
    pub(super) fn seen<'a>(&'a self, name: &'a dyn Display) -> Seen<'a> {
        Seen {
            kind: KIND,
            name,
            state: State::Running,
            vitals: &self.vitals,
            waiting: self.waiting(),
            bound: Some(MAILBOX_CAPACITY),
        }
    }

    /// Messages that wait for the actor.
    pub(super) fn waiting(&self) -> usize {
        self.mailbox.max_capacity() - self.mailbox.capacity()
    }

    /// Asks the actor, and waits for the answer.
    pub(super) async fn ask(&self, message: Bytes) -> Result<Bytes, OwnedError> {
        let (answer, answered) = oneshot::channel();
        match self.mailbox.try_send(OwnedMessage::Ask(Queued::new(message), answer)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(OwnedError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(OwnedError::Fenced),
        }
        // An actor that ends without an answer did not take the message.
        answered.await.unwrap_or(Err(OwnedError::Fenced))
    }
}

impl LocalActors {
    pub(super) fn find(&self, kind: &str, id: &str) -> Option<LocalActor> {
        self.actors.lock().get(&(kind.to_owned(), id.to_owned())).cloned()
    }

    /// Finds an actor, or makes a place for one, whose mailbox is returned for the caller to start the actor with.
    pub(super) fn find_or_insert(
        &self,
        kind: &str,
        id: &str,
    ) -> (LocalActor, Option<mpsc::Receiver<OwnedMessage>>) {
        let mut actors = self.actors.lock();
        let key = (kind.to_owned(), id.to_owned());
        if let Some(actor) = actors.get(&key) {
            return (actor.clone(), None);
        }
        let (mailbox, receiver) = mpsc::channel(MAILBOX_CAPACITY);
        let actor = LocalActor { number: new_id(), mailbox, vitals: Arc::default() };
        actors.insert(key, actor.clone());
        drop(actors);
        mundotango_ops::metrics().owned_actors_active.inc();
        (actor, Some(receiver))
    }

    /// Called by an actor that ends.
    pub(super) fn remove(&self, kind: &str, id: &str, number: &str) {
        let mut actors = self.actors.lock();
        let key = (kind.to_owned(), id.to_owned());
        if actors.get(&key).is_some_and(|actor| actor.number == number) {
            actors.remove(&key);
            mundotango_ops::metrics().owned_actors_active.dec();
        }
    }

    /// Asks all actors to end.
    pub(super) fn passivate_all(&self) {
        for actor in self.actors.lock().values() {
            // An actor whose mailbox is full ends with the process.
            let _ = actor.mailbox.try_send(OwnedMessage::Passivate);
        }
    }

    /// How many actors there are.
    pub(super) fn len(&self) -> usize {
        self.actors.lock().len()
    }

    /// Visits all actors.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&Key, &LocalActor)) {
        for (key, actor) in self.actors.lock().iter() {
            visit(key, actor);
        }
    }

    /// The first `most` actors by kind and id.
    pub(super) fn first(&self, most: usize) -> Vec<(Key, LocalActor)> {
        let actors = self.actors.lock();
        let mut keys: Vec<_> = actors.keys().collect();
        keys.sort_unstable();
        let first = keys.into_iter().take(most);
        first.filter_map(|key| Some((key.clone(), actors.get(key)?.clone()))).collect()
    }
}
