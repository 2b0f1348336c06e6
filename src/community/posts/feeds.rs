//! The lists that lead to posts: what everybody may read, what an author said, and what is about a subject. An entry stays for
//! ever; whether a post still belongs to a list is looked at when it is read.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use mundotango_storage::db::{Db, Entry, Fields, Index, Order, day_of_id, outbox_key, time_of_id};
use mundotango_storage::{Page, PageRequest, StoreError};

use super::entities::tags_of;
use super::post::{Post, Visibility};
use super::store::PostStore;

/// The feeds: `public`, and each author's own posts that are not public; by post id, so by the time of their making.
pub static FEEDS: Index<()> = Index::new(
    "feeds",
    "a day of a feed: 1,000,000 entries of 60 B, 60 MB",
    day_of_id,
    Order::NewestFirst,
    Fields::AS_TARGET,
);
/// The posts of each author, by post id.
pub static POSTS_BY_AUTHOR: Index<()> = Index::new(
    "posts_by_author",
    "thirty days of an author: 10,000 entries of 60 B, 600 KB",
    month_of_id,
    Order::NewestFirst,
    Fields::AS_TARGET,
);
/// The posts with each hashtag, by post id.
pub static POSTS_BY_TAG: Index<()> = Index::new(
    "posts_by_tag",
    "a day of a hashtag: 100,000 entries of 60 B, 6 MB",
    day_of_id,
    Order::NewestFirst,
    Fields::AS_TARGET,
);

/// The feed of public posts.
const PUBLIC: &str = "public";
/// Walks of a list for one page: past so many that find too little to show, the page is shorter.
const WALKS_OF_A_PAGE: usize = 8;
/// Entries that are looked at for what is newer than a post.
const MOST_NEWER: usize = 5_000;
/// How far before a post the list is read again for what is newer: an entry may be written late by so much.
const LATE: SignedDuration = SignedDuration::from_mins(2);

/// Days of a bucket, counted from 1970 on.
fn month_of_id(id: &str) -> Option<i64> {
    day_of_id(id).map(|day| day / 30)
}

/// The feed of a user's posts that are not public.
fn own_feed(user_id: &str) -> String {
    format!("own:{user_id}")
}

/// The feeds of posts that are not public which a user reads: the user's own, and those of friends.
fn feeds_of(user_id: &str, friends: &[String]) -> Vec<String> {
    friends.iter().map(String::as_str).chain([user_id]).map(own_feed).collect()
}

/// What leads to a post.
pub(super) fn entries(post: &Post) -> Result<Vec<Entry>, StoreError> {
    let mut entries = vec![feed_entry(post)?, POSTS_BY_AUTHOR.entry(&post.author_id, &post.id, &())?];
    entries.extend(tag_entries(post, &BTreeSet::new())?);
    Ok(entries)
}

/// The entry of the feed that a post is in, as long as it is for these readers.
pub(super) fn feed_entry(post: &Post) -> Result<Entry, StoreError> {
    let feed = match post.visibility {
        Visibility::Public => PUBLIC.to_owned(),
        Visibility::Friends | Visibility::Private => own_feed(&post.author_id),
    };
    FEEDS.entry(feed, &post.id, &())
}

/// The entries of a post's hashtags but for those that it had before.
pub(super) fn tag_entries(post: &Post, before: &BTreeSet<String>) -> Result<Vec<Entry>, StoreError> {
    let tags = tags_of(&post.text.content).into_iter().filter(|tag| !before.contains(tag));
    tags.map(|tag| POSTS_BY_TAG.entry(tag, &post.id, &())).collect()
}

/// Posts that are newer than one that a client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newer {
    /// The oldest first. Posts of the two minutes before are among them.
    pub items: Vec<Post>,
    /// The id of the last post that was looked at, shown or not: it is not told to whom it was not shown.
    pub newest: String,
    /// Whether there are more.
    pub has_more: bool,
}

impl PostStore {
    /// What a user sees, newest first: public posts, all of the user's own, and those of friends. `may_read` says which of
    /// them the user may read now.
    pub async fn feed(
        &self,
        user_id: &str,
        friends: &[String],
        page: PageRequest,
        may_read: impl Fn(&Post) -> bool,
    ) -> Result<Page<Post>, StoreError> {
        let own = feeds_of(user_id, friends);
        let lists: Vec<_> = own.iter().map(String::as_str).chain([PUBLIC]).collect();
        self.list(&FEEDS, &lists, page, may_read).await
    }

    /// The posts of an author, newest first, of those that may be read.
    pub async fn posts_of(
        &self,
        author_id: &str,
        page: PageRequest,
        may_read: impl Fn(&Post) -> bool,
    ) -> Result<Page<Post>, StoreError> {
        self.list(&POSTS_BY_AUTHOR, &[author_id], page, may_read).await
    }

    /// The posts with a hashtag of this key, newest first, of those that may be read.
    pub async fn posts_about(
        &self,
        tag: &str,
        page: PageRequest,
        may_read: impl Fn(&Post) -> bool,
    ) -> Result<Page<Post>, StoreError> {
        // The entry of a hashtag stays when an edit takes it out.
        let is_shown = |post: &Post| may_read(post) && tags_of(&post.text.content).contains(tag);
        self.list(&POSTS_BY_TAG, &[tag], page, is_shown).await
    }

    /// A page of lists as one. Its cursor is the last id that was looked at, shown or not, so nothing is left out between pages.
    async fn list(
        &self,
        index: &'static Index<()>,
        lists: &[&str],
        page: PageRequest,
        is_shown: impl Fn(&Post) -> bool,
    ) -> Result<Page<Post>, StoreError> {
        let (mut after, mut skip) = page.start.behind(Some)?;
        let mut items = Vec::with_capacity(page.limit);
        for _ in 0..WALKS_OF_A_PAGE {
            let wanted = skip + page.limit - items.len();
            let entries = self.db().walk(index, lists, after.as_deref(), wanted).await?;
            let ids: Vec<_> = entries.items.into_iter().map(|(id, ())| id).collect();
            // A post that is not there yet or no longer is left out.
            let mut shown: Vec<_> = self.posts(&ids).await?.into_iter().filter(&is_shown).collect();
            let skipped = skip.min(shown.len());
            skip -= skipped;
            items.extend(shown.drain(skipped..));
            after = entries.next;
            if after.is_none() || items.len() >= page.limit {
                break;
            }
        }
        Ok(Page { items, next: after })
    }

    /// What of a user's feed is newer than a post, the oldest first, and again what was made in the two minutes before it: an
    /// entry may be written late. `None` if so much is newer that the feed has to be begun anew.
    pub async fn newer(
        &self,
        user_id: &str,
        friends: &[String],
        than: &str,
        limit: usize,
        may_read: impl Fn(&Post) -> bool,
    ) -> Result<Option<Newer>, StoreError> {
        let known = time_of_id(than).ok_or(StoreError::BadCursor)?;
        let from = known.checked_sub(LATE).map_or_else(|_| outbox_key(known), outbox_key);
        let Some(mut ids) = newer_ids(self.db(), &feeds_of(user_id, friends), &from).await? else {
            return Ok(None);
        };
        ids.reverse();
        let late = ids.partition_point(|id| id.as_str() <= than);
        let has_more = ids.len() - late > limit;
        ids.truncate(late + limit);
        let newest = ids.last().filter(|id| id.as_str() > than).map_or_else(|| than.to_owned(), Clone::clone);
        ids.drain(..late.saturating_sub(limit));
        let items = self.posts(&ids).await?.into_iter().filter(may_read).collect();
        Ok(Some(Newer { items, newest, has_more }))
    }
}

/// The ids of a feed from one on, the newest first; `None` if there are too many to look at.
async fn newer_ids(db: &Db, own: &[String], from: &str) -> Result<Option<Vec<String>>, StoreError> {
    const AT_ONCE: usize = 1_000;
    let lists: Vec<_> = own.iter().map(String::as_str).chain([PUBLIC]).collect();
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        // Mostly there is little: what is far behind is not read for it.
        let wanted = if ids.is_empty() { 100 } else { AT_ONCE };
        let entries = db.walk(&FEEDS, &lists, after.as_deref(), wanted).await?;
        after = entries.next;
        let read = entries.items.len();
        ids.extend(entries.items.into_iter().map(|(id, ())| id).take_while(|id| id.as_str() >= from));
        let is_whole = after.as_deref().is_none_or(|last| last < from);
        if is_whole || read == 0 {
            return Ok(Some(ids));
        }
        if ids.len() >= MOST_NEWER {
            return Ok(None);
        }
    }
}
