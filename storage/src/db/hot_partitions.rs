//! Which partitions many change at once: a bounded count of the most contended ones (space saving, Metwally and others 2005).
//!
//! Only contention is counted: changes that waited and were carried out together with others, and compare-and-sets that
//! another node's change made vain. A change that meets nobody costs nothing here.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Partitions that are counted at the same time. Past that the least contended one makes room for the next, which takes over
/// its count: so none that is among the most contended is overlooked, and `may_miss` says how far a count may be off.
const MOST_COUNTED: usize = 256;
/// How long counts are taken together. What is told is of this window and the one before it.
const WINDOW: Duration = Duration::from_mins(1);
/// Bytes of an id that are told.
const ID_BYTES: usize = 200;

/// A partition that many change at once, as counted within the last one to two minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotPartition {
    /// The name of its kind.
    pub kind: String,
    /// Its id; the begin of it if it is long.
    pub id: String,
    /// Changes that waited for another one and were carried out together with others.
    pub combined: u64,
    /// Compare-and-sets that had to be repeated, as another one came first.
    pub lost: u64,
    /// Changes that wait now.
    pub waiting: u64,
    /// How many more of either there may have been before the partition was counted.
    pub may_miss: u64,
}

impl HotPartition {
    /// By how much a partition is contended, at most.
    pub fn contention(&self) -> u64 {
        self.combined + self.lost + self.waiting + self.may_miss
    }

    /// The same partition's counts elsewhere, or at another time.
    pub fn add(&mut self, other: &Self) {
        self.combined += other.combined;
        self.lost += other.lost;
        self.waiting += other.waiting;
        self.may_miss += other.may_miss;
    }
}

/// The counts of a node.
#[derive(Default)]
pub(super) struct HotPartitions {
    hasher: RandomState,
    windows: Mutex<Option<Windows>>,
}

struct Windows {
    began: Instant,
    current: Counts,
    before: Counts,
}

type Counts = HashMap<u64, HotPartition>;

impl Windows {
    fn new(now: Instant) -> Self {
        Self { began: now, current: Counts::new(), before: Counts::new() }
    }

    fn go_on(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age >= WINDOW {
            let before = std::mem::take(&mut self.current);
            self.before = if age >= 2 * WINDOW { Counts::new() } else { before };
            self.began = now;
        }
    }
}

impl HotPartitions {
    /// So many changes of a partition had to wait for another one.
    pub(super) fn combined(&self, kind: &'static str, id: &str, changes: usize) {
        self.count(kind, id, Instant::now(), |hot| hot.combined += changes as u64);
    }

    /// A compare-and-set of a partition was lost to another one.
    pub(super) fn lost(&self, kind: &'static str, id: &str) {
        self.count(kind, id, Instant::now(), |hot| hot.lost += 1);
    }

    fn count(&self, kind: &'static str, id: &str, now: Instant, add: impl FnOnce(&mut HotPartition)) {
        let key = self.hasher.hash_one((kind, id));
        let mut windows = self.windows.lock();
        let windows = windows.get_or_insert_with(|| Windows::new(now));
        windows.go_on(now);
        let counts = &mut windows.current;
        if let Some(hot) = counts.get_mut(&key) {
            return add(hot);
        }
        let mut may_miss = 0;
        if counts.len() >= MOST_COUNTED
            && let Some((least, contention)) =
                counts.iter().map(|(key, hot)| (*key, hot.contention())).min_by_key(|(_, hot)| *hot)
        {
            counts.remove(&least);
            may_miss = contention;
        }
        let id = id[..id.floor_char_boundary(ID_BYTES)].to_owned();
        let mut hot = HotPartition { kind: kind.to_owned(), id, may_miss, ..HotPartition::default() };
        add(&mut hot);
        counts.insert(key, hot);
    }

    /// The most contended partitions, the worst first, with what waits now.
    pub(super) fn most(&self, most: usize, waiting: Vec<(&'static str, String, usize)>) -> Vec<HotPartition> {
        let mut all = self.counted(Instant::now());
        for (kind, id, waiting) in waiting {
            let hot = all.entry(self.hasher.hash_one((kind, id.as_str()))).or_insert_with(|| {
                let id = id[..id.floor_char_boundary(ID_BYTES)].to_owned();
                HotPartition { kind: kind.to_owned(), id, ..HotPartition::default() }
            });
            hot.waiting += waiting as u64;
        }
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_by_key(|hot| std::cmp::Reverse(hot.contention()));
        all.truncate(most);
        all
    }

    fn counted(&self, now: Instant) -> Counts {
        let mut windows = self.windows.lock();
        let Some(windows) = windows.as_mut() else { return Counts::new() };
        windows.go_on(now);
        let mut all = windows.before.clone();
        for (key, hot) in &windows.current {
            all.entry(*key).and_modify(|known| known.add(hot)).or_insert_with(|| hot.clone());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_contended_partition_is_found_among_more_than_are_counted() {
        let hot = HotPartitions::default();
        for round in 0..200 {
            hot.combined("posts", "hot", 3);
            hot.lost("posts", "hot");
            for cold in 0..10 {
                hot.lost("posts", &format!("cold {}", round * 10 + cold));
            }
        }
        let most = hot.most(3, vec![("events", "e".repeat(1000), 2)]);
        assert_eq!((most[0].id.as_str(), most[0].combined, most[0].lost), ("hot", 600, 200));
        assert_eq!(most.len(), 3);
        let counts = hot.counted(Instant::now());
        assert_eq!(counts.len(), MOST_COUNTED);
        // The counts of all together are never less than what happened.
        assert!(counts.values().map(HotPartition::contention).sum::<u64>() >= 800 + 2000);
    }

    #[test]
    fn what_waits_is_told_and_old_counts_are_forgotten() {
        let (hot, start) = (HotPartitions::default(), Instant::now());
        let id = "é".repeat(1000);
        hot.count("posts", &id, start, |hot| hot.lost += 1);
        let most = hot.most(10, vec![("posts", id, 5)]);
        let [one] = &most[..] else { panic!("{most:?}") };
        assert_eq!((one.lost, one.waiting, one.id.len()), (1, 5, ID_BYTES));
        hot.count("posts", "b", start + WINDOW, |hot| hot.lost += 1);
        assert_eq!(hot.counted(start + WINDOW).len(), 2);
        assert_eq!(hot.counted(start + 2 * WINDOW).len(), 1);
        assert_eq!(hot.counted(start + 5 * WINDOW).len(), 0);
    }
}
