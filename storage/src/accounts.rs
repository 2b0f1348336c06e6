//! Users, and the logins that keep them signed in.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// An argon2id hash in PHC form.
    pub password_hash: String,
    /// A few lines about the user.
    #[serde(default)]
    pub bio: Option<String>,
    /// Where the user dances.
    #[serde(default)]
    pub city: Option<String>,
    /// A picture.
    #[serde(default)]
    pub avatar_url: Option<String>,
    /// When the account was made.
    pub created_at: Timestamp,
}

/// What everybody may see of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The user's.
    pub id: String,
    /// Unique, compared without case.
    pub username: String,
    /// As the user wants to be called.
    pub full_name: String,
    /// A few lines about the user.
    pub bio: Option<String>,
    /// Where the user dances.
    pub city: Option<String>,
    /// A picture.
    pub avatar_url: Option<String>,
    /// When the account was made.
    pub created_at: Timestamp,
}

impl From<User> for Profile {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            username: user.username,
            full_name: user.full_name,
            bio: user.bio,
            city: user.city,
            avatar_url: user.avatar_url,
            created_at: user.created_at,
        }
    }
}

/// What a user may do beyond the own things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Nothing.
    #[default]
    User,
    /// Reviews and support.
    Moderator,
    /// Everything.
    Admin,
}

impl Role {
    /// The role's name, as tokens and the engine carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Moderator => "moderator",
            Self::Admin => "admin",
        }
    }

    /// The role of a name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::User, Self::Moderator, Self::Admin].into_iter().find(|role| role.as_str() == name)
    }
}

/// Which of a new user's names belong to others already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The e-mail address.
    pub email: bool,
    /// The username.
    pub username: bool,
}

/// A change of a profile; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// New full name.
    pub full_name: Option<String>,
    /// New lines about the user.
    pub bio: Option<String>,
    /// New city.
    pub city: Option<String>,
    /// New picture.
    pub avatar_url: Option<String>,
}

/// One device's login: a family of refresh tokens, of which only the newest is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Names the family.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// SHA-256 of the newest refresh token's secret.
    pub token_hash: String,
    /// The same of the token that the newest one replaced.
    #[serde(default)]
    pub previous_hash: Option<String>,
    /// When it was replaced.
    #[serde(default)]
    pub rotated_at: Option<Timestamp>,
    /// When the family was made.
    pub created_at: Timestamp,
    /// When its newest token stops to be good.
    pub expires_at: Timestamp,
}

/// How long the token before the newest one still gives the newest: two tabs of a browser refresh at once, and an answer
/// gets lost. Longer than clients wait before they try again.
pub const ROTATION_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// Most logins of one user. The oldest goes when there is one more.
pub const MAX_LOGINS: usize = 50;

impl Login {
    /// What presenting a token at `now` comes to, before anything is written.
    pub(crate) fn present(&self, presented_hash: &str, now: Timestamp) -> Presented {
        let replaced_at = self.rotated_at.filter(|_| self.previous_hash.as_deref() == Some(presented_hash));
        if self.expires_at <= now {
            Presented::Expired
        } else if self.token_hash == presented_hash {
            Presented::Newest
        } else if replaced_at.is_some_and(|at| now.duration_since(at) < ROTATION_GRACE) {
            Presented::JustReplaced
        } else {
            Presented::Old
        }
    }

    /// The login with another newest token.
    pub(crate) fn rotated(self, new_hash: &str, now: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            token_hash: new_hash.to_owned(),
            previous_hash: Some(self.token_hash),
            rotated_at: Some(now),
            expires_at,
            ..self
        }
    }
}

/// See [`Login::present`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presented {
    Newest,
    JustReplaced,
    Old,
    Expired,
}

/// What came of presenting a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The token was the newest; the new one is in its place.
    Rotated(Login),
    /// The token was replaced less than [`ROTATION_GRACE`] ago. Nothing changed: the login has the newest token's hash.
    Repeated(Login),
    /// The token was good once, so somebody holds a copy. The caller ends the login and its access tokens.
    Reused {
        /// Whose family it was.
        user_id: String,
    },
    /// There is no such family, or its time is over.
    Unknown,
}

/// The port to accounts.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// Adds a user, unless another has the e-mail address or the username. However many race, one wins each name.
    async fn create_user(&self, user: User) -> Result<Result<(), Taken>, StoreError>;

    /// The user with this id.
    async fn user(&self, id: &str) -> Result<Option<User>, StoreError>;

    /// The user with this e-mail address, compared without case.
    async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError>;

    /// The profiles of the users with these ids that exist, in no particular order.
    async fn profiles(&self, ids: &[String]) -> Result<Vec<Profile>, StoreError>;

    /// Changes a profile; the user as changed, or `None` if there is none.
    async fn update_profile(&self, id: &str, change: ProfileChange) -> Result<Option<User>, StoreError>;

    /// Adds a login. Of more than [`MAX_LOGINS`] of one user the oldest ends.
    async fn create_login(&self, login: Login) -> Result<(), StoreError>;

    /// Puts `new_hash` in the place of `presented_hash`, if that is the family's newest and the family is good at `now`.
    async fn rotate_login(
        &self,
        id: &str,
        presented_hash: &str,
        new_hash: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotation, StoreError>;

    /// Ends one login; `false` if there was none.
    async fn delete_login(&self, id: &str) -> Result<bool, StoreError>;

    /// Ends all logins of a user; their ids.
    async fn delete_logins(&self, user_id: &str) -> Result<Vec<String>, StoreError>;
}
