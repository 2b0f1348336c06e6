//! Which nodes there are: each sends a heartbeat once a second, and a node that is silent for too long is gone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::messages::NodeInfo;

/// How often a node says that it is there.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which a node is gone.
pub(super) const GONE_AFTER: Duration = Duration::from_millis(2500);
/// How long it is remembered that a node is gone, so that a late word of it does not bring it back.
const REMEMBERED: Duration = Duration::from_mins(1);

/// The other nodes.
#[derive(Default)]
pub(super) struct Members {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    here: HashMap<String, Member>,
    /// Nodes that said that they go, and when.
    left: HashMap<String, Instant>,
}

struct Member {
    info: NodeInfo,
    heard: Instant,
}

/// The change that a heartbeat made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The node is new.
    Joined,
    /// The node was known.
    Known,
    /// The node said farewell.
    Left,
    /// The node said farewell before: a late heartbeat does not bring it back.
    Late,
}

impl Members {
    pub(super) fn hear(&self, info: NodeInfo) -> Outcome {
        let mut state = self.state.lock();
        let now = Instant::now();
        if info.gone {
            state.here.remove(&info.id);
            let before = state.left.insert(info.id, now);
            return if before.is_none() { Outcome::Left } else { Outcome::Late };
        }
        if state.left.contains_key(&info.id) {
            return Outcome::Late;
        }
        match state.here.insert(info.id.clone(), Member { info, heard: now }) {
            None => Outcome::Joined,
            Some(_) => Outcome::Known,
        }
    }

    /// True if a node is there.
    pub(super) fn has(&self, node: &str) -> bool {
        self.state.lock().here.contains_key(node)
    }

    /// Takes out the nodes that have been silent for too long.
    pub(super) fn silent(&self) -> Vec<NodeInfo> {
        let mut state = self.state.lock();
        state.left.retain(|_, at| at.elapsed() < REMEMBERED);
        let gone = state.here.extract_if(|_, member| member.heard.elapsed() > GONE_AFTER);
        gone.map(|(_, member)| member.info).collect()
    }

    /// Gives all nodes their whole time again, as nobody could be heard for a while.
    pub(super) fn forgive(&self) {
        let now = Instant::now();
        for member in self.state.lock().here.values_mut() {
            member.heard = now;
        }
    }

    pub(super) fn all(&self) -> Vec<NodeInfo> {
        let mut all: Vec<_> = self.state.lock().here.values().map(|member| member.info.clone()).collect();
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        all
    }

    pub(super) fn ids(&self) -> HashSet<String> {
        self.state.lock().here.keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().here.len()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn node(id: &str) -> NodeInfo {
        NodeInfo {
            id: id.to_owned(),
            name: id.to_owned(),
            version: String::new(),
            started_at: Timestamp::UNIX_EPOCH,
            sessions: 0,
            users: 0,
            channels: 0,
            subscriptions: 0,
            draining: false,
            accepts: true,
            gone: false,
            settings: std::collections::BTreeMap::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_come_and_fall_silent() {
        let members = Members::default();
        assert_eq!(members.hear(node("a")), Outcome::Joined);
        assert_eq!(members.hear(node("b")), Outcome::Joined);
        tokio::time::advance(GONE_AFTER / 2).await;
        assert_eq!(members.hear(node("b")), Outcome::Known);
        tokio::time::advance(GONE_AFTER / 2 + Duration::from_millis(1)).await;
        assert_eq!(members.silent(), [node("a")]);
        assert_eq!(members.all(), [node("b")]);
        assert_eq!(members.hear(node("a")), Outcome::Joined, "it was only slow");
        tokio::time::advance(GONE_AFTER * 2).await;
        members.forgive();
        assert!(members.silent().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_said_farewell_does_not_come_back() {
        let members = Members::default();
        members.hear(node("a"));
        assert_eq!(members.hear(NodeInfo { gone: true, ..node("a") }), Outcome::Left);
        assert_eq!(members.hear(node("a")), Outcome::Late);
        assert_eq!(members.len(), 0);
    }
}
