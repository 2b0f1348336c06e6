//! Publications that overtook others on their way to a channel's actor.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::messages::Delivery;

/// Publications that may wait for those before them.
const MAX_WAITING: usize = 256;
/// How long they wait before the hole is filled from history.
const HOLE_PATIENCE: Duration = Duration::from_millis(50);

/// Publications that came before their predecessors, by offset.
#[derive(Default)]
pub(super) struct ReorderBuffer {
    deliveries: BTreeMap<u64, Delivery>,
    since: Option<Instant>,
}

impl ReorderBuffer {
    pub(super) fn has_room(&self) -> bool {
        self.deliveries.len() < MAX_WAITING
    }

    pub(super) fn insert(&mut self, delivery: Delivery) {
        self.since.get_or_insert_with(Instant::now);
        self.deliveries.insert(delivery.publication.offset, delivery);
    }

    pub(super) fn remove(&mut self, offset: u64) -> Option<Delivery> {
        self.deliveries.remove(&offset)
    }

    /// Drops the publications up to an offset, which are delivered.
    pub(super) fn drop_until(&mut self, offset: u64) {
        while self.deliveries.first_key_value().is_some_and(|(first, _)| *first <= offset) {
            self.deliveries.pop_first();
        }
        self.since = if self.deliveries.is_empty() { None } else { Some(Instant::now()) };
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Leaves it to the next publication or check to fill the hole.
    pub(super) fn wait_for_more(&mut self) {
        self.since = None;
    }

    /// The time at which the publications have waited for too long.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.since.map(|since| since + HOLE_PATIENCE)
    }
}
