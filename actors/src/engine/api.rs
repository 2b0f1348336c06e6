//! The calls of the application and of operators that concern channels and sessions on all nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use mundotango_protocol::{
    ChannelName, ClientId, ClientInfo, DisconnectReason, ErrorCode, ErrorReply, StreamPosition,
};
use mundotango_storage::db::shard_of;
use mundotango_storage::hot::{HistoryPage, HistoryQuery, PresenceStats, UserStatus};
use serde_json::Value;

use super::{Engine, EngineError};
use crate::cluster::{Encoded, Everywhere, NodeError, NodeInfo, NodeRequest, Perform as _, TopicHandler};
use crate::control::SessionView;
use crate::handle::{ServerSubscription, Whose};
use crate::placement::{OwnedError, OwnedKind};
use crate::session::{Caller, timed_out};
use crate::vitals::TreeNode;

/// How long removing a history may take, which may be years long.
const REMOVAL_TIMEOUT: Duration = Duration::from_mins(1);

impl Engine {
    /// Has all nodes do something, this one first. Its result says how many nodes are missing.
    async fn everywhere(&self, request: NodeRequest) -> Everywhere<Vec<(String, Value)>> {
        let control = self.control();
        let mut all = Everywhere { answers: Vec::new(), missing: 0 };
        match control.perform(request.clone()).await {
            Ok(answer) => all.answers.push((self.node_id().to_owned(), answer)),
            Err(error) => {
                tracing::warn!(error, "request not performed");
                all.missing += 1;
            }
        }
        let others = control.cluster.ask_others(request).await;
        all.answers.extend(others.answers);
        all.missing += others.missing;
        all
    }

    /// As [`everywhere`](Self::everywhere), where the answers say nothing.
    async fn command(&self, request: NodeRequest) -> Everywhere<()> {
        self.everywhere(request).await.map(|_| ())
    }

    /// Subscribes sessions, on whichever nodes they are, to a channel.
    pub async fn subscribe(
        &self,
        whose: &Whose,
        channel: &ChannelName,
        subscription: ServerSubscription,
        recover: Option<StreamPosition>,
    ) -> Result<Everywhere<()>, EngineError> {
        self.context().options_of(channel)?;
        let request = NodeRequest::Subscribe {
            whose: whose.clone(),
            channel: channel.as_str().to_owned(),
            subscription: Box::new(subscription),
            recover,
        };
        Ok(self.command(request).await)
    }

    /// Takes sessions out of a channel.
    pub async fn unsubscribe(&self, whose: &Whose, channel: &ChannelName) -> Everywhere<()> {
        let channel = channel.as_str().to_owned();
        self.command(NodeRequest::Unsubscribe { whose: whose.clone(), channel }).await
    }

    /// Ends sessions, but not those in `spared`.
    pub async fn disconnect(
        &self,
        whose: &Whose,
        reason: &DisconnectReason,
        spared: &[ClientId],
    ) -> Everywhere<()> {
        let request = NodeRequest::Disconnect {
            whose: whose.clone(),
            code: reason.code(),
            reason: reason.reason().to_owned(),
            spared: spared.iter().map(ToString::to_string).collect(),
        };
        self.command(request).await
    }

    /// Sets when sessions expire, in Unix seconds, or that they do not; `info` replaces what others may know.
    pub async fn refresh(
        &self,
        whose: &Whose,
        expires_at: Option<u64>,
        info: Option<Bytes>,
    ) -> Everywhere<()> {
        self.command(NodeRequest::Refresh { whose: whose.clone(), expires_at, info }).await
    }

    /// Sends the clients of sessions a message that belongs to no channel.
    pub async fn message(&self, whose: &Whose, data: Bytes) -> Everywhere<()> {
        self.command(NodeRequest::Message { whose: whose.clone(), data }).await
    }

    /// Sessions, on whichever nodes they are.
    pub async fn sessions_of(&self, whose: &Whose) -> Everywhere<Vec<SessionView>> {
        let all = self.everywhere(NodeRequest::Sessions { whose: whose.clone() }).await;
        all.read().map(|views: Vec<Vec<SessionView>>| views.into_iter().flatten().collect())
    }

    /// The channels whose names fit a pattern (all, if it is empty) and that have subscribers, and how many.
    pub async fn channel_counts(&self, pattern: &str) -> Everywhere<BTreeMap<String, usize>> {
        let all = self.everywhere(NodeRequest::Channels { pattern: pattern.to_owned() }).await;
        all.read().map(|counts: Vec<BTreeMap<String, usize>>| {
            let mut sums = BTreeMap::new();
            for (channel, subscribers) in counts.into_iter().flatten() {
                *sums.entry(channel).or_default() += subscribers;
            }
            sums
        })
    }

    /// The nodes of the cluster, this one first.
    pub fn nodes(&self) -> Vec<NodeInfo> {
        let control = self.control();
        let mut nodes = vec![control.cluster.info(&control.load(), false)];
        nodes.extend(control.cluster.others());
        nodes
    }

    /// The node that looks after something of which one node at a time should: each node gives it a number for every node, and
    /// the greatest one decides, so that little moves when a node joins or goes. Nodes that are going away are left out. While
    /// nodes disagree on who is there, two may take themselves for it.
    pub fn keeper_of(&self, what: &str) -> Option<String> {
        let weight = |node: &str| (shard_of(&format!("{what}/{node}"), u64::MAX), node.to_owned());
        let cluster = &self.control().cluster;
        let others = cluster.others();
        let others = others.iter().filter(|node| !node.draining).map(|node| node.id.as_str());
        // This node's load is not asked for: that would count its channels, for every job.
        let own = (!cluster.is_draining()).then(|| cluster.node_id());
        let keeper = others.chain(own).map(weight).max();
        keeper.map(|(_, keeper)| keeper)
    }

    /// A node's supervision tree, with at most `most_children` sessions and channels each.
    pub async fn tree_of(&self, node: &str, most_children: usize) -> Result<TreeNode, NodeError> {
        if node == self.node_id() {
            return Ok(self.control().tree(most_children));
        }
        self.control().cluster.ask(node, NodeRequest::Tree { most_children }).await
    }

    /// The supervision trees of all nodes, this one's first; none of a node that does not answer.
    pub async fn trees(&self, most_children: usize) -> Vec<(NodeInfo, Result<TreeNode, NodeError>)> {
        let nodes = self.nodes().into_iter();
        let asked = nodes.map(async |node| {
            let tree = self.tree_of(&node.id, most_children).await;
            (node, tree)
        });
        join_all(asked).await
    }

    /// Says who handles what other nodes say on a topic.
    pub fn set_topic(&self, topic: &str, handler: Arc<dyn TopicHandler>) {
        self.control().cluster.topics.set(topic, handler);
    }

    /// Says something on a topic to all other nodes, and waits until they handled it, or a time.
    pub async fn tell_topic(&self, topic: &str, data: Bytes) {
        // A node that is missing is in the log; the topics' users make up for a lost message by themselves.
        let _ = self.control().cluster.ask_others(NodeRequest::Topic { topic: topic.to_owned(), data }).await;
    }

    /// Asks who handles a topic on another node.
    pub async fn ask_topic(&self, node: &str, topic: &str, data: Bytes) -> Result<Bytes, NodeError> {
        let request = NodeRequest::Topic { topic: topic.to_owned(), data };
        if node != self.node_id() {
            return self.control().cluster.ask::<Encoded>(node, request).await.map(|encoded| encoded.0);
        }
        let answer = self.control().perform(request).await.map_err(NodeError::Refused)?;
        let read = serde_json::from_value::<Encoded>(answer);
        read.map(|encoded| encoded.0).map_err(|error| NodeError::Refused(error.to_string()))
    }

    /// The node that all nodes pick for a thing of a kind, as long as they see the same nodes: for work that is better, but does
    /// not have to be, done by one.
    pub fn place_of(&self, kind: &str, id: &str) -> String {
        self.control().placement.place_of(kind, id)
    }

    /// Says how actors of a kind that exist once in the cluster are started. A kind's name is made of letters.
    pub fn set_kind(&self, name: &str, kind: Arc<dyn OwnedKind>) {
        self.control().placement.set_kind(name, kind);
    }

    /// Asks an actor that exists once in the cluster, wherever it is; where there is none, one is started.
    pub async fn ask_owned(&self, kind: &str, id: &str, message: Bytes) -> Result<Bytes, OwnedError> {
        self.control().placement.ask(kind, id, message).await
    }

    /// True if the other nodes can be reached; `None` if there may be none.
    pub fn bus_connected(&self) -> Option<bool> {
        let bus = &self.control().cluster.bus;
        bus.is_remote().then(|| *bus.connected().borrow())
    }

    /// The clients in a channel, by session id.
    pub async fn presence(&self, channel: &ChannelName) -> Result<BTreeMap<String, ClientInfo>, EngineError> {
        let sessions = self.context();
        if !sessions.options_of(channel)?.presence {
            return Err(EngineError::NotAvailable);
        }
        let channels = sessions.channels.context();
        Ok(channels.presence_answers.of(channel, &channels.hot).await?.clients.clone())
    }

    /// How many are in a channel, without reading who.
    pub async fn presence_stats(&self, channel: &ChannelName) -> Result<PresenceStats, EngineError> {
        let context = self.context();
        if !context.options_of(channel)?.presence {
            return Err(EngineError::NotAvailable);
        }
        Ok(context.in_time(context.hot.presence_stats(channel.as_str())).await?)
    }

    /// Reads a channel's history; at most as much as a session gets at once.
    pub async fn history(
        &self,
        channel: &ChannelName,
        query: HistoryQuery,
    ) -> Result<HistoryPage, EngineError> {
        let context = self.context();
        let limits = context.options_of(channel)?.history().ok_or(EngineError::NotAvailable)?;
        let most = context.session_options.history_max_publications;
        let limit = Some(query.limit.unwrap_or(most).min(most));
        Ok(context.history(channel, HistoryQuery { limit, ..query }, limits).await?)
    }

    /// Forgets a channel's publications.
    pub async fn remove_history(&self, channel: &ChannelName) -> Result<(), EngineError> {
        let context = self.context();
        let limits = context.options_of(channel)?.history().ok_or(EngineError::NotAvailable)?;
        let removing = context.hot.remove_history(channel.as_str(), limits);
        match tokio::time::timeout(REMOVAL_TIMEOUT, removing).await {
            Ok(Ok(())) => Ok(()),
            outcome => {
                tracing::warn!(?outcome, %channel, "history not removed, or not all of it");
                Err(ErrorCode::Internal.into())
            }
        }
    }

    /// Calls the application as a session's RPC does.
    pub async fn call(&self, caller: Caller, method: &str, data: Bytes) -> Result<Bytes, ErrorReply> {
        let Some(handler) = self.context().rpc.get() else { return Err(ErrorCode::MethodNotFound.into()) };
        match tokio::time::timeout(self.session_options().rpc_timeout, handler.call(caller, method, data))
            .await
        {
            Ok(outcome) => outcome,
            Err(_) => Err(timed_out()),
        }
    }

    /// The times at which users were last online.
    pub async fn user_statuses(&self, users: &[String]) -> Result<BTreeMap<String, UserStatus>, EngineError> {
        let context = self.context();
        Ok(context.in_time(context.hot.user_statuses(users)).await?)
    }
}
