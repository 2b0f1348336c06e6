//! The real-time engine of a node: what its actors share, and the calls that the application makes.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mundotango_protocol::{ChannelName, ClientId, Encoding, ErrorCode, Publication, StreamPosition};
use mundotango_storage::StoreError;
use mundotango_storage::hot::{HistoryLimits, HistoryPage, HistoryQuery, HotState};

use tokio_util::task::TaskTracker;

use crate::channel::{Channels, Delivery, namespace_label};
use crate::options::{ChannelsOptions, NamespaceOptions, SessionOptions};
use crate::session::{Authenticator, RpcHandler, Session, Sessions, Transport};
use crate::supervision::Supervision;
use crate::vitals::TreeNode;

/// How long an actor waits for hot state before it goes on without.
const HOT_STATE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the engine did not do what the application asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The channel's namespace is not configured.
    #[error("unknown channel")]
    UnknownChannel,
    /// Hot state or the channel did not take it in time.
    #[error("channel not available")]
    Unavailable,
}

/// What an engine is made of.
pub struct EngineParts {
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

/// What the actors share.
pub(crate) struct Parts {
    pub(crate) version: String,
    pub(crate) session_options: SessionOptions,
    channels_options: ChannelsOptions,
    pub(crate) hot: Arc<dyn HotState>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) rpc: OnceLock<Arc<dyn RpcHandler>>,
    pub(crate) channels: Channels,
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

    /// Bounds a call of hot state in time.
    pub(crate) async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, ErrorCode> {
        match tokio::time::timeout(HOT_STATE_TIMEOUT, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::warn!(%error, "hot state failed");
                Err(ErrorCode::Internal)
            }
            Err(_) => {
                tracing::warn!("hot state timed out");
                Err(ErrorCode::Internal)
            }
        }
    }

    pub(crate) async fn history(
        &self,
        channel: &ChannelName,
        query: HistoryQuery,
        limits: HistoryLimits,
    ) -> Result<HistoryPage, ErrorCode> {
        self.in_time(self.hot.history(channel.as_str(), query, limits.meta_ttl)).await
    }

    /// Gives a publication its place in history, where the channel keeps one, and sends it to the subscribers.
    pub(crate) async fn publish(
        &self,
        channel: &ChannelName,
        mut publication: Publication,
    ) -> Result<StreamPosition, ErrorCode> {
        let options = self.options_of(channel)?;
        let position = match options.history() {
            None => StreamPosition::default(),
            Some(limits) => {
                let append = self.hot.append(channel.as_str(), publication.clone(), limits);
                self.in_time(append).await?
            }
        };
        publication.offset = position.offset;
        let labels = [namespace_label(channel)];
        mundotango_ops::metrics().realtime_publications_total.with_label_values(&labels).inc();
        self.channels.deliver(channel, Delivery { publication, epoch: position.epoch.clone() }).await?;
        Ok(position)
    }

    pub(crate) fn channel_crashed(&self, channel: &ChannelName, panic: &str) {
        tracing::error!(%channel, panic, "channel crashed; its subscribers are told to subscribe again");
        self.crashed("channel");
    }

    pub(crate) fn session_crashed(&self, client: ClientId, panic: &str) {
        tracing::error!(%client, panic, "session crashed; its socket is closed");
        self.crashed("session");
    }

    fn crashed(&self, kind: &'static str) {
        mundotango_ops::metrics().actor_restarts_total.with_label_values(&[kind]).inc();
        if let Some(supervision) = self.supervision.get() {
            supervision.child_crashed(kind);
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// The real-time engine of a node.
pub struct Engine {
    parts: Arc<Parts>,
}

impl Engine {
    /// Starts an engine: its supervision tree runs when this returns.
    pub async fn start(parts: EngineParts) -> Result<Arc<Self>, ractor::SpawnErr> {
        let parts = Arc::new(Parts {
            version: parts.version,
            session_options: parts.session_options,
            channels_options: parts.channels_options,
            hot: parts.hot,
            authenticator: parts.authenticator,
            rpc: OnceLock::new(),
            channels: Channels::new(),
            sessions: Sessions::default(),
            supervision: OnceLock::new(),
            calls: TaskTracker::new(),
            draining: AtomicBool::new(false),
        });
        parts.channels.set_parts(&parts);
        let supervision = Supervision::start(&parts).await?;
        let _ = parts.supervision.set(supervision);
        Ok(Arc::new(Self { parts }))
    }

    /// Says who answers the sessions' calls. The first one counts.
    pub fn set_rpc_handler(&self, handler: Arc<dyn RpcHandler>) {
        let _ = self.parts.rpc.set(handler);
    }

    /// Opens a session for a new connection.
    pub fn open_session(&self, transport: Transport, encoding: Encoding) -> Session {
        Session::open(Arc::clone(&self.parts), transport, encoding)
    }

    /// Publishes into a channel; where it landed in history, or the default position where none is kept.
    pub async fn publish(
        &self,
        channel: &ChannelName,
        publication: Publication,
    ) -> Result<StreamPosition, EngineError> {
        self.parts.publish(channel, publication).await.map_err(|code| match code {
            ErrorCode::UnknownChannel => EngineError::UnknownChannel,
            _ => EngineError::Unavailable,
        })
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
        if let Some(supervision) = self.parts.supervision.get() {
            supervision.drain(&self.parts, window, deadline).await;
        }
    }
}
