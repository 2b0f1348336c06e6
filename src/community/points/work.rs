//! Who does the jobs of points: what was done is noted, boards are brought to what members have, and an event that is over earns
//! points for its host and for those who were there. Each may be done twice, and changes nothing then.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_jobs::{Attempted, Failure, Handler, Jobs, NewPools};
use mundotango_storage::db::{Db, outbox_key};
use mundotango_storage::{PageRequest, PageStart, StoreError, now};

use super::board::{self, BoardStore, Standing};
use super::jobs::{LIST, List, NOTE, Note, OVER, Over, day};
use super::rules::{Cause, Deed, FEWEST_GUESTS, Score, Told};
use super::store::ScoreStore;
use crate::community::events::rules::RsvpStatus;
use crate::community::events::store::{Event, EventStore};

/// How often a job brings boards to what a member has by then; where that changes on, the next one goes on.
const ROUNDS: u32 = 4;
/// Answers that are read at once.
const ANSWERS_AT_ONCE: usize = 100;
/// Answers that one job goes through; the next one goes on behind them.
const ANSWERS_OF_A_JOB: usize = 1_000;

/// What follows when boards were brought to a version of a member's score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The member has what they show.
    Done,
    /// The score has changed meanwhile.
    Again,
    /// The same, and this job has done enough.
    InAnotherJob,
}

/// What follows after so many rounds, the last of which brought boards to a version.
fn next(rounds: u32, listed: u64, present: u64) -> Next {
    if listed == present {
        Next::Done
    } else if rounds < ROUNDS {
        Next::Again
    } else {
        Next::InAnotherJob
    }
}

/// The jobs of points.
pub fn handled(pools: NewPools, db: &Db, jobs: &Jobs) -> NewPools {
    let worker = Arc::new(PointsWorker::new(db));
    let own = || Own { worker: Arc::clone(&worker), jobs: jobs.clone() };
    pools.handle(&NOTE, own()).handle(&LIST, own()).handle(&OVER, own())
}

struct Own {
    worker: Arc<PointsWorker>,
    jobs: Jobs,
}

#[async_trait]
impl Handler<Note> for Own {
    async fn run(&self, _: &Attempted, job: Note) -> Result<(), Failure> {
        Ok(self.worker.scores.note(&job.user_id, &job.deed, (job.told, job.version)).await?)
    }
}

#[async_trait]
impl Handler<List> for Own {
    async fn run(&self, attempted: &Attempted, job: List) -> Result<(), Failure> {
        let (month, city) = (job.month.as_deref(), job.city.as_deref());
        if self.worker.list(&job.user_id, month, city).await? {
            return Ok(());
        }
        let turn = job.turn.saturating_add(1);
        // The same name at each attempt: whoever does this job again finds the next one.
        let time = outbox_key(attempted.caused_at());
        let id = format!("{time}.{}.{}.{turn}.boards", job.user_id, board::id(month, city));
        let user_id = job.user_id.clone();
        let next = LIST.job(&List { turn, ..job })?;
        self.jobs.enqueue_as(id, next.group(user_id)).await.map(drop).map_err(Failure::retry)
    }
}

#[async_trait]
impl Handler<Over> for Own {
    async fn run(&self, attempted: &Attempted, job: Over) -> Result<(), Failure> {
        let Over { event_id, ends_at, after } = job;
        let after = self.worker.event_is_over(&event_id, ends_at, after, now()).await?;
        let Some(after) = after else { return Ok(()) };
        // The same name at each attempt: whoever does this job again finds the next one.
        let id = format!("{}.{event_id}.{after}.points", outbox_key(attempted.caused_at()));
        let next = OVER.job(&Over { event_id: event_id.clone(), ends_at, after: Some(after) })?;
        self.jobs.enqueue_as(id, next.group(event_id)).await.map(drop).map_err(Failure::retry)
    }
}

/// Gives points, and keeps the boards.
pub struct PointsWorker {
    scores: ScoreStore,
    boards: BoardStore,
    events: EventStore,
}

impl PointsWorker {
    /// On a store.
    pub fn new(db: &Db) -> Self {
        Self {
            scores: ScoreStore::new(db.clone()),
            boards: BoardStore::new(db.clone()),
            events: EventStore::new(db.clone()),
        }
    }

    /// Brings boards to what a member has: those of a month, or all; of its cities only this one; and that of all time. `false` where the
    /// score changes on, and another job has to go on.
    pub async fn list(
        &self,
        user_id: &str,
        month: Option<&str>,
        city: Option<&str>,
    ) -> Result<bool, StoreError> {
        let mut score = self.scores.score(user_id).await?;
        let mut rounds = 0;
        loop {
            for (board, points) in boards_of(&score, month, city) {
                let standing = Standing { points, version: score.version };
                self.boards.place(&board, user_id, standing, !score.is_hidden).await?;
            }
            // A job of what changed meanwhile may have been faster: who hides is on no board for good by an older one.
            let now = self.scores.score(user_id).await?;
            rounds += 1;
            match next(rounds, score.version, now.version) {
                Next::Done => return Ok(true),
                Next::Again => score = now,
                Next::InAnotherJob => return Ok(false),
            }
        }
    }

    /// Notes who hosted an event that is over and who was there, if it took place as it was planned then; behind whose answer to
    /// go on, where there are more than one job goes through.
    pub async fn event_is_over(
        &self,
        event_id: &str,
        over_at: Timestamp,
        after: Option<String>,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let Some(event) = self.events.event(event_id).await? else { return Ok(None) };
        if event.when.over_at() != over_at || over_at > now || event.is_draft || !event.takes_place() {
            return Ok(None);
        }
        // The host is one of those who are going, as a rule.
        if after.is_none() && event.counts.going > FEWEST_GUESTS {
            self.scores.note(&event.host_id, &deed(&event, Cause::Hosted, None), (Told::Done, 0)).await?;
        }
        self.note_guests(&event, after).await
    }

    /// Notes those who were at an event: who was let in at the door where somebody noted that, else who was going.
    async fn note_guests(&self, event: &Event, after: Option<String>) -> Result<Option<String>, StoreError> {
        let is_door_kept = self.events.checked_in(&event.id).await? > 0;
        let attended = deed(event, Cause::Attended, Some(event.host_id.clone()));
        let mut start = after.map_or(PageStart::First, PageStart::After);
        for _ in 0..ANSWERS_OF_A_JOB / ANSWERS_AT_ONCE {
            let page = self.events.rsvps(&event.id, PageRequest { start, limit: ANSWERS_AT_ONCE }).await?;
            let going = page.items.into_iter().filter(|answer| answer.status == RsvpStatus::Going);
            let guests: Vec<_> =
                going.map(|answer| answer.user_id).filter(|user| *user != event.host_id).collect();
            let came = if is_door_kept { Some(self.events.came(&event.id, &guests).await?) } else { None };
            let was_there = |guest: &&String| came.as_ref().is_none_or(|came| came.contains_key(*guest));
            for guest in guests.iter().filter(was_there) {
                self.scores.note(guest, &attended, (Told::Done, 0)).await?;
            }
            let Some(next) = page.next else { return Ok(None) };
            start = PageStart::After(next);
        }
        Ok(match start {
            PageStart::After(after) => Some(after),
            _ => None,
        })
    }
}

fn deed(event: &Event, cause: Cause, host: Option<String>) -> Deed {
    let city = event.location.city.as_deref().map(str::to_lowercase);
    Deed { cause, thing: event.id.clone(), day: day(event.when.starts_at()), city, host }
}

/// The boards of a month and its city, or all, with what counts there.
fn boards_of(score: &Score, month: Option<&str>, city: Option<&str>) -> Vec<(String, u32)> {
    let mut boards = vec![(board::id(None, None), score.points)];
    let is_meant = |of: &str| month.is_none_or(|wanted| wanted == of);
    for (name, of_month) in score.months.iter().filter(|(name, _)| is_meant(name)) {
        boards.push((board::id(Some(name), None), of_month.points));
        let is_meant = |of: &str| month.is_none() || city == Some(of);
        let cities = of_month.cities.iter().filter(|(city, _)| is_meant(city));
        boards.extend(cities.map(|(city, points)| (board::id(Some(name), Some(city)), *points)));
    }
    boards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_ends_however_fast_a_score_changes() {
        // Each look finds another version than was listed.
        let steps: Vec<_> =
            (1..).map(|round| next(round, u64::from(round), u64::from(round) + 1)).take(10).collect();
        let end = steps.iter().position(|step| *step == Next::InAnotherJob).unwrap();
        assert_eq!(end + 1, usize::try_from(ROUNDS).unwrap());
        assert!(steps[..end].iter().all(|step| *step == Next::Again));
        assert_eq!((next(1, 7, 7), next(ROUNDS, 7, 7)), (Next::Done, Next::Done));
    }
}
