//! The queues on the store: each call is one change of one shard.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, Decision, RowRange, Wants, behind, key, last_part, shard_of};
use mundotango_storage::{Page, StoreError, now};
use serde::Serialize;

use crate::kind::{NewJob, SHARDS};
use crate::row::{Head, JOBS, Job, Row, dead_prefix, delayed_prefix, due_of, unique_key, waiting_prefix};
use crate::rules::{self, Claim, Claimed, Find, Lost, Settled, Settlement};

/// Why something was not done with a job.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JobError {
    /// The shard has as many jobs as it may have.
    #[error("the queue is full")]
    Full,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The place and the name of a job: queue, shard and id, as in `email.3.0198…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobId {
    /// The queue's name.
    pub queue: String,
    /// The shard.
    pub shard: u64,
    /// The id in the shard. Ids sort by the time of their making.
    pub id: String,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.queue, self.shard, self.id)
    }
}

impl FromStr for JobId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.');
        let (Some(queue), Some(shard), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(());
        };
        let shard = shard.parse().ok().filter(|shard| *shard < SHARDS).ok_or(())?;
        if queue.is_empty() || id.is_empty() {
            return Err(());
        }
        Ok(Self { queue: queue.to_owned(), shard, id: id.to_owned() })
    }
}

/// What came of putting a job into its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is there.
    New(JobId),
    /// One with its unique key, or the very same, was there before.
    Existing(JobId),
}

/// The state of a job that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for its turn, or somebody works on it.
    Waiting,
    /// It waits for its time.
    Delayed,
    /// It ended without being done.
    Dead,
}

/// A job as operators see it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its id.
    pub id: JobId,
    /// The job.
    pub job: Arc<Job>,
    /// Its state.
    pub state: State,
    /// The node that works on it, and since when.
    pub running: Option<(String, Timestamp)>,
    /// When its time comes, if it is delayed.
    pub due: Option<Timestamp>,
    /// Why it waits, in a sentence.
    pub why: Option<String>,
}

/// A queue as operators see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueReport {
    /// Nobody gets a turn.
    pub paused: bool,
    /// Attempts that a node makes at the same time, if an operator said so.
    pub concurrency: Option<usize>,
    /// Jobs that wait for their turn.
    pub waiting: u64,
    /// Jobs that wait for their time.
    pub delayed: u64,
    /// Attempts that are under way.
    pub running: u64,
    /// Dead letters.
    pub dead: u64,
    /// Since when the oldest attempt is under way, in milliseconds of the Unix epoch.
    pub oldest: Option<i64>,
}

impl QueueReport {
    pub(crate) fn add(&mut self, head: &Head) {
        self.paused |= head.paused;
        self.concurrency = self.concurrency.or(head.concurrency);
        self.waiting += head.lanes.values().map(|lane| lane.waiting).sum::<u64>();
        self.delayed += head.delayed.count;
        self.running += head.running.len() as u64;
        self.dead += head.dead;
        self.oldest = head.running.values().map(|one| one.since).chain(self.oldest).min();
    }
}

/// Who is told that a shard of a queue has something to do.
type Woken = dyn Fn(&str, u64) + Send + Sync;

/// The queues on a store.
#[derive(Clone)]
pub struct Jobs {
    db: Db,
    woken: Arc<Woken>,
}

/// The partition of a shard.
fn partition(queue: &str, shard: u64) -> String {
    key(&[queue, &shard.to_string()])
}

fn millis(time: Timestamp) -> i64 {
    time.as_millisecond()
}

fn time_of(millis: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(millis).ok()
}

impl Jobs {
    /// The queues, and who is told that a shard has something to do.
    pub fn new(db: Db, woken: impl Fn(&str, u64) + Send + Sync + 'static) -> Self {
        Self { db, woken: Arc::new(woken) }
    }

    /// Puts a job into its queue.
    pub async fn enqueue(&self, new: NewJob) -> Result<Enqueued, JobError> {
        self.enqueue_as(new_id(), new, false).await
    }

    /// The same under an id of the caller's, such as that of the effect that causes it. With `may_be_there` the same may
    /// have been done before: it is looked for first. An id sorts by its time.
    pub async fn enqueue_as(
        &self,
        id: String,
        new: NewJob,
        may_be_there: bool,
    ) -> Result<Enqueued, JobError> {
        let NewJob { queue, due, useless_after, mut job } = new;
        let now = millis(now());
        job.enqueued = now;
        job.trace = job.trace.or_else(mundotango_ops::trace::current);
        let due = due.map(millis).filter(|due| *due > now);
        let age = useless_after.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        job.expires = age.map(|age| due.unwrap_or(now).saturating_add(age));
        let shard = shard_of(job.unique.as_deref().unwrap_or(&id), SHARDS);
        let wants =
            job.unique.as_deref().map_or_else(Wants::head, |unique| Wants::head().row(unique_key(unique)));
        let job = Arc::new(job);
        let outcome = self
            .change(&queue, shard, wants, move |part| rules::enqueue(part, &id, &job, due, may_be_there))
            .await?;
        let Some((id, is_new)) = outcome else { return Err(JobError::Full) };
        let id = JobId { queue, shard, id };
        if !is_new {
            return Ok(Enqueued::Existing(id));
        }
        (self.woken)(&id.queue, shard);
        Ok(Enqueued::New(id))
    }

    async fn change<T: Clone + Default + Send + 'static>(
        &self,
        queue: &str,
        shard: u64,
        wants: Wants,
        mut rule: impl FnMut(&mut rules::Shard<'_>) -> Decision<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let rule = move |part: &mut rules::Shard<'_>| Ok::<_, StoreError>(rule(part));
        Ok(self.db.change(&JOBS, &partition(queue, shard), wants, rule).await?.unwrap_or_default())
    }

    /// Gives jobs of a shard their turn, and says where the next ones are. `hint` is what the claim before said of that.
    pub async fn claim(
        &self,
        queue: &str,
        shard: u64,
        claim: Claim,
        hint: &Hint,
    ) -> Result<(Vec<Claimed>, Hint), StoreError> {
        let ranges = hint.ranges.iter();
        let wants = ranges.fold(Wants::head(), |wants, (start, end)| wants.between(start, end, claim.most));
        self.change(queue, shard, wants, move |part| match rules::claim(part, &claim) {
            Decision::Write(claimed) | Decision::Delete(claimed) => {
                Decision::Write((claimed, Hint::of(&part.head)))
            }
            Decision::Stands(claimed) => Decision::Stands((claimed, Hint::of(&part.head))),
        })
        .await
    }

    /// Says what came of attempts.
    pub async fn settle(
        &self,
        queue: &str,
        shard: u64,
        holder: &str,
        settled: Vec<Settled>,
    ) -> Result<Settlement, StoreError> {
        let (holder, now) = (holder.to_owned(), millis(now()));
        self.change(queue, shard, Wants::head(), move |part| rules::settle(part, &holder, &settled, now))
            .await
    }

    /// Says that a holder lives; those of its jobs that are to be stopped.
    pub async fn beat(&self, queue: &str, shard: u64, holder: &str) -> Result<Vec<String>, StoreError> {
        let holder = holder.to_owned();
        self.change(queue, shard, Wants::head(), move |part| rules::beat(part, &holder)).await
    }

    /// Takes attempts from holders that are lost; how many.
    pub async fn rescue(&self, queue: &str, shard: u64, lost: Lost) -> Result<usize, StoreError> {
        let now = millis(now());
        self.change(queue, shard, Wants::head(), move |part| rules::rescue(part, &lost, now)).await
    }

    /// The head of a shard as it is now.
    pub async fn head(&self, queue: &str, shard: u64) -> Result<Head, StoreError> {
        let found = self.db.read(&JOBS, &partition(queue, shard)).await?;
        Ok(found.map(|found| found.head).unwrap_or_default())
    }

    /// How a queue is.
    pub async fn report(&self, queue: &str) -> Result<QueueReport, StoreError> {
        let mut report = QueueReport::default();
        for shard in 0..SHARDS {
            report.add(&self.head(queue, shard).await?);
        }
        Ok(report)
    }

    /// Gives nobody a turn, or gives turns again.
    pub async fn pause(&self, queue: &str, paused: bool) -> Result<(), StoreError> {
        self.set(queue, move |head| head.paused = paused).await
    }

    /// Says how many attempts a node makes at the same time; as the queue declares for `None`.
    pub async fn set_concurrency(&self, queue: &str, concurrency: Option<usize>) -> Result<(), StoreError> {
        self.set(queue, move |head| head.concurrency = concurrency).await
    }

    async fn set(
        &self,
        queue: &str,
        change: impl Fn(&mut Head) + Clone + Send + 'static,
    ) -> Result<(), StoreError> {
        for shard in 0..SHARDS {
            let change = change.clone();
            let rule = move |part: &mut rules::Shard<'_>| {
                let mut head = part.head.clone();
                change(&mut head);
                let changed = head != part.head;
                part.head = head;
                if changed { Decision::Write(()) } else { Decision::Stands(()) }
            };
            self.change(queue, shard, Wants::head(), rule).await?;
            (self.woken)(queue, shard);
        }
        Ok(())
    }

    /// Gives a delayed job or a dead letter its turn now; whether it was one of these, `None` if there is no such job.
    pub async fn retry(&self, id: &JobId) -> Result<Option<bool>, StoreError> {
        let own = id.id.clone();
        let retried =
            self.change(&id.queue, id.shard, Wants::head(), move |part| rules::retry(part, &own)).await?;
        (self.woken)(&id.queue, id.shard);
        Ok(retried)
    }

    /// Takes a job away for good; whether it is gone at once, `None` if there is no such job.
    pub async fn drop_job(&self, id: &JobId) -> Result<Option<bool>, StoreError> {
        let own = id.id.clone();
        self.change(&id.queue, id.shard, Wants::head(), move |part| rules::drop_job(part, &own)).await
    }

    /// A job, and why it waits.
    pub async fn show(&self, id: &JobId) -> Result<Option<Shown>, StoreError> {
        let own = id.id.clone();
        let found = self.change(&id.queue, id.shard, Wants::head(), move |part| {
            Decision::Stands(rules::find(part, &own).map(|found| (found, part.head.clone())))
        });
        Ok(found.await?.map(|(found, head)| shown(id.clone(), found, &head)))
    }

    /// A page of the jobs of a queue that are in a state, shard by shard. Places are those of [`Page::next`]; one that is none
    /// begins anew.
    pub async fn page(
        &self,
        queue: &str,
        state: State,
        after: Option<String>,
        limit: usize,
    ) -> Result<Page<Shown>, StoreError> {
        let place = after.as_deref().and_then(|after| after.split_once(':'));
        let (mut shard, mut after) =
            match place.and_then(|(shard, key)| Some((shard.parse::<u64>().ok()?, key))) {
                Some((shard, key)) => (shard, Some(key.to_owned()).filter(|key| !key.is_empty())),
                None => (0, None),
            };
        let mut items = Vec::new();
        while shard < SHARDS {
            let (some, next) = self.list(queue, shard, state, after.take(), limit - items.len()).await?;
            items.extend(some);
            if let Some(next) = next {
                return Ok(Page { items, next: Some(format!("{shard}:{next}")) });
            }
            shard += 1;
            if items.len() >= limit {
                break;
            }
        }
        let next = (shard < SHARDS).then(|| format!("{shard}:"));
        Ok(Page { items, next })
    }

    /// A page of the jobs of a shard that are in a state, and the place behind it.
    pub async fn list(
        &self,
        queue: &str,
        shard: u64,
        state: State,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Shown>, Option<String>), StoreError> {
        let head = self.head(queue, shard).await?;
        let ranges = match state {
            State::Dead => vec![RowRange::first(dead_prefix(), limit).after(after.clone())],
            State::Delayed => {
                let low = Some(head.delayed.low.clone()).filter(|low| !low.is_empty());
                // The low mark may be a job's own key, and a page begins behind its mark.
                let low = low.map(|low| low.trim_end_matches('\0').to_owned());
                let before = low.map(|low| low[..low.len() - 1].to_owned());
                vec![RowRange::first(delayed_prefix(), limit).after(after.clone().max(before))]
            }
            // Lane by lane, each from its low mark: what lies before was removed, and those that run have it behind them.
            State::Waiting => lanes_of(&head)
                .into_iter()
                .map(|lane| (waiting_prefix(&lane), lane))
                .filter(|(prefix, _)| after.as_ref().is_none_or(|after| behind(prefix) > *after))
                .map(|(prefix, lane)| {
                    let low = lowest_of(&head, &lane).map(|low| format!("{prefix}{}", before_id(&low)));
                    RowRange::first(prefix.clone(), limit)
                        .after(after.clone().filter(|after| after.starts_with(&prefix)).max(low))
                })
                .collect(),
        };
        let mut all = Vec::new();
        for range in ranges {
            let page = self.db.rows(&JOBS, &partition(queue, shard), &range).await?;
            let jobs = page.items.into_iter().filter_map(|(key, row)| match row {
                Row::Job(job) => Some((key, job)),
                Row::At(_) => None,
            });
            all.extend(jobs);
            if all.len() > limit {
                break;
            }
        }
        let next = (all.len() >= limit).then(|| all.get(limit - 1).map(|(key, _)| key.clone())).flatten();
        all.truncate(limit);
        let jobs = all.into_iter().map(|(key, job)| {
            let id = last_part(&key);
            let found = match state {
                State::Dead => Find::Dead(job),
                State::Delayed => Find::Delayed(key, job),
                State::Waiting if head.running.contains_key(&id) => Find::Running(job),
                State::Waiting => Find::Waiting(lane_of(&key), job),
            };
            shown(JobId { queue: queue.to_owned(), shard, id }, found, &head)
        });
        Ok((jobs.collect(), next))
    }
}

/// The lanes in which rows are: of those that wait and of those that run.
fn lanes_of(head: &Head) -> Vec<String> {
    let running = head.running.values().map(|one| one.lane.clone());
    let mut lanes: Vec<_> = head.lanes.keys().cloned().chain(running).collect();
    lanes.sort_unstable_by_key(|lane| waiting_prefix(lane));
    lanes.dedup();
    lanes
}

/// The lowest id that a lane has a row of.
fn lowest_of(head: &Head, lane: &str) -> Option<String> {
    let waiting = head.lanes.get(lane).map(|lane| lane.low.clone());
    let running = head.running.iter().filter(|(_, one)| one.lane == lane).map(|(id, _)| id.clone());
    running.chain(waiting).min()
}

/// A text just before an id.
fn before_id(id: &str) -> String {
    let id = id.trim_end_matches('\0');
    let mut chars = id.chars();
    chars.next_back();
    chars.as_str().to_owned()
}

fn lane_of(key: &str) -> String {
    let parent = key.rsplit_once('/').map_or("", |(parent, _)| parent);
    last_part(parent)
}

fn shown(id: JobId, found: Find, head: &Head) -> Shown {
    let paused = || head.paused.then(|| "the queue is paused".to_owned());
    let (job, state, due, why) = match found {
        Find::Running(job) => (job, State::Waiting, None, None),
        Find::Waiting(lane, job) => {
            let ahead = head.lanes.get(&lane).map_or(0, |lane| lane.waiting);
            let busy = || {
                format!(
                    "{ahead} wait in its lane (priority and group), which shares turns with {} others; {} attempts are under way",
                    head.lanes.len().saturating_sub(1),
                    head.running.len()
                )
            };
            (job, State::Waiting, None, Some(paused().unwrap_or_else(busy)))
        }
        Find::Delayed(key, job) => {
            let due = due_of(&key).and_then(time_of);
            let why = match (job.tries.last(), due) {
                (Some(last), Some(due)) => {
                    format!("its last attempt failed ({}); the next is at {due}", last.why)
                }
                (None, Some(due)) => format!("its time comes at {due}"),
                (_, None) => "its time has not come".to_owned(),
            };
            (job, State::Delayed, due, Some(why))
        }
        Find::Dead(job) => (job, State::Dead, None, None),
    };
    let running = head.running.get(&id.id);
    let running = running.and_then(|one| Some((one.holder.clone(), time_of(one.since)?)));
    Shown { id, job, state, running, due, why }
}

/// Where a shard's next jobs are.
#[derive(Clone, Debug, Default)]
pub struct Hint {
    ranges: Vec<(String, String)>,
    /// Whether jobs wait for their turn.
    pub waiting: bool,
    /// When the time of the next delayed job comes at the earliest, in milliseconds of the Unix epoch.
    pub due: Option<i64>,
}

/// Lanes of which a hint knows.
const HINTS: usize = 2;

impl Hint {
    fn of(head: &Head) -> Self {
        let mut lanes: Vec<_> = head.lanes.iter().collect();
        lanes.sort_by_key(|(name, lane)| (lane.turn, *name));
        let ranges = lanes.iter().take(HINTS).map(|(name, lane)| rules::range_of(name, &lane.low)).collect();
        let due = (head.delayed.count > 0).then(|| due_of(&head.delayed.low)).flatten();
        Self { ranges, waiting: !head.paused && !lanes.is_empty(), due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_queue_and_shard() {
        let id: JobId = "email.3.0198-abc.0".parse().unwrap();
        assert_eq!((id.queue.as_str(), id.shard, id.id.as_str()), ("email", 3, "0198-abc.0"));
        assert_eq!(id.to_string(), "email.3.0198-abc.0");
        for bad in ["", "email", "email.3", "email.4.x", "email.x.y", ".1.x", "email.1."] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_tells_its_lane() {
        let key = format!("{}x", waiting_prefix("1a/b"));
        assert_eq!(lane_of(&key), "1a/b");
    }
}
