//! What somebody who leaves has to do with the staff: tickets, proposals, reviews, a role, and the audit trail.

use jiff::SignedDuration;
use mundotango::community::admin::announcements::{Announcement, AnnouncementStore};
use mundotango::community::admin::approvals::rules as approvals;
use mundotango::community::admin::approvals::store::Proposals;
use mundotango::community::admin::desk::{Case, Desk, Kept, Open, Step};
use mundotango::community::admin::flags::{Flag, FlagStore};
use mundotango::community::admin::reviews::rules as reviews;
use mundotango::community::admin::reviews::store::Reviews;
use mundotango::community::admin::roster::{Decided, Roster};
use mundotango::community::admin::staff::Staff;
use mundotango::community::admin::tickets::rules as tickets;
use mundotango::community::admin::tickets::store::{Message, Tickets};
use mundotango::community::audit::rules::{Act, Thing, Words};
use mundotango::community::audit::store::{AuditStore, Wanted};
use mundotango::community::effects::Effect;
use mundotango::community::roles::Role;
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, Wants};
use mundotango_storage::{StoreError, now};

use super::super::first;
use super::world::Somebody;

/// What the one who leaves has said here, which occurs nowhere else.
pub const SAID: &str = "Palabra-consulta";
/// What others said about the one who leaves, who is not told of it.
pub const ABOUT: &str = "Motivo-reservado";

/// What of it is to be right afterwards.
pub struct Work {
    ticket: String,
    proposal: String,
    review: String,
}

#[expect(clippy::unnecessary_wraps, reason = "it stands for what a change causes")]
fn nothing<C: Case>(_: &Kept<C>) -> Result<Vec<Effect>, StoreError> {
    Ok(Vec::new())
}

fn step() -> Step {
    Step { version: None, now: now(), action: "assigned" }
}

fn act(actor: &str, thing: &str, subject: Option<&str>, detail: &str) -> Act {
    Act {
        at: now(),
        actor: actor.to_owned(),
        role: "admin".to_owned(),
        act: "x.done".to_owned(),
        thing: Thing { kind: "user".to_owned(), id: thing.to_owned() },
        subject: subject.map(str::to_owned),
        words: Words {
            reason: subject.map(|_| ABOUT.to_owned()),
            details: [("assignee".to_owned(), detail.to_owned())].into(),
        },
    }
}

async fn assign<C: Case>(desk: &Desk<C>, id: &str, to: &str) {
    let (staff, to) = (Staff { user_id: to.to_owned(), is_admin: false }, to.to_owned());
    let rule = move |part: &mut Open<'_, C>| part.head.work.assign(&staff, &to);
    desk.change(id, step(), Wants::head(), rule, nothing).await.unwrap().unwrap();
}

async fn support(db: &Db, ana: &str, ben: &str, eva: &str) -> String {
    let desk = Desk::<Tickets>::new(db.clone());
    let mut ids = Vec::new();
    for (member, staff) in [(ana, eva), (ben, ana)] {
        let facts = tickets::Facts {
            user_id: member.to_owned(),
            subject: "Help".to_owned(),
            text: if member == ana { SAID } else { "I have no place." }.to_owned(),
            created_at: now(),
        };
        let id = new_id();
        desk.open(&id, facts, nothing).await.unwrap();
        assign(&desk, &id, staff).await;
        let voice = tickets::Voice::Staff;
        let text = "An answer.".to_owned();
        let message = Message { id: new_id(), at: now(), author: staff.to_owned(), voice, text };
        desk.say(&id, step(), message, |_, _| Ok(Vec::new())).await.unwrap();
        ids.push(id);
    }
    ids.remove(0)
}

async fn proposals(db: &Db, ana: &str, ben: &str) -> String {
    let desk = Desk::<Proposals>::new(db.clone());
    let mut ids = Vec::new();
    for by in [ana, ben] {
        let facts = approvals::Facts {
            title: "A map".to_owned(),
            description: "Of milongas.".to_owned(),
            area: approvals::Area::Events,
            requested_by: by.to_owned(),
            needs_two: false,
            created_at: now(),
        };
        let id = new_id();
        desk.open(&id, facts, nothing).await.unwrap();
        ids.push(id);
    }
    let (staff, at) = (Staff { user_id: ana.to_owned(), is_admin: false }, now());
    let rule = move |part: &mut Open<'_, Proposals>| {
        approvals::approve(part.facts, &mut part.head, &staff, None, at)
    };
    desk.change(&ids[1], step(), Wants::head(), rule, nothing).await.unwrap().unwrap();
    ids.remove(0)
}

async fn review(db: &Db, ana: &str, eva: &str) -> String {
    let desk = Desk::<Reviews>::new(db.clone());
    let facts = reviews::Facts {
        kind: reviews::ThingKind::User,
        thing: ana.to_owned(),
        about: None,
        opened_by: Some(eva.to_owned()),
        rule: None,
        reason: ABOUT.to_owned(),
        created_at: now(),
    };
    let id = new_id();
    desk.open(&id, facts.with_subject(), nothing).await.unwrap();
    let (staff, at) = (Staff { user_id: eva.to_owned(), is_admin: false }, now());
    let rule = move |part: &mut Open<'_, Reviews>| {
        reviews::resolve(part.facts, &mut part.head, &staff, reviews::Outcome::Warn, ABOUT.to_owned(), at)
    };
    desk.change(&id, step(), Wants::head(), rule, nothing).await.unwrap().unwrap();
    id
}

/// Makes it.
pub async fn work(db: &Db, people: [&Somebody; 3]) -> Work {
    let [ana, ben, eva] = people.map(Somebody::id);
    let ticket = Box::pin(support(db, ana, ben, eva)).await;
    let proposal = Box::pin(proposals(db, ana, ben)).await;
    let review = Box::pin(review(db, ana, eva)).await;
    let (roster, admin) = (Roster::new(db.clone()), new_id());
    for (to, by) in [(ben, ana), (ana, admin.as_str())] {
        let act = act(by, to, Some(to), "x");
        let given = roster.give((to, Role::User), Role::Moderator, by, act, now()).await.unwrap();
        assert_eq!(given, Decided::Given);
    }
    let announcement = Announcement {
        title: "Maintenance".to_owned(),
        text: "On Sunday.".to_owned(),
        at: now(),
        until: now() + SignedDuration::from_hours(1),
        by: ana.to_owned(),
    };
    AnnouncementStore::new(db.clone()).add(&new_id(), announcement, Vec::new(), now()).await.unwrap();
    let flag =
        Flag { enabled: true, percent: 10, roles: [Role::Admin].into(), at: now(), by: ana.to_owned() };
    FlagStore::new(db.clone()).set("a-flag", flag, Effect::audit(act(ana, "x", None, "x"))).await.unwrap();
    let audit = AuditStore::new(db.clone());
    // The name is the id of who leaves, as it is where an admin makes an account.
    assert!(audit.record(ana, act(eva, ana, Some(ana), "x")).await.unwrap());
    for act in [act(eva, "a ticket", None, ana), act(ana, "a ticket", Some(ben), "x")] {
        audit.note(act).await.unwrap();
    }
    Work { ticket, proposal, review }
}

/// What others have is right once the first of these people has left.
pub async fn is_right(db: &Db, [ana, _, _]: [&Somebody; 3], work: &Work) {
    assert!(Desk::<Tickets>::new(db.clone()).case(&work.ticket).await.unwrap().is_none());
    let proposals = Desk::<Proposals>::new(db.clone());
    let proposal = proposals.case(&work.proposal).await.unwrap().unwrap();
    assert!(proposal.facts.requested_by.starts_with("00000000-"), "{proposal:?}");
    let pending = proposals.pending(|case| case.id == work.proposal, first(10)).await.unwrap();
    assert_eq!(pending.items.len(), 1, "what was proposed still waits");
    let review = Desk::<Reviews>::new(db.clone()).case(&work.review).await.unwrap().unwrap();
    assert_eq!((review.facts.reason.as_str(), review.own.outcome), ("", Some(reviews::Outcome::Warn)));

    let audit = AuditStore::new(db.clone());
    let wanted = Wanted { thing: Some(ana.id().to_owned()), ..Wanted::default() };
    let told = audit.list(&wanted, first(10)).await.unwrap().items;
    assert!(!told.is_empty() && told.iter().all(|shown| shown.words.is_none()), "nobody reads it: {told:?}");
    let late = new_id();
    assert!(audit.record(&late, act("eva", ana.id(), Some(ana.id()), "x")).await.unwrap());
    let told = audit.list(&wanted, first(10)).await.unwrap().items;
    assert!(told.iter().all(|shown| shown.words.is_none()), "nor what is written later: {told:?}");
}
