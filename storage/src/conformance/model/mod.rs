//! Random changes and lives of partitions on a store that fails, held against a model: what was acknowledged is there once,
//! what was refused never, what is unknown either way, and numbers have no hole. What a change or a creation causes is carried
//! out if it happened, and never if not.

mod changes;
mod faulty;
mod lives;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::timeout;

use super::db::{LATE, MODEL};
use super::new_id;
use crate::db::{Db, RowRange, key, prefix};
use changes::{Counter, Outcome, put};
use faulty::Faulty;
use lives::Lives;

/// A guarantee that is broken on purpose, which the model test has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A compare-and-set compares nothing.
    VersionIsNotCompared,
    /// Nobody finds the mark of a compare-and-set.
    MarksAreLost,
    /// What a change causes is written after the change and not with it.
    OutboxIsWrittenAfter,
}

/// How much a run does.
#[derive(Clone, Copy, Debug)]
pub struct ModelRun {
    /// What chance begins with. Tasks race, so a run is not the same each time for one seed.
    pub seed: u64,
    /// Stores that share their data, as the nodes of a cluster do.
    pub nodes: usize,
    /// Partitions that are changed.
    pub partitions: usize,
    /// Changes that are asked for.
    pub changes: usize,
    /// Partitions that are created, changed and deleted beside that.
    pub lives: usize,
    /// The guarantee that is broken, if any.
    pub mutant: Option<Mutant>,
}

/// What a run saw.
#[derive(Clone, Debug, Default)]
pub struct ModelReport {
    /// Changes that were acknowledged.
    pub acknowledged: u64,
    /// Changes that their rule refused.
    pub refused: u64,
    /// Changes that failed without effect.
    pub without_effect: u64,
    /// Changes whose outcome nobody knows.
    pub unknown: u64,
    /// Callers that went away.
    pub cancelled: u64,
    /// What was told of creations and deletions.
    pub lives: u64,
    /// Faults that were injected.
    pub faults: u64,
    /// What does not fit the model.
    pub violations: Vec<String>,
}

impl std::ops::AddAssign for ModelReport {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.without_effect += other.without_effect;
        self.unknown += other.unknown;
        self.cancelled += other.cancelled;
        self.lives += other.lives;
        self.faults += other.faults;
        self.violations.extend(other.violations);
    }
}

impl std::fmt::Display for ModelReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { acknowledged, refused, without_effect, unknown, cancelled, lives, faults, violations } =
            self;
        write!(
            f,
            "{acknowledged} changes acknowledged, {refused} refused, {without_effect} without effect, {unknown} unknown, \
             {cancelled} of callers that went away, {lives} creations and deletions, {faults} faults, {} violations",
            violations.len()
        )
    }
}

/// Runs random changes on a store, and says what does not fit.
pub async fn model(stores: &[Db], run: ModelRun) -> ModelReport {
    let mut chance = StdRng::seed_from_u64(run.seed);
    let faults = Arc::new(AtomicU64::new(0));
    let counter = Arc::new(Counter {
        carried_out: Mutex::default(),
        db: stores[0].clone(),
        chance: Mutex::new(StdRng::seed_from_u64(chance.random())),
    });
    let nodes: Vec<_> = (0..run.nodes)
        .map(|node| {
            let faulty = Faulty {
                engine: stores[node % stores.len()].engine(),
                chance: Mutex::new(StdRng::seed_from_u64(chance.random())),
                faults: Arc::clone(&faults),
                mutant: run.mutant,
            };
            Db::new(Arc::new(faulty)).with_outlet(Arc::<Counter>::clone(&counter))
        })
        .collect();
    let partitions: Vec<_> = (0..run.partitions).map(|_| new_id()).collect();
    let mut asked = Vec::with_capacity(run.changes);
    let mut tasks = tokio::task::JoinSet::new();
    for change in 0..run.changes {
        let (node, partition) =
            (nodes[chance.random_range(0..nodes.len())].clone(), chance.random_range(0..partitions.len()));
        let id = partitions[partition].clone();
        let patience = (chance.random_range(0..10) == 0).then(|| LATE.mul_f64(chance.random_range(0.0..0.5)));
        asked.push(partition);
        tasks.spawn(async move {
            let put = put(&node, &id, change);
            let outcome = match patience {
                Some(patience) => timeout(patience, put).await.unwrap_or(Outcome::Cancelled),
                None => put.await,
            };
            (change, outcome)
        });
        if change % 16 == 0 {
            tokio::time::sleep(Duration::from_millis(chance.random_range(0..4))).await;
        }
    }
    let lives = Lives::run(&nodes, run.lives, run.changes, &mut chance).await;
    let outcomes: BTreeMap<_, _> = tasks.join_all().await.into_iter().collect();
    // What is still under way, of callers that went away or too late, has come to its end by then.
    tokio::time::sleep(LATE * 10).await;
    let looked_after: Vec<_> = partitions.iter().cloned().chain(lives.partitions()).collect();
    counter.sweep(&looked_after).await.unwrap();
    let mut report = ModelReport { faults: faults.load(Ordering::Relaxed), ..ModelReport::default() };
    let mut there = Vec::new();
    for id in &partitions {
        let head = stores[0].read(&MODEL, id).await.unwrap().map_or(0, |found| found.head.count);
        let rows = stores[0].rows(&MODEL, id, &RowRange::first(prefix(&["o"]), run.changes)).await.unwrap();
        let rows: BTreeMap<_, _> = rows.items.into_iter().map(|(key, row)| (key, row.number)).collect();
        let mut numbers: Vec<_> = rows.values().copied().collect();
        numbers.sort_unstable();
        if !numbers.iter().copied().eq(1..=head) {
            report.violations.push(format!("{id}: {head} counted, and the rows are {numbers:?}"));
        }
        there.push(rows);
    }
    for (change, outcome) in outcomes {
        let row = there[asked[change]].get(&key(&["o", &change.to_string()])).copied();
        let (count, fits) = match outcome {
            Outcome::Acknowledged(number) => (&mut report.acknowledged, row == Some(number)),
            Outcome::Refused => (&mut report.refused, row.is_none()),
            Outcome::WithoutEffect => (&mut report.without_effect, row.is_none()),
            Outcome::Unknown => (&mut report.unknown, true),
            Outcome::Cancelled => (&mut report.cancelled, change % 7 != 0 || row.is_none()),
        };
        *count += 1;
        if !fits {
            report.violations.push(format!("change {change} is {outcome:?}, and its row has {row:?}"));
        }
        let times = counter.carried_out.lock().get(&change).copied().unwrap_or_default();
        if (times > 0) != row.is_some() {
            let text =
                format!("change {change} has row {row:?}, and its effect was carried out {times} times");
            report.violations.push(text);
        }
    }
    lives.judge(&stores[0], &counter, &mut report).await;
    report
}
