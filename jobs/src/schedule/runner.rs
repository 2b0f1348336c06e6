//! Looking at schedules, and making their jobs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use mundotango_actors::{Engine, Pace, Vitals};
use mundotango_ops::traces::{self, About, Span, in_scope};
use mundotango_ops::{Seldom, metrics};
use mundotango_storage::db::{Db, Decision, Effect, Fields, Kind, Part, Wants};
use mundotango_storage::{StoreError, now};
use tokio::time::{sleep, timeout};

use super::Schedule;
use super::rules::{CatchUp, Due, Fired, decide};
use crate::new_job::NewJob;

/// What has fired of each schedule.
pub static SCHEDULES: Kind<(), Fired, ()> = Kind::new("schedules", "a schedule: 100 B", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] =
    &[Fields::of_nobody(&["id", "head.last", "head.local", "head.count", "head.missed"])];

/// What the nodes agree upon who looks at.
const KEEPING: &str = "schedules";
/// The longest time between two looks: whoever keeps the schedules may change, and so may the clock.
const LOOK: Duration = Duration::from_secs(1);
/// How long looking at a schedule may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// A difference between the clock and the time that has passed from which the clock was set.
const STEP: SignedDuration = SignedDuration::from_secs(2);

/// Puts a job into the form in which the outbox keeps it.
type Effects = dyn Fn(NewJob) -> Result<Effect, StoreError> + Send + Sync;

/// A schedule as operators see it.
#[derive(Clone, Debug)]
pub struct ScheduleReport {
    /// Its name.
    pub name: &'static str,
    /// The cron expression; `None` for an interval.
    pub expression: Option<String>,
    /// The interval; `None` for a cron expression.
    pub interval: Option<Duration>,
    /// The name of the zone whose clocks count.
    pub zone: String,
    /// What is done about occurrences that nobody was there for.
    pub catch_up: CatchUp,
    /// The last occurrence that was decided upon.
    pub last: Option<Timestamp>,
    /// The next one.
    pub next: Option<Timestamp>,
    /// How often it has fired.
    pub fired: u64,
    /// Occurrences that were left out, as nobody was there.
    pub missed: u64,
}

/// The schedules of the application.
pub struct Schedules {
    db: Db,
    all: Vec<Schedule>,
    effect: Box<Effects>,
}

impl Schedules {
    /// Schedules on a store that carries out effects. `effect` puts a job into the form in which that keeps it.
    pub fn new(
        db: Db,
        all: Vec<Schedule>,
        effect: impl Fn(NewJob) -> Result<Effect, StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self { db, all, effect: Box::new(effect) }
    }

    /// Looks at them by a task of the supervision tree, where this node keeps them.
    pub fn start(self: &Arc<Self>, engine: &Arc<Engine>) {
        for schedule in &self.all {
            let labels = &[schedule.name];
            metrics().schedule_fired_total.with_label_values(labels);
            metrics().schedule_missed_total.with_label_values(labels);
        }
        let (own, weak) = (Arc::clone(self), Arc::downgrade(engine));
        engine.keep_working("schedules", Pace::Timed, move |vitals| {
            let (own, weak) = (Arc::clone(&own), weak.clone());
            Box::pin(async move {
                let keeps = || {
                    weak.upgrade().is_some_and(|engine| {
                        engine.keeper_of(KEEPING).is_some_and(|keeper| keeper == engine.node_id())
                    })
                };
                own.run(keeps, &vitals).await;
            })
        });
    }

    async fn run(&self, keeps: impl Fn() -> bool, vitals: &Vitals) {
        let mut clock = Clock::new();
        let mut next: Vec<Option<Timestamp>> = vec![None; self.all.len()];
        loop {
            if clock.was_set() || !keeps() {
                next.fill(None);
            }
            if keeps() {
                for (schedule, next) in self.all.iter().zip(&mut next) {
                    if next.is_none_or(|next| next <= now()) {
                        *next = self.look_in_time(schedule).await;
                    }
                }
            }
            vitals.handled();
            let soonest = next.iter().filter_map(|next| *next).min();
            let pause = soonest.map(|next| next.duration_since(now()).max(SignedDuration::from_millis(1)));
            sleep(
                pause.and_then(|pause| Duration::try_from(pause).ok()).map_or(LOOK, |pause| pause.min(LOOK)),
            )
            .await;
        }
    }

    async fn look_in_time(&self, schedule: &Schedule) -> Option<Timestamp> {
        let looked = timeout(LOOK_TIMEOUT, self.look(schedule, now())).await;
        match looked.unwrap_or_else(|_| Err(StoreError::Unavailable("no answer in time".to_owned()))) {
            // Where there is no next one, a later look finds out again.
            Ok(due) => due.next,
            Err(error) => {
                static LINES: Seldom = Seldom::once_a_minute();
                if let Some(left_out) = LINES.may_write() {
                    tracing::warn!(%error, schedule = schedule.name, left_out, "schedule not looked at");
                }
                None
            }
        }
    }

    /// Looks at all schedules as if it were a certain time, and makes the jobs that are due; when to look again.
    pub async fn look_at(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let mut next = None;
        for schedule in &self.all {
            let due = self.look(schedule, now).await?;
            next = next.into_iter().chain(due.next).min();
        }
        Ok(next)
    }

    async fn look(&self, schedule: &Schedule, now: Timestamp) -> Result<Due, StoreError> {
        let known = self.db.read(&SCHEDULES, schedule.name).await?;
        let mut fired = known.map(|known| known.head).unwrap_or_default();
        let decided = decide(&mut fired, &schedule.timing, schedule.catch_up, schedule.window, now);
        let (due, true) = decided else { return Ok(decided.0) };
        if due.was_ahead {
            tracing::warn!(schedule = schedule.name, "the clock was ahead: the schedule begins again");
        }
        // Nobody asked for them: a trace begins here.
        let mut span = Span::root("schedule", traces::Kind::Internal, About::default());
        if let Some(span) = span.recorded() {
            span.set("schedule.name", schedule.name);
        }
        // The jobs are made outside of the rule, which may run again: for what it decides upon then, others are made.
        let jobs = in_scope(span.context(), || {
            let jobs = due.fire.iter().map(|occurrence| (self.effect)(schedule.job(occurrence)?));
            jobs.collect::<Result<Vec<_>, StoreError>>()
        })?;
        let (own, expected) = (schedule.clone(), due.clone());
        let rule = move |part: &mut Part<'_, (), Fired, ()>| {
            let mut fired = part.head.clone();
            let (due, _) = decide(&mut fired, &own.timing, own.catch_up, own.window, now);
            if due != expected {
                // Another node was here first.
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            part.head = fired;
            for job in &jobs {
                part.emit(job)?;
            }
            Ok(Decision::Write(true))
        };
        let decided = span.run(self.db.change(&SCHEDULES, schedule.name, Wants::head(), rule)).await?;
        if decided == Some(true) {
            let labels = &[schedule.name];
            metrics().schedule_fired_total.with_label_values(labels).inc_by(due.fire.len() as u64);
            metrics().schedule_missed_total.with_label_values(labels).inc_by(due.missed);
            if due.missed > 0 {
                tracing::warn!(
                    schedule = schedule.name,
                    missed = due.missed,
                    "occurrences left out: nobody was there"
                );
            }
            return Ok(due);
        }
        Ok(Due { next: Some(now), ..Due::default() })
    }

    /// How the schedules are.
    pub async fn report(&self) -> Result<Vec<ScheduleReport>, StoreError> {
        let names: Vec<_> = self.all.iter().map(|schedule| schedule.name.to_owned()).collect();
        let found = self.db.read_all(&SCHEDULES, &names).await?;
        let reports = self.all.iter().zip(found).map(|(schedule, found)| {
            let Fired { last, count: fired, missed, .. } = found.map(|found| found.head).unwrap_or_default();
            let (expression, interval) = match &schedule.timing {
                super::Timing::Cron { expression, .. } => (Some(expression.clone()), None),
                super::Timing::Every(interval) => (None, Duration::try_from(*interval).ok()),
            };
            ScheduleReport {
                name: schedule.name,
                expression,
                interval,
                zone: schedule.timing.zone().to_owned(),
                catch_up: schedule.catch_up,
                last: last.filter(|_| fired + missed > 0),
                next: schedule.timing.after(last.unwrap_or_else(now)).map(|next| next.at),
                fired,
                missed,
            }
        });
        Ok(reports.collect())
    }
}

/// The clock of the machine beside the time that passes.
struct Clock {
    seen: Instant,
    at: Timestamp,
}

impl Clock {
    fn new() -> Self {
        Self { seen: Instant::now(), at: now() }
    }

    /// Whether somebody set the clock since this was asked last.
    fn was_set(&mut self) -> bool {
        let passed = SignedDuration::try_from(self.seen.elapsed()).unwrap_or(SignedDuration::MAX);
        let by = now().duration_since(self.at) - passed;
        *self = Self::new();
        let was_set = by.abs() > STEP;
        if was_set {
            tracing::warn!(seconds = by.as_secs(), "the clock was set: schedules are looked at again");
        }
        was_set
    }
}
