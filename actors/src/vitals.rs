//! The state of an actor as the tree shows it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::recorder::{self, Trail};

const MICROS_PER_SECOND: u64 = 1_000_000;

/// Counts that an actor keeps of itself; readers may see them a moment late.
#[derive(Debug)]
pub struct Vitals {
    handled: AtomicU64,
    restarts: AtomicU32,
    since_millis: AtomicU64,
    /// When a message was done last, in seconds since the process began; 0 before the first.
    progress_seconds: AtomicU32,
    /// Set by the watchdog.
    hung: AtomicBool,
    trail: Trail,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            handled: AtomicU64::new(0),
            restarts: AtomicU32::new(0),
            since_millis: AtomicU64::new(now_millis()),
            progress_seconds: AtomicU32::new(0),
            hung: AtomicBool::new(false),
            trail: Trail::default(),
        }
    }
}

fn now_millis() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

impl Vitals {
    /// One more message is done.
    pub fn handled(&self) {
        self.handled_many(1);
    }

    /// Some more messages are done.
    pub fn handled_many(&self, messages: u64) {
        self.handled.fetch_add(messages, Relaxed);
        let seconds = u32::try_from(recorder::now() / MICROS_PER_SECOND).unwrap_or(u32::MAX);
        self.progress_seconds.store(seconds.max(1), Relaxed);
    }

    /// What the flight recorder knows of the actor.
    pub(crate) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// How many messages were done, from which the watchdog sees progress.
    pub(crate) fn messages_handled(&self) -> u64 {
        self.handled.load(Relaxed)
    }

    /// Says whether the actor hangs; whether that is news.
    pub(crate) fn set_hung(&self, hung: bool) -> bool {
        self.hung.swap(hung, Relaxed) != hung
    }

    /// The actor restarts after a crash.
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
        let progress = self.progress_seconds.load(Relaxed);
        let progress = recorder::at(u64::from(progress) * MICROS_PER_SECOND);
        let handled = self.handled.load(Relaxed);
        let state = if self.hung.load(Relaxed) { State::Hung } else { state };
        let since = i64::try_from(self.since_millis.load(Relaxed)).unwrap_or(i64::MAX);
        TreeNode {
            name: name.into(),
            kind: Cow::Borrowed(kind),
            state,
            mailbox_depth,
            messages_handled: handled,
            restarts: self.restarts.load(Relaxed),
            child_crashes: 0,
            since: Timestamp::from_millisecond(since).unwrap_or(Timestamp::UNIX_EPOCH),
            last_progress: (handled > 0).then_some(progress),
            children_total: 0,
            children: Vec::new(),
        }
    }
}

/// The state of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Taking messages.
    Running,
    /// Finishing what it has.
    Draining,
    /// Waiting to restart after a crash.
    Restarting,
    /// Messages wait, and none was done for a long time.
    Hung,
}

impl State {
    /// The name that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Restarting => "restarting",
            Self::Hung => "hung",
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
    /// Its state.
    pub state: State,
    /// Messages that wait for it.
    pub mailbox_depth: usize,
    /// Messages that it has handled since it was first started.
    pub messages_handled: u64,
    /// How often it restarted.
    pub restarts: u32,
    /// How often actors below it crashed.
    pub child_crashes: u64,
    /// Since when it runs, or when it restarted last.
    pub since: Timestamp,
    /// The last time at which it was done with a message.
    #[serde(default)]
    pub last_progress: Option<Timestamp>,
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
