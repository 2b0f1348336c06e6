//! Timelines: a partition a user, with a row for each post of those whom the user follows. A row is an id and why it is there;
//! whether the post is shown is looked at when it is read. And the authors whose posts are in no timeline, as too many follow them.

use std::collections::BTreeSet;
use std::time::Duration;

use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, Part, RowRange, Wants, Whose, behind, day_of_id, key,
    last_part, prefix,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

use super::live::FeedMessage;
use super::rules::{self, Bounds, Lead};
use crate::community::effects::Effect;
use crate::community::personal_channel;
use crate::community::posts::feeds::POSTS_BY_AUTHOR;

/// The timelines of users.
pub static TIMELINES: Kind<(), Head, Row> =
    Kind::new("timelines", "a user: 650 posts of 130 B, 85 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::User,
        Export::NotGiven("it leads to what others wrote, and is made anew from whom the user follows"),
        Erasure::Removed,
        &["id", "head.seen", "head.building", "head.news", "head.rows", "head.floor", "keys.p"],
    ),
    Fields::of(
        Whose::RowUser,
        Export::NotGiven("the author's own posts are given"),
        Erasure::RowRemoved,
        &["rows.p.author"],
    ),
];

/// The authors whose posts are in no timeline: all in one partition, which changes when an author becomes one.
pub static POPULAR_AUTHORS: Kind<(), Popular, ()> =
    Kind::new("popular_authors", "the only one: 1,000 authors of 40 B, 40 KB", PERSONAL_OF_POPULAR)
        .implicit()
        .cached(Duration::from_mins(1));
/// The same of popular authors.
const PERSONAL_OF_POPULAR: &[Fields] = &[
    Fields::of_nobody(&["id"]),
    Fields::of(
        Whose::Named,
        Export::NotGiven("the number of followers says it"),
        Erasure::Anonymous("the list only tells whose posts are looked for by readers"),
        &["head.authors.*"],
    ),
];

/// The id of the only partition of popular authors.
const ALL: &str = "all";
/// Most popular authors. The posts of further ones are put into timelines, however many there are.
const MOST_POPULAR: usize = 1_000;
/// Below this lie the rows, by post.
const POSTS: &str = "p";

/// What changes about a timeline besides its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The day on which its user read it last, counted from 1970 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<i64>,
    /// Whether it has to be built, or is being built.
    #[serde(default)]
    pub building: bool,
    /// Posts that came since its user read its first page.
    #[serde(default)]
    pub news: u32,
    /// How many rows there are.
    #[serde(default)]
    pub rows: u32,
    /// The newest post that was taken out as there were too many: nothing up to it comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<String>,
}

/// A post in a timeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Who wrote it, which is why it is there.
    author: String,
}

/// The authors whose posts are in no timeline.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Popular {
    /// Their ids. Who is one stays one: what was posted meanwhile is in no timeline.
    #[serde(default)]
    pub authors: BTreeSet<String>,
}

/// How posts are put into a timeline.
#[derive(Clone, Copy, Debug)]
pub enum Putting {
    /// Its user asked for it.
    Asked,
    /// On a day, if its user has read it lately, and whether the user hears of them.
    IfFilled {
        /// Counted from 1970 on.
        today: i64,
        /// Whether they are new to the user.
        is_news: bool,
    },
}

type Timeline<'a> = Part<'a, (), Head, Row>;

fn row_key(post_id: &str) -> String {
    key(&[POSTS, post_id])
}

/// The rows of a timeline, the oldest first, each with its author.
fn all_rows(part: &mut Timeline<'_>) -> Vec<(String, String)> {
    let below = prefix(&[POSTS]);
    // From where it ends on, so that nothing is read that was removed.
    let start = part.head.floor.as_deref().map_or_else(|| below.clone(), row_key);
    let most = usize::try_from(part.head.rows).unwrap_or_default();
    let rows = part.between(&start, &behind(&below), most).into_iter();
    rows.map(|(key, row)| (key, row.author.clone())).collect()
}

/// Takes posts into a timeline, and out what is too much; how many were not there.
fn take(part: &mut Timeline<'_>, leads: &[(String, String)], bounds: Bounds) -> u32 {
    let mut added = 0;
    for (post_id, author) in leads {
        let row = row_key(post_id);
        let is_over = part.head.floor.as_ref().is_some_and(|floor| post_id <= floor);
        if is_over || part.row(&row).is_some() {
            continue;
        }
        part.set(row, Row { author: author.clone() });
        added += 1;
    }
    part.head.rows += added;
    if part.head.rows > bounds.kept + bounds.slack {
        let out = rules::taken_out(&all_rows(part), bounds);
        if let Some(floor) = &out.floor {
            part.head.floor = Some(last_part(floor));
        }
        part.head.rows = bounds.kept;
        for key in out.rows {
            part.remove(key);
        }
    }
    added
}

/// The timelines of a store.
#[derive(Clone)]
pub struct TimelineStore {
    db: Db,
    pub(super) bounds: Bounds,
}

impl TimelineStore {
    /// The timelines of a store.
    pub fn new(db: Db) -> Self {
        Self { db, bounds: Bounds::default() }
    }

    /// What a timeline says besides its rows.
    pub async fn head(&self, user_id: &str) -> Result<Head, StoreError> {
        Ok(self.db.read(&TIMELINES, user_id).await?.map(|found| found.head).unwrap_or_default())
    }

    /// Those of some users whose timelines are filled.
    pub async fn filled(&self, user_ids: Vec<String>, today: i64) -> Result<Vec<String>, StoreError> {
        let heads = self.db.read_all(&TIMELINES, &user_ids).await?;
        let found = user_ids.into_iter().zip(heads);
        let is_filled = |seen| rules::is_filled(seen, today);
        Ok(found
            .filter(|(_, found)| found.as_ref().is_some_and(|found| is_filled(found.head.seen)))
            .map(|(id, _)| id)
            .collect())
    }

    async fn mark(
        &self,
        user_id: &str,
        change: impl Fn(&mut Head) + Send + 'static,
    ) -> Result<(), StoreError> {
        let rule = move |part: &mut Timeline<'_>| {
            let before = part.head.clone();
            change(&mut part.head);
            let stands = part.head == before;
            Ok::<_, StoreError>(if stands { Decision::Stands(()) } else { Decision::Write(()) })
        };
        self.db.change(&TIMELINES, user_id, Wants::head(), rule).await.map(drop)
    }

    /// Notes that its user reads a timeline on a day: its first page, with all that is new, or what is behind it.
    pub async fn note_reading(&self, user_id: &str, today: i64, is_first: bool) -> Result<(), StoreError> {
        let note = move |head: &mut Head| {
            head.seen = head.seen.max(Some(today));
            head.news = if is_first { 0 } else { head.news };
        };
        self.mark(user_id, note).await
    }

    /// Notes that a timeline is being built from now on, and empties it: what is posted from now on is put into it. Whether it
    /// has to be built; not if another node has built it meanwhile. A build that goes on, or was cut off, has emptied it.
    pub async fn begin_building(&self, user_id: &str, today: i64) -> Result<bool, StoreError> {
        let rule = move |part: &mut Timeline<'_>| {
            if rules::is_whole(part.head.seen, part.head.building, today) {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            if !part.head.building {
                for (key, _) in all_rows(part) {
                    part.remove(key);
                }
                part.head.rows = 0;
                part.head.floor = None;
            }
            part.head.seen = part.head.seen.max(Some(today));
            part.head.building = true;
            part.head.news = 0;
            Ok(Decision::Write(true))
        };
        Ok(self.db.change(&TIMELINES, user_id, Wants::head(), rule).await?.unwrap_or_default())
    }

    /// Notes that a timeline is built.
    pub async fn end_building(&self, user_id: &str) -> Result<(), StoreError> {
        self.mark(user_id, |head: &mut Head| head.building = false).await
    }

    /// Puts posts into a timeline: their ids, and who wrote each. At most 100. Doing it again changes nothing.
    pub async fn put(
        &self,
        user_id: &str,
        leads: Vec<(String, String)>,
        how: Putting,
    ) -> Result<(), StoreError> {
        let wants = leads.iter().fold(Wants::head(), |wants, (post_id, _)| wants.row(row_key(post_id)));
        let (owner, bounds) = (user_id.to_owned(), self.bounds);
        let rule = move |part: &mut Timeline<'_>| {
            if let Putting::IfFilled { today, .. } = how
                && !rules::is_filled(part.head.seen, today)
            {
                return Ok::<_, StoreError>(Decision::Stands(0));
            }
            let added = take(part, &leads, bounds);
            if added == 0 {
                return Ok(Decision::Stands(0));
            }
            if matches!(how, Putting::IfFilled { is_news: true, .. }) {
                part.head.news = part.head.news.saturating_add(added);
                if rules::is_told(part.head.news) {
                    let message = FeedMessage::New { count: part.head.news };
                    part.emit(&Effect::publish(personal_channel(&owner), &message)?)?;
                }
            }
            Ok(Decision::Write(added))
        };
        let added = self.db.change(&TIMELINES, user_id, wants, rule).await?.unwrap_or_default();
        mundotango_ops::metrics().timeline_rows_written_total.inc_by(added.into());
        Ok(())
    }

    /// Takes rows out of a timeline whose author is gone, by their keys, and counts them no longer. Doing it again changes nothing.
    pub async fn forget(&self, user_id: &str, rows: &[String]) -> Result<(), StoreError> {
        let wants = rows.iter().fold(Wants::head(), Wants::row);
        let rows = rows.to_vec();
        let rule = move |part: &mut Timeline<'_>| {
            let mut gone = 0;
            for row in &rows {
                if part.row(row).is_some() {
                    part.remove(row);
                    gone += 1;
                }
            }
            part.head.rows = part.head.rows.saturating_sub(gone);
            Ok::<_, StoreError>(if gone > 0 { Decision::Write(()) } else { Decision::Stands(()) })
        };
        self.db.change(&TIMELINES, user_id, wants, rule).await.map(drop)
    }

    /// A page of what a timeline leads to, as one list with the posts of authors whose posts are in no timeline.
    pub async fn page(
        &self,
        user_id: &str,
        pulled: &[&str],
        floor: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<Lead>, StoreError> {
        let (after, skip) = page.start.behind(|id| day_of_id(&id).map(|_| id))?;
        let limit = skip.saturating_add(page.limit);
        let range = RowRange::last(prefix(&[POSTS]), limit).after(after.as_deref().map(row_key));
        let of_authors = async {
            if pulled.is_empty() {
                return Ok::<_, StoreError>(Page { items: Vec::new(), next: None });
            }
            let entries = self.db.walk(&POSTS_BY_AUTHOR, pulled, after.as_deref(), limit).await?;
            Ok(entries.map(|(id, ())| id))
        };
        let (rows, of_authors) = tokio::try_join!(self.db.rows(&TIMELINES, user_id, &range), of_authors)?;
        let next = rows.next.as_deref().map(last_part);
        let items = rows
            .items
            .into_iter()
            .map(|(key, row)| Lead { post_id: last_part(&key), author_id: Some(row.author) });
        let rows = Page { items: items.collect(), next };
        let mut merged = rules::merged(rows, of_authors, floor, limit);
        merged.items.drain(..skip.min(merged.items.len()));
        Ok(merged)
    }

    /// The ids of an author's posts before one, or of the last ones.
    pub async fn last_posts(
        &self,
        author_id: &str,
        before: Option<&str>,
        most: usize,
    ) -> Result<Page<String>, StoreError> {
        Ok(self.db.walk(&POSTS_BY_AUTHOR, &[author_id], before, most).await?.map(|(id, ())| id))
    }

    /// The authors whose posts are in no timeline.
    pub async fn popular(&self) -> Result<Popular, StoreError> {
        Ok(self.db.read(&POPULAR_AUTHORS, ALL).await?.map(|found| found.head).unwrap_or_default())
    }

    /// Notes that an author's posts are in no timeline from now on; whether they are not, as there may be too many such authors.
    pub async fn note_popular(&self, author_id: &str) -> Result<bool, StoreError> {
        let author = author_id.to_owned();
        let rule = move |part: &mut Part<'_, (), Popular, ()>| {
            if part.head.authors.contains(&author) {
                return Ok::<_, StoreError>(Decision::Stands(true));
            }
            if part.head.authors.len() >= MOST_POPULAR {
                return Ok(Decision::Stands(false));
            }
            part.head.authors.insert(author.clone());
            Ok(Decision::Write(true))
        };
        Ok(self.db.change(&POPULAR_AUTHORS, ALL, Wants::head(), rule).await?.unwrap_or_default())
    }
}
