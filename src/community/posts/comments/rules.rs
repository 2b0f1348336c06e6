//! Where a comment stands: in which part of its post's comments, and below which other comment.

/// Comments that were written into one part; a part that has them takes no more.
pub const OF_A_PART: u32 = 1_000;
/// Most comments that are ever written on a post.
pub const MOST: u32 = 100_000;
/// How deep answers stand below each other: who answers the last of them stands beside it.
pub const DEPTH: u32 = 3;
/// Most revisions of a comment.
pub const MOST_REVISIONS: u32 = 50;

/// The part of a comment's number. Numbers begin with 1.
pub fn part_of(number: u32) -> u32 {
    number.saturating_sub(1) / OF_A_PART
}

/// The number of the next comment of a part into which so many were written; `None` if it takes no more.
pub fn next_number(part: u32, written: u32) -> Option<u32> {
    let number = part.checked_mul(OF_A_PART)?.checked_add(written)?.checked_add(1)?;
    (written < OF_A_PART && number <= MOST).then_some(number)
}

/// The id of a comment: its post, its number, and the number of the comment that it stands below, 0 for none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommentId {
    /// The post.
    pub post: String,
    /// Rises with each comment on the post, from 1 on.
    pub number: u32,
    /// The comment that it stands below; 0 for none.
    pub parent: u32,
}

impl CommentId {
    /// Reads what [`Self::to_string`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, parent) = text.rsplit_once('.')?;
        let (post, number) = rest.rsplit_once('.')?;
        let of = |digits: &str| digits.parse().ok().filter(|number: &u32| number.to_string() == digits);
        let id = Self { post: post.to_owned(), number: of(number)?, parent: of(parent)? };
        // Whatever stands in an id is looked for in the store: it is no longer than those that were given.
        let fits = (1..=MOST).contains(&id.number)
            && id.parent < id.number
            && !id.post.is_empty()
            && id.post.len() <= 64;
        fits.then_some(id)
    }
}

impl std::fmt::Display for CommentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.post, self.number, self.parent)
    }
}

/// Where an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The comment that it stands below; 0 for none.
    pub parent: u32,
    /// From 1 on.
    pub depth: u32,
    /// The first comment of its thread; 0 if it is itself.
    pub root: u32,
}

impl Place {
    /// Of a comment that answers none.
    pub const TOP: Self = Self { parent: 0, depth: 1, root: 0 };

    /// Of an answer to a comment of a number that stands there itself.
    pub fn below(self, number: u32) -> Self {
        if self.depth >= DEPTH {
            return self;
        }
        let root = if self.root == 0 { number } else { self.root };
        Self { parent: number, depth: self.depth + 1, root }
    }

    /// The number of the comment that the one above this stands below.
    pub fn above_parent(self) -> u32 {
        if self.depth >= DEPTH { self.root } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_whole_over_all_parts(written in 0..OF_A_PART, part in 0..MOST / OF_A_PART) {
            let number = next_number(part, written).unwrap();
            prop_assert_eq!(part_of(number), part);
            prop_assert_eq!(number, part * OF_A_PART + written + 1);
        }

        #[test]
        fn an_id_comes_back(number in 1..=MOST, parent in 0..MOST, post in "[a-z0-9.-]{1,36}") {
            let id = CommentId { post, number, parent: parent % number };
            prop_assert_eq!(CommentId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn what_is_no_id_is_none(text in "[0-9.a-]{0,12}") {
            if let Some(id) = CommentId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn answers_stand_three_deep_at_most(chain in prop::collection::vec(any::<bool>(), 0..8)) {
            let (mut place, mut number) = (Place::TOP, 1);
            for answers in chain {
                let next = if answers { place.below(number) } else { Place::TOP };
                prop_assert!(next.depth <= DEPTH && next.parent <= number);
                prop_assert_eq!(next.parent == 0, next.depth == 1);
                number += 1;
                place = next;
            }
        }
    }

    #[test]
    fn parts_end_and_so_does_the_list() {
        assert_eq!(next_number(0, OF_A_PART), None);
        assert_eq!(next_number(99, 999), Some(MOST));
        assert_eq!(next_number(100, 0), None);
        let second = Place::TOP.below(5);
        let third = second.below(9);
        assert_eq!((third.parent, third.depth, third.root, third.above_parent()), (9, 3, 5, 5));
        assert_eq!(third.below(12), third, "the fourth stands beside the third");
    }
}
