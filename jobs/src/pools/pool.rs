//! The workers of one queue on a node: what they share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use mundotango_actors::{Engine, Pace, Vitals};
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, Notify, mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::meters::{KindMeters, QueueMeters};
use crate::jobs::Jobs;
use crate::kind::{Queue, SHARDS};
use crate::rules::{Claimed, End, Settled};
use crate::work::Run;

/// Most attempts that a node makes of one queue at the same time.
const MAX_CONCURRENCY: usize = 256;
/// Most jobs of a queue that a node has taken from the store.
pub(super) const MAX_TAKEN: usize = 512;
/// How long what came of attempts may take to be written when a node ends.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A job that a worker is to do. Whoever drops it without an end gives it back.
pub(super) struct Given {
    pool: Arc<Pool>,
    pub(super) shard: u64,
    pub(super) claimed: Claimed,
    /// When it was taken from the store.
    pub(super) at: Instant,
    end: Option<End>,
}

impl Given {
    /// Says what came of it.
    pub(super) fn end(mut self, end: End) {
        self.end = Some(end);
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        // A worker that crashed beside the attempt says nothing else of it.
        let end = self.end.take().unwrap_or(End::GivenBack);
        let id = std::mem::take(&mut self.claimed.id);
        let (lease, job) = (self.claimed.lease, Arc::clone(&self.claimed.job));
        self.pool.ended(self.shard, Settled { id, lease, job, end });
    }
}

/// What a node has of a queue and how it is cut off, by shards and ids.
type Held = HashMap<(u64, String), (u64, CancellationToken)>;

/// The workers of one queue.
pub(super) struct Pool {
    pub(super) jobs: Jobs,
    engine: Arc<Engine>,
    pub(super) queue: &'static Queue,
    pub(super) holder: String,
    pub(super) is_alone: bool,
    pub(super) began: Instant,
    /// Who does the jobs of each kind, and what counts them.
    pub(super) kinds: BTreeMap<&'static str, (Arc<dyn Run>, KindMeters)>,
    pub(super) meters: QueueMeters,
    /// As claims say it.
    pub(super) known: Arc<BTreeMap<&'static str, (u32, i64)>>,
    /// Attempts at the same time: as configured, and as an operator said.
    configured: AtomicUsize,
    ordered: AtomicUsize,
    pub(super) size: watch::Sender<usize>,
    /// Workers that were started.
    pub(super) started: AtomicUsize,
    /// Shards that have something to do.
    dirty: AtomicU64,
    pub(super) woken: Notify,
    work: mpsc::Sender<Given>,
    pub(super) next: Turn<mpsc::Receiver<Given>>,
    /// Jobs that workers have or will have.
    pub(super) busy: AtomicUsize,
    /// Whether jobs may be done without the queue, as far as the shards say that were looked at.
    pub(super) is_open: AtomicBool,
    /// Jobs that are done.
    pub(super) finished: AtomicU64,
    /// Jobs that were taken from the store and of which it is not written down yet what came of them.
    pub(super) held: Mutex<Held>,
    settled: Vec<mpsc::Sender<Settled>>,
    pub(super) to_settle: Vec<Turn<mpsc::Receiver<Settled>>>,
    /// Whether the node's beats are heard; without them its attempts are no longer its own.
    pub(super) is_heard: watch::Sender<bool>,
    pub(super) stopping: CancellationToken,
    /// Whether attempts are cut off as the node ends.
    pub(super) is_over: AtomicBool,
}

/// What the keeper of a shard is found by.
pub(super) fn keeping(queue: &str, shard: u64) -> String {
    format!("jobs {queue} {shard}")
}

impl Pool {
    pub(super) fn new(
        jobs: Jobs,
        engine: &Arc<Engine>,
        queue: &'static Queue,
        handlers: impl Iterator<Item = Arc<dyn Run>>,
        concurrency: usize,
        is_alone: bool,
    ) -> Arc<Self> {
        let with_meters = |one: Arc<dyn Run>| {
            let name = one.spec().name;
            (name, (one, KindMeters::of(name)))
        };
        let kinds: BTreeMap<_, _> = handlers.map(with_meters).collect();
        let known = kinds.values().map(|(one, _)| {
            let spec = one.spec();
            (spec.name, (spec.version, i64::try_from(spec.timeout.as_millis()).unwrap_or(i64::MAX)))
        });
        let known = Arc::new(known.collect());
        let (work, next) = mpsc::channel(MAX_TAKEN);
        let (settled, to_settle): (Vec<_>, Vec<_>) = (0..SHARDS).map(|_| mpsc::channel(MAX_TAKEN)).unzip();
        let pool = Arc::new(Self {
            jobs,
            engine: Arc::clone(engine),
            queue,
            // Another one at every start.
            holder: engine.node_id().to_owned(),
            is_alone,
            began: Instant::now(),
            kinds,
            meters: QueueMeters::of(queue.name),
            known,
            configured: AtomicUsize::new(concurrency),
            ordered: AtomicUsize::new(0),
            size: watch::Sender::new(0),
            started: AtomicUsize::new(0),
            dirty: AtomicU64::new(u64::MAX),
            woken: Notify::new(),
            work,
            next: Turn::new(next),
            busy: AtomicUsize::new(0),
            is_open: AtomicBool::new(false),
            finished: AtomicU64::new(0),
            held: Mutex::default(),
            settled,
            to_settle: to_settle.into_iter().map(Turn::new).collect(),
            is_heard: watch::Sender::new(true),
            stopping: CancellationToken::new(),
            is_over: AtomicBool::new(false),
        });
        pool.resize();
        pool
    }

    /// Runs a task for the queue, below `pools` in the tree.
    pub(super) fn keep(
        self: &Arc<Self>,
        name: &str,
        run: impl Fn(Arc<Self>, Arc<Vitals>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        let pool = Arc::clone(self);
        self.engine.keep_working(&format!("{} {name}", self.queue.name), Pace::OnDemand, move |vitals| {
            run(Arc::clone(&pool), vitals)
        });
    }

    pub(super) fn set_configured(&self, concurrency: usize) {
        self.configured.store(concurrency, Ordering::Relaxed);
        self.resize();
    }

    /// What an operator said; nothing for `None`.
    pub(super) fn set_ordered(&self, concurrency: Option<usize>) {
        let concurrency = concurrency.unwrap_or(0);
        if self.ordered.swap(concurrency, Ordering::Relaxed) != concurrency {
            self.resize();
        }
    }

    /// Has as many workers as are wanted now. Those of more wait until they are wanted again.
    fn resize(&self) {
        let ordered = self.ordered.load(Ordering::Relaxed);
        let wanted = if ordered > 0 { ordered } else { self.configured.load(Ordering::Relaxed) };
        self.size.send_replace(wanted.clamp(1, MAX_CONCURRENCY));
        self.woken.notify_one();
    }

    /// Shards have something to do.
    pub(super) fn wake(&self, shards: u64) {
        self.leave(shards);
        self.woken.notify_one();
    }

    /// Shards still have something to do, for when a worker is free.
    pub(super) fn leave(&self, shards: u64) {
        self.dirty.fetch_or(shards, Ordering::Relaxed);
    }

    /// The shards that have something to do, which are looked at now.
    pub(super) fn take_dirty(&self) -> u64 {
        self.dirty.swap(0, Ordering::Relaxed)
    }

    /// Whether this node gives out the jobs of a shard.
    pub(super) fn keeps(&self, shard: u64) -> bool {
        let keeper = self.engine.keeper_of(&keeping(self.queue.name, shard));
        keeper.is_none_or(|keeper| keeper == self.engine.node_id())
    }

    /// How many jobs were taken from the store.
    pub(super) fn taken(&self) -> usize {
        self.held.lock().len()
    }

    /// Hands a job to the workers.
    pub(super) fn give(self: &Arc<Self>, shard: u64, claimed: Claimed) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        let known = (claimed.lease, CancellationToken::new());
        self.held.lock().insert((shard, claimed.id.clone()), known);
        let given = Given { pool: Arc::clone(self), shard, claimed, at: Instant::now(), end: None };
        // There is room for all that may be taken; what finds none is given back when it is dropped.
        drop(self.work.try_send(given));
    }

    /// What cuts the attempt at a job off.
    pub(super) fn token_of(&self, shard: u64, id: &str) -> CancellationToken {
        let held = self.held.lock();
        held.get(&(shard, id.to_owned())).map(|(_, token)| token.clone()).unwrap_or_default()
    }

    /// Has it written down what came of a job.
    fn ended(&self, shard: u64, settled: Settled) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
        if settled.end != End::GivenBack {
            self.finished.fetch_add(1, Ordering::Relaxed);
        }
        let sender = usize::try_from(shard).ok().and_then(|shard| self.settled.get(shard));
        if let Some(Err(error)) = sender.map(|sender| sender.try_send(settled)) {
            // There is room for all that may be taken. Whoever beats gives back what nobody works on.
            tracing::error!(%error, queue = self.queue.name, "what came of a job is lost");
        }
        self.woken.notify_one();
    }

    /// Takes no more jobs, waits for those under way, and gives back what takes too long.
    pub(super) async fn drain(&self, patience: Duration) {
        self.stopping.cancel();
        self.woken.notify_one();
        let done = async || {
            while self.taken() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(patience, done()).await.is_ok() {
            return;
        }
        self.is_over.store(true, Ordering::Relaxed);
        self.held.lock().values().for_each(|(_, token)| token.cancel());
        if timeout(LAST_WORDS, done()).await.is_err() {
            tracing::warn!(queue = self.queue.name, left = self.taken(), "jobs were not given back");
        }
    }
}
