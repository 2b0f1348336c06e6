use super::*;
use crate::community::graph::relations::{Relations, Sorts};

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
        for (action, allowed) in [Action::Read, Action::Change, Action::HandOver].into_iter().zip(allowed) {
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
        let verdicts =
            [None, Former, Member, Admin, Owner].map(|part| may(ben, action, &Object::Conversation { part }));
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
