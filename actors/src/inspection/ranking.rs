//! The most of something, without keeping all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::views::SlowHandler;
use crate::recorder::{Handled, MessageKind};

/// Things of the highest ranks. Among equal ranks those that came first stay.
pub(super) struct Top<R, T> {
    most: usize,
    /// By rank, and the order in which they came.
    kept: BTreeMap<(R, Reverse<u64>), T>,
    came: u64,
}

impl<R: Ord + Copy, T> Top<R, T> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: BTreeMap::new(), came: 0 }
    }

    /// Offers a thing, which is only made if it ranks among the others.
    pub(super) fn offer(&mut self, rank: R, make: impl FnOnce() -> T) {
        if self.kept.len() >= self.most {
            match self.kept.first_key_value() {
                Some(((least, _), _)) if rank > *least => drop(self.kept.pop_first()),
                _ => return,
            }
        }
        self.came += 1;
        self.kept.insert((rank, Reverse(self.came)), make());
    }

    /// The things, the highest rank first.
    pub(super) fn into_vec(self) -> Vec<T> {
        self.kept.into_values().rev().collect()
    }
}

/// How long messages took, by their kind: the slowest kinds first.
pub(super) fn handlers(handled: &[Handled], most: usize) -> Vec<SlowHandler> {
    let mut by_kind: HashMap<MessageKind, Vec<u32>> = HashMap::new();
    for one in handled {
        by_kind.entry(one.kind).or_default().push(one.took);
    }
    let mut top = Top::new(most);
    for (kind, mut took) in by_kind {
        took.sort_unstable();
        let Some(longest_micros) = took.last().copied() else { continue };
        // The nearest rank: of fewer than a hundred it is the longest.
        let rank = (took.len() * 99).div_ceil(100);
        let p99_micros = took.get(rank.saturating_sub(1)).copied().unwrap_or(longest_micros);
        let total_micros = took.iter().copied().map(u64::from).sum();
        let (actor_kind, name) = kind.names();
        top.offer((p99_micros, total_micros), || SlowHandler {
            actor_kind: actor_kind.into(),
            kind: name.into(),
            count: took.len(),
            p99_micros,
            longest_micros,
            total_micros,
        });
    }
    top.into_vec()
}

/// What an actor's messages took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Busy {
    pub(super) count: usize,
    pub(super) total: u64,
    pub(super) longest: u64,
}

/// The same by the actors' numbers. Ticks of keepers and calls beside sessions count for them like all else.
pub(super) fn by_actor(handled: &[Handled]) -> HashMap<u64, Busy> {
    let mut by_actor: HashMap<u64, Busy> = HashMap::new();
    for one in handled {
        let busy = by_actor.entry(one.actor).or_default();
        busy.count += 1;
        busy.total += u64::from(one.took);
        busy.longest = busy.longest.max(one.took.into());
    }
    by_actor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::{Handling, Trail, recent};

    #[test]
    fn the_top_keeps_the_highest_and_of_equals_the_first() {
        let mut top = Top::new(3);
        for (rank, name) in [(1, "a"), (5, "b"), (3, "c"), (3, "d"), (4, "e"), (5, "f")] {
            top.offer(rank, || name);
        }
        assert_eq!(top.into_vec(), ["b", "f", "e"]);
        let mut none = Top::new(0);
        none.offer(1, || "a");
        assert!(none.into_vec().is_empty());
    }

    #[test]
    fn handlers_rank_by_what_nearly_all_take_and_not_by_one_that_was_long() {
        let trail = Trail::default();
        drop(Handling::begin(&trail, MessageKind::Ask, 0));
        let example = *recent(0).iter().find(|handled| handled.actor == trail.number()).unwrap();
        let took = |kind, took| Handled { kind, took, ..example };
        let mut handled: Vec<_> = (0..1000).map(|_| took(MessageKind::Publish, 10)).collect();
        handled.push(took(MessageKind::Publish, 9000));
        handled.extend([took(MessageKind::History, 500), took(MessageKind::History, 700)]);
        let ranked = handlers(&handled, 5);
        let [first, second] = &ranked[..] else { panic!("{ranked:?}") };
        assert_eq!((&*first.kind, first.p99_micros, first.total_micros), ("history", 700, 1200));
        assert_eq!((second.p99_micros, second.longest_micros, second.count), (10, 9000, 1001));
        let busy = by_actor(&handled)[&trail.number()];
        assert_eq!(busy, Busy { count: 1003, total: 20_200, longest: 9000 });
    }
}
