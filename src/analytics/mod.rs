//! Analytics of the installation's own: what is used, and by how many, without keeping who anybody is.
//!
//! A batch of events comes in (`ingest`) and waits in a queue until it is counted ([`work`]): in the bucket
//! of the quarter of an hour in which each event happened ([`buckets`]), where it is counted once however
//! often it comes. Buckets are folded into days ([`days`]), which last. Admins read both as one (`reader`),
//! in the days of any time zone (`periods`).

mod agents;
mod body;
pub mod buckets;
pub mod counters;
pub mod counts;
pub mod days;
mod events;
mod funnel;
pub mod hll;
mod ingest;
pub mod members;
mod paths;
mod periods;
mod query;
mod reader;
mod retention;
mod series;
pub mod slots;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod top;
pub mod visitors;
mod visits;
pub mod work;

use std::sync::Arc;

use mundotango_storage::db::KindSpec;
use utoipa_axum::router::OpenApiRouter;

pub use state::{Analytics, Consent, Everybody, Limits};

/// The kinds of partitions that analytics keeps.
pub fn kinds() -> [&'static KindSpec; 7] {
    [
        buckets::BUCKETS.spec(),
        days::DAYS.spec(),
        members::MEMBERS.spec(),
        members::COHORTS.spec(),
        members::TRACES.spec(),
        visitors::MEMBER_KEY.spec(),
        visitors::DAY_KEYS.spec(),
    ]
}

/// The routes: one that takes events, and those that show admins what they come to.
pub fn router(analytics: Arc<Analytics>) -> OpenApiRouter {
    OpenApiRouter::new()
        .merge(ingest::router())
        .merge(series::router())
        .merge(top::router())
        .merge(funnel::router())
        .merge(retention::router())
        .with_state(analytics)
}
