//! What timelines hold, for whom, and what is told of them. Pure.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use mundotango_storage::Page;

/// Posts that a timeline leads to: when there are [`SLACK`] more, the oldest of them go.
pub const KEPT: u32 = 500;
/// How many more there may be, so that not every post takes another one out.
pub const SLACK: u32 = 50;
/// Rows of one author that are as good as those of others: where there are too many rows, the oldest ones of an author who has
/// more go first.
pub const OF_AUTHOR: u32 = 100;
/// Last posts of an author that a timeline is built from, or that who begins to follow the author finds.
pub const POSTS_OF_EACH: usize = 20;
/// A timeline is filled as long as its user has read the feed within so many days.
pub const ACTIVE_DAYS: i64 = 14;
/// Followers of an author up to whom a post is put into their timelines; the posts of others are looked for when a feed is read.
pub const MOST_FANNED_OUT: u64 = 10_000;

/// How much timelines hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// See [`KEPT`].
    pub kept: u32,
    /// See [`SLACK`].
    pub slack: u32,
    /// See [`OF_AUTHOR`].
    pub of_author: u32,
    /// See [`POSTS_OF_EACH`].
    pub of_each: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { kept: KEPT, slack: SLACK, of_author: OF_AUTHOR, of_each: POSTS_OF_EACH }
    }
}

const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;

/// The day of a time, counted from 1970 on.
pub fn day(at: Timestamp) -> i64 {
    at.as_second().div_euclid(SECONDS_OF_A_DAY)
}

/// Whether a timeline has all that was posted since its user read it last.
pub fn is_whole(seen: Option<i64>, is_building: bool, today: i64) -> bool {
    !is_building && seen.is_some_and(|seen| today - seen <= ACTIVE_DAYS)
}

/// Whether posts are put into a timeline: a day longer than it is whole, as the clocks of two nodes are not the same.
pub fn is_filled(seen: Option<i64>, today: i64) -> bool {
    seen.is_some_and(|seen| today - seen <= ACTIVE_DAYS + 1)
}

/// Whether a user hears that so many posts are new: seldom, the more there are.
pub fn is_told(news: u32) -> bool {
    news.is_power_of_two()
}

/// What goes out of a timeline with too many rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenOut {
    /// The rows.
    pub rows: BTreeSet<String>,
    /// The newest of those that are not of authors who have too many, if there is one: the timeline ends there.
    pub floor: Option<String>,
}

/// What goes, so that as many rows stay as are kept: of these, the oldest first, each with its author. Whoever has more than a
/// fair part takes no room from others.
pub fn taken_out(rows: &[(String, String)], bounds: Bounds) -> TakenOut {
    let mut over = rows.len().saturating_sub(bounds.kept as usize);
    let mut counts = HashMap::<&str, u32>::new();
    for (_, author) in rows {
        *counts.entry(author).or_default() += 1;
    }
    let mut out = TakenOut::default();
    for (row, author) in rows {
        let Some(count) =
            counts.get_mut(author.as_str()).filter(|count| over > 0 && **count > bounds.of_author)
        else {
            continue;
        };
        *count -= 1;
        over -= 1;
        out.rows.insert(row.clone());
    }
    let stay = rows.iter().map(|(row, _)| row).filter(|row| !out.rows.contains(*row));
    let oldest: Vec<_> = stay.take(over).cloned().collect();
    out.floor = oldest.last().cloned();
    out.rows.extend(oldest);
    out
}

/// A post to which a timeline leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The post.
    pub post_id: String,
    /// Who wrote it, where that is known without reading it.
    pub author_id: Option<String>,
}

/// One list out of two, the newest first: the rows of a timeline, and posts of authors whose posts are in no timeline. The
/// cursors are the last ids that were looked at. Of the second list nothing counts up to `floor`, where the timeline ends.
pub fn merged(rows: Page<Lead>, mut pulled: Page<String>, floor: Option<&str>, limit: usize) -> Page<Lead> {
    let is_above = |id: &str| floor.is_none_or(|floor| id > floor);
    pulled.next = pulled.next.filter(|next| is_above(next));
    // Before the later of the two cursors one of the lists was not looked at.
    let horizon = rows.next.max(pulled.next);
    let of_others = pulled.items.into_iter().filter(|id| is_above(id));
    let of_others = of_others.map(|post_id| Lead { post_id, author_id: None });
    let mut all: Vec<_> = rows.items.into_iter().chain(of_others).collect();
    all.retain(|lead| horizon.as_ref().is_none_or(|horizon| lead.post_id >= *horizon));
    all.sort_by(|one, other| other.post_id.cmp(&one.post_id));
    all.dedup_by(|later, earlier| later.post_id == earlier.post_id);
    let is_cut = all.len() > limit;
    all.truncate(limit);
    let next = if is_cut { all.last().map(|lead| lead.post_id.clone()) } else { horizon };
    Page { items: all, next }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_timeline_is_filled_longer_than_it_is_whole() {
        assert!(!is_whole(None, false, 100) && !is_filled(None, 100));
        assert!(is_whole(Some(86), false, 100) && !is_whole(Some(85), false, 100));
        assert!(is_filled(Some(85), 100) && !is_filled(Some(84), 100));
        assert!(!is_whole(Some(100), true, 100), "it is being built");
        assert!(is_whole(Some(101), false, 100), "by a clock that goes before");
    }

    #[test]
    fn whoever_posts_much_takes_no_room_from_others() {
        let bounds = Bounds { kept: 4, of_author: 2, ..Bounds::default() };
        let out = |authors: &str| {
            let authors = authors.split_terminator(' ').enumerate();
            let rows: Vec<_> = authors.map(|(row, author)| (row.to_string(), author.to_owned())).collect();
            let out = taken_out(&rows, bounds);
            (out.rows.into_iter().collect::<Vec<_>>().join(" "), out.floor)
        };
        assert_eq!(out("a b a a"), (String::new(), None));
        assert_eq!(out("b a c a a a"), ("1 3".to_owned(), None));
        assert_eq!(out("a a a a a a"), ("0 1".to_owned(), None), "alone");
        assert_eq!(out("b a a a c d"), ("0 1".to_owned(), Some("0".to_owned())));
    }

    #[test]
    fn news_are_told_seldom() {
        assert_eq!((0..100).filter(|news| is_told(*news)).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn days_begin_at_midnight() {
        let day_of = |text: &str| day(text.parse().unwrap());
        assert_eq!(day_of("1970-01-01T23:59:59Z"), 0);
        assert_eq!(day_of("1970-01-02T00:00:00Z"), 1);
        assert_eq!(day_of("1969-12-31T23:59:59Z"), -1);
    }

    /// A page of ids behind a cursor, the newest first.
    fn page<T>(ids: &BTreeSet<u8>, after: Option<&str>, limit: usize, item: impl Fn(String) -> T) -> Page<T> {
        let names = ids.iter().rev().map(|id| format!("{id:03}"));
        let behind: Vec<_> = names.filter(|id| after.is_none_or(|after| id.as_str() < after)).collect();
        let next = if behind.len() > limit { behind.get(limit - 1).cloned() } else { None };
        Page { items: behind.into_iter().take(limit).map(item).collect(), next }
    }

    proptest! {
        #[test]
        fn two_lists_are_walked_as_one(
            rows in prop::collection::btree_set(any::<u8>(), 0..40),
            pulled in prop::collection::btree_set(any::<u8>(), 0..40),
            floor in prop::option::of(any::<u8>()),
            limit in 1..7_usize,
            unreadable in any::<u8>(),
        ) {
            let rows: BTreeSet<_> = rows.into_iter().filter(|id| floor.is_none_or(|floor| *id > floor)).collect();
            let floor_id = floor.map(|floor| format!("{floor:03}"));
            let (mut after, mut walked) = (None::<String>, Vec::new());
            for _ in 0..200 {
                let mut of_rows = page(&rows, after.as_deref(), limit, |post_id| Lead { post_id, author_id: Some(String::new()) });
                // A row that cannot be read is left out, and was looked at.
                of_rows.items.retain(|lead| lead.post_id != format!("{unreadable:03}"));
                let of_others = page(&pulled, after.as_deref(), limit, |id| id);
                let found = merged(of_rows, of_others, floor_id.as_deref(), limit);
                prop_assert!(found.items.len() <= limit);
                walked.extend(found.items.into_iter().map(|lead| lead.post_id));
                after = found.next;
                if after.is_none() {
                    break;
                }
            }
            prop_assert_eq!(&after, &None, "it ends");
            let of_rows = rows.iter().filter(|id| **id != unreadable);
            let all = of_rows.chain(pulled.iter().filter(|id| floor.is_none_or(|floor| **id > floor)));
            let all: BTreeSet<_> = all.map(|id| format!("{id:03}")).collect();
            prop_assert_eq!(walked, all.into_iter().rev().collect::<Vec<_>>());
        }
    }
}
