//! Reading ranges: what is folded from days, and what is not from buckets.

use std::collections::BTreeMap;
use std::ops::Range;

use futures_util::future::try_join_all;
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;

use super::counts::Counts;
use super::days::{self, Group};
use super::hll::Sketch;
use super::slots::{Day, Piece, Slot, cover};

/// Slots that one answer reads from their buckets, the newest ones. More of them may wait to be folded after
/// a backfill.
const MOST_FRESH: usize = 512;
/// Pieces that are read at the same time.
const AT_ONCE: usize = 16;

/// Reads the numbers of a range.
pub(super) struct Reader {
    db: Db,
    fresh: BTreeMap<Day, Vec<u8>>,
    /// Slots whose last events are not in what is read.
    pub(super) behind: usize,
}

/// Visitors of a dimension in a range.
#[derive(Clone, Debug, Default)]
pub(super) struct Visitors {
    /// Who they are.
    pub(super) group: Group,
    /// How many different people they are at least. Somebody who is not logged in has another id each UTC
    /// day, so the ids of many days may be one person's, and those of one day are not.
    pub(super) at_least: u64,
}

impl Reader {
    /// For a range.
    pub(super) async fn open(db: &Db, range: &Range<Slot>) -> Result<Self, StoreError> {
        let last = Slot(range.end.0.saturating_sub(1)).day();
        let days: Vec<_> = (range.start.day().0..=last.0).map(Day).collect();
        let mut fresh = days::dirty_of_all(db, &days).await?;
        let mut left = MOST_FRESH;
        let mut behind = 0;
        for slots in fresh.values_mut().rev() {
            let too_many = slots.len().saturating_sub(left);
            behind += too_many;
            slots.drain(..too_many);
            left -= slots.len();
        }
        Ok(Self { db: db.clone(), fresh, behind })
    }

    /// What a range is read from.
    pub(super) fn pieces(&self, range: &Range<Slot>) -> Vec<Piece> {
        cover(range, &self.fresh)
    }

    /// What the events of pieces come to.
    pub(super) async fn counts(&self, pieces: &[Piece]) -> Result<Counts, StoreError> {
        let mut sum = Counts::default();
        for some in pieces.chunks(AT_ONCE) {
            for counts in try_join_all(some.iter().map(|piece| days::counts(&self.db, piece))).await? {
                sum.add_all(&counts, usize::MAX);
            }
            tokio::task::consume_budget().await;
        }
        Ok(sum)
    }

    /// The visitors of a dimension in pieces.
    pub(super) async fn visitors(&self, pieces: &[Piece], dimension: &str) -> Result<Visitors, StoreError> {
        let mut all = Visitors::default();
        let (mut day, mut of_day, mut most) = (None, Sketch::default(), 0);
        for some in pieces.chunks(AT_ONCE) {
            let read = some.iter().map(|piece| days::visitors(&self.db, piece, dimension));
            for (piece, group) in some.iter().zip(try_join_all(read).await?) {
                if day.replace(piece.day()) != Some(piece.day()) {
                    of_day = Sketch::default();
                }
                of_day.unite(&group.anonymous);
                most = most.max(of_day.count());
                all.group.unite(&group);
            }
            tokio::task::consume_budget().await;
        }
        all.at_least = most.max(all.group.members.count());
        Ok(all)
    }
}

/// The number of visitors in a sketch, unless they are so few that one might be told from it.
pub(super) fn shown(sketch: &Sketch, at_least: u64) -> Option<u64> {
    (at_least >= FEWEST).then(|| sketch.count())
}

/// The fewest people whose number is shown where people are counted by what they did (k-anonymity, k = 5).
pub(super) const FEWEST: u64 = 5;
