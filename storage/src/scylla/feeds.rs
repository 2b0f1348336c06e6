//! Feeds: the ids of posts, newest first, a partition a day; a list of the days that have any, so that no empty day is
//! looked at.
//!
//! A public post is in the public feed, any other in its author's own. The day comes from the id, which begins with
//! the time of its making, so that the days and the ids sort alike.

use std::collections::VecDeque;

use super::query::{Change, Query};
use super::session::Cql;
use super::value::limit;
use crate::posts::{Post, Visibility};
use crate::{Page, PageRequest, PageStart, StoreError};

/// Behind every id.
const ABOVE_ALL: &str = "g";
/// Days that are read at a time.
const DAYS: usize = 64;
/// Most ids that are read at a time.
const MAX_IDS: usize = 500;
const MILLIS_OF_A_DAY: i64 = 24 * 60 * 60 * 1000;
const PUBLIC: &str = "public";

const ADD: Query = Query::write("feeds", "INSERT INTO feeds (feed, bucket, id) VALUES (?, ?, ?)");
const ADD_DAY: Query = Query::write("feed_buckets", "INSERT INTO feed_buckets (feed, bucket) VALUES (?, ?)");
const IDS: Query =
    Query::read("feeds", "SELECT id FROM feeds WHERE feed = ? AND bucket = ? AND id < ? LIMIT ?");
const DAYS_UP_TO: Query =
    Query::read("feed_buckets", "SELECT bucket FROM feed_buckets WHERE feed = ? AND bucket <= ? LIMIT ?");

/// The day in which an id was made, counted from 1970.
fn day_of(id: &str) -> Option<i32> {
    let is_uuid = id.len() == 36
        && id.char_indices().all(|(index, c)| match index {
            8 | 13 | 18 | 23 => c == '-',
            14 => c == '7',
            _ => matches!(c, '0'..='9' | 'a'..='f'),
        });
    if !is_uuid {
        return None;
    }
    let millis = i64::from_str_radix(&format!("{}{}", id.get(..8)?, id.get(9..13)?), 16).ok()?;
    i32::try_from(millis / MILLIS_OF_A_DAY).ok()
}

fn own(user_id: &str) -> String {
    format!("own:{user_id}")
}

/// A post's entry in its feed.
pub(super) fn entries(post: &Post) -> Result<[Change<'_>; 2], StoreError> {
    let day = day_of(&post.id).ok_or_else(|| {
        StoreError::Unavailable("the id of a post has to be a UUID of version 7".to_owned())
    })?;
    let feed = match post.visibility {
        Visibility::Public => PUBLIC.to_owned(),
        Visibility::Friends | Visibility::Private => own(&post.author_id),
    };
    Ok([Change::new(&ADD, (feed.clone(), day, &post.id)), Change::new(&ADD_DAY, (feed, day))])
}

/// Reads one feed, newest first.
struct Walk<'a> {
    cql: &'a Cql,
    feed: String,
    /// The last id that was read.
    before: String,
    /// Days that were read and not yet looked into.
    days: VecDeque<i32>,
    /// Where to read more days; `None` when there are no more.
    days_up_to: Option<i32>,
    ids: VecDeque<String>,
    ids_at_once: usize,
}

impl<'a> Walk<'a> {
    fn new(cql: &'a Cql, feed: String, before: &str, day: i32, ids_at_once: usize) -> Self {
        let (days, ids) = (VecDeque::new(), VecDeque::new());
        Self { cql, feed, before: before.to_owned(), days, days_up_to: Some(day), ids, ids_at_once }
    }

    /// Reads until the next id is at hand or there is none.
    async fn fill(&mut self) -> Result<(), StoreError> {
        while self.ids.is_empty() {
            if let Some(day) = self.days.front() {
                let values = (&self.feed, day, &self.before, limit(self.ids_at_once));
                let ids = self.cql.rows::<(String,)>(&IDS, values).await?;
                if ids.len() < self.ids_at_once {
                    self.days.pop_front();
                }
                self.ids.extend(ids.into_iter().map(|(id,)| id));
                if let Some(last) = self.ids.back() {
                    self.before.clone_from(last);
                }
            } else if let Some(day) = self.days_up_to {
                let days = self.cql.rows::<(i32,)>(&DAYS_UP_TO, (&self.feed, day, limit(DAYS))).await?;
                self.days.extend(days.into_iter().map(|(day,)| day));
                let is_last = self.days.len() < DAYS;
                self.days_up_to = self.days.back().filter(|_| !is_last).map(|day| day - 1);
            } else {
                break;
            }
        }
        Ok(())
    }
}

/// What a user sees: two feeds as one.
struct Merged<'a> {
    public: Walk<'a>,
    own: Walk<'a>,
}

impl Merged<'_> {
    async fn next(&mut self) -> Result<Option<String>, StoreError> {
        tokio::try_join!(self.public.fill(), self.own.fill())?;
        let next =
            if self.own.ids.front() > self.public.ids.front() { &mut self.own } else { &mut self.public };
        Ok(next.ids.pop_front())
    }
}

impl Cql {
    pub(super) async fn read_feed(&self, user_id: &str, page: PageRequest) -> Result<Page<Post>, StoreError> {
        let (before, day, skip) = match &page.start {
            PageStart::First => (ABOVE_ALL, i32::MAX, 0),
            PageStart::Skip(items) => (ABOVE_ALL, i32::MAX, *items),
            PageStart::After(id) => (id.as_str(), day_of(id).ok_or(StoreError::BadCursor)?, 0),
        };
        let at_once = skip.saturating_add(page.limit).saturating_add(1).min(MAX_IDS);
        let mut feed = Merged {
            public: Walk::new(self, PUBLIC.to_owned(), before, day, at_once),
            own: Walk::new(self, own(user_id), before, day, at_once),
        };
        for _ in 0..skip {
            if feed.next().await?.is_none() {
                break;
            }
        }
        let mut items: Vec<Post> = Vec::with_capacity(page.limit);
        let mut next = feed.next().await?;
        while items.len() < page.limit && next.is_some() {
            let mut ids = Vec::with_capacity(page.limit - items.len());
            while ids.len() < page.limit - items.len()
                && let Some(id) = next
            {
                ids.push(id);
                next = feed.next().await?;
            }
            // A post that is not there yet or no longer is left out.
            items.extend(self.posts_by_id(&ids).await?);
        }
        let next = items.last().filter(|_| next.is_some()).map(|last| last.id.clone());
        Ok(Page { items, next })
    }
}

#[cfg(test)]
mod tests {
    use mundotango_protocol::new_id;

    use super::*;

    #[test]
    fn the_day_comes_from_the_id() {
        assert_eq!(day_of("00000000-0000-7000-8000-000000000000"), Some(0));
        assert_eq!(day_of("019ab2d4-6c00-7000-8000-000000000000"), Some(20_415)); // 2025-11-23
        assert!(day_of(&new_id()) >= Some(20_000));
        for bad in ["", "x", "019ab2d4-6c00-4000-8000-000000000000", "019AB2D4-6C00-7000-8000-000000000000"] {
            assert_eq!(day_of(bad), None, "{bad}");
        }
        assert_eq!(day_of(&"é".repeat(18)), None);
    }
}
