//! The static part of the supervision tree: the root, and one keeper for each kind of actor below it.
//!
//! Keepers are ractor actors under one `ractor-supervisor` root: one for one, with a restart intensity past which the
//! root ends and the node with it. Sessions and channels come by the million, so they are plain tasks that catch their
//! own panics and report them; their keeper reads the reports, looks for actors that hang, and shows all in the tree.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};
use ractor_supervisor::{
    ChildBackoffFn, ChildSpec, Restart, SpawnFn, Supervisor, SupervisorArguments, SupervisorMsg,
    SupervisorOptions, SupervisorStrategy,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::crashes::{CRASH_WINDOW, Crashes};
use crate::recorder::{Handling, MessageKind, Trail};
use crate::supervised::{Intensity, Supervised};
use crate::vitals::{State, TreeNode, Vitals};

/// The root's name in the tree.
const ROOT: &str = "root";
/// More restarts of keepers than this within [`CRASH_WINDOW`] end the node.
const MAX_RESTARTS: usize = 5;
/// How often a keeper looks after its actors.
const TICK: Duration = Duration::from_secs(1);
/// How long the tree may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// Busy actors that the watchdog of one keeper remembers; a node with more has other worries.
const MOST_WATCHED: usize = 100_000;

/// The messages of a keeper.
#[derive(Debug)]
enum KeeperMessage {
    /// From its timer: look after your actors.
    Tick,
    /// From a test: fail.
    #[cfg(feature = "test-hooks")]
    Panic,
}

/// What a keeper knows; outlives the keeper's restarts.
struct Record {
    kind: Arc<dyn Supervised>,
    vitals: Vitals,
    started: AtomicUsize,
    watchdog: Mutex<Watchdog>,
    escalated: Mutex<Option<Instant>>,
}

/// Finds actors that hang: messages wait, and none was done for a time.
#[derive(Default)]
struct Watchdog {
    /// By name: how much a busy actor had done when it was seen first, and when that was.
    busy: HashMap<String, (u64, Instant)>,
}

impl Watchdog {
    /// Looks at all busy actors; how many hang.
    fn look(&mut self, kind: &dyn Supervised, hung_after: Duration) -> usize {
        let before = std::mem::take(&mut self.busy);
        let mut hung = 0;
        let now = Instant::now();
        kind.visit_busy(&mut |name, vitals, waiting| {
            let name = name.to_string();
            let handled = vitals.messages_handled();
            let since = match before.get(&name) {
                Some((handled_before, since)) if *handled_before == handled => *since,
                _ => now,
            };
            let silent = now - since;
            let hangs = silent >= hung_after;
            hung += usize::from(hangs);
            if vitals.set_hung(hangs) {
                if hangs {
                    tracing::error!(keeper = kind.name(), actor = name, waiting, ?silent, "an actor hangs");
                } else {
                    tracing::info!(keeper = kind.name(), actor = name, "an actor goes on after it hung");
                }
            }
            if self.busy.len() < MOST_WATCHED {
                self.busy.insert(name, (handled, since));
            }
        });
        hung
    }
}

struct Keeper {
    record: Arc<Record>,
    crashes: Arc<Crashes>,
    hung_after: Duration,
}

impl Actor for Keeper {
    type Msg = KeeperMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<KeeperMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        if self.record.started.fetch_add(1, Relaxed) > 0 {
            self.record.vitals.restarted();
            let name = self.record.kind.name();
            mundotango_ops::metrics().actor_restarts_total.with_label_values(&[name]).inc();
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
        let kind = match message {
            KeeperMessage::Tick => MessageKind::Tick,
            #[cfg(feature = "test-hooks")]
            KeeperMessage::Panic => MessageKind::BreakKeeper,
        };
        let _handling = Handling::begin(self.record.vitals.trail(), kind, 0);
        match message {
            KeeperMessage::Tick => self.look_after(),
            #[cfg(feature = "test-hooks")]
            KeeperMessage::Panic => panic!("asked to by a test"),
        }
    }
}

impl Keeper {
    fn look_after(&self) -> Result<(), ActorProcessingErr> {
        let kind = &*self.record.kind;
        kind.tick();
        let metrics = mundotango_ops::metrics();
        let hung = self.record.watchdog.lock().look(kind, self.hung_after);
        metrics.actors_hung.with_label_values(&[kind.name()]).set(i64::try_from(hung).unwrap_or(i64::MAX));
        self.escalate_a_storm()
    }

    /// Fails if more actors crashed within the window than the kind's intensity allows.
    fn escalate_a_storm(&self) -> Result<(), ActorProcessingErr> {
        let name = self.record.kind.name();
        let crashed = self.crashes.recent(name);
        let (most, once_a_window) = match self.record.kind.intensity() {
            Intensity::ClientDriven(most) => (most, true),
            Intensity::NodeOwn(most) => (most, false),
        };
        if crashed <= most {
            return Ok(());
        }
        let mut escalated = self.record.escalated.lock();
        if once_a_window && escalated.is_some_and(|at| at.elapsed() < CRASH_WINDOW) {
            return Ok(());
        }
        *escalated = Some(Instant::now());
        self.crashes.forget_recent(name);
        tracing::error!(keeper = name, crashed, most, "too many actors crashed; their keeper restarts");
        Err(format!("{crashed} actors of {name} crashed").into())
    }
}

/// The running tree.
pub(crate) struct Supervision {
    root: ActorRef<SupervisorMsg>,
    root_vitals: Vitals,
    crashes: Arc<Crashes>,
    keepers: Vec<(String, Arc<Record>)>,
    ended: watch::Receiver<bool>,
}

impl Supervision {
    /// Starts a keeper for each kind of actors. Adding a kind is one line in the caller's list.
    pub(crate) async fn start(
        kinds: Vec<Arc<dyn Supervised>>,
        crashes: Arc<Crashes>,
        hung_after: Duration,
    ) -> Result<Self, SpawnErr> {
        // ractor's names are global to the process, which may hold several nodes in a test.
        let node = mundotango_protocol::new_id();
        let mut keepers = Vec::new();
        let mut child_specs = Vec::new();
        for kind in kinds {
            let id = format!("{node}/{}", kind.name());
            let record = Arc::new(Record {
                kind,
                vitals: Vitals::default(),
                started: AtomicUsize::new(0),
                watchdog: Mutex::default(),
                escalated: Mutex::default(),
            });
            child_specs.push(keeper_spec(id.clone(), &record, &crashes, hung_after));
            keepers.push((id, record));
        }
        let options = SupervisorOptions {
            strategy: SupervisorStrategy::OneForOne,
            max_restarts: MAX_RESTARTS,
            max_window: CRASH_WINDOW,
            reset_after: Some(CRASH_WINDOW),
        };
        let (root, running) =
            Supervisor::spawn(format!("{node}/root"), SupervisorArguments { child_specs, options }).await?;
        let (ended_sender, ended) = watch::channel(false);
        tokio::spawn(async move {
            // Without its root there is no tree any more, whatever the reason.
            let _ = running.await;
            let _ = ended_sender.send(true);
        });
        let all_here = async {
            while !keepers.iter().all(|(id, _)| ractor::registry::where_is(id.clone()).is_some()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // The root spawns its children after it has started itself.
        tokio::time::timeout(START_TIMEOUT, all_here)
            .await
            .map_err(|_| SpawnErr::StartupFailed("the keepers did not start".into()))?;
        Ok(Self { root, root_vitals: Vitals::default(), crashes, keepers, ended })
    }

    /// Makes a keeper panic. `false` if there is no keeper of this name.
    #[cfg(feature = "test-hooks")]
    pub(crate) fn panic_keeper(&self, name: &str) -> bool {
        let Some((id, _)) = self.keepers.iter().find(|(_, record)| record.kind.name() == name) else {
            return false;
        };
        if let Some(keeper) = ractor::registry::where_is(id.clone()) {
            // A keeper that is about to restart has failed already.
            let _ = keeper.send_message(KeeperMessage::Panic);
        }
        true
    }

    /// Resolves when the root has ended.
    pub(crate) async fn failed(&self) {
        let mut ended = self.ended.clone();
        // An error says that the watcher is gone, and so the tree.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Ends the root and its keepers, at the end of a drain.
    pub(crate) fn stop(&self) {
        self.root.stop(Some("drained".to_owned()));
    }

    /// The kinds of actors, each with its keeper.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Arc<dyn Supervised>> {
        self.keepers.iter().map(|(_, record)| &record.kind)
    }

    pub(crate) fn crashes(&self) -> &Crashes {
        &self.crashes
    }

    /// A keeper or the root as the tree shows it, without those below it, and what the flight recorder knows of it.
    pub(crate) fn keeper(&self, name: &str, draining: bool) -> Option<(TreeNode, &Trail)> {
        if name == ROOT {
            return Some((self.root_node(draining), self.root_vitals.trail()));
        }
        let (id, record) = self.keepers.iter().find(|(_, record)| record.kind.name() == name)?;
        Some((self.keeper_node(id.clone(), record, draining), record.vitals.trail()))
    }

    fn root_node(&self, draining: bool) -> TreeNode {
        let state = if draining { State::Draining } else { State::Running };
        self.root_vitals.node(ROOT, "supervisor", state, 0)
    }

    fn keeper_node(&self, id: String, record: &Record, draining: bool) -> TreeNode {
        let alive = ractor::registry::where_is(id).is_some();
        let state = match (alive, draining) {
            (false, _) => State::Restarting,
            (true, true) => State::Draining,
            (true, false) => State::Running,
        };
        let mut node = record.vitals.node(record.kind.name(), "keeper", state, 0);
        node.child_crashes = self.crashes.total(record.kind.name());
        node
    }

    /// The tree, with at most `most` children of each keeper.
    pub(crate) fn tree(&self, draining: bool, most: usize) -> TreeNode {
        let children: Vec<_> = self
            .keepers
            .iter()
            .map(|(id, record)| {
                let (total, children) = record.kind.children(most);
                self.keeper_node(id.clone(), record, draining).with_children(total, children)
            })
            .collect();
        self.root_node(draining).with_children(children.len(), children)
    }
}

fn keeper_spec(id: String, record: &Arc<Record>, crashes: &Arc<Crashes>, hung_after: Duration) -> ChildSpec {
    let (record, crashes) = (Arc::clone(record), Arc::clone(crashes));
    let spawn = move |supervisor, name| {
        let keeper = Keeper { record: Arc::clone(&record), crashes: Arc::clone(&crashes), hung_after };
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
        reset_after: Some(CRASH_WINDOW),
    }
}
