//! The keeper of the application's workers: those who do jobs, and who gives them out.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::crashes::Crashes;
use crate::supervised::{BusyVisitor, Intensity, SeenVisitor, Supervised};
use crate::tasks::{Pace, Tasks};
use crate::vitals::{TreeNode, Vitals};

/// Workers that may crash within the window before the keeper restarts. What a job does is caught where it is done, so a
/// crash is one of the worker itself.
const MOST_CRASHED: usize = 10;

/// The workers of a node.
pub(crate) struct WorkerPools {
    tasks: Tasks,
}

impl WorkerPools {
    pub(crate) fn new(crashes: Arc<Crashes>) -> Arc<Self> {
        Arc::new(Self { tasks: Tasks::new("pools", crashes) })
    }

    pub(crate) fn keep_running(
        &self,
        name: &str,
        pace: Pace,
        run: impl Fn(Arc<Vitals>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        self.tasks.keep_running(name, pace, run);
    }

    pub(crate) fn stop(&self) {
        self.tasks.stop();
    }
}

impl Supervised for WorkerPools {
    fn name(&self) -> &'static str {
        "pools"
    }

    fn intensity(&self) -> Intensity {
        Intensity::NodeOwn(MOST_CRASHED)
    }

    fn children(&self, most: usize) -> (usize, Vec<TreeNode>) {
        let mut tasks = self.tasks.tree();
        let total = tasks.len();
        tasks.truncate(most);
        (total, tasks)
    }

    fn visit_all(&self, visit: &mut SeenVisitor<'_>) {
        self.tasks.visit_all(visit);
    }

    fn visit_one(&self, kind: &str, name: &str, visit: &mut SeenVisitor<'_>) {
        self.tasks.visit_one(kind, name, visit);
    }

    fn visit_busy(&self, visit: &mut BusyVisitor<'_>) {
        self.tasks.visit_busy(visit);
    }
}
