//! What the places of an event promise: parties and roles, lines, and places that are held until they are paid.

use jiff::SignedDuration;
use mundotango::community::events::places::{DanceRole, Heads, Limit, Limits, Party};
use mundotango::community::events::rules::{NewAnswer, RsvpChoice, RsvpCounts, RsvpStatus, Settings};
use mundotango::community::events::seating::{PaidTicket, Rsvp};
use mundotango::community::events::store::{Edited, Event, EventError, EventStore};
use mundotango::community::money::{Currency, Money};
use mundotango_storage::{PageRequest, PageStart, now};
use tokio::task::JoinSet;

use super::NO_EFFECTS;
use super::events::{event, promoted, quiet_time};

/// Runs the suite.
pub async fn places(nodes: &[EventStore; 2]) {
    let store = &nodes[0];
    parties_and_roles_keep_their_limits(nodes).await;
    a_party_grows_only_into_room(store).await;
    more_room_is_given_to_those_who_wait(store).await;
    parties_that_no_longer_fit_hold_nobody_up(store).await;
    a_hold_ends_by_itself(nodes).await;
    late_money_takes_what_is_free(store).await;
}

pub fn party(role: DanceRole, guests: &[DanceRole]) -> NewAnswer {
    NewAnswer { choice: RsvpChoice::Going, party: Some(Party { role, guests: guests.to_vec() }) }
}

pub async fn limited(store: &EventStore, limits: Limits) -> Event {
    let mut event = event(quiet_time(), None);
    event.settings = Settings { limits, ..Settings::default() };
    store.create(&event, &[]).await.unwrap();
    event
}

/// The sums of answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Heads by status.
    pub counts: RsvpCounts,
    /// Heads of those who are going, by role.
    pub going: Heads,
    /// Heads of those for whom places are held, by role.
    pub held: Heads,
}

impl Sums {
    pub fn add(&mut self, rsvp: &Rsvp) {
        let heads = rsvp.party.heads();
        match rsvp.status {
            RsvpStatus::Going => {
                self.counts.going += heads.total();
                self.going = self.going.and(heads);
            }
            RsvpStatus::Maybe => self.counts.maybe += heads.total(),
            RsvpStatus::Waitlisted => self.counts.waitlisted += heads.total(),
            RsvpStatus::Held => self.held = self.held.and(heads),
            RsvpStatus::Declined => {}
        }
    }
}

/// All answers of an event are summed up: heads by status, and heads of those who are going by role.
pub async fn summed_up(store: &EventStore, event_id: &str) -> (RsvpCounts, Heads) {
    let mut sums = Sums::default();
    let mut start = PageStart::First;
    loop {
        let page = store.rsvps(event_id, PageRequest { start, limit: 100 }).await.unwrap();
        for rsvp in &page.items {
            sums.add(rsvp);
        }
        match page.next {
            Some(next) => start = PageStart::After(next),
            None => return (sums.counts, sums.going),
        }
    }
}

/// 300 users answer, leave, and change their parties on two nodes at once.
async fn parties_and_roles_keep_their_limits(nodes: &[EventStore; 2]) {
    let limits = Limits { total: Some(50), leads: Some(20), follows: Some(22) };
    let event = limited(&nodes[0], limits).await;
    let mut racers = JoinSet::new();
    for user in 0..300_usize {
        let (events, id) = (nodes[user % 2].clone(), event.id.clone());
        racers.spawn(async move {
            let name = format!("user {user:03}");
            let first = match user % 5 {
                0 => party(DanceRole::Lead, &[]),
                1 => party(DanceRole::Follow, &[]),
                2 => party(DanceRole::Lead, &[DanceRole::Follow]),
                3 => party(DanceRole::Both, &[]),
                _ => party(DanceRole::None, &[DanceRole::None]),
            };
            let mut answers = vec![first];
            if user % 3 == 0 {
                answers.push(RsvpChoice::Declined.into());
            }
            if user % 6 == 0 {
                answers.push(party(DanceRole::Follow, &[DanceRole::Both]));
            }
            for answer in answers {
                match events.rsvp(&id, &name, answer, now(), |_| NO_EFFECTS).await {
                    Ok(Some(outcome)) => assert_eq!(limits.broken_by(outcome.event.going), None),
                    Err(EventError::NoRoom(_) | EventError::OthersWait) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    racers.join_all().await;
    let kept = nodes[1].event(&event.id).await.unwrap().unwrap();
    assert_eq!(summed_up(&nodes[0], &event.id).await, (kept.counts, kept.going));
    assert_eq!(limits.broken_by(kept.going), None);
    assert!(kept.counts.waitlisted > 0 && kept.counts.going > 40, "{:?}", kept.counts);
    // Everybody leaves: whoever waits moves up until nobody is left.
    for user in 0..300 {
        let name = format!("user {user:03}");
        let outcome =
            nodes[user % 2].rsvp(&event.id, &name, RsvpChoice::Declined, now(), |_| NO_EFFECTS).await;
        assert_eq!(limits.broken_by(outcome.unwrap().unwrap().event.going), None);
    }
    let kept = nodes[0].event(&event.id).await.unwrap().unwrap();
    assert_eq!((kept.counts, kept.going), (RsvpCounts::default(), Heads::default()));
}

async fn a_party_grows_only_into_room(store: &EventStore) {
    let event = limited(store, Limits::total(Some(3))).await;
    let answer =
        async |user: &str, new: NewAnswer| store.rsvp(&event.id, user, new, now(), |_| NO_EFFECTS).await;
    let one = || party(DanceRole::Lead, &[]);
    let couple = || party(DanceRole::Lead, &[DanceRole::Follow]);
    assert_eq!(answer("a", one()).await.unwrap().unwrap().event.counts.going, 1);
    assert_eq!(answer("a", couple()).await.unwrap().unwrap().event.counts.going, 2);
    let again = answer("a", RsvpChoice::Going.into()).await.unwrap().unwrap();
    assert_eq!(
        (again.event.counts.going, again.rsvp.party.guests.len()),
        (2, 1),
        "an answer without a party keeps it"
    );
    let three = party(DanceRole::Lead, &[DanceRole::Follow, DanceRole::None, DanceRole::None]);
    assert!(matches!(answer("b", three).await, Err(EventError::NoRoom(Limit::Capacity))), "never fits");
    let waits = answer("b", couple()).await.unwrap().unwrap();
    assert_eq!((waits.rsvp.status, waits.waits_for), (RsvpStatus::Waitlisted, Some(Limit::Capacity)));
    let passes = answer("c", one()).await.unwrap().unwrap();
    assert_eq!(passes.rsvp.status, RsvpStatus::Waitlisted, "a smaller party does not pass");
    assert_eq!(store.position(&passes.rsvp).await.unwrap(), Some(2));
    let grows = party(DanceRole::Lead, &[DanceRole::Follow, DanceRole::Follow]);
    assert!(matches!(answer("a", grows).await, Err(EventError::OthersWait)));
    let smaller = answer("a", one()).await.unwrap().unwrap();
    assert_eq!(promoted(&smaller), [("b".to_owned(), RsvpStatus::Going)], "a smaller party frees places");
}

async fn more_room_is_given_to_those_who_wait(store: &EventStore) {
    let event = limited(store, Limits::total(Some(1))).await;
    for user in 0..130 {
        let name = format!("user {user:03}");
        store.rsvp(&event.id, &name, RsvpChoice::Going, now(), |_| NO_EFFECTS).await.unwrap().unwrap();
    }
    let limit_to = async |total| {
        let edit = move |before: Edited| Edited { settings: Settings::capacity(total), ..before };
        store.change(&event.id, now(), edit, |_| NO_EFFECTS).await
    };
    assert_eq!(limit_to(Some(3)).await.unwrap().unwrap().counts.going, 3);
    assert!(matches!(limit_to(Some(2)).await, Err(EventError::BelowGoing(Limit::Capacity, _))));
    let mut going = limit_to(None).await.unwrap().unwrap().counts.going;
    while going < 130 {
        store
            .promote(&event.id, now(), |_, promoted, _| {
                assert!(!promoted.answers.is_empty());
                NO_EFFECTS
            })
            .await
            .unwrap();
        let before =
            std::mem::replace(&mut going, store.event(&event.id).await.unwrap().unwrap().counts.going);
        assert!(going > before && going <= before + 50, "{before} {going}");
    }
    assert_eq!(summed_up(store, &event.id).await.0, RsvpCounts { going: 130, maybe: 0, waitlisted: 0 });
}

async fn parties_that_no_longer_fit_hold_nobody_up(store: &EventStore) {
    let event = limited(store, Limits::total(Some(3))).await;
    let answer = async |user: &str, new: NewAnswer| {
        store.rsvp(&event.id, user, new, now(), |_| NO_EFFECTS).await.unwrap().unwrap()
    };
    for user in ["a", "b", "c"] {
        answer(user, RsvpChoice::Going.into()).await;
    }
    for number in 0..30 {
        answer(&format!("group {number}"), party(DanceRole::Lead, &[DanceRole::Follow; 2])).await;
    }
    for user in ["y", "z"] {
        assert_eq!(answer(user, RsvpChoice::Going.into()).await.rsvp.status, RsvpStatus::Waitlisted);
    }
    let declined = answer("c", RsvpChoice::Declined.into()).await;
    assert!(promoted(&declined).is_empty(), "a group that fits is waited for");
    let lower = |before: Edited| Edited { settings: Settings::capacity(Some(2)), ..before };
    store.change(&event.id, now(), lower, |_| NO_EFFECTS).await.unwrap().unwrap();
    let declined = answer("b", RsvpChoice::Declined.into()).await;
    assert_eq!(promoted(&declined), [("y".to_owned(), RsvpStatus::Going)]);
    let declined = answer("a", RsvpChoice::Declined.into()).await;
    assert_eq!(promoted(&declined), [("z".to_owned(), RsvpStatus::Going)]);
}

pub async fn paid(store: &EventStore, capacity: u32) -> Event {
    let mut event = event(quiet_time(), None);
    let ticket = Money::new(1250, Currency::parse("EUR").unwrap());
    event.settings = Settings { ticket: Some(ticket), ..Settings::capacity(Some(capacity)) };
    store.create(&event, &[]).await.unwrap();
    event
}

async fn status(store: &EventStore, event: &Event, user: &str) -> RsvpStatus {
    store.rsvp_of(&event.id, user).await.unwrap().unwrap().status
}

/// 60 users want 10 places and pay for none; as time goes by each is offered one, in the order of coming.
async fn a_hold_ends_by_itself(nodes: &[EventStore; 2]) {
    let event = paid(&nodes[0], 10).await;
    let mut at = now();
    let mut racers = JoinSet::new();
    for user in 0..60 {
        let (store, id) = (nodes[user % 2].clone(), event.id.clone());
        racers.spawn(async move {
            let user = format!("user {user:02}");
            store.rsvp(&id, &user, RsvpChoice::Going, at, |_| NO_EFFECTS).await.unwrap().unwrap().rsvp.status
        });
    }
    let statuses = racers.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == RsvpStatus::Held).count(), 10);
    let mut offered = 10;
    while offered < 60 {
        at += SignedDuration::from_hours(25);
        nodes[0].promote(&event.id, at, |_, _, _| NO_EFFECTS).await.unwrap();
        offered += 10;
        let kept = nodes[1].event(&event.id).await.unwrap().unwrap();
        assert_eq!(
            (kept.held, kept.counts),
            (10, RsvpCounts { going: 0, maybe: 0, waitlisted: 60 - offered })
        );
    }
    at += SignedDuration::from_hours(25);
    // The last holds end; nobody told, and still the places are free for whoever comes.
    for user in 0..10 {
        let newcomer = format!("newcomer {user}");
        let answer = nodes[1].rsvp(&event.id, &newcomer, RsvpChoice::Going, at, |_| NO_EFFECTS).await;
        assert_eq!(answer.unwrap().unwrap().rsvp.status, RsvpStatus::Held);
    }
    let again = nodes[0].rsvp(&event.id, "user 00", RsvpChoice::Going, at, |_| NO_EFFECTS).await;
    assert_eq!(again.unwrap().unwrap().rsvp.status, RsvpStatus::Waitlisted);
}

async fn late_money_takes_what_is_free(store: &EventStore) {
    let event = paid(store, 1).await;
    let hours = |hours| now() + SignedDuration::from_hours(hours);
    let answer = async |user: &str, at| {
        store.rsvp(&event.id, user, RsvpChoice::Going, at, |_| NO_EFFECTS).await.unwrap().unwrap().rsvp.status
    };
    let pay_for = async |people, user: &str, payment: &str, at| {
        let ticket = PaidTicket { payment: payment.to_owned(), people };
        store
            .take_paid(&event.id, user, ticket, at, |_| NO_EFFECTS)
            .await
            .unwrap()
            .unwrap()
            .map(|rsvp| rsvp.status)
    };
    let pay = async |user: &str, payment: &str, at| pay_for(1, user, payment, at).await;
    assert_eq!(answer("a", hours(0)).await, RsvpStatus::Held);
    assert_eq!(pay("nobody", "p0", hours(0)).await, None, "who did not answer");
    assert_eq!(answer("b", hours(2)).await, RsvpStatus::Held, "the hold of the first has ended");
    assert_eq!(pay("a", "p1", hours(2)).await, None, "there is no place any longer");
    assert_eq!(pay_for(2, "b", "p1", hours(2)).await, None, "for another party than comes");
    assert_eq!(pay("b", "p2", hours(2)).await, Some(RsvpStatus::Going));
    assert_eq!(pay("b", "p2", hours(2)).await, Some(RsvpStatus::Going), "told again");
    assert_eq!(pay("b", "p3", hours(2)).await, None, "a second payment for one place");
    store.rsvp(&event.id, "b", RsvpChoice::Declined, hours(2), |_| NO_EFFECTS).await.unwrap().unwrap();
    assert_eq!(pay("a", "p1", hours(3)).await, Some(RsvpStatus::Going), "late money, and a place");
    assert_eq!(status(store, &event, "b").await, RsvpStatus::Declined);
    // Who declined is not brought back by money, and a place that came to cost nothing is kept.
    assert_eq!(pay("b", "p2", hours(3)).await, None);
    let free = paid(store, 80).await;
    for user in 0..70 {
        let name = format!("user {user:02}");
        store.rsvp(&free.id, &name, RsvpChoice::Going, hours(0), |_| NO_EFFECTS).await.unwrap().unwrap();
    }
    let edit = |before: Edited| Edited { settings: Settings { ticket: None, ..before.settings }, ..before };
    let changed = store.change(&free.id, hours(0), edit, |change| {
        assert!(change.promoted.has_more);
        NO_EFFECTS
    });
    assert_eq!(changed.await.unwrap().unwrap().counts.going, 50);
    store.promote(&free.id, hours(0), |_, _, _| NO_EFFECTS).await.unwrap();
    let kept = store.event(&free.id).await.unwrap().unwrap();
    assert_eq!((kept.counts.going, kept.held), (70, 0));
    let kept = store.event(&event.id).await.unwrap().unwrap();
    assert_eq!((kept.counts.going, kept.held), (1, 0));
    assert_eq!(pay("b", "p4", event.when.over_at()).await, None, "the event is over");
}
