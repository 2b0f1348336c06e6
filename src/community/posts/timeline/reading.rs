//! How a timeline is read. Each post is judged as it is now, as at every other door: rows only lead to it.

use futures_util::FutureExt as _;
use jiff::Timestamp;
use mundotango_storage::{Page, PageRequest, PageStart, StoreError};

use super::filling::Timelines;
use super::rules::{self, KEPT, SLACK};
use crate::community::graph::filled;
use crate::community::posts::readers::Reader;
use crate::community::posts::store::Post;

/// Most authors whose lists are read for one page, as their posts are in no timeline.
const MOST_PULLED: usize = 50;
/// Posts that are looked at together. A page looks at ten times as many at the most.
const MOST_AT_ONCE: usize = 100;

impl Timelines {
    /// A page of the posts of those whom a user follows, the newest first. The cursor is the last id that was looked at, shown or
    /// not. Who was away for long has the timeline built first. Numbered pages end where a timeline does.
    pub async fn page(
        &self,
        user_id: &str,
        page: PageRequest,
        now: Timestamp,
    ) -> Result<Page<Post>, StoreError> {
        if matches!(page.start, PageStart::Skip(items) if items >= (KEPT + SLACK) as usize) {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let (today, is_first) = (rules::day(now), page.start == PageStart::First);
        let reader = Reader::new(&self.circles, user_id).await?;
        let (mut head, popular) = tokio::try_join!(self.store.head(user_id), self.store.popular())?;
        if !rules::is_whole(head.seen, head.building, today) {
            head = Box::pin(self.built(user_id, &reader, &popular, today)).await?;
        }
        // Before the rows are read: what comes in between counts as new.
        if head.seen < Some(today) || (is_first && head.news > 0) {
            let noted = self.store.note_reading(user_id, today, is_first).await;
            if let Err(error) = noted {
                tracing::warn!(%error, user_id, "a reading of the feed is not noted");
            }
        }
        let authors = popular.authors.iter().map(String::as_str).filter(|author| reader.follows(author));
        let pulled: Vec<_> = authors.take(MOST_PULLED).collect();
        let (store, posts, reader, pulled) = (&self.store, &self.posts, &reader, &pulled);
        let floor = head.floor.as_deref();
        let read = |page: PageRequest| {
            let page = PageRequest { limit: page.limit.min(MOST_AT_ONCE), ..page };
            let reading = async move {
                let leads = store.page(user_id, pulled, floor, page).await?;
                let is_followed = |author: &String| reader.follows(author);
                let followed =
                    leads.items.into_iter().filter(|lead| lead.author_id.as_ref().is_none_or(is_followed));
                let ids: Vec<_> = followed.map(|lead| lead.post_id).collect();
                let mut found = posts.posts(&ids).await?;
                found.retain(|post| reader.follows(&post.author_id) && reader.wants(post));
                Ok::<_, StoreError>(Page { items: reader.confirmed(found).await?, next: leads.next })
            };
            reading.boxed()
        };
        filled(page, read).await
    }
}
