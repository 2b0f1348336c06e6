//! Random changes on a store that fails, held against a model: what was acknowledged is there once, what was refused never,
//! what is unknown either way, and numbers have no hole. What a change causes is carried out if it happened, and never if not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::timeout;

use super::db::{LATE, MODEL, Row};
use super::new_id;
use crate::StoreError;
use crate::db::engine::{
    EntriesWanted, Entry, Freshness, OutboxRow, Partitions, Pending, RangeWanted, RowsWanted, Stored, Write,
};
use crate::db::whole::Whole;
use crate::db::{
    Db, Decision, Due, Fate, IndexSpec, KindSpec, OUTBOX_SHARDS, Outlet, RowRange, Wants, key, prefix,
};

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
    /// Faults that were injected.
    pub faults: u64,
    /// What does not fit the model.
    pub violations: Vec<String>,
}

/// An engine whose calls fail by chance.
struct Faulty {
    engine: Arc<dyn Partitions>,
    chance: Mutex<StdRng>,
    faults: Arc<AtomicU64>,
    mutant: Option<Mutant>,
}

/// What happens to a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It never arrives.
    Dropped,
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It is carried out after its caller was told that nobody knows.
    Late,
}

fn lost() -> StoreError {
    StoreError::Unknown("the answer is lost".to_owned())
}

impl Faulty {
    fn fault(&self) -> Fault {
        let fault = match self.chance.lock().random_range(0..20) {
            0 => Fault::Dropped,
            1 => Fault::AnswerLost,
            2 => Fault::Late,
            _ => return Fault::None,
        };
        self.faults.fetch_add(1, Ordering::Relaxed);
        fault
    }

    fn delay(&self) -> Duration {
        LATE.mul_f64(self.chance.lock().random_range(0.0..1.0))
    }
}

async fn set(
    engine: Arc<dyn Partitions>,
    kind: &'static KindSpec,
    id: String,
    mut expected: u64,
    mut write: Write,
    mutant: Option<Mutant>,
) -> Result<bool, StoreError> {
    let outbox = write.outbox.take_if(|_| mutant == Some(Mutant::OutboxIsWrittenAfter));
    if mutant == Some(Mutant::VersionIsNotCompared) {
        expected = engine.load(kind, &id, &RowsWanted::default(), Freshness::Settled).await?.version;
    }
    let is_set = engine.compare_and_set(kind, &id, expected, write).await?;
    // As if some nodes died right after the change.
    if is_set && outbox.is_some() && !expected.is_multiple_of(5) {
        let after = Write { outbox, ..Write::default() };
        engine.compare_and_set(kind, &format!("{id}-{}", new_id()), 0, after).await?;
    }
    Ok(is_set)
}

#[async_trait]
impl Partitions for Faulty {
    async fn load(
        &self,
        kind: &'static KindSpec,
        id: &str,
        wanted: &RowsWanted,
        freshness: Freshness,
    ) -> Result<Stored, StoreError> {
        if self.chance.lock().random_range(0..30) == 0 {
            self.faults.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::Unavailable("the read fails".to_owned()));
        }
        let mut stored = self.engine.load(kind, id, wanted, freshness).await?;
        if self.mutant == Some(Mutant::MarksAreLost) {
            stored.marks.clear();
        }
        Ok(stored)
    }

    async fn row(&self, kind: &'static KindSpec, id: &str, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.engine.row(kind, id, key).await
    }

    async fn rows(
        &self,
        kind: &'static KindSpec,
        id: &str,
        range: &RangeWanted,
        backwards: bool,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.engine.rows(kind, id, range, backwards).await
    }

    async fn insert(
        &self,
        kind: &'static KindSpec,
        id: &str,
        facts: Bytes,
        entries: &[Entry],
        outbox: Option<&OutboxRow>,
    ) -> Result<(), StoreError> {
        self.engine.insert(kind, id, facts, entries, outbox).await
    }

    async fn compare_and_set(
        &self,
        kind: &'static KindSpec,
        id: &str,
        expected: u64,
        write: Write,
    ) -> Result<bool, StoreError> {
        let fault = self.fault();
        let (engine, id, mutant) = (Arc::clone(&self.engine), id.to_owned(), self.mutant);
        match fault {
            Fault::None => set(engine, kind, id, expected, write, mutant).await,
            Fault::Dropped => Err(lost()),
            Fault::AnswerLost => {
                set(engine, kind, id, expected, write, mutant).await?;
                Err(lost())
            }
            Fault::Late => {
                let delay = self.delay();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = set(engine, kind, id, expected, write, mutant).await;
                });
                Err(lost())
            }
        }
    }

    async fn purge(&self, kind: &'static KindSpec, id: &str) -> Result<(), StoreError> {
        self.engine.purge(kind, id).await
    }

    async fn add_entries(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.engine.add_entries(entries).await
    }

    async fn remove_entries(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.engine.remove_entries(entries).await
    }

    async fn entries(
        &self,
        index: &'static IndexSpec,
        wanted: EntriesWanted<'_>,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.engine.entries(index, wanted).await
    }

    async fn outbox(
        &self,
        shard: u64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        self.engine.outbox(shard, after, limit).await
    }

    async fn carried_out(&self, shard: u64, keys: &[String]) -> Result<(), StoreError> {
        if self.fault() != Fault::None {
            return Err(StoreError::Unavailable("what was carried out is not removed".to_owned()));
        }
        self.engine.carried_out(shard, keys).await
    }

    async fn outbox_is_empty_before(&self, shard: u64, key: &str) -> Result<(), StoreError> {
        self.engine.outbox_is_empty_before(shard, key).await
    }

    fn whole(&self) -> Result<Arc<dyn Whole>, StoreError> {
        self.engine.whole()
    }
}

/// Carries out effects, which are the numbers of changes, by counting them.
struct Counter {
    carried_out: Mutex<BTreeMap<usize, usize>>,
    /// Where what was carried out is removed.
    db: Db,
    /// Some effects are not carried out at once, as if their node had died.
    chance: Mutex<StdRng>,
}

impl Counter {
    fn count(&self, due: &Due) -> Result<bool, StoreError> {
        let Some(effects) = due.effects()? else { return Ok(false) };
        for (_, effect) in effects {
            *self.carried_out.lock().entry(effect.read()?).or_default() += 1;
        }
        Ok(true)
    }

    /// Carries out what is left of the changes of these partitions, until nothing is.
    async fn sweep(&self, partitions: &[String]) -> Result<(), StoreError> {
        for shard in 0..OUTBOX_SHARDS {
            let (mut after, mut over) = (None, BTreeSet::new());
            loop {
                let page = self.db.outbox(shard, after.as_deref(), 1000).await?;
                let mut again = false;
                for due in page
                    .items
                    .iter()
                    .filter(|due| partitions.iter().any(|id| due.partition().starts_with(id)))
                {
                    if self.count(due)? || over.contains(due.key()) {
                        self.db.carried_out(shard, &[due.key().to_owned()]).await?;
                    } else if self.db.overtake(due).await? == Fate::Over {
                        over.insert(due.key().to_owned());
                        again = true;
                    }
                }
                after = if again { after } else { page.next };
                if after.is_none() && !again {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Outlet for Counter {
    fn take(&self, due: Due) {
        if self.chance.lock().random_bool(0.5) && self.count(&due).is_ok() {
            let db = self.db.clone();
            tokio::spawn(async move { db.carried_out(due.shard(), &[due.key().to_owned()]).await });
        }
    }
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Acknowledged(u64),
    Refused,
    WithoutEffect,
    Unknown,
    Cancelled,
}

/// A rule's own refusal.
enum Failure {
    Refused,
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Puts a row of its own name and number, which causes its name to be counted; refused for every seventh.
async fn put(db: &Db, partition: &str, name: usize) -> Outcome {
    let (row, refused) = (key(&["o", &name.to_string()]), name.is_multiple_of(7));
    let changed = db.change(&MODEL, partition, Wants::head().row(&row), move |part| {
        if refused {
            part.head.count += 1000;
            return Err(Failure::Refused);
        }
        part.head.count += 1;
        let number = part.head.count;
        part.set(&row, Row { number });
        part.emit(&name)?;
        Ok(Decision::Write(number))
    });
    match changed.await {
        Ok(Some(number)) => Outcome::Acknowledged(number),
        Err(Failure::Refused) => Outcome::Refused,
        Err(Failure::Store(StoreError::Unknown(_))) => Outcome::Unknown,
        Ok(None) | Err(Failure::Store(_)) => Outcome::WithoutEffect,
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
    let outcomes: BTreeMap<_, _> = tasks.join_all().await.into_iter().collect();
    // What is still under way, of callers that went away or too late, has come to its end by then.
    tokio::time::sleep(LATE * 10).await;
    counter.sweep(&partitions).await.unwrap();
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
    report
}
