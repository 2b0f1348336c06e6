//! The node among the others: membership, and the traces of dead nodes. Nodes ask each other by [`requests`].

mod answers;
mod balance;
mod members;
mod messages;
mod requests;
mod settings;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use mundotango_protocol::{ChannelName, ClientInfo};
use mundotango_storage::hot::HotState;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::bus::{Bus, BusMessage, Listening};
use crate::crashes::Crashes;
use crate::supervised::{BusyVisitor, Intensity, SeenVisitor, Supervised};
use crate::tasks::{Pace, Tasks};
use crate::vitals::{TreeNode, Vitals};
pub use answers::{Everywhere, NodeError};
use members::{GONE_AFTER, HEARTBEAT, Members, Outcome};
pub use messages::NodeInfo;
pub(crate) use messages::{Load, NodeRequest, Question};
use settings::Settings;
pub(crate) use topics::Encoded;
pub use topics::TopicHandler;
use topics::Topics;

/// The subject of heartbeats.
const HEARTBEATS: &str = "nodes.heartbeats";
/// How long hot state may take for a heartbeat.
const BEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// Requests of other nodes that are worked on at the same time; more wait on the bus.
const REQUESTS_AT_ONCE: usize = 64;
/// How often the silence of members is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Heartbeats for which a node must be unheard on the bus before this is told: nodes come and go at any moment, and one that
/// died is alive in hot state for some seconds.
const UNHEARD_BEATS: u32 = 10;
/// How long the traces of one dead node may take to clear away before the next dead node has its turn.
const BURIAL_TIMEOUT: Duration = Duration::from_mins(1);
/// Pause before the traces of a dead node are tried again.
const BURY_AGAIN: Duration = Duration::from_secs(1);
/// Crashes of different tasks within the window before the keeper restarts.
const MOST_CRASHED_TASKS: usize = 2;

/// The node, as the cluster calls it to do what other nodes ask.
#[async_trait]
pub(crate) trait Perform: Send + Sync {
    /// Does a request of this node or of another one.
    async fn perform(&self, request: NodeRequest) -> Result<Value, String>;

    /// How much the node has to do.
    fn load(&self) -> Load;

    /// How many percent of its sessions the node may move in a second.
    fn shed_percent(&self) -> u32;

    /// Asks the clients of so many sessions to connect anew, one after the other over a time.
    async fn shed(&self, sessions: usize, over: Duration);

    /// A session of a dead node left a channel.
    async fn session_left(&self, channel: &ChannelName, info: ClientInfo);

    /// Other nodes may have taken this node for dead, and messages to it may be lost.
    async fn was_away(&self);
}

/// A node's name in the cluster.
pub(crate) struct NodeIdentity {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) started_at: Timestamp,
}

/// One of the cluster's tasks.
type Run = fn(Arc<Cluster>, Arc<dyn Perform>, Arc<Vitals>) -> BoxFuture<'static, ()>;

/// This node's place among the others.
pub(crate) struct Cluster {
    pub(crate) bus: Arc<dyn Bus>,
    identity: NodeIdentity,
    hot: Arc<dyn HotState>,
    members: Members,
    /// Changes whenever a node joins or goes.
    membership: watch::Sender<u64>,
    settings: Settings,
    /// Differences that are in the log already.
    reported: Mutex<BTreeSet<String>>,
    pub(crate) topics: Topics,
    requests: Arc<Semaphore>,
    /// Dead nodes whose traces are not all cleared away.
    dead: Mutex<Vec<String>>,
    somebody_died: Notify,
    /// Nodes that hot state knows as alive and the bus does not reach, with the number of heartbeats for which that holds.
    unheard: Mutex<BTreeMap<String, u32>>,
    was_away: Notify,
    draining: AtomicBool,
    tasks: Tasks,
}

impl Cluster {
    pub(crate) fn new(
        identity: NodeIdentity,
        bus: Arc<dyn Bus>,
        hot: Arc<dyn HotState>,
        crashes: Arc<Crashes>,
    ) -> Arc<Self> {
        Arc::new(Self {
            bus,
            identity,
            hot,
            members: Members::default(),
            membership: watch::Sender::new(0),
            settings: Settings::default(),
            reported: Mutex::default(),
            topics: Topics::new(),
            requests: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
            dead: Mutex::default(),
            somebody_died: Notify::new(),
            unheard: Mutex::default(),
            was_away: Notify::new(),
            draining: AtomicBool::new(false),
            tasks: Tasks::new("node", crashes),
        })
    }

    /// Runs the node's part in the cluster until [`stop`](Self::stop).
    pub(crate) fn start(self: &Arc<Self>, node: &Arc<dyn Perform>) {
        mundotango_ops::metrics().cluster_nodes.set(1);
        if !self.bus.is_remote() {
            return;
        }
        self.spawn(node, "heartbeats", Pace::Timed, |cluster, node, vitals| {
            async move { cluster.send_heartbeats(&*node, &vitals).await }.boxed()
        });
        self.spawn(node, "hot state heartbeats", Pace::Timed, |cluster, _, vitals| {
            async move { cluster.beat_hot_state(&vitals).await }.boxed()
        });
        self.spawn(node, "members", Pace::Timed, |cluster, _, vitals| {
            async move { cluster.watch_members(&vitals).await }.boxed()
        });
        self.spawn(node, "burials", Pace::OnDemand, |cluster, node, vitals| {
            async move { cluster.bury_the_dead(&*node, &vitals).await }.boxed()
        });
        self.spawn(node, "balance", Pace::Timed, |cluster, node, vitals| {
            async move { cluster.keep_balance(&*node, &vitals).await }.boxed()
        });
        self.spawn(node, "returns", Pace::OnDemand, |cluster, node, vitals| {
            async move {
                loop {
                    // Returns that come while one is under way are one more return, so they do not pile up.
                    cluster.was_away.notified().await;
                    node.was_away().await;
                    vitals.handled();
                }
            }
            .boxed()
        });
        self.spawn(node, "requests", Pace::Timed, |cluster, node, vitals| {
            async move { cluster.answer_requests(node, &vitals).await }.boxed()
        });
    }

    /// Ends the node's part in the cluster.
    pub(crate) fn stop(&self) {
        self.tasks.stop();
    }

    fn spawn(self: &Arc<Self>, node: &Arc<dyn Perform>, name: &str, pace: Pace, run: Run) {
        let (cluster, node) = (Arc::clone(self), Arc::clone(node));
        self.tasks
            .keep_running(name, pace, move |vitals| run(Arc::clone(&cluster), Arc::clone(&node), vitals));
    }

    /// Runs a task of the application below the node's keeper until [`stop`](Self::stop).
    pub(crate) fn keep_running(
        &self,
        name: &str,
        pace: Pace,
        run: impl Fn(Arc<Vitals>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        self.tasks.keep_running(name, pace, run);
    }

    pub(crate) fn node_id(&self) -> &str {
        &self.identity.id
    }

    pub(crate) fn started_at(&self) -> Timestamp {
        self.identity.started_at
    }

    /// The other nodes.
    pub(crate) fn others(&self) -> Vec<NodeInfo> {
        self.members.all()
    }

    /// Changes whenever a node joins or goes.
    pub(crate) fn membership(&self) -> watch::Receiver<u64> {
        self.membership.subscribe()
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// True if the node is going away.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Declares a setting that all nodes have to agree on.
    pub(crate) fn must_agree(&self, setting: String, digest: String) {
        self.settings.declare(setting, digest);
    }

    /// In which settings this node differs from nodes that started before it.
    pub(crate) fn conflicts(&self) -> Vec<String> {
        let age = |node: &NodeInfo| (node.started_at, node.id.clone());
        let own = (self.identity.started_at, self.identity.id.clone());
        // The younger node is the wrong one: a new node with a wrong configuration must not take down the old ones.
        let elders = self.others().into_iter().filter(|node| age(node) < own);
        elders.flat_map(|node| self.settings.differences(&node)).collect()
    }

    /// The node's heartbeat.
    pub(crate) fn info(&self, load: &Load, gone: bool) -> NodeInfo {
        NodeInfo {
            id: self.identity.id.clone(),
            name: self.identity.name.clone(),
            version: self.identity.version.clone(),
            started_at: self.identity.started_at,
            sessions: load.sessions,
            users: load.users,
            channels: load.channels,
            subscriptions: load.subscriptions,
            draining: self.is_draining(),
            accepts: !self.is_draining() && self.conflicts().is_empty(),
            gone,
            settings: self.settings.digests(),
        }
    }

    /// Sends a heartbeat, or the farewell, so that nobody waits for the node's silence.
    pub(crate) async fn beat(&self, load: &Load, gone: bool) {
        let Ok(payload) = serde_json::to_vec(&self.info(load, gone)) else { return };
        if let Err(error) = self.bus.publish(HEARTBEATS, payload.into()).await {
            tracing::debug!(%error, "heartbeat not sent");
        }
    }

    fn receive_heartbeat(&self, message: &BusMessage) {
        let Ok(info) = serde_json::from_slice::<NodeInfo>(&message.payload) else { return };
        let (id, name) = (info.id.clone(), info.name.clone());
        for difference in self.settings.differences(&info) {
            if self.reported.lock().insert(difference.clone()) {
                tracing::error!(difference, "two nodes of the cluster are configured differently");
            }
        }
        match self.members.hear(info.clone()) {
            Outcome::Joined => {
                tracing::info!(id, name, "a node is here");
                self.warn_of_same_name(&info);
                self.members_changed();
            }
            Outcome::Left => {
                tracing::info!(id, name, "a node left");
                self.died(id);
            }
            Outcome::Known | Outcome::Late => {}
        }
    }

    fn warn_of_same_name(&self, other: &NodeInfo) {
        let mut names = self.others();
        names.retain(|node| node.name == other.name && node.id != other.id);
        if other.name == self.identity.name || !names.is_empty() {
            tracing::warn!(name = other.name, id = other.id, "two nodes of the cluster have the same name");
        }
    }

    fn died(&self, node: String) {
        self.bury_later(node);
        self.members_changed();
    }

    fn members_changed(&self) {
        let nodes = self.members.len() + 1;
        mundotango_ops::metrics().cluster_nodes.set(i64::try_from(nodes).unwrap_or(i64::MAX));
        self.membership.send_modify(|changes| *changes += 1);
    }

    async fn send_heartbeats(&self, node: &dyn Perform, vitals: &Vitals) {
        let mut interval = tokio::time::interval(HEARTBEAT);
        let mut last = Instant::now();
        loop {
            interval.tick().await;
            if last.elapsed() > GONE_AFTER {
                tracing::warn!("this node stood still, so others may think that it is gone");
                self.was_away.notify_one();
            }
            last = Instant::now();
            self.beat(&node.load(), false).await;
            vitals.handled();
        }
    }

    /// Tells hot state that the node lives. Only hot state knows the dead nodes of an earlier run of the whole cluster.
    async fn beat_hot_state(&self, vitals: &Vitals) {
        let mut interval = tokio::time::interval(HEARTBEAT);
        loop {
            interval.tick().await;
            // The next heartbeat makes up for one that failed.
            if let Ok(Ok(beat)) = tokio::time::timeout(BEAT_TIMEOUT, self.hot.beat()).await {
                if beat.forgotten {
                    tracing::warn!("hot state has lost this node's presence and online users");
                    self.was_away.notify_one();
                }
                for node in beat.silent {
                    self.bury_later(node);
                }
                self.compare_with_members(beat.alive);
            }
            vitals.handled();
        }
    }

    /// Finds nodes that share this node's hot state but not its bus: each of the two would serve its own clients alone, and
    /// both would be taken for healthy.
    fn compare_with_members(&self, alive: Vec<String>) {
        let mut unheard = self.unheard.lock();
        unheard.retain(|node, _| alive.contains(node) && !self.members.has(node));
        for node in alive.into_iter().filter(|node| !self.members.has(node)) {
            let beats = unheard.entry(node.clone()).or_default();
            *beats += 1;
            if *beats == UNHEARD_BEATS {
                tracing::error!(node, "a node shares this node's hot state and is not heard on the bus");
            }
        }
    }

    /// Nodes that share this node's hot state and are not heard on the bus.
    pub(crate) fn unheard(&self) -> Vec<String> {
        let unheard = self.unheard.lock();
        unheard.iter().filter(|(_, beats)| **beats >= UNHEARD_BEATS).map(|(node, _)| node.clone()).collect()
    }

    /// Has the burials' task clear away the traces of a dead node.
    fn bury_later(&self, node: String) {
        let mut dead = self.dead.lock();
        if !dead.contains(&node) {
            dead.push(node);
            self.somebody_died.notify_one();
        }
    }

    async fn watch_members(&self, vitals: &Vitals) {
        let mut connected = self.bus.connected();
        let Some(mut heartbeats) = self.listen(HEARTBEATS).await else { return };
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
                    if changed.is_err() {
                        return;
                    }
                    if *connected.borrow_and_update() {
                        self.members.forgive();
                        self.was_away.notify_one();
                    }
                    None
                }
            };
            if let Some(message) = message {
                self.receive_heartbeat(&message);
            }
            // A node that hears nobody, or stood still, cannot tell which nodes are gone.
            if !*connected.borrow() || last.elapsed() > GONE_AFTER / 2 {
                self.members.forgive();
            }
            last = Instant::now();
            for node in self.members.silent() {
                tracing::warn!(id = node.id, name = node.name, "a node is gone without a farewell");
                self.died(node.id);
            }
            vitals.handled();
        }
    }

    /// Clears away the traces of dead nodes. A task of its own: with many channels a burial takes long, and the living
    /// must be watched meanwhile. All nodes bury a dead node at once; hot state hands each of them different channels.
    async fn bury_the_dead(&self, node: &dyn Perform, vitals: &Vitals) {
        loop {
            self.somebody_died.notified().await;
            while !self.dead.lock().is_empty() {
                let dead = std::mem::take(&mut *self.dead.lock());
                let mut failed = false;
                for id in dead {
                    if !self.bury(node, &id).await {
                        failed = true;
                        self.dead.lock().push(id);
                    }
                    vitals.handled();
                }
                if failed {
                    tokio::time::sleep(BURY_AGAIN).await;
                }
            }
        }
    }

    async fn bury(&self, node: &dyn Perform, dead: &str) -> bool {
        match tokio::time::timeout(BURIAL_TIMEOUT, self.hot.forget_node(dead)).await {
            Ok(Ok(left)) => {
                tracing::info!(node = dead, sessions = left.len(), "traces of a gone node cleared away");
                for (channel, info) in left {
                    let Ok(channel) = ChannelName::parse(&channel) else { continue };
                    node.session_left(&channel, info).await;
                }
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, node = dead, "traces of a gone node not cleared away");
                false
            }
            Err(_) => {
                tracing::warn!(node = dead, "clearing away the traces of a gone node takes long");
                false
            }
        }
    }

    pub(super) async fn listen(&self, subject: &str) -> Option<Box<dyn Listening>> {
        match self.bus.listen(subject).await {
            Ok(listening) => Some(listening),
            Err(error) => {
                tracing::warn!(%error, subject, "subject not subscribed");
                None
            }
        }
    }
}

impl Supervised for Cluster {
    fn name(&self) -> &'static str {
        "node"
    }

    fn intensity(&self) -> Intensity {
        Intensity::NodeOwn(MOST_CRASHED_TASKS)
    }

    fn children(&self, _most: usize) -> (usize, Vec<TreeNode>) {
        let tasks = self.tasks.tree();
        (tasks.len(), tasks)
    }

    fn visit_all(&self, visit: &mut SeenVisitor<'_>) {
        self.tasks.visit_all(visit);
    }

    fn visit_one(&self, kind: &str, name: &str, visit: &mut SeenVisitor<'_>) {
        self.tasks.visit_one(kind, name, visit);
    }

    fn visit_busy(&self, visit: &mut BusyVisitor<'_>) {
        self.tasks.visit_busy(visit);
    }
}
