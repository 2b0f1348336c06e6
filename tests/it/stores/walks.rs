//! Random walks: whatever is done at an event or a place to stay, by whom, on which node, in which order, and wherever a caller is
//! cut off, what they promise holds after each step, and at the end the jobs bring all of it to rest. A seed makes a walk again.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, try_join_all};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mundotango::community::events::places::{DanceRole, Limits, Party};
use mundotango::community::events::rules::{NewAnswer, RsvpChoice, RsvpStatus, Settings};
use mundotango::community::events::seating::{PaidTicket, Rsvp};
use mundotango::community::events::store::{Edited, Event, EventError, EventStore};
use mundotango::community::housing::bookings::reviews::Review;
use mundotango::community::housing::bookings::rules::Booking;
use mundotango::community::housing::bookings::saga::Bookings;
use mundotango::community::housing::bookings::store::Subject;
use mundotango::community::housing::error::HousingError;
use mundotango::community::housing::listings::kind::Listing;
use mundotango::community::housing::listings::requests::Countered;
use mundotango::community::housing::status::{Side, Status};
use mundotango::community::money::{Currency, Money};
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::{PageRequest, PageStart, now};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::events::{event, quiet_time};
use super::housing::{asked, at, booked, details, listing, stay};
use super::places::Sums;
use super::{NO_EFFECTS, cut_off, first};

/// Steps of a walk.
const STEPS: usize = 60;
/// Those who answer, and who ask for nights.
const USERS: usize = 8;
/// A step that is cut off is polled so often at most before.
const MOST_POLLS: usize = 12;

/// Runs so many walks of each kind.
pub async fn walks(nodes: &[Db; 2], walks: u64) {
    for seed in 0..walks {
        at_an_event(&nodes.each_ref().map(|db| EventStore::new(db.clone())), seed).await;
        Box::pin(at_a_place_to_stay(&nodes.each_ref().map(Bookings::new), seed)).await;
    }
}

/// Does something, or is cut off somewhere on the way: then it may still come to be, later.
fn maybe_cut_off<'a, T>(
    random: &mut SmallRng,
    future: impl Future<Output = T> + Send + 'a,
) -> BoxFuture<'a, Option<T>> {
    let polls = random.random_ratio(1, 3).then(|| random.random_range(0..MOST_POLLS));
    async move {
        match polls {
            Some(polls) => cut_off(future, polls).await,
            None => Some(future.await),
        }
    }
    .boxed()
}

fn some_party(random: &mut SmallRng) -> Party {
    let roles = [DanceRole::Lead, DanceRole::Follow, DanceRole::Both, DanceRole::None];
    let mut role = || roles[random.random_range(0..roles.len())];
    let (own, guest) = (role(), role());
    let guests = if random.random_ratio(1, 3) { vec![guest] } else { Vec::new() };
    Party { role: own, guests }
}

fn some_limits(random: &mut SmallRng) -> Limits {
    let mut some = |from: u32| random.random_ratio(2, 3).then(|| random.random_range(from..from + 4));
    Limits { total: some(3), leads: some(1), follows: some(1) }
}

/// An event with all answers to it, at one moment: what was cut off may come to be between two reads.
async fn at_one_moment(store: &EventStore, id: &str) -> (Event, BTreeMap<String, Rsvp>) {
    loop {
        let event = store.event(id).await.unwrap().unwrap();
        let page = store.rsvps(id, PageRequest { start: PageStart::First, limit: 100 }).await.unwrap();
        assert!(page.next.is_none());
        if store.event(id).await.unwrap().unwrap() == event {
            return (event, page.items.into_iter().map(|rsvp| (rsvp.user_id.clone(), rsvp)).collect());
        }
    }
}

async fn at_an_event(nodes: &[EventStore; 2], seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut event = event(quiet_time(), None);
    let ticket = random.random_ratio(1, 2).then(|| Money::new(1_250, Currency::parse("EUR").unwrap()));
    event.settings = Settings { limits: some_limits(&mut random), ticket, ..Settings::default() };
    nodes[0].create(&event, &[]).await.unwrap();
    let (id, mut time) = (event.id.as_str(), now());
    // Those whose last answer was cut off: it may come to be with any later change.
    let mut uncertain = BTreeSet::new();
    let (mut before, mut payments): (BTreeMap<String, Rsvp>, _) = (BTreeMap::new(), 0);
    for step in 0..STEPS {
        let store = &nodes[random.random_range(0..2_usize)];
        let what = random.random_range(0..16);
        let mut user = match what {
            7 | 8 => "host".to_owned(),
            _ => format!("user {}", random.random_range(0..USERS)),
        };
        // Whoever gives a place to the user in this step.
        let mut giver = None;
        // `None` where it was cut off.
        let done = match what {
            0..5 => {
                let choice = RsvpChoice::Going;
                let party = random.random_ratio(2, 3).then(|| some_party(&mut random));
                let answer = store.rsvp(id, &user, NewAnswer { choice, party }, time, |_| NO_EFFECTS);
                maybe_cut_off(&mut random, answer).await.map(Result::err)
            }
            5..7 => {
                let choice = if random.random_ratio(1, 3) { RsvpChoice::Maybe } else { RsvpChoice::Declined };
                let answer = store.rsvp(id, &user, choice, time, |_| NO_EFFECTS);
                maybe_cut_off(&mut random, answer).await.map(Result::err)
            }
            7 => {
                let limits = some_limits(&mut random);
                let edit = move |before: Edited| Edited {
                    settings: Settings { limits, ..before.settings },
                    ..before
                };
                let change = store.change(id, time, edit, |_| NO_EFFECTS);
                maybe_cut_off(&mut random, change).await.map(Result::err)
            }
            8 => {
                let promote = store.promote(id, time, |_, _, _| NO_EFFECTS);
                let done = maybe_cut_off(&mut random, promote).await;
                done.map(|done| done.err().map(EventError::Store))
            }
            9 => {
                time += SignedDuration::from_mins(random.random_range(5..30 * 60));
                continue;
            }
            12 | 13 => {
                let to = format!("user {}", random.random_range(0..USERS));
                Some(store.offer_place(id, (&user, &to), time, |_, _| NO_EFFECTS).await.err())
            }
            14 | 15 => {
                let offers = before
                    .iter()
                    .filter_map(|(from, rsvp)| Some((from.clone(), rsvp.handover.as_ref()?.to.clone())));
                let offers: Vec<_> = offers.collect();
                let Some((from, to)) = offers.get(random.random_range(0..USERS)) else { continue };
                user.clone_from(to);
                giver = Some(from.clone());
                let pair = (from.as_str(), to.as_str());
                if random.random_ratio(1, 5) {
                    Some(store.decline_place(id, pair, time, |_| NO_EFFECTS).await.err())
                } else {
                    let party = random.random_ratio(1, 2).then(|| some_party(&mut random));
                    Some(store.take_place(id, pair, party, time, |_| NO_EFFECTS).await.err())
                }
            }
            _ if ticket.is_none() => continue,
            _ => {
                payments += 1;
                let people = before.get(&user).map_or(1, |rsvp| rsvp.party.heads().total());
                let paid = PaidTicket { payment: format!("payment {payments}"), people };
                let taken = store.take_paid(id, &user, paid, time, |_| NO_EFFECTS);
                let done = maybe_cut_off(&mut random, taken).await;
                done.map(|done| done.err().map(EventError::Store))
            }
        };
        assert!(!matches!(done, Some(Some(EventError::Store(_)))), "seed {seed}, step {step}: {done:?}");
        if done.is_some() {
            uncertain.remove(&user);
        } else {
            uncertain.insert(user.clone());
        }
        let (kept, after) = at_one_moment(&nodes[step % 2], id).await;
        let seen = format!("seed {seed}, step {step} by {user}: {kept:?}\n{before:#?}\n{after:#?}");
        let mut sums = Sums::default();
        for rsvp in after.values() {
            sums.add(rsvp);
        }
        let Sums { counts, going, held } = sums;
        assert_eq!((kept.counts, kept.going, kept.held), (counts, going, held.total()), "{seen}");
        assert_eq!(kept.settings.limits.broken_by(going.and(held)), None, "{seen}");
        let is_other = |other: &String| *other != user && giver.as_ref() != Some(other);
        let others = before.iter().filter(|(other, _)| is_other(other) && !uncertain.contains(*other));
        for (other, rsvp) in others {
            assert!(may_become(rsvp, &after[other], time), "{other}: {seen}");
        }
        before = after;
    }
}

/// What others do, and time, may make an answer into another.
fn may_become(before: &Rsvp, after: &Rsvp, time: Timestamp) -> bool {
    if before.party != after.party {
        return false;
    }
    match (before.status, after.status) {
        // Nobody passes, and nobody loses the place in the line.
        (RsvpStatus::Waitlisted, RsvpStatus::Waitlisted) => before.place == after.place,
        (RsvpStatus::Waitlisted, RsvpStatus::Going | RsvpStatus::Held) => true,
        (RsvpStatus::Held, RsvpStatus::Declined) => before.held_until.is_some_and(|until| until <= time),
        (before, after) => before == after,
    }
}

/// Nights of a listing that one of some guests asked for.
struct Ask {
    id: String,
    guest: String,
}

async fn at_a_place_to_stay(nodes: &[Bookings; 2], seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let place = listing(&nodes[0], details()).await;
    let (mut asks, mut hours): (Vec<Ask>, i64) = (Vec::new(), 0);
    let mut before: BTreeMap<String, Status> = BTreeMap::new();
    for step in 0..STEPS {
        let (bookings, time) = (&nodes[random.random_range(0..2_usize)], at(hours));
        let some = (!asks.is_empty()).then(|| &asks[random.random_range(0..asks.len())]);
        let known = match some {
            Some(ask) => bookings.store.booking(&ask.id).await.unwrap(),
            None => None,
        };
        let what = random.random_range(0..14);
        let refused = match (what, some, known) {
            (0..3, ..) | (_, None, _) => {
                let guest = format!("guest {}", random.random_range(0..USERS));
                let from = i32::try_from(hours / 24).unwrap() + random.random_range(1..12);
                let nights = stay(from, random.random_range(1..5));
                let ask = Ask { id: new_id(), guest };
                let asking = bookings.ask(&place.id, &ask.id, asked(&ask.guest, nights), time);
                let refused = maybe_cut_off(&mut random, asking).await.and_then(Result::err);
                asks.push(ask);
                refused
            }
            (3, ..) => {
                hours += random.random_range(1..30);
                None
            }
            (4..6, Some(ask), _) => {
                let follow = bookings.follow(&place.id, &ask.guest, &ask.id, time);
                maybe_cut_off(&mut random, follow).await.and_then(Result::err)
            }
            (6, Some(ask), _) => {
                maybe_cut_off(&mut random, bookings.release(&ask.id, time)).await.transpose().unwrap();
                None
            }
            (7, Some(ask), _) => {
                let noting = bookings.note_deadlines(&ask.id, time);
                maybe_cut_off(&mut random, noting).await.and_then(Result::err)
            }
            (8, _, Some(booking)) => {
                let from = i32::try_from(hours / 24).unwrap() + random.random_range(1..12);
                let countered = Countered { stay: stay(from, 2), total: None, message: None };
                let counter = bookings.counter(&booking, countered, time);
                maybe_cut_off(&mut random, counter).await.and_then(Result::err)
            }
            (9..11, _, Some(booking)) => {
                let confirm = bookings.confirm(&booking, booking.offers(), time);
                maybe_cut_off(&mut random, confirm).await.and_then(Result::err)
            }
            (11, _, Some(booking)) => {
                let refused = if random.random_ratio(1, 2) {
                    maybe_cut_off(&mut random, bookings.decline(&booking, None, time)).await
                } else {
                    let side = Side::BOTH[random.random_range(0..2_usize)];
                    maybe_cut_off(&mut random, bookings.cancel(&booking, side, None, time)).await
                };
                refused.and_then(Result::err)
            }
            (12, _, Some(booking)) => {
                maybe_cut_off(&mut random, bookings.note_no_show(&booking, time)).await.and_then(Result::err)
            }
            (_, _, Some(booking)) => {
                let author = Side::BOTH[random.random_range(0..2_usize)];
                let reviewing = bookings.review(&booking, author, review(time));
                maybe_cut_off(&mut random, reviewing).await.and_then(Result::err)
            }
            // The node died before it made the booking.
            (_, Some(_), None) => None,
        };
        assert!(!matches!(refused, Some(HousingError::Store(_))), "seed {seed}, step {step}: {refused:?}");
        let seen = format!("seed {seed}, step {step}");
        let looked = (at(hours), seen.as_str());
        before = nights_are_whose_they_are(&nodes[step % 2], &place, &asks, &before, looked).await;
    }
    // What the dead left is carried out by jobs, each of which may run twice.
    for _ in 0..2 {
        for ask in &asks {
            let bookings = &nodes[random.random_range(0..2_usize)];
            bookings.follow(&place.id, &ask.guest, &ask.id, at(hours)).await.unwrap();
            bookings.note_deadlines(&ask.id, at(hours)).await.unwrap();
            bookings.release(&ask.id, at(hours)).await.unwrap();
        }
    }
    let seen = format!("seed {seed}, at rest");
    nights_are_whose_they_are(&nodes[0], &place, &asks, &before, (at(hours), &seen)).await;
    is_at_rest(&nodes[1], &place, &asks, at(hours), &seen).await;
}

fn review(written_at: Timestamp) -> Review {
    Review { stars: 4, text: "Quiet.".to_owned(), private: None, written_at, reply: None }
}

/// The bookings that came of what was asked.
async fn all(bookings: &Bookings, asks: &[Ask]) -> Vec<Option<Booking>> {
    try_join_all(asks.iter().map(|ask| bookings.store.booking(&ask.id))).await.unwrap()
}

/// Whoever was told that a stay is confirmed has all of its nights, and no booking became what it may not; the states as they are
/// written down.
async fn nights_are_whose_they_are(
    bookings: &Bookings,
    place: &Listing,
    asks: &[Ask],
    before: &BTreeMap<String, Status>,
    (time, seen): (Timestamp, &str),
) -> BTreeMap<String, Status> {
    // At one moment: what was cut off may come to be between two reads.
    let (found, nights) = loop {
        let found = all(bookings, asks).await;
        let nights = booked(bookings, place).await;
        if all(bookings, asks).await == found {
            break (found, nights);
        }
    };
    let mut states = BTreeMap::new();
    for (ask, booking) in asks.iter().zip(found) {
        let Some(booking) = booking else {
            assert!(!before.contains_key(&ask.id), "{seen}: a booking is gone");
            continue;
        };
        let state = booking.progress.status;
        if state == Status::Confirmed {
            // Nights of the past are removed; this day is no earlier than the one at the place.
            let today = time.to_zoned_datetime(TimeZone::UTC).date();
            for date in booking.stay().dates().filter(|date| *date >= today) {
                assert_eq!(nights.get(&date), Some(&booking.id), "{seen}: {date} of {booking:?}");
            }
        }
        if let Some(was) = before.get(&ask.id) {
            assert!(may_follow(*was, state), "{seen}: from {was:?} to {state:?}");
        }
        states.insert(ask.id.clone(), state);
    }
    states
}

/// Whether a booking that was in a state may be in another later on.
fn may_follow(before: Status, after: Status) -> bool {
    match before {
        Status::Requested => true,
        Status::Countered => after != Status::Requested,
        Status::Confirmed => {
            matches!(after, Status::Confirmed | Status::Cancelled | Status::Completed | Status::NoShow)
        }
        Status::Completed => matches!(after, Status::Completed | Status::NoShow),
        closed => after == closed,
    }
}

/// Nobody has nights, or waits for them, whose booking is over, and reviews of both sides are shown together.
async fn is_at_rest(bookings: &Bookings, place: &Listing, asks: &[Ask], time: Timestamp, seen: &str) {
    let nights = booked(bookings, place).await;
    let page = bookings.store.reviews(&Subject::Listing(place.id.clone()), time, first(100)).await.unwrap();
    let shown: Vec<_> = page.items.into_iter().map(|shown| shown.booking.id).collect();
    for ask in asks {
        let Some((booking, reviews)) = bookings.store.reviewed(&ask.id).await.unwrap() else { continue };
        let waiting = bookings.listings.waiting(&place.id, &ask.guest, &ask.id).await.unwrap();
        let status = booking.status(time);
        assert_eq!(status, booking.progress.status, "{seen}: deadlines are written down");
        if status.is_closed() {
            assert!(waiting.is_none(), "{seen}: {booking:?} still waits");
        } else {
            assert!(waiting.is_some(), "{seen}: nobody would answer {booking:?}");
        }
        if status.is_closed() && !matches!(status, Status::Completed | Status::NoShow) {
            assert!(!nights.values().any(|id| *id == booking.id), "{seen}: {booking:?} keeps nights");
        }
        let [by_guest, by_host] = reviews.map(|review| review.is_some());
        let is_time = by_guest && by_host || time >= booking.reveals_by();
        assert_eq!(shown.contains(&booking.id), by_guest && is_time, "{seen}: {booking:?}");
    }
}
