//! Who does the jobs of timelines.

use async_trait::async_trait;
use mundotango_jobs::{Attempted, Failure, Handler, Jobs, NewPools};
use mundotango_storage::db::{Db, outbox_key};
use mundotango_storage::now;

use super::filling::Timelines;
use super::jobs::{FAN_OUT, FOLLOWED, FanOut, Followed};
use crate::community::graph::store::Circles;

/// The jobs of timelines.
pub fn handled(pools: NewPools, db: &Db, jobs: &Jobs) -> NewPools {
    let timelines = Timelines::new(db, &Circles::new(db.clone()));
    let fills = Fills { timelines: timelines.clone(), jobs: jobs.clone() };
    pools.handle(&FAN_OUT, fills).handle(&FOLLOWED, Fills { timelines, jobs: jobs.clone() })
}

struct Fills {
    timelines: Timelines,
    jobs: Jobs,
}

#[async_trait]
impl Handler<FanOut> for Fills {
    async fn run(&self, attempted: &Attempted, turn: FanOut) -> Result<(), Failure> {
        let next = self.timelines.fan_out(turn, now(), attempted.is_light()).await?;
        let Some(next) = next else { return Ok(()) };
        // The same name at each attempt: whoever does this turn again finds the next one.
        let name = format!("{}.{}.{}.timeline", outbox_key(attempted.caused_at()), next.post_id, next.turns);
        let job = FAN_OUT.job(&next)?.group(next.post_id.as_str());
        self.jobs.enqueue_as(name, job).await.map(drop).map_err(Failure::retry)
    }
}

#[async_trait]
impl Handler<Followed> for Fills {
    async fn run(&self, _: &Attempted, job: Followed) -> Result<(), Failure> {
        Ok(self.timelines.followed(&job.user_id, &job.author_id, now()).await?)
    }
}
