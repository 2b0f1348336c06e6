//! The workers of one queue on a node: what they share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use mundotango_actors::{Engine, Pace};
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, Notify, mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::jobs::Jobs;
use crate::kind::{Queue, SHARD_COUNT, SHARDS};
use crate::rules::{Claimed, Settled};
use crate::work::Run;

/// Most attempts that a node makes of one queue at the same time.
pub(super) const MAX_CONCURRENCY: usize = 256;
/// Most jobs of a queue that a node has taken from the store.
pub(super) const MAX_TAKEN: usize = 512;
/// How long what came of attempts may take to be written when a node ends.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A job that a worker is to do.
pub(super) struct Given {
    pub(super) shard: u64,
    pub(super) claimed: Claimed,
    /// When it was taken from the store.
    pub(super) at: Instant,
}

/// The workers of one queue.
pub(super) struct Pool {
    pub(super) jobs: Jobs,
    pub(super) engine: Arc<Engine>,
    pub(super) queue: &'static Queue,
    pub(super) holder: String,
    pub(super) is_alone: bool,
    pub(super) kinds: BTreeMap<&'static str, Arc<dyn Run>>,
    /// As claims say it.
    pub(super) known: Arc<BTreeMap<&'static str, (u32, i64)>>,
    /// Attempts at the same time: as configured, and as an operator said.
    configured: AtomicUsize,
    ordered: AtomicUsize,
    pub(super) size: watch::Sender<usize>,
    /// Workers that were started.
    started: AtomicUsize,
    /// Shards that have something to do.
    dirty: AtomicU64,
    pub(super) woken: Notify,
    pub(super) work: mpsc::Sender<Given>,
    pub(super) next: Turn<mpsc::Receiver<Given>>,
    /// Jobs that were taken from the store and of which it is not written down yet what came of them.
    pub(super) taken: [AtomicUsize; SHARD_COUNT],
    /// Jobs that are done.
    pub(super) finished: AtomicU64,
    pub(super) settled: Vec<mpsc::Sender<Settled>>,
    pub(super) to_settle: Vec<Turn<mpsc::Receiver<Settled>>>,
    /// Attempts under way, to be cut off.
    pub(super) under_way: Mutex<HashMap<(u64, String), CancellationToken>>,
    /// Whether the node's beats are heard; without them its attempts are no longer its own.
    pub(super) is_heard: watch::Sender<bool>,
    pub(super) stopping: CancellationToken,
    pub(super) gone: AtomicBool,
}

/// What the keeper of a shard is found by.
pub(super) fn keeping(queue: &str, shard: u64) -> String {
    format!("jobs {queue} {shard}")
}

impl Pool {
    pub(super) fn start(
        jobs: Jobs,
        engine: &Arc<Engine>,
        queue: &'static Queue,
        holder: String,
        handlers: impl Iterator<Item = Arc<dyn Run>>,
        concurrency: usize,
        is_alone: bool,
    ) -> Arc<Self> {
        let kinds: BTreeMap<_, _> = handlers.map(|one| (one.spec().name, one)).collect();
        for kind in kinds.keys() {
            super::worker::touch_metrics(kind);
        }
        let known = kinds.values().map(|one| {
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
            holder,
            is_alone,
            kinds,
            known,
            configured: AtomicUsize::new(concurrency),
            ordered: AtomicUsize::new(0),
            size: watch::Sender::new(0),
            started: AtomicUsize::new(0),
            dirty: AtomicU64::new(u64::MAX),
            woken: Notify::new(),
            work,
            next: Turn::new(next),
            taken: Default::default(),
            finished: AtomicU64::new(0),
            settled,
            to_settle: to_settle.into_iter().map(Turn::new).collect(),
            under_way: Mutex::default(),
            is_heard: watch::Sender::new(true),
            stopping: CancellationToken::new(),
            gone: AtomicBool::new(false),
        });
        pool.resize();
        pool.keep("dispatcher", |pool, vitals| {
            Box::pin(async move { super::dispatch::run(&pool, &vitals).await })
        });
        pool.keep("beats", |pool, vitals| Box::pin(async move { super::beats::run(&pool, &vitals).await }));
        for shard in 0..SHARDS {
            pool.keep(&format!("outcomes {shard}"), move |pool, vitals| {
                Box::pin(async move { super::settler::run(&pool, shard, &vitals).await })
            });
        }
        pool
    }

    fn keep(
        self: &Arc<Self>,
        name: &str,
        run: impl Fn(Arc<Self>, Arc<mundotango_actors::Vitals>) -> futures_util::future::BoxFuture<'static, ()>
        + Send
        + Sync
        + 'static,
    ) {
        let pool = Arc::clone(self);
        self.engine.keep_working(&format!("{} {name}", self.queue.name), Pace::OnDemand, move |vitals| {
            run(Arc::clone(&pool), vitals)
        });
    }

    pub(super) fn set_configured(self: &Arc<Self>, concurrency: usize) {
        self.configured.store(concurrency, Ordering::Relaxed);
        self.resize();
    }

    /// What an operator said; nothing for `None`.
    pub(super) fn set_ordered(self: &Arc<Self>, concurrency: Option<usize>) {
        if self.ordered.swap(concurrency.unwrap_or(0), Ordering::Relaxed) != concurrency.unwrap_or(0) {
            self.resize();
        }
    }

    /// Has as many workers as are wanted now. Those of more wait until they are wanted again.
    fn resize(self: &Arc<Self>) {
        let ordered = self.ordered.load(Ordering::Relaxed);
        let wanted = if ordered > 0 { ordered } else { self.configured.load(Ordering::Relaxed) };
        let wanted = wanted.clamp(1, MAX_CONCURRENCY);
        let started = self.started.fetch_max(wanted, Ordering::Relaxed);
        for number in started..wanted {
            self.keep(&format!("{}", number + 1), move |pool, vitals| {
                Box::pin(async move { super::worker::run(&pool, number, &vitals).await })
            });
        }
        self.size.send_replace(wanted);
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

    /// Jobs that were taken from the store.
    pub(super) fn all_taken(&self) -> usize {
        self.taken.iter().map(|taken| taken.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn taken_of(&self, shard: u64) -> Option<&AtomicUsize> {
        self.taken.get(usize::try_from(shard).ok()?)
    }

    /// Says what came of an attempt. Waits while too much is to be written down.
    pub(super) async fn settle(&self, shard: u64, settled: Settled) {
        self.finished.fetch_add(1, Ordering::Relaxed);
        if let Some(sender) = usize::try_from(shard).ok().and_then(|shard| self.settled.get(shard)) {
            // Its receiver lives as long as the pool.
            drop(sender.send(settled).await);
        }
    }

    pub(super) async fn drain(&self, patience: Duration) {
        self.stopping.cancel();
        self.woken.notify_one();
        let done = async {
            while self.all_taken() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(patience, done).await.is_ok() {
            return;
        }
        self.gone.store(true, Ordering::Relaxed);
        self.under_way.lock().values().for_each(CancellationToken::cancel);
        let written = async {
            while self.all_taken() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(LAST_WORDS, written).await.is_err() {
            tracing::warn!(queue = self.queue.name, left = self.all_taken(), "jobs were not given back");
        }
    }
}
