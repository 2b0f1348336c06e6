//! How a user is stored: a partition with the account as its head, and rows for the password, the logins and the mailed links.

use std::time::Duration;

use jiff::Timestamp;
use mundotango_storage::db::Kind;
use serde::{Deserialize, Serialize};

use super::links::Link;
use super::rules::Login;
use crate::community::roles::Role;

/// The users. What is cached holds no secret: those are rows.
pub static USERS: Kind<Facts, Account, Row> =
    Kind::new("users", "a user: 50 logins of 400 B, 20 KB").cached(Duration::from_mins(10));

/// The row of the password.
pub(super) const PASSWORD: &str = "password";
/// Below this lie the logins, by id.
pub(super) const LOGINS: &str = "l";

/// What never changes about a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    pub(super) created_at: Timestamp,
}

/// What changes about a user, and others may see; besides the address and the role.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    pub(super) email: String,
    pub(super) username: String,
    pub(super) full_name: String,
    pub(super) role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bio: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) city: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) avatar_url: Option<String>,
    /// When it was seen that the user reads the mail of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) verified_at: Option<Timestamp>,
    /// What a new account causes was caused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) welcomed: bool,
}

/// A row of a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// An argon2id hash in PHC form.
    Password(String),
    /// A device's login.
    Login(Login),
    /// A link that was mailed.
    Link(Link),
}
