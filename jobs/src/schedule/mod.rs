//! Schedules: jobs that are made at certain times, once each, whoever is up.
//!
//! One node looks at the schedules, and all compute alike which. While they disagree, two may look: the schedule's row says
//! what has fired, and the job is an effect of the change that writes so. Leadership only saves work.

mod rules;
mod runner;
mod timing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mundotango_storage::StoreError;

use crate::new_job::NewJob;

pub use rules::CatchUp;
pub use runner::{SCHEDULES, ScheduleReport, Schedules};
pub use timing::{BadTiming, Occurrence, Timing};

/// How far back occurrences are caught up, where nothing else is said.
const WINDOW: Duration = Duration::from_hours(7 * 24);

/// Makes the job of an occurrence.
type MakeJob = dyn Fn(&Occurrence) -> Result<NewJob, StoreError> + Send + Sync;

/// Jobs that are made at certain times.
#[derive(Clone)]
pub struct Schedule {
    name: &'static str,
    timing: Timing,
    catch_up: CatchUp,
    window: Duration,
    overlaps: bool,
    job: Arc<MakeJob>,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("name", &self.name)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

impl Schedule {
    /// A schedule, by a name that never changes: what has fired is kept under it. What nobody was there for fires once, if
    /// it is at most a week old, and no job is made while the one before is not done.
    pub fn new(
        name: &'static str,
        timing: Timing,
        job: impl Fn(&Occurrence) -> Result<NewJob, StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            timing,
            catch_up: CatchUp::default(),
            window: WINDOW,
            overlaps: false,
            job: Arc::new(job),
        }
    }

    /// Chooses how, and how far back, the schedule makes up for occurrences at which no node was up.
    #[must_use]
    pub fn catch_up(mut self, catch_up: CatchUp, window: Duration) -> Self {
        (self.catch_up, self.window) = (catch_up, window);
        self
    }

    /// Makes a job of each occurrence, whether the one before is done or not.
    #[must_use]
    pub fn overlapping(mut self) -> Self {
        self.overlaps = true;
        self
    }

    /// The job of an occurrence.
    fn job(&self, occurrence: &Occurrence) -> Result<NewJob, StoreError> {
        let job = (self.job)(occurrence)?;
        Ok(if self.overlaps { job } else { job.unique(format!("schedule/{}", self.name)) })
    }
}
