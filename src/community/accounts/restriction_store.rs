//! Restrictions as accounts keep them.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Wants};

use super::kind::USERS;
use super::restrictions::{MOST_RESTRICTIONS, Restriction, put, take_locks_over};
use super::store::AccountStore;

impl AccountStore {
    /// The restrictions of a user, through the cache; those that are over may be among them.
    pub async fn restrictions(&self, user_id: &str) -> Result<Vec<Restriction>, StoreError> {
        let found = self.0.read(&USERS, user_id).await?;
        Ok(found.map(|found| found.head.restrictions).unwrap_or_default())
    }

    /// The same as the store has them now.
    pub async fn restrictions_now(&self, user_id: &str) -> Result<Vec<Restriction>, StoreError> {
        let found = self.0.read_with(&USERS, user_id, &[]).await?;
        Ok(found.map(|(found, _)| found.head.restrictions).unwrap_or_default())
    }

    /// Puts the restrictions of a decision in the place of those that it had; none lifts them. All that hold then.
    pub async fn restrict(
        &self,
        user_id: &str,
        decision: &str,
        new: Vec<Restriction>,
        now: Timestamp,
    ) -> Result<Vec<Restriction>, StoreError> {
        let decision = decision.to_owned();
        let changed = self.0.change(&USERS, user_id, Wants::head(), move |part| {
            let is_changed = put(&mut part.head.restrictions, &decision, &new, now);
            if part.head.restrictions.len() > MOST_RESTRICTIONS {
                return Err(StoreError::Full("the list of a user's restrictions"));
            }
            let held = part.head.restrictions.clone();
            Ok(if is_changed { Decision::Write(held) } else { Decision::Stands(held) })
        });
        Ok(changed.await?.unwrap_or_default())
    }

    /// Marks the locks of all decisions about a user as taken over, as an admin has said something else since: neither carrying
    /// them out again nor overturning them changes anything then.
    pub async fn take_locks_over(&self, user_id: &str) -> Result<(), StoreError> {
        let taken = self.0.change(&USERS, user_id, Wants::head(), move |part| {
            Ok::<_, StoreError>(Decision::write_if(take_locks_over(&mut part.head.restrictions)))
        });
        taken.await.map(drop)
    }
}
