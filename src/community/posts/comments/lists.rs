//! Lists of comments, and how many there are.

use futures_util::future::try_join_all;
use mundotango_storage::db::{Decision, Found, RowRange, Wants, last_part, number, prefix};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::Deserialize;

use super::kind::{BELOW, COMMENTS, Comment, Row, comment_key, id_of, part_id};
use super::reactions::COMMENT_REACTIONS;
use super::rules::{CommentId, MOST, OF_A_PART, part_of};
use super::store::CommentStore;

/// Parts that one page looks into; behind them it ends, though it may be short.
const PARTS_OF_A_PAGE: usize = 8;
/// How often a page reads; behind that it ends as well.
const READS_OF_A_PAGE: usize = 16;

/// In which order comments come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CommentOrder {
    /// The oldest first.
    #[default]
    Oldest,
    /// The newest first.
    Newest,
}

impl CommentStore {
    /// The comments below one, or those that answer none. The cursor is the last number that was looked at.
    pub async fn list(
        &self,
        post_id: &str,
        parent: u32,
        order: CommentOrder,
        page: PageRequest,
        is_shown: impl Fn(&Comment) -> bool,
    ) -> Result<Page<Comment>, StoreError> {
        let (after, mut skip) = page.start.behind(Some)?;
        let after: Option<u32> =
            after.map(|text| text.parse().map_err(|_| StoreError::BadCursor)).transpose()?;
        let (first, last) = (part_of(parent), self.open_part(post_id).await?);
        let (mut part, mut behind) = match (order, after) {
            (CommentOrder::Oldest, Some(number)) => (part_of(number.saturating_add(1)).max(first), after),
            (CommentOrder::Oldest, None) => (first, None),
            (CommentOrder::Newest, Some(number)) => (part_of(number.saturating_sub(1)).min(last), after),
            (CommentOrder::Newest, None) => (last, None),
        };
        let mut items = Vec::with_capacity(page.limit);
        let mut reads = 0;
        for _ in 0..PARTS_OF_A_PAGE {
            // Within a part, until it holds no more or the page is full.
            loop {
                let below = prefix(&[BELOW, &number(parent.into())]);
                let limit = skip + page.limit - items.len();
                let range = match order {
                    CommentOrder::Oldest => RowRange::first(below, limit),
                    CommentOrder::Newest => RowRange::last(below, limit),
                };
                let range = range.after(behind.map(|number| comment_key(parent, number)));
                let rows = self.db().rows(&COMMENTS, &part_id(post_id, part), &range).await?;
                let read = rows.items.into_iter().filter_map(|(key, row)| {
                    let number: u32 = last_part(&key).parse().ok()?;
                    let Row::Comment(stored) = row else { return None };
                    Some(Comment::new(CommentId { post: post_id.to_owned(), number, parent }, *stored))
                });
                let shown = read.filter(|comment| !comment.is_gone() && is_shown(comment)).filter(|_| {
                    let is_skipped = skip > 0;
                    skip = skip.saturating_sub(1);
                    !is_skipped
                });
                items.extend(shown.collect::<Vec<_>>());
                let next = rows.next.and_then(|key| last_part(&key).parse::<u32>().ok());
                let Some(next) = next else { break };
                behind = Some(next);
                reads += 1;
                if items.len() >= page.limit || reads >= READS_OF_A_PAGE {
                    return Ok(Page { items, next: Some(next.to_string()) });
                }
            }
            let next = match order {
                CommentOrder::Oldest if part < last => part + 1,
                CommentOrder::Newest if part > first => part - 1,
                _ => return Ok(Page { items, next: None }),
            };
            // The number before the first, or behind the last, of the next part.
            let bound =
                if order == CommentOrder::Oldest { next * OF_A_PART } else { (next + 1) * OF_A_PART + 1 };
            (part, behind) = (next, Some(bound));
            if items.len() >= page.limit {
                break;
            }
        }
        Ok(Page { items, next: behind.map(|number| number.to_string()) })
    }

    /// How many comments there are on each of these posts, in their order: exact up to a thousand, and rough behind that, where
    /// what was removed of full parts is counted on.
    pub async fn counts(&self, post_ids: &[String]) -> Result<Vec<u64>, StoreError> {
        let firsts: Vec<_> = post_ids.iter().map(|id| part_id(id, 0)).collect();
        let heads = self.db().read_all(&COMMENTS, &firsts).await?;
        let counts = post_ids.iter().zip(heads).map(async |(id, found)| {
            let head = found.map(|found| found.head).unwrap_or_default();
            if !head.is_full() {
                return Ok::<_, StoreError>(u64::from(head.there));
            }
            let open = self.open_part(id).await?;
            let there = self.head(id, open).await?.0.there;
            Ok(u64::from(open) * u64::from(OF_A_PART) + u64::from(there))
        });
        try_join_all(counts).await
    }

    /// How many comments there are on a post now, past the cache, and a number that rises with each change of them.
    pub async fn count(&self, post_id: &str) -> Result<(u64, u64), StoreError> {
        let (mut there, mut version) = (0, 0);
        for part in 0..MOST / OF_A_PART {
            let found = self.db().read_with(&COMMENTS, &part_id(post_id, part), &[]).await?;
            let Some((Found { head, version: changes, .. }, _)) = found else { break };
            there += u64::from(head.there);
            version += changes;
            if !head.is_full() {
                break;
            }
        }
        Ok((there, version))
    }

    /// The ids of all comments of a part, by the partition's id.
    pub async fn ids_of_part(&self, part: &str) -> Result<Vec<CommentId>, StoreError> {
        const AT_ONCE: usize = 100;
        let Some((post_id, _)) = part.rsplit_once(':') else { return Ok(Vec::new()) };
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let range = RowRange::first(prefix(&[BELOW]), AT_ONCE).after(after);
            let rows = self.db().rows(&COMMENTS, part, &range).await?;
            ids.extend(rows.items.iter().filter_map(|(key, _)| id_of(post_id, key)));
            after = rows.next;
            if after.is_none() {
                return Ok(ids);
            }
        }
    }

    /// The ids of all comments on a post, a part at a time; `None` behind the last part.
    pub async fn ids_of(&self, post_id: &str, part: u32) -> Result<Option<Vec<CommentId>>, StoreError> {
        if part >= MOST / OF_A_PART || self.head(post_id, part).await?.0.written == 0 {
            return Ok(None);
        }
        self.ids_of_part(&part_id(post_id, part)).await.map(Some)
    }

    /// Removes all comments on a post that is gone, with the reactions to them; from then on nobody can write one.
    pub async fn remove_all(&self, post_id: &str) -> Result<(), StoreError> {
        let mut last = self.open_part(post_id).await?.min(MOST / OF_A_PART - 1);
        // The part that takes comments goes first, so that none is written meanwhile.
        while self.remove_part(post_id, last).await? && last + 1 < MOST / OF_A_PART {
            last += 1;
        }
        for part in (0..last).rev() {
            self.remove_part(post_id, part).await?;
        }
        Ok(())
    }

    /// Removes a part; whether it was full.
    async fn remove_part(&self, post_id: &str, part: u32) -> Result<bool, StoreError> {
        const AT_ONCE: usize = 100;
        let id = part_id(post_id, part);
        let mut after = None;
        loop {
            let range = RowRange::first(prefix(&[BELOW]), AT_ONCE).after(after);
            let rows = self.db().rows(&COMMENTS, &id, &range).await?;
            let ids = rows.items.iter().filter_map(|(key, _)| Some(id_of(post_id, key)?.to_string()));
            let ids: Vec<_> = ids.collect();
            for (id, found) in ids.iter().zip(self.db().read_all(&COMMENT_REACTIONS, &ids).await?) {
                if found.is_some_and(|found| found.version > 0) {
                    self.delete_reactions(id).await?;
                }
            }
            after = rows.next;
            if after.is_none() {
                break;
            }
        }
        let removed = self.db().change(&COMMENTS, &id, Wants::head(), |part| {
            Ok::<_, StoreError>(Decision::Delete(part.head.is_full()))
        });
        Ok(removed.await?.unwrap_or_default())
    }
}
