//! Who may do what to what: the one place that decides it, whatever the door (REST, sockets, lists, exports, mails, an
//! agent's tools). What a door knows of a thing is handed over, so that nothing is read here.
//!
//! `tests/it/policy.rs` asks every operation of the API's document as every kind of caller, and fails for one that has no row.

mod objects;
#[cfg(test)]
mod tests;
mod viewer;

use jiff::Timestamp;

pub use self::objects::{Action, ChatPart, Involvement, Object, Verdict};
pub use self::viewer::Viewer;
use super::accounts::profile::FieldAudience;
use super::accounts::restrictions::{Ability, Restriction};
use super::events::rules::AttendeeList;
use super::posts::visibility::Visibility;
use super::roles::Role;

fn allowed_if(is_so: bool, otherwise: Verdict) -> Verdict {
    if is_so { Verdict::Allowed } else { otherwise }
}

/// Whether a viewer may do something.
pub fn may(viewer: Viewer<'_>, action: Action, object: &Object<'_>) -> Verdict {
    let (is_admin, is_staff) = (viewer.role >= Role::Admin, viewer.role >= Role::Moderator);
    match (object, action) {
        (Object::Post { author, .. }, Action::Read) if viewer.keeps_apart_from(author) => Verdict::Hidden,
        (Object::Post { author, visibility }, Action::Read) => {
            let is_told = match visibility {
                Visibility::Public => true,
                Visibility::Friends => viewer.is_friend_of(author),
                Visibility::Private => false,
            };
            allowed_if(is_told || viewer.is(author), Verdict::Hidden)
        }
        (Object::Profile { owner, is_kept_out, is_paused, is_friend }, Action::Read) => {
            let is_met = !is_paused || *is_friend || viewer.is(owner);
            allowed_if(!is_kept_out && is_met, Verdict::Hidden)
        }
        (Object::ProfileField { owner, audience, is_friend }, Action::Read) => {
            allowed_if(viewer.is(owner) || is_told(*audience, *is_friend), Verdict::Hidden)
        }
        (Object::Somebody { user, is_paused }, Action::Read) => {
            let is_met = !is_paused || viewer.is(user) || viewer.is_friend_of(user);
            allowed_if(is_met && !viewer.keeps_apart_from(user), Verdict::Hidden)
        }
        (Object::Circle { owner, .. }, Action::Read) if viewer.keeps_apart_from(owner) => Verdict::Hidden,
        (Object::Circle { owner, is_friend }, Action::Read) => {
            let is_told = viewer.is(owner) || (*is_friend && viewer.is_friend_of(owner));
            allowed_if(is_told, Verdict::Forbidden("only friends see this"))
        }
        (Object::Post { author, .. }, Action::Change | Action::Remove) => {
            let removes = action == Action::Remove && viewer.role >= Role::Moderator;
            let is_seen = may(viewer, Action::Read, object).is_allowed();
            let refused =
                if is_seen { Verdict::Forbidden("only its author may do this") } else { Verdict::Hidden };
            allowed_if(viewer.is(author) || removes, refused)
        }
        (Object::Event { owner, involved, is_draft, attendees }, action) => {
            let owns = viewer.is(owner) || is_admin;
            of_event(action, owns, *involved, *is_draft, *attendees)
        }
        (Object::Payment { payer, payee }, Action::Read) => {
            allowed_if(viewer.is(payer) || viewer.is(payee) || is_admin, Verdict::Hidden)
        }
        (Object::Payment { payer, payee }, Action::Change) => {
            let is_seen = viewer.is(payer);
            let refused =
                if is_seen { Verdict::Forbidden("only its payee may do this") } else { Verdict::Hidden };
            allowed_if(viewer.is(payee) || is_admin, refused)
        }
        // All see it; who comes is a matter of its dates.
        (Object::Series { owner, involved }, action) => {
            let owns = viewer.is(owner) || is_admin;
            of_event(action, owns, *involved, false, AttendeeList::Hosts)
        }
        (Object::Proposal { by: user } | Object::Ticket { member: user }, Action::Read) => {
            allowed_if(viewer.is(user) || is_staff, Verdict::Hidden)
        }
        (Object::Ticket { member }, _) => {
            let refusal = Verdict::Forbidden("only its member may do this");
            allowed_if(viewer.is(member), if is_staff { refusal } else { Verdict::Hidden })
        }
        (Object::Listing { host, is_paused, is_hidden }, action) => {
            of_listing(viewer, action, host, *is_paused || *is_hidden)
        }
        // Admins do without it: nothing of theirs needs to know where somebody sleeps.
        (Object::Address { host, is_guest }, _) => {
            let knows = viewer.is(host) || (*is_guest && action == Action::Read);
            allowed_if(knows, Verdict::Hidden)
        }
        (Object::Booking { host, guest }, _) => {
            let is_party = viewer.is(host) || viewer.is(guest);
            of_booking(is_party || (is_admin && action == Action::Read), is_party || is_admin)
        }
        (Object::HostsPart { host, guest }, _) => {
            of_booking(viewer.is(host), viewer.is(host) || viewer.is(guest) || is_admin)
        }
        (Object::GuestsPart { host, guest }, _) => {
            of_booking(viewer.is(guest), viewer.is(host) || viewer.is(guest) || is_admin)
        }
        (Object::Conversation { part }, action) => of_chat(action, *part),
        (Object::ChatMessage { author, part }, action) => {
            let is_so = match action {
                Action::Read => *part >= ChatPart::Former,
                Action::Change => *part >= ChatPart::Member && viewer.is(author),
                Action::Remove => *part >= ChatPart::Admin || *part == ChatPart::Member && viewer.is(author),
                _ => return of_chat(action, *part),
            };
            let refused = Verdict::Forbidden("only its author may do this");
            allowed_if(is_so, if *part == ChatPart::None { Verdict::Hidden } else { refused })
        }
        (
            Object::Post { .. }
            | Object::Profile { .. }
            | Object::ProfileField { .. }
            | Object::Circle { .. }
            | Object::Somebody { .. }
            | Object::Payment { .. }
            | Object::Proposal { .. },
            _,
        ) => Verdict::Hidden,
    }
}

/// Whether a viewer may do something with a place to stay, which may be withheld from all but its host.
fn of_listing(viewer: Viewer<'_>, action: Action, host: &str, is_withheld: bool) -> Verdict {
    if action == Action::Read {
        let is_offered = viewer.is(host) || !is_withheld;
        return allowed_if(is_offered && !viewer.keeps_apart_from(host), Verdict::Hidden);
    }
    let may_change = viewer.is(host) || viewer.role >= Role::Admin;
    allowed_if(may_change, Verdict::Forbidden("only its host may do this"))
}

/// Whether a field of a profile is told to another member.
fn is_told(audience: FieldAudience, is_friend: bool) -> bool {
    match audience {
        FieldAudience::Public | FieldAudience::Members => true,
        FieldAudience::Friends => is_friend,
        FieldAudience::Me => false,
    }
}

/// Whether the restrictions of a user leave an ability; else until when they do not, for ever if that is nothing. It is asked
/// before anything is written, and whatever role the user has.
pub fn may_use(
    ability: Ability,
    restrictions: &[Restriction],
    now: Timestamp,
) -> Result<(), Option<Timestamp>> {
    let holding = restrictions.iter().filter(|one| one.ability == Some(ability) && one.holds(now));
    match holding.max_by_key(|one| one.until.unwrap_or(Timestamp::MAX)) {
        Some(longest) => Err(longest.until),
        None => Ok(()),
    }
}

/// Nobody reads what others say to each other: roles of the community make no difference.
fn of_chat(action: Action, part: ChatPart) -> Verdict {
    let (least, otherwise) = match action {
        Action::Read => (ChatPart::Former, ""),
        Action::TakePart | Action::ReadAttendees | Action::CheckIn => {
            (ChatPart::Member, "only its members may do this")
        }
        Action::Change | Action::Remove => (ChatPart::Admin, "only its admins may do this"),
        Action::HandOver => (ChatPart::Owner, "only its owner may do this"),
    };
    let refused = if part == ChatPart::None { Verdict::Hidden } else { Verdict::Forbidden(otherwise) };
    allowed_if(part >= least, refused)
}

/// Who sees a booking is told that somebody else does this.
fn of_booking(is_so: bool, is_seen: bool) -> Verdict {
    let refusal = Verdict::Forbidden("this is for its host or its guest to do");
    allowed_if(is_so, if is_seen { refusal } else { Verdict::Hidden })
}

fn of_event(
    action: Action,
    owns: bool,
    involved: Involvement,
    is_draft: bool,
    attendees: AttendeeList,
) -> Verdict {
    let is_host = owns || involved >= Involvement::Door;
    if is_draft && !is_host {
        return Verdict::Hidden;
    }
    let (is_so, otherwise) = match action {
        Action::Read => (true, ""),
        Action::Change | Action::Remove => {
            (owns || involved == Involvement::Editor, "only its host may do this")
        }
        Action::CheckIn => (is_host, "only its hosts may do this"),
        Action::HandOver => (owns, "only its owner may do this"),
        Action::TakePart => (false, "there is no such thing to do at an event"),
        Action::ReadAttendees => match attendees {
            AttendeeList::Everyone => (true, ""),
            AttendeeList::Going => {
                (is_host || involved == Involvement::Going, "only those who are going see who comes")
            }
            AttendeeList::Hosts => (is_host, "only its hosts see who comes"),
        },
    };
    allowed_if(is_so, Verdict::Forbidden(otherwise))
}
