//! What admins see of jobs, and what they do with them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use mundotango_gateway::Identity;
use mundotango_gateway::describe::{one_of, one_of_or_null};
use mundotango_gateway::extract::{ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Maybe, Time, Whole};
use mundotango_gateway::problem::Problem;
use mundotango_jobs::{
    CatchUp, Ended, JobId, Jobs, Pools, Priority, Queue, QueueReport, ScheduleReport, Schedules, Shown,
    State as JobState,
};
use mundotango_storage::{Page, PageStart, now};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::openapi::Schema;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::community::audit::rules::Act;
use crate::community::audit::store::AuditStore;
use crate::community::roles::{self, Role};

/// What the routes need.
#[derive(Clone)]
struct JobsState {
    jobs: Jobs,
    pools: Arc<Pools>,
    schedules: Arc<Schedules>,
    audit: AuditStore,
}

pub(crate) fn router(jobs: Jobs, pools: Arc<Pools>, all: Arc<Schedules>, audit: AuditStore) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(schedules))
        .routes(routes!(queues))
        .routes(routes!(list, change_queue))
        .routes(routes!(show, drop_job))
        .routes(routes!(retry))
        .with_state(JobsState { jobs, pools, schedules: all, audit })
}

impl JobsState {
    fn queue(&self, identity: &Identity, name: &str) -> Result<&'static Queue, Problem> {
        roles::require(identity, Role::Admin)?;
        self.pools.queues().find(|queue| queue.name == name).ok_or_else(|| Problem::not_found("queue"))
    }

    fn job(&self, identity: &Identity, id: &str) -> Result<JobId, Problem> {
        roles::require(identity, Role::Admin)?;
        let id = id.parse::<JobId>().map_err(|()| Problem::not_found("job"))?;
        self.queue(identity, &id.queue)?;
        Ok(id)
    }

    async fn body_of(&self, queue: &'static Queue) -> Result<QueueBody, Problem> {
        let QueueReport { paused, concurrency, group_rate, waiting, delayed, running, dead, .. } =
            self.jobs.report(queue.name).await?;
        let name = queue.name.to_owned();
        Ok(QueueBody { name, paused, concurrency, group_rate, waiting, delayed, running, dead })
    }
}

fn priorities() -> Schema {
    one_of(&["high", "normal", "low"])
}

fn states() -> Schema {
    one_of(&["running", "waiting", "delayed", "dead"])
}

fn ends() -> Schema {
    one_of_or_null(&["failed", "poisonous", "expired", "cancelled"])
}

fn catch_ups() -> Schema {
    one_of(&["skip", "once", "all"])
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QueueBody {
    /// Its name.
    name: String,
    /// No job gets its turn.
    paused: bool,
    /// Jobs that each node does at the same time, if an admin said so; else the configuration says it.
    #[schema(required = true)]
    concurrency: Option<usize>,
    /// Jobs that each group may begin in a minute, if an admin said so.
    #[schema(required = true)]
    group_rate: Option<u32>,
    /// Jobs that wait for their turn.
    waiting: u64,
    /// Jobs that wait for their time: to be tried again, most often.
    delayed: u64,
    /// Jobs that somebody works on.
    running: u64,
    /// Dead letters: jobs that ended without being done.
    dead: u64,
}

/// A job that is not done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobBody {
    id: String,
    queue: String,
    kind: String,
    /// The version of the payload.
    version: u32,
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    group: String,
    #[schema(schema_with = priorities)]
    priority: Priority,
    /// The key of which there is one job at a time.
    #[schema(required = true)]
    unique_key: Option<String>,
    /// `running`, `waiting`, `delayed` or `dead`.
    #[schema(schema_with = states)]
    state: JobState,
    /// Why it waits, in a sentence.
    #[schema(required = true)]
    why: Option<String>,
    /// When its time comes, if it is delayed.
    #[schema(required = true)]
    due: Option<Time>,
    /// The id of the node that works on it.
    #[schema(required = true)]
    holder: Option<String>,
    /// Since when somebody works on it.
    #[schema(required = true)]
    running_since: Option<Time>,
    #[schema(required = true)]
    enqueued_at: Option<Time>,
    /// From when on it is of no use.
    #[schema(required = true)]
    expires_at: Option<Time>,
    /// Attempts that failed.
    attempts: u32,
    max_attempts: u32,
    /// How often its worker was lost.
    rescues: u32,
    /// How it ended, if it is a dead letter: `failed`, `poisonous`, `expired` or `cancelled`.
    #[schema(required = true, schema_with = ends)]
    ended: Option<Ended>,
    /// Why the last attempts failed, the oldest first.
    failures: Vec<FailureBody>,
}

/// An attempt that failed.
#[derive(Debug, Serialize, ToSchema)]
struct FailureBody {
    #[schema(required = true)]
    at: Option<Time>,
    why: String,
}

fn time(millis: i64) -> Option<Time> {
    jiff::Timestamp::from_millisecond(millis).ok().map(Time)
}

impl From<Shown> for JobBody {
    fn from(shown: Shown) -> Self {
        let Shown { id, job, state, running, due, why } = shown;

        let (holder, since) = running.unzip();
        let failures = job.tries.iter().map(|one| FailureBody { at: time(one.at), why: one.why.clone() });
        Self {
            id: id.to_string(),
            queue: id.queue,
            kind: job.kind.clone(),
            version: job.version,
            payload: job.payload.clone(),
            group: job.group.clone(),
            priority: job.priority,
            unique_key: job.unique.clone(),
            state,
            why,
            due: due.map(Time),
            holder,
            running_since: since.map(Time),
            enqueued_at: time(job.enqueued),
            expires_at: job.expires.and_then(time),
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            rescues: job.rescues,
            ended: job.ended,
            failures: failures.collect(),
        }
    }
}

/// All queues; for admins.
#[utoipa::path(
    get, path = "/api/admin/jobs/queues", operation_id = "listQueues", tag = "jobs",
    responses((status = OK, body = Vec<QueueBody>), (status = FORBIDDEN, body = Problem)),
)]
async fn queues(identity: Identity, State(state): State<JobsState>) -> Result<Json<Vec<QueueBody>>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let mut bodies = Vec::new();
    for queue in state.pools.queues() {
        bodies.push(state.body_of(queue).await?);
    }
    Ok(Json(bodies))
}

/// Jobs that are made at certain times.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ScheduleBody {
    name: String,
    /// The cron expression; null where there is an interval.
    #[schema(required = true)]
    cron: Option<String>,
    /// Seconds between two occurrences; null where there is a cron expression.
    #[schema(required = true)]
    interval: Option<u64>,
    /// The IANA name of the zone on whose clocks the expression is.
    time_zone: String,
    /// What is done about occurrences that no node was there for: `skip`, `once` or `all`.
    #[schema(schema_with = catch_ups)]
    catch_up: CatchUp,
    /// The last occurrence that fired or was left out.
    #[schema(required = true)]
    last_at: Option<Time>,
    #[schema(required = true)]
    next_at: Option<Time>,
    /// How often it made a job.
    fired: u64,
    /// Occurrences that were left out, as no node was there in time.
    missed: u64,
}

impl From<ScheduleReport> for ScheduleBody {
    fn from(report: ScheduleReport) -> Self {
        Self {
            name: report.name.to_owned(),
            cron: report.expression,
            interval: report.interval.map(|interval| interval.as_secs()),
            time_zone: report.zone,
            catch_up: report.catch_up,
            last_at: report.last.map(Time),
            next_at: report.next.map(Time),
            fired: report.fired,
            missed: report.missed,
        }
    }
}

/// The schedules; for admins.
#[utoipa::path(
    get, path = "/api/admin/jobs/schedules", operation_id = "listSchedules", tag = "jobs",
    responses((status = OK, body = Vec<ScheduleBody>), (status = FORBIDDEN, body = Problem)),
)]
async fn schedules(
    identity: Identity,
    State(state): State<JobsState>,
) -> Result<Json<Vec<ScheduleBody>>, Problem> {
    roles::require(&identity, Role::Admin)?;
    Ok(Json(state.schedules.report().await?.into_iter().map(ScheduleBody::from).collect()))
}

/// What a list of jobs is narrowed to.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobsQuery {
    /// `running`, `waiting`, `delayed` or `dead`; `dead` if absent.
    #[deserr(default)]
    #[param(schema_with = states, required = false)]
    state: Option<Choice<JobState>>,
}

/// The jobs of a queue that are in a state; for admins.
#[utoipa::path(
    get, path = "/api/admin/jobs/queues/{queue}", operation_id = "listJobs",
    tag = "jobs", params(JobsQuery, PageQuery),
    responses((status = OK, body = PageBody<JobBody>), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(state): State<JobsState>,
    Path(queue): Path<String>,
    query: ListQuery<JobsQuery>,
) -> Result<Json<PageBody<JobBody>>, Problem> {
    let queue = state.queue(&identity, &queue)?;
    let wanted = query.filter.state.map_or(JobState::Dead, |state| state.0);
    let request = query.page.request();
    let after = match request.start {
        PageStart::First => None,
        PageStart::After(place) => Some(place),
        PageStart::Skip(_) => {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "jobs are listed by cursor, not by page"));
        }
    };
    let page = state.jobs.page(queue.name, wanted, after, request.limit).await?;
    let page = Page { items: page.items.into_iter().map(JobBody::from).collect(), next: page.next };
    Ok(Json(query.page.body(page)))
}

/// What an admin says of a queue.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase", example = json!({"paused": false, "concurrency": 5}))]
struct QueueChange {
    /// No job gets its turn. Those that somebody works on are finished.
    #[deserr(default)]
    paused: Option<bool>,
    /// Jobs that each node does at the same time, from 1 to 256; null gives it back to the configuration.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 256)]
    concurrency: Maybe<Whole<1, 256>>,
    /// Jobs that each group (an event, a user, an address) may begin in a minute, from 4 to 100,000; null takes the limit away.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 4, maximum = 100_000)]
    group_rate: Maybe<Whole<4, 100_000>>,
}

/// Change a queue on all nodes: pause it, resume it, give it more or fewer workers, limit its groups; for admins.
#[utoipa::path(
    patch, path = "/api/admin/jobs/queues/{queue}", operation_id = "changeQueue",
    tag = "jobs", request_body = QueueChange,
    responses((status = OK, body = QueueBody), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem)),
)]
async fn change_queue(
    identity: Identity,
    State(state): State<JobsState>,
    Path(queue): Path<String>,
    ValidJson(change): ValidJson<QueueChange>,
) -> Result<Json<QueueBody>, Problem> {
    let queue = state.queue(&identity, &queue)?;
    let act = Act::by(&identity, "queue.changed", "queue", queue.name, now());
    state.audit.note(act.with("change", format!("{change:?}"))).await?;
    if let Some(paused) = change.paused {
        state.jobs.pause(queue.name, paused).await?;
    }
    match change.concurrency {
        Maybe::Absent => {}
        Maybe::Null => state.jobs.set_concurrency(queue.name, None).await?,
        Maybe::Value(workers) => state.jobs.set_concurrency(queue.name, Some(workers.count())).await?,
    }
    match change.group_rate {
        Maybe::Absent => {}
        Maybe::Null => state.jobs.set_group_rate(queue.name, None).await?,
        Maybe::Value(rate) => state.jobs.set_group_rate(queue.name, Some(rate.get())).await?,
    }
    tracing::info!(queue = queue.name, admin = identity.user_id, ?change, "queue changed");
    Ok(Json(state.body_of(queue).await?))
}

/// A job, and why it waits; for admins. A job that is done is gone.
#[utoipa::path(
    get, path = "/api/admin/jobs/{id}", operation_id = "getJob", tag = "jobs",
    responses((status = OK, body = JobBody), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem)),
)]
async fn show(
    identity: Identity,
    State(state): State<JobsState>,
    Path(id): Path<String>,
) -> Result<Json<JobBody>, Problem> {
    let id = state.job(&identity, &id)?;
    let shown = state.jobs.show(&id).await?.ok_or_else(|| Problem::not_found("job"))?;
    Ok(Json(shown.into()))
}

/// Take a job away for good; for admins. One that somebody works on is stopped, within a moment, and is a dead letter then.
#[utoipa::path(
    delete, path = "/api/admin/jobs/{id}", operation_id = "dropJob", tag = "jobs",
    responses((status = NO_CONTENT), (status = ACCEPTED), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem)),
)]
async fn drop_job(
    identity: Identity,
    State(state): State<JobsState>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = state.job(&identity, &id)?;
    state.audit.note(Act::by(&identity, "job.dropped", "job", id.to_string(), now())).await?;
    let is_gone = state.jobs.drop_job(&id).await?.ok_or_else(|| Problem::not_found("job"))?;
    tracing::info!(job = %id, admin = identity.user_id, "job dropped");
    Ok(if is_gone { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED })
}

/// Give a delayed job or a dead letter its turn now, with all its attempts before it; for admins.
#[utoipa::path(
    post, path = "/api/admin/jobs/{id}/retry", operation_id = "retryJob", tag = "jobs",
    responses((status = NO_CONTENT), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)),
)]
async fn retry(
    identity: Identity,
    State(state): State<JobsState>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = state.job(&identity, &id)?;
    state.audit.note(Act::by(&identity, "job.retried", "job", id.to_string(), now())).await?;
    if !state.jobs.retry(&id).await?.ok_or_else(|| Problem::not_found("job"))? {
        let detail = "the job waits or runs already, or another one with its unique key does";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    tracing::info!(job = %id, admin = identity.user_id, "job tried again");
    Ok(StatusCode::NO_CONTENT)
}
