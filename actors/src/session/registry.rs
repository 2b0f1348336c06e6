//! Which sessions this node has.

use std::collections::HashMap;
use std::sync::Arc;

use mundotango_protocol::{ClientId, Disconnect};
use parking_lot::Mutex;

use super::{SessionHandle, SessionMessage};
use crate::vitals::TreeNode;

/// The node's sessions, by id and by user.
#[derive(Default)]
pub struct Sessions {
    maps: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    by_client: HashMap<ClientId, Arc<SessionHandle>>,
    by_user: HashMap<Box<str>, Vec<ClientId>>,
}

impl Sessions {
    pub(crate) fn add(&self, session: &Arc<SessionHandle>) {
        self.maps.lock().by_client.insert(session.client(), Arc::clone(session));
        let metrics = mundotango_ops::metrics();
        let transport = session.transport().as_str();
        metrics.realtime_sessions_opened_total.with_label_values(&[transport]).inc();
        metrics.realtime_sessions_active.with_label_values(&[transport, session.encoding().as_str()]).inc();
        metrics.websocket_connections_active.inc();
    }

    /// Called once the session's user is known.
    pub(crate) fn add_user(&self, session: &SessionHandle) {
        let Some(user) = session.user().filter(|user| !user.is_empty()) else { return };
        let mut maps = self.maps.lock();
        maps.by_user.entry(user.into()).or_default().push(session.client());
        mundotango_ops::metrics()
            .active_users_total
            .set(i64::try_from(maps.by_user.len()).unwrap_or(i64::MAX));
    }

    pub(crate) fn remove(&self, session: &SessionHandle) {
        let mut maps = self.maps.lock();
        if maps.by_client.remove(&session.client()).is_none() {
            return;
        }
        if let Some(user) = session.user()
            && let Some(clients) = maps.by_user.get_mut(user)
        {
            clients.retain(|client| *client != session.client());
            if clients.is_empty() {
                maps.by_user.remove(user);
            }
        }
        let users = i64::try_from(maps.by_user.len()).unwrap_or(i64::MAX);
        drop(maps);
        let metrics = mundotango_ops::metrics();
        metrics.active_users_total.set(users);
        let labels = [session.transport().as_str(), session.encoding().as_str()];
        metrics.realtime_sessions_active.with_label_values(&labels).dec();
        metrics.websocket_connections_active.dec();
        let reason = session.outbox().ending().unwrap_or(Disconnect::ConnectionClosed);
        metrics.realtime_disconnects_total.with_label_values(&[&reason.code().to_string()]).inc();
    }

    /// The session with this id.
    pub fn find(&self, client: ClientId) -> Option<Arc<SessionHandle>> {
        self.maps.lock().by_client.get(&client).cloned()
    }

    /// A user's sessions.
    pub fn of_user(&self, user: &str) -> Vec<Arc<SessionHandle>> {
        let maps = self.maps.lock();
        let clients = maps.by_user.get(user).map(Vec::as_slice).unwrap_or_default();
        clients.iter().filter_map(|client| maps.by_client.get(client).cloned()).collect()
    }

    /// All sessions.
    pub(crate) fn all(&self) -> Vec<Arc<SessionHandle>> {
        self.maps.lock().by_client.values().cloned().collect()
    }

    /// Ends a user's sessions; how many there were.
    pub fn disconnect_user(&self, user: &str, reason: Disconnect) -> usize {
        let sessions = self.of_user(user);
        for session in &sessions {
            session.tell(SessionMessage::Disconnect(reason));
        }
        sessions.len()
    }

    /// Messages that wait for all sessions and their sockets.
    pub(crate) fn waiting(&self) -> usize {
        self.maps.lock().by_client.values().map(|session| session.waiting()).sum()
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.maps.lock().by_client.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `most` sessions by id, for the tree.
    pub(crate) fn tree(&self, most: usize) -> Vec<TreeNode> {
        let mut sessions = self.all();
        sessions.sort_unstable_by_key(|session| session.client());
        sessions.iter().take(most).map(|session| session.tree_node()).collect()
    }
}
