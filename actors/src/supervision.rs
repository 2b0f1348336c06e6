//! The static part of the supervision tree: the root, and one keeper for each kind of actor below it.
//!
//! Keepers are ractor actors under one `ractor-supervisor` root: one for one, with a restart intensity past which the
//! root ends and the node with it. Sessions and channels come by the million, so they are plain tasks that catch their
//! own panics and report them to their keeper.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use mundotango_protocol::Disconnect;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};
use ractor_supervisor::{
    ChildBackoffFn, ChildSpec, Restart, SpawnFn, Supervisor, SupervisorArguments, SupervisorMsg,
    SupervisorOptions, SupervisorStrategy,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::Parts;
use crate::session::SessionMessage;
use crate::vitals::{State, TreeNode, Vitals};

/// More restarts of keepers than this within [`RESTART_WINDOW`] end the node.
const MAX_RESTARTS: usize = 5;
/// The window of [`MAX_RESTARTS`].
const RESTART_WINDOW: Duration = Duration::from_secs(10);
/// Messages that may wait for a keeper; more are dropped, as each only says that something happened.
const KEEPER_MAILBOX: usize = 1024;
/// How often a keeper looks after its actors.
const TICK: Duration = Duration::from_secs(5);
/// How long the tree may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How often draining looks whether sessions are gone.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a text")
}

/// How long a crashed actor waits before it starts anew: the longer, the more often it crashes.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    crashes: u32,
    last: Option<Instant>,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(5);
    /// A crash after this long is a first one again.
    const FORGET: Duration = Duration::from_mins(1);

    pub(crate) fn after_crash(&mut self) -> Duration {
        let now = Instant::now();
        if self.last.replace(now).is_some_and(|last| now - last > Self::FORGET) {
            self.crashes = 0;
        }
        let wait = Self::FIRST.saturating_mul(1 << self.crashes.min(16)).min(Self::LONGEST);
        self.crashes = self.crashes.saturating_add(1);
        wait
    }
}

/// What a keeper looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    Node,
    Sessions,
    Channels,
    Telemetry,
}

impl Keeps {
    const ALL: [Self; 4] = [Self::Node, Self::Sessions, Self::Channels, Self::Telemetry];

    fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Sessions => "sessions",
            Self::Channels => "channels",
            Self::Telemetry => "telemetry",
        }
    }
}

/// What can be said to a keeper.
#[derive(Debug)]
enum KeeperMessage {
    /// From its timer: look after your actors.
    Tick,
    /// From one of its actors: it crashed, and mended itself or ended.
    ChildCrashed,
    /// From a test: fail.
    #[cfg(feature = "test-hooks")]
    Panic,
}

/// A keeper as the tree shows it; outlives the actor's restarts.
#[derive(Default)]
struct KeeperRecord {
    vitals: Vitals,
    waiting: AtomicUsize,
    started: AtomicUsize,
    child_crashes: AtomicUsize,
}

struct Keeper {
    keeps: Keeps,
    parts: Arc<Parts>,
    record: Arc<KeeperRecord>,
}

impl Actor for Keeper {
    type Msg = KeeperMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<KeeperMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        // What waited for the one before went with it.
        self.record.waiting.store(0, Relaxed);
        if self.record.started.fetch_add(1, Relaxed) > 0 {
            self.record.vitals.restarted();
            mundotango_ops::metrics().actor_restarts_total.with_label_values(&[self.keeps.name()]).inc();
        }
        myself.send_interval(TICK, || KeeperMessage::Tick);
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<KeeperMessage>,
        message: KeeperMessage,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.record.vitals.handled();
        match message {
            KeeperMessage::Tick => self.look_after(),
            KeeperMessage::ChildCrashed => {
                self.record.waiting.fetch_sub(1, Relaxed);
                self.record.child_crashes.fetch_add(1, Relaxed);
            }
            #[cfg(feature = "test-hooks")]
            KeeperMessage::Panic => panic!("asked to by a test"),
        }
        Ok(())
    }
}

impl Keeper {
    fn look_after(&self) {
        match self.keeps {
            Keeps::Node | Keeps::Sessions | Keeps::Channels => {}
            Keeps::Telemetry => self.sample(),
        }
    }

    /// Brings the gauges of the tree up to date.
    fn sample(&self) {
        let metrics = mundotango_ops::metrics();
        let set = |kind: &str, depth: usize| {
            metrics
                .actor_mailbox_depth
                .with_label_values(&[kind])
                .set(i64::try_from(depth).unwrap_or(i64::MAX));
        };
        set("session", self.parts.sessions.waiting());
        set("channel", self.parts.channels.waiting());
    }
}

/// The running tree.
pub(crate) struct Supervision {
    root: ActorRef<SupervisorMsg>,
    root_vitals: Vitals,
    keepers: Vec<(Keeps, String, Arc<KeeperRecord>)>,
    ended: watch::Receiver<bool>,
}

impl Supervision {
    pub(crate) async fn start(parts: &Arc<Parts>) -> Result<Self, SpawnErr> {
        // ractor's names are global to the process, which may hold several nodes in a test.
        let node = mundotango_protocol::new_id();
        let mut keepers = Vec::new();
        let mut child_specs = Vec::new();
        for keeps in Keeps::ALL {
            let id = format!("{node}/{}", keeps.name());
            let record = Arc::new(KeeperRecord::default());
            child_specs.push(keeper_spec(id.clone(), keeps, Arc::clone(parts), Arc::clone(&record)));
            keepers.push((keeps, id, record));
        }
        let options = SupervisorOptions {
            strategy: SupervisorStrategy::OneForOne,
            max_restarts: MAX_RESTARTS,
            max_window: RESTART_WINDOW,
            reset_after: Some(RESTART_WINDOW),
        };
        let (root, running) =
            Supervisor::spawn(format!("{node}/root"), SupervisorArguments { child_specs, options }).await?;
        let (ended_sender, ended) = watch::channel(false);
        tokio::spawn(async move {
            // However it ended, there is no tree any more.
            let _ = running.await;
            let _ = ended_sender.send(true);
        });
        let all_here = async {
            while !keepers.iter().all(|(_, id, _)| ractor::registry::where_is(id.clone()).is_some()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // The root spawns its children after it has started itself.
        tokio::time::timeout(START_TIMEOUT, all_here)
            .await
            .map_err(|_| SpawnErr::StartupFailed("the keepers did not start".into()))?;
        Ok(Self { root, root_vitals: Vitals::default(), keepers, ended })
    }

    fn tell(&self, keeps: Keeps, message: KeeperMessage) {
        let Some((_, id, record)) = self.keepers.iter().find(|(kept, ..)| *kept == keeps) else { return };
        if record.waiting.fetch_add(1, Relaxed) >= KEEPER_MAILBOX {
            record.waiting.fetch_sub(1, Relaxed);
            return;
        }
        match ractor::registry::where_is(id.clone()) {
            Some(keeper) if keeper.send_message(message).is_ok() => {}
            // It is about to start anew.
            _ => drop(record.waiting.fetch_sub(1, Relaxed)),
        }
    }

    pub(crate) fn child_crashed(&self, kind: &'static str) {
        let keeps = match kind {
            "session" => Keeps::Sessions,
            "channel" => Keeps::Channels,
            _ => Keeps::Node,
        };
        self.tell(keeps, KeeperMessage::ChildCrashed);
    }

    /// Makes a keeper panic.
    #[cfg(feature = "test-hooks")]
    pub(crate) fn panic_keeper(&self, name: &str) -> bool {
        let keeps = Keeps::ALL.into_iter().find(|keeps| keeps.name() == name);
        keeps.inspect(|keeps| self.tell(*keeps, KeeperMessage::Panic)).is_some()
    }

    pub(crate) async fn failed(&self) {
        let mut ended = self.ended.clone();
        // An error says that the watcher is gone, and so the tree.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    pub(crate) async fn drain(&self, parts: &Parts, window: Duration, deadline: Duration) {
        let start = Instant::now();
        let sessions = parts.sessions.all();
        let step = window.checked_div(u32::try_from(sessions.len()).unwrap_or(u32::MAX)).unwrap_or_default();
        let mut at = start;
        for session in sessions {
            tokio::time::sleep_until(at).await;
            session.tell(SessionMessage::Disconnect(Disconnect::Shutdown.into()));
            at += step;
        }
        while !parts.sessions.is_empty() && start.elapsed() < deadline {
            // Those that came while the others were told.
            for session in parts.sessions.all().iter().filter(|session| session.outbox().ending().is_none()) {
                session.tell(SessionMessage::Disconnect(Disconnect::Shutdown.into()));
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
        parts.calls.close();
        let left = deadline.saturating_sub(start.elapsed());
        if tokio::time::timeout(left, parts.calls.wait()).await.is_err() {
            tracing::warn!(
                calls = parts.calls.len(),
                "calls of sessions were still under way at the deadline"
            );
        }
        self.root.stop(Some("drained".to_owned()));
    }

    pub(crate) fn tree(&self, parts: &Parts, most: usize) -> TreeNode {
        let state = if parts.is_draining() { State::Draining } else { State::Running };
        let children: Vec<_> = self
            .keepers
            .iter()
            .map(|(keeps, id, record)| {
                let alive = ractor::registry::where_is(id.clone()).is_some();
                let state = if alive { state } else { State::Restarting };
                let mut node =
                    record.vitals.node(keeps.name(), "keeper", state, record.waiting.load(Relaxed));
                node.child_crashes = record.child_crashes.load(Relaxed) as u64;
                match keeps {
                    Keeps::Sessions => node.with_children(parts.sessions.len(), parts.sessions.tree(most)),
                    Keeps::Channels => node.with_children(parts.channels.len(), parts.channels.tree(most)),
                    Keeps::Node | Keeps::Telemetry => node,
                }
            })
            .collect();
        self.root_vitals.node("root", "supervisor", state, 0).with_children(children.len(), children)
    }
}

fn keeper_spec(id: String, keeps: Keeps, parts: Arc<Parts>, record: Arc<KeeperRecord>) -> ChildSpec {
    let spawn = move |supervisor, name| {
        let keeper = Keeper { keeps, parts: Arc::clone(&parts), record: Arc::clone(&record) };
        async move {
            let (actor, _) = Supervisor::spawn_linked(name, keeper, (), supervisor).await?;
            Ok(actor.get_cell())
        }
    };
    ChildSpec {
        id,
        restart: Restart::Permanent,
        spawn_fn: SpawnFn::new(spawn),
        backoff_fn: Some(ChildBackoffFn::new(|_, restarts, _, _| {
            (restarts > 1).then(|| Duration::from_millis(50).saturating_mul(1 << restarts.min(6)))
        })),
        reset_after: Some(RESTART_WINDOW),
    }
}
