//! The state and ports that all sessions of a node share.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mundotango_protocol::{ChannelName, ClientInfo, ErrorCode, Fanout, StreamPosition};
use mundotango_storage::StoreError;
use mundotango_storage::hot::{HistoryLimits, HistoryPage, HistoryQuery, HotState};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::ports::{Authenticator, ChannelGate, RpcHandler};
use super::registry::Sessions;
use crate::channel::{Channels, HOT_STATE_TIMEOUT, Publish};
use crate::crashes::{Crashed, Crashes};
use crate::handle::{self, SessionHandle};
use crate::options::{Namespace, NamespaceOptions, Namespaces, SessionOptions};

/// Users that are written as online at the same time, when all are written again.
const USERS_AT_ONCE: usize = 500;
/// Pause before the online users are written again after hot state failed.
const RETRY_ONLINE: Duration = Duration::from_secs(2);

/// The configuration of a node's sessions.
pub(crate) struct SessionConfig {
    pub(crate) version: String,
    pub(crate) node_id: String,
    pub(crate) session_options: SessionOptions,
    pub(crate) namespaces: Arc<Namespaces>,
}

/// The state and ports that all sessions of a node share.
pub(crate) struct SessionContext {
    pub(crate) version: String,
    pub(crate) node_id: String,
    pub(crate) session_options: SessionOptions,
    namespaces: Arc<Namespaces>,
    pub(crate) hot: Arc<dyn HotState>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) rpc: OnceLock<Arc<dyn RpcHandler>>,
    gates: Mutex<HashMap<String, Arc<dyn ChannelGate>>>,
    pub(crate) channels: Arc<Channels>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) crashes: Arc<Crashes>,
    /// Calls of sessions that are under way: draining waits for them.
    pub(crate) calls: TaskTracker,
}

impl SessionContext {
    pub(crate) fn new(
        config: SessionConfig,
        hot: Arc<dyn HotState>,
        authenticator: Arc<dyn Authenticator>,
        channels: Arc<Channels>,
        crashes: Arc<Crashes>,
    ) -> Self {
        let SessionConfig { version, node_id, session_options, namespaces } = config;
        Self {
            version,
            node_id,
            session_options,
            namespaces,
            hot,
            authenticator,
            rpc: OnceLock::new(),
            gates: Mutex::default(),
            channels,
            sessions: Arc::default(),
            crashes,
            calls: TaskTracker::new(),
        }
    }

    pub(crate) fn options_of(&self, channel: &ChannelName) -> Result<&Arc<NamespaceOptions>, ErrorCode> {
        Ok(&self.namespace_of(channel)?.options)
    }

    fn namespace_of(&self, channel: &ChannelName) -> Result<&Namespace, ErrorCode> {
        self.namespaces.of(channel).ok_or(ErrorCode::UnknownChannel)
    }

    pub(crate) fn set_gate(&self, namespace: &str, gate: Arc<dyn ChannelGate>) {
        self.gates.lock().insert(namespace.to_owned(), gate);
    }

    /// Asks the gate of a channel's namespace. `false` where there is no gate.
    pub(super) async fn gate_opens(&self, user: &str, channel: &ChannelName) -> Result<bool, ErrorCode> {
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
        self.channels.context().hot.history(channel, query, limits).await
    }

    /// A user's first session began.
    pub(super) async fn user_came(&self, session: &SessionHandle) {
        let Some(user) = session.user() else { return };
        if let Err(error) = self.in_time(self.hot.set_user_online(user, true)).await {
            tracing::warn!(%error, "user not written as online");
        }
    }

    /// A user's last session ended.
    pub(super) async fn user_went(&self, session: &SessionHandle) {
        let Some(user) = session.user() else { return };
        let mut written = self.in_time(self.hot.set_user_online(user, false)).await;
        if self.sessions.is_online(user) {
            // Another session began meanwhile, and may have written "online" before this "offline".
            written = self.in_time(self.hot.set_user_online(user, true)).await;
        }
        if let Err(error) = written {
            tracing::warn!(%error, "user not written as offline");
        }
    }

    /// Writes all users that have a session here as online, until hot state took them all.
    pub(crate) async fn write_all_online(&self) {
        loop {
            let users = self.sessions.online_users();
            let mut written = Ok(());
            for users in users.chunks(USERS_AT_ONCE) {
                written = self.in_time(self.hot.set_users_online(users, true)).await;
                if written.is_err() {
                    // The rest would fail as well, each after its time-out.
                    break;
                }
            }
            match written {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "online users not all written; tried again"),
            }
            tokio::time::sleep(RETRY_ONLINE).await;
        }
    }

    /// Publishes into a channel as its namespace says.
    pub(crate) async fn publish(
        &self,
        channel: &ChannelName,
        publish: Publish,
    ) -> Result<StreamPosition, ErrorCode> {
        let namespace = self.namespace_of(channel)?;
        self.channels.publish(channel, namespace, publish).await
    }

    /// Tells a channel's subscribers on all nodes that a session of a dead node left the channel.
    pub(crate) async fn announce_leave(&self, channel: &ChannelName, info: ClientInfo) {
        if !self.options_of(channel).is_ok_and(|options| options.join_leave || options.force_push_join_leave)
        {
            return;
        }
        let fanout = Fanout { leave: Some(info), ..Fanout::default() };
        self.channels.context().tell_nodes(channel, || fanout.clone()).await;
        self.channels.tell(channel, fanout);
    }

    pub(super) fn session_crashed(&self, session: &SessionHandle, panic: &str) {
        let client = session.client().to_string();
        let crashed = Crashed {
            label: "session",
            // Anonymous sessions and those that are not connected yet count as one user.
            culprit: session.user().unwrap_or_default(),
            kind: handle::KIND,
            name: &client,
            reason: panic,
            trail: session.vitals().trail(),
        };
        let messages = self.crashes.report("sessions", &crashed);
        tracing::error!(client, panic, messages, "session crashed; its socket is closed");
    }
}
