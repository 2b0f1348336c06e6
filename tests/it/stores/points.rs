//! What points and boards promise.

use mundotango::community::events::rules::RsvpChoice;
use mundotango::community::events::store::EventStore;
use mundotango::community::points::board::{self, BoardStore, MOST_KEPT, Standing};
use mundotango::community::points::rules::{Cause, Deed, Told};
use mundotango::community::points::store::ScoreStore;
use mundotango::community::points::work::PointsWorker;
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::now;
use tokio::task::JoinSet;

use super::events::{event, quiet_time};
use super::{NO_EFFECTS, first};

/// Runs the suite.
pub async fn points(nodes: &[Db; 2]) {
    a_deed_counts_once_however_often_it_is_told(nodes).await;
    what_is_taken_back_before_it_was_told_counts_never(&nodes[0]).await;
    the_newest_of_what_is_told_counts(&nodes[0]).await;
    a_board_keeps_the_best_and_loses_who_hides(nodes).await;
    an_event_earns_points_once_it_is_over(nodes).await;
}

fn deed(cause: Cause, day: &str) -> Deed {
    Deed { cause, thing: new_id(), day: day.to_owned(), city: Some("berlin".to_owned()), host: None }
}

async fn a_deed_counts_once_however_often_it_is_told(nodes: &[Db; 2]) {
    let user = new_id();
    let deeds: Vec<_> = (0..3).map(|_| deed(Cause::Post, "2026-11-30")).collect();
    let mut telling = JoinSet::new();
    for (number, deed) in (0..6).flat_map(|_| &deeds).enumerate() {
        let (store, user, deed) = (ScoreStore::new(nodes[number % 2].clone()), user.clone(), deed.clone());
        telling.spawn(async move { store.note(&user, &deed, (Told::Done, 0)).await.unwrap() });
    }
    telling.join_all().await;
    let store = ScoreStore::new(nodes[0].clone());
    assert_eq!(store.score(&user).await.unwrap().points, 6);
    for _ in 0..2 {
        store.note(&user, &deeds[1], (Told::TakenBack, 0)).await.unwrap();
    }
    let score = store.score(&user).await.unwrap();
    assert_eq!((score.points, score.months["2026-11"].cities["berlin"]), (4, 4));
    let listed = store.deeds(&user, first(10)).await.unwrap().items;
    let things: Vec<_> = listed.iter().map(|entry| (&entry.deed.thing, entry.is_taken_back)).collect();
    assert_eq!(things, [(&deeds[2].thing, false), (&deeds[1].thing, true), (&deeds[0].thing, false)]);
    // A day earns so much and no more.
    for _ in 0..12 {
        store.note(&user, &deed(Cause::Post, "2026-11-30"), (Told::Done, 0)).await.unwrap();
    }
    assert_eq!(store.score(&user).await.unwrap().points, 20);
}

async fn what_is_taken_back_before_it_was_told_counts_never(db: &Db) {
    let (store, user, deed) = (ScoreStore::new(db.clone()), new_id(), deed(Cause::Post, "2026-11-30"));
    store.note(&user, &deed, (Told::TakenBack, 0)).await.unwrap();
    store.note(&user, &deed, (Told::Done, 0)).await.unwrap();
    assert_eq!(store.score(&user).await.unwrap().points, 0);
}

/// What is told of a deed comes in any order and more than once: it counts as the newest of it says.
async fn the_newest_of_what_is_told_counts(db: &Db) {
    let told = [(Told::Done, 0), (Told::TakenBack, 1), (Told::Done, 2), (Told::TakenBack, 3)];
    for order in 0..24_usize {
        let (store, user, deed) = (ScoreStore::new(db.clone()), new_id(), deed(Cause::Post, "2026-11-30"));
        // One of the orders of four things.
        let (mut left, mut code) = (told.to_vec(), order);
        let mut newest = 0;
        for count in (1..=told.len()).rev() {
            let (is_done, version) = left.remove(code % count);
            code /= count;
            newest = newest.max(version);
            for _ in 0..2 {
                store.note(&user, &deed, (is_done, version)).await.unwrap();
            }
            let points = if newest % 2 == 0 { 2 } else { 0 };
            assert_eq!(store.score(&user).await.unwrap().points, points, "order {order}, up to {newest}");
        }
    }
}

async fn a_board_keeps_the_best_and_loses_who_hides(nodes: &[Db; 2]) {
    let [store, other] = nodes.clone().map(BoardStore::new);
    let board = board::id(Some("2020-01"), Some(&new_id()));
    let place = async |store: &BoardStore, user: &str, points: u32, version: u64, is_shown: bool| {
        store.place(&board, user, Standing { points, version }, is_shown).await.unwrap();
    };
    let count = u32::try_from(MOST_KEPT).unwrap() + 20;
    for number in 0..count {
        let store = if number % 2 == 0 { &store } else { &other };
        place(store, &format!("u{number}"), number + 1, 1, true).await;
    }
    let standings = store.standings(&board).await.unwrap();
    assert_eq!(standings.len(), MOST_KEPT);
    let points: Vec<_> = standings.iter().map(|(_, standing)| standing.points).collect();
    assert_eq!(points, (21..=count).rev().collect::<Vec<_>>(), "the best, in their order");
    // An older standing comes late.
    let best = format!("u{}", count - 1);
    place(&other, &best, 500, 3, true).await;
    place(&store, &best, 400, 2, true).await;
    assert_eq!(
        store.standings(&board).await.unwrap()[0],
        (best.clone(), Standing { points: 500, version: 3 })
    );
    place(&store, &best, 500, 4, false).await;
    let standings = store.standings(&board).await.unwrap();
    assert_eq!((standings.len(), standings[0].1.points), (MOST_KEPT - 1, count - 1));
}

async fn an_event_earns_points_once_it_is_over(nodes: &[Db; 2]) {
    let [events, _] = nodes.clone().map(EventStore::new);
    let [worker, other] = [PointsWorker::new(&nodes[0]), PointsWorker::new(&nodes[1])];
    let scores = ScoreStore::new(nodes[0].clone());
    let boards = BoardStore::new(nodes[0].clone());
    let city = new_id();
    let mut milonga = event(quiet_time(), None);
    milonga.location.city = Some(city.to_uppercase());
    events.create(&milonga, &[]).await.unwrap();
    let guests: Vec<_> = (0..4).map(|_| new_id()).collect();
    for guest in guests.iter().chain([&milonga.host_id]) {
        events.rsvp(&milonga.id, guest, RsvpChoice::Going, now(), |_| NO_EFFECTS).await.unwrap().unwrap();
    }
    let over_at = milonga.when.over_at();
    let nothing = worker.event_is_over(&milonga.id, over_at, None, now()).await.unwrap();
    assert_eq!((nothing, scores.score(&guests[0]).await.unwrap().points), (None, 0), "it is not over yet");
    for worker in [&worker, &other] {
        assert_eq!(worker.event_is_over(&milonga.id, over_at, None, over_at).await.unwrap(), None);
    }
    let points = async |user: &str| scores.score(user).await.unwrap().points;
    assert_eq!(points(&milonga.host_id).await, 10);
    for guest in &guests {
        assert_eq!(points(guest).await, 5);
    }
    // Boards follow.
    let month = over_at.to_string()[..7].to_owned();
    for user in guests.iter().chain([&milonga.host_id]) {
        assert!(worker.list(user, Some(&month), Some(&city)).await.unwrap());
    }
    let board = board::id(Some(&month), Some(&city.to_uppercase()));
    let standings = boards.standings(&board).await.unwrap();
    assert_eq!((standings.len(), &standings[0].0), (5, &milonga.host_id));
    // Who does not want to be compared is on no board.
    assert!(scores.hide(&milonga.host_id, true).await.unwrap());
    assert!(worker.list(&milonga.host_id, None, None).await.unwrap());
    assert_eq!(boards.standings(&board).await.unwrap().len(), 4);
    assert!(!scores.hide(&milonga.host_id, true).await.unwrap());
}
