//! The queues on the store: each call is one change of one shard.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_ops::traces::{Kind, Span};
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, Decision, Wants, key, outbox_time, shard_of};
use mundotango_storage::{StoreError, now};

use crate::kind::SHARDS;
use crate::new_job::NewJob;
use crate::row::{Head, JOBS, Job, due_of, unique_key};
use crate::rules::{self, Claim, Given, GroupRates, Held, Lost, Settled, Settlement};

/// The largest payload, in bytes of JSON.
pub const MAX_PAYLOAD: usize = 16 * 1024;

/// Why something was not done with a job.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JobError {
    /// The shard has as many jobs as it may have.
    #[error("the queue is full")]
    Full,
    /// The payload is larger than [`MAX_PAYLOAD`].
    #[error("the payload has {0} bytes; at most {MAX_PAYLOAD} are taken: store what is larger, and name it")]
    TooLarge(usize),
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

/// A queue as operators see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueReport {
    /// Nobody gets a turn.
    pub paused: bool,
    /// Attempts that a node makes at the same time, if an operator said so.
    pub concurrency: Option<usize>,
    /// Jobs that each group may begin in a minute, if an operator said so.
    pub group_rate: Option<u32>,
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
        self.group_rate = self.group_rate.or(head.group_rate);
        self.waiting += head.lanes.values().map(|lane| lane.waiting).sum::<u64>();
        self.delayed += head.delayed.count;
        self.running += head.running.len() as u64;
        self.dead += head.dead.count;
        self.oldest = head.running.values().map(|one| one.since).chain(self.oldest).min();
    }
}

/// Who is told that a shard of a queue has something to do.
type Woken = dyn Fn(&str, u64) + Send + Sync;

/// Who does light jobs without their queues.
#[async_trait]
pub(crate) trait Light: Send + Sync {
    /// Does a job under its id; whether it is done. Else it has to be put into its queue.
    async fn do_now(&self, id: &str, new: &NewJob) -> bool;
}

/// The queues on a store.
#[derive(Clone)]
pub struct Jobs {
    pub(crate) db: Db,
    woken: Arc<Woken>,
    /// Nobody before this node works.
    light: Arc<OnceLock<Weak<dyn Light>>>,
}

/// The length of an id that begins with its time.
const UUID_CHARS: usize = 36;

/// When the cause was of which an id tells, in milliseconds of the Unix epoch.
pub(crate) fn caused_at(id: &str) -> Option<i64> {
    id.get(..UUID_CHARS).and_then(outbox_time).map(millis)
}

/// The partition of a shard.
pub(crate) fn partition(queue: &str, shard: u64) -> String {
    key(&[queue, &shard.to_string()])
}

fn millis(time: Timestamp) -> i64 {
    time.as_millisecond()
}

impl Jobs {
    /// The queues, and who is told that a shard has something to do.
    pub fn new(db: Db, woken: impl Fn(&str, u64) + Send + Sync + 'static) -> Self {
        Self { db, woken: Arc::new(woken), light: Arc::default() }
    }

    /// Says who does light jobs; the first that is said stays.
    pub(crate) fn set_light(&self, light: Weak<dyn Light>) {
        drop(self.light.set(light));
    }

    /// Puts a job into its queue.
    pub async fn enqueue(&self, new: NewJob) -> Result<Enqueued, JobError> {
        self.put(new_id(), new, false).await
    }

    /// The same under an id of the caller's, such as that of the effect that causes it: a job that is there already is not put
    /// there again, and neither is one that was done within an hour. An id begins with its time, as those of [`new_id`] do, and the job's age counts
    /// from then.
    pub async fn enqueue_as(&self, id: String, new: NewJob) -> Result<Enqueued, JobError> {
        self.put(id, NewJob { job: Job { named: true, ..new.job }, ..new }, true).await
    }

    /// Does a light job at once, and puts any other into its queue as [`Self::enqueue_as`] does. The cause may be carried out
    /// again, so the job may be done again.
    pub async fn do_as(&self, id: String, new: NewJob) -> Result<(), JobError> {
        let light = self.light.get().and_then(Weak::upgrade);
        if let Some(light) = light
            && light.do_now(&id, &new).await
        {
            return Ok(());
        }
        self.enqueue_as(id, new).await.map(drop)
    }

    async fn put(&self, id: String, new: NewJob, may_be_there: bool) -> Result<Enqueued, JobError> {
        let NewJob { queue, due, useless_after, mut job } = new;
        let bytes = job.payload.get().len();
        if bytes > MAX_PAYLOAD {
            return Err(JobError::TooLarge(bytes));
        }
        let now = millis(now());
        job.enqueued = now;
        let mut span = Span::child("job enqueue", Kind::Producer);
        if let Some(span) = span.recorded() {
            span.set("job.queue", &queue).set("job.kind", &job.kind).set("job.id", &id);
        }
        // What was put into the outbox brings the span that caused it; what is nearer to the job goes before it.
        job.trace = span.context().map(|trace| trace.traceparent()).or(job.trace);
        let asked = due.map(millis);
        let due = asked.filter(|due| *due > now);
        let age = useless_after.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let caused = caused_at(&id).unwrap_or(now);
        // A job that comes late is as old as one that came in time.
        job.expires = age.map(|age| asked.unwrap_or(caused).saturating_add(age));
        let shard = shard_of(job.unique.as_deref().unwrap_or(&id), SHARDS);
        let wants =
            job.unique.as_deref().map_or_else(Wants::head, |unique| Wants::head().row(unique_key(unique)));
        let job = Arc::new(job);
        let outcome =
            self.change(&queue, shard, wants, move |part| rules::enqueue(part, &id, &job, due, may_be_there));
        let outcome = span.run(outcome).await?;
        let Some((id, is_new)) = outcome else { return Err(JobError::Full) };
        let id = JobId { queue, shard, id };
        if !is_new {
            return Ok(Enqueued::Existing(id));
        }
        (self.woken)(&id.queue, shard);
        Ok(Enqueued::New(id))
    }

    pub(crate) async fn change<T: Clone + Default + Send + 'static>(
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
    ) -> Result<(Given, Hint), StoreError> {
        let ranges = hint.ranges.iter();
        let wants = ranges.fold(Wants::head(), |wants, (start, end)| wants.between(start, end, claim.most));
        let rates = hint.rates.clone();
        self.change(queue, shard, wants, move |part| match rules::claim(part, &claim, &rates) {
            Decision::Write(given) | Decision::Delete(given) => {
                let next = Hint::of(&part.head, &given);
                Decision::Write((given, next))
            }
            Decision::Stands(given) => {
                let next = Hint::of(&part.head, &given);
                Decision::Stands((given, next))
            }
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

    /// Says that a holder lives; what it has.
    pub async fn beat(&self, queue: &str, shard: u64, holder: &str) -> Result<Vec<Held>, StoreError> {
        let holder = holder.to_owned();
        self.change(queue, shard, Wants::head(), move |part| rules::beat(part, &holder)).await
    }

    /// Forgets jobs that were done, and caused before a time; how many.
    pub async fn forget(&self, queue: &str, shard: u64, before: Timestamp) -> Result<usize, StoreError> {
        let before = millis(before);
        self.change(queue, shard, Wants::head(), move |part| rules::forget(part, before)).await
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

    /// Says how many jobs each group may begin in a minute; as many as it has for `None`. Each shard has an equal part of it.
    pub async fn set_group_rate(&self, queue: &str, per_minute: Option<u32>) -> Result<(), StoreError> {
        self.set(queue, move |head| head.group_rate = per_minute).await
    }

    async fn set(
        &self,
        queue: &str,
        change: impl Fn(&mut Head) + Clone + Send + 'static,
    ) -> Result<(), StoreError> {
        for shard in 0..SHARDS {
            let change = change.clone();
            let rule = move |part: &mut rules::Shard<'_>| {
                let before = part.head.clone();
                change(&mut part.head);
                if part.head == before { Decision::Stands(()) } else { Decision::Write(()) }
            };
            self.change(queue, shard, Wants::head(), rule).await?;
            (self.woken)(queue, shard);
        }
        Ok(())
    }

    /// Gives a delayed job or a dead letter its turn now; whether it was one of these, `None` if there is no such job.
    pub async fn retry(&self, id: &JobId) -> Result<Option<bool>, StoreError> {
        let (own, now) = (id.id.clone(), millis(now()));
        let retried = self
            .change(&id.queue, id.shard, Wants::head(), move |part| rules::retry(part, &own, now))
            .await?;
        (self.woken)(&id.queue, id.shard);
        Ok(retried)
    }

    /// Takes a job away for good; whether it is gone at once, `None` if there is no such job.
    pub async fn drop_job(&self, id: &JobId) -> Result<Option<bool>, StoreError> {
        let own = id.id.clone();
        self.change(&id.queue, id.shard, Wants::head(), move |part| rules::drop_job(part, &own)).await
    }
}

/// Where a shard's next jobs are.
#[derive(Clone, Debug, Default)]
pub struct Hint {
    ranges: Vec<(String, String)>,
    /// Whether jobs wait for their turn.
    pub waiting: bool,
    /// Whether a job may begin as soon as there is a worker: nobody paused the queue or rates its groups.
    pub(crate) is_open: bool,
    /// When the time of the next delayed job comes at the earliest, or a group may go on that has used up its rate, in
    /// milliseconds of the Unix epoch.
    pub due: Option<i64>,
    rates: GroupRates,
}

/// Lanes of which a hint knows.
const HINTS: usize = 2;

/// Whether jobs of a shard begin as soon as there is a worker.
pub(crate) fn is_open(head: &Head) -> bool {
    !head.paused && head.group_rate.is_none()
}

impl Hint {
    /// The hint after a claim that failed: where the next jobs are is not known, but the groups' rates still count.
    pub(crate) fn without_places(self) -> Self {
        Self { rates: self.rates, ..Self::default() }
    }

    fn of(head: &Head, given: &Given) -> Self {
        let mut lanes: Vec<_> = head.lanes.iter().collect();
        lanes.sort_by_key(|(name, lane)| (lane.turn, *name));
        let ranges = lanes.iter().take(HINTS).map(|(name, lane)| rules::range_of(name, &lane.low)).collect();
        let due = (head.delayed.count > 0).then(|| due_of(&head.delayed.low)).flatten();
        let due = due.into_iter().chain(given.free_at).min();
        let waiting = !head.paused && !lanes.is_empty();
        Self { ranges, waiting, is_open: is_open(head), due, rates: given.rates.clone() }
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
}
