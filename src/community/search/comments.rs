//! Comments, as they are searched for: each is a document for those for whom its post is.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use mundotango_storage::db::Db;
use mundotango_storage::{Page, StoreError};

use super::kinds::{COMMENT, POST};
use super::pages::{IDS_OF_A_PAGE, behind, not_given, place};
use crate::community::posts::comments::kind::COMMENTS;
use crate::community::posts::comments::rules::CommentId;
use crate::community::posts::comments::store::CommentStore;
use crate::community::posts::store::{Post, PostStore, Visibility};
use crate::search::document::{Audience, Document};
use crate::search::source::Source;

/// Comments that are read beside each other.
const AT_ONCE: usize = 16;

/// Who finds a post, and what is said below it.
pub(super) fn audience_of(post: &Post) -> Audience {
    let author = post.author_id.clone();
    match post.visibility {
        Visibility::Public => Audience::Everybody,
        Visibility::Friends => Audience::FriendsOf(author),
        Visibility::Private => Audience::Only(author),
    }
}

/// The comments of a store.
pub(super) struct Comments {
    db: Db,
    posts: PostStore,
    made: CommentStore,
}

impl Comments {
    /// Those of a store.
    pub(super) fn new(db: &Db) -> Self {
        Self { db: db.clone(), posts: PostStore::new(db.clone()), made: CommentStore::new(db.clone()) }
    }

    async fn document(
        &self,
        id: &str,
        audiences: &BTreeMap<String, Audience>,
    ) -> Result<Option<Document>, StoreError> {
        let Some(id) = CommentId::parse(id) else { return Ok(None) };
        let Some(audience) = audiences.get(&id.post) else { return Ok(None) };
        let comment = match self.made.comment(&id).await {
            Err(StoreError::Damaged(error)) => {
                tracing::error!(error, comment = %id, "left out of the search index");
                None
            }
            read => read?,
        };
        Ok(comment.filter(|comment| !comment.is_removed).map(|comment| Document {
            title: String::new(),
            text: comment.content,
            places: Vec::new(),
            audience: audience.clone(),
            at: comment.created_at,
            over_at: None,
            has_time: true,
            part_of: Some((POST, id.post)),
        }))
    }
}

#[async_trait]
impl Source for Comments {
    fn kind(&self) -> &'static str {
        COMMENT
    }

    async fn documents(&self, ids: &[String]) -> Result<Vec<Option<Document>>, StoreError> {
        let mut audiences = BTreeMap::new();
        for id in ids.iter().filter_map(|id| CommentId::parse(id)) {
            if audiences.contains_key(&id.post) {
                continue;
            }
            match self.posts.post_now(&id.post).await {
                Ok(Some(post)) => drop(audiences.insert(id.post, audience_of(&post))),
                // What is said below a post that cannot be read is not shown either.
                Ok(None) | Err(StoreError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut documents = Vec::with_capacity(ids.len());
        for some in ids.chunks(AT_ONCE) {
            documents.extend(try_join_all(some.iter().map(|id| self.document(id, &audiences))).await?);
        }
        Ok(documents)
    }

    async fn ids(&self, from: Option<&str>) -> Result<Page<String>, StoreError> {
        let (given, scan) = place(from);
        let page = self.db.scan(&COMMENTS, scan).await?;
        let (mut ids, mut last) = (Vec::new(), given);
        for (part, _) in not_given(&page.items, given) {
            if ids.len() >= IDS_OF_A_PAGE {
                return Ok(Page { items: ids, next: Some(behind(last, scan)) });
            }
            ids.extend(self.made.ids_of_part(part).await?.iter().map(CommentId::to_string));
            last = part;
        }
        Ok(Page { items: ids, next: page.next.map(|next| behind("", Some(&next))) })
    }
}
