//! Accounts behind the cache: profiles alone, as credentials have no place there.

use async_trait::async_trait;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::Cached;
use crate::StoreError;
use crate::accounts::{AccountStore, Login, Profile, ProfileChange, Rotation, Taken, User};
use crate::cache::USER;

#[async_trait]
impl AccountStore for Cached<dyn AccountStore> {
    async fn create_user(&self, user: User) -> Result<Result<(), Taken>, StoreError> {
        self.store.create_user(user).await
    }

    async fn user(&self, id: &str) -> Result<Option<User>, StoreError> {
        self.store.user(id).await
    }

    async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        self.store.user_by_email(email).await
    }

    async fn profiles(&self, ids: &[String]) -> Result<Vec<Profile>, StoreError> {
        let read = ids.iter().map(async |id| {
            let load = async { Ok(self.store.profiles(std::slice::from_ref(id)).await?.pop()) };
            self.cache.get_or_load(&USER, id, load).await
        });
        Ok(try_join_all(read).await?.into_iter().flatten().collect())
    }

    async fn update_profile(&self, id: &str, change: ProfileChange) -> Result<Option<User>, StoreError> {
        let outcome = self.store.update_profile(id, change).await;
        // Also after an error, as it may have been done.
        self.cache.invalidate(&[USER.key(id)]).await;
        outcome
    }

    async fn create_login(&self, login: Login) -> Result<(), StoreError> {
        self.store.create_login(login).await
    }

    async fn rotate_login(
        &self,
        id: &str,
        presented_hash: &str,
        new_hash: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotation, StoreError> {
        self.store.rotate_login(id, presented_hash, new_hash, now, expires_at).await
    }

    async fn delete_login(&self, id: &str) -> Result<bool, StoreError> {
        self.store.delete_login(id).await
    }

    async fn delete_logins(&self, user_id: &str) -> Result<Vec<String>, StoreError> {
        self.store.delete_logins(user_id).await
    }
}
