//! Carrying out what changes of this node cause, right after them: the changes of a shard one after the other, and the shards
//! beside each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use mundotango_actors::Vitals;
use mundotango_ops::Seldom;
use mundotango_storage::db::Due;
use tokio::time::{Instant, sleep};

use super::{MAX_FAILURES, Relay, Waiting};

/// Changes that are taken from the queue together.
const TOGETHER: usize = 64;
/// Changes of a shard that wait for the one before them; what further ones cause is found in the outbox later.
const MAX_BEHIND: usize = 1024;
/// How long what was carried out waits for others to be removed with it: a write of its own for each would cost as much as the
/// change. A node that dies meanwhile leaves it to be carried out once more.
const LINGER: Duration = Duration::from_millis(50);
/// Changes that were carried out are removed before [`LINGER`] is over when there are so many of them.
const MAX_LINGERING: usize = 1024;
/// How long a shard leaves everything in the outbox after [`MAX_FAILURES`] in a row.
const PAUSE: Duration = Duration::from_secs(1);

/// Changes of one shard.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    is_busy: bool,
    failures: usize,
    paused_until: Option<Instant>,
}

impl Line {
    fn add(&mut self, relay: &Relay, waiting: Waiting) {
        if self.waiting.len() < MAX_BEHIND {
            self.waiting.push_back(waiting);
        } else {
            relay.note_put_off(1);
        }
    }

    /// The next change that is to be carried out. While what effects need is away, all are left to the outbox.
    fn next(&mut self, relay: &Relay) -> Option<Waiting> {
        if self.paused_until.is_some_and(|until| Instant::now() < until) {
            relay.note_put_off(self.waiting.len());
            self.waiting.clear();
        }
        if self.is_busy {
            return None;
        }
        let next = self.waiting.pop_front();
        self.is_busy = next.is_some();
        next
    }

    fn note(&mut self, has_failed: bool) {
        self.is_busy = false;
        self.failures = if has_failed { self.failures + 1 } else { 0 };
        self.paused_until = (self.failures >= MAX_FAILURES).then(|| Instant::now() + PAUSE);
    }
}

/// Empties the queue until the node ends.
pub(super) async fn run(relay: &Relay, vitals: &Vitals) {
    static LINES: Seldom = Seldom::once_a_minute();
    let mut queue = relay.waiting.lock().await;
    // What a task before this one had taken is in the outbox.
    *relay.put_off_at.lock() = Some(Instant::now());
    let mut lines = BTreeMap::<u64, Line>::new();
    let mut running = FuturesUnordered::new();
    let mut taken = Vec::with_capacity(TOGETHER);
    let mut done = Done::default();
    let mut removal = std::pin::pin!(sleep(LINGER));
    loop {
        let mut ready = None;
        tokio::select! {
            Some((due, outcome)) = running.next() => {
                let (due, outcome): (Due, anyhow::Result<bool>) = (due, outcome);
                let shard = due.shard();
                if let Err(error) = &outcome {
                    if let Some(left_out) = LINES.may_write() {
                        tracing::warn!(%error, left_out, "what a change causes is put off");
                    }
                    relay.note_put_off(1);
                } else {
                    if done.count == 0 {
                        removal.as_mut().reset(Instant::now() + LINGER);
                    }
                    done.add(&due);
                }
                lines.entry(shard).or_default().note(outcome.is_err());
                ready = Some(shard);
            }
            count = queue.recv_many(&mut taken, TOGETHER) => {
                if count == 0 {
                    return;
                }
            }
            () = &mut removal, if done.count > 0 => done.remove(relay).await,
        }
        let mut shards: BTreeSet<_> = ready.into_iter().collect();
        for waiting in taken.drain(..) {
            let shard = waiting.due.shard();
            shards.insert(shard);
            lines.entry(shard).or_default().add(relay, waiting);
        }
        for shard in shards {
            if let Some(waiting) = lines.entry(shard).or_default().next(relay) {
                running.push(carry_out(relay, waiting));
            }
        }
        if done.count >= MAX_LINGERING {
            done.remove(relay).await;
        }
        vitals.handled();
    }
}

async fn carry_out(relay: &Relay, waiting: Waiting) -> (Due, anyhow::Result<bool>) {
    let outcome = relay.carry_out(&waiting.due, Some(waiting.since), &mut BTreeSet::new()).await;
    (waiting.due, outcome)
}

/// What was carried out and is still in the outbox: the keys by shard.
#[derive(Default)]
struct Done {
    keys: BTreeMap<u64, Vec<String>>,
    count: usize,
}

impl Done {
    fn add(&mut self, due: &Due) {
        self.keys.entry(due.shard()).or_default().push(due.key().to_owned());
        self.count += 1;
    }

    async fn remove(&mut self, relay: &Relay) {
        self.count = 0;
        let done = std::mem::take(&mut self.keys);
        join_all(done.iter().map(|(shard, keys)| relay.remove(*shard, keys))).await;
    }
}
