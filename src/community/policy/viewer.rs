//! Who asks.

use mundotango_gateway::Identity;

use crate::community::graph::relations::Relations;
use crate::community::roles::{Role, role_of};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    pub(super) user_id: &'a str,
    pub(super) role: Role,
    /// How the user stands to others, where the door knows it: without it all are strangers.
    pub(super) relations: Option<&'a Relations>,
}

impl<'a> Viewer<'a> {
    /// A user without any role, as in a mail or an agent's tools.
    pub fn user(user_id: &'a str) -> Self {
        Self { user_id, role: Role::User, relations: None }
    }

    /// The same, of whom it is known how the user stands to others.
    #[must_use]
    pub fn knowing(self, relations: &'a Relations) -> Self {
        Self { relations: Some(relations), ..self }
    }

    /// The user who asks.
    pub fn user_id(&self) -> &'a str {
        self.user_id
    }

    pub(super) fn is(&self, user_id: &str) -> bool {
        self.user_id == user_id
    }

    /// Whether one of the two has blocked the other.
    pub(super) fn keeps_apart_from(&self, user_id: &str) -> bool {
        self.relations.is_some_and(|relations| relations.keeps_apart(user_id))
    }

    pub(super) fn is_friend_of(&self, user_id: &str) -> bool {
        self.relations.is_some_and(|relations| relations.is_friend(user_id))
    }
}

impl<'a> From<&'a Identity> for Viewer<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self { user_id: &identity.user_id, role: role_of(identity), relations: None }
    }
}
