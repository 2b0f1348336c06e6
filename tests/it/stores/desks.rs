//! What the desks promise: proposals, reviews and tickets as they are kept.

use jiff::{SignedDuration, Timestamp};
use mundotango::community::admin::announcements::{Announcement, AnnouncementStore};
use mundotango::community::admin::approvals::rules as approvals;
use mundotango::community::admin::approvals::store::Proposals;
use mundotango::community::admin::desk::{Case, Desk, Kept, Open, Step};
use mundotango::community::admin::error::WorkError;
use mundotango::community::admin::flags::{Flag, FlagStore};
use mundotango::community::admin::held::Held;
use mundotango::community::admin::reviews::rules as reviews;
use mundotango::community::admin::reviews::store::Reviews;
use mundotango::community::admin::roster::{Decided, Roster};
use mundotango::community::admin::staff::Staff;
use mundotango::community::admin::tickets::rules as tickets;
use mundotango::community::admin::tickets::store::{Message, Tickets};
use mundotango::community::admin::work::{State, Workflow};
use mundotango::community::audit::rules::{Act, Thing, Words};
use mundotango::community::audit::store::AuditStore;
use mundotango::community::effects::Effect;
use mundotango::community::roles::Role;
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, OUTBOX_SHARDS, Wants};
use mundotango_storage::{PageRequest, StoreError, now};

use super::{first, walk};

fn staff(id: &str) -> Staff {
    Staff { user_id: id.to_owned(), is_admin: false }
}

fn step(version: Option<u64>) -> Step {
    Step { version, now: now(), action: "assigned" }
}

fn act(name: &str, id: &str) -> Act {
    Act {
        at: now(),
        actor: "s0".to_owned(),
        role: "moderator".to_owned(),
        act: name.to_owned(),
        thing: Thing { kind: "x".to_owned(), id: id.to_owned() },
        subject: None,
        words: Words::default(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands for what a change causes")]
fn nothing<C: Case>(_: &Kept<C>) -> Result<Vec<Effect>, StoreError> {
    Ok(Vec::new())
}

async fn assign<C: Case>(
    desk: &Desk<C>,
    id: &str,
    to: &str,
    version: Option<u64>,
) -> Result<Kept<C>, WorkError> {
    let (by, to) = (staff(to), to.to_owned());
    let rule = move |part: &mut Open<'_, C>| part.head.work.assign(&by, &to);
    let case = id.to_owned();
    let effects = move |_: &Kept<C>| Ok(vec![Effect::audit(act("x.assigned", &case))]);
    desk.change(id, step(version), Wants::head(), rule, effects).await.map(Option::unwrap)
}

/// Runs the suite.
pub async fn desks(nodes: &[Db; 2]) {
    Box::pin(proposals(nodes)).await;
    Box::pin(safety(nodes)).await;
    Box::pin(support(nodes)).await;
    roster(nodes).await;
    told(nodes).await;
}

async fn proposals(nodes: &[Db; 2]) {
    let [desk, other] = nodes.clone().map(Desk::<Proposals>::new);
    let facts = |needs_two| approvals::Facts {
        title: "A map".to_owned(),
        description: "Of milongas.".to_owned(),
        area: approvals::Area::Events,
        requested_by: "ana".to_owned(),
        needs_two,
        created_at: now(),
    };
    let approve = async |desk: &Desk<Proposals>, id: &str, by: &str| {
        let (by, now) = (staff(by), now());
        let rule = move |part: &mut Open<'_, Proposals>| {
            approvals::approve(part.facts, &mut part.head, &by, Some("x".to_owned()), now)
        };
        let case = id.to_owned();
        let effects = move |_: &Kept<Proposals>| Ok(vec![Effect::audit(act("proposal.approved", &case))]);
        desk.change(id, step(None), Wants::head(), rule, effects).await.map(Option::unwrap)
    };
    // Two who decide the same: one wins, and the other is told how it stands.
    let id = new_id();
    desk.open(&id, facts(false), nothing).await.unwrap();
    let (one, two) = tokio::join!(approve(&desk, &id, "s0"), approve(&other, &id, "s1"));
    let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
    assert_eq!(won.unwrap().own.outcome, Some(approvals::Outcome::Approved));
    let Err(WorkError::Over(seen)) = lost else { panic!("both decided") };
    assert_eq!((seen.state, seen.version), (State::Done, 1));
    written_once(&nodes[0], &id, 1).await;

    // Four eyes.
    let id = new_id();
    desk.open(&id, facts(true), nothing).await.unwrap();
    assert!(matches!(approve(&desk, &id, "ana").await, Err(WorkError::Forbidden(_))));
    assert_eq!(approve(&desk, &id, "s0").await.unwrap().own.outcome, None);
    assert_eq!(approve(&other, &id, "s0").await.unwrap().work.version, 1, "once more is not two");
    assert_eq!(approve(&other, &id, "s1").await.unwrap().own.outcome, Some(approvals::Outcome::Approved));
    let id = new_id();
    desk.open(&id, facts(false), nothing).await.unwrap();
    let now = now();
    let rule = move |part: &mut Open<'_, Proposals>| {
        approvals::reject(part.facts, &mut part.head, &staff("s0"), "x".to_owned(), now)
    };
    let rejected = desk.change(&id, step(None), Wants::head(), rule, nothing).await.unwrap().unwrap();
    assert_eq!(rejected.own.outcome, Some(approvals::Outcome::Rejected));
}

/// Trap 65: whatever is done leaves its entry in the audit trail, once, though effects are carried out twice.
async fn written_once(db: &Db, thing: &str, acts: usize) {
    let trail = AuditStore::new(db.clone());
    let mut written = 0;
    for shard in 0..OUTBOX_SHARDS {
        let mut after = None;
        loop {
            let page = db.outbox(shard, after.as_deref(), 500).await.unwrap();
            for due in &page.items {
                for (name, effect) in due.effects().unwrap().into_iter().flatten() {
                    let Ok(Effect::Audit(act)) = effect.read::<Effect>() else { continue };
                    if act.thing.id == thing {
                        assert!(trail.record(&name, (*act).clone()).await.unwrap());
                        assert!(!trail.record(&name, *act).await.unwrap(), "carried out once more");
                        written += 1;
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    assert_eq!(written, acts);
}

async fn safety(nodes: &[Db; 2]) {
    let [desk, other] = nodes.clone().map(Desk::<Reviews>::new);
    let facts = |rule: Option<&str>, at| reviews::Facts {
        kind: reviews::ThingKind::Post,
        thing: new_id(),
        about: Some("ben".to_owned()),
        opened_by: rule.is_none().then(|| "s0".to_owned()),
        rule: rule.map(str::to_owned),
        reason: "Spam.".to_owned(),
        created_at: at,
    };
    let begin = now() - SignedDuration::from_hours(2);
    let ids: Vec<_> = (0..5).map(|_| new_id()).collect();
    for (number, id) in (0..).zip(&ids) {
        let at = begin + SignedDuration::from_mins(number);
        desk.open(id, facts((number == 0).then_some("tooManyPosts"), at), nothing).await.unwrap();
    }
    let mine = |case: &Kept<Reviews>| ids.contains(&case.id);
    let pending = async |limit| {
        walk(limit, async |page: PageRequest| other.pending(mine, page).await, |case| case.id.clone()).await
    };
    assert_eq!(pending(2).await, ids, "those that have waited longest come first");

    let (one, two) = tokio::join!(assign(&desk, &ids[0], "s0", None), assign(&other, &ids[0], "s1", None));
    assert!(one.is_ok() != two.is_ok());
    let Some(WorkError::Held(seen)) = one.err().or(two.err()) else { panic!("nobody holds it") };
    assert_eq!((seen.state, seen.version), (State::Assigned, 1));
    assert!(matches!(assign(&desk, &ids[1], "s0", Some(3)).await, Err(WorkError::Stale(_))));
    written_once(&nodes[1], &ids[0], 1).await;

    let now = now();
    let escalate = move |part: &mut Open<'_, Reviews>| {
        reviews::escalate(part.facts, &mut part.head, &staff("s0"), "x".to_owned(), now)
    };
    let handed =
        desk.change(&ids[1], step(Some(0)), Wants::head(), escalate, nothing).await.unwrap().unwrap();
    assert_eq!(handed.work.state, State::Open);
    let resolve = move |part: &mut Open<'_, Reviews>| {
        let admin = Staff { user_id: "s2".to_owned(), is_admin: true };
        reviews::resolve(part.facts, &mut part.head, &admin, reviews::Outcome::Warn, "x".to_owned(), now)
    };
    let resolved = other.change(&ids[1], step(None), Wants::head(), resolve, nothing).await.unwrap().unwrap();
    assert_eq!(resolved.own.outcome, Some(reviews::Outcome::Warn));
    let left = vec![ids[0].clone(), ids[2].clone(), ids[3].clone(), ids[4].clone()];
    assert_eq!(pending(10).await, left, "what is done waits no more, whether it was taken out or not");
}

async fn support(nodes: &[Db; 2]) {
    let [desk, other] = nodes.clone().map(Desk::<Tickets>::new);
    let member = new_id();
    let facts = |at: Timestamp| tickets::Facts {
        user_id: member.clone(),
        subject: "Help".to_owned(),
        text: "I have no place.".to_owned(),
        created_at: at,
    };
    let before = now() - SignedDuration::from_hours(1);
    let ids: Vec<_> = (0..Tickets::MOST_OPEN).map(|_| new_id()).collect();
    for id in &ids {
        desk.open(id, facts(before), nothing).await.unwrap();
        desk.open(id, facts(before), nothing).await.unwrap();
    }
    let full = other.open(&new_id(), facts(now()), nothing).await;
    assert!(matches!(full, Err(WorkError::Full(_))), "a member has so many open");
    let end = now();
    let close = move |part: &mut Open<'_, Tickets>| Ok(tickets::close(&mut part.head, end));
    let closed = desk.change(&ids[0], step(None), Wants::head(), close, nothing).await.unwrap().unwrap();
    let next = new_id();
    other.open(&next, facts(now()), nothing).await.unwrap();
    let full = other.reopen(&closed, step(None), None, nothing).await;
    assert!(matches!(full, Err(WorkError::Full(_))), "there is no room for it again");
    let all = walk(
        7,
        async |page: PageRequest| desk.all(Some(&member), |_| true, page).await,
        |case| case.id.clone(),
    );
    assert_eq!(all.await.len(), ids.len() + 1);

    let message =
        |voice| Message { id: new_id(), at: now(), author: member.clone(), voice, text: "Hi".to_owned() };
    let told = |_: &Kept<Tickets>, _: u64| Ok(Vec::new());
    let said = message(tickets::Voice::Member);
    for desk in [&desk, &other] {
        let case = desk.say(&next, step(None), said.clone(), told).await.unwrap().unwrap();
        assert_eq!(case.own.messages, 1, "the same message is one");
    }
    desk.say(&next, step(None), message(tickets::Voice::Note), told).await.unwrap();
    assert_eq!(desk.messages(&next, true, first(10)).await.unwrap().items.len(), 2);
    assert_eq!(other.messages(&next, false, first(10)).await.unwrap().items, std::slice::from_ref(&said));
    assert_eq!(desk.message(&next, 1).await.unwrap(), Some(said));
    let case = assign(&desk, &next, "s0", None).await.unwrap();
    assert_eq!(case.work.state, State::Assigned);
    gone(nodes, &next, &ids[1..]).await;
}

/// What somebody held who is not of the staff (any more) waits for others, and comes back to nobody.
async fn gone(nodes: &[Db; 2], done: &str, ids: &[String]) {
    let [desk, held] = [Desk::<Tickets>::new(nodes[0].clone()), Desk::new(nodes[1].clone())];
    let end = now();
    let close = move |part: &mut Open<'_, Tickets>| Ok(tickets::close(&mut part.head, end));
    desk.change(done, step(None), Wants::head(), close, nothing).await.unwrap();
    let (leaver, other) = (new_id(), new_id());
    for id in ids {
        let to = if *id == ids[0] { &other } else { &leaver };
        assert_eq!(assign(&desk, id, to, None).await.unwrap().work.assignee.as_ref(), Some(to));
    }
    let all = Held::new(&nodes[0]);
    let mut after = None;
    loop {
        after = all.give_back(&leaver, Workflow::Support, after, now()).await.unwrap();
        if after.is_none() {
            break;
        }
    }
    for id in ids {
        let work = held.case(id).await.unwrap().unwrap().work;
        let is_others = *id == ids[0];
        let expected = if is_others { (State::Assigned, Some(&other)) } else { (State::Open, None) };
        assert_eq!((work.state, work.assignee.as_ref()), expected);
    }
    assert!(assign(&desk, &ids[1], &other, None).await.is_ok(), "whoever comes first has it");

    let ended = desk.case(done).await.unwrap().unwrap();
    assert_eq!(ended.work.assignee.as_deref(), Some("s0"), "who worked on it last");
    let again = desk.reopen(&ended, step(None), None, nothing).await.unwrap().unwrap();
    assert_eq!((again.work.state, again.work.assignee), (State::Open, None));
}

async fn roster(nodes: &[Db; 2]) {
    let [roster, other] = nodes.clone().map(Roster::new);
    let [ana, ben] = [new_id(), new_id()];
    let give = async |roster: &Roster, to: &str, has: Role, role: Role, by: &str| {
        roster.give((to, has), role, by, act("user.roleSet", to), now()).await.unwrap()
    };
    // Two admins take the role from each other: one of them stays.
    let (one, two) = tokio::join!(
        give(&roster, &ben, Role::Admin, Role::User, &ana),
        give(&other, &ana, Role::Admin, Role::User, &ben),
    );
    let mut came = [one, two];
    came.sort_by_key(|decided| *decided == Decided::NotAdmin);
    assert_eq!(came, [Decided::Given, Decided::NotAdmin]);
    let (lost, left) = if one == Decided::Given { (&ben, &ana) } else { (&ana, &ben) };
    assert_eq!(give(&roster, lost, Role::User, Role::User, left).await, Decided::Stands);
    written_once(&nodes[0], lost, 1).await;
}

async fn told(nodes: &[Db; 2]) {
    let [announcements, other] = nodes.clone().map(AnnouncementStore::new);
    let now = now();
    let one = |until| Announcement {
        title: "Maintenance".to_owned(),
        text: "On Sunday.".to_owned(),
        at: now,
        until,
        by: "s2".to_owned(),
    };
    let hour = SignedDuration::from_hours(1);
    let (over, id) = (new_id(), new_id());
    announcements.add(&over, one(now + hour), Vec::new(), now).await.unwrap();
    announcements.add(&id, one(now + hour * 3), Vec::new(), now).await.unwrap();
    let shown = async |at| other.shown(at).await.unwrap().into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(shown(now).await, [id.clone(), over.clone()]);
    assert_eq!(shown(now + hour * 2).await, std::slice::from_ref(&id));
    assert!(announcements.remove(&over, Vec::new()).await.unwrap());
    assert!(!other.remove(&over, Vec::new()).await.unwrap());

    let [flags, other] = nodes.clone().map(FlagStore::new);
    let flag = Flag { enabled: true, percent: 10, roles: [Role::Admin].into(), at: now, by: "s2".to_owned() };
    flags.set("map", flag.clone(), Effect::audit(act("flag.set", "map"))).await.unwrap();
    assert_eq!(other.all().await.unwrap().get("map"), Some(&flag));
    // A name that was removed makes room for another.
    for number in 1..200 {
        flags.set(&format!("f{number}"), flag.clone(), Effect::audit(act("flag.set", "f"))).await.unwrap();
    }
    let one_more = || flags.set("more", flag.clone(), Effect::audit(act("flag.set", "more")));
    assert!(matches!(one_more().await, Err(WorkError::Full(_))));
    let remove = || other.remove("map", Effect::audit(act("flag.removed", "map")));
    assert!(remove().await.unwrap());
    assert!(!remove().await.unwrap(), "it is gone");
    one_more().await.unwrap();
    let left = other.all().await.unwrap();
    assert_eq!(left.get("map"), None);
    // Suites that come later have flags of their own.
    for name in left.keys() {
        assert!(flags.remove(name, Effect::audit(act("flag.removed", name))).await.unwrap());
    }
}
