//! The relay: carries out what changes cause, at least once; in the order of the changes of a partition on one node where
//! nothing fails.
//!
//! The outbox has shards. One task of each node carries out at once what changes of its own node cause ([`at_once`]), the
//! changes of a shard one after the other. What a node left behind is found by the one that owns the shard, by a task for each
//! shard ([`sweeper`]). All nodes compute alike who that is, from who is there; while they disagree two may carry out the same,
//! which effects bear.

mod at_once;
mod sweeper;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use mundotango_actors::{Engine, Pace};
use mundotango_ops::{IntCounter, metrics};
use mundotango_storage::db::{Db, Due, Effect, OUTBOX_SHARDS, Outlet};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};

/// Changes whose effects wait to be carried out; those of more are found in the outbox later.
const MAX_WAITING: usize = 16 * 1024;
/// The size of all effects that wait, in bytes; those on top are found in the outbox later.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// How long sweepers look for what was put off, until they have found it.
const PUT_OFF_LATELY: Duration = Duration::from_mins(1);
/// How long a removal may take: shorter than an effect, as those of all shards wait for it.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an effect may take.
const EFFECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long after its change an effect counts as carried out at once: from then on sweepers may have tried it as well.
const AT_ONCE_WITHIN: Duration = Duration::from_secs(5);
/// Effects that fail in a row after which others have to wait: what they need is away.
const MAX_FAILURES: usize = 3;

/// When an effect is tried. What was true right after its change may not be later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Right after its change, for the first time.
    AtOnce,
    /// Later, and nobody knows how far an attempt before came.
    Later,
}

/// Carries out effects.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Carries out an effect. It may have been before: the name is the same each time, and no other effect has it.
    async fn carry_out(&self, name: String, effect: &Effect, attempt: Attempt) -> anyhow::Result<()>;
}

/// The relay of a node.
pub struct Relay {
    db: Db,
    engine: Arc<Engine>,
    carrier: Arc<dyn Carrier>,
    queue: mpsc::Sender<Waiting>,
    /// It outlives the task that empties it.
    waiting: Mutex<mpsc::Receiver<Waiting>>,
    /// Bytes for which there is room.
    room: Arc<Semaphore>,
    /// Whether no other node works on the store.
    is_alone: bool,
    /// When something was put off last.
    put_off_at: parking_lot::Mutex<Option<Instant>>,
    /// Effects that were carried out at once, and those that were later.
    done_at_once: IntCounter,
    done_later: IntCounter,
}

/// The effects of a change that wait to be carried out, and the room that they take.
struct Waiting {
    due: Due,
    since: Instant,
    _room: OwnedSemaphorePermit,
}

impl Attempt {
    /// The one of now, for a change of which this node took the effects itself, and when.
    fn now(taken_at: Option<Instant>) -> Self {
        let is_at_once = taken_at.is_some_and(|at| at.elapsed() < AT_ONCE_WITHIN);
        if is_at_once { Self::AtOnce } else { Self::Later }
    }
}

impl Outlet for Relay {
    fn take(&self, due: Due) {
        let bytes = u32::try_from(due.size()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).ok();
        let waiting = room.map(|room| Waiting { due, since: Instant::now(), _room: room });
        if waiting.is_none_or(|waiting| self.queue.try_send(waiting).is_err()) {
            self.note_put_off(1);
        }
    }
}

impl Relay {
    /// Starts its tasks, on a store of the node's own or on one of several nodes.
    pub fn start(db: Db, engine: &Arc<Engine>, carrier: Arc<dyn Carrier>, is_alone: bool) -> Arc<Self> {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let effects = |when| metrics().outbox_effects_total.with_label_values(&[when]);
        let relay = Arc::new(Self {
            db,
            engine: Arc::clone(engine),
            carrier,
            queue,
            waiting: Mutex::new(waiting),
            room: Arc::new(Semaphore::new(MAX_WAITING_BYTES)),
            is_alone,
            put_off_at: parking_lot::Mutex::default(),
            done_at_once: effects("at_once"),
            done_later: effects("later"),
        });
        let own = Arc::clone(&relay);
        engine.keep_running("outbox", Pace::OnDemand, move |vitals| {
            let relay = Arc::clone(&own);
            Box::pin(async move { at_once::run(&relay, &vitals).await })
        });
        for shard in 0..OUTBOX_SHARDS {
            let relay = Arc::clone(&relay);
            engine.keep_running(&format!("outbox {shard}"), Pace::OnDemand, move |vitals| {
                let relay = Arc::clone(&relay);
                Box::pin(async move { sweeper::run(&relay, shard, &vitals).await })
            });
        }
        relay
    }

    /// Counts changes whose effects are left to the sweepers.
    fn note_put_off(&self, count: usize) {
        if count > 0 {
            metrics().outbox_put_off_total.inc_by(count as u64);
            *self.put_off_at.lock() = Some(Instant::now());
        }
    }

    /// Whether nobody left anything in the outbox lately, as far as this node knows.
    fn has_left_nothing(&self) -> bool {
        self.is_alone && self.put_off_at.lock().is_none_or(|at| at.elapsed() > PUT_OFF_LATELY)
    }

    /// Whether this node looks after what was left behind in a shard.
    fn owns(&self, shard: u64) -> bool {
        self.engine.keeper_of(&shard.to_string()).as_deref() == Some(self.engine.node_id())
    }

    /// Carries out those effects of a change that are not done, in their order; whether there are any at all. One that fails
    /// holds back no other. `taken_at` is when this node took them, if it does so for the first time: those that waited too
    /// long for the ones before them are carried out as late ones.
    async fn carry_out(
        &self,
        due: &Due,
        taken_at: Option<Instant>,
        done: &mut BTreeSet<String>,
    ) -> anyhow::Result<bool> {
        let Some(effects) = due.effects()? else { return Ok(false) };
        let mut failure = None;
        for (name, effect) in effects {
            if done.contains(&name) {
                continue;
            }
            let attempt = Attempt::now(taken_at);
            let carrying_out = self.carrier.carry_out(name.clone(), effect, attempt);
            // One that panics fails alone.
            let carrying_out = AssertUnwindSafe(carrying_out)
                .catch_unwind()
                .map(|outcome| outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("carrying it out panicked"))));
            match timeout(EFFECT_TIMEOUT, carrying_out).await.map_err(anyhow::Error::from).flatten() {
                Ok(()) => {
                    match attempt {
                        Attempt::AtOnce => self.done_at_once.inc(),
                        Attempt::Later => self.done_later.inc(),
                    }
                    done.insert(name);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(true), Err)
    }

    /// Removes what was carried out; whether that is done. Else it will be carried out once more.
    async fn remove(&self, shard: u64, done: &[String]) -> bool {
        let removed = timeout(REMOVAL_TIMEOUT, self.db.carried_out(shard, done)).await;
        match removed.map_err(anyhow::Error::from).and_then(|removed| Ok(removed?)) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "what was carried out stays in the outbox for now");
                *self.put_off_at.lock() = Some(Instant::now());
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_effect_that_waited_long_for_those_before_it_is_a_late_one() {
        let taken_at = Some(Instant::now());
        assert_eq!(Attempt::now(taken_at), Attempt::AtOnce);
        advance(AT_ONCE_WITHIN).await;
        assert_eq!(Attempt::now(taken_at), Attempt::Later);
        assert_eq!(Attempt::now(None), Attempt::Later);
    }
}
