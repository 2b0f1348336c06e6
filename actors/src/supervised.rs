//! The interface between a keeper of the supervision tree and the actors below it.

use std::fmt::Display;

use crate::vitals::{State, TreeNode, Vitals};

/// Called with the name, the vitals and the number of waiting messages of an actor that has work to do.
pub(crate) type BusyVisitor<'a> = dyn FnMut(&dyn Display, &Vitals, usize) + 'a;

/// An actor as those see it who look at all of them.
pub(crate) struct Seen<'a> {
    /// Its kind in the tree.
    pub(crate) kind: &'static str,
    /// Its name in the tree.
    pub(crate) name: &'a dyn Display,
    pub(crate) state: State,
    pub(crate) vitals: &'a Vitals,
    /// Messages that wait in its mailbox.
    pub(crate) waiting: usize,
    /// How many may wait there; `None` where there is no mailbox.
    pub(crate) bound: Option<usize>,
}

/// Called with actors, one after the other.
pub(crate) type SeenVisitor<'a> = dyn FnMut(&Seen<'_>) + 'a;

/// One kind of actors below the root of the tree. Adding one to the list in [`Engine::start`](crate::Engine::start)
/// puts it into the tree, under the watchdog and under the restart intensity.
pub(crate) trait Supervised: Send + Sync {
    /// The keeper's name in the tree; crashes are reported under it.
    fn name(&self) -> &'static str;

    /// How many actors of the kind may crash within the window before the keeper restarts.
    fn intensity(&self) -> Intensity;

    /// Regular work of the keeper.
    fn tick(&self) {}

    /// How many actors there are, and the first `most` by name.
    fn children(&self, most: usize) -> (usize, Vec<TreeNode>) {
        let _ = most;
        (0, Vec::new())
    }

    /// Visits all actors.
    fn visit_all(&self, visit: &mut SeenVisitor<'_>) {
        let _ = visit;
    }

    /// Visits the actor of this kind and name in the tree, if there is one.
    fn visit_one(&self, kind: &str, name: &str, visit: &mut SeenVisitor<'_>) {
        let _ = (kind, name, visit);
    }

    /// Visits the actors whose mailbox is not empty, for the watchdog.
    fn visit_busy(&self, visit: &mut BusyVisitor<'_>) {
        let _ = visit;
    }
}

/// How many different actors of a kind may crash within [`CRASH_WINDOW`](crate::crashes::CRASH_WINDOW).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Intensity {
    /// Actors that clients drive. Past the number the keeper restarts, at most once a window: a crash that clients can
    /// cause is seen by operators, and never ends the node.
    ClientDriven(usize),
    /// Actors of the node itself. Past the number the keeper restarts, each time: a node that cannot keep its own tasks
    /// running reaches the root's intensity and ends.
    NodeOwn(usize),
}
