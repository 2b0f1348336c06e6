//! What decides about a user's lists: whom the user does not see, has muted, follows, and is a friend of.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use mundotango_storage::{Page, PageRequest, StoreError};
use parking_lot::Mutex;

use super::rules::{Friendship, Tie};

/// Bytes of relations that a node keeps at most, twice: those used lately, and those used before them.
const KEPT_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that a user's relations take besides the ids in them.
const BYTES_OF_ONE: usize = 200;

/// Sorts of relations, as one byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sorts(u8);

impl Sorts {
    /// The user follows them.
    pub const FOLLOWED: Self = Self(1);
    /// Friends.
    pub const FRIENDS: Self = Self(1 << 1);
    /// People whom the user asked to be friends.
    pub const REQUESTED: Self = Self(1 << 2);
    /// People who asked the user.
    pub const ASKED: Self = Self(1 << 3);
    /// People whom the user has muted.
    pub const MUTED: Self = Self(1 << 4);
    /// People whom the user has blocked.
    pub const BLOCKED: Self = Self(1 << 5);
    /// People who have blocked the user.
    pub const BLOCKED_BY: Self = Self(1 << 6);
    /// People whom the user does not see, and who do not see the user.
    pub const APART: Self = Self(Self::BLOCKED.0 | Self::BLOCKED_BY.0);

    /// Of which sorts a relation is.
    pub fn of(tie: &Tie) -> Self {
        let friendship = tie.friendship();
        let sorts = [
            (tie.follow.is_some(), Self::FOLLOWED),
            (friendship == Friendship::Friends, Self::FRIENDS),
            (friendship == Friendship::Requested, Self::REQUESTED),
            (friendship == Friendship::Asked, Self::ASKED),
            (tie.mute.is_some(), Self::MUTED),
            (tie.block.is_some(), Self::BLOCKED),
            (tie.theirs.block, Self::BLOCKED_BY),
        ];
        Self(sorts.into_iter().filter(|(is, _)| *is).fold(0, |all, (_, sort)| all | sort.0))
    }

    /// Whether it is of one of these sorts.
    pub fn is(self, sorts: Self) -> bool {
        self.0 & sorts.0 != 0
    }

    /// These sorts and others.
    #[must_use]
    pub const fn or(self, sorts: Self) -> Self {
        Self(self.0 | sorts.0)
    }
}

/// A user's relations, by the ids of the others; packed, as a node keeps those of many users.
#[derive(Default, PartialEq)]
pub struct Relations {
    /// The number of the circle's head from which on they hold.
    pub(super) version: u64,
    /// The ids, sorted, one after the other.
    ids: Box<str>,
    /// Where each id ends.
    ends: Box<[u32]>,
    sorts: Box<[Sorts]>,
}

impl fmt::Debug for Relations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries((0..self.len()).map(|at| (self.id(at), self.sorts[at]))).finish()
    }
}

impl Relations {
    /// Packs relations.
    pub fn new(version: u64, mut relations: Vec<(String, Sorts)>) -> Self {
        relations.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let mut ids = String::with_capacity(relations.iter().map(|(id, _)| id.len()).sum());
        let mut ends = Vec::with_capacity(relations.len());
        for (id, _) in &relations {
            ids.push_str(id);
            // A circle has a few megabytes at most.
            ends.push(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        }
        let sorts = relations.iter().map(|(_, sorts)| *sorts).collect();
        Self { version, ids: ids.into(), ends: ends.into(), sorts }
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn id(&self, at: usize) -> &str {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.ids.get(start as usize..self.ends[at] as usize).unwrap_or_default()
    }

    /// The place of the first id that is not before this one.
    fn place(&self, id: &str) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.id(middle) < id { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// How the user stands to another.
    pub fn to(&self, id: &str) -> Sorts {
        let place = self.place(id);
        if place < self.len() && self.id(place) == id { self.sorts[place] } else { Sorts::default() }
    }

    /// Whether one of them has blocked the other.
    pub fn keeps_apart(&self, id: &str) -> bool {
        self.to(id).is(Sorts::APART)
    }

    /// Whether the user has muted somebody.
    pub fn has_muted(&self, id: &str) -> bool {
        self.to(id).is(Sorts::MUTED)
    }

    /// Whether they are friends.
    pub fn is_friend(&self, id: &str) -> bool {
        self.to(id).is(Sorts::FRIENDS)
    }

    /// The others of some sorts, by id.
    pub fn all(&self, sorts: Sorts) -> impl Iterator<Item = &str> {
        (0..self.len()).filter(move |at| self.sorts[*at].is(sorts)).map(|at| self.id(at))
    }

    /// A page of the others of some sorts, by id. The cursor is the last id.
    pub fn page(&self, sorts: Sorts, page: PageRequest) -> Result<Page<String>, StoreError> {
        let (after, skip) = page.start.behind(Some)?;
        let behind = self.all(sorts).filter(|id| after.as_deref().is_none_or(|after| *id > after));
        let mut ids = behind.skip(skip);
        let items: Vec<_> = ids.by_ref().take(page.limit).map(str::to_owned).collect();
        let next = ids.next().and_then(|_| items.last().cloned());
        Ok(Page { items, next })
    }

    fn bytes(&self) -> usize {
        BYTES_OF_ONE + self.ids.len() + self.len() * (size_of::<u32>() + size_of::<Sorts>())
    }
}

/// Relations that were read lately, and those that were read before them: when there are too many of the first, they take the
/// place of the others.
#[derive(Default)]
pub(super) struct Kept {
    lately: HashMap<String, Arc<Relations>>,
    before: HashMap<String, Arc<Relations>>,
    bytes: usize,
}

impl Kept {
    pub(super) fn find(&mut self, user_id: &str) -> Option<Arc<Relations>> {
        if let Some(known) = self.lately.get(user_id) {
            return Some(Arc::clone(known));
        }
        let (user_id, known) = self.before.remove_entry(user_id)?;
        self.put(user_id, Arc::clone(&known));
        Some(known)
    }

    pub(super) fn put(&mut self, user_id: String, relations: Arc<Relations>) {
        if self.bytes > KEPT_BYTES {
            self.before = std::mem::take(&mut self.lately);
            self.bytes = 0;
        }
        self.bytes += relations.bytes();
        if let Some(older) = self.lately.insert(user_id, relations) {
            self.bytes = self.bytes.saturating_sub(older.bytes());
        }
    }
}

/// What a node knows of users who read.
pub(super) type KeptViews = Arc<Mutex<Kept>>;

#[cfg(test)]
mod tests {
    use mundotango_storage::PageStart;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packed_relations_are_those_that_were_packed(ids in prop::collection::btree_map("[a-c]{0,3}", 0_u8..128, 0..20)) {
            let sorted = ids.iter().map(|(id, sorts)| (id.clone(), Sorts(*sorts))).rev();
            let relations = Relations::new(1, sorted.collect());
            for id in ["", "a", "ab", "abc", "b", "cc", "ccc", "d"] {
                prop_assert_eq!(relations.to(id), Sorts(ids.get(id).copied().unwrap_or_default()));
            }
            let muted: Vec<_> = ids.iter().filter(|(_, sorts)| **sorts & Sorts::MUTED.0 != 0).map(|(id, _)| id.as_str()).collect();
            prop_assert_eq!(relations.all(Sorts::MUTED).collect::<Vec<_>>(), muted.clone());
            let (mut start, mut paged) = (PageStart::First, Vec::new());
            loop {
                let page = relations.page(Sorts::MUTED, PageRequest { start, limit: 3 }).unwrap();
                paged.extend(page.items);
                let Some(next) = page.next else { break };
                start = PageStart::After(next);
            }
            prop_assert_eq!(paged, muted);
        }
    }

    #[test]
    fn what_a_node_keeps_is_bounded() {
        let mut kept = Kept::default();
        let large = || Arc::new(Relations::new(1, vec![("x".repeat(KEPT_BYTES / 4), Sorts::MUTED)]));
        for number in 0..20 {
            kept.put(number.to_string(), large());
        }
        assert!(kept.lately.len() + kept.before.len() <= 12, "{}", kept.lately.len() + kept.before.len());
        assert!(kept.find("19").is_some() && kept.find("0").is_none());
    }
}
