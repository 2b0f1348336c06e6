//! Actors that exist once in the cluster, whatever node they are asked on.
//!
//! Who listens to an actor's subject owns it: a question finds the owner, or learns at once that there is none. Then the
//! node that rendezvous hashing picks among those alive starts it. This is only the fast path. What makes an owner the
//! only one is the **fence** that its kind takes from the store when it starts: each start raises it, and the store
//! refuses writes under an older one. So nothing rests on clocks, on the bus, or on who thinks who is alive.
//!
//! A question may be handled twice when an owner is lost in the middle of it: a kind has to know a message again.

mod kind;
mod local;
mod owned;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bus::BusError;
use crate::cluster::{Cluster, NodeError, NodeRequest, Question};
use crate::crashes::Crashes;
use crate::supervised::{BusyVisitor, Intensity, SeenVisitor, Supervised};
use crate::tasks::{Pace, Tasks};
use crate::vitals::{State, TreeNode, Vitals};
pub use kind::{OwnedActor, OwnedError, OwnedKind};
use kind::{Reply, subject_of};
use local::{KIND, LocalActor, LocalActors};
use owned::Owned;

/// How long a question waits for its answer in all.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long an owner may be silent before its node is asked whether the actor still runs.
const OWNER_TIMEOUT: Duration = Duration::from_secs(4);
/// How often kept actors are looked at.
const KEEP_LOOK: Duration = Duration::from_secs(1);
/// Actors that may crash within the window before the keeper restarts.
const MOST_CRASHED: usize = 32;
/// Pause before an actor that is going away is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The node's part in all actors that exist once.
pub(crate) struct Placement {
    cluster: Arc<Cluster>,
    crashes: Arc<Crashes>,
    tasks: Tasks,
    kinds_changed: Notify,
    kinds: Mutex<HashMap<String, Arc<dyn OwnedKind>>>,
    /// The actors that run here.
    here: Arc<LocalActors>,
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
    pub(crate) fn new(cluster: Arc<Cluster>, crashes: Arc<Crashes>) -> Arc<Self> {
        Arc::new(Self {
            tasks: Tasks::new("owned", Arc::clone(&crashes)),
            cluster,
            crashes,
            kinds: Mutex::default(),
            here: Arc::default(),
            kinds_changed: Notify::new(),
        })
    }

    /// Keeps those actors running whose kind asks for that, until [`stop`](Self::stop).
    pub(crate) fn start(self: &Arc<Self>) {
        let placement = Arc::clone(self);
        self.tasks.keep_running("kept actors", Pace::Timed, move |vitals| {
            let placement = Arc::clone(&placement);
            async move { placement.keep_actors(&vitals).await }.boxed()
        });
    }

    /// Ends the tasks; actors end by [`passivate_all`](Self::passivate_all).
    pub(crate) fn stop(&self) {
        self.tasks.stop();
    }

    pub(crate) fn set_kind(&self, name: &str, kind: Arc<dyn OwnedKind>) {
        self.kinds.lock().insert(name.to_owned(), kind);
        self.kinds_changed.notify_one();
    }

    /// How many actors are here.
    pub(crate) fn len(&self) -> usize {
        self.here.len()
    }

    /// True if the actor runs here.
    pub(crate) fn owns(&self, kind: &str, id: &str) -> bool {
        self.here.find(kind, id).is_some()
    }

    /// Asks an actor, wherever it is, starting it where there is none.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        kind: &str,
        id: &str,
        message: Bytes,
    ) -> Result<Bytes, OwnedError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outcome = tokio::time::timeout_at(deadline, self.ask_once(kind, id, message.clone())).await;
            match outcome {
                // The actor was the owner until now: another one is, or none.
                Ok(Err(OwnedError::Fenced)) => tokio::time::sleep(ASK_AGAIN).await,
                Ok(outcome) => return outcome,
                Err(_) => return Err(OwnedError::Unavailable("no answer in time".to_owned())),
            }
        }
    }

    async fn ask_once(self: &Arc<Self>, kind: &str, id: &str, message: Bytes) -> Result<Bytes, OwnedError> {
        if let Some(entry) = self.here.find(kind, id) {
            return entry.ask(message).await;
        }
        if !self.cluster.bus.is_remote() {
            return self.ask_here(kind, id, message).await;
        }
        match self.ask_owner(kind, id, message.clone()).await {
            Ok(reply) => read_reply(&reply),
            // Without the bus each node is on its own; the fence lets one of them write at a time.
            Err(BusError::Unavailable(_)) => self.ask_here(kind, id, message).await,
            // The owner is gone or frozen. The store fences a frozen owner off when the next one starts.
            Err(BusError::NoResponders | BusError::TimedOut) => self.ask_picked(kind, id, message).await,
            Err(error @ BusError::TooLarge { .. }) => Err(OwnedError::Refused(error.to_string())),
        }
    }

    /// Asks the owner, and waits for as long as the owner's node says that the actor runs there: a second actor beside a
    /// busy one would fence the busy one off in the middle of its work.
    async fn ask_owner(&self, kind: &str, id: &str, message: Bytes) -> Result<Bytes, BusError> {
        let subject = subject_of(kind, id);
        let mut asking = self.cluster.bus.request(&subject, message, PATIENCE);
        loop {
            match tokio::time::timeout(OWNER_TIMEOUT, &mut asking).await {
                Ok(outcome) => return outcome,
                Err(_) if self.is_owned_elsewhere(kind, id).await => {}
                Err(_) => return Err(BusError::TimedOut),
            }
        }
    }

    /// True if another node that lives runs the actor.
    async fn is_owned_elsewhere(&self, kind: &str, id: &str) -> bool {
        let owns = NodeRequest::Owns { kind: kind.to_owned(), id: id.to_owned() };
        self.cluster.ask_others(owns).await.answers.iter().any(|(_, owns)| owns.as_bool() == Some(true))
    }

    /// The node on which an actor without an owner has its place.
    pub(crate) fn place_of(&self, kind: &str, id: &str) -> String {
        let others = self.cluster.others();
        let own = (!self.cluster.is_draining()).then_some(self.cluster.node_id());
        let alive = others.iter().filter(|node| !node.draining).map(|node| node.id.as_str());
        pick(alive.chain(own), kind, id).unwrap_or(self.cluster.node_id()).to_owned()
    }

    /// Asks on the node where the actor has its place.
    async fn ask_picked(self: &Arc<Self>, kind: &str, id: &str, message: Bytes) -> Result<Bytes, OwnedError> {
        let picked = self.place_of(kind, id);
        if picked == self.cluster.node_id() {
            return self.ask_here(kind, id, message).await;
        }
        let question = Question { kind: kind.to_owned(), id: id.to_owned(), message };
        match self.cluster.ask::<Reply>(&picked, NodeRequest::Owned(question)).await {
            Ok(reply) => reply.into(),
            // The node is gone: the next attempt picks another one.
            Err(NodeError::Gone) => Err(OwnedError::Fenced),
            Err(NodeError::Unavailable) => Err(OwnedError::Unavailable("its node did not answer".to_owned())),
            Err(NodeError::Refused(error)) => Err(OwnedError::Refused(error)),
        }
    }

    /// Asks the actor here, starting it if need be.
    async fn ask_here(self: &Arc<Self>, kind: &str, id: &str, message: Bytes) -> Result<Bytes, OwnedError> {
        let entry = match self.here.find(kind, id) {
            Some(entry) => entry,
            None => self.start_actor(kind, id)?,
        };
        entry.ask(message).await
    }

    /// Answers a question of another node to an actor that has its place here.
    pub(crate) async fn answer(self: &Arc<Self>, question: Question) -> Result<serde_json::Value, String> {
        let Question { kind, id, message } = question;
        let outcome = self.ask_here(&kind, &id, message).await;
        serde_json::to_value(Reply::from(outcome)).map_err(|error| error.to_string())
    }

    fn start_actor(&self, kind: &str, id: &str) -> Result<LocalActor, OwnedError> {
        let factory = self.kinds.lock().get(kind).cloned();
        let factory = factory.ok_or_else(|| OwnedError::Refused(format!("no kind {kind} here")))?;
        let (actor, mailbox) = self.here.find_or_insert(kind, id);
        // Without the mailbox's other end the actor runs already.
        if let Some(mailbox) = mailbox {
            let owned = Owned {
                here: Arc::clone(&self.here),
                bus: Arc::clone(&self.cluster.bus),
                crashes: Arc::clone(&self.crashes),
                factory,
                kind: kind.to_owned(),
                id: id.to_owned(),
                number: actor.number.clone(),
                vitals: Arc::clone(&actor.vitals),
            };
            tokio::spawn(owned.run(mailbox));
        }
        Ok(actor)
    }

    /// The actors that always run, by kind and id.
    fn kept(&self) -> Vec<(String, String)> {
        let kinds = self.kinds.lock();
        let kept = kinds.iter().flat_map(|(name, kind)| kind.keep().into_iter().map(|id| (name.clone(), id)));
        kept.collect()
    }

    /// Starts kept actors that have their place here and run nowhere: at once when a node goes or a kind is added, and
    /// now and then, as such an actor may have ended.
    async fn keep_actors(self: &Arc<Self>, vitals: &Vitals) {
        let mut membership = self.cluster.membership();
        loop {
            for (kind, id) in self.kept() {
                let has_its_place_here = self.place_of(&kind, &id) == self.cluster.node_id();
                if !has_its_place_here || self.owns(&kind, &id) || self.cluster.is_draining() {
                    continue;
                }
                let is_owned = self.is_owned_elsewhere(&kind, &id).await;
                vitals.handled();
                if is_owned {
                    continue;
                }
                if let Err(error) = self.start_actor(&kind, &id) {
                    tracing::warn!(%error, kind, id, "kept actor not started");
                }
            }
            vitals.handled();
            tokio::select! {
                () = tokio::time::sleep(KEEP_LOOK) => {}
                changed = membership.changed() => if changed.is_err() { return },
                () = self.kinds_changed.notified() => {}
            }
        }
    }

    /// Ends all actors here, so that other nodes start them when they are asked.
    pub(crate) async fn passivate_all(&self, deadline: Duration) {
        self.stop();
        self.here.passivate_all();
        let end = Instant::now() + deadline;
        while self.len() > 0 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Supervised for Placement {
    fn name(&self) -> &'static str {
        "owned"
    }

    fn intensity(&self) -> Intensity {
        Intensity::ClientDriven(MOST_CRASHED)
    }

    fn children(&self, most: usize) -> (usize, Vec<TreeNode>) {
        let mut children = self.tasks.tree();
        let total = children.len() + self.here.len();
        children.extend(self.here.first(most).into_iter().map(|((kind, id), actor)| {
            actor.vitals.node(format!("{kind} {id}"), KIND, State::Running, actor.waiting())
        }));
        (total, children)
    }

    fn visit_all(&self, visit: &mut SeenVisitor<'_>) {
        self.tasks.visit_all(visit);
        self.here.for_each(|(kind, id), actor| visit(&actor.seen(&format_args!("{kind} {id}"))));
    }

    fn visit_one(&self, kind: &str, name: &str, visit: &mut SeenVisitor<'_>) {
        self.tasks.visit_one(kind, name, visit);
        if kind == KIND
            && let Some((owned_kind, id)) = name.split_once(' ')
            && let Some(actor) = self.here.find(owned_kind, id)
        {
            visit(&actor.seen(&name));
        }
    }

    fn visit_busy(&self, visit: &mut BusyVisitor<'_>) {
        self.tasks.visit_busy(visit);
        self.here.for_each(|(kind, id), actor| {
            if actor.waiting() > 0 {
                visit(&format_args!("{kind} {id}"), &actor.vitals, actor.waiting());
            }
        });
    }
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
