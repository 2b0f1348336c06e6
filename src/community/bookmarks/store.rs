//! Bookmarked posts: a partition a user, a row for each bookmark in the order of setting them, and one that finds it by post.

use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, RowRange, Wants, Whose, key, last_part, number, prefix,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

/// The bookmarks of each user.
pub static BOOKMARKS: Kind<(), Head, Row> =
    Kind::new("bookmarks", "a user: 2,000 bookmarks of 2 × 120 B, 500 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[Fields::of(
    Whose::User,
    Export::Given,
    Erasure::Removed,
    &["id", "head.count", "head.last", "keys.n", "rows.n.post", "keys.p", "rows.p.number"],
)];

/// Most bookmarks of one user.
pub const MAX_BOOKMARKS: u64 = 2_000;

/// What changes about a user's bookmarks besides the rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Head {
    /// How many there are.
    count: u64,
    /// How many were ever set; the number of the newest.
    last: u64,
}

/// A row: the number of a post's bookmark, or the post of a number.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// Below `n`, by number.
    Post(String),
    /// Below `p`, by post.
    Number(u64),
}

fn by_number(place: u64) -> String {
    key(&["n", &number(place)])
}

/// The bookmarks of a store.
#[derive(Clone)]
pub struct BookmarkStore(Db);

impl BookmarkStore {
    /// The bookmarks of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Sets a bookmark, or takes it away; whether that changed anything. `effect` is what a change causes, if it causes
    /// anything.
    pub async fn set(
        &self,
        user_id: &str,
        post_id: &str,
        wanted: bool,
        effect: Option<impl Serialize + Send + 'static>,
    ) -> Result<bool, StoreError> {
        let (post, by_post) = (post_id.to_owned(), key(&["p", post_id]));
        let changed = self.0.change(&BOOKMARKS, user_id, Wants::head().row(&by_post), move |part| {
            match (part.row(&by_post).cloned(), wanted) {
                (Some(Row::Number(place)), false) => {
                    part.head.count -= 1;
                    part.remove(by_number(place));
                    part.remove(&by_post);
                }
                (None, true) if part.head.count >= MAX_BOOKMARKS => {
                    return Err(StoreError::Full("the list of bookmarks"));
                }
                (None, true) => {
                    part.head.count += 1;
                    part.head.last += 1;
                    let place = part.head.last;
                    part.set(by_number(place), Row::Post(post.clone()));
                    part.set(&by_post, Row::Number(place));
                }
                _ => return Ok(Decision::Stands(false)),
            }
            if let Some(effect) = &effect {
                part.emit(effect)?;
            }
            Ok(Decision::Write(true))
        });
        Ok(changed.await?.unwrap_or_default())
    }

    /// The ids of a user's bookmarked posts, the last one first.
    pub async fn posts(&self, user_id: &str, page: PageRequest) -> Result<Page<String>, StoreError> {
        let (after, skip) = page.start.behind(|place| Some(by_number(place.parse().ok()?)))?;
        let range = RowRange::last(prefix(&["n"]), skip + page.limit).after(after);
        let rows = self.0.rows(&BOOKMARKS, user_id, &range).await?;
        let next = rows.next.and_then(|key| last_part(&key).parse::<u64>().ok());
        let posts = rows.items.into_iter().skip(skip).filter_map(|(_, row)| match row {
            Row::Post(post) => Some(post),
            Row::Number(_) => None,
        });
        Ok(Page { items: posts.collect(), next: next.map(|place| place.to_string()) })
    }
}
