//! How a user is stored: a partition with the account as its head, and rows for the password, the logins and the mailed links.

use std::time::Duration;

use jiff::Timestamp;
use mundotango_storage::db::{Erasure, Export, Fields, Kind, Part, Whose};
use serde::{Deserialize, Serialize};

use super::links::Link;
use super::profile::Profile;
use super::restrictions::Restriction;
use super::rules::{Device, Login};
use super::totp::{Challenge, Totp};
use crate::community::roles::Role;

/// The users. What is cached holds no secret: those are rows.
pub static USERS: Kind<Facts, Account, Row> =
    Kind::new("users", "a user: 50 logins of 500 B, 50 devices of 150 B, 35 KB", PERSONAL)
        .cached(Duration::from_mins(10));
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::User,
        Export::Given,
        Erasure::Removed,
        &[
            "id",
            "facts.created_at",
            "head.email",
            "head.username",
            "head.full_name",
            "head.role",
            "head.role_at",
            "head.bio",
            "head.city",
            "head.avatar_url",
            "head.profile.pronouns",
            "head.profile.dances_as",
            "head.profile.cities.*",
            "head.profile.languages.*",
            "head.profile.dancing_since",
            "head.profile.audiences.*",
            "head.verified_at",
            "head.paused_since",
            "head.leaving.since",
            "head.leaving.until",
            "head.restrictions.*.decision",
            "head.restrictions.*.ability",
            "head.restrictions.*.until",
            "head.restrictions.*.taken_over",
        ],
    ),
    Fields::of(
        Whose::User,
        Export::Given,
        Erasure::Removed,
        &[
            "keys.l",
            "rows.l.login.id",
            "rows.l.login.user_id",
            "rows.l.login.rotated_at",
            "rows.l.login.created_at",
            "rows.l.login.expires_at",
            "rows.l.login.device",
            "rows.l.login.network",
            "keys.t",
            "rows.t.link.email",
            "rows.t.link.other",
            "rows.t.link.made_at",
            "rows.t.link.expires_at",
            "rows.totp.totp.made_at",
            "rows.totp.totp.confirmed_at",
            "rows.totp.totp.removed_at",
            "rows.totp.totp.wrong.count",
            "rows.totp.totp.wrong.since",
            "rows.devices.devices.*.device",
            "rows.devices.devices.*.network",
            "rows.devices.devices.*.seen_at",
            "keys.c",
            "rows.c.challenge.until",
            "rows.c.challenge.attempts",
        ],
    ),
    Fields::of(
        Whose::User,
        Export::NotGiven("whoever has it can guess what opens the account"),
        Erasure::Removed,
        &[
            "rows.password.password",
            "rows.l.login.token_hash",
            "rows.l.login.previous_hash",
            "rows.totp.totp.secret.nonce",
            "rows.totp.totp.secret.text",
            "rows.totp.totp.last_step",
            "rows.totp.totp.recovery.*",
            "rows.c.challenge.password",
        ],
    ),
    Fields::of_nobody(&["head.welcomed", "head.leaving.closed"]),
];

/// The row of the password.
pub(super) const PASSWORD: &str = "password";
/// Below this lie the logins, by id.
pub(super) const LOGINS: &str = "l";
/// The row of the second factor.
pub(super) const TOTP: &str = "totp";
/// The row of the devices that logins were made on.
pub(super) const DEVICES: &str = "devices";
/// Below this lie the logins that wait for a code, by id.
pub(super) const CHALLENGES: &str = "c";

/// A user's partition, as a rule sees it.
pub(super) type Owned<'a> = Part<'a, Facts, Account, Row>;

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
    /// When it was decided which role that is, if it was after the account was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) role_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bio: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) city: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) avatar_url: Option<String>,
    /// What else the user tells, and to whom each field is told.
    #[serde(default, skip_serializing_if = "Profile::is_empty")]
    pub(super) profile: Profile,
    /// When it was seen that the user reads the mail of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) verified_at: Option<Timestamp>,
    /// Whether the letters and jobs that a new account causes were caused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) welcomed: bool,
    /// That the user leaves: from here on nobody sees the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) leaving: Option<Leaving>,
    /// Since when the profile is paused: strangers do not find the user, and begin nothing new with the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) paused_since: Option<Timestamp>,
    /// What decisions of the moderators keep the user from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) restrictions: Vec<Restriction>,
}

/// That a user leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Since when.
    pub since: Timestamp,
    /// Until when the user may stay after all.
    pub until: Timestamp,
    /// Whether the deletion has begun, and nothing brings the account back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
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
    /// The second factor.
    Totp(Totp),
    /// A login that waits for a code.
    Challenge(Challenge),
    /// The devices that logins were made on, the one that was seen last at the end.
    Devices(Vec<Device>),
}
