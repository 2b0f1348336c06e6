//! Visits of those who leave, or who want all that is theirs.

use async_trait::async_trait;
use mundotango_storage::StoreError;

use super::Analytics;
use crate::community::personal_data::sweep::Visits;

#[async_trait]
impl Visits for Analytics {
    async fn visitor(&self, user_id: &str) -> Result<String, StoreError> {
        Ok(self.visitors.member(user_id).await?.as_str().to_owned())
    }

    async fn forget(&self, user_id: &str) -> Result<(), StoreError> {
        self.forget_user(user_id).await.map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}
