//! The one loop in which partitions change: read, ask the rules, compare and set.
//!
//! - Changes of one node that wait for the same partition are carried out together: their rules run one after the other on
//!   one read, and one compare-and-set carries what they decided. A rule that refuses or panics harms its own caller alone.
//! - Each compare-and-set leaves its node's mark in the partition. After an unknown outcome the partition is read again, and
//!   the mark tells. A compare-and-set that arrives late finds another version and does nothing.
//! - The loop goes on when its caller goes away: that neither stops a change nor keeps a stale value in the cache.

use std::any::{Any, TypeId};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use mundotango_ops::ToTheEnd;
use mundotango_ops::traces::{self, Span, apart, current};
use mundotango_protocol::new_id;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::combiner::Place;
use super::decide::{Asked, Attempt, Batch, Decided, End, Fate, Loaded, Waiting, decide};
use super::engine::{Freshness, OutboxRow};
use super::outbox::outbox_row;
use super::{Db, Decision, Kind, KindSpec, Part, Wants};
use crate::StoreError;

/// Most changes that share a compare-and-set.
const MAX_COMBINED: usize = 100;
/// How long a change is tried.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How often rules may ask for rows that were not read.
const MAX_ROUNDS: usize = 8;
/// The first pause before trying again; it doubles with each try, up to [`MAX_PAUSE`].
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause before trying again.
const MAX_PAUSE: Duration = Duration::from_millis(160);

impl Db {
    /// Changes a partition by a rule; what the rule answered, or `None` if there is no such partition. The change is carried
    /// out once or not at all; after [`StoreError::Unknown`] nobody knows which. It goes on when the caller no longer waits.
    ///
    /// The rule is a pure function of the partition. It may run several times. An error of its own refuses the change.
    pub async fn change<F, H, R, T, E>(
        &self,
        kind: &'static Kind<F, H, R>,
        id: &str,
        wants: Wants,
        mut rule: impl FnMut(&mut Part<'_, F, H, R>) -> Result<Decision<T>, E> + Send + 'static,
    ) -> Result<Option<T>, E>
    where
        F: DeserializeOwned + Send + Sync + 'static,
        H: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static,
        R: Serialize + DeserializeOwned + Send + Sync + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (caller, answered) = oneshot::channel();
        let is_quiet = self.is_quiet;
        let rule = move |part: &mut Part<'_, F, H, R>| {
            let decision = rule(part);
            if is_quiet {
                part.effects.clear();
            }
            decision
        };
        let asked: Waiting<F, H, R> = Box::new(Asked { wants, rule, answer: None, caller, trace: current() });
        let types = TypeId::of::<(F, H, R)>();
        let place = Place { kind: kind.spec().name, types, id: id.to_owned() };
        let outcome = if self.combiner.push(&place, Box::new(asked))? {
            // The first one works for all, until its own change is answered; what waits then is a task's.
            let work = AssertUnwindSafe(self.clone().work(kind, place)).catch_unwind();
            let mut work = ToTheEnd::new(work);
            let mut answered = answered;
            tokio::select! {
                biased;
                outcome = &mut answered => outcome,
                // Of a panic the queue is told by what it waits on.
                _ = &mut work => answered.await,
            }
        } else {
            answered.await
        };
        match outcome {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Unknown("the task that changes the partition ended".to_owned()).into()),
        }
    }

    /// Carries out what waits for a partition until nothing does.
    async fn work<F, H, R>(self, kind: &'static Kind<F, H, R>, place: Place)
    where
        F: DeserializeOwned + Send + Sync + 'static,
        H: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static,
        R: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let abandon = Abandon { db: &self, place: &place };
        loop {
            let taken = self.combiner.take(&place, MAX_COMBINED);
            if taken.is_empty() {
                break;
            }
            let batch = taken.into_iter().filter_map(|one| one.downcast::<Waiting<F, H, R>>().ok());
            let rest = self.carry_out(kind, &place.id, batch.map(|one| *one).collect()).await;
            if !rest.is_empty() {
                let rest = rest.into_iter().map(|one| Box::new(one) as Box<dyn Any + Send>);
                self.combiner.put_back(&place, rest.collect());
            }
            // Where nothing has to be written, nothing else lets others run.
            tokio::task::consume_budget().await;
        }
        // The queue is gone: another worker may have begun by now.
        std::mem::forget(abandon);
    }

    /// Carries out changes together; returns those behind one that deletes the partition, which have to be asked anew.
    async fn carry_out<F, H, R>(
        &self,
        kind: &'static Kind<F, H, R>,
        id: &str,
        batch: Vec<Waiting<F, H, R>>,
    ) -> Vec<Waiting<F, H, R>>
    where
        F: DeserializeOwned + Send + Sync,
        H: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static,
        R: Serialize + DeserializeOwned + Send + Sync,
    {
        if batch.len() > 1 {
            self.hot.combined(kind.spec().name, id, batch.len() - 1);
        }
        let mut batch = Batch { asked: batch, rest: Vec::new() };
        let (mut sent, mut entered) = (None, None);
        // The task is the first caller's, and the work is that of all in the batch.
        let causes = batch.asked.iter().filter_map(|one| one.trace());
        let mut span = Span::caused_by(causes, "store change", traces::Kind::Internal);
        if let Some(span) = span.recorded() {
            span.set("db.collection.name", kind.spec().name);
            span.set("db.operation.batch.size", batch.asked.len());
        }
        let deciding = self.decide_and_set(kind, id, &mut batch, &mut sent, &mut entered);
        let end = apart(span.context(), deciding).await;
        span.end_with(&end);
        if let Some(attempt) = &sent {
            // Also after an error, as it may have been done.
            self.forget(kind.spec(), id).await;
            let is_done = matches!(end, Ok(End::Answer));
            self.note_shard::<H>(kind.spec(), id, attempt, is_done).await;
        }
        let done = sent.as_ref().filter(|attempt| attempt.is_done);
        let is_unknown = end.is_err() && is_unsure(sent.as_ref());
        let caused = done.and_then(|attempt| Some((attempt.write.outbox.as_ref()?, &attempt.effects)));
        if let Some((row, effects)) = caused {
            self.hand_out(kind.spec(), id, row, effects);
        }
        // An entry that leads to nothing; where nobody knows, it stays.
        let in_vain = entered.filter(|_| !is_unknown && caused.is_none());
        match end {
            Ok(end) => batch.asked.into_iter().for_each(|one| one.settle(end.clone())),
            Err(error) => fail(batch.asked, sent, error),
        }
        if let Some(row) = in_vain {
            self.take_back(&row).await;
        }
        batch.rest
    }

    /// Reads, asks the rules and compares and sets until one compare-and-set went through or none is needed. `sent` is the
    /// last that was sent, and `entered` what was written of its effects, which no longer count where it was lost.
    async fn decide_and_set<F, H, R>(
        &self,
        kind: &'static Kind<F, H, R>,
        id: &str,
        batch: &mut Batch<F, H, R>,
        sent: &mut Option<Attempt>,
        entered: &mut Option<OutboxRow>,
    ) -> Result<End, StoreError>
    where
        F: DeserializeOwned + Send + Sync,
        H: Clone + Default + Serialize + DeserializeOwned + Send + Sync,
        R: Serialize + DeserializeOwned + Send + Sync,
    {
        let (spec, deadline) = (kind.spec(), Instant::now() + PATIENCE);
        let mut wants = Wants::default();
        batch.asked.iter().for_each(|one| wants.add(one.wants()));
        let (mut rounds, mut pause, mut freshness) = (0, FIRST_PAUSE, Freshness::Acknowledged);
        loop {
            let stored = match self.engine.load(spec, id, &wants.0, freshness).await {
                Ok(stored) => stored,
                // Who does not know what came of an attempt goes on asking.
                Err(_) if is_unsure(sent.as_ref()) && Instant::now() + pause < deadline => {
                    pause = back_off(pause).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match sent.as_ref().map(|attempt| attempt.fate(&stored)) {
                Some(Fate::Done) => return self.finish(spec, id, sent.as_mut()).await,
                Some(Fate::Untold) => {
                    return Err(StoreError::Unknown(format!("too many changed one of {} since", spec.name)));
                }
                Some(Fate::Lost) => *sent = None,
                Some(Fate::Open) | None => {}
            }
            if !stored.exists(spec) {
                if stored.deleted && stored.facts.is_some() {
                    self.engine.purge(spec, id).await?;
                }
                return Ok(End::Absent);
            }
            // An attempt of which nobody knows the outcome is sent as it was: rules would decide the same.
            if !is_unsure(sent.as_ref()) {
                *sent = None;
                batch.asked.append(&mut batch.rest);
                rounds += 1;
                // What expires is written again as a whole: facts may not be gone before the head.
                let facts = stored.facts.clone().filter(|_| spec.ttl.is_some());
                match decide(&Loaded::read(stored, &wants)?, batch, &self.writer, rounds == MAX_ROUNDS)? {
                    Decided::Nothing => return Ok(End::Answer),
                    Decided::Write(mut attempt) => {
                        attempt.write.facts = facts;
                        // The same place for each attempt: at most one of them is carried out.
                        let place = entered.as_ref().map_or_else(new_id, |row| row.key.clone());
                        attempt.write.outbox = outbox_row(spec, id, &place, &attempt.effects)?;
                        *entered = attempt.write.outbox.clone().or(entered.take());
                        *sent = Some(*attempt);
                    }
                    Decided::Missing(more) => {
                        wants.add(&more);
                        continue;
                    }
                }
                rounds = 0;
            }
            let Some(attempt) = sent.as_mut() else { continue };
            // Long after its entry was written, who looks after the outbox may have given the change up.
            if attempt.unknown.is_none() && Instant::now() > deadline {
                return Err(StoreError::Unavailable(format!("one of {} was not read in time", spec.name)));
            }
            match self.engine.compare_and_set(spec, id, attempt.version, attempt.write.clone()).await {
                Ok(true) => return self.finish(spec, id, sent.as_mut()).await,
                Ok(false) => self.hot.lost(spec.name, id),
                Err(error @ StoreError::Unknown(_)) => attempt.unknown = Some(error),
                Err(error) => return Err(error),
            }
            if Instant::now() + pause > deadline {
                return Err(StoreError::Unavailable(format!("too many change one of {}", spec.name)));
            }
            freshness = Freshness::Settled;
            pause = back_off(pause).await;
        }
    }

    /// Ends a change that was carried out: what a deleted partition held is removed.
    async fn finish(
        &self,
        kind: &'static KindSpec,
        id: &str,
        sent: Option<&mut Attempt>,
    ) -> Result<End, StoreError> {
        let Some(attempt) = sent else { return Ok(End::Answer) };
        attempt.is_done = true;
        if attempt.write.deletes {
            let purged = self.engine.purge(kind, id).await;
            purged.map_err(|error| StoreError::Unknown(format!("not all was removed: {error}")))?;
        }
        Ok(End::Answer)
    }
}

fn is_unsure(sent: Option<&Attempt>) -> bool {
    sent.is_some_and(|attempt| attempt.unknown.is_some())
}

/// Takes a queue away whose worker panics, so that those that wait learn it and the next change starts another.
struct Abandon<'a> {
    db: &'a Db,
    place: &'a Place,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        tracing::error!(kind = self.place.kind, "the task that changes a partition ended");
        self.db.combiner.abandon(self.place);
    }
}

/// Waits before trying again, so that nodes that collided do not collide again; the next pause.
pub(super) async fn back_off(pause: Duration) -> Duration {
    tokio::time::sleep(pause.mul_f64(rand::random_range(0.1..1.0))).await;
    (pause * 2).min(MAX_PAUSE)
}

/// Tells all why nothing is known to be written. Only those that write something are left without knowing whether they did.
fn fail<F, H, R>(batch: Vec<Waiting<F, H, R>>, attempt: Option<Attempt>, error: StoreError) {
    let unknown = match (attempt.as_ref().and_then(|attempt| attempt.unknown.clone()), &error) {
        (Some(unknown), _) => Some(unknown),
        (None, StoreError::Unknown(_)) => Some(error.clone()),
        (None, _) => None,
    };
    let writers = attempt.map(|attempt| attempt.writers).unwrap_or_default();
    let without_effect = error.without_effect();
    for (index, one) in batch.into_iter().enumerate() {
        let writes = writers.get(index).copied().unwrap_or(false);
        let error = unknown.clone().filter(|_| writes).unwrap_or_else(|| without_effect.clone());
        one.settle(End::Failed(error));
    }
}
