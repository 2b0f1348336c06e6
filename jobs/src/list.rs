//! Jobs as operators see them: one by one, and in lists.

use std::sync::Arc;

use jiff::Timestamp;
use mundotango_storage::db::{Decision, RowRange, Wants, behind};
use mundotango_storage::{Page, StoreError};
use serde::{Deserialize, Serialize};

use crate::jobs::{JobId, Jobs, partition};
use crate::kind::SHARDS;
use crate::row::{
    Head, JOBS, Job, Row, dead_prefix, delayed_prefix, due_of, id_of_place, lane_and_place, waiting_key,
    waiting_prefix,
};
use crate::rules::{self, Find};

/// The state of a job that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Somebody works on it.
    Running,
    /// It waits for its turn.
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
    /// Who works on it, and since when.
    pub running: Option<(String, Timestamp)>,
    /// When its time comes, if it is delayed.
    pub due: Option<Timestamp>,
    /// Why it waits, in a sentence.
    pub why: Option<String>,
}

fn time_of(millis: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(millis).ok()
}

impl Jobs {
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
        let place = partition(queue, shard);
        let mut found = Vec::new();
        for part in parts_of(&head, state, after.as_deref()) {
            if found.len() > limit {
                break;
            }
            let more = limit + 1 - found.len();
            match part {
                Part::Keys(keys) => {
                    let keys: Vec<_> = keys.iter().map(String::as_str).take(more).collect();
                    let rows = self.db.read_with(&JOBS, &place, &keys).await?;
                    found.extend(rows.into_iter().flat_map(|(_, rows)| rows));
                }
                Part::Range(range) => {
                    found.extend(self.db.rows(&JOBS, &place, &range.limit(more)).await?.items);
                }
            }
        }
        let last = found.get(limit.wrapping_sub(1)).map(|(key, _)| key.clone());
        let next = last.filter(|_| found.len() > limit);
        found.truncate(limit);
        let jobs = found.into_iter().filter_map(|(key, row)| {
            let Row::Job(job) = row else { return None };
            let id = id_of_place(&lane_and_place(&key).1).to_owned();
            if state == State::Waiting && head.running.contains_key(&id) {
                return None;
            }
            let found = match state {
                State::Dead => Find::Dead(key, job),
                State::Delayed => Find::Delayed(key, job),
                State::Running => Find::Running(job),
                State::Waiting => Find::Waiting(key, job),
            };
            Some(shown(JobId { queue: queue.to_owned(), shard, id }, found, &head))
        });
        Ok((jobs.collect(), next))
    }
}

/// A part of a list of jobs.
enum Part {
    /// Rows of these keys, in their order.
    Keys(Vec<String>),
    Range(RowRange),
}

/// Where the rows of the jobs are that are in a state, behind a key. No range begins before its mark, as what lies there was
/// removed.
fn parts_of(head: &Head, state: State, after: Option<&str>) -> Vec<Part> {
    let is_behind = |key: &String| after.is_none_or(|after| key.as_str() > after);
    let range = |prefix: String, low: &str| {
        let after = after.filter(|after| *after >= low).map(str::to_owned);
        Part::Range(RowRange::first(prefix, 0).after(after.or_else(|| before(low))))
    };
    match state {
        State::Dead => vec![range(dead_prefix(), &head.dead.low)],
        State::Delayed => vec![range(delayed_prefix(), &head.delayed.low)],
        State::Running => {
            let mut keys: Vec<_> =
                head.running.iter().map(|(id, one)| one.key(id)).filter(is_behind).collect();
            keys.sort_unstable();
            vec![Part::Keys(keys)]
        }
        State::Waiting => {
            let lanes = head.lanes.iter().map(|(name, lane)| (waiting_prefix(name), name, lane));
            let mut lanes: Vec<_> = lanes.filter(|(prefix, ..)| is_behind(&behind(prefix))).collect();
            lanes.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
            let parts = lanes.into_iter().flat_map(|(prefix, name, lane)| {
                let back = lane.back.iter().map(|place| waiting_key(name, place)).filter(is_behind).collect();
                [Part::Keys(back), range(prefix, &waiting_key(name, &lane.low))]
            });
            parts.collect()
        }
    }
}

/// A key before a mark and behind all that sorts clearly before it, as ranges begin behind a key.
fn before(mark: &str) -> Option<String> {
    // Such a mark stands behind a row that is gone.
    if let Some(gone) = mark.strip_suffix('\0') {
        return Some(gone.to_owned());
    }
    let mut chars = mark.chars();
    let last = chars.next_back()?;
    let previous = char::from_u32(u32::from(last).checked_sub(1)?)?;
    Some(format!("{}{previous}\u{10ffff}", chars.as_str()))
}

fn shown(id: JobId, found: Find, head: &Head) -> Shown {
    let paused = || head.paused.then(|| "the queue is paused".to_owned());
    let (job, state, due, why) = match found {
        Find::Running(job) => (job, State::Running, None, None),
        Find::Waiting(key, job) => {
            let (lane, _) = lane_and_place(&key);
            let ahead = head.lanes.get(&lane).map_or(0, |lane| lane.waiting);
            let busy = || {
                let rate = head.group_rate.filter(|_| !job.group.is_empty());
                let rate = rate.map(|rate| format!("; each group begins {rate} a minute at most"));
                format!(
                    "{ahead} wait in its lane (priority and group), which shares turns with {} others; {} attempts are under way{}",
                    head.lanes.len().saturating_sub(1),
                    head.running.len(),
                    rate.unwrap_or_default(),
                )
            };
            let why = paused().unwrap_or_else(busy);
            (job, State::Waiting, None, Some(why))
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
        Find::Dead(_, job) => (job, State::Dead, None, None),
    };
    let running = head.running.get(&id.id);
    let running = running.and_then(|one| Some((one.holder.clone(), time_of(one.since)?)));
    Shown { id, job, state, running, due, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_begin_at_their_marks() {
        for mark in ["w/1/0198-a", "w/1/0198-0", "w/1/0198-a.0", "d/0000000001000/x"] {
            let begin = before(mark).unwrap();
            assert!(begin.as_str() < mark, "{begin:?}");
            let mut earlier = mark.to_owned();
            let last = char::from(earlier.pop().unwrap() as u8 - 1);
            assert!(begin > format!("{earlier}{last}zzz~zzz"), "{begin:?}");
        }
        assert_eq!(before("w/1/gone\0").as_deref(), Some("w/1/gone"));
    }
}
