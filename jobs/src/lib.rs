//! Jobs: work that is done later, at least once, and never lost.
//!
//! - A **queue** has shards, each a partition of the store: what waits, what is delayed, who works on what, and the dead
//!   letters. The row is the record; what is in memory or on the bus only wakes somebody up.
//! - An **attempt** is a lease: (job, attempt, holder). A holder is one life of one node. It beats while it works; a holder
//!   that falls silent loses its attempts, and what it says of them later is refused.
//! - Who gets the next turn is decided among **lanes**, one for each priority and group, by weighted fair queueing: no
//!   group's burst holds up another, and the lowest priority goes on under any load.
//! - Rules ([`rules`]) are pure functions of a shard. [`Jobs`] carries them out on the store, [`Pools`] runs the work.

mod breakers;
mod jobs;
mod kind;
mod list;
mod new_job;
mod pools;
mod retries;
mod row;
pub mod rules;
mod schedule;
mod work;

pub use breakers::{Breakers, Seen};
pub use jobs::{Enqueued, Hint, JobError, JobId, Jobs, MAX_PAYLOAD, QueueReport};
pub use kind::{Backoff, JobKind, JobKindSpec, Priority, Queue};
pub use list::{Shown, State};
pub use new_job::NewJob;
pub use pools::{NewPools, Pools, Wakes};
pub use row::{Ended, JOBS, Job, Try};
pub use schedule::{BadTiming, CatchUp, Occurrence, SCHEDULES, Schedule, ScheduleReport, Schedules, Timing};
pub use work::{Attempted, Failure, Handler};
