//! What events promise.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mundotango::community::events::answers::RsvpOutcome;
use mundotango::community::events::counts::TellCounts;
use mundotango::community::events::door::CheckIn;
use mundotango::community::events::listing::EventFilter;
use mundotango::community::events::places::Heads;
use mundotango::community::events::rules::{CoHostRole, RsvpChoice, RsvpCounts, RsvpStatus, Settings};
use mundotango::community::events::schedule::Schedule;
use mundotango::community::events::seating::Rsvp;
use mundotango::community::events::store::{Event, EventError, EventStore, EventType};
use mundotango::community::location::{Coordinates, Location};
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::{PageRequest, PageStart, StoreError, now};
use tokio::task::JoinSet;

use super::{NO_EFFECTS, first, handovers, places, walk};

/// A time that no other suite uses, so that lists by time hold this suite's events alone.
pub fn quiet_time() -> Timestamp {
    let offset = i64::try_from(uuid_part(&new_id())).unwrap_or_default();
    Timestamp::from_second(4_102_444_800 + offset * 1_000_000).unwrap()
}

fn uuid_part(id: &str) -> u64 {
    u64::from_str_radix(&id[id.len() - 4..], 16).unwrap()
}

pub fn event(start: Timestamp, capacity: Option<u32>) -> Event {
    let buenos_aires = TimeZone::get("America/Argentina/Buenos_Aires").unwrap();
    let made_at = now();
    Event {
        id: new_id(),
        host_id: new_id(),
        title: "Milonga del Sur".to_owned(),
        description: String::new(),
        when: Schedule::times(start.to_zoned_datetime(buenos_aires), None),
        location: Location { text: "La Viruta, Buenos Aires".to_owned(), ..Location::default() },
        event_type: EventType::Milonga,
        settings: Settings::capacity(capacity),
        is_draft: false,
        created_at: made_at,
        changed_at: made_at,
        going: Heads::default(),
        held: 0,
        sequence: 0,
        counts: RsvpCounts::default(),
        version: 0,
        cancelled: None,
        series: None,
        is_given_away: false,
        is_suspended: false,
    }
}

/// Runs the suite.
pub async fn events(nodes: &[Db; 2]) {
    let nodes = nodes.clone().map(EventStore::new);
    let store = &nodes[0];
    finds_what_it_created(store).await;
    lists_by_time_through_filters(store).await;
    what_is_over_is_neither_listed_nor_answered(store).await;
    answers_replace_each_other(store).await;
    the_waitlist_moves_up_in_order(store).await;
    capacity_is_never_exceeded(store).await;
    places_are_given_once(&nodes).await;
    places::places(&nodes).await;
    Box::pin(handovers::handovers(&nodes)).await;
    an_event_changes_hands_once(&nodes).await;
    lists_are_told_of_a_burst_at_its_begin_and_at_its_end(&nodes).await;
    the_events_of_a_person_are_listed(store).await;
    the_earliest_check_in_counts(&nodes).await;
}

async fn an_event_changes_hands_once(nodes: &[EventStore; 2]) {
    let event = event(quiet_time(), None);
    let store = &nodes[0];
    store.create(&event, &[]).await.unwrap();
    let refused = store.take_over(&event.id, "ben", now(), |_| NO_EFFECTS).await;
    assert!(matches!(refused, Err(EventError::NotOffered)));
    for to in ["ben", "eva"] {
        store.offer(&event.id, Some(to.to_owned()), |_| NO_EFFECTS).await.unwrap().unwrap();
    }
    let mut racers = JoinSet::new();
    for (number, user) in ["ben", "eva", "ben", "eva"].into_iter().enumerate() {
        let (store, id) = (nodes[number % 2].clone(), event.id.clone());
        racers.spawn(async move {
            store.take_over(&id, user, now(), |_| NO_EFFECTS).await.is_ok().then_some(user)
        });
    }
    let takers: Vec<_> = racers.join_all().await.into_iter().flatten().collect();
    assert!(takers.iter().all(|user| *user == "eva") && !takers.is_empty(), "{takers:?}");
    let taken = store.event(&event.id).await.unwrap().unwrap();
    assert_eq!(taken.host_id, "eva");
    assert_eq!(store.co_hosts(&event.id).await.unwrap(), [(event.host_id.clone(), CoHostRole::Editor)]);
    let hosted = store.of_host("eva", event.when.starts_at(), first(10)).await.unwrap().items;
    assert_eq!(hosted, [taken]);
    assert!(store.of_host(&event.host_id, event.when.starts_at(), first(10)).await.unwrap().items.is_empty());
}

/// However many answer by whatever node: one tells the counts at once, and one has them told a second later.
async fn lists_are_told_of_a_burst_at_its_begin_and_at_its_end(nodes: &[EventStore; 2]) {
    let event = event(quiet_time(), None);
    nodes[0].create(&event, &[]).await.unwrap();
    let at = now();
    let mut racers = JoinSet::new();
    for number in 0..50 {
        let (store, id) = (nodes[number % 2].clone(), event.id.clone());
        racers.spawn(async move {
            let user = format!("user {number}");
            store.rsvp(&id, &user, RsvpChoice::Going, at, |_| NO_EFFECTS).await.unwrap().unwrap().tell_counts
        });
    }
    let told: Vec<_> = racers.join_all().await.into_iter().flatten().collect();
    let later = TellCounts::At(at + SignedDuration::from_secs(1));
    assert!(told.len() == 2 && told.contains(&TellCounts::Now) && told.contains(&later), "{told:?}");
    let again = nodes[1].rsvp(&event.id, "user 0", RsvpChoice::Going, at, |_| NO_EFFECTS).await;
    assert_eq!(again.unwrap().unwrap().tell_counts, None, "what stands already changes no counts");
}

async fn the_events_of_a_person_are_listed(store: &EventStore) {
    let (user, start) = (new_id(), quiet_time());
    let mut made = Vec::new();
    for number in 0..7 {
        let event = event(start + SignedDuration::from_hours(number), Some(1));
        store.create(&event, &[]).await.unwrap();
        let choice = if number == 3 { RsvpChoice::Declined } else { RsvpChoice::Going };
        store.rsvp(&event.id, &user, choice, now(), |_| NO_EFFECTS).await.unwrap().unwrap();
        made.push(event.id);
    }
    store.rsvp(&made[5], &user, RsvpChoice::Declined, now(), |_| NO_EFFECTS).await.unwrap().unwrap();
    let wanted: Vec<_> = [0, 1, 2, 4, 6].map(|number: usize| made[number].clone()).to_vec();
    for limit in [1, 2, 50] {
        let read = async |page: PageRequest| store.of_user(&user, start, page).await;
        assert_eq!(
            walk(limit, read, |(event, _): &(Event, Rsvp)| event.id.clone()).await,
            wanted,
            "by {limit}"
        );
    }
    let later = store.of_user(&user, start + SignedDuration::from_hours(2), first(10)).await.unwrap();
    assert_eq!(later.items.len(), 3);
}

async fn the_earliest_check_in_counts(nodes: &[EventStore; 2]) {
    let (event_id, at) = (new_id(), now());
    let mut racers = JoinSet::new();
    for device in 0..8_i64 {
        let (store, id) = (nodes[usize::try_from(device).unwrap() % 2].clone(), event_id.clone());
        racers.spawn(async move {
            let noted = |user: i64| {
                let later = SignedDuration::from_secs((device * 3 + user) % 8);
                let check_in =
                    CheckIn { at: at + later, by: "host".to_owned(), device: Some(device.to_string()) };
                (format!("user {user}"), check_in)
            };
            store.check_in(&id, (0..20).map(noted).collect()).await.unwrap()
        });
    }
    let counts = racers.join_all().await;
    assert_eq!(counts.into_iter().max(), Some(20));
    let answers: Vec<_> = (0..21).map(|user| format!("user {user}")).collect();
    let came = nodes[1].came(&event_id, &answers).await.unwrap();
    assert_eq!(came.len(), 20);
    assert!(came.values().all(|check_in| check_in.at == at), "{came:?}");
}

async fn finds_what_it_created(store: &EventStore) {
    let event = event(quiet_time(), Some(3));
    store.create(&event, &[]).await.unwrap();
    assert_eq!(store.event(&event.id).await.unwrap(), Some(event.clone()));
    assert_eq!(store.event(&new_id()).await.unwrap(), None);
    assert_eq!(store.rsvp(&new_id(), "u", RsvpChoice::Going, now(), |_| NO_EFFECTS).await.unwrap(), None);
    assert_eq!(store.rsvp_of(&event.id, "u").await.unwrap(), None);
}

async fn lists_by_time_through_filters(store: &EventStore) {
    let start = quiet_time();
    let obelisco = Coordinates { latitude: -34.6037, longitude: -58.3816 };
    let mut expected = Vec::new();
    for number in 0..20_i64 {
        // Made out of order, two at each time.
        let at = start + SignedDuration::from_mins(((number * 7) % 20) / 2);
        let mut event = event(at, None);
        if number % 4 == 0 {
            event.event_type = EventType::Class;
            event.location.city = Some("Rosario".to_owned());
        }
        if number % 5 == 0 {
            event.location.coordinates = Some(obelisco);
        }
        store.create(&event, &[]).await.unwrap();
        expected.push(event);
    }
    expected.sort_by_key(|event| (event.when.starts_at(), event.id.clone()));
    let end = start + SignedDuration::from_hours(1);
    let all = EventFilter { from: Some(start), to: Some(end), ..EventFilter::default() };
    let near = Coordinates { latitude: -34.61, longitude: -58.38 };
    let filters = [
        all.clone(),
        EventFilter { event_type: Some(EventType::Class), ..all.clone() },
        EventFilter { city: Some("rosario".to_owned()), ..all.clone() },
        EventFilter { city: Some("BUENOS AIRES".to_owned()), ..all.clone() },
        EventFilter { near: Some((near, 5.0)), ..all.clone() },
        EventFilter { near: Some((near, 0.1)), ..all.clone() },
        EventFilter { from: Some(start + SignedDuration::from_mins(3)), ..all.clone() },
        EventFilter { to: Some(start + SignedDuration::from_mins(3)), ..all.clone() },
    ];
    for filter in filters {
        let wanted: Vec<_> =
            expected.iter().filter(|event| filter.holds(event)).map(|event| event.id.clone()).collect();
        for limit in [1, 3, 50] {
            let read = async |page: PageRequest| store.events(&filter, page).await;
            assert_eq!(
                walk(limit, read, |event: &Event| event.id.clone()).await,
                wanted,
                "{filter:?} by {limit}"
            );
        }
    }
    let second = PageRequest { start: PageStart::Skip(5), limit: 5 };
    let page = store.events(&all, second).await.unwrap();
    assert_eq!(page.items[0].id, expected[5].id);
    for cursor in ["", "x", "x.y", "12"] {
        let page = PageRequest { start: PageStart::After(cursor.to_owned()), limit: 5 };
        let refused = store.events(&all, page).await;
        assert!(matches!(refused, Err(StoreError::BadCursor)), "{cursor}");
    }
}

async fn what_is_over_is_neither_listed_nor_answered(store: &EventStore) {
    let (now, city) = (quiet_time(), new_id());
    let hours = SignedDuration::from_hours;
    let mut made = Vec::new();
    // When it starts, before or after now, and how long it lasts.
    for (start, lasts) in [
        (-100, Some(110)),
        (-100, Some(90)),
        (-80, Some(120)),
        (-20, None),
        (-11, None),
        (-5, Some(1)),
        (-5, Some(6)),
        (2, Some(30)),
        (3, None),
    ] {
        let mut event = event(now + hours(start), Some(1));
        event.when.end = lasts.map(|lasts| &event.when.start + hours(lasts));
        event.location.city = Some(city.clone());
        store.create(&event, &[]).await.unwrap();
        made.push(event);
    }
    made.sort_by_key(|event| event.when.starts_at());
    let is_on = |event: &&Event| event.when.over_at() > now;
    let wanted: Vec<_> = made.iter().filter(is_on).map(|event| event.id.clone()).collect();
    assert_eq!(wanted.len(), 6);
    let filter = EventFilter { still_on: Some(now), city: Some(city), ..EventFilter::default() };
    for limit in [1, 2, 3, 50] {
        let read = async |page: PageRequest| store.events(&filter, page).await;
        assert_eq!(walk(limit, read, |event: &Event| event.id.clone()).await, wanted, "by {limit}");
    }
    for skip in 0..7 {
        let page = PageRequest { start: PageStart::Skip(skip), limit: 2 };
        let items = store.events(&filter, page).await.unwrap().items;
        let ids: Vec<_> = items.into_iter().map(|event| event.id).collect();
        assert_eq!(ids, wanted.iter().skip(skip).take(2).cloned().collect::<Vec<_>>(), "behind {skip}");
    }
    for event in made {
        let last = event.when.over_at() - SignedDuration::from_millis(1);
        let going =
            store.rsvp(&event.id, "a", RsvpChoice::Going, last, |_| NO_EFFECTS).await.unwrap().unwrap();
        assert_eq!((going.rsvp.status, going.event.version), (RsvpStatus::Going, 1));
        let over = event.when.over_at();
        for (user, choice) in [("a", RsvpChoice::Declined), ("b", RsvpChoice::Going)] {
            let refused = store.rsvp(&event.id, user, choice, over, |_| NO_EFFECTS).await;
            assert!(matches!(refused, Err(EventError::Over)), "{refused:?}");
        }
        let again = store.rsvp(&event.id, "a", RsvpChoice::Going, over, |_| NO_EFFECTS).await;
        assert_eq!(again.unwrap().unwrap().event.counts.going, 1, "what stands is no new answer");
    }
}

async fn answers_replace_each_other(store: &EventStore) {
    let event = event(quiet_time(), None);
    store.create(&event, &[]).await.unwrap();
    let now = now();
    let answer =
        async |choice| store.rsvp(&event.id, "u", choice, now, |_| NO_EFFECTS).await.unwrap().unwrap();
    let steps = [
        (RsvpChoice::Maybe, RsvpStatus::Maybe, (0, 1)),
        (RsvpChoice::Going, RsvpStatus::Going, (1, 0)),
        (RsvpChoice::Going, RsvpStatus::Going, (1, 0)),
        (RsvpChoice::Declined, RsvpStatus::Declined, (0, 0)),
        (RsvpChoice::Going, RsvpStatus::Going, (1, 0)),
    ];
    let mut previous = None;
    for (choice, status, (going, maybe)) in steps {
        let outcome = answer(choice).await;
        assert_eq!((outcome.rsvp.status, outcome.previous), (status, previous));
        assert_eq!(outcome.event.counts, RsvpCounts { going, maybe, waitlisted: 0 });
        assert_eq!(store.event(&event.id).await.unwrap().unwrap().counts, outcome.event.counts);
        assert_eq!(store.rsvp_of(&event.id, "u").await.unwrap(), Some(outcome.rsvp));
        previous = Some(status);
    }
}

pub fn promoted(outcome: &RsvpOutcome) -> Vec<(String, RsvpStatus)> {
    outcome.promoted.answers.iter().map(|rsvp| (rsvp.user_id.clone(), rsvp.status)).collect()
}

async fn the_waitlist_moves_up_in_order(store: &EventStore) {
    let event = event(quiet_time(), Some(1));
    store.create(&event, &[]).await.unwrap();
    let now = now();
    let answer = async |user: &str, choice| {
        store.rsvp(&event.id, user, choice, now, |_| NO_EFFECTS).await.unwrap().unwrap()
    };
    // Named against the order of coming.
    for user in ["d", "c", "b", "a"] {
        answer(user, RsvpChoice::Going).await;
    }
    let again = answer("c", RsvpChoice::Going).await;
    assert_eq!(again.rsvp.status, RsvpStatus::Waitlisted, "asking again costs no place");
    assert_eq!(again.event.counts, RsvpCounts { going: 1, maybe: 0, waitlisted: 3 });
    answer("b", RsvpChoice::Declined).await;

    let freed = answer("d", RsvpChoice::Maybe).await;
    assert_eq!(promoted(&freed), [("c".to_owned(), RsvpStatus::Going)]);
    assert_eq!(freed.event.counts, RsvpCounts { going: 1, maybe: 1, waitlisted: 1 });
    let freed = answer("c", RsvpChoice::Declined).await;
    assert_eq!(promoted(&freed), [("a".to_owned(), RsvpStatus::Going)]);
    let freed = answer("a", RsvpChoice::Declined).await;
    assert_eq!((promoted(&freed), freed.event.counts.going), (Vec::new(), 0));
}

async fn capacity_is_never_exceeded(store: &EventStore) {
    let event = event(quiet_time(), Some(10));
    store.create(&event, &[]).await.unwrap();
    let racing: Vec<_> = (0..200)
        .map(|user| {
            let (store, event_id) = (store.clone(), event.id.clone());
            tokio::spawn(async move {
                let user_id = format!("user {user:03}");
                let now = now();
                let outcome = store
                    .rsvp(&event_id, &user_id, RsvpChoice::Going, now, |_| NO_EFFECTS)
                    .await
                    .unwrap()
                    .unwrap();
                assert!(outcome.event.counts.going <= 10);
                if user % 10 == 0 {
                    store.rsvp(&event_id, &user_id, RsvpChoice::Declined, now, |_| NO_EFFECTS).await.unwrap();
                }
            })
        })
        .collect();
    for racer in racing {
        racer.await.unwrap();
    }
    let counts = store.event(&event.id).await.unwrap().unwrap().counts;
    assert_eq!(counts, RsvpCounts { going: 10, maybe: 0, waitlisted: 170 });
    let mut statuses = Vec::new();
    let read = async |page: PageRequest| {
        let page = store.rsvps(&event.id, page).await?;
        statuses.extend(page.items.iter().map(|rsvp: &Rsvp| rsvp.status));
        Ok(page)
    };
    let users = walk(33, read, |rsvp: &Rsvp| rsvp.user_id.clone()).await;
    assert_eq!(users.len(), 200);
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(RsvpStatus::Going), count(RsvpStatus::Waitlisted)), (10, 170));
    assert!(store.rsvps(&new_id(), first(10)).await.unwrap().items.is_empty());
}

async fn places_are_given_once(nodes: &[EventStore; 2]) {
    let event = event(now(), Some(5));
    nodes[0].create(&event, &[]).await.unwrap();
    let mut racers = JoinSet::new();
    for user in 0..32 {
        let (events, id) = (nodes[user % 2].clone(), event.id.clone());
        racers.spawn(async move {
            let user = format!("user {user:02}");
            let outcome =
                events.rsvp(&id, &user, RsvpChoice::Going, now(), |_| NO_EFFECTS).await.unwrap().unwrap();
            assert!(outcome.event.counts.going <= 5);
            outcome.rsvp.status
        });
    }
    let statuses = racers.join_all().await;
    let going = statuses.iter().filter(|status| **status == RsvpStatus::Going).count();
    assert_eq!((going, statuses.len()), (5, 32));
    let counts = nodes[1].event(&event.id).await.unwrap().unwrap().counts;
    assert_eq!(counts, RsvpCounts { going: 5, maybe: 0, waitlisted: 27 });

    // All give their places back: whoever waited moves up until nobody is left.
    let mut racers = JoinSet::new();
    for user in 0..32 {
        let (events, id) = (nodes[user % 2].clone(), event.id.clone());
        racers.spawn(async move {
            let user = format!("user {user:02}");
            events.rsvp(&id, &user, RsvpChoice::Declined, now(), |_| NO_EFFECTS).await.unwrap().unwrap();
        });
    }
    racers.join_all().await;
    let counts = nodes[0].event(&event.id).await.unwrap().unwrap().counts;
    assert_eq!(counts, RsvpCounts::default());
}
