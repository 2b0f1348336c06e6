//! What handing a place on promises: it goes over as it is, to whom it is offered, and nobody who waits is passed.

use jiff::SignedDuration;
use mundotango::community::events::answers::RsvpOutcome;
use mundotango::community::events::handover::{MOST_OFFERS_TO_ONE, OFFERED_FOR, Unfit};
use mundotango::community::events::places::{DanceRole, Limit, Limits, Party};
use mundotango::community::events::rules::{NewAnswer, RsvpChoice, RsvpCounts, RsvpStatus};
use mundotango::community::events::store::{Event, EventError, EventStore};
use mundotango_storage::now;
use tokio::task::JoinSet;

use super::NO_EFFECTS;
use super::places::{limited, paid, party, summed_up};

/// Runs the suite.
pub async fn handovers(nodes: &[EventStore; 2]) {
    let store = &nodes[0];
    a_place_goes_over_and_nobody_moves_up(store).await;
    an_offer_ends(store).await;
    a_place_is_for_those_who_dance_the_same(store).await;
    a_place_in_the_line_keeps_its_number(store).await;
    money_holds_a_place_back(store).await;
    offers_are_few(store).await;
    Box::pin(a_hundred_take_places_at_once(nodes)).await;
}

async fn answer(store: &EventStore, event: &Event, user: &str, new: impl Into<NewAnswer>) -> RsvpOutcome {
    store.rsvp(&event.id, user, new, now(), |_| NO_EFFECTS).await.unwrap().unwrap()
}

async fn offer(store: &EventStore, event: &Event, from: &str, to: &str) -> Result<(), EventError> {
    let offered = store.offer_place(&event.id, (from, to), now(), |_, _| NO_EFFECTS).await?;
    assert_eq!(offered.unwrap().to, to);
    Ok(())
}

async fn take(
    store: &EventStore,
    event: &Event,
    (from, to): (&str, &str),
    party: Option<Party>,
) -> Result<RsvpOutcome, EventError> {
    let handed = store.take_place(&event.id, (from, to), party, now(), |_| NO_EFFECTS).await?.unwrap();
    assert_eq!((handed.giver.user_id.as_str(), handed.giver.status), (from, RsvpStatus::Declined));
    assert_eq!(handed.giver.handover, None);
    Ok(handed.taken)
}

async fn status(store: &EventStore, event: &Event, user: &str) -> RsvpStatus {
    store.rsvp_of(&event.id, user).await.unwrap().unwrap().status
}

async fn a_place_goes_over_and_nobody_moves_up(store: &EventStore) {
    let event = limited(store, Limits::total(Some(2))).await;
    answer(store, &event, "a", party(DanceRole::Lead, &[DanceRole::Follow])).await;
    let first = answer(store, &event, "b", RsvpChoice::Going).await;
    assert_eq!(first.rsvp.status, RsvpStatus::Waitlisted);
    assert!(matches!(offer(store, &event, "nobody", "c").await, Err(EventError::NoPlace)));
    assert!(matches!(offer(store, &event, "a", "a").await, Err(EventError::AlreadyThere)));
    offer(store, &event, "a", "c").await.unwrap();
    offer(store, &event, "a", "c").await.unwrap();
    assert!(matches!(offer(store, &event, "a", "d").await, Err(EventError::AlreadyOffered)));
    for user in ["b", "d"] {
        assert!(matches!(take(store, &event, ("a", user), None).await, Err(EventError::NotHanded)));
    }
    let three = party(DanceRole::Lead, &[DanceRole::Follow, DanceRole::Follow]).party;
    let larger = take(store, &event, ("a", "c"), three).await;
    assert!(matches!(larger, Err(EventError::Unfit(Unfit::Larger))), "{larger:?}");
    let offered = store.places_offered(&event, "c", now()).await.unwrap();
    assert_eq!(offered.iter().map(|rsvp| rsvp.user_id.as_str()).collect::<Vec<_>>(), ["a"]);

    let taken = take(store, &event, ("a", "c"), None).await.unwrap();
    assert_eq!((taken.rsvp.status, taken.rsvp.party.guests.len()), (RsvpStatus::Going, 1), "as it is");
    assert_eq!(taken.event.counts, RsvpCounts { going: 2, maybe: 0, waitlisted: 1 });
    assert_eq!(store.position(&first.rsvp).await.unwrap(), Some(1));
    assert!(matches!(take(store, &event, ("a", "c"), None).await, Err(EventError::NotHanded)), "once");
    assert!(store.places_offered(&event, "c", now()).await.unwrap().is_empty());

    // A smaller party leaves a place to the first who waits.
    offer(store, &event, "c", "d").await.unwrap();
    let taken = take(store, &event, ("c", "d"), Some(Party::default())).await.unwrap();
    assert_eq!(super::events::promoted(&taken), [("b".to_owned(), RsvpStatus::Going)]);
    let kept = store.event(&event.id).await.unwrap().unwrap();
    assert_eq!(summed_up(store, &event.id).await, (kept.counts, kept.going));
}

/// It is taken back, declined, or too late; or the giver answers anew, or comes no more, or the event does not take place.
async fn an_offer_ends(store: &EventStore) {
    let event = limited(store, Limits::total(Some(3))).await;
    for user in ["a", "b"] {
        answer(store, &event, user, RsvpChoice::Going).await;
    }
    let is_over = async |what: &str| {
        let refused = take(store, &event, ("a", "c"), None).await;
        assert!(matches!(refused, Err(EventError::NotHanded)), "{what}: {refused:?}");
        assert!(store.places_offered(&event, "c", now()).await.unwrap().is_empty(), "{what}");
    };
    offer(store, &event, "a", "c").await.unwrap();
    store.take_place_back(&event.id, "a").await.unwrap();
    is_over("taken back").await;
    offer(store, &event, "a", "c").await.unwrap();
    let decline = async || store.decline_place(&event.id, ("a", "c"), now(), |_| NO_EFFECTS).await;
    assert_eq!(decline().await.unwrap(), Some(()));
    assert!(matches!(decline().await, Err(EventError::NotHanded)));
    is_over("declined").await;
    assert_eq!(status(store, &event, "a").await, RsvpStatus::Going, "it stays the giver's");
    offer(store, &event, "a", "c").await.unwrap();
    answer(store, &event, "a", RsvpChoice::Declined).await;
    is_over("the giver does not come").await;
    answer(store, &event, "a", RsvpChoice::Going).await;
    is_over("another answer is another place").await;

    offer(store, &event, "a", "c").await.unwrap();
    let end = now() + OFFERED_FOR + SignedDuration::from_secs(1);
    let late = store.take_place(&event.id, ("a", "c"), None, end, |_| NO_EFFECTS).await;
    assert!(matches!(late, Err(EventError::NotHanded)), "{late:?}");
    assert!(store.places_offered(&event, "c", end).await.unwrap().is_empty());
    let again = store.offer_place(&event.id, ("a", "d"), end, |_, _| NO_EFFECTS).await;
    assert_eq!(again.unwrap().unwrap().to, "d", "who offered in vain may offer anew");
    // Who has a place by now takes no other.
    answer(store, &event, "d", RsvpChoice::Going).await;
    let taken = store.take_place(&event.id, ("a", "d"), None, end, |_| NO_EFFECTS).await;
    assert!(matches!(taken, Err(EventError::AlreadyThere)), "{taken:?}");
    let begun = event.when.starts_at();
    let refused = store.offer_place(&event.id, ("b", "c"), begun, |_, _| NO_EFFECTS).await;
    assert!(matches!(refused, Err(EventError::Begun)), "{refused:?}");
    offer(store, &event, "b", "c").await.unwrap();
    let cancelled = mundotango::community::events::rules::Cancelled { at: now(), reason: None };
    store.cancel(&event.id, cancelled, |_| NO_EFFECTS).await.unwrap().unwrap();
    let refused = take(store, &event, ("b", "c"), None).await;
    assert!(matches!(refused, Err(EventError::Cancelled)), "{refused:?}");
    let event = store.event(&event.id).await.unwrap().unwrap();
    assert!(store.places_offered(&event, "c", now()).await.unwrap().is_empty());
}

async fn a_place_is_for_those_who_dance_the_same(store: &EventStore) {
    let limits = Limits { total: Some(4), leads: Some(1), follows: Some(2) };
    let event = limited(store, limits).await;
    let dances = |role| party(role, &[]).party;
    answer(store, &event, "a", party(DanceRole::Lead, &[])).await;
    answer(store, &event, "b", party(DanceRole::Follow, &[])).await;
    offer(store, &event, "a", "c").await.unwrap();
    let follows = answer(store, &event, "d", party(DanceRole::Follow, &[])).await;
    assert_eq!(follows.rsvp.status, RsvpStatus::Going);
    let refused = take(store, &event, ("a", "c"), dances(DanceRole::Follow)).await;
    assert!(matches!(refused, Err(EventError::Unfit(Unfit::NoRoom(Limit::Follows)))), "{refused:?}");
    answer(store, &event, "d", RsvpChoice::Declined).await;
    let taken = take(store, &event, ("a", "c"), dances(DanceRole::Follow)).await.unwrap();
    assert_eq!((taken.event.going.leads, taken.event.going.follows), (0, 2), "there was room");
    let lead = answer(store, &event, "e", party(DanceRole::Lead, &[])).await;
    assert_eq!(lead.rsvp.status, RsvpStatus::Going, "a lead's place is free by that");
}

async fn a_place_in_the_line_keeps_its_number(store: &EventStore) {
    let event = limited(store, Limits::total(Some(1))).await;
    for user in ["a", "b", "c", "d"] {
        answer(store, &event, user, RsvpChoice::Going).await;
    }
    offer(store, &event, "b", "d").await.unwrap();
    let refused = take(store, &event, ("b", "d"), None).await;
    assert!(matches!(refused, Err(EventError::AlreadyThere)), "who waits does not move: {refused:?}");
    store.take_place_back(&event.id, "b").await.unwrap();
    offer(store, &event, "b", "e").await.unwrap();
    let taken = take(store, &event, ("b", "e"), None).await.unwrap();
    assert_eq!((taken.rsvp.status, taken.waits_for), (RsvpStatus::Waitlisted, Some(Limit::Capacity)));
    assert_eq!(store.position(&taken.rsvp).await.unwrap(), Some(1));
    // Who waits takes the place of one who goes, and leaves the line.
    offer(store, &event, "a", "d").await.unwrap();
    let taken = take(store, &event, ("a", "d"), None).await.unwrap();
    assert_eq!(taken.event.counts, RsvpCounts { going: 1, maybe: 0, waitlisted: 2 });
    let freed = answer(store, &event, "d", RsvpChoice::Declined).await;
    assert_eq!(super::events::promoted(&freed), [("e".to_owned(), RsvpStatus::Going)]);
    let freed = answer(store, &event, "e", RsvpChoice::Declined).await;
    assert_eq!(super::events::promoted(&freed), [("c".to_owned(), RsvpStatus::Going)]);
    assert_eq!(status(store, &event, "b").await, RsvpStatus::Declined);
}

async fn money_holds_a_place_back(store: &EventStore) {
    let event = paid(store, 1).await;
    for user in ["a", "b"] {
        answer(store, &event, user, RsvpChoice::Going).await;
    }
    assert!(matches!(offer(store, &event, "a", "c").await, Err(EventError::PlaceIsPaid)));
    offer(store, &event, "b", "c").await.unwrap();
    let taken = take(store, &event, ("b", "c"), None).await.unwrap();
    assert_eq!(taken.rsvp.status, RsvpStatus::Waitlisted, "nothing is to be paid in the line");
    let freed = answer(store, &event, "a", RsvpChoice::Declined).await;
    assert_eq!(super::events::promoted(&freed), [("c".to_owned(), RsvpStatus::Held)]);
}

async fn offers_are_few(store: &EventStore) {
    let event = limited(store, Limits::default()).await;
    for number in 0..=MOST_OFFERS_TO_ONE {
        let user = format!("user {number}");
        answer(store, &event, &user, RsvpChoice::Going).await;
        let offered = offer(store, &event, &user, "ben").await;
        let is_one_too_many = matches!(offered, Err(EventError::OfferedEnough));
        assert_eq!(is_one_too_many, number == MOST_OFFERS_TO_ONE, "{number}: {offered:?}");
    }
    let later = now() + OFFERED_FOR + SignedDuration::from_secs(1);
    let last = format!("user {MOST_OFFERS_TO_ONE}");
    let offered = store.offer_place(&event.id, (&last, "ben"), later, |_, _| NO_EFFECTS).await;
    assert!(offered.is_ok(), "what is over takes no room: {offered:?}");
    // Who leaves the community is offered nothing any more, and offers nothing.
    store.take_out(&event.id, "ben", now()).await.unwrap();
    assert_eq!(store.rsvp_of(&event.id, &last).await.unwrap().unwrap().handover, None);
    assert!(store.places_offered(&event, "ben", now()).await.unwrap().is_empty());
}

/// 50 go and 50 wait; each offers the place to one of 25 people, and all of these take all at once, by two nodes.
async fn a_hundred_take_places_at_once(nodes: &[EventStore; 2]) {
    let event = limited(&nodes[0], Limits::total(Some(50))).await;
    let takers = 25;
    for number in 0..100_usize {
        let (store, user) = (&nodes[number % 2], format!("giver {number:02}"));
        let answered = answer(store, &event, &user, RsvpChoice::Going).await;
        let goes = answered.rsvp.status == RsvpStatus::Going;
        assert_eq!(goes, number < 50);
        offer(store, &event, &user, &format!("taker {}", number % takers)).await.unwrap();
    }
    let mut racers = JoinSet::new();
    for number in 0..100_usize {
        let (store, id) = (nodes[number / 2 % 2].clone(), event.id.clone());
        racers.spawn(async move {
            let (from, to) = (format!("giver {number:02}"), format!("taker {}", number % takers));
            match store.take_place(&id, (&from, &to), None, now(), |_| NO_EFFECTS).await {
                Ok(Some(handed)) => {
                    assert_eq!(handed.taken.event.counts.going, 50);
                    Some(number)
                }
                Err(EventError::AlreadyThere) => None,
                other => panic!("{other:?}"),
            }
        });
    }
    let went: Vec<_> = racers.join_all().await.into_iter().flatten().collect();
    assert_eq!(went.iter().filter(|number| **number < 50).count(), takers, "one place for each");
    for taker in 0..takers {
        let user = format!("taker {taker}");
        assert_eq!(status(&nodes[taker % 2], &event, &user).await, RsvpStatus::Going);
    }
    for number in 0..100 {
        let wanted = match (went.contains(&number), number < 50) {
            (true, _) => RsvpStatus::Declined,
            (false, true) => RsvpStatus::Going,
            (false, false) => RsvpStatus::Waitlisted,
        };
        assert_eq!(status(&nodes[0], &event, &format!("giver {number:02}")).await, wanted);
    }
    let kept = nodes[1].event(&event.id).await.unwrap().unwrap();
    assert_eq!(summed_up(&nodes[0], &event.id).await, (kept.counts, kept.going));
    let waiting = 50 - went.iter().filter(|number| **number >= 50).count();
    assert_eq!((kept.counts.going, kept.counts.waitlisted), (50, u32::try_from(waiting).unwrap()));
}
