//! What the tree shows of an actor.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Counts that an actor keeps of itself; readers may see them a moment late.
#[derive(Debug)]
pub struct Vitals {
    handled: AtomicU64,
    restarts: AtomicU32,
    since_millis: AtomicU64,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            handled: AtomicU64::new(0),
            restarts: AtomicU32::new(0),
            since_millis: AtomicU64::new(now_millis()),
        }
    }
}

fn now_millis() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

impl Vitals {
    /// One more message is done.
    pub fn handled(&self) {
        self.handled.fetch_add(1, Relaxed);
    }

    /// Some more messages are done.
    pub fn handled_many(&self, messages: u64) {
        self.handled.fetch_add(messages, Relaxed);
    }

    /// The actor starts anew after a crash.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Relaxed);
        self.since_millis.store(now_millis(), Relaxed);
    }

    /// The actor as the tree shows it.
    pub fn node(
        &self,
        name: impl Into<String>,
        kind: &'static str,
        state: State,
        mailbox_depth: usize,
    ) -> TreeNode {
        let since = i64::try_from(self.since_millis.load(Relaxed)).unwrap_or(i64::MAX);
        TreeNode {
            name: name.into(),
            kind: Cow::Borrowed(kind),
            state,
            mailbox_depth,
            messages_handled: self.handled.load(Relaxed),
            restarts: self.restarts.load(Relaxed),
            child_crashes: 0,
            since: Timestamp::from_millisecond(since).unwrap_or(Timestamp::UNIX_EPOCH),
            children_total: 0,
            children: Vec::new(),
        }
    }
}

/// What an actor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Taking messages.
    Running,
    /// Finishing what it has.
    Draining,
    /// Waiting to start anew after a crash.
    Restarting,
}

impl State {
    /// The name that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Restarting => "restarting",
        }
    }
}

/// One actor of the supervision tree, and those below it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TreeNode {
    /// Unique among its siblings.
    pub name: String,
    /// The kind of actor.
    pub kind: Cow<'static, str>,
    /// What it is doing.
    pub state: State,
    /// Messages that wait for it.
    pub mailbox_depth: usize,
    /// Messages that it has handled since it was first started.
    pub messages_handled: u64,
    /// How often it was started anew.
    pub restarts: u32,
    /// How often actors below it crashed.
    pub child_crashes: u64,
    /// Since when it runs, or last started anew.
    pub since: Timestamp,
    /// How many children it has; `children` may be a part of them.
    pub children_total: usize,
    /// Its children, by name.
    pub children: Vec<TreeNode>,
}

impl TreeNode {
    /// Hangs children below the actor.
    pub fn with_children(mut self, total: usize, children: Vec<Self>) -> Self {
        self.children_total = total;
        self.children = children;
        self
    }
}
