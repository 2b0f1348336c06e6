//! What operators do with a job.

use std::sync::Arc;

use mundotango_storage::db::Decision;

use super::places::{
    Shard, put_waiting, release_place, release_unique, remove_dead, remove_delayed, take_from_lane,
};
use crate::row::{Area, Job, Row, area_of, lane_and_place, place_key, unique_key, waiting_key};

/// Where a job is. The key is that of its row.
#[derive(Clone, Debug)]
pub enum Find {
    /// It waits for its turn.
    Waiting(String, Arc<Job>),
    /// Somebody works on it.
    Running(Arc<Job>),
    /// It waits for its time.
    Delayed(String, Arc<Job>),
    /// It is a dead letter.
    Dead(String, Arc<Job>),
}

/// Looks for a job in all places.
pub fn find(part: &mut Shard<'_>, id: &str) -> Option<Find> {
    if let Some(running) = part.head.running.get(id) {
        let key = running.key(id);
        return job_of(part, &key).map(Find::Running);
    }
    let lanes: Vec<_> = part.head.lanes.keys().map(|lane| waiting_key(lane, id)).collect();
    let place = match part.row(&place_key(id)) {
        Some(Row::At(key)) => Some(key.clone()),
        Some(Row::Job(_)) | None => None,
    };
    if let Some(key) = place {
        let job = job_of(part, &key)?;
        return match area_of(&key)? {
            Area::Waiting => Some(Find::Waiting(key, job)),
            Area::Delayed => Some(Find::Delayed(key, job)),
            Area::Dead => Some(Find::Dead(key, job)),
        };
    }
    // Each is looked at, so that all are read at once.
    let waiting: Vec<_> =
        lanes.into_iter().filter_map(|key| job_of(part, &key).map(|job| Find::Waiting(key, job))).collect();
    waiting.into_iter().next()
}

fn job_of(part: &mut Shard<'_>, key: &str) -> Option<Arc<Job>> {
    match part.row(key) {
        Some(Row::Job(job)) => Some(Arc::clone(job)),
        Some(Row::At(_)) | None => None,
    }
}

/// Gives a delayed job or a dead letter its turn now, with all its attempts before it; whether it was one of these. `None` if
/// there is no such job. Another one of its unique key may have come since; then it stays what it is.
pub fn retry(part: &mut Shard<'_>, id: &str, now: i64) -> Decision<Option<bool>> {
    let job = match find(part, id) {
        Some(Find::Delayed(key, job)) => {
            remove_delayed(part, key, id);
            job
        }
        Some(Find::Dead(key, job)) => {
            if let Some(unique) = &job.unique {
                let unique = unique_key(unique);
                if part.row(&unique).is_some() {
                    return Decision::Stands(Some(false));
                }
                part.set(unique, Row::At(id.to_owned()));
            }
            remove_dead(part, key, id);
            job
        }
        Some(Find::Waiting(..) | Find::Running(_)) => return Decision::Stands(Some(false)),
        None => return Decision::Stands(None),
    };
    let fresh = Job { attempts: 0, rescues: 0, expires: None, ended: None, ..Job::clone(&job) };
    put_waiting(part, id, Arc::new(fresh), now);
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
        Some(Find::Dead(key, _)) => remove_dead(part, key, id),
        Some(Find::Delayed(key, job)) => {
            remove_delayed(part, key, id);
            release_unique(part, &job);
        }
        Some(Find::Waiting(key, job)) => {
            let (lane, place) = lane_and_place(&key);
            release_place(part, &lane, &place);
            release_unique(part, &job);
            take_from_lane(&mut part.head, &lane, &place);
        }
    }
    Decision::Write(Some(true))
}
