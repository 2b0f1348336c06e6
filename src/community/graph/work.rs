//! Who does the jobs of circles.

use std::sync::Arc;

use async_trait::async_trait;
use mundotango_jobs::{Attempted, Failure, Handler, NewPools};
use mundotango_storage::db::Db;
use mundotango_storage::now;

use super::jobs::{DELIVER, FOLLOW, FollowNotice, Pair};
use super::store::Circles;

/// The jobs of circles.
pub fn handled(pools: NewPools, db: &Db) -> NewPools {
    let circles = Arc::new(Circles::new(db.clone()));
    pools.handle(&DELIVER, Delivers(Arc::clone(&circles))).handle(&FOLLOW, Delivers(circles))
}

struct Delivers(Arc<Circles>);

#[async_trait]
impl Handler<Pair> for Delivers {
    async fn run(&self, _: &Attempted, pair: Pair) -> Result<(), Failure> {
        Ok(self.0.tell(&pair.from, &pair.to, now()).await?)
    }
}

#[async_trait]
impl Handler<FollowNotice> for Delivers {
    async fn run(&self, _: &Attempted, notice: FollowNotice) -> Result<(), Failure> {
        // Nobody counts a follower again who was taken out meanwhile.
        if self.0.is_gone(&notice.follower).await? {
            return Ok(());
        }
        Ok(self.0.note_follow(&notice).await?)
    }
}
