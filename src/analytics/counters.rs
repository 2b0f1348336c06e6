//! What the server counts itself, as no client needs to report it and no blocker hides it: reads of the API
//! by their routes, and sessions. They are numbers alone, without who it was.
//!
//! They are kept in memory and put into the queue every few seconds. A node that dies loses those of its last
//! seconds; one that is shut down loses those since the last time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mundotango_actors::{Engine, Pace};
use mundotango_jobs::Jobs;
use mundotango_ops::Seldom;
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::buckets::Counted;
use super::counts::{Class, Dimension, Kind, Tally};
use super::slots::Slot;
use super::work;

/// How often they are put into the queue.
const EVERY: Duration = Duration::from_secs(5);
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most numbers that wait: more than there are routes. Further names are counted with their kind alone.
const MOST: usize = 500;
/// Numbers that one job carries, about 100 bytes each.
const OF_JOB: usize = 100;

/// Numbers by slot and dimension.
type Waiting = BTreeMap<(Slot, Dimension), u64>;

/// Counts on this node.
#[derive(Debug, Default)]
pub struct Counters {
    waiting: Mutex<Waiting>,
}

impl Counters {
    /// A read of the API was answered, by the route's template: never by a raw path.
    pub fn read(&self, route: &str) {
        self.count(Kind::ServerRead, Some(route));
    }

    /// A session was opened.
    pub fn session(&self) {
        self.count(Kind::Session, None);
    }

    fn count(&self, kind: Kind, name: Option<&str>) {
        let slot = Slot::of(mundotango_storage::now());
        let mut waiting = self.waiting.lock();
        *waiting.entry((slot, Dimension::Kind(kind))).or_default() += 1;
        let Some(name) = name else { return };
        let place = (slot, Dimension::Name(kind, name.to_owned()));
        if waiting.len() < MOST || waiting.contains_key(&place) {
            *waiting.entry(place).or_default() += 1;
        }
    }

    /// Puts what was counted into the queue. What cannot be put there goes on waiting.
    pub async fn flush(&self, jobs: &Jobs) {
        let mut taken = std::mem::take(&mut *self.waiting.lock());
        while !taken.is_empty() {
            let rest =
                taken.keys().nth(OF_JOB).cloned().map(|first| taken.split_off(&first)).unwrap_or_default();
            if let Err(error) = enqueue(jobs, &taken).await {
                static LINES: Seldom = Seldom::once_a_minute();
                if let Some(left_out) = LINES.may_write() {
                    tracing::warn!(error, left_out, "the server's own counts wait");
                }
                self.take_back(taken.into_iter().chain(rest));
                return;
            }
            taken = rest;
        }
    }

    fn take_back(&self, counts: impl Iterator<Item = ((Slot, Dimension), u64)>) {
        let mut waiting = self.waiting.lock();
        for (place, number) in counts {
            if waiting.len() < MOST || waiting.contains_key(&place) {
                *waiting.entry(place).or_default() += number;
            }
        }
    }
}

async fn enqueue(jobs: &Jobs, counts: &Waiting) -> Result<(), String> {
    let mut slots: BTreeMap<Slot, Counted> = BTreeMap::new();
    for ((slot, dimension), number) in counts {
        slots.entry(*slot).or_default().push((dimension.text(), Tally::of(Class::Unknown, *number)));
    }
    let enqueued = timeout(PATIENCE, work::enqueue_counts(jobs, slots)).await;
    enqueued.map_err(|_| "the queue does not answer".to_owned())?.map_err(|error| error.to_string())
}

/// Puts into the queue what a node counts, for as long as it runs.
pub fn start(engine: &Engine, counters: &Arc<Counters>, jobs: &Jobs) {
    let (counters, jobs) = (Arc::clone(counters), jobs.clone());
    engine.keep_running("analytics counters", Pace::Timed, move |vitals| {
        let (counters, jobs) = (Arc::clone(&counters), jobs.clone());
        Box::pin(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                counters.flush(&jobs).await;
                vitals.handled();
            }
        })
    });
}
