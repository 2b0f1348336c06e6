//! The node's own long-lived tasks: each restarts after a crash, has vitals, and is visible in the tree.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::crashes::{Backoff, Crashed, Crashes, panic_text};
use crate::supervised::{BusyVisitor, Seen, SeenVisitor};
use crate::vitals::{State, TreeNode, Vitals};

/// How often a task without work reports progress, so that the watchdog can tell it from a task that hangs.
pub(crate) const IDLE_TICK: Duration = Duration::from_secs(1);

/// The kind of a task in the tree.
const KIND: &str = "task";

/// When a task makes progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Within seconds, as it wakes up although there is no work: a task that makes no progress hangs.
    Timed,
    /// One unit of its work may take as long as hot state is away, so no watchdog can tell that it hangs.
    OnDemand,
}

struct Task {
    name: String,
    pace: Pace,
    vitals: Arc<Vitals>,
    handle: AbortHandle,
}

impl Task {
    fn seen(&self) -> Seen<'_> {
        let (name, vitals) = (&self.name, &*self.vitals);
        Seen { kind: KIND, name, state: State::Running, vitals, waiting: 0, bound: None }
    }
}

/// Tasks under one keeper.
pub(crate) struct Tasks {
    keeper: &'static str,
    crashes: Arc<Crashes>,
    running: Mutex<Vec<Task>>,
}

impl Tasks {
    pub(crate) fn new(keeper: &'static str, crashes: Arc<Crashes>) -> Self {
        Self { keeper, crashes, running: Mutex::default() }
    }

    /// Runs a task until [`stop`](Self::stop). A task that panics, or returns, is run again after a pause.
    pub(crate) fn keep_running(
        &self,
        name: &str,
        pace: Pace,
        run: impl Fn(Arc<Vitals>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        let vitals = Arc::new(Vitals::default());
        let (keeper, crashes) = (self.keeper, Arc::clone(&self.crashes));
        let (task_name, task_vitals) = (name.to_owned(), Arc::clone(&vitals));
        let running = tokio::spawn(async move {
            let mut backoff = Backoff::default();
            loop {
                let future = AssertUnwindSafe(async { run(Arc::clone(&task_vitals)).await });
                if let Err(panic) = future.catch_unwind().await {
                    let reason = panic_text(&*panic);
                    let crashed = Crashed {
                        label: keeper,
                        culprit: &task_name,
                        kind: KIND,
                        name: &task_name,
                        reason,
                        trail: task_vitals.trail(),
                    };
                    let messages = crashes.report(keeper, &crashed);
                    tracing::error!(name = task_name, panic = reason, messages, "a task of the node crashed");
                }
                tokio::time::sleep(backoff.after_crash()).await;
                task_vitals.restarted();
            }
        });
        let task = Task { name: name.to_owned(), pace, vitals, handle: running.abort_handle() };
        self.running.lock().push(task);
    }

    /// Ends the tasks. Tasks hold the room that owns them, so the end of the room does not come by itself.
    pub(crate) fn stop(&self) {
        for task in self.running.lock().drain(..) {
            task.handle.abort();
        }
    }

    /// The tasks as the tree shows them.
    pub(crate) fn tree(&self) -> Vec<TreeNode> {
        let tasks = self.running.lock();
        tasks.iter().map(|task| task.vitals.node(task.name.as_str(), KIND, State::Running, 0)).collect()
    }

    pub(crate) fn visit_all(&self, visit: &mut SeenVisitor<'_>) {
        for task in self.running.lock().iter() {
            visit(&task.seen());
        }
    }

    pub(crate) fn visit_one(&self, kind: &str, name: &str, visit: &mut SeenVisitor<'_>) {
        if kind == KIND
            && let Some(task) = self.running.lock().iter().find(|task| task.name == name)
        {
            visit(&task.seen());
        }
    }

    pub(crate) fn visit_busy(&self, visit: &mut BusyVisitor<'_>) {
        for task in self.running.lock().iter().filter(|task| task.pace == Pace::Timed) {
            // The next tick of its timer counts as a message that waits.
            visit(&task.name, &task.vitals, 1);
        }
    }
}
