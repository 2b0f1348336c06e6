//! The store as an application sees it: partitions and indexes.
//!
//! - A **partition** is the unit of consistency: facts, which are written once, and a head and rows, which change together
//!   by [`Db::change`] or not at all. A rule decides a change: a pure function of what the partition holds. It may run
//!   several times and sees no clock, no randomness and no other partition.
//! - An **index** is a list of entries that never change, in buckets that [`Db::walk`] hides. An entry that leads to a
//!   partition is written before it; readers leave out entries that lead nowhere.
//! - What follows from a change is written with it, as effects in the **outbox**, and carried out after it.
//!
//! Each is declared once, by [`Kind`] and [`Index`], and kept by either engine the same way. Plain writes (facts, entries)
//! and conditional ones (heads, rows) are different calls, so that no cell is written both ways.

mod bucket;
mod change;
mod combiner;
mod decide;
mod emptying;
pub(crate) mod engine;
mod erasure;
mod given;
mod hot_partitions;
mod key;
mod kind;
mod outbox;
mod part;
mod personal;
mod plain;
mod read;
mod rewrite;
mod scan;
mod shards;
mod stored;
mod unworkable;
mod walk;
pub(crate) mod whole;

use std::sync::Arc;

pub use bucket::{day_of_id, time_of_id};
pub use engine::Entry;
pub use erasure::{Look, Person, Plan, mentions};
pub use hot_partitions::HotPartition;
pub use key::{behind, key, last_part, number, prefix, shard_of};
pub(crate) use kind::OUTBOX;
pub use kind::{Index, IndexSpec, Kind, KindSpec, Order, Schema};
pub use outbox::{Due, Effect, Fate, OUTBOX_SHARDS, Outlet, outbox_key, outbox_time};
pub use part::{Decision, Part, Wants};
pub use personal::{Erasure, Export, Fields, Personal, StoredField, StoredParts, Whose};
pub use plain::{Plain, PlainEntry, Sighting};
pub use read::{Found, RowRange};
pub use shards::Shards;
pub use unworkable::unworkable;

use crate::cache::Cache;
use combiner::Combiner;
use engine::Partitions;
use hot_partitions::HotPartitions;
use shards::KeptShards;

/// Partitions and indexes on one engine.
#[derive(Clone)]
pub struct Db {
    engine: Arc<dyn Partitions>,
    cache: Option<Arc<Cache>>,
    combiner: Arc<Combiner>,
    hot: Arc<HotPartitions>,
    outlet: Option<Arc<dyn Outlet>>,
    shards: Arc<KeptShards>,
    /// Tells this node's changes from those of others.
    writer: Arc<str>,
    /// Whether what changes cause is left out.
    is_quiet: bool,
}

impl Db {
    pub(crate) fn new(engine: Arc<dyn Partitions>) -> Self {
        Self {
            engine,
            cache: None,
            combiner: Arc::default(),
            hot: Arc::default(),
            outlet: None,
            shards: Arc::default(),
            writer: decide::random_end().into(),
            is_quiet: false,
        }
    }

    /// The same with kinds that are cached read through a cache. Without one every read asks the engine.
    #[must_use]
    pub fn with_cache(mut self, cache: Arc<Cache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// The same without what changes cause: nothing is put into the outbox. For filling a store of which nobody is to be told.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// What is to be carried out of what a creation causes.
    fn caused<'a>(&self, effects: &'a [Effect]) -> &'a [Effect] {
        if self.is_quiet { &[] } else { effects }
    }

    /// The partitions that most changes of this node meet at, the worst first.
    pub fn hot_partitions(&self, most: usize) -> Vec<HotPartition> {
        self.hot.most(most, self.combiner.waiting())
    }

    /// The engine, for a test that puts something before it.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn engine(&self) -> Arc<dyn Partitions> {
        Arc::clone(&self.engine)
    }
}
