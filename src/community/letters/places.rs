//! Places that are given to those who wait, where one change could not give them all.

use std::sync::Arc;

use async_trait::async_trait;
use mundotango_jobs::{Attempted, Failure, Handler, NewPools};
use mundotango_storage::now;

use super::events::{OfEvent, PLACES};
use super::{Letters, Own};
use crate::community::events::announce::announce_places;

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    pools.handle(&PLACES, Places(Own(Arc::clone(letters))))
}

struct Places(Own);

#[async_trait]
impl Handler<OfEvent> for Places {
    async fn run(&self, _: &Attempted, job: OfEvent) -> Result<(), Failure> {
        let Own(letters) = &self.0;
        Ok(letters.events.promote(&job.event_id, now(), announce_places).await?)
    }
}
