//! Who may do what to what: the one place that decides it, whatever the door (REST, sockets, lists, exports, mails, an
//! agent's tools). What a door knows of a thing is handed over, so that nothing is read here.
//!
//! `tests/it/policy.rs` asks every operation of the API's document as every kind of caller, and fails for one that has no row.

use mundotango_gateway::Identity;
use mundotango_gateway::problem::Problem;

use super::posts::store::Visibility;
use super::roles::{Role, role_of};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    user_id: &'a str,
    role: Role,
}

impl<'a> Viewer<'a> {
    /// A user without any role, as in a mail or an agent's tools.
    pub fn user(user_id: &'a str) -> Self {
        Self { user_id, role: Role::User }
    }

    fn is(&self, user_id: &str) -> bool {
        self.user_id == user_id
    }
}

impl<'a> From<&'a Identity> for Viewer<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self { user_id: &identity.user_id, role: role_of(identity) }
    }
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See it, and do what everybody does who sees it.
    Read,
    /// Change it, cancel it, or take it away.
    Change,
}

/// What it is wanted of, as far as that decides.
#[derive(Clone, Copy, Debug)]
pub enum Object<'a> {
    /// Something that was said.
    Post {
        /// The user who said it.
        author: &'a str,
        /// To whom.
        visibility: Visibility,
    },
    /// An event.
    Event {
        /// The user who gives it.
        host: &'a str,
    },
}

/// What the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// Seen, but not to be done by this user; why.
    Forbidden(&'static str),
    /// As if there were no such thing.
    Hidden,
}

impl Verdict {
    /// Whether to go on.
    pub fn is_allowed(self) -> bool {
        self == Self::Allowed
    }

    /// Refuses as REST does: 403 for what the caller sees, 404 for what the caller does not.
    pub fn allows(self, thing: &'static str) -> Result<(), Problem> {
        match self {
            Self::Allowed => Ok(()),
            Self::Forbidden(why) => Err(Problem::forbidden(why)),
            Self::Hidden => Err(Problem::not_found(thing)),
        }
    }
}

fn allowed_if(is_so: bool, otherwise: Verdict) -> Verdict {
    if is_so { Verdict::Allowed } else { otherwise }
}

/// Whether a viewer may do something.
pub fn may(viewer: Viewer<'_>, action: Action, object: &Object<'_>) -> Verdict {
    let is_admin = viewer.role >= Role::Admin;
    match (object, action) {
        // Without friendships yet, friends' posts are their author's alone.
        (Object::Post { author, visibility }, Action::Read) => {
            allowed_if(*visibility == Visibility::Public || viewer.is(author), Verdict::Hidden)
        }
        (Object::Post { author, .. }, Action::Change) => {
            allowed_if(viewer.is(author) || is_admin, Verdict::Forbidden("only its author may do this"))
        }
        (Object::Event { .. }, Action::Read) => Verdict::Allowed,
        (Object::Event { host }, Action::Change) => {
            allowed_if(viewer.is(host) || is_admin, Verdict::Forbidden("only its host may do this"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_not_told_apart_from_what_is_not_there() {
        let post = Object::Post { author: "ana", visibility: Visibility::Private };
        assert_eq!(may(Viewer::user("ben"), Action::Read, &post), Verdict::Hidden);
        assert_eq!(may(Viewer::user("ana"), Action::Read, &post), Verdict::Allowed);
    }

    #[test]
    fn only_its_host_and_admins_change_an_event() {
        let event = Object::Event { host: "ana" };
        assert!(may(Viewer::user("ana"), Action::Change, &event).is_allowed());
        assert!(may(Viewer { user_id: "eva", role: Role::Admin }, Action::Change, &event).is_allowed());
        let moderator = Viewer { user_id: "mia", role: Role::Moderator };
        for viewer in [Viewer::user("ben"), moderator] {
            assert!(matches!(may(viewer, Action::Change, &event), Verdict::Forbidden(_)));
        }
    }
}
