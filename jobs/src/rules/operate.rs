//! What operators do with a job.

use std::sync::Arc;

use mundotango_storage::db::Decision;

use super::{Shard, put_waiting, release_unique, remove_delayed};
use crate::row::{Job, Row, dead_key, place_key, unique_key, waiting_key};

/// Where a job is.
#[derive(Clone, Debug)]
pub enum Find {
    /// It waits in this lane.
    Waiting(String, Arc<Job>),
    /// Somebody works on it.
    Running(Arc<Job>),
    /// It waits for its time, under this key.
    Delayed(String, Arc<Job>),
    /// It is a dead letter.
    Dead(Arc<Job>),
}

/// Looks for a job in all places.
pub fn find(part: &mut Shard<'_>, id: &str) -> Option<Find> {
    if let Some(running) = part.head.running.get(id) {
        let key = waiting_key(&running.lane, id);
        return job_of(part, &key).map(Find::Running);
    }
    let lanes: Vec<_> = part.head.lanes.keys().cloned().collect();
    let place = match part.row(&place_key(id)) {
        Some(Row::At(key)) => Some(key.clone()),
        Some(Row::Job(_)) | None => None,
    };
    let dead = job_of(part, &dead_key(id));
    let waiting: Vec<_> = lanes
        .into_iter()
        .filter_map(|lane| job_of(part, &waiting_key(&lane, id)).map(|job| Find::Waiting(lane, job)))
        .collect();
    if let Some(key) = place {
        return job_of(part, &key).map(|job| Find::Delayed(key, job));
    }
    waiting.into_iter().next().or(dead.map(Find::Dead))
}

fn job_of(part: &mut Shard<'_>, key: &str) -> Option<Arc<Job>> {
    match part.row(key) {
        Some(Row::Job(job)) => Some(Arc::clone(job)),
        Some(Row::At(_)) | None => None,
    }
}

/// Gives a delayed job or a dead letter its turn now, with all its attempts before it; whether it was one of these. `None` if
/// there is no such job. Another one of its unique key may have come since; then it stays what it is.
pub fn retry(part: &mut Shard<'_>, id: &str) -> Decision<Option<bool>> {
    let (key, job) = match find(part, id) {
        Some(Find::Delayed(key, job)) => (key, job),
        Some(Find::Dead(job)) => (dead_key(id), job),
        Some(Find::Waiting(..) | Find::Running(_)) => return Decision::Stands(Some(false)),
        None => return Decision::Stands(None),
    };
    let is_dead = job.ended.is_some();
    if is_dead && let Some(unique) = &job.unique {
        let unique = unique_key(unique);
        if part.row(&unique).is_some() {
            return Decision::Stands(Some(false));
        }
        part.set(unique, Row::At(id.to_owned()));
    }
    let fresh = Job { attempts: 0, rescues: 0, expires: None, ended: None, ..Job::clone(&job) };
    if is_dead {
        part.head.dead = part.head.dead.saturating_sub(1);
        part.remove(key);
    } else {
        remove_delayed(part, key, id);
    }
    put_waiting(part, id, Arc::new(fresh));
    Decision::Write(Some(true))
}

/// Takes a job away for good. One that somebody works on is stopped at its holder's next beat, and is a dead letter then.
/// Whether it is gone at once; `None` if there is no such job.
pub fn drop_job(part: &mut Shard<'_>, id: &str) -> Decision<Option<bool>> {
    match find(part, id) {
        None => return Decision::Stands(None),
        Some(Find::Running(_)) => {
            let running = Arc::make_mut(&mut part.head.running);
            if let Some(one) = running.get_mut(id) {
                one.cancelled = true;
            }
            return Decision::Write(Some(false));
        }
        Some(Find::Dead(_)) => {
            part.head.dead = part.head.dead.saturating_sub(1);
            part.remove(dead_key(id));
        }
        Some(Find::Delayed(key, job)) => {
            remove_delayed(part, key, id);
            release_unique(part, &job);
        }
        Some(Find::Waiting(lane, job)) => {
            part.remove(waiting_key(&lane, id));
            release_unique(part, &job);
            if let Some(own) = part.head.lanes.get_mut(&lane) {
                own.waiting = own.waiting.saturating_sub(1);
                if own.waiting == 0 {
                    part.head.lanes.remove(&lane);
                }
            }
        }
    }
    Decision::Write(Some(true))
}
