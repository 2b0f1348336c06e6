//! Who works for a queue on a node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mundotango_actors::Vitals;

use super::pool::Pool;
use super::{beats, dispatch, keeper, settler, worker};
use crate::kind::SHARDS;

/// Starts all of them.
pub(super) fn start(pool: &Arc<Pool>) {
    pool.keep("dispatcher", |pool, vitals| Box::pin(async move { dispatch::run(&pool, &vitals).await }));
    pool.keep("beats", |pool, vitals| Box::pin(async move { beats::run(&pool, &vitals).await }));
    pool.keep("keeper", |pool, vitals| Box::pin(async move { keeper::run(&pool, &vitals).await }));
    pool.keep("crew", |pool, vitals| Box::pin(async move { hire(&pool, &vitals).await }));
    for shard in 0..SHARDS {
        pool.keep(&format!("outcomes {shard}"), move |pool, vitals| {
            Box::pin(async move { settler::run(&pool, shard, &vitals).await })
        });
    }
}

/// Starts workers whenever more are wanted than there are.
async fn hire(pool: &Arc<Pool>, vitals: &Vitals) {
    let mut size = pool.size.subscribe();
    loop {
        let wanted = *size.borrow_and_update();
        let started = pool.started.fetch_max(wanted, Ordering::Relaxed);
        for number in started..wanted {
            pool.keep(&format!("{}", number + 1), move |pool, vitals| {
                Box::pin(async move { worker::run(&pool, number, &vitals).await })
            });
        }
        vitals.handled();
        if size.changed().await.is_err() {
            return;
        }
    }
}
