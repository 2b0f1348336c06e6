//! Accounts in the embedded store.
//!
//! users: id → user · emails: lower-case e-mail → id · usernames: lower-case username → id · logins: id → login ·
//! logins_by_user: user id, login id → nothing

use async_trait::async_trait;
use jiff::Timestamp;

use super::tables::Table;
use super::{Shared, keys};
use crate::StoreError;
use crate::accounts::{
    AccountStore, Login, MAX_LOGINS, Presented, Profile, ProfileChange, Rotation, Taken, User,
};

/// Logins of one user that one transaction ends.
const ENDED_AT_ONCE: usize = 1_000;

/// The form in which names are compared.
fn folded(name: &str) -> Vec<u8> {
    name.to_lowercase().into_bytes()
}

fn login_of_user(login: &Login) -> Vec<u8> {
    keys::join(&[&login.user_id, &login.id])
}

#[async_trait]
impl AccountStore for std::sync::Arc<Shared> {
    async fn create_user(&self, user: User) -> Result<Result<(), Taken>, StoreError> {
        self.write(Table::Users, move |tx| {
            let (email, username) = (folded(&user.email), folded(&user.username));
            let taken = Taken {
                email: tx.has(Table::Emails, &email)?,
                username: tx.has(Table::Usernames, &username)?,
            };
            if taken != Taken::default() {
                return Ok(Err(taken));
            }
            tx.put(Table::Emails, email, &user.id)?;
            tx.put(Table::Usernames, username, &user.id)?;
            tx.put(Table::Users, user.id.clone().into_bytes(), &user)?;
            Ok(Ok(()))
        })
        .await
    }

    async fn user(&self, id: &str) -> Result<Option<User>, StoreError> {
        self.read(Table::Users, id.as_bytes())
    }

    async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        match self.read::<String>(Table::Emails, &folded(email))? {
            Some(id) => self.read(Table::Users, id.as_bytes()),
            None => Ok(None),
        }
    }

    async fn profiles(&self, ids: &[String]) -> Result<Vec<Profile>, StoreError> {
        let users = ids.iter().filter_map(|id| self.read::<User>(Table::Users, id.as_bytes()).transpose());
        users.map(|user| user.map(Profile::from)).collect()
    }

    async fn update_profile(&self, id: &str, change: ProfileChange) -> Result<Option<User>, StoreError> {
        let key = id.as_bytes().to_vec();
        self.write(Table::Users, move |tx| {
            let Some(mut user) = tx.get::<User>(Table::Users, &key)? else { return Ok(None) };
            user.full_name = change.full_name.unwrap_or(user.full_name);
            user.bio = change.bio.or(user.bio);
            user.city = change.city.or(user.city);
            user.avatar_url = change.avatar_url.or(user.avatar_url);
            tx.put(Table::Users, key, &user)?;
            Ok(Some(user))
        })
        .await
    }

    async fn create_login(&self, login: Login) -> Result<(), StoreError> {
        self.write(Table::Logins, move |tx| {
            tx.put_key(Table::LoginsByUser, login_of_user(&login));
            tx.put(Table::Logins, login.id.clone().into_bytes(), &login)?;
            // Ids sort by the time of their making, so the oldest come first.
            let prefix = keys::below(&[&login.user_id]);
            let entries = tx.keys_below(Table::LoginsByUser, &prefix, MAX_LOGINS + ENDED_AT_ONCE)?;
            let too_many = entries.len().saturating_sub(MAX_LOGINS);
            for entry in entries.into_iter().take(too_many) {
                if let Some(id) = keys::last_part(&entry) {
                    tx.remove(Table::Logins, id.as_bytes().to_vec());
                }
                tx.remove(Table::LoginsByUser, entry);
            }
            Ok(())
        })
        .await
    }

    async fn rotate_login(
        &self,
        id: &str,
        presented_hash: &str,
        new_hash: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotation, StoreError> {
        let key = id.as_bytes().to_vec();
        let (presented_hash, new_hash) = (presented_hash.to_owned(), new_hash.to_owned());
        self.write(Table::Logins, move |tx| {
            let Some(login) = tx.get::<Login>(Table::Logins, &key)? else { return Ok(Rotation::Unknown) };
            match login.present(&presented_hash, now) {
                Presented::Newest => {
                    let login = login.rotated(&new_hash, now, expires_at);
                    tx.put(Table::Logins, key, &login)?;
                    Ok(Rotation::Rotated(login))
                }
                Presented::JustReplaced => Ok(Rotation::Repeated(login)),
                Presented::Old => Ok(Rotation::Reused { user_id: login.user_id }),
                Presented::Expired => {
                    tx.remove(Table::LoginsByUser, login_of_user(&login));
                    tx.remove(Table::Logins, key);
                    Ok(Rotation::Unknown)
                }
            }
        })
        .await
    }

    async fn delete_login(&self, id: &str) -> Result<bool, StoreError> {
        let key = id.as_bytes().to_vec();
        self.write(Table::Logins, move |tx| {
            let Some(login) = tx.get::<Login>(Table::Logins, &key)? else { return Ok(false) };
            tx.remove(Table::LoginsByUser, login_of_user(&login));
            tx.remove(Table::Logins, key);
            Ok(true)
        })
        .await
    }

    async fn delete_logins(&self, user_id: &str) -> Result<Vec<String>, StoreError> {
        let mut all_ended = Vec::new();
        loop {
            let prefix = keys::below(&[user_id]);
            let ended = self.write(Table::Logins, move |tx| {
                let entries = tx.keys_below(Table::LoginsByUser, &prefix, ENDED_AT_ONCE)?;
                let mut ended = Vec::with_capacity(entries.len());
                for entry in entries {
                    if let Some(id) = keys::last_part(&entry) {
                        tx.remove(Table::Logins, id.as_bytes().to_vec());
                        ended.push(id.to_owned());
                    }
                    tx.remove(Table::LoginsByUser, entry);
                }
                Ok(ended)
            });
            let ended = ended.await?;
            if ended.is_empty() {
                return Ok(all_ended);
            }
            all_ended.extend(ended);
        }
    }
}
