//! The jobs of points: what was done is noted, boards are brought to what members have, and an event that is over earns points
//! for its host and for those who were there. Each may be done twice, and changes nothing then.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, Jobs, NewPools, Priority};
use mundotango_storage::db::{Db, outbox_key};
use mundotango_storage::{PageRequest, PageStart, StoreError, now};
use serde::{Deserialize, Serialize};

use super::board::{self, BoardStore, Standing};
use super::rules::{Cause, Deed, FEWEST_GUESTS, Score};
use super::store::{ScoreStore, Told};
use crate::community::effects::Effect;
use crate::community::events::rules::RsvpStatus;
use crate::community::events::store::{Event, EventStore};
use crate::community::notifications::tell::NOTIFICATION;

/// Notes that a member did something, or that it does not count any longer.
static NOTE: JobKind<Note> = JobKind::new("points_note", &NOTIFICATION, 1).priority(Priority::Low);
/// Brings boards to what a member has.
static LIST: JobKind<List> = JobKind::new("points_list", &NOTIFICATION, 1).priority(Priority::Low);
/// Notes who hosted an event that is over, and who was there.
static OVER: JobKind<Over> =
    JobKind::new("points_event", &NOTIFICATION, 1).priority(Priority::Low).timeout(Duration::from_mins(10));

/// How long after an event its points are given: until then the list at the door can be brought in.
const SETTLED_AFTER: Duration = Duration::from_hours(6);
/// How often a job brings boards to what a member has by then; where that changes on, the next one goes on.
const ROUNDS: u32 = 4;
/// Answers that are read at once.
const ANSWERS_AT_ONCE: usize = 100;
/// Answers that one job goes through; the next one goes on behind them.
const ANSWERS_OF_A_JOB: usize = 1_000;

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    user_id: String,
    deed: Deed,
    told: Told,
}

#[derive(Debug, Serialize, Deserialize)]
struct List {
    user_id: String,
    /// The month whose boards are concerned; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    month: Option<String>,
    /// The city in it whose board is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    city: Option<String>,
    /// How many such jobs went before it.
    #[serde(default, skip_serializing_if = "is_zero")]
    turn: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_zero(turn: &u32) -> bool {
    *turn == 0
}

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

#[derive(Debug, Serialize, Deserialize)]
struct Over {
    event_id: String,
    /// When it was to be over: of an event that was moved, another job knows.
    ends_at: Timestamp,
    /// Behind whose answer this job begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// The day of a time, in UTC.
fn day(at: Timestamp) -> String {
    TimeZone::UTC.to_datetime(at).date().to_string()
}

/// The month of a time, in UTC: `2026-11`.
pub(super) fn month(at: Timestamp) -> String {
    let mut month = day(at);
    month.truncate("2026-11".len());
    month
}

/// Notes that a member made a post that all can read, or that it is one no longer.
pub(in crate::community) fn post(
    author_id: &str,
    post_id: &str,
    made_at: Timestamp,
    told: Told,
) -> Result<Effect, StoreError> {
    let deed =
        Deed { cause: Cause::Post, thing: post_id.to_owned(), day: day(made_at), city: None, host: None };
    let job = NOTE.job(&Note { user_id: author_id.to_owned(), deed, told })?;
    Ok(Effect::job(job.group(author_id)))
}

/// Has points given for an event some time after its end.
pub(in crate::community) fn event(event: &Event) -> Result<Effect, StoreError> {
    let ends_at = event.when.over_at();
    let job = OVER.job(&Over { event_id: event.id.clone(), ends_at, after: None })?;
    Ok(Effect::job(job.due(ends_at + SETTLED_AFTER).group(event.id.as_str())))
}

/// Brings the boards of a month to what a member has, and that of all time.
pub(super) fn list(user_id: &str, month: &str, city: Option<&str>) -> Result<Effect, StoreError> {
    let (month, city) = (Some(month.to_owned()), city.map(str::to_owned));
    let job = LIST.job(&List { user_id: user_id.to_owned(), month, city, turn: 0 })?;
    Ok(Effect::job(job.group(user_id)))
}

/// Brings all boards on which a member can be to what the member has.
pub(super) fn list_all(user_id: &str) -> Result<Effect, StoreError> {
    let job = LIST.job(&List { user_id: user_id.to_owned(), month: None, city: None, turn: 0 })?;
    Ok(Effect::job(job.group(user_id)))
}

/// The jobs of this file.
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
        Ok(self.worker.scores.note(&job.user_id, &job.deed, job.told).await?)
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
        let time = outbox_key(attempted.enqueued_at());
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
        let id = format!("{}.{event_id}.{after}.points", outbox_key(attempted.enqueued_at()));
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
        if event.when.over_at() != over_at || over_at > now || event.is_draft || event.cancelled.is_some() {
            return Ok(None);
        }
        // The host is one of those who are going, as a rule.
        if after.is_none() && event.counts.going > FEWEST_GUESTS {
            self.scores.note(&event.host_id, &deed(&event, Cause::Hosted, None), Told::Done).await?;
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
                self.scores.note(guest, &attended, Told::Done).await?;
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
