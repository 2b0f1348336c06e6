//! What is asked of the policy: to do what, to what; and what it says.

use mundotango_gateway::problem::Problem;

use crate::community::accounts::profile::FieldAudience;
use crate::community::events::rules::{AttendeeList, CoHostRole};
use crate::community::posts::visibility::Visibility;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See it, and do what everybody does who sees it.
    Read,
    /// Change it, cancel it, or take it away.
    Change,
    /// Take away what somebody else said.
    Remove,
    /// See who comes to it.
    ReadAttendees,
    /// Note who came to it.
    CheckIn,
    /// Say who gives it, and give it away.
    HandOver,
    /// Write to it, and hear what others write.
    TakePart,
}

/// What part a viewer has in an event, or in a series, who does not own it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Involvement {
    /// None.
    #[default]
    None,
    /// Has a place.
    Going,
    /// Lets guests in.
    Door,
    /// Changes it as the owner does.
    Editor,
}

impl From<CoHostRole> for Involvement {
    fn from(role: CoHostRole) -> Self {
        match role {
            CoHostRole::Editor => Self::Editor,
            CoHostRole::Door => Self::Door,
        }
    }
}

/// What part a viewer has in a conversation between people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChatPart {
    /// None.
    None,
    /// Was a member, and sees what was said then.
    Former,
    /// Reads and writes.
    Member,
    /// Says who is in it.
    Admin,
    /// Owns it.
    Owner,
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
    /// Who somebody is.
    Profile {
        /// The user.
        owner: &'a str,
        /// Whether that user has blocked the viewer.
        is_kept_out: bool,
        /// Whether that user's profile is paused.
        is_paused: bool,
        /// Whether both say that they are friends.
        is_friend: bool,
    },
    /// One field of a profile, of a user whom the viewer sees.
    ProfileField {
        /// The user.
        owner: &'a str,
        /// To whom the user tells it.
        audience: FieldAudience,
        /// Whether both say that they are friends.
        is_friend: bool,
    },
    /// Whom a user follows, and by whom the user is followed.
    Circle {
        /// The user.
        owner: &'a str,
        /// Whether the user says so as well that they are friends.
        is_friend: bool,
    },
    /// Somebody among others: who is found, comes to an event, or has written a review.
    Somebody {
        /// That user.
        user: &'a str,
        /// Whether that user's profile is paused, where strangers are not to find it.
        is_paused: bool,
    },
    /// An event.
    Event {
        /// The user who owns it.
        owner: &'a str,
        /// What part the viewer has in it.
        involved: Involvement,
        /// Whether it is for its hosts alone.
        is_draft: bool,
        /// To whom it is told who comes.
        attendees: AttendeeList,
    },
    /// A payment. Changing it is sending money back.
    Payment {
        /// The user who pays.
        payer: &'a str,
        /// The user whom the money is for.
        payee: &'a str,
    },
    /// A place to stay, as everybody sees it whom the host does not keep out.
    Listing {
        /// The user who offers it.
        host: &'a str,
        /// Whether the host's profile is paused, so that it is not offered.
        is_paused: bool,
        /// Whether a decision of the moderators takes it away, and the viewer has no stay there.
        is_hidden: bool,
    },
    /// Where exactly a place to stay is, and how one gets in.
    Address {
        /// The user who offers it.
        host: &'a str,
        /// Whether the viewer has a confirmed booking of it.
        is_guest: bool,
    },
    /// A booking.
    Booking {
        /// The user who offers the place.
        host: &'a str,
        /// The user who asked.
        guest: &'a str,
    },
    /// What only the host does with a booking.
    HostsPart {
        /// The user who offers the place.
        host: &'a str,
        /// The user who asked.
        guest: &'a str,
    },
    /// What only the guest does with a booking.
    GuestsPart {
        /// The user who offers the place.
        host: &'a str,
        /// The user who asked.
        guest: &'a str,
    },
    /// What a member proposes to the staff.
    Proposal {
        /// The user who proposes it.
        by: &'a str,
    },
    /// A member's support ticket. Changing it is ending it and opening it again, as its member does.
    Ticket {
        /// The user who needs help.
        member: &'a str,
    },
    /// A series of events.
    Series {
        /// The user who owns it.
        owner: &'a str,
        /// What part the viewer has in it.
        involved: Involvement,
    },
    /// A conversation between people.
    Conversation {
        /// What part the viewer has in it.
        part: ChatPart,
    },
    /// A message of one, which the viewer sees.
    ChatMessage {
        /// The user who wrote it.
        author: &'a str,
        /// What part the viewer has in the conversation.
        part: ChatPart,
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
