//! What the application and operators do to channels and to users' sessions from outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;
use mundotango_protocol::{
    ChannelName, ClientId, ClientInfo, DisconnectReason, ErrorCode, ErrorReply, StreamPosition,
};
use mundotango_storage::hot::{HistoryPage, HistoryQuery, PresenceStats, UserStatus};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::{NodeError, NodeInfo, NodeRequest, TopicHandler, base64_bytes};
use crate::engine::{Engine, EngineError, Parts};
use crate::placement::{OwnedError, OwnedKind};
use crate::session::{Caller, ServerSubscription, SessionHandle, SessionMessage, Sessions};
use crate::vitals::TreeNode;

/// How long removing a history may take, which may be years long.
const REMOVAL_TIMEOUT: Duration = Duration::from_mins(1);

/// Which sessions something is done to: a user's, or some of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Whose {
    /// The user; the empty one's sessions are the anonymous ones.
    pub user: String,
    /// Only this session.
    pub client: Option<String>,
    /// Only the session with this secret; see [`Who::session_key`](crate::Who::session_key).
    pub session: Option<String>,
}

impl Whose {
    fn among(&self, sessions: &Sessions) -> Vec<Arc<SessionHandle>> {
        let mut among = sessions.of_user(&self.user);
        among.retain(|session| self.fits(session));
        among
    }

    fn fits(&self, session: &SessionHandle) -> bool {
        let key = || session.who().and_then(|who| who.session_key.clone());
        self.client.as_ref().is_none_or(|client| session.client().is(client))
            && self.session.as_ref().is_none_or(|session| key().as_ref() == Some(session))
    }
}

/// A session as others may see it, wherever it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionView {
    /// Its id.
    pub client: String,
    /// Whose it is.
    pub user: String,
    /// The client library's name and version, as it says.
    pub library: (String, String),
    /// What it is connected by.
    pub transport: String,
    /// How its frames are written.
    pub encoding: String,
    /// Since when.
    pub opened_at: Timestamp,
    /// The id of its connection token.
    pub token_id: Option<String>,
    /// When its connection token was issued, in Unix seconds.
    pub issued_at: Option<u64>,
    /// What only the server knows of the user, in JSON; may be empty.
    #[serde(with = "base64_bytes")]
    pub meta: Bytes,
}

impl SessionView {
    fn of(session: &SessionHandle) -> Self {
        let who = session.who().as_deref().cloned().unwrap_or_default();
        Self {
            client: session.client().to_string(),
            user: who.user,
            library: who.library,
            transport: session.transport().as_str().to_owned(),
            encoding: session.encoding().as_str().to_owned(),
            opened_at: session.opened_at(),
            token_id: who.token_id,
            issued_at: who.issued_at,
            meta: who.meta,
        }
    }
}

/// Does what a node is asked for.
pub(crate) fn perform(parts: &Parts, request: NodeRequest) -> Result<Value, String> {
    let channel_of = |name: &str| ChannelName::parse(name).map_err(|error| error.to_string());
    let tell = |whose: &Whose, message: SessionMessage| {
        for session in whose.among(&parts.sessions) {
            session.tell(message.clone());
        }
        Ok(Value::Null)
    };
    match request {
        NodeRequest::Subscribe { whose, channel, subscription, recover } => {
            let channel = channel_of(&channel)?;
            tell(&whose, SessionMessage::Subscribe { channel, subscription, recover })
        }
        NodeRequest::Unsubscribe { whose, channel } => {
            tell(&whose, SessionMessage::Unsubscribe(channel_of(&channel)?))
        }
        NodeRequest::Disconnect { whose, code, reason, spared } => {
            let reason = DisconnectReason::custom(code, &reason).ok_or("no code to disconnect with")?;
            let spared: Vec<_> = spared.iter().filter_map(|client| ClientId::parse(client)).collect();
            for session in whose.among(&parts.sessions) {
                if !spared.contains(&session.client()) {
                    session.tell(SessionMessage::Disconnect(reason.clone()));
                }
            }
            Ok(Value::Null)
        }
        NodeRequest::Refresh { whose, expires_at, info } => {
            tell(&whose, SessionMessage::Refresh { expires_at, info })
        }
        NodeRequest::Message { whose, data } => tell(&whose, SessionMessage::Message(data)),
        NodeRequest::Sessions { whose } => {
            let sessions = whose.among(&parts.sessions);
            let views: Vec<_> = sessions.iter().map(|session| SessionView::of(session)).collect();
            serde_json::to_value(views).map_err(|error| error.to_string())
        }
        NodeRequest::Channels { pattern } => {
            let counts = parts.channels.counts(|name| pattern.is_empty() || fits(&pattern, name));
            let counts: BTreeMap<_, _> =
                counts.iter().map(|(name, subscribers)| (name.as_str(), subscribers)).collect();
            serde_json::to_value(counts).map_err(|error| error.to_string())
        }
        NodeRequest::Tree { most_children } => {
            let supervision = parts.supervision.get().ok_or("the tree is starting")?;
            serde_json::to_value(supervision.tree(parts, most_children)).map_err(|error| error.to_string())
        }
        NodeRequest::Topic { .. } | NodeRequest::Owned(_) => Err("not for sessions or channels".to_owned()),
    }
}

/// Whether a name fits a pattern in which `*` stands for any text and `?` for any character.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut in_name) = (0, 0);
    // Where the last star stands, and up to where in the name it reaches.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => match &mut star {
                None => return false,
                Some((place, reach)) => {
                    *reach += 1;
                    (at, in_name) = (*place + 1, *reach);
                }
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == b'*')
}

impl Engine {
    /// Has all nodes do something, this one first; what they answered, by node.
    async fn everywhere(&self, request: NodeRequest) -> Vec<(String, Value)> {
        let parts = self.parts();
        let mut answers = Vec::new();
        match perform(parts, request.clone()) {
            Ok(answer) => answers.push((parts.node_id.clone(), answer)),
            Err(error) => tracing::warn!(error, "request not performed"),
        }
        answers.extend(parts.cluster.ask_others(parts, request).await);
        answers
    }

    /// Subscribes sessions, on whichever nodes they are, to a channel.
    pub async fn subscribe(
        &self,
        whose: &Whose,
        channel: &ChannelName,
        subscription: ServerSubscription,
        recover: Option<StreamPosition>,
    ) -> Result<(), EngineError> {
        self.parts().options_of(channel)?;
        let request = NodeRequest::Subscribe {
            whose: whose.clone(),
            channel: channel.as_str().to_owned(),
            subscription: Box::new(subscription),
            recover,
        };
        self.everywhere(request).await;
        Ok(())
    }

    /// Takes sessions out of a channel.
    pub async fn unsubscribe(&self, whose: &Whose, channel: &ChannelName) {
        let channel = channel.as_str().to_owned();
        self.everywhere(NodeRequest::Unsubscribe { whose: whose.clone(), channel }).await;
    }

    /// Ends sessions, but not those in `spared`.
    pub async fn disconnect(&self, whose: &Whose, reason: &DisconnectReason, spared: &[ClientId]) {
        let request = NodeRequest::Disconnect {
            whose: whose.clone(),
            code: reason.code(),
            reason: reason.reason().to_owned(),
            spared: spared.iter().map(ToString::to_string).collect(),
        };
        self.everywhere(request).await;
    }

    /// Sets when sessions expire, in Unix seconds, or that they do not; `info` replaces what others may know.
    pub async fn refresh(&self, whose: &Whose, expires_at: Option<u64>, info: Option<Bytes>) {
        self.everywhere(NodeRequest::Refresh { whose: whose.clone(), expires_at, info }).await;
    }

    /// Sends the clients of sessions a message that belongs to no channel.
    pub async fn message(&self, whose: &Whose, data: Bytes) {
        self.everywhere(NodeRequest::Message { whose: whose.clone(), data }).await;
    }

    /// Sessions, on whichever nodes they are.
    pub async fn sessions_of(&self, whose: &Whose) -> Vec<SessionView> {
        let answers = self.everywhere(NodeRequest::Sessions { whose: whose.clone() }).await;
        let views = answers.into_iter().filter_map(|(_, answer)| serde_json::from_value(answer).ok());
        views.flat_map(|views: Vec<SessionView>| views).collect()
    }

    /// The channels whose names fit a pattern (all, if it is empty) and that have subscribers, and how many.
    pub async fn channel_counts(&self, pattern: &str) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for (_, answer) in self.everywhere(NodeRequest::Channels { pattern: pattern.to_owned() }).await {
            let Ok(counts) = serde_json::from_value::<BTreeMap<String, usize>>(answer) else { continue };
            for (channel, subscribers) in counts {
                *all.entry(channel).or_default() += subscribers;
            }
        }
        all
    }

    /// The nodes of the cluster, this one first.
    pub fn nodes(&self) -> Vec<NodeInfo> {
        let parts = self.parts();
        let mut nodes = vec![parts.cluster.info(parts, false)];
        nodes.extend(parts.cluster.others());
        nodes
    }

    /// A node's supervision tree, with at most `most_children` sessions and channels each.
    pub async fn tree_of(&self, node: &str, most_children: usize) -> Result<TreeNode, NodeError> {
        self.parts().cluster.ask(self.parts(), node, NodeRequest::Tree { most_children }).await
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
        self.parts().cluster.set_topic(topic, handler);
    }

    /// Says something on a topic to all other nodes, and waits until they handled it, or a time.
    pub async fn tell_topic(&self, topic: &str, data: Bytes) {
        self.parts().cluster.tell_topic(self.parts(), topic, data).await;
    }

    /// Asks who handles a topic on another node.
    pub async fn ask_topic(&self, node: &str, topic: &str, data: Bytes) -> Result<Bytes, NodeError> {
        self.parts().cluster.ask_topic(self.parts(), node, topic, data).await
    }

    /// Says how actors of a kind that exist once in the cluster are started. A kind's name is made of letters.
    pub fn set_kind(&self, name: &str, kind: Arc<dyn OwnedKind>) {
        self.parts().placement.set_kind(name, kind);
    }

    /// Asks an actor that exists once in the cluster, wherever it is; where there is none, one is started.
    pub async fn ask_owned(&self, kind: &str, id: &str, message: Bytes) -> Result<Bytes, OwnedError> {
        self.parts().placement.ask(self.parts(), kind, id, message).await
    }

    /// Whether the other nodes can be reached; `None` if there may be none.
    pub fn bus_connected(&self) -> Option<bool> {
        let bus = &self.parts().cluster.bus;
        bus.is_remote().then(|| *bus.connected().borrow())
    }

    /// Who is in a channel, by session id.
    pub async fn presence(&self, channel: &ChannelName) -> Result<BTreeMap<String, ClientInfo>, EngineError> {
        let parts = self.parts();
        if !parts.options_of(channel)?.presence {
            return Err(EngineError::NotAvailable);
        }
        let context = parts.channels.context();
        Ok(context.presence_answers.of(channel, &context.hot).await?.clients.clone())
    }

    /// How many are in a channel, without reading who.
    pub async fn presence_stats(&self, channel: &ChannelName) -> Result<PresenceStats, EngineError> {
        let parts = self.parts();
        if !parts.options_of(channel)?.presence {
            return Err(EngineError::NotAvailable);
        }
        Ok(parts.in_time(parts.hot.presence_stats(channel.as_str())).await?)
    }

    /// Reads a channel's history; at most as much as a session gets at once.
    pub async fn history(
        &self,
        channel: &ChannelName,
        query: HistoryQuery,
    ) -> Result<HistoryPage, EngineError> {
        let parts = self.parts();
        let limits = parts.options_of(channel)?.history().ok_or(EngineError::NotAvailable)?;
        let most = parts.session_options.history_max_publications;
        let limit = Some(query.limit.unwrap_or(most).min(most));
        Ok(parts.history(channel, HistoryQuery { limit, ..query }, limits).await?)
    }

    /// Forgets a channel's publications.
    pub async fn remove_history(&self, channel: &ChannelName) -> Result<(), EngineError> {
        let parts = self.parts();
        let limits = parts.options_of(channel)?.history().ok_or(EngineError::NotAvailable)?;
        let removing = parts.hot.remove_history(channel.as_str(), limits);
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
        let Some(handler) = self.parts().rpc.get() else { return Err(ErrorCode::MethodNotFound.into()) };
        match tokio::time::timeout(self.session_options().rpc_timeout, handler.call(caller, method, data))
            .await
        {
            Ok(outcome) => outcome,
            Err(_) => Err(ErrorCode::Internal.into()),
        }
    }

    /// When users were here.
    pub async fn user_statuses(&self, users: &[String]) -> Result<BTreeMap<String, UserStatus>, EngineError> {
        let parts = self.parts();
        Ok(parts.in_time(parts.hot.user_statuses(users)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        for (pattern, name, expected) in [
            ("posts:*", "posts:feed", true),
            ("posts:*", "events:all", false),
            ("*", "", true),
            ("*:a*b", "x:aab", true),
            ("*:a*b", "x:aac", false),
            ("chat:?", "chat:1", true),
            ("chat:?", "chat:12", false),
            ("a", "a", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
