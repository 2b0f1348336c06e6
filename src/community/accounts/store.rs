//! Reads and changes of users, their passwords and logins. Their names are claims ([`super::names`]).

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use mundotango_gateway::input::Maybe;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Effect as KeptEffect, Found, Wants, prefix};

use super::kind::{Account, Facts, LOGINS, Leaving, PASSWORD, Row, TOTP, USERS};
use super::names::Name;
use super::profile::{MoreChange, Profile};
use super::rows::{as_login, as_password, login_key, of_logins, password_of, put_challenge, put_login};
use super::rules::{Login, MAX_LOGINS, Presented, Rotation};
use crate::community::effects::Effect;
use crate::community::roles::Role;
use crate::community::search::kinds::PERSON;

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Sorted by the time of its making.
    pub id: String,
    /// Unique, compared without case.
    pub email: String,
    /// Unique, compared without case.
    pub username: String,
    /// As the user wants to be called.
    pub full_name: String,
    /// What the user may do.
    pub role: Role,
    /// A few lines about the user.
    pub bio: Option<String>,
    /// Where the user dances.
    pub city: Option<String>,
    /// A picture.
    pub avatar_url: Option<String>,
    /// What else the user tells, and to whom each field is told.
    pub profile: Profile,
    /// Whether the user is known to read the mail of the address.
    pub is_verified: bool,
    /// Since when the profile is paused, if it is.
    pub paused_since: Option<Timestamp>,
    /// When the account was made.
    pub created_at: Timestamp,
}

/// Which of a new user's names belong to others already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The e-mail address.
    pub email: bool,
    /// The username.
    pub username: bool,
}

/// A change of a profile; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// New full name.
    pub full_name: Option<String>,
    /// New lines about the user.
    pub bio: Maybe<String>,
    /// New city.
    pub city: Maybe<String>,
    /// New picture.
    pub avatar_url: Maybe<String>,
    /// What else changes.
    pub more: MoreChange,
}

impl User {
    pub(in crate::community) fn new(id: &str, facts: &Facts, account: Account) -> Self {
        let Account { email, username, full_name, role, bio, city, avatar_url, profile, .. } = account;
        Self {
            id: id.to_owned(),
            email,
            username,
            full_name,
            role,
            bio,
            city,
            avatar_url,
            profile,
            is_verified: account.verified_at.is_some(),
            paused_since: account.paused_since,
            created_at: facts.created_at,
        }
    }
}

/// What came of adding a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewLogin {
    /// It is there; whose it is, as the user was at that moment.
    Made(Box<User>),
    /// A challenge is there in its place, under its id: the user has a second factor.
    Challenged,
    /// The user has another password by now, or none.
    OtherPassword,
    /// The user leaves.
    Leaving(Leaving),
    /// There is no such user.
    NoUser,
}

/// The accounts of a store.
#[derive(Clone)]
pub struct AccountStore(pub(super) Db);

impl AccountStore {
    /// The accounts of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Adds a user, unless another has the e-mail address or the username, or one that looks like it. However many race, one wins each
    /// name. Doing it again changes nothing.
    pub async fn create(&self, user: &User, password_hash: String) -> Result<Result<(), Taken>, StoreError> {
        self.create_with_effects(user, password_hash, &[]).await
    }

    /// The same, with what it causes.
    pub async fn create_with_effects(
        &self,
        user: &User,
        password_hash: String,
        effects: &[KeptEffect],
    ) -> Result<Result<(), Taken>, StoreError> {
        let names = [Name::email(&user.email), Name::username(&user.username), Name::alike(&user.username)];
        let (email, username) =
            tokio::try_join!(names[0].claim(&self.0, &user.id), names[1].claim(&self.0, &user.id))?;
        // After the username: of two that claim the same name, the one that loses it must not have won this.
        let username = username && (!email || names[2].claim(&self.0, &user.id).await?);
        if email && username {
            let facts = Facts { created_at: user.created_at };
            let head = Account {
                email: user.email.clone(),
                username: user.username.clone(),
                full_name: user.full_name.clone(),
                role: user.role,
                role_at: None,
                bio: user.bio.clone(),
                city: user.city.clone(),
                avatar_url: user.avatar_url.clone(),
                profile: user.profile.clone(),
                verified_at: None,
                welcomed: false,
                leaving: None,
                paused_since: None,
                restrictions: Vec::new(),
            };
            let rows = [(PASSWORD.to_owned(), Row::Password(password_hash))];
            let creating =
                self.0.create_once_with_effects(&USERS, &user.id, &facts, &head, &rows, &[], effects);
            let created = creating.await?;
            if !created && self.account(&user.id).await?.is_none() {
                // It was made and undone before, and an id is never used again.
                self.release(&names, &user.id).await?;
                return Err(StoreError::Unavailable("the user's id was used".to_owned()));
            }
            let confirmed = tokio::try_join!(
                names[0].confirm(&self.0, &user.id),
                names[1].confirm(&self.0, &user.id),
                names[2].confirm(&self.0, &user.id),
            );
            // Without the confirmations nobody knows whether the user has the names.
            let (email, username, alike) =
                confirmed.map_err(|error| StoreError::Unknown(error.to_string()))?;
            let username = username && alike;
            if email && username {
                return Ok(Ok(()));
            }
            self.remove(&user.id).await?;
            self.release(&names, &user.id).await?;
            return Ok(Err(Taken { email: !email, username: !username }));
        }
        self.release(&names, &user.id).await?;
        Ok(Err(Taken { email: !email, username: !username }))
    }

    async fn release(&self, names: &[Name], user_id: &str) -> Result<(), StoreError> {
        try_join_all(names.iter().map(|name| name.release(&self.0, user_id))).await.map(drop)
    }

    /// Claims what the username of a user looks like, for users of before such names were told apart. Two of them who look alike keep
    /// their names.
    pub async fn claim_alike(&self, user: &User) -> Result<(), StoreError> {
        let name = Name::alike(&user.username);
        if name.owner(&self.0).await?.is_none() && name.claim(&self.0, &user.id).await? {
            name.confirm(&self.0, &user.id).await?;
        }
        Ok(())
    }

    pub(super) async fn remove(&self, user_id: &str) -> Result<(), StoreError> {
        let changed = Effect::changed(PERSON, user_id);
        let removed = self.0.change(&USERS, user_id, Wants::head(), move |part| {
            part.emit(&changed)?;
            Ok::<_, StoreError>(Decision::Delete(()))
        });
        removed.await.map(drop)
    }

    /// The user with this id, as the store has it now, unless the user leaves.
    pub async fn user(&self, id: &str) -> Result<Option<User>, StoreError> {
        let account = self.account(id).await?.filter(|(_, leaving)| leaving.is_none());
        Ok(account.map(|(user, _)| user))
    }

    /// The same with whether the user leaves.
    pub async fn account(&self, id: &str) -> Result<Option<(User, Option<Leaving>)>, StoreError> {
        let found = self.0.read_with(&USERS, id, &[]).await?;
        Ok(found.map(|(found, _)| (User::new(id, &found.facts, found.head.clone()), found.head.leaving)))
    }

    /// The user with this e-mail address, compared without case, and the password's hash.
    pub async fn credentials(&self, email: &str) -> Result<Option<(User, Option<String>)>, StoreError> {
        let Some(id) = Name::email(email).owner(&self.0).await? else { return Ok(None) };
        let Some((found, mut rows)) = self.0.read_with(&USERS, &id, &[PASSWORD]).await? else {
            return Ok(None);
        };
        let hash = as_password(rows.remove(PASSWORD));
        let user = User::new(&id, &found.facts, found.head);
        // A claim whose user is being undone leads to nobody.
        Ok((user.email.to_lowercase() == email.to_lowercase()).then_some((user, hash)))
    }

    /// The users whom a text names: by id, by e-mail address or by username, each as a whole.
    pub async fn named(&self, text: &str) -> Result<Vec<User>, StoreError> {
        let (by_address, by_username) =
            (Name::email(text).owner(&self.0).await?, Name::username(text).owner(&self.0).await?);
        let mut found = Vec::<User>::new();
        for id in [Some(text.to_owned()), by_address, by_username].into_iter().flatten() {
            if !found.iter().any(|known| known.id == id) {
                found.extend(self.user(&id).await?);
            }
        }
        let is = |name: &str| name.to_lowercase() == text.to_lowercase();
        // A claim whose user is being undone leads to nobody.
        found.retain(|user| user.id == text || is(&user.email) || is(&user.username));
        Ok(found)
    }

    /// Gives a user the role that was decided at a time, unless a later decision is followed already; whether there is such a user.
    /// `effects` are what that causes.
    pub async fn set_role(
        &self,
        id: &str,
        role: Role,
        decided_at: Timestamp,
        effects: Vec<Effect>,
    ) -> Result<bool, StoreError> {
        let set = self.0.change(&USERS, id, Wants::head(), move |part| {
            if part.head.role_at >= Some(decided_at) {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.head.role = role;
            part.head.role_at = Some(decided_at);
            for effect in &effects {
                part.emit(effect)?;
            }
            Ok(Decision::Write(()))
        });
        Ok(set.await?.is_some())
    }

    /// The users with these ids that exist and do not leave, in the ids' order, through the cache.
    pub async fn profiles(&self, ids: &[String]) -> Result<Vec<User>, StoreError> {
        let found = ids.iter().zip(self.0.read_all(&USERS, ids).await?);
        let there = found.filter_map(|(id, found)| Some((id, found?)));
        Ok(there
            .filter(|(_, found)| found.head.leaving.is_none())
            .map(|(id, Found { facts, head, .. })| User::new(id, &facts, head))
            .collect())
    }

    /// The ids of the users who have these names, by name in lower case; names that nobody has are absent.
    pub async fn ids_of(&self, names: &[String]) -> Result<BTreeMap<String, String>, StoreError> {
        let owners = names.iter().map(async |name| Name::username(name).owner(&self.0).await);
        let owners: Vec<_> = try_join_all(owners).await?.into_iter().flatten().collect();
        // A claim whose user is being undone leads to nobody.
        let users =
            self.profiles(&owners).await?.into_iter().map(|user| (user.username.to_lowercase(), user.id));
        Ok(users.filter(|(name, _)| names.contains(name)).collect())
    }

    /// Changes a profile; the user as changed, or `None` if there is none.
    pub async fn update_profile(&self, id: &str, change: ProfileChange) -> Result<Option<User>, StoreError> {
        let user_id = id.to_owned();
        self.0
            .change(&USERS, id, Wants::head(), move |part| {
                let head = &mut part.head;
                head.full_name = change.full_name.clone().unwrap_or_else(|| head.full_name.clone());
                change.bio.set(&mut head.bio);
                change.city.set(&mut head.city);
                change.avatar_url.set(&mut head.avatar_url);
                change.more.apply(&mut head.profile);
                part.emit(&Effect::changed(PERSON, &user_id))?;
                Ok(Decision::Write(User::new(&user_id, part.facts, part.head.clone())))
            })
            .await
    }

    /// Whether the profile of a user is paused, through the cache.
    pub async fn is_paused(&self, id: &str) -> Result<bool, StoreError> {
        let found = self.profiles(&[id.to_owned()]).await?;
        Ok(found.first().is_some_and(|user| user.paused_since.is_some()))
    }

    /// Pauses a profile, or has it seen again; the user as changed, or `None` if there is none. A profile that is paused stays
    /// paused since when it was.
    pub async fn pause(&self, id: &str, paused_since: Option<Timestamp>) -> Result<Option<User>, StoreError> {
        let user_id = id.to_owned();
        self.0
            .change(&USERS, id, Wants::head(), move |part| {
                let is_as_asked = part.head.paused_since.is_some() == paused_since.is_some();
                if !is_as_asked {
                    part.head.paused_since = paused_since;
                    part.emit(&Effect::changed(PERSON, &user_id))?;
                }
                let user = User::new(&user_id, part.facts, part.head.clone());
                Ok::<_, StoreError>(if is_as_asked { Decision::Stands(user) } else { Decision::Write(user) })
            })
            .await
    }

    /// The hash of a user's password.
    pub async fn password(&self, user_id: &str) -> Result<Option<String>, StoreError> {
        Ok(as_password(self.0.row(&USERS, user_id, PASSWORD).await?))
    }

    /// Adds a login that was made with the password of a hash, unless that is not the user's any more: whoever sets another password
    /// ends the logins that were made before it. Where the user has a second factor it adds a challenge in its place. Logins that
    /// are over end, and of more than [`MAX_LOGINS`] the oldest.
    pub async fn create_login(&self, login: Login, hash: Option<String>) -> Result<NewLogin, StoreError> {
        let wants = of_logins().row(PASSWORD).row(TOTP);
        let user_id = login.user_id.clone();
        let created = self.0.change(&USERS, &user_id, wants, move |part| {
            if let Some(leaving) = part.head.leaving {
                return Ok(Decision::Stands(NewLogin::Leaving(leaving)));
            }
            if hash.as_ref().is_none_or(|hash| password_of(part) != *hash) {
                return Ok(Decision::Stands(NewLogin::OtherPassword));
            }
            if put_challenge(part, &login) {
                return Ok(Decision::Write(NewLogin::Challenged));
            }
            put_login(part, &login)?;
            let user = User::new(&login.user_id, part.facts, part.head.clone());
            Ok::<_, StoreError>(Decision::Write(NewLogin::Made(Box::new(user))))
        });
        Ok(created.await?.unwrap_or(NewLogin::NoUser))
    }

    /// Puts `new_hash` in the place of `presented_hash`, if that is the login's newest and the login is good at `now`. `network`
    /// is from where.
    pub async fn rotate_login(
        &self,
        (user_id, login_id): (&str, &str),
        presented_hash: &str,
        new_hash: &str,
        now: Timestamp,
        expires_at: Timestamp,
        network: Option<&str>,
    ) -> Result<Rotation, StoreError> {
        let key = login_key(login_id);
        let (presented_hash, new_hash) = (presented_hash.to_owned(), new_hash.to_owned());
        let network = network.map(str::to_owned);
        let rotated = self.0.change(&USERS, user_id, Wants::head().row(&key), move |part| {
            let Some(login) = as_login(part.row(&key)).cloned() else {
                return Ok::<_, StoreError>(Decision::Stands(Rotation::Unknown));
            };
            Ok(match login.present(&presented_hash, now) {
                Presented::Newest => {
                    let mut login = login.rotated(&new_hash, now, expires_at);
                    login.network = network.clone().or(login.network);
                    part.set(&key, Row::Login(login.clone()));
                    Decision::Write(Rotation::Rotated(login))
                }
                Presented::JustReplaced => Decision::Stands(Rotation::Repeated(login)),
                Presented::Old => Decision::Stands(Rotation::Reused),
                Presented::Expired => {
                    part.remove(&key);
                    Decision::Write(Rotation::Unknown)
                }
            })
        });
        Ok(rotated.await?.unwrap_or(Rotation::Unknown))
    }

    /// Ends one login; `false` if there was none.
    pub async fn delete_login(&self, user_id: &str, login_id: &str) -> Result<bool, StoreError> {
        let key = login_key(login_id);
        let deleted = self.0.change(&USERS, user_id, Wants::head().row(&key), move |part| {
            if part.row(&key).is_none() {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            part.remove(&key);
            Ok(Decision::Write(true))
        });
        Ok(deleted.await?.unwrap_or_default())
    }

    /// Ends all logins of a user; how many there were.
    pub async fn delete_logins(&self, user_id: &str) -> Result<usize, StoreError> {
        let below = prefix(&[LOGINS]);
        let wants = Wants::head().first(&below, MAX_LOGINS + 1);
        let deleted = self.0.change(&USERS, user_id, wants, move |part| {
            let keys: Vec<_> = part.first(&below, MAX_LOGINS + 1).into_iter().map(|(key, _)| key).collect();
            let ended = keys.len();
            for key in keys {
                part.remove(key);
            }
            Ok::<_, StoreError>(if ended == 0 { Decision::Stands(0) } else { Decision::Write(ended) })
        });
        Ok(deleted.await?.unwrap_or_default())
    }
}
