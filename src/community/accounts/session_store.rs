//! The logins of a user, as the user looks at them and ends them.

use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, RowRange, Wants, last_part, prefix};

use super::kind::{LOGINS, Row, USERS};
use super::rows::{as_login, login_key};
use super::rules::{Login, MAX_LOGINS};
use super::store::AccountStore;

impl AccountStore {
    /// All logins of a user, also those that are over.
    pub async fn logins(&self, user_id: &str) -> Result<Vec<Login>, StoreError> {
        let range = RowRange::first(prefix(&[LOGINS]), MAX_LOGINS + 1);
        let rows = self.0.rows(&USERS, user_id, &range).await?.items.into_iter();
        Ok(rows.filter_map(|(_, row)| if let Row::Login(login) = row { Some(login) } else { None }).collect())
    }

    /// One login of a user.
    pub async fn login(&self, user_id: &str, login_id: &str) -> Result<Option<Login>, StoreError> {
        let row = self.0.row(&USERS, user_id, &login_key(login_id)).await?;
        Ok(as_login(row.as_ref()).cloned())
    }

    /// Ends all logins of a user but one; the ids of those that it ended.
    pub async fn delete_other_logins(
        &self,
        user_id: &str,
        kept: Option<&str>,
    ) -> Result<Vec<String>, StoreError> {
        let (below, kept) = (prefix(&[LOGINS]), kept.map(login_key));
        let wants = Wants::head().first(&below, MAX_LOGINS + 1);
        let deleted = self.0.change(&USERS, user_id, wants, move |part| {
            let logins = part.first(&below, MAX_LOGINS + 1).into_iter().map(|(key, _)| key);
            let ended: Vec<_> = logins.filter(|key| Some(key) != kept.as_ref()).collect();
            for key in &ended {
                part.remove(key);
            }
            let ids: Vec<_> = ended.iter().map(|key| last_part(key)).collect();
            Ok::<_, StoreError>(if ids.is_empty() { Decision::Stands(ids) } else { Decision::Write(ids) })
        });
        Ok(deleted.await?.unwrap_or_default())
    }
}
