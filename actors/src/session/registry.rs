//! Which sessions this node has.

use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use mundotango_ops::{Histogram, IntCounter, IntGauge, metrics};
use mundotango_protocol::{ClientId, Disconnect, DisconnectReason, Encoding};
use parking_lot::Mutex;

use crate::handle::{self, SessionHandle, SessionMessage, Transport, Whose};
use crate::supervised::{BusyVisitor, Intensity, SeenVisitor, Supervised};
use crate::vitals::TreeNode;

/// Sessions that are looked at without a pause.
const SESSIONS_AT_ONCE: usize = 256;
/// Users whose sessions crash within the window before the keeper restarts.
const MOST_CRASHED_USERS: usize = 32;

/// The node's sessions, by id and by user.
#[derive(Default)]
pub struct Sessions {
    maps: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    by_client: HashMap<ClientId, (Arc<SessionHandle>, Counted)>,
    by_user: HashMap<Box<str>, Vec<ClientId>>,
}

impl Maps {
    fn session(&self, client: ClientId) -> Option<Arc<SessionHandle>> {
        self.by_client.get(&client).map(|(session, _)| Arc::clone(session))
    }

    fn sessions(&self) -> impl Iterator<Item = &Arc<SessionHandle>> {
        self.by_client.values().map(|(session, _)| session)
    }
}

/// The metrics of sessions of one transport and one encoding.
struct Meters {
    opened: IntCounter,
    active: Vec<IntGauge>,
    lives: Histogram,
}

/// The metrics of all sessions, by transport and encoding.
static METERS: LazyLock<[[Meters; Encoding::ALL.len()]; Transport::ALL.len()]> = LazyLock::new(|| {
    Transport::ALL.map(|transport| Encoding::ALL.map(|encoding| Meters::of(transport, encoding)))
});

impl Meters {
    fn of(transport: Transport, encoding: Encoding) -> Self {
        let (metrics, name) = (metrics(), transport.as_str());
        let sockets = transport.is_websocket().then(|| metrics.websocket_connections_active.clone());
        let active = metrics.realtime_sessions_active.with_label_values(&[name, encoding.as_str()]);
        Self {
            opened: metrics.realtime_sessions_opened_total.with_label_values(&[name]),
            active: [active].into_iter().chain(sockets).collect(),
            lives: metrics.realtime_session_duration_seconds.with_label_values(&[name]),
        }
    }
}

/// A session as the gauges count it: for as long as this is there, so that no gauge can drift away from what is.
struct Counted {
    meters: &'static Meters,
    since: Instant,
}

impl Counted {
    fn new(session: &SessionHandle) -> Self {
        let meters = &METERS[session.transport() as usize][session.encoding() as usize];
        meters.opened.inc();
        meters.active.iter().for_each(IntGauge::inc);
        Self { meters, since: Instant::now() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.meters.active.iter().for_each(IntGauge::dec);
        self.meters.lives.observe(self.since.elapsed().as_secs_f64());
    }
}

impl Sessions {
    pub(crate) fn add(&self, session: &Arc<SessionHandle>) {
        let counted = Counted::new(session);
        self.maps.lock().by_client.insert(session.client(), (Arc::clone(session), counted));
    }

    /// Called once the session's user is known; how many sessions the user has now. 0 for anonymous ones.
    pub(crate) fn add_user(&self, session: &SessionHandle) -> usize {
        let Some(user) = session.user().filter(|user| !user.is_empty()) else { return 0 };
        let mut maps = self.maps.lock();
        let clients = maps.by_user.entry(user.into()).or_default();
        clients.push(session.client());
        let sessions = clients.len();
        metrics().active_users_total.set(i64::try_from(maps.by_user.len()).unwrap_or(i64::MAX));
        sessions
    }

    /// Forgets a session; whether it was its user's last.
    pub(crate) fn remove(&self, session: &SessionHandle) -> bool {
        let mut maps = self.maps.lock();
        let Some(removed) = maps.by_client.remove(&session.client()) else { return false };
        let mut last = false;
        if let Some(user) = session.user()
            && let Some(clients) = maps.by_user.get_mut(user)
        {
            clients.retain(|client| *client != session.client());
            if clients.is_empty() {
                maps.by_user.remove(user);
                last = true;
            }
        }
        let users = i64::try_from(maps.by_user.len()).unwrap_or(i64::MAX);
        drop(maps);
        drop(removed);
        let metrics = metrics();
        metrics.active_users_total.set(users);
        // Codes of the application's own share a label, as there may be any number of them.
        let code =
            session.outbox().ending().map_or(Disconnect::ConnectionClosed.code(), |reason| reason.code());
        let code = if code < 4000 { code.to_string() } else { "custom".to_owned() };
        metrics.realtime_disconnects_total.with_label_values(&[&code]).inc();
        last
    }

    /// True if a user has a session here.
    pub fn is_online(&self, user: &str) -> bool {
        self.maps.lock().by_user.contains_key(user)
    }

    /// The users that have a session here.
    pub(crate) fn online_users(&self) -> Vec<String> {
        self.maps.lock().by_user.keys().map(|user| user.as_ref().to_owned()).collect()
    }

    /// How many users have a session here.
    pub fn users(&self) -> usize {
        self.maps.lock().by_user.len()
    }

    /// The session with this id.
    pub fn find(&self, client: ClientId) -> Option<Arc<SessionHandle>> {
        self.maps.lock().session(client)
    }

    /// A user's sessions; the empty user's are the anonymous ones.
    pub fn of_user(&self, user: &str) -> Vec<Arc<SessionHandle>> {
        let maps = self.maps.lock();
        if user.is_empty() {
            let anonymous = maps.sessions().filter(|session| session.user() == Some(""));
            return anonymous.cloned().collect();
        }
        let clients = maps.by_user.get(user).map(Vec::as_slice).unwrap_or_default();
        clients.iter().filter_map(|client| maps.session(*client)).collect()
    }

    /// The sessions that are meant.
    pub(crate) fn among(&self, whose: &Whose) -> Vec<Arc<SessionHandle>> {
        let mut among = self.of_user(&whose.user);
        among.retain(|session| whose.fits(session));
        among
    }

    /// All sessions.
    pub(crate) fn all(&self) -> Vec<Arc<SessionHandle>> {
        self.maps.lock().sessions().cloned().collect()
    }

    /// So many connected sessions that do not end yet; fewer if there are not so many.
    pub(crate) fn some(&self, count: usize) -> Vec<Arc<SessionHandle>> {
        let maps = self.maps.lock();
        let stays =
            |session: &&Arc<SessionHandle>| session.user().is_some() && session.outbox().ending().is_none();
        maps.sessions().filter(stays).take(count).cloned().collect()
    }

    /// Ends those of a user's sessions that `which` says; how many there were.
    pub fn disconnect_user(
        &self,
        user: &str,
        reason: &DisconnectReason,
        which: impl Fn(&SessionHandle) -> bool,
    ) -> usize {
        let mut ended = 0;
        for session in self.of_user(user).iter().filter(|session| which(session)) {
            session.tell(SessionMessage::Disconnect(reason.clone()));
            ended += 1;
        }
        ended
    }

    /// Ends those of all sessions that `which` says. There may be many, so other tasks get their turn in between.
    pub async fn disconnect_all(&self, reason: &DisconnectReason, which: impl Fn(&SessionHandle) -> bool) {
        for sessions in self.all().chunks(SESSIONS_AT_ONCE) {
            for session in sessions.iter().filter(|session| which(session)) {
                session.tell(SessionMessage::Disconnect(reason.clone()));
            }
            tokio::task::yield_now().await;
        }
    }

    /// Messages that wait for all sessions and their sockets.
    pub(crate) fn waiting(&self) -> usize {
        self.maps.lock().sessions().map(|session| session.waiting()).sum()
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.maps.lock().by_client.len()
    }

    /// True if there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Supervised for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn intensity(&self) -> Intensity {
        Intensity::ClientDriven(MOST_CRASHED_USERS)
    }

    fn children(&self, most: usize) -> (usize, Vec<TreeNode>) {
        let maps = self.maps.lock();
        let total = maps.by_client.len();
        // Only the sessions that are shown are copied: a node has up to hundreds of thousands.
        let mut first = BinaryHeap::new();
        for client in maps.by_client.keys() {
            if first.len() < most {
                first.push(*client);
            } else if first.peek().is_some_and(|last| client < last) {
                first.pop();
                first.push(*client);
            }
        }
        let shown: Vec<_> =
            first.into_sorted_vec().iter().filter_map(|client| maps.session(*client)).collect();
        drop(maps);
        (total, shown.iter().map(|session| session.tree_node()).collect())
    }

    fn visit_all(&self, visit: &mut SeenVisitor<'_>) {
        for session in self.all() {
            visit(&session.seen());
        }
    }

    fn visit_one(&self, kind: &str, name: &str, visit: &mut SeenVisitor<'_>) {
        if kind == handle::KIND
            && let Some(session) = ClientId::parse(name).and_then(|client| self.find(client))
        {
            visit(&session.seen());
        }
    }

    fn visit_busy(&self, visit: &mut BusyVisitor<'_>) {
        for session in self.all() {
            // Messages that wait for a slow socket are not the session's fault.
            let waiting = session.messages_waiting();
            if waiting > 0 {
                visit(&session.client(), session.vitals(), waiting);
            }
        }
    }
}
