//! Who may do what to what: the one place that decides it, whatever the door (REST, sockets, lists, exports, mails, an
//! agent's tools). What a door knows of a thing is handed over, so that nothing is read here.
//!
//! `tests/it/policy.rs` asks every operation of the API's document as every kind of caller, and fails for one that has no row.

use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_gateway::problem::Problem;

use super::accounts::profile::FieldAudience;
use super::accounts::restrictions::{Ability, Restriction};
use super::events::rules::{AttendeeList, CoHostRole};
use super::graph::relations::Relations;
use super::posts::visibility::Visibility;
use super::roles::{Role, role_of};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    user_id: &'a str,
    role: Role,
    /// How the user stands to others, where the door knows it: without it all are strangers.
    relations: Option<&'a Relations>,
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

    fn is(&self, user_id: &str) -> bool {
        self.user_id == user_id
    }

    /// Whether one of the two has blocked the other.
    fn keeps_apart_from(&self, user_id: &str) -> bool {
        self.relations.is_some_and(|relations| relations.keeps_apart(user_id))
    }

    fn is_friend_of(&self, user_id: &str) -> bool {
        self.relations.is_some_and(|relations| relations.is_friend(user_id))
    }
}

impl<'a> From<&'a Identity> for Viewer<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self { user_id: &identity.user_id, role: role_of(identity), relations: None }
    }
}

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

#[cfg(test)]
mod tests {
    use super::super::graph::relations::Sorts;
    use super::*;

    #[test]
    fn what_is_not_seen_is_not_told_apart_from_what_is_not_there() {
        let post = Object::Post { author: "ana", visibility: Visibility::Private };
        assert_eq!(may(Viewer::user("ben"), Action::Read, &post), Verdict::Hidden);
        assert_eq!(may(Viewer::user("ana"), Action::Read, &post), Verdict::Allowed);
    }

    #[test]
    fn friends_read_what_is_for_them_and_who_is_kept_apart_sees_nothing_of_the_other() {
        let of = |sorts| Relations::new(1, vec![("ana".to_owned(), sorts)]);
        let (stranger, friend) = (Relations::default(), of(Sorts::FRIENDS));
        let apart = [of(Sorts::BLOCKED), of(Sorts::BLOCKED_BY)];
        let post = |visibility| Object::Post { author: "ana", visibility };
        let objects = [
            post(Visibility::Public),
            post(Visibility::Friends),
            post(Visibility::Private),
            Object::Circle { owner: "ana", is_friend: true },
            Object::Somebody { user: "ana", is_paused: false },
            Object::Listing { host: "ana", is_paused: false, is_hidden: false },
        ];
        let seen = |relations: &Relations| {
            objects.map(|object| may(Viewer::user("ben").knowing(relations), Action::Read, &object))
        };
        assert_eq!(seen(&stranger).map(Verdict::is_allowed), [true, false, false, false, true, true]);
        assert_eq!(seen(&friend).map(Verdict::is_allowed), [true, true, false, true, true, true]);
        for relations in &apart {
            assert_eq!(seen(relations), [Verdict::Hidden; 6]);
        }
        let late = Object::Circle { owner: "ana", is_friend: false };
        let verdict = may(Viewer::user("ben").knowing(&friend), Action::Read, &late);
        assert!(!verdict.is_allowed(), "a copy that is late shows nothing");
        let own = Object::Circle { owner: "ben", is_friend: false };
        assert!(may(Viewer::user("ben").knowing(&stranger), Action::Read, &own).is_allowed());
    }

    #[test]
    fn who_pauses_is_met_by_friends_alone_and_offers_no_place() {
        let friend = Relations::new(1, vec![("ana".to_owned(), Sorts::FRIENDS)]);
        let apart = Relations::new(1, vec![("ana".to_owned(), Sorts::FRIENDS.or(Sorts::BLOCKED))]);
        let stranger = Relations::default();
        let (ana, ben) = (Viewer::user("ana"), Viewer::user("ben"));
        let admin = Viewer { role: Role::Admin, ..Viewer::user("eva") };
        for (viewer, is_friend, seen) in [
            (ana.knowing(&stranger), false, [true, true, true]),
            (ben.knowing(&friend), true, [true, true, false]),
            (ben.knowing(&stranger), false, [false, false, false]),
            (ben.knowing(&apart), false, [false, false, false]),
            (admin, false, [false, false, false]),
        ] {
            let objects = [
                Object::Profile { owner: "ana", is_kept_out: false, is_paused: true, is_friend },
                Object::Somebody { user: "ana", is_paused: true },
                Object::Listing { host: "ana", is_paused: true, is_hidden: false },
            ];
            let verdicts = objects.map(|object| may(viewer, Action::Read, &object));
            assert_eq!(verdicts.map(Verdict::is_allowed), seen, "{viewer:?}");
            assert!(verdicts.iter().all(|verdict| verdict.is_allowed() || *verdict == Verdict::Hidden));
        }
        let blocked = Object::Profile { owner: "ana", is_kept_out: true, is_paused: true, is_friend: true };
        assert!(!may(ben, Action::Read, &blocked).is_allowed());
    }

    #[test]
    fn authors_change_their_posts_and_moderators_take_posts_away() {
        let moderator = Viewer { role: Role::Moderator, ..Viewer::user("mia") };
        for (visibility, refused) in [
            (Visibility::Public, Verdict::Forbidden("only its author may do this")),
            (Visibility::Private, Verdict::Hidden),
        ] {
            let post = Object::Post { author: "ana", visibility };
            for action in [Action::Change, Action::Remove] {
                assert_eq!(may(Viewer::user("ana"), action, &post), Verdict::Allowed);
                assert_eq!(may(Viewer::user("ben"), action, &post), refused, "{visibility:?}");
            }
            assert_eq!(may(moderator, Action::Change, &post), refused, "nobody puts words in a mouth");
            assert_eq!(may(moderator, Action::Remove, &post), Verdict::Allowed);
        }
    }

    #[test]
    fn each_side_of_a_booking_does_its_part_and_strangers_do_not_know_of_it() {
        let (host, guest) = ("ana", "ben");
        let objects = [
            Object::Booking { host, guest },
            Object::HostsPart { host, guest },
            Object::GuestsPart { host, guest },
        ];
        let admin = Viewer { role: Role::Admin, ..Viewer::user("eva") };
        for (viewer, allowed) in [
            (Viewer::user("ana"), [true, true, false]),
            (Viewer::user("ben"), [true, false, true]),
            (admin, [false, false, false]),
        ] {
            for (object, allowed) in objects.iter().zip(allowed) {
                let verdict = may(viewer, Action::Change, object);
                assert_eq!(verdict.is_allowed(), allowed, "{viewer:?} {object:?}");
                assert_ne!(verdict, Verdict::Hidden, "{viewer:?} {object:?}");
            }
        }
        for object in &objects {
            assert_eq!(may(Viewer::user("cam"), Action::Change, object), Verdict::Hidden, "{object:?}");
        }
        assert!(may(admin, Action::Read, &objects[0]).is_allowed(), "reports are looked into");
        assert_eq!(may(Viewer::user("cam"), Action::Read, &objects[0]), Verdict::Hidden);
        let address = |is_guest| Object::Address { host, is_guest };
        assert!(may(Viewer::user("ben"), Action::Read, &address(true)).is_allowed());
        for viewer in [Viewer::user("ben"), admin] {
            assert_eq!(may(viewer, Action::Read, &address(false)), Verdict::Hidden);
        }
    }

    fn event(involved: Involvement, is_draft: bool, attendees: AttendeeList) -> Object<'static> {
        Object::Event { owner: "ana", involved, is_draft, attendees }
    }

    #[test]
    fn a_payment_is_between_its_payer_and_its_payee_who_sends_money_back() {
        let payment = Object::Payment { payer: "ana", payee: "ben" };
        for (viewer, reads, changes) in [
            (Viewer::user("ana"), true, Some(false)),
            (Viewer::user("ben"), true, Some(true)),
            (Viewer { role: Role::Admin, ..Viewer::user("eva") }, true, Some(true)),
            (Viewer { role: Role::Moderator, ..Viewer::user("mia") }, false, None),
            (Viewer::user("eva"), false, None),
        ] {
            assert_eq!(may(viewer, Action::Read, &payment).is_allowed(), reads, "{viewer:?}");
            let changing = may(viewer, Action::Change, &payment);
            let is_hidden = changing == Verdict::Hidden;
            assert_eq!((!is_hidden).then(|| changing.is_allowed()), changes, "{viewer:?}");
        }
    }

    #[test]
    fn each_part_in_an_event_allows_what_the_ones_below_it_do() {
        use Involvement::{Door, Editor, Going, None};
        let ben = Viewer::user("ben");
        let may = |viewer, action, involved| {
            may(viewer, action, &event(involved, false, AttendeeList::Going)).is_allowed()
        };
        for (action, allowed) in [
            (Action::Read, [true, true, true, true]),
            (Action::ReadAttendees, [false, true, true, true]),
            (Action::CheckIn, [false, false, true, true]),
            (Action::Change, [false, false, false, true]),
            (Action::HandOver, [false, false, false, false]),
        ] {
            assert_eq!(
                [None, Going, Door, Editor].map(|involved| may(ben, action, involved)),
                allowed,
                "{action:?}"
            );
            assert!(may(Viewer::user("ana"), action, None), "the owner: {action:?}");
            assert!(
                may(Viewer { role: Role::Admin, ..Viewer::user("eva") }, action, None),
                "an admin: {action:?}"
            );
        }
        let moderator = Viewer { role: Role::Moderator, ..Viewer::user("mia") };
        assert!(!may(moderator, Action::Change, None));
    }

    #[test]
    fn all_see_a_series_its_editors_change_it_and_its_owner_gives_it_away() {
        let series = |involved| Object::Series { owner: "ana", involved };
        let (ben, eva) = (Viewer::user("ben"), Viewer { role: Role::Admin, ..Viewer::user("eva") });
        for (viewer, involved, allowed) in [
            (ben, Involvement::None, [true, false, false]),
            (ben, Involvement::Door, [true, false, false]),
            (ben, Involvement::Editor, [true, true, false]),
            (Viewer::user("ana"), Involvement::None, [true, true, true]),
            (eva, Involvement::None, [true, true, true]),
        ] {
            for (action, allowed) in [Action::Read, Action::Change, Action::HandOver].into_iter().zip(allowed)
            {
                let verdict = may(viewer, action, &series(involved));
                assert_eq!(verdict.is_allowed(), allowed, "{viewer:?} {involved:?} {action:?}");
                assert_ne!(verdict, Verdict::Hidden);
            }
        }
    }

    #[test]
    fn conversations_are_for_their_members_and_no_role_opens_them() {
        use ChatPart::{Admin, Former, Member, None, Owner};
        let ben = Viewer::user("ben");
        for (action, allowed) in [
            (Action::Read, [false, true, true, true, true]),
            (Action::TakePart, [false, false, true, true, true]),
            (Action::Change, [false, false, false, true, true]),
            (Action::HandOver, [false, false, false, false, true]),
        ] {
            let verdicts = [None, Former, Member, Admin, Owner]
                .map(|part| may(ben, action, &Object::Conversation { part }));
            assert_eq!(verdicts.map(Verdict::is_allowed), allowed, "{action:?}");
            assert_eq!(verdicts[0], Verdict::Hidden);
            assert!(verdicts[1..].iter().all(|verdict| *verdict != Verdict::Hidden));
        }
        let eva = Viewer { role: Role::Admin, ..Viewer::user("eva") };
        assert_eq!(may(eva, Action::Read, &Object::Conversation { part: None }), Verdict::Hidden);
        for (author, part, changes, takes_away) in [
            ("ben", Member, true, true),
            ("ben", Former, false, false),
            ("ana", Member, false, false),
            ("ana", Admin, false, true),
            ("ben", None, false, false),
        ] {
            let message = Object::ChatMessage { author, part };
            assert_eq!(may(ben, Action::Change, &message).is_allowed(), changes, "{author} {part:?}");
            assert_eq!(may(ben, Action::Remove, &message).is_allowed(), takes_away, "{author} {part:?}");
        }
    }

    #[test]
    fn a_ticket_is_its_members_and_the_staffs_and_no_other_member_knows_of_it() {
        let ticket = Object::Ticket { member: "ana" };
        let moderator = Viewer { role: Role::Moderator, ..Viewer::user("mia") };
        for (viewer, reads, changes) in [
            (Viewer::user("ana"), Verdict::Allowed, Some(true)),
            (moderator, Verdict::Allowed, Some(false)),
            (Viewer { role: Role::Admin, ..Viewer::user("eva") }, Verdict::Allowed, Some(false)),
            (Viewer::user("ben"), Verdict::Hidden, None),
        ] {
            assert_eq!(may(viewer, Action::Read, &ticket), reads, "{viewer:?}");
            let changing = may(viewer, Action::Change, &ticket);
            assert_eq!((changing != Verdict::Hidden).then(|| changing.is_allowed()), changes, "{viewer:?}");
            assert_eq!(may(viewer, Action::Read, &Object::Proposal { by: "ana" }), reads, "{viewer:?}");
        }
    }

    #[test]
    fn a_field_of_a_profile_is_for_whom_its_user_tells_it() {
        use FieldAudience::{Friends, Me, Members, Public};
        let eva = Viewer { role: Role::Admin, ..Viewer::user("eva") };
        for (viewer, is_friend, sees) in [
            (Viewer::user("ana"), false, [true, true, true, true]),
            (Viewer::user("ben"), true, [true, true, true, false]),
            (Viewer::user("ben"), false, [true, true, false, false]),
            (eva, false, [true, true, false, false]),
        ] {
            let seen = [Public, Members, Friends, Me].map(|audience| {
                may(viewer, Action::Read, &Object::ProfileField { owner: "ana", audience, is_friend })
                    .is_allowed()
            });
            assert_eq!(seen, sees, "{viewer:?}, friend: {is_friend}");
        }
    }

    #[test]
    fn a_restriction_takes_one_ability_until_its_end_and_no_other() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let one = |ability, until: Option<i64>| Restriction {
            decision: "d".to_owned(),
            ability,
            until: until.map(at),
            taken_over: false,
        };
        let known = [
            one(Some(Ability::Posting), Some(10)),
            one(Some(Ability::Posting), Some(20)),
            one(Some(Ability::Hosting), None),
            one(None, None),
        ];
        assert_eq!(may_use(Ability::Posting, &known, at(9)), Err(Some(at(20))));
        assert_eq!(may_use(Ability::Posting, &known, at(19)), Err(Some(at(20))));
        assert_eq!(may_use(Ability::Posting, &known, at(20)), Ok(()));
        assert_eq!(may_use(Ability::Hosting, &known, at(1_000_000)), Err(None));
        assert_eq!(may_use(Ability::Messaging, &known, at(9)), Ok(()), "a lock is not asked here");
    }

    #[test]
    fn a_draft_is_hidden_from_all_but_its_hosts() {
        let draft = |involved| event(involved, true, AttendeeList::Everyone);
        let seen = |viewer, involved| may(viewer, Action::Read, &draft(involved));
        assert_eq!(seen(Viewer::user("ben"), Involvement::None), Verdict::Hidden);
        assert_eq!(seen(Viewer::user("ben"), Involvement::Door), Verdict::Allowed);
        assert_eq!(seen(Viewer::user("ana"), Involvement::None), Verdict::Allowed);
    }
}
