//! One actor, closely.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::views::Doing;
use crate::crashes::{Crashes, Failure};
use crate::recorder::{self, HandledMessage, Trail};
use crate::supervised::Supervised;
use crate::vitals::TreeNode;

/// One actor, with what it did last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActorView {
    /// The actor as the tree shows it, without those below it; `None` if it has ended.
    pub actor: Option<TreeNode>,
    /// The keeper that it hangs below; `None` for a keeper itself.
    pub keeper: Option<String>,
    /// Messages that may wait in its mailbox; `None` where there is no mailbox, or none with a bound.
    pub mailbox_bound: Option<usize>,
    /// What it does at the moment.
    pub doing: Option<Doing>,
    /// Its last failures, the newest first.
    pub failures: Vec<Failure>,
    /// Its last messages, the oldest first.
    pub messages: Vec<HandledMessage>,
}

impl ActorView {
    /// A keeper, whose crashes only its supervisor knows.
    pub(crate) fn of_keeper(keeper: TreeNode, trail: &Trail) -> Self {
        Self {
            actor: Some(keeper),
            keeper: None,
            mailbox_bound: None,
            doing: doing(trail),
            failures: Vec::new(),
            messages: recorder::tail(trail.number()),
        }
    }
}

/// What an actor does at the moment.
pub(super) fn doing(trail: &Trail) -> Option<Doing> {
    let (kind, since) = trail.doing()?;
    Some(Doing { kind: kind.names().1.into(), since: recorder::at(since) })
}

/// Looks at the actor of this kind and name: also at one that has ended, if it crashed lately. `None` if there is none.
pub(crate) fn look_at<'a>(
    keepers: impl Iterator<Item = &'a Arc<dyn Supervised>>,
    crashes: &Crashes,
    kind: &str,
    name: &str,
) -> Option<ActorView> {
    for keeper in keepers {
        let mut found = None;
        keeper.visit_one(kind, name, &mut |seen| {
            let trail = seen.vitals.trail();
            found = Some(ActorView {
                actor: Some(seen.vitals.node(seen.name.to_string(), seen.kind, seen.state, seen.waiting)),
                keeper: Some(keeper.name().to_owned()),
                mailbox_bound: seen.bound,
                doing: doing(trail),
                failures: Vec::new(),
                messages: recorder::tail(trail.number()),
            });
        });
        let failures = crashes.failures(keeper.name(), kind, name);
        if let Some(found) = found {
            return Some(ActorView { failures, ..found });
        }
        if let Some(last) = failures.first() {
            let messages = last.messages.clone();
            let keeper = Some(keeper.name().to_owned());
            return Some(ActorView {
                actor: None,
                keeper,
                mailbox_bound: None,
                doing: None,
                failures,
                messages,
            });
        }
    }
    None
}
