//! Accounts on a CQL server: users by id; their names in [`super::names`], their logins in [`super::logins`].

use async_trait::async_trait;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use scylla::DeserializeRow;
use scylla::value::{CqlTimestamp, MaybeUnset};
use tokio::time::Instant;

use super::names::{Name, WRITE_USER_WITHIN};
use super::query::Query;
use super::session::Cql;
use super::value::{from_cql, name_of, named, to_cql};
use crate::StoreError;
use crate::accounts::{AccountStore, Login, Profile, ProfileChange, Rotation, Taken, User};

/// Profiles that are read at the same time.
const AT_ONCE: usize = 32;

const USER: Query = Query::read(
    "users",
    "SELECT id, email, username, full_name, role, password_hash, bio, city, avatar_url, created_at \
     FROM users WHERE id = ?",
);
const PROFILE: Query = Query::read(
    "users",
    "SELECT id, username, full_name, bio, city, avatar_url, created_at FROM users WHERE id = ?",
);
const CREATE: Query = Query::write(
    "users",
    "INSERT INTO users (id, email, username, full_name, role, password_hash, bio, city, avatar_url, created_at) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
);
const UPDATE: Query =
    Query::write("users", "UPDATE users SET full_name = ?, bio = ?, city = ?, avatar_url = ? WHERE id = ?");

#[derive(DeserializeRow)]
struct UserRow {
    id: String,
    email: String,
    username: String,
    full_name: String,
    role: String,
    password_hash: String,
    bio: Option<String>,
    city: Option<String>,
    avatar_url: Option<String>,
    created_at: CqlTimestamp,
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            email: row.email,
            username: row.username,
            full_name: row.full_name,
            role: named(row.role)?,
            password_hash: row.password_hash,
            bio: row.bio,
            city: row.city,
            avatar_url: row.avatar_url,
            created_at: from_cql(row.created_at)?,
        })
    }
}

#[derive(DeserializeRow)]
struct ProfileRow {
    id: String,
    username: String,
    full_name: String,
    bio: Option<String>,
    city: Option<String>,
    avatar_url: Option<String>,
    created_at: CqlTimestamp,
}

impl TryFrom<ProfileRow> for Profile {
    type Error = StoreError;

    fn try_from(row: ProfileRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            username: row.username,
            full_name: row.full_name,
            bio: row.bio,
            city: row.city,
            avatar_url: row.avatar_url,
            created_at: from_cql(row.created_at)?,
        })
    }
}

fn or_unset(text: Option<&String>) -> MaybeUnset<&String> {
    text.map_or(MaybeUnset::Unset, MaybeUnset::Set)
}

impl Cql {
    async fn insert_user(&self, user: &User) -> Result<(), StoreError> {
        let values = (
            &user.id,
            &user.email,
            &user.username,
            &user.full_name,
            name_of(user.role)?,
            &user.password_hash,
            &user.bio,
            &user.city,
            &user.avatar_url,
            to_cql(user.created_at),
        );
        self.write(&CREATE, values).await
    }

    /// Claims both names; which of them are taken. What was claimed is given back if not both could be had.
    async fn claim_names(
        &self,
        email: &Name,
        username: &Name,
        user_id: &str,
    ) -> Result<Result<(), Taken>, StoreError> {
        if !self.claim(email, user_id).await? {
            // Looked at only, so that nobody is told for our sake that the name is taken.
            return Ok(Err(Taken { email: true, username: self.is_taken(username).await? }));
        }
        let claimed = self.claim(username, user_id).await;
        if !matches!(claimed, Ok(true)) {
            self.release(email, user_id).await;
        }
        Ok(if claimed? { Ok(()) } else { Err(Taken { email: false, username: true }) })
    }
}

#[async_trait]
impl AccountStore for Cql {
    async fn create_user(&self, user: User) -> Result<Result<(), Taken>, StoreError> {
        let started = Instant::now();
        let (email, username) = (Name::email(&user.email), Name::username(&user.username));
        let claimed = self.claim_names(&email, &username, &user.id).await.map_err(|error| match error {
            // Claims without a user are none.
            StoreError::Unknown(why) => StoreError::Unavailable(why),
            error => error,
        })?;
        if claimed.is_err() {
            return Ok(claimed);
        }
        let inserted = if started.elapsed() < WRITE_USER_WITHIN {
            self.insert_user(&user).await
        } else {
            Err(StoreError::Unavailable("claiming the names took too long".to_owned()))
        };
        // Where the user may have been written the claims stay: they are left over if it was not.
        if inserted.as_ref().is_err_and(|error| !matches!(error, StoreError::Unknown(_))) {
            self.release(&email, &user.id).await;
            self.release(&username, &user.id).await;
        }
        inserted.map(Ok)
    }

    async fn user(&self, id: &str) -> Result<Option<User>, StoreError> {
        self.one::<UserRow>(&USER, (id,)).await?.map(User::try_from).transpose()
    }

    async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        match self.owner(&Name::email(email)).await? {
            Some(id) => self.user(&id).await,
            None => Ok(None),
        }
    }

    async fn profiles(&self, ids: &[String]) -> Result<Vec<Profile>, StoreError> {
        let mut profiles = Vec::with_capacity(ids.len());
        for some in ids.chunks(AT_ONCE) {
            let read = some.iter().map(|id| self.one::<ProfileRow>(&PROFILE, (id,)));
            for row in try_join_all(read).await?.into_iter().flatten() {
                profiles.push(row.try_into()?);
            }
        }
        Ok(profiles)
    }

    async fn update_profile(&self, id: &str, change: ProfileChange) -> Result<Option<User>, StoreError> {
        let Some(mut user) = self.user(id).await? else { return Ok(None) };
        if change == ProfileChange::default() {
            return Ok(Some(user));
        }
        // Only what changes is written, so that two who change different things both do.
        let values = (
            or_unset(change.full_name.as_ref()),
            or_unset(change.bio.as_ref()),
            or_unset(change.city.as_ref()),
            or_unset(change.avatar_url.as_ref()),
            id,
        );
        self.write(&UPDATE, values).await?;
        user.full_name = change.full_name.unwrap_or(user.full_name);
        user.bio = change.bio.or(user.bio);
        user.city = change.city.or(user.city);
        user.avatar_url = change.avatar_url.or(user.avatar_url);
        Ok(Some(user))
    }

    async fn create_login(&self, login: Login) -> Result<(), StoreError> {
        self.add_login(&login).await
    }

    async fn rotate_login(
        &self,
        id: &str,
        presented_hash: &str,
        new_hash: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotation, StoreError> {
        self.rotate(id, presented_hash, new_hash, now, expires_at).await
    }

    async fn delete_login(&self, id: &str) -> Result<bool, StoreError> {
        self.end_login(id).await
    }

    async fn delete_logins(&self, user_id: &str) -> Result<Vec<String>, StoreError> {
        self.end_logins(user_id).await
    }
}
