//! What a user may do by the role that the user's token names. The gateway carries the name and does not understand it.

use mundotango_gateway::Identity;
use mundotango_gateway::problem::Problem;
use mundotango_storage::accounts::Role;

/// Whether a request's user is an admin.
pub fn is_admin(identity: &Identity) -> bool {
    role_of(identity) >= Role::Admin
}

/// Refuses users below a role.
pub(super) fn require(identity: &Identity, role: Role) -> Result<(), Problem> {
    if role_of(identity) >= role { Ok(()) } else { Err(Problem::forbidden("your role does not allow this")) }
}

/// A name that is no role, as that of a later version, allows nothing beyond the user's own things.
fn role_of(identity: &Identity) -> Role {
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
