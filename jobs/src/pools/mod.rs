//! The workers of a node: for each queue one that gives out work, some that do it, one a shard that writes down what came of
//! it, and one that beats.
//!
//! A node gives out the jobs of those shards that it keeps: all nodes compute alike who that is. While they disagree, two may
//! give out jobs of the same shard; each job has one holder all the same, as the shard's row decides. A queue's workers are as
//! many as it may have attempts at the same time, and no job is taken from the store long before a worker is free.

mod beats;
mod crew;
mod dispatch;
mod keeper;
mod light;
mod meters;
mod pool;
mod settler;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_actors::{Engine, Pace, TopicHandler};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::jobs::{Jobs, Light};
use crate::kind::{JobKind, Queue, SHARDS};
use crate::work::{Handler, Run, Typed};
use pool::Pool;

/// How long telling other nodes may take.
const TELL_TIMEOUT: Duration = Duration::from_millis(200);
/// On what nodes tell each other that a shard has something to do.
const TOPIC: &str = "jobs";

/// What is known of shards that have something to do, until somebody is told. It outlives no node: a shard of which nobody
/// was told is looked at all the same, a moment later.
#[derive(Debug, Default)]
pub struct Wakes {
    shards: Mutex<BTreeMap<String, u64>>,
    some: Notify,
}

impl Wakes {
    /// A shard has something to do.
    pub fn wake(&self, queue: &str, shard: u64) {
        let bit = 1 << shard;
        let mut shards = self.shards.lock();
        match shards.get_mut(queue) {
            Some(bits) => *bits |= bit,
            None => drop(shards.insert(queue.to_owned(), bit)),
        }
        drop(shards);
        self.some.notify_one();
    }
}

/// The workers of a node.
pub struct Pools {
    engine: Arc<Engine>,
    wakes: Arc<Wakes>,
    all: Vec<Arc<Pool>>,
}

/// The workers of a node that are not at work yet.
pub struct NewPools {
    queues: Vec<(&'static Queue, usize)>,
    handlers: Vec<Arc<dyn Run>>,
}

impl Pools {
    /// Workers for some queues, with how many attempts each makes at the same time.
    pub fn of(queues: impl IntoIterator<Item = (&'static Queue, usize)>) -> NewPools {
        NewPools { queues: queues.into_iter().collect(), handlers: Vec::new() }
    }

    /// Says how many attempts of a queue are made at the same time, unless an operator said so.
    pub fn set_concurrency(&self, queue: &str, concurrency: usize) {
        for pool in self.all.iter().filter(|pool| pool.queue.name == queue) {
            pool.set_configured(concurrency);
        }
    }

    /// The queues.
    pub fn queues(&self) -> impl Iterator<Item = &'static Queue> {
        self.all.iter().map(|pool| pool.queue)
    }

    /// Takes no more jobs, and waits until those under way are done. What is not done after a time is given back: it uses up
    /// no attempt and gets its turn elsewhere.
    pub async fn drain(&self, patience: Duration) {
        futures_util::future::join_all(self.all.iter().map(|pool| pool.drain(patience))).await;
    }

    fn wake_here(&self, queue: &str, bits: u64) {
        for pool in self.all.iter().filter(|pool| pool.queue.name == queue) {
            pool.wake(bits);
        }
    }

    /// Tells those who keep shards that they have something to do.
    async fn tell(&self) {
        self.wakes.some.notified().await;
        let shards = std::mem::take(&mut *self.wakes.shards.lock());
        let mut elsewhere: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (queue, bits) in shards {
            for shard in (0..SHARDS).filter(|shard| bits & (1 << shard) != 0) {
                match self.engine.keeper_of(&pool::keeping(&queue, shard)) {
                    Some(keeper) if keeper != self.engine.node_id() => {
                        *elsewhere.entry(keeper).or_default().entry(queue.clone()).or_default() |= 1 << shard;
                    }
                    _ => self.wake_here(&queue, 1 << shard),
                }
            }
        }
        let told = elsewhere.into_iter().map(async |(node, shards)| {
            let Ok(data) = serde_json::to_vec(&shards) else { return };
            // A node that is not told looks by itself a moment later.
            drop(self.engine.ask_topic(&node, TOPIC, data.into()).await);
        });
        let told = futures_util::future::join_all(told);
        // A node that hangs holds up no other, as shards are looked at all the same.
        drop(tokio::time::timeout(TELL_TIMEOUT, told).await);
    }
}

struct Hearing(Arc<Pools>);

#[async_trait]
impl TopicHandler for Hearing {
    async fn handle(&self, data: Bytes) -> Result<Bytes, String> {
        let shards: BTreeMap<String, u64> =
            serde_json::from_slice(&data).map_err(|error| error.to_string())?;
        for (queue, bits) in shards {
            self.0.wake_here(&queue, bits);
        }
        Ok(Bytes::new())
    }
}

impl NewPools {
    /// Says who does the jobs of a kind.
    #[must_use]
    pub fn handle<P: DeserializeOwned + Send + 'static>(
        mut self,
        kind: &'static JobKind<P>,
        handler: impl Handler<P> + 'static,
    ) -> Self {
        self.handlers.push(Arc::new(Typed::new(kind, handler)));
        self
    }

    /// Starts the workers. With `is_alone`, no other node works on the store: what was under way when the node before ended
    /// is taken up at once.
    pub fn start(self, jobs: &Jobs, engine: &Arc<Engine>, wakes: &Arc<Wakes>, is_alone: bool) -> Arc<Pools> {
        let pools = self.queues.into_iter().map(|(queue, concurrency)| {
            let own = |one: &&Arc<dyn Run>| std::ptr::eq(one.spec().queue, queue);
            let handlers = self.handlers.iter().filter(own).cloned();
            let pool = Pool::new(jobs.clone(), engine, queue, handlers, concurrency, is_alone);
            crew::start(&pool);
            pool
        });
        let pools =
            Arc::new(Pools { engine: Arc::clone(engine), wakes: Arc::clone(wakes), all: pools.collect() });
        let light: Arc<dyn Light> = Arc::<Pools>::clone(&pools);
        jobs.set_light(Arc::downgrade(&light));
        engine.set_topic(TOPIC, Arc::new(Hearing(Arc::clone(&pools))));
        let own = Arc::clone(&pools);
        engine.keep_working("wakes", Pace::OnDemand, move |vitals| {
            let pools = Arc::clone(&own);
            Box::pin(async move {
                loop {
                    pools.tell().await;
                    vitals.handled();
                }
            })
        });
        pools
    }
}
