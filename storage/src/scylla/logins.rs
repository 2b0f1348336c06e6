//! Logins: compared and set, so that of many that present one token one is served.
//!
//! The entry in the user's list is written before the login is made or lives longer, so no login is ever without one;
//! an entry without its login is harmless and goes with its time.

use futures_util::future::try_join_all;
use jiff::Timestamp;
use scylla::DeserializeRow;
use scylla::value::CqlTimestamp;

use super::query::Query;
use super::session::Cql;
use super::value::{from_cql, to_cql, ttl_until};
use crate::StoreError;
use crate::accounts::{Login, MAX_LOGINS, Presented, Rotation};

/// How often a change is tried when others come between.
const MAX_TRIES: u32 = 10;
/// Logins that are ended at the same time.
const AT_ONCE: usize = 16;

const CREATE: Query = Query::cas(
    "logins",
    "INSERT INTO logins (id, user_id, token_hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?) \
     IF NOT EXISTS USING TTL ?",
);
const LOGIN: Query = Query::serial_read(
    "logins",
    "SELECT id, user_id, token_hash, previous_hash, rotated_at, created_at, expires_at FROM logins WHERE id = ?",
);
// All columns again: each has a TTL of its own.
const ROTATE: Query = Query::cas(
    "logins",
    "UPDATE logins USING TTL ? SET user_id = ?, token_hash = ?, previous_hash = ?, rotated_at = ?, created_at = ?, \
     expires_at = ? WHERE id = ? IF token_hash = ?",
);
const DELETE: Query = Query::cas("logins", "DELETE FROM logins WHERE id = ? IF EXISTS");
const LIST: Query =
    Query::write("logins_by_user", "INSERT INTO logins_by_user (user_id, id) VALUES (?, ?) USING TTL ?");
const UNLIST: Query =
    Query::write("logins_by_user", "DELETE FROM logins_by_user WHERE user_id = ? AND id = ?");
const LISTED: Query =
    Query::read("logins_by_user", "SELECT id FROM logins_by_user WHERE user_id = ? LIMIT 10000");

#[derive(DeserializeRow)]
struct LoginRow {
    id: String,
    user_id: String,
    token_hash: String,
    previous_hash: Option<String>,
    rotated_at: Option<CqlTimestamp>,
    created_at: CqlTimestamp,
    expires_at: CqlTimestamp,
}

impl TryFrom<LoginRow> for Login {
    type Error = StoreError;

    fn try_from(row: LoginRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            user_id: row.user_id,
            token_hash: row.token_hash,
            previous_hash: row.previous_hash,
            rotated_at: row.rotated_at.map(from_cql).transpose()?,
            created_at: from_cql(row.created_at)?,
            expires_at: from_cql(row.expires_at)?,
        })
    }
}

impl Cql {
    pub(super) async fn add_login(&self, login: &Login) -> Result<(), StoreError> {
        let ttl = ttl_until(login.expires_at);
        self.write(&LIST, (&login.user_id, &login.id, ttl)).await?;
        let (created_at, expires_at) = (to_cql(login.created_at), to_cql(login.expires_at));
        let values = (&login.id, &login.user_id, &login.token_hash, created_at, expires_at, ttl);
        let created = match self.compare_and_set(&CREATE, values).await {
            // The id is the caller's own, so one that is there already came of a try before.
            Ok(_) => Ok(()),
            Err(StoreError::Unknown(why)) => match self.login(&login.id).await {
                Ok(Some(_)) => Ok(()),
                Ok(None) | Err(_) => Err(StoreError::Unknown(why)),
            },
            Err(error) => Err(error),
        };
        created?;
        // The login stands. What cannot be ended now is ended at the user's next login.
        if let Err(error) = self.end_oldest_logins(&login.user_id).await {
            tracing::warn!(%error, "a user's oldest logins not ended");
        }
        Ok(())
    }

    /// Ends what a user has beyond [`MAX_LOGINS`].
    async fn end_oldest_logins(&self, user_id: &str) -> Result<(), StoreError> {
        // Ids sort by the time of their making, so the oldest come first.
        let ids = self.listed_logins(user_id).await?;
        for id in &ids[..ids.len().saturating_sub(MAX_LOGINS)] {
            self.end_listed(user_id, id).await?;
        }
        Ok(())
    }

    async fn listed_logins(&self, user_id: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.rows::<(String,)>(&LISTED, (user_id,)).await?.into_iter().map(|(id,)| id).collect())
    }

    /// See [`crate::accounts::AccountStore::rotate_login`].
    pub(super) async fn rotate(
        &self,
        id: &str,
        presented_hash: &str,
        new_hash: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotation, StoreError> {
        let _turn = self.turn("logins", id).await?;
        let mut unknown = None;
        for tries in 0..MAX_TRIES {
            let login = self.login(id).await.map_err(|error| unknown.clone().unwrap_or(error))?;
            let Some(login) = login else { return Ok(Rotation::Unknown) };
            if unknown.is_some() && login.token_hash == new_hash {
                return Ok(Rotation::Rotated(login));
            }
            match login.present(presented_hash, now) {
                Presented::Newest => {}
                Presented::JustReplaced => return Ok(Rotation::Repeated(login)),
                Presented::Old => return Ok(Rotation::Reused { user_id: login.user_id }),
                Presented::Expired => {
                    self.end(&login).await?;
                    return Ok(Rotation::Unknown);
                }
            }
            let ttl = ttl_until(expires_at);
            self.write(&LIST, (&login.user_id, id, ttl)).await?;
            let (created_at, rotated_at, until) = (to_cql(login.created_at), to_cql(now), to_cql(expires_at));
            let user_id = &login.user_id;
            let values =
                (ttl, user_id, new_hash, presented_hash, rotated_at, created_at, until, id, presented_hash);
            match self.compare_and_set(&ROTATE, values).await {
                Ok(true) => return Ok(Rotation::Rotated(login.rotated(new_hash, now, expires_at))),
                Ok(false) => {}
                Err(error @ StoreError::Unknown(_)) => unknown = Some(error),
                Err(error) => return Err(unknown.unwrap_or(error)),
            }
            self.back_off(tries).await;
        }
        Err(unknown.unwrap_or_else(|| StoreError::Unavailable("too many rotate one login".to_owned())))
    }

    /// Ends a login; whether there was one.
    pub(super) async fn end_login(&self, id: &str) -> Result<bool, StoreError> {
        match self.login(id).await? {
            Some(login) => self.end(&login).await,
            None => Ok(false),
        }
    }

    /// Ends the logins that a user's list has, until the list is empty, and tells their ids.
    pub(super) async fn end_logins(&self, user_id: &str) -> Result<Vec<String>, StoreError> {
        let mut ended = Vec::new();
        loop {
            let ids = self.listed_logins(user_id).await?;
            if ids.is_empty() {
                return Ok(ended);
            }
            for some in ids.chunks(AT_ONCE) {
                try_join_all(some.iter().map(|id| self.end_listed(user_id, id))).await?;
            }
            ended.extend(ids);
        }
    }

    async fn end_listed(&self, user_id: &str, id: &str) -> Result<bool, StoreError> {
        let ended = self.delete(id).await?;
        self.write(&UNLIST, (user_id, id)).await?;
        Ok(ended)
    }

    async fn end(&self, login: &Login) -> Result<bool, StoreError> {
        self.end_listed(&login.user_id, &login.id).await
    }

    async fn delete(&self, id: &str) -> Result<bool, StoreError> {
        let mut unknown = None;
        for tries in 0..MAX_TRIES {
            match self.compare_and_set(&DELETE, (id,)).await {
                // After a try whose outcome is unknown, none there means that it was done.
                Ok(deleted) => return Ok(deleted || unknown.is_some()),
                Err(error @ StoreError::Unknown(_)) if tries == 0 => unknown = Some(error),
                Err(error) => return Err(unknown.unwrap_or(error)),
            }
            match self.login(id).await {
                Ok(None) => return Ok(true),
                Ok(Some(_)) => {}
                Err(error) => return Err(unknown.unwrap_or(error)),
            }
            self.back_off(tries).await;
        }
        Err(unknown.unwrap_or_else(|| StoreError::Unavailable("a login could not be ended".to_owned())))
    }

    async fn login(&self, id: &str) -> Result<Option<Login>, StoreError> {
        self.one::<LoginRow>(&LOGIN, (id,)).await?.map(Login::try_from).transpose()
    }
}
