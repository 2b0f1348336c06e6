//! What reports, decisions and appeals promise as they are kept.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use mundotango::community::accounts::profile::Profile;
use mundotango::community::accounts::restrictions::{Ability, Restriction};
use mundotango::community::accounts::store::{AccountStore, User};
use mundotango::community::admin::desk::{Desk, Kept, Open, Step};
use mundotango::community::admin::error::WorkError;
use mundotango::community::admin::reviews::case::{
    Appeal, Before, Facts, Outcome, Report, Rule, Snapshot, ThingKind,
};
use mundotango::community::admin::reviews::rules::{may_work, resolve};
use mundotango::community::admin::reviews::rulings::{Wanted, judge};
use mundotango::community::admin::reviews::store::{CASE_LISTS, Reviews, decided_about, reported_by};
use mundotango::community::admin::staff::Staff;
use mundotango::community::audit::rules::{Act, Thing, Words};
use mundotango::community::effects::Effect;
use mundotango::community::moderation::store::{Record, ReportStore};
use mundotango::community::posts::editing::{EditError, PostEdit};
use mundotango::community::posts::store::{Post, PostStore, Text, Visibility};
use mundotango::community::roles::Role;
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, Wants};
use mundotango_storage::{StoreError, now};

use super::{NO_EFFECTS, first};

fn staff(id: &str) -> Staff {
    Staff { user_id: id.to_owned(), is_admin: false }
}

fn step() -> Step {
    Step { version: None, now: now(), action: "closed" }
}

fn report(weight: u32) -> Report {
    Report { id: new_id(), rule: Rule::Spam, words: Some("Again.".to_owned()), at: now(), weight }
}

fn snapshot(text: &str) -> Snapshot {
    Snapshot {
        title: Some("Sale".to_owned()),
        text: text.to_owned(),
        media: vec!["https://a.example/a.jpg".to_owned()],
        revision: Some(1),
        before: vec![Before {
            by: new_id(),
            text: "Hello.".to_owned(),
            media: vec!["https://a.example/b.jpg".to_owned()],
            at: now(),
        }],
        at: now(),
    }
}

pub fn act(thing: &str) -> Act {
    Act {
        at: now(),
        actor: "system".to_owned(),
        role: "system".to_owned(),
        act: "x.done".to_owned(),
        thing: Thing { kind: "post".to_owned(), id: thing.to_owned() },
        subject: None,
        words: Words::default(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands for what a change causes")]
fn nothing(_: &Kept<Reviews>) -> Result<Vec<Effect>, StoreError> {
    Ok(Vec::new())
}

/// Runs the suite.
pub async fn moderation(nodes: &[Db; 2]) {
    Box::pin(reports_of_a_crowd_are_one_case_that_comes_sooner(nodes)).await;
    Box::pin(a_decision_is_appealed_and_overturned_by_another(nodes)).await;
    a_record_counts_each_case_once(nodes).await;
    a_restriction_lies_with_the_account(nodes).await;
    Box::pin(a_post_is_hidden_until_it_is_given_back_or_deleted(nodes)).await;
}

/// Traps 63 and 64.
async fn reports_of_a_crowd_are_one_case_that_comes_sooner(nodes: &[Db; 2]) {
    let [reports, other] = nodes.clone().map(ReportStore::new);
    let desk = Desk::<Reviews>::new(nodes[0].clone());
    // One that has waited for longer, and that nobody reports.
    let older = new_id();
    let facts = Facts {
        kind: ThingKind::Event,
        thing: new_id(),
        about: None,
        opened_by: None,
        rule: Some("x".to_owned()),
        reason: "x".to_owned(),
        created_at: now() - SignedDuration::from_hours(6),
    };
    desk.open(&older, facts, nothing).await.unwrap();

    let (post, author) = (new_id(), new_id());
    let thing = (ThingKind::Post, post.as_str(), Some(author.as_str()));
    let people: Vec<_> = (0..8).map(|_| new_id()).collect();
    let told = people.iter().enumerate().map(async |(number, by)| {
        let store = if number % 2 == 0 { &reports } else { &other };
        let says = if number < 4 { "Buy!" } else { "It was edited." };
        store.report(thing, by, &report(4), &snapshot(says)).await.unwrap().0
    });
    let cases: BTreeSet<_> = join_all(told).await.into_iter().collect();
    assert_eq!(cases.len(), 1, "{cases:?}");
    let id = cases.into_iter().next().unwrap();
    let (_, again) = reports.report(thing, &people[0], &report(4), &snapshot("Buy!")).await.unwrap();
    let case = desk.case(&id).await.unwrap().unwrap();
    assert_eq!((case.own.reports, case.own.weight), (8, 32), "who reports again is one");
    assert_eq!(case.facts.subject(), Some(author.as_str()));
    assert_eq!(case.own.outcome, None, "nothing is decided by a number of reports");
    assert_eq!(other.known(ThingKind::Post, &post, &people[0]).await.unwrap(), Some((id.clone(), again)));
    let copies = desk.copies(&id).await.unwrap();
    let says: BTreeSet<_> = copies.iter().map(|copy| copy.text.as_str()).collect();
    assert_eq!((copies.len(), says), (2, BTreeSet::from(["Buy!", "It was edited."])));
    assert_eq!(desk.reports(&id, None, 100).await.unwrap().len(), 8);

    let ours = |case: &Kept<Reviews>| case.id == id || case.id == older;
    let waiting = desk.pending(ours, first(10)).await.unwrap().items;
    let waiting: Vec<_> = waiting.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(
        waiting,
        [id.as_str(), older.as_str()],
        "what weighs more comes sooner, and stands there once"
    );

    // What is reported after the decision is another case.
    decide(&desk, &id, "s0", Outcome::None).await;
    let (next, _) = reports.report(thing, &people[0], &report(1), &snapshot("Buy!")).await.unwrap();
    assert_ne!(next, id);
    let mine = desk.listed(&reported_by(&people[0]), |_| true, first(10)).await.unwrap().items;
    assert_eq!(mine.iter().map(|case| &case.id).collect::<Vec<_>>(), [&next, &id]);
    // Somebody who is reported has a partition of the own.
    let about = (ThingKind::User, author.as_str(), Some(author.as_str()));
    reports.report(about, &people[1], &report(4), &snapshot("Bio.")).await.unwrap();
}

async fn decide(desk: &Desk<Reviews>, id: &str, by: &str, outcome: Outcome) -> Kept<Reviews> {
    let (by, at) = (staff(by), now());
    let case = desk.case(id).await.unwrap().unwrap();
    let is_restriction = outcome == Outcome::Restrict;
    let wanted = Wanted {
        outcome,
        rule: Rule::Spam,
        abilities: if is_restriction { vec![Ability::Posting] } else { Vec::new() },
        until: is_restriction.then(|| at + SignedDuration::from_hours(24)),
    };
    let ruling = wanted.ruling(&case.facts, at).unwrap();
    let list = decided_about(case.facts.subject().unwrap());
    let key = format!("{:020}/safety/{id}", at.as_millisecond());
    let rule = move |part: &mut Open<'_, Reviews>| {
        let is_new = resolve(part.facts, &mut part.head, &by, outcome, "x".to_owned(), at)?;
        part.head.own.ruling = Some(ruling.clone());
        part.enter(CASE_LISTS.entry(list.as_str(), &key, &())?);
        Ok::<_, WorkError>(is_new)
    };
    desk.change(id, step(), Wants::head(), rule, nothing).await.unwrap().unwrap()
}

/// Trap 67.
async fn a_decision_is_appealed_and_overturned_by_another(nodes: &[Db; 2]) {
    let [desk, other] = nodes.clone().map(Desk::<Reviews>::new);
    let (reports, about) = (ReportStore::new(nodes[0].clone()), new_id());
    let post = new_id();
    let thing = (ThingKind::Post, post.as_str(), Some(about.as_str()));
    let (id, _) = reports.report(thing, &new_id(), &report(4), &snapshot("x")).await.unwrap();
    let case = decide(&desk, &id, "s0", Outcome::Restrict).await;
    assert!(case.own.is_strike(now()) && case.work.is_done());
    let text = || "I did not.".to_owned();
    let none = |_: &Kept<Reviews>, _: &Appeal| Ok(Vec::new());
    // Twice at the same moment, by two nodes, is once.
    let (one, two) = tokio::join!(
        desk.appeal(&id, &about, text(), now(), none),
        other.appeal(&id, &about, text(), now(), none)
    );
    let (one, two) = (one.unwrap().unwrap(), two.unwrap().unwrap());
    assert_eq!(one.own.appeal.map(|appeal| appeal.by), two.own.appeal.map(|appeal| appeal.by));
    let another = desk.appeal(&id, &about, "Something else.".to_owned(), now(), none).await;
    assert!(matches!(another, Err(WorkError::NotNow(_))), "{another:?}");
    let waits = desk.pending(|case| case.id == id, first(10)).await.unwrap().items;
    assert_eq!(waits.len(), 1, "an appeal waits in the queue");
    assert!(matches!(may_work(&waits[0].facts, &waits[0].own, &staff("s0")), Err(WorkError::NotNow(_))));

    let judged = async |by: &str, upheld: bool| {
        let (by, at) = (staff(by), now());
        let rule = move |part: &mut Open<'_, Reviews>| {
            judge(part.facts, &mut part.head, &by, upheld, "x".to_owned(), at)
        };
        other.change(&id, step(), Wants::head(), rule, nothing).await
    };
    assert!(matches!(judged("s0", false).await, Err(WorkError::NotNow(_))), "who decided does not judge");
    let case = judged("s1", false).await.unwrap().unwrap();
    assert!(case.own.is_overturned() && !case.own.is_strike(now()) && case.work.is_done());
    assert!(matches!(judged("s2", true).await, Err(WorkError::Over(_))), "an appeal ends");
    let decided = desk.listed(&decided_about(&about), |_| true, first(10)).await.unwrap().items;
    assert_eq!(decided.len(), 1);
}

async fn a_record_counts_each_case_once(nodes: &[Db; 2]) {
    let [reports, other] = nodes.clone().map(ReportStore::new);
    let (user, case) = (new_id(), new_id());
    assert_eq!(reports.weight_of(&user).await.unwrap(), 4);
    for store in [&reports, &other] {
        store.note(&user, &case, true).await.unwrap();
    }
    reports.note(&user, &new_id(), false).await.unwrap();
    assert_eq!(other.record(&user).await.unwrap(), Record { upheld: 1, refused: 1 });
    // The decision was overturned.
    other.note(&user, &case, false).await.unwrap();
    assert_eq!(reports.record(&user).await.unwrap(), Record { upheld: 0, refused: 2 });
    assert_eq!(reports.weight_of(&user).await.unwrap(), 2);
}

async fn a_restriction_lies_with_the_account(nodes: &[Db; 2]) {
    let [accounts, other] = nodes.clone().map(AccountStore::new);
    let id = new_id();
    let user = User {
        email: format!("{id}@example.com"),
        username: format!("u-{id}"),
        full_name: "Ben".to_owned(),
        role: Role::User,
        bio: None,
        city: None,
        avatar_url: None,
        profile: Profile::default(),
        is_verified: false,
        paused_since: None,
        created_at: now(),
        id: id.clone(),
    };
    accounts.create(&user, "hash".to_owned()).await.unwrap().unwrap();
    let one = |decision: &str, ability, until: Option<Timestamp>| Restriction {
        decision: decision.to_owned(),
        ability,
        until,
        taken_over: false,
    };
    let soon = now() + SignedDuration::from_hours(1);
    let (posting, lock) = (one("a", Some(Ability::Posting), Some(soon)), one("b", None, None));
    accounts.restrict(&id, "a", vec![posting.clone()], now()).await.unwrap();
    let held = other.restrict(&id, "b", vec![lock.clone()], now()).await.unwrap();
    assert_eq!(held, [posting.clone(), lock.clone()]);
    accounts.take_locks_over(&id).await.unwrap();
    let taken = Restriction { taken_over: true, ..lock.clone() };
    assert_eq!(other.restrictions_now(&id).await.unwrap(), [posting.clone(), taken.clone()]);
    // Whether the decision is carried out again or overturned, the admin has said something else.
    for again in [vec![lock], Vec::new()] {
        let held = other.restrict(&id, "b", again, now()).await.unwrap();
        assert_eq!(held, [posting.clone(), taken.clone()]);
    }
    assert_eq!(accounts.restrict(&id, "a", Vec::new(), now()).await.unwrap(), std::slice::from_ref(&taken));
    assert_eq!(
        accounts.restrictions(&id).await.unwrap(),
        [taken],
        "the own cache does not keep what was before"
    );
    // What is looked at afterwards is to hold all fields.
    accounts.restrict(&id, "c", vec![posting], now()).await.unwrap();
}

/// Trap 63: what an appeal has to give back is still there.
async fn a_post_is_hidden_until_it_is_given_back_or_deleted(nodes: &[Db; 2]) {
    let [posts, other] = nodes.clone().map(PostStore::new);
    let made = async || {
        let text = Text::new("Buy!", now());
        let post = Post::made(new_id(), new_id(), text, Visibility::Public);
        posts.create(&post, &[]).await.unwrap();
        post.id
    };
    let (id, gone) = (made().await, made().await);
    assert!(posts.hide(&id, "a", act(&id)).await.unwrap());
    assert!(!other.hide(&id, "a", act(&id)).await.unwrap(), "once for each decision");
    assert!(other.hide(&id, "b", act(&id)).await.unwrap());
    let hidden = posts.post_now(&id).await.unwrap().unwrap();
    assert_eq!((hidden.visibility, hidden.text.content.as_str()), (Visibility::Private, "Buy!"));
    let edit = PostEdit { visibility: Some(Visibility::Public), ..PostEdit::default() };
    let edited = other.edit(&id, edit, now(), |_| NO_EFFECTS).await;
    assert!(matches!(edited, Err(EditError::TakenAway)), "{edited:?}");
    assert!(!other.show(&id, "x", act(&id)).await.unwrap());
    assert!(!other.show(&id, "b", act(&id)).await.unwrap(), "another decision hides it still");
    assert_eq!(posts.post_now(&id).await.unwrap().unwrap().visibility, Visibility::Private);
    assert!(other.show(&id, "a", act(&id)).await.unwrap());
    assert_eq!(posts.post_now(&id).await.unwrap().unwrap().visibility, Visibility::Public);
    assert!(!posts.delete_hidden(&id, "a", act(&id)).await.unwrap(), "it is given back");

    assert!(posts.hide(&gone, "c", act(&gone)).await.unwrap());
    assert!(!other.delete_hidden(&gone, "a", act(&gone)).await.unwrap());
    assert!(other.delete_hidden(&gone, "c", act(&gone)).await.unwrap());
    assert!(posts.post_now(&gone).await.unwrap().is_none());
    for number in 0..20 {
        assert!(posts.hide(&id, &format!("d{number}"), act(&id)).await.unwrap(), "once more, by others");
    }
    let more = other.hide(&id, "e", act(&id)).await;
    assert!(matches!(more, Err(StoreError::Full(_))), "{more:?}");
}
