//! What decisions take away and give back, of each kind of thing: exactly what the decisions that stand say, however often and in
//! which order they are carried out and overturned, and whatever its owner does meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::{SignedDuration, Timestamp};
use mundotango::community::chat::blocks::NewMessage;
use mundotango::community::chat::hiding::HiddenMessages;
use mundotango::community::chat::kinds::Message;
use mundotango::community::chat::store::ChatStore;
use mundotango::community::effects::Effect;
use mundotango::community::events::rules::{RsvpChoice, Settings};
use mundotango::community::events::schedule::Schedule;
use mundotango::community::events::store::{Edited, Event, EventError, EventStore};
use mundotango::community::housing::bookings::saga::Bookings;
use mundotango::community::housing::listings::search::ListingFilter;
use mundotango::community::housing::listings::store::ListingStore;
use mundotango::community::posts::comments::hiding::HiddenComments;
use mundotango::community::posts::comments::lists::CommentOrder;
use mundotango::community::posts::comments::rules::CommentId;
use mundotango::community::posts::comments::store::{CommentStore, NewComment};
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, OUTBOX_SHARDS};
use mundotango_storage::{StoreError, now};

use super::events::{event, quiet_time};
use super::housing::{details, listing};
use super::moderation::act;
use super::{NO_EFFECTS, first};

/// Lives of a thing of each kind, and what happens in each.
const LIVES: usize = 3;
const STEPS: usize = 14;

/// A thing, and where it is kept.
enum Made {
    Comment(HiddenComments, CommentStore, CommentId),
    Message(HiddenMessages, ChatStore, String, u64),
    Event(EventStore, String),
    Listing(ListingStore, String, String),
}

fn told(_: u64, _: &Message) -> Result<Effect, StoreError> {
    Effect::publish("chat:x", &())
}

impl Made {
    async fn hide(&self, decision: &str) {
        match self {
            Self::Comment(hidden, _, id) => {
                hidden.hide(&id.to_string(), decision, act("x")).await.map(drop).unwrap();
            }
            Self::Message(hidden, _, chat, seq) => {
                hidden.hide(&format!("{chat}:{seq}"), decision, act("x")).await.unwrap();
            }
            Self::Event(store, id) => store.suspend(id, decision, act("x"), now()).await.map(drop).unwrap(),
            Self::Listing(store, id, _) => store.hide(id, decision, act("x")).await.map(drop).unwrap(),
        }
    }

    async fn give_back(&self, decision: &str) {
        match self {
            Self::Comment(hidden, _, id) => {
                hidden.show(&id.to_string(), decision, act("x")).await.map(drop).unwrap();
            }
            Self::Message(hidden, _, chat, seq) => {
                hidden.show(&format!("{chat}:{seq}"), decision, act("x")).await.unwrap();
            }
            Self::Event(store, id) => store.give_back(id, decision, act("x"), now()).await.map(drop).unwrap(),
            Self::Listing(store, id, _) => store.show(id, decision, act("x")).await.map(drop).unwrap(),
        }
    }

    /// Its owner deletes it; whether it is of a kind that can be deleted.
    async fn delete(&self) -> bool {
        match self {
            Self::Comment(_, store, id) => {
                store.remove(id, |_| NO_EFFECTS).await.unwrap();
                true
            }
            Self::Message(_, store, chat, seq) => {
                store.delete(chat, *seq, now(), told).await.unwrap();
                true
            }
            Self::Event(..) | Self::Listing(..) => false,
        }
    }

    /// Whether others see all of it; else they see nothing of it.
    async fn is_shown(&self) -> bool {
        match self {
            Self::Comment(_, store, id) => {
                let comment = store.comment(id).await.unwrap().filter(|comment| !comment.is_gone());
                let is_listed = !store
                    .list(&id.post, id.parent, CommentOrder::Oldest, first(10), |_| true)
                    .await
                    .unwrap()
                    .items
                    .is_empty();
                let shown = comment.is_some_and(|comment| comment.content == "Buy!");
                let (count, _) = store.count(&id.post).await.unwrap();
                assert_eq!((is_listed, count), (shown, u64::from(shown)));
                shown
            }
            Self::Message(_, store, chat, seq) => {
                let message = store.message(chat, *seq).await.unwrap().unwrap();
                let (is_deleted, text) = (message.deleted_at.is_some(), message.text);
                assert_eq!(text.as_deref(), (!is_deleted).then_some("Buy!"));
                let edit = store.edit(chat, *seq, "Buy!".to_owned(), now(), told).await;
                assert_eq!(edit.is_err(), is_deleted, "nobody changes what is taken away");
                !is_deleted
            }
            Self::Event(store, id) => {
                let is_there = !store.event(id).await.unwrap().unwrap().is_suspended;
                let answer = store.rsvp(id, &new_id(), RsvpChoice::Maybe, now(), |_| NO_EFFECTS).await;
                assert_eq!(!matches!(answer, Err(EventError::Draft)), is_there);
                is_there
            }
            Self::Listing(store, id, city) => {
                let filter = ListingFilter { city: Some(city.clone()), ..ListingFilter::default() };
                let found = store.listings(&filter, first(10)).await.unwrap().items;
                let is_there = !store.listing(id).await.unwrap().unwrap().is_hidden;
                assert_eq!(found.iter().any(|found| found.id == *id), is_there);
                is_there
            }
        }
    }
}

/// Runs the suite.
pub async fn taken_away(nodes: &[Db; 2]) {
    let mut chance = 7_u64;
    for life in 0..LIVES {
        for made in one_of_each(&nodes[life % 2]).await {
            Box::pin(a_life(&made, &mut chance)).await;
        }
    }
    // What is looked at afterwards is to hold all fields.
    for made in one_of_each(&nodes[0]).await {
        made.hide("last").await;
    }
    Box::pin(what_is_final_is_gone(nodes)).await;
    Box::pin(what_did_not_take_place_is_paid_back_also_when_its_date_has_passed(&nodes[0])).await;
    Box::pin(what_fell_due_meanwhile_is_done_when_an_event_is_given_back(&nodes[1])).await;
    Box::pin(a_suspended_event_tells_nothing_to_those_who_do_not_come(&nodes[0])).await;
}

async fn one_of_each(db: &Db) -> [Made; 4] {
    [comment(db).await, Box::pin(message(db)).await, an_event(db).await, place(db).await]
}

async fn comment(db: &Db) -> Made {
    let store = CommentStore::new(db.clone());
    let new = NewComment {
        request: new_id(),
        author_id: new_id(),
        content: "Buy!".to_owned(),
        mentions: std::collections::BTreeMap::new(),
        at: now(),
    };
    let comment = store.add(&new_id(), new, None, |_| NO_EFFECTS).await.unwrap().unwrap();
    Made::Comment(HiddenComments::new(db), store, comment.id)
}

async fn message(db: &Db) -> Made {
    let (store, owner) = (ChatStore::new(db.clone()), new_id());
    let (chat, _) = store.create_group(&new_id(), &owner, "Camp".to_owned(), false, now()).await.unwrap();
    let new = NewMessage {
        id: new_id(),
        at: now(),
        author: owner,
        text: Some("Buy!".to_owned()),
        attachments: Vec::new(),
        reply_to: None,
        mentions: Vec::new(),
        most_before: None,
    };
    let (seq, _) = store.send(&chat.id, new, told).await.unwrap();
    Made::Message(HiddenMessages::new(db), store, chat.id, seq)
}

async fn an_event(db: &Db) -> Made {
    let (store, event) = (EventStore::new(db.clone()), event(quiet_time(), None));
    store.create(&event, &[]).await.unwrap();
    Made::Event(store, event.id)
}

async fn place(db: &Db) -> Made {
    let (mut details, city) = (details(), new_id());
    details.location.city = Some(city.clone());
    let listing = listing(&Bookings::new(db), details).await;
    Made::Listing(ListingStore::new(db.clone()), listing.id, city)
}

/// Any sequence of decisions, of the same carried out again, of overturning and of deleting by the owner.
async fn a_life(made: &Made, chance: &mut u64) {
    let (mut standing, mut is_deleted, mut steps) = (BTreeSet::new(), false, Vec::new());
    for number in 0..STEPS {
        *chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let drawn = *chance >> 33;
        let decision = format!("d{}", drawn % 3);
        match (drawn >> 8) % 5 {
            // Late in a life, as nothing follows then.
            0 if number > STEPS / 2 => is_deleted |= made.delete().await,
            0..=2 => {
                made.hide(&decision).await;
                standing.insert(decision);
            }
            _ => {
                made.give_back(&decision).await;
                standing.remove(&decision);
            }
        }
        steps.push((drawn >> 8) % 5);
        let wanted = standing.is_empty() && !is_deleted;
        assert_eq!(made.is_shown().await, wanted, "{steps:?} {standing:?}");
    }
}

/// Once nothing can bring a thing back, it is gone, and only by the decision that took it.
async fn what_is_final_is_gone(nodes: &[Db; 2]) {
    let Made::Comment(hidden, store, id) = comment(&nodes[0]).await else { unreachable!("it is a comment") };
    let text = id.to_string();
    hidden.hide(&text, "a", act("x")).await.unwrap();
    assert!(!hidden.remove_hidden(&text, "b", act("x")).await.unwrap());
    assert!(hidden.remove_hidden(&text, "a", act("x")).await.unwrap());
    assert!(!hidden.show(&text, "a", act("x")).await.unwrap(), "nothing is left to give back");
    assert_eq!(store.count(&id.post).await.unwrap().0, 0);

    let Made::Message(hidden, store, chat, seq) = Box::pin(message(&nodes[0])).await else {
        unreachable!("a message")
    };
    let text = format!("{chat}:{seq}");
    hidden.hide(&text, "a", act("x")).await.unwrap();
    hidden.delete_hidden(&text, "a", act("x"), now()).await.unwrap();
    hidden.show(&text, "a", act("x")).await.unwrap();
    assert!(store.message(&chat, seq).await.unwrap().unwrap().deleted_at.is_some());

    let Made::Event(store, id) = an_event(&nodes[1]).await else { unreachable!("it is an event") };
    store.suspend(&id, "a", act("x"), now()).await.unwrap();
    store.cancel_suspended(&id, "b", act("x"), now()).await.unwrap();
    assert!(store.event(&id).await.unwrap().unwrap().cancelled.is_none(), "another decision does nothing");
    store.cancel_suspended(&id, "a", act("x"), now()).await.unwrap();
    assert!(store.event(&id).await.unwrap().unwrap().cancelled.is_some());
}

/// The jobs that changes of an event have caused, by their names, and when they are due.
pub async fn caused(db: &Db, event_id: &str) -> Vec<(String, Option<Timestamp>)> {
    let mut jobs = Vec::new();
    for shard in 0..OUTBOX_SHARDS {
        let mut after = None;
        loop {
            let page = db.outbox(shard, after.as_deref(), 500).await.unwrap();
            for due in &page.items {
                for (_, effect) in due.effects().unwrap().into_iter().flatten() {
                    let Ok(Effect::Job(new)) = effect.read::<Effect>() else { continue };
                    let new = serde_json::to_value(new).unwrap();
                    if new["job"]["group"] == event_id {
                        let due = new["due"].as_str().map(|due| due.parse().unwrap());
                        jobs.push((new["job"]["kind"].as_str().unwrap().to_owned(), due));
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    jobs
}

async fn given(store: &EventStore, event: Event) -> Event {
    store.create(&event, &[]).await.unwrap();
    event
}

/// However long an appeal takes: an event that was taken away before it was over is cancelled, and who paid is paid back.
async fn what_did_not_take_place_is_paid_back_also_when_its_date_has_passed(db: &Db) {
    let (store, start) = (EventStore::new(db.clone()), quiet_time());
    let at = |hours| start + SignedDuration::from_hours(hours);
    for (suspended_at, is_cancelled) in [(-2, true), (11, true), (12, false)] {
        let event = given(&store, event(start, None)).await;
        store.suspend(&event.id, "a", act("x"), at(suspended_at)).await.unwrap();
        // Another one, and the first one again, do not make it a later one.
        store.suspend(&event.id, "b", act("x"), at(200)).await.unwrap();
        store.suspend(&event.id, "a", act("x"), at(300)).await.unwrap();
        for _ in 0..2 {
            store.cancel_suspended(&event.id, "a", act("x"), at(400)).await.unwrap();
        }
        let after = store.event(&event.id).await.unwrap().unwrap();
        assert_eq!(after.cancelled.is_some(), is_cancelled, "suspended {suspended_at} hours after its start");
        let jobs = caused(db, &event.id).await;
        let refunds = jobs.iter().filter(|(kind, _)| kind == "ticket_refunds").count();
        assert_eq!(refunds, usize::from(is_cancelled), "{jobs:?}");
    }
    // One that is given back has begun anew: what is suspended once more took place where it is over by then.
    let event = given(&store, event(start, None)).await;
    store.suspend(&event.id, "a", act("x"), at(-2)).await.unwrap();
    store.give_back(&event.id, "a", act("x"), at(-1)).await.unwrap();
    store.suspend(&event.id, "b", act("x"), at(20)).await.unwrap();
    store.cancel_suspended(&event.id, "b", act("x"), at(400)).await.unwrap();
    assert!(store.event(&event.id).await.unwrap().unwrap().cancelled.is_none());
}

/// What was to be told, asked and given while an event was away is so once it is there again.
async fn what_fell_due_meanwhile_is_done_when_an_event_is_given_back(db: &Db) {
    let (store, start) = (EventStore::new(db.clone()), quiet_time());
    let at = |hours| start + SignedDuration::from_hours(hours);
    let settings = Settings { ask_again: Some(3), ..Settings::default() };
    // When it is suspended and given back, in hours after its start, and what is done then, by its hour.
    for (away, back, reminded, asked) in [
        (-100, -90, Some(-24), Some(-72)),
        (-100, -10, Some(-10), Some(-10)),
        (-50, -10, Some(-10), None),
        (-20, -10, None, None),
        (-100, 30, None, None),
    ] {
        let event = given(&store, Event { settings, ..event(start, None) }).await;
        store.suspend(&event.id, "a", act("x"), at(away)).await.unwrap();
        store.give_back(&event.id, "a", act("x"), at(back)).await.unwrap();
        let jobs = caused(db, &event.id).await;
        let due = |kind: &str| jobs.iter().find(|(known, _)| known == kind).and_then(|(_, due)| *due);
        assert_eq!(due("event_reminders"), reminded.map(at), "{away} {back}");
        assert_eq!(due("event_still_coming"), asked.map(at), "{away} {back}");
        assert!(due("points_event").is_some_and(|due| due > event.when.over_at()), "{away} {back}");
        assert_eq!(due("event_moved"), None, "it was not moved");
    }

    let event = given(&store, event(start, None)).await;
    let elsewhere = |mut before: Edited| {
        "Another hall".clone_into(&mut before.plan.location.text);
        before
    };
    store.change(&event.id, at(-100), elsewhere, |_| NO_EFFECTS).await.unwrap().unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let tell = async || {
        let told = Arc::clone(&told);
        let tell = move |_: &Event, _: &Schedule| {
            told.fetch_add(1, Ordering::Relaxed);
            Effect::publish("chat:x", &())
        };
        store.take_move(&event.id, tell).await.unwrap();
    };
    store.suspend(&event.id, "a", act("x"), at(-99)).await.unwrap();
    tell().await;
    assert_eq!(told.load(Ordering::Relaxed), 0, "what it says is told to nobody");
    store.give_back(&event.id, "a", act("x"), at(-50)).await.unwrap();
    assert!(caused(db, &event.id).await.contains(&("event_moved".to_owned(), Some(at(-50)))));
    tell().await;
    assert!(told.load(Ordering::Relaxed) > 0);
}

/// Who has no place at a suspended event learns nothing of it by declining, and nobody takes a place at it.
async fn a_suspended_event_tells_nothing_to_those_who_do_not_come(db: &Db) {
    let store = EventStore::new(db.clone());
    let event = given(&store, event(quiet_time(), None)).await;
    let answer = async |user: &str, choice: RsvpChoice| {
        store.rsvp(&event.id, user, choice, now(), |_| NO_EFFECTS).await
    };
    let offer = async || {
        let answer = store.rsvp_of(&event.id, "b").await.unwrap().unwrap();
        answer.open_offer(&store.event(&event.id).await.unwrap().unwrap(), now()).is_some()
    };
    answer("a", RsvpChoice::Declined).await.unwrap();
    for user in ["b", "c"] {
        answer(user, RsvpChoice::Going).await.unwrap();
    }
    store.offer_place(&event.id, ("b", "d"), now(), |_, _| NO_EFFECTS).await.unwrap().unwrap();
    assert!(offer().await);
    store.suspend(&event.id, "x", act("x"), now()).await.unwrap();
    assert!(!offer().await, "the place is not to be had");
    let refused = answer("a", RsvpChoice::Declined).await;
    assert!(matches!(refused, Err(EventError::Draft)), "{refused:?}");
    let outcome = answer("c", RsvpChoice::Declined).await.unwrap().unwrap();
    assert_eq!(outcome.event.counts.going, 1, "who comes gives the place back");
    let refused = answer("c", RsvpChoice::Declined).await;
    assert!(matches!(refused, Err(EventError::Draft)), "{refused:?}");
    store.give_back(&event.id, "x", act("x"), now()).await.unwrap();
    assert!(offer().await);
}
