//! What a user may do by the role that the user's token names. The gateway carries the name and does not understand it.

use mundotango_gateway::Identity;
use mundotango_gateway::problem::Problem;
use serde::{Deserialize, Serialize};

/// What a user may do beyond the own things.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
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
    /// The role's name, as tokens carry it.
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

/// Whether a request's user is an admin.
pub fn is_admin(identity: &Identity) -> bool {
    role_of(identity) >= Role::Admin
}

/// Refuses users below a role.
pub(crate) fn require(identity: &Identity, role: Role) -> Result<(), Problem> {
    if role_of(identity) >= role { Ok(()) } else { Err(Problem::forbidden("your role does not allow this")) }
}

/// A name that is no role, as that of a later version, allows nothing beyond the user's own things.
pub(super) fn role_of(identity: &Identity) -> Role {
    Role::parse(&identity.role).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_roles_allow_more() {
        let named = |role: &str| Identity { user_id: "42".to_owned(), role: role.to_owned(), login_id: None };
        for (role, moderates, administers) in [
            ("", false, false),
            ("user", false, false),
            ("moderator", true, false),
            ("admin", true, true),
            ("Admin", false, false),
            ("owner", false, false),
        ] {
            let identity = named(role);
            assert_eq!(require(&identity, Role::Moderator).is_ok(), moderates, "{role:?}");
            assert_eq!(is_admin(&identity), administers, "{role:?}");
        }
    }
}
