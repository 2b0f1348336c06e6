//! Places that are given to those who wait behind the change that freed them: one change gives some, and a job goes on.

use async_trait::async_trait;
use mundotango_jobs::{Attempted, Failure, Handler, NewPools};
use mundotango_storage::db::Db;
use mundotango_storage::now;

use super::announce::{PLACES, announce_places};
use super::store::{EventStore, OfEvent};

/// The jobs of this file.
pub fn handled(pools: NewPools, db: &Db) -> NewPools {
    pools.handle(&PLACES, Promotes(EventStore::new(db.clone())))
}

struct Promotes(EventStore);

#[async_trait]
impl Handler<OfEvent> for Promotes {
    async fn run(&self, _: &Attempted, job: OfEvent) -> Result<(), Failure> {
        Ok(self.0.promote(&job.event_id, now(), announce_places).await?)
    }
}
