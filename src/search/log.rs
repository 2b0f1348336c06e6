//! The log of changes: which things are other than they were, for every node's index to follow.
//!
//! An entry is written after the change, as an effect of it, and its key is the time of writing. So whoever finds it reads the
//! thing as it is since the change, or newer, and an effect that is carried out late or twice is just one more entry.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, Erasure, Export, Fields, Index, Order, Whose, shard_of, time_of_id};
use mundotango_storage::{Page, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// The lists: `0` to `3`, by the id of the thing. By the time of writing.
pub static CHANGES: Index<Change> = Index::new(
    "searchable",
    "10 minutes of a quarter of all changes: 100,000 entries of 100 B, 10 MB",
    bucket,
    Order::OldestFirst,
    PERSONAL,
)
.ttl(KEPT);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Named,
        Export::NotGiven("it says only that something changed"),
        Erasure::Kept("7 days, until each node's index has followed; an id that is erased leads to nobody"),
        &["entry.id"],
    ),
    Fields::of_nobody(&["list", "key", "entry.kind"]),
];
/// How long an entry is kept. An index that is further behind is made anew.
pub(super) const KEPT: Duration = Duration::from_hours(7 * 24);
/// The lists.
const LISTS: [&str; 4] = ["0", "1", "2", "3"];
const SECONDS_OF_A_BUCKET: i64 = 600;

/// A thing that changed, came or went.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// The name of its kind.
    pub kind: String,
    /// Its id.
    pub id: String,
}

fn bucket(key: &str) -> Option<i64> {
    Some(time_of_id(key)?.as_second() / SECONDS_OF_A_BUCKET)
}

/// The key before all of a time.
pub(super) fn key_at(time: Timestamp) -> String {
    let millis = time.as_millisecond().max(0);
    format!("{:08x}-{:04x}-7000-8000-000000000000", millis >> 16, millis & 0xffff)
}

/// The time of a key.
pub(super) fn time_of(key: &str) -> Option<Timestamp> {
    time_of_id(key)
}

/// The key so long before another.
pub(super) fn before(key: &str, by: SignedDuration) -> Option<String> {
    Some(key_at(time_of(key)?.checked_sub(by).ok()?))
}

/// The log of a store, as one node writes and follows it.
#[derive(Clone)]
pub struct ChangeLog {
    db: Db,
    written: Arc<Notify>,
    to_tell: Arc<Notify>,
}

impl ChangeLog {
    /// The log of a store.
    pub fn new(db: Db) -> Self {
        Self { db, written: Arc::default(), to_tell: Arc::default() }
    }

    /// Notes that a thing changed.
    pub async fn note(&self, change: &Change) -> Result<(), StoreError> {
        let shard = usize::try_from(shard_of(&change.id, LISTS.len() as u64)).unwrap_or_default();
        self.db.add_entries(&[CHANGES.entry(LISTS[shard], &new_id(), change)?]).await?;
        self.written.notify_one();
        self.to_tell.notify_one();
        Ok(())
    }

    /// Wakes who follows the log.
    pub(super) fn wake(&self) {
        self.written.notify_one();
    }

    /// Waits until this node, or one that told it, wrote something.
    pub(super) async fn changed(&self) {
        self.written.notified().await;
    }

    /// Waits until this node wrote something that others are to be told of.
    pub(super) async fn to_tell(&self) {
        self.to_tell.notified().await;
    }

    /// Entries behind a key, the oldest first.
    pub(super) async fn read(&self, after: &str, limit: usize) -> Result<Page<(String, Change)>, StoreError> {
        self.db.walk(&CHANGES, &LISTS, Some(after), limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_begin_with_the_time() {
        let time: Timestamp = "2026-11-30T12:00:00.123Z".parse().unwrap();
        let key = key_at(time);
        assert_eq!(time_of(&key), Some(time));
        assert!(bucket(&key).is_some());
        assert_eq!(
            before(&key, SignedDuration::from_secs(1)).unwrap(),
            key_at(time - SignedDuration::from_secs(1))
        );
        assert!(key_at(Timestamp::now()) <= new_id());
        assert_eq!((bucket("x"), before("x", SignedDuration::ZERO)), (None, None));
    }
}
