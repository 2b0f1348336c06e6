//! The real-time engine of a node: what its actors share, and the calls that the application makes.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_protocol::{
    ChannelName, ClientId, ClientInfo, Encoding, ErrorCode, Fanout, StreamPosition, new_id,
};
use mundotango_storage::StoreError;
use mundotango_storage::hot::{HistoryLimits, HistoryPage, HistoryQuery, HotState};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::bus::{Bus, LocalBus};
use crate::channel::{Channels, Context, HOT_STATE_TIMEOUT, Hot, Node, Publish};
use crate::cluster::{self, Cluster};
use crate::options::{ChannelsOptions, NamespaceOptions, SessionOptions};
use crate::placement::Placement;
use crate::session::{Authenticator, RpcHandler, Session, SessionHandle, Sessions, Transport};
use crate::supervision::Supervision;
use crate::vitals::TreeNode;

/// Users that are said to be online in one call.
const USERS_AT_ONCE: usize = 500;

/// Why the engine did not do what the application asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The channel's namespace is not configured.
    #[error("unknown channel")]
    UnknownChannel,
    /// The channel's namespace does not have what was asked for.
    #[error("not available")]
    NotAvailable,
    /// Hot state or the channel did not take it in time.
    #[error("channel not available")]
    Unavailable,
}

impl From<ErrorCode> for EngineError {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::UnknownChannel => Self::UnknownChannel,
            ErrorCode::NotAvailable => Self::NotAvailable,
            _ => Self::Unavailable,
        }
    }
}

/// The node's place among others.
#[derive(Clone)]
pub struct NodeParts {
    /// Its id: another one at every start.
    pub id: String,
    /// What its operator calls it.
    pub name: String,
    /// What connects it with the others.
    pub bus: Arc<dyn Bus>,
}

impl NodeParts {
    /// A node without others.
    pub fn alone() -> Self {
        let id = new_id();
        Self { name: id.clone(), id, bus: Arc::new(LocalBus::alone()) }
    }
}

/// What an engine is made of.
pub struct EngineParts {
    /// The node's place among others.
    pub node: NodeParts,
    /// The server's name and version, as clients see it.
    pub version: String,
    /// What one connection may do.
    pub session_options: SessionOptions,
    /// The namespaces.
    pub channels_options: ChannelsOptions,
    /// Channel history and presence.
    pub hot: Arc<dyn HotState>,
    /// Who reads tokens.
    pub authenticator: Arc<dyn Authenticator>,
}

/// Who decides which users may subscribe to the channels of a namespace.
#[async_trait]
pub trait ChannelGate: Send + Sync {
    /// Whether a user may subscribe to a channel.
    async fn may_subscribe(&self, user: &str, channel: &ChannelName) -> Result<bool, String>;
}

/// What the actors share.
pub(crate) struct Parts {
    pub(crate) version: String,
    pub(crate) node_id: String,
    pub(crate) started_at: Timestamp,
    pub(crate) cluster: Cluster,
    pub(crate) placement: Placement,
    pub(crate) session_options: SessionOptions,
    channels_options: ChannelsOptions,
    pub(crate) hot: Arc<dyn HotState>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) rpc: OnceLock<Arc<dyn RpcHandler>>,
    gates: Mutex<HashMap<String, Arc<dyn ChannelGate>>>,
    pub(crate) channels: Arc<Channels>,
    pub(crate) sessions: Sessions,
    pub(crate) supervision: OnceLock<Supervision>,
    /// Calls of sessions that are under way: draining waits for them.
    pub(crate) calls: TaskTracker,
    draining: AtomicBool,
}

impl Parts {
    pub(crate) fn options_of(&self, channel: &ChannelName) -> Result<&NamespaceOptions, ErrorCode> {
        self.channels_options.of(channel).ok_or(ErrorCode::UnknownChannel)
    }

    /// Asks who decides over a channel's namespace, if anybody does.
    pub(crate) async fn gate_opens(&self, user: &str, channel: &ChannelName) -> Result<bool, ErrorCode> {
        let gate = channel.namespace().and_then(|namespace| self.gates.lock().get(namespace).cloned());
        let Some(gate) = gate else { return Ok(false) };
        match tokio::time::timeout(HOT_STATE_TIMEOUT, gate.may_subscribe(user, channel)).await {
            Ok(Ok(may)) => Ok(may),
            Ok(Err(error)) => {
                tracing::warn!(error, %channel, "not known who may subscribe");
                Err(ErrorCode::Internal)
            }
            Err(_) => Err(ErrorCode::Internal),
        }
    }

    /// Bounds a call of hot state in time.
    pub(crate) async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, ErrorCode> {
        self.channels.context().hot.in_time(call).await
    }

    pub(crate) async fn history(
        &self,
        channel: &ChannelName,
        query: HistoryQuery,
        limits: HistoryLimits,
    ) -> Result<HistoryPage, ErrorCode> {
        self.in_time(self.hot.history(channel.as_str(), query, limits)).await
    }

    /// A user's first session began.
    pub(crate) async fn user_came(&self, session: &SessionHandle) {
        let Some(user) = session.user() else { return };
        if let Err(error) = self.in_time(self.hot.set_user_online(user, true)).await {
            tracing::warn!(%error, "user not said to be online");
        }
    }

    /// A user's last session ended.
    pub(crate) async fn user_went(&self, session: &SessionHandle) {
        let Some(user) = session.user() else { return };
        let mut said = self.in_time(self.hot.set_user_online(user, false)).await;
        if self.sessions.is_online(user) {
            // Another session began meanwhile, and may have said so before.
            said = self.in_time(self.hot.set_user_online(user, true)).await;
        }
        if let Err(error) = said {
            tracing::warn!(%error, "user not said to be offline");
        }
    }

    /// Publishes into a channel as its namespace says.
    pub(crate) async fn publish(
        &self,
        channel: &ChannelName,
        publish: Publish,
    ) -> Result<StreamPosition, ErrorCode> {
        let options = self.options_of(channel)?;
        self.channels.publish(channel, options, publish).await
    }

    /// Tells a channel's subscribers on all nodes that a session of a node that is gone left it.
    pub(crate) async fn announce_leave(&self, channel: &ChannelName, info: ClientInfo) {
        if !self.options_of(channel).is_ok_and(|options| options.join_leave || options.force_push_join_leave)
        {
            return;
        }
        let fanout = Fanout { leave: Some(info), ..Fanout::default() };
        self.channels.context().tell_nodes(channel, || fanout.clone()).await;
        self.channels.tell(channel, fanout);
    }

    /// Others may have thought that this node is gone, and things may have happened that it was not told.
    pub(crate) fn was_away(self: &Arc<Self>) {
        self.channels.was_away();
        let parts = Arc::clone(self);
        tokio::spawn(async move {
            for users in parts.sessions.online_users().chunks(USERS_AT_ONCE) {
                if let Err(error) = parts.in_time(parts.hot.set_users_online(users, true)).await {
                    tracing::warn!(%error, "users not said to be online");
                }
            }
        });
    }

    pub(crate) fn session_crashed(&self, client: ClientId, panic: &str) {
        tracing::error!(%client, panic, "session crashed; its socket is closed");
        self.crashed("session");
    }

    pub(crate) fn crashed(&self, kind: &'static str) {
        mundotango_ops::metrics().actor_restarts_total.with_label_values(&[kind]).inc();
        if let Some(supervision) = self.supervision.get() {
            supervision.child_crashed(kind);
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

impl Node for Parts {
    fn crashed(&self, kind: &'static str) {
        Self::crashed(self, kind);
    }

    fn other_nodes(&self) -> usize {
        self.cluster.others().len()
    }

    fn history_of(&self, channel: &ChannelName) -> Option<HistoryLimits> {
        self.options_of(channel).ok()?.history()
    }
}

/// The real-time engine of a node.
pub struct Engine {
    parts: Arc<Parts>,
}

impl Engine {
    /// Starts an engine: its supervision tree runs when this returns.
    pub async fn start(parts: EngineParts) -> Result<Arc<Self>, ractor::SpawnErr> {
        let context = Context::new(
            Hot::new(Arc::clone(&parts.hot)),
            Arc::clone(&parts.node.bus),
            parts.node.id.clone(),
            parts.session_options.recovery_max_publications,
        );
        let parts = Arc::new(Parts {
            version: parts.version,
            cluster: Cluster::new(parts.node.bus, parts.node.name),
            placement: Placement::default(),
            node_id: parts.node.id,
            started_at: Timestamp::now(),
            session_options: parts.session_options,
            channels_options: parts.channels_options,
            hot: parts.hot,
            authenticator: parts.authenticator,
            rpc: OnceLock::new(),
            gates: Mutex::default(),
            channels: Channels::new(context),
            sessions: Sessions::default(),
            supervision: OnceLock::new(),
            calls: TaskTracker::new(),
            draining: AtomicBool::new(false),
        });
        let node: Weak<dyn Node> = Arc::downgrade(&(Arc::clone(&parts) as Arc<dyn Node>));
        parts.channels.context().set_node(node);
        parts.channels.start();
        let supervision = Supervision::start(&parts).await?;
        let _ = parts.supervision.set(supervision);
        cluster::start(&parts);
        Ok(Arc::new(Self { parts }))
    }

    /// Says who answers the sessions' calls. The first one counts.
    pub fn set_rpc_handler(&self, handler: Arc<dyn RpcHandler>) {
        let _ = self.parts.rpc.set(handler);
    }

    /// Says who decides which users may subscribe to the channels of a namespace, beside the namespace's options.
    pub fn set_gate(&self, namespace: &str, gate: Arc<dyn ChannelGate>) {
        self.parts.gates.lock().insert(namespace.to_owned(), gate);
    }

    /// Opens a session for a new connection.
    pub fn open_session(&self, transport: Transport, encoding: Encoding) -> Session {
        Session::open(Arc::clone(&self.parts), transport, encoding)
    }

    /// Publishes into a channel; where it landed in history, or the default position where none is kept.
    pub async fn publish(
        &self,
        channel: &ChannelName,
        publish: Publish,
    ) -> Result<StreamPosition, EngineError> {
        Ok(self.parts.publish(channel, publish).await?)
    }

    /// What the actors share.
    pub(crate) fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }

    /// The node's id: another one at every start.
    pub fn node_id(&self) -> &str {
        &self.parts.node_id
    }

    /// When the node started.
    pub fn started_at(&self) -> Timestamp {
        self.parts.started_at
    }

    /// What one connection may do.
    pub fn session_options(&self) -> &SessionOptions {
        &self.parts.session_options
    }

    /// The node's sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.parts.sessions
    }

    /// The node's channels.
    pub fn channels(&self) -> &Channels {
        &self.parts.channels
    }

    /// The supervision tree, with at most `most_children` sessions and channels each.
    pub fn tree(&self, most_children: usize) -> Option<TreeNode> {
        Some(self.parts.supervision.get()?.tree(&self.parts, most_children))
    }

    /// Resolves when the tree has failed more often than supervision allows. The node should exit then.
    pub async fn failed(&self) {
        match self.parts.supervision.get() {
            Some(supervision) => supervision.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Makes a keeper of the tree panic. `false` if there is none of this name.
    #[cfg(feature = "test-hooks")]
    pub fn panic_keeper(&self, name: &str) -> bool {
        self.parts.supervision.get().is_some_and(|supervision| supervision.panic_keeper(name))
    }

    /// Whether the node is going away.
    pub fn is_draining(&self) -> bool {
        self.parts.is_draining()
    }

    /// Ends all sessions so that their clients come back elsewhere: one after the other over `window`, as all at once
    /// would be a storm for the other nodes. Returns when they and their calls are gone, or after `deadline`.
    pub async fn drain(&self, window: Duration, deadline: Duration) {
        self.parts.draining.store(true, Ordering::Relaxed);
        // Said at once, so that nothing new is started here.
        self.parts.cluster.beat(&self.parts, false).await;
        if let Some(supervision) = self.parts.supervision.get() {
            supervision.drain(&self.parts, window, deadline).await;
        }
        self.parts.placement.passivate_all(deadline / 4).await;
        self.parts.cluster.leave(&self.parts).await;
    }
}
