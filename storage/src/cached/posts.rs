//! Posts behind the cache.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Cached;
use crate::cache::POST;
use crate::posts::{Post, PostStore, Reacted, ReactionType};
use crate::{Page, PageRequest, StoreError};

#[async_trait]
impl PostStore for Cached<dyn PostStore> {
    async fn create_post(&self, post: Post) -> Result<(), StoreError> {
        self.store.create_post(post).await
    }

    async fn post(&self, id: &str) -> Result<Option<Post>, StoreError> {
        self.cache.get_or_load(&POST, id, self.store.post(id)).await
    }

    async fn feed(&self, user_id: &str, page: PageRequest) -> Result<Page<Post>, StoreError> {
        self.store.feed(user_id, page).await
    }

    async fn react(
        &self,
        post_id: &str,
        user_id: &str,
        reaction: Option<ReactionType>,
    ) -> Result<Option<Reacted>, StoreError> {
        let outcome = self.store.react(post_id, user_id, reaction).await;
        // Also after an error, as it may have been done.
        self.cache.invalidate(&[POST.key(post_id)]).await;
        outcome
    }

    async fn reactions_of(
        &self,
        user_id: &str,
        post_ids: &[String],
    ) -> Result<BTreeMap<String, ReactionType>, StoreError> {
        self.store.reactions_of(user_id, post_ids).await
    }
}
