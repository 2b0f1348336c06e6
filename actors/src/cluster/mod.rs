//! The node among the others: who is there, what is asked of all, and what happens when one is gone.

mod members;
mod messages;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use mundotango_protocol::ChannelName;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::bus::{Bus, BusMessage, Listening};
use crate::engine::Parts;
use crate::supervision::{Backoff, panic_text};
use members::{GONE_AFTER, HEARTBEAT, Heard, Members};
pub use messages::NodeInfo;
use messages::{Answered, Asked};
pub(crate) use messages::{NodeRequest, base64_bytes};

/// Where nodes say that they are there.
const HEARTBEATS: &str = "nodes.heartbeats";
/// Where something is asked of all nodes.
const EVERYBODY: &str = "nodes.all";
/// How long a node is waited for.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an actor on another node is waited for, which may have to be started first.
const OWNED_TIMEOUT: Duration = Duration::from_secs(8);
/// Requests of other nodes that are worked on at the same time; more wait on the bus.
const REQUESTS_AT_ONCE: usize = 64;
/// How often it is looked who has fallen silent.
const LOOK: Duration = Duration::from_millis(250);

/// Who handles what other nodes say on a topic of the application's own.
#[async_trait]
pub trait TopicHandler: Send + Sync {
    /// Handles a message; what is returned is the answer.
    async fn handle(&self, data: Bytes) -> Result<Bytes, String>;
}

/// Why a node did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// There is no such node.
    #[error("there is no such node")]
    Gone,
    /// It did not answer in time, or the bus is not available.
    #[error("the node did not answer")]
    Unavailable,
    /// It refused.
    #[error("the node refused: {0}")]
    Refused(String),
}

/// This node's place among the others.
pub(crate) struct Cluster {
    pub(crate) bus: Arc<dyn Bus>,
    name: String,
    members: Members,
    topics: Mutex<HashMap<String, Arc<dyn TopicHandler>>>,
    working: Arc<Semaphore>,
    /// Dead nodes whose traces are not all cleared away.
    dead: Mutex<Vec<String>>,
}

fn subject_of(node: &str) -> String {
    format!("nodes.{node}")
}

impl Cluster {
    pub(crate) fn new(bus: Arc<dyn Bus>, name: String) -> Self {
        Self {
            bus,
            name,
            members: Members::default(),
            topics: Mutex::default(),
            working: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
            dead: Mutex::default(),
        }
    }

    /// The other nodes.
    pub(crate) fn others(&self) -> Vec<NodeInfo> {
        self.members.all()
    }

    pub(crate) fn set_topic(&self, topic: &str, handler: Arc<dyn TopicHandler>) {
        self.topics.lock().insert(topic.to_owned(), handler);
    }

    async fn handle_topic(&self, topic: &str, data: Bytes) -> Result<Value, String> {
        let handler = self.topics.lock().get(topic).cloned();
        let handler = handler.ok_or_else(|| format!("nobody here handles {topic}"))?;
        let answer = handler.handle(data).await?;
        serde_json::to_value(Encoded(answer)).map_err(|error| error.to_string())
    }

    /// What a node says of itself.
    pub(crate) fn info(&self, parts: &Parts, gone: bool) -> NodeInfo {
        let (channels, subscriptions) = parts.channels.totals();
        NodeInfo {
            id: parts.node_id.clone(),
            name: self.name.clone(),
            version: parts.version.clone(),
            started_at: parts.started_at,
            sessions: parts.sessions.len(),
            users: parts.sessions.users(),
            channels,
            subscriptions,
            draining: parts.is_draining(),
            gone,
        }
    }

    /// Asks all other nodes; the answers of those that gave one, by node.
    pub(crate) async fn ask_others(&self, parts: &Parts, request: NodeRequest) -> Vec<(String, Value)> {
        let expected = self.members.len();
        if expected == 0 {
            return Vec::new();
        }
        let asked = Asked { from: parts.node_id.clone(), request };
        let Ok(payload) = serde_json::to_vec(&asked) else { return Vec::new() };
        let answers = match self.bus.survey(EVERYBODY, payload.into(), expected, SURVEY_TIMEOUT).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::warn!(%error, "other nodes not asked");
                return Vec::new();
            }
        };
        if answers.len() < expected {
            tracing::warn!(expected, answered = answers.len(), "not all nodes answered");
        }
        let read = answers.iter().filter_map(|answer| serde_json::from_slice::<Answered>(answer).ok());
        read.filter_map(|answered| match answered.error {
            None => Some((answered.node, answered.answer)),
            Some(error) => {
                tracing::warn!(node = answered.node, error, "a node refused a request");
                None
            }
        })
        .collect()
    }

    /// Asks one node.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        parts: &Arc<Parts>,
        node: &str,
        request: NodeRequest,
    ) -> Result<T, NodeError> {
        let answer = if node == parts.node_id {
            perform(parts, request).await.map_err(NodeError::Refused)?
        } else {
            let owned = matches!(request, NodeRequest::Owned(_));
            let timeout = if owned { OWNED_TIMEOUT } else { SURVEY_TIMEOUT };
            let asked = Asked { from: parts.node_id.clone(), request };
            let payload =
                serde_json::to_vec(&asked).map_err(|error| NodeError::Refused(error.to_string()))?;
            let answer = self.bus.request(&subject_of(node), payload.into(), timeout).await;
            let answer = answer.map_err(|error| match error {
                crate::bus::BusError::NoResponders => NodeError::Gone,
                _ => NodeError::Unavailable,
            })?;
            let answered: Answered =
                serde_json::from_slice(&answer).map_err(|error| NodeError::Refused(error.to_string()))?;
            match answered.error {
                Some(error) => return Err(NodeError::Refused(error)),
                None => answered.answer,
            }
        };
        serde_json::from_value(answer).map_err(|error| NodeError::Refused(error.to_string()))
    }

    /// Asks who handles a topic on another node.
    pub(crate) async fn ask_topic(
        &self,
        parts: &Arc<Parts>,
        node: &str,
        topic: &str,
        data: Bytes,
    ) -> Result<Bytes, NodeError> {
        let request = NodeRequest::Topic { topic: topic.to_owned(), data };
        self.ask::<Encoded>(parts, node, request).await.map(|encoded| encoded.0)
    }

    /// Says something on a topic to all other nodes.
    pub(crate) async fn tell_topic(&self, parts: &Parts, topic: &str, data: Bytes) {
        self.ask_others(parts, NodeRequest::Topic { topic: topic.to_owned(), data }).await;
    }

    async fn answer(&self, parts: &Arc<Parts>, message: BusMessage) {
        let node = parts.node_id.clone();
        let outcome = match serde_json::from_slice::<Asked<NodeRequest>>(&message.payload) {
            Ok(asked) => {
                tracing::debug!(from = asked.from, "asked by another node");
                perform(parts, asked.request).await
            }
            Err(error) => Err(format!("not understood: {error}")),
        };
        let answered = match outcome {
            Ok(answer) => Answered { node, answer, error: None },
            Err(error) => Answered { node, answer: Value::Null, error: Some(error) },
        };
        let Ok(payload) = serde_json::to_vec(&answered) else { return };
        if let Err(error) = self.bus.reply(&message, payload.into()).await {
            tracing::warn!(%error, "answer not sent");
        }
    }

    /// Says that the node is there, and how it is.
    pub(crate) async fn beat(&self, parts: &Parts, gone: bool) {
        let Ok(payload) = serde_json::to_vec(&self.info(parts, gone)) else { return };
        if let Err(error) = self.bus.publish(HEARTBEATS, payload.into()).await {
            tracing::debug!(%error, "heartbeat not sent");
        }
    }

    /// Says that the node goes, so that nobody waits for its silence.
    pub(crate) async fn leave(&self, parts: &Parts) {
        self.beat(parts, true).await;
    }

    fn hear(&self, message: &BusMessage) {
        let Ok(info) = serde_json::from_slice::<NodeInfo>(&message.payload) else { return };
        let (id, name) = (info.id.clone(), info.name.clone());
        match self.members.hear(info) {
            Heard::Joined => tracing::info!(id, name, "a node is here"),
            Heard::Left => {
                tracing::info!(id, name, "a node left");
                self.dead.lock().push(id);
            }
            Heard::Known | Heard::Late => {}
        }
    }

    async fn beat_hot_state_once(&self, parts: &Arc<Parts>) {
        // The next beat makes up for one that failed.
        let Ok(Ok(beat)) = tokio::time::timeout(SURVEY_TIMEOUT, parts.hot.beat()).await else { return };
        if beat.forgotten {
            tracing::warn!("hot state has lost what this node said");
            parts.was_away();
        }
        let mut dead = self.dead.lock();
        for node in beat.silent {
            if !dead.contains(&node) {
                dead.push(node);
            }
        }
    }

    /// Clears away what dead nodes said. All nodes do; each takes a part.
    async fn bury(&self, parts: &Parts) {
        let dead = std::mem::take(&mut *self.dead.lock());
        for node in dead {
            match parts.hot.forget_node(&node).await {
                Ok(left) => {
                    tracing::info!(node, sessions = left.len(), "traces of a gone node cleared away");
                    for (channel, info) in left {
                        let Ok(channel) = ChannelName::parse(&channel) else { continue };
                        parts.announce_leave(&channel, info).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, node, "traces of a gone node not cleared away");
                    self.dead.lock().push(node);
                }
            }
        }
    }
}

/// Bytes as an answer.
#[derive(serde::Serialize, serde::Deserialize)]
struct Encoded(#[serde(with = "base64_bytes")] Bytes);

/// Does what a node is asked for, this one or another.
pub(crate) async fn perform(parts: &Arc<Parts>, request: NodeRequest) -> Result<Value, String> {
    match request {
        NodeRequest::Owned(question) => parts.placement.answer(parts, question).await,
        NodeRequest::Topic { topic, data } => parts.cluster.handle_topic(&topic, data).await,
        request => crate::control::perform(parts, request),
    }
}

/// Runs the node's part in the cluster: loops, each of which starts anew after a crash.
pub(crate) fn start(parts: &Arc<Parts>) {
    if !parts.cluster.bus.is_remote() {
        return;
    }
    spawn(parts, "heartbeats", |parts| async move { send_heartbeats(parts).await }.boxed());
    spawn(parts, "members", |parts| async move { watch_members(parts).await }.boxed());
    spawn(parts, "hot state", |parts| async move { beat_hot_state(parts).await }.boxed());
    spawn(parts, "requests", |parts| async move { answer_requests(parts).await }.boxed());
}

type Loop = fn(Weak<Parts>) -> futures_util::future::BoxFuture<'static, ()>;

fn spawn(parts: &Arc<Parts>, name: &'static str, run: Loop) {
    let parts = Arc::downgrade(parts);
    tokio::spawn(async move {
        let mut backoff = Backoff::default();
        while parts.strong_count() > 0 {
            if let Err(panic) = AssertUnwindSafe(run(Weak::clone(&parts))).catch_unwind().await
                && let Some(parts) = parts.upgrade()
            {
                tracing::error!(name, panic = panic_text(&*panic), "a loop of the node crashed");
                parts.crashed("node");
            }
            tokio::time::sleep(backoff.after_crash()).await;
        }
    });
}

async fn send_heartbeats(parts: Weak<Parts>) {
    let mut interval = tokio::time::interval(HEARTBEAT);
    let mut last = Instant::now();
    loop {
        interval.tick().await;
        let Some(parts) = parts.upgrade() else { return };
        if last.elapsed() > GONE_AFTER {
            tracing::warn!("this node stood still, so others may think that it is gone");
            parts.was_away();
        }
        last = Instant::now();
        parts.cluster.beat(&parts, false).await;
    }
}

/// Says to hot state that the node lives, and clears away there what dead nodes said: those that left or fell silent on the
/// bus, and those of an earlier run of the whole cluster, of which only hot state knows. A loop of its own, as that may take
/// long.
async fn beat_hot_state(parts: Weak<Parts>) {
    let mut interval = tokio::time::interval(LOOK);
    let mut last: Option<Instant> = None;
    loop {
        interval.tick().await;
        let Some(parts) = parts.upgrade() else { return };
        if last.is_none_or(|last| last.elapsed() >= HEARTBEAT) {
            last = Some(Instant::now());
            parts.cluster.beat_hot_state_once(&parts).await;
        }
        parts.cluster.bury(&parts).await;
    }
}

async fn watch_members(parts: Weak<Parts>) {
    let Some(mut connected) = parts.upgrade().map(|parts| parts.cluster.bus.connected()) else { return };
    let Some(mut heartbeats) = listen(&parts, HEARTBEATS).await else { return };
    let mut interval = tokio::time::interval(LOOK);
    let mut last = Instant::now();
    loop {
        let message = tokio::select! {
            message = heartbeats.next() => match message {
                Some(message) => Some(message),
                None => return,
            },
            _ = interval.tick() => None,
            changed = connected.changed() => {
                let Some(parts) = parts.upgrade().filter(|_| changed.is_ok()) else { return };
                if *connected.borrow_and_update() {
                    parts.cluster.members.forgive();
                    parts.was_away();
                }
                None
            }
        };
        let Some(parts) = parts.upgrade() else { return };
        let cluster = &parts.cluster;
        if let Some(message) = message {
            cluster.hear(&message);
        }
        // Who hears nobody cannot tell who is gone; neither can who stood still.
        if !*connected.borrow() || last.elapsed() > GONE_AFTER / 2 {
            cluster.members.forgive();
        }
        last = Instant::now();
        for node in cluster.members.silent() {
            tracing::warn!(id = node.id, name = node.name, "a node is gone without a word");
            cluster.dead.lock().push(node.id);
        }
    }
}

async fn answer_requests(parts: Weak<Parts>) {
    let Some(own) = parts.upgrade().map(|parts| subject_of(&parts.node_id)) else { return };
    let Some(mut own) = listen(&parts, &own).await else { return };
    let Some(mut everybody) = listen(&parts, EVERYBODY).await else { return };
    loop {
        let message = tokio::select! {
            message = own.next() => message,
            message = everybody.next() => message,
        };
        let (Some(message), Some(parts)) = (message, parts.upgrade()) else { return };
        let Ok(permit) = Arc::clone(&parts.cluster.working).acquire_owned().await else { return };
        tokio::spawn(async move {
            let traceparent = message.traceparent.clone();
            let answer = parts.cluster.answer(&parts, message);
            mundotango_ops::trace::within(traceparent.as_deref(), answer).await;
            drop(permit);
        });
    }
}

async fn listen(parts: &Weak<Parts>, subject: &str) -> Option<Box<dyn Listening>> {
    let bus = Arc::clone(&parts.upgrade()?.cluster.bus);
    match bus.listen(subject).await {
        Ok(listening) => Some(listening),
        Err(error) => {
            tracing::warn!(%error, subject, "not listened to");
            None
        }
    }
}
