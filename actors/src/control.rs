//! The node's own part of what is asked of all nodes: the executor of their requests, and the order of a drain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use mundotango_protocol::{ChannelName, ClientId, ClientInfo, Disconnect, DisconnectReason};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::base64_bytes;
use crate::cluster::{Cluster, Load, NodeRequest, Perform};
use crate::handle::{SessionHandle, SessionMessage, Whose};
use crate::inspection::{self, ActorView, Slow};
use crate::placement::Placement;
use crate::pools::WorkerPools;
use crate::session::SessionContext;
use crate::supervision::Supervision;
use crate::vitals::TreeNode;

/// How often draining looks whether sessions are gone.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// A session as others may see it, wherever it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionView {
    /// Its id.
    pub client: String,
    /// Whose it is.
    pub user: String,
    /// The client library's name and version, as it says.
    pub library: (String, String),
    /// Its kind of connection.
    pub transport: String,
    /// The encoding of its frames.
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

/// All rooms of a running node.
pub(crate) struct Control {
    pub(crate) context: Arc<SessionContext>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) placement: Arc<Placement>,
    pub(crate) pools: Arc<WorkerPools>,
    pub(crate) supervision: Supervision,
    pub(crate) slow: Arc<Slow>,
}

impl Control {
    /// The supervision tree, with at most `most_children` children of each keeper.
    pub(crate) fn tree(&self, most_children: usize) -> TreeNode {
        self.supervision.tree(self.cluster.is_draining(), most_children)
    }

    /// The actor of this kind and name in the tree, closely.
    pub(crate) fn actor(&self, kind: &str, name: &str) -> Option<ActorView> {
        if matches!(kind, "supervisor" | "keeper") {
            let (node, trail) = self.supervision.keeper(name, self.cluster.is_draining())?;
            return Some(ActorView::of_keeper(node, trail));
        }
        inspection::look_at(self.supervision.kinds(), self.supervision.crashes(), kind, name)
    }

    /// Does what is asked of sessions and channels of this node.
    fn perform_here(&self, request: NodeRequest) -> Result<Value, String> {
        let channel_of = |name: &str| ChannelName::parse(name).map_err(|error| error.to_string());
        let sessions = &self.context.sessions;
        let tell = |whose: &Whose, message: SessionMessage| {
            for session in sessions.among(whose) {
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
                for session in sessions.among(&whose) {
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
                let sessions = sessions.among(&whose);
                let views: Vec<_> = sessions.iter().map(|session| SessionView::of(session)).collect();
                serde_json::to_value(views).map_err(|error| error.to_string())
            }
            NodeRequest::Channels { pattern } => {
                let counts = self.context.channels.counts(|name| pattern.is_empty() || fits(&pattern, name));
                let counts: BTreeMap<_, _> =
                    counts.iter().map(|(name, subscribers)| (name.as_str(), subscribers)).collect();
                serde_json::to_value(counts).map_err(|error| error.to_string())
            }
            NodeRequest::Tree { most_children } => {
                serde_json::to_value(self.tree(most_children)).map_err(|error| error.to_string())
            }
            NodeRequest::Actor { kind, name } => {
                serde_json::to_value(self.actor(&kind, &name)).map_err(|error| error.to_string())
            }
            NodeRequest::Topic { .. }
            | NodeRequest::Owned(_)
            | NodeRequest::Owns { .. }
            | NodeRequest::Slow => Err("not for sessions or channels".to_owned()),
        }
    }

    /// Ends the node's work in order: other nodes stop choosing this one, sessions leave one after the other over
    /// `window`, as all at once would be a storm for the other nodes, then their calls end, then the actors that exist
    /// once are handed over, and at last the node leaves the cluster. Returns after `deadline` at the latest, but for the
    /// handing over.
    pub(crate) async fn drain(&self, window: Duration, deadline: Duration) {
        self.cluster.set_draining();
        self.cluster.beat(&self.load(), false).await;
        self.end_sessions(window, deadline).await;
        self.placement.passivate_all(deadline / 4).await;
        self.supervision.stop();
        self.cluster.beat(&self.load(), true).await;
        self.cluster.stop();
    }

    async fn end_sessions(&self, window: Duration, deadline: Duration) {
        let start = Instant::now();
        let context = &self.context;
        let sessions = context.sessions.all();
        let step = window.checked_div(u32::try_from(sessions.len()).unwrap_or(u32::MAX)).unwrap_or_default();
        let mut at = start;
        for session in sessions {
            tokio::time::sleep_until(at).await;
            session.tell(SessionMessage::Disconnect(Disconnect::Shutdown.into()));
            at += step;
        }
        while !context.sessions.is_empty() && start.elapsed() < deadline {
            // Sessions that began while the others were told to go.
            for session in context.sessions.all().iter().filter(|session| session.outbox().ending().is_none())
            {
                session.tell(SessionMessage::Disconnect(Disconnect::Shutdown.into()));
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
        context.calls.close();
        let left = deadline.saturating_sub(start.elapsed());
        if tokio::time::timeout(left, context.calls.wait()).await.is_err() {
            let calls = context.calls.len();
            tracing::warn!(calls, "calls of sessions were still under way at the deadline");
        }
    }
}

#[async_trait]
impl Perform for Control {
    async fn perform(&self, request: NodeRequest) -> Result<Value, String> {
        match request {
            NodeRequest::Owned(question) => self.placement.answer(question).await,
            NodeRequest::Owns { kind, id } => Ok(Value::Bool(self.placement.owns(&kind, &id))),
            NodeRequest::Topic { topic, data } => self.cluster.topics.handle(&topic, data).await,
            NodeRequest::Slow => {
                let view = self.slow.look().await?;
                serde_json::to_value(&*view).map_err(|error| error.to_string())
            }
            request => self.perform_here(request),
        }
    }

    fn load(&self) -> Load {
        let (channels, subscriptions) = self.context.channels.totals();
        let sessions = &self.context.sessions;
        Load { sessions: sessions.len(), users: sessions.users(), channels, subscriptions }
    }

    fn shed_percent(&self) -> u32 {
        self.context.session_options.shed_percent
    }

    async fn shed(&self, sessions: usize, over: Duration) {
        let moved = mundotango_ops::metrics().realtime_sessions_moved_total.with_label_values(&["surplus"]);
        let sessions = self.context.sessions.some(sessions);
        let step = over.checked_div(u32::try_from(sessions.len()).unwrap_or(u32::MAX)).unwrap_or_default();
        for session in sessions {
            session.tell(SessionMessage::Disconnect(Disconnect::ForceReconnect.into()));
            moved.inc();
            tokio::time::sleep(step).await;
        }
    }

    async fn session_left(&self, channel: &ChannelName, info: ClientInfo) {
        self.context.announce_leave(channel, info).await;
    }

    async fn was_away(&self) {
        self.context.channels.was_away();
        self.context.write_all_online().await;
    }
}

/// True if a name fits a pattern in which `*` stands for any text and `?` for any character.
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
