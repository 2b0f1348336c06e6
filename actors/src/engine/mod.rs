//! The real-time engine of a node: what its actors share, and the calls that the application makes.

mod api;
mod sight;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use mundotango_protocol::{ChannelName, Encoding, ErrorCode, StreamPosition, new_id};
use mundotango_storage::hot::{HistoryLimits, HotState};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::bus::{Bus, LocalBus};
use crate::channel::{Channels, Context, Hot, Node, Publish};
use crate::cluster::{Cluster, NodeError, NodeIdentity, NodeInfo, Perform};
use crate::control::Control;
use crate::crashes::Crashes;
use crate::handle::Transport;
use crate::inspection::{Slow, SlowView};
use crate::options::{ChannelsOptions, Namespaces, SessionOptions};
use crate::placement::Placement;
use crate::pools::WorkerPools;
use crate::session::{
    Authenticator, ChannelGate, RpcHandler, Session, SessionConfig, SessionContext, Sessions,
};
use crate::supervised::Supervised;
use crate::supervision::Supervision;
use crate::tasks::Pace;
use crate::telemetry::Telemetry;
use crate::vitals::{TreeNode, Vitals};

/// Why the engine did not do what the application asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The channel's namespace is not configured.
    #[error("unknown channel")]
    UnknownChannel,
    /// The channel's namespace does not have what was asked for.
    #[error("not available")]
    NotAvailable,
    /// The payload is not of the namespace's data format.
    #[error("data is not of the channel's format")]
    WrongFormat,
    /// Hot state or the channel did not take it in time.
    #[error("channel not available")]
    Unavailable,
}

impl From<ErrorCode> for EngineError {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::UnknownChannel => Self::UnknownChannel,
            ErrorCode::NotAvailable => Self::NotAvailable,
            ErrorCode::BadRequest => Self::WrongFormat,
            _ => Self::Unavailable,
        }
    }
}

/// The node's place among others.
#[derive(Clone)]
pub struct NodeParts {
    /// Its id: another one at every start.
    pub id: String,
    /// Its name, which its operator gives.
    pub name: String,
    /// The bus to the other nodes.
    pub bus: Arc<dyn Bus>,
}

impl NodeParts {
    /// A node without others.
    pub fn alone() -> Self {
        let id = new_id();
        Self { name: id.clone(), id, bus: Arc::new(LocalBus::alone()) }
    }
}

/// The parts from which an engine is made.
pub struct EngineParts {
    /// The node's place among others.
    pub node: NodeParts,
    /// The server's name and version, as clients see it.
    pub version: String,
    /// The limits of one connection.
    pub session_options: SessionOptions,
    /// The namespaces.
    pub channels_options: ChannelsOptions,
    /// Channel history and presence.
    pub hot: Arc<dyn HotState>,
    /// Reads tokens.
    pub authenticator: Arc<dyn Authenticator>,
}

/// The node as its channels see it.
struct ChannelsNode {
    cluster: Arc<Cluster>,
    namespaces: Arc<Namespaces>,
}

impl Node for ChannelsNode {
    fn other_nodes(&self) -> usize {
        self.cluster.others().len()
    }

    fn history_of(&self, channel: &ChannelName) -> Option<HistoryLimits> {
        self.namespaces.of(channel)?.options.history()
    }
}

/// What is slow on each node; why not for a node that does not say.
type EachSlow = Vec<(NodeInfo, Result<Arc<SlowView>, NodeError>)>;

/// The real-time engine of a node.
pub struct Engine {
    control: Arc<Control>,
    /// The last answers of all nodes. Held while they are asked: those who ask meanwhile wait for the same answers.
    slow_nodes: Mutex<Option<(Instant, Arc<EachSlow>)>>,
}

impl Engine {
    /// Starts an engine: its supervision tree runs when this returns.
    pub async fn start(parts: EngineParts) -> Result<Arc<Self>, ractor::SpawnErr> {
        let crashes = Arc::new(Crashes::default());
        let NodeParts { id, name, bus } = parts.node;
        let cluster = Cluster::new(
            NodeIdentity {
                id: id.clone(),
                name,
                version: parts.version.clone(),
                started_at: Timestamp::now(),
            },
            Arc::clone(&bus),
            Arc::clone(&parts.hot),
            Arc::clone(&crashes),
        );
        for (namespace, digest) in parts.channels_options.digests() {
            cluster.must_agree(format!("the options of {namespace}"), digest);
        }
        let namespaces = Arc::new(Namespaces::new(parts.channels_options));
        let channels = Channels::new(Context::new(
            Hot::new(Arc::clone(&parts.hot)),
            bus,
            id.clone(),
            parts.session_options.recovery_max_publications,
            Arc::clone(&crashes),
            Box::new(ChannelsNode { cluster: Arc::clone(&cluster), namespaces: Arc::clone(&namespaces) }),
        ));
        let config = SessionConfig {
            version: parts.version,
            node_id: id,
            session_options: parts.session_options,
            namespaces,
        };
        let context = Arc::new(SessionContext::new(
            config,
            parts.hot,
            parts.authenticator,
            Arc::clone(&channels),
            Arc::clone(&crashes),
        ));
        let placement = Placement::new(Arc::clone(&cluster), Arc::clone(&crashes));
        let pools = WorkerPools::new(Arc::clone(&crashes));
        let supervised: Vec<Arc<dyn Supervised>> = vec![
            Arc::clone(&cluster) as Arc<dyn Supervised>,
            Arc::clone(&context.sessions) as Arc<dyn Supervised>,
            Arc::clone(&channels) as Arc<dyn Supervised>,
            Arc::clone(&placement) as Arc<dyn Supervised>,
            Arc::clone(&pools) as Arc<dyn Supervised>,
            Telemetry::new(vec![
                (
                    "session",
                    Box::new({
                        let sessions = Arc::clone(&context.sessions);
                        move || sessions.waiting()
                    }),
                ),
                (
                    "channel",
                    Box::new({
                        let channels = Arc::clone(&channels);
                        move || channels.waiting()
                    }),
                ),
            ]),
        ];
        let slow = Slow::new(Arc::clone(&context.sessions), Arc::clone(&channels), supervised.clone());
        let supervision = Supervision::start(supervised, crashes, context.session_options.hung_after).await?;
        let control = Arc::new(Control { context, cluster, placement, pools, supervision, slow });
        channels.start();
        control.placement.start();
        control.cluster.start(&(Arc::clone(&control) as Arc<dyn Perform>));
        Ok(Arc::new(Self { control, slow_nodes: Mutex::default() }))
    }

    /// Declares a setting that all nodes of the cluster have to agree on, by a digest that gives nothing of it away.
    /// A node whose digest differs from an older node's is in conflict; see [`conflicts`](Self::conflicts).
    pub fn must_agree(&self, setting: &str, digest: String) {
        self.control.cluster.must_agree(setting.to_owned(), digest);
    }

    /// In which settings this node differs from the nodes that were there before it. It should take no work then.
    pub fn conflicts(&self) -> Vec<String> {
        self.control.cluster.conflicts()
    }

    /// Nodes that share this node's hot state and are not heard on its bus, such as those of another NATS server: what is
    /// asked of all nodes does not reach them.
    pub fn unheard_nodes(&self) -> Vec<String> {
        self.control.cluster.unheard()
    }

    /// Says who answers the sessions' calls. The first one counts.
    pub fn set_rpc_handler(&self, handler: Arc<dyn RpcHandler>) {
        let _ = self.context().rpc.set(handler);
    }

    /// Says who decides which users may subscribe to the channels of a namespace, beside the namespace's options.
    pub fn set_gate(&self, namespace: &str, gate: Arc<dyn ChannelGate>) {
        self.context().set_gate(namespace, gate);
    }

    /// Runs a long-lived task of the application until the node has drained. The task hangs in the supervision tree below
    /// `node`: it is seen there with its vitals, and runs again after it panicked or returned.
    pub fn keep_running(
        &self,
        name: &str,
        pace: Pace,
        run: impl Fn(Arc<Vitals>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        self.control.cluster.keep_running(name, pace, run);
    }

    /// The same below `pools`, for those who do the application's jobs.
    pub fn keep_working(
        &self,
        name: &str,
        pace: Pace,
        run: impl Fn(Arc<Vitals>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        self.control.pools.keep_running(name, pace, run);
    }

    /// Opens a session for a new connection.
    pub fn open_session(&self, transport: Transport, encoding: Encoding) -> Session {
        Session::open(Arc::clone(self.context()), transport, encoding)
    }

    /// Publishes into a channel; where it landed in history, or the default position where none is kept.
    pub async fn publish(
        &self,
        channel: &ChannelName,
        publish: Publish,
    ) -> Result<StreamPosition, EngineError> {
        Ok(self.context().publish(channel, publish).await?)
    }

    fn control(&self) -> &Arc<Control> {
        &self.control
    }

    fn context(&self) -> &Arc<SessionContext> {
        &self.control.context
    }

    /// The node's id: another one at every start.
    pub fn node_id(&self) -> &str {
        &self.context().node_id
    }

    /// When the node started.
    pub fn started_at(&self) -> Timestamp {
        self.control.cluster.started_at()
    }

    /// The limits of one connection.
    pub fn session_options(&self) -> &SessionOptions {
        &self.context().session_options
    }

    /// The node's sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.context().sessions
    }

    /// The node's channels.
    pub fn channels(&self) -> &Channels {
        &self.context().channels
    }

    /// The supervision tree, with at most `most_children` sessions and channels each.
    pub fn tree(&self, most_children: usize) -> Option<TreeNode> {
        Some(self.control.tree(most_children))
    }

    /// Resolves when the tree has failed more often than supervision allows. The node should exit then.
    pub async fn failed(&self) {
        self.control.supervision.failed().await;
    }

    /// Makes a keeper of the tree panic. `false` if there is none of this name.
    #[cfg(feature = "test-hooks")]
    pub fn panic_keeper(&self, name: &str) -> bool {
        self.control.supervision.panic_keeper(name)
    }

    /// True if the node is going away.
    pub fn is_draining(&self) -> bool {
        self.control.cluster.is_draining()
    }

    /// Ends all sessions so that their clients come back elsewhere: one after the other over `window`, as all at once
    /// would be a storm for the other nodes. Returns when they and their calls are gone, or after `deadline`.
    pub async fn drain(&self, window: Duration, deadline: Duration) {
        self.control.drain(window, deadline).await;
    }

    /// Ends those who do the application's jobs. They go on while the node drains, to end what they have.
    pub fn stop_working(&self) {
        self.control.pools.stop();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The tasks hold the rooms that they look after, and would keep them for ever.
        self.control.cluster.stop();
        self.control.pools.stop();
        self.control.placement.stop();
        self.context().channels.stop();
        self.control.supervision.stop();
    }
}
