//! What places to stay and bookings promise. Time is given in, and jobs are run by hand.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp};
use mundotango::community::housing::bookings::bill::Payment;
use mundotango::community::housing::bookings::reviews::Review;
use mundotango::community::housing::bookings::rules::Booking;
use mundotango::community::housing::bookings::saga::Bookings;
use mundotango::community::housing::bookings::store::Subject;
use mundotango::community::housing::error::HousingError;
use mundotango::community::housing::listings::calendar::{MOST_WAITING, Taken};
use mundotango::community::housing::listings::kind::Listing;
use mundotango::community::housing::listings::requests::{Asked, Countered};
use mundotango::community::housing::listings::rules::{AccommodationType, Details, ListingStatus};
use mundotango::community::housing::status::{Side, Status};
use mundotango::community::housing::stay::{Stay, days_later};
use mundotango::community::location::Location;
use mundotango::community::money::Currency;
use mundotango_gateway::input::read_value;
use mundotango_protocol::new_id;
use mundotango_storage::PageRequest;
use mundotango_storage::db::Db;
use serde_json::json;
use tokio::task::JoinSet;

use super::{first, walk};

const ZONE: &str = "America/Argentina/Buenos_Aires";

pub fn at(hours: i64) -> Timestamp {
    "2030-05-01T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hours)
}

/// Nights that begin so many days after the first of May.
pub fn stay(from: i32, nights: i32) -> Stay {
    let from = days_later(date(2030, 5, 1), from);
    Stay::new(from, days_later(from, nights)).unwrap()
}

pub fn details() -> Details {
    Details {
        title: "Room in San Telmo".to_owned(),
        description: "Near three milongas.".to_owned(),
        accommodation_type: AccommodationType::Room,
        location: Location {
            text: "Defensa 755".to_owned(),
            city: Some("Buenos Aires".to_owned()),
            coordinates: None,
        },
        price: 4_000,
        currency: Currency::default(),
        time_zone: ZONE.to_owned(),
        max_guests: 2,
        min_nights: 1,
        max_nights: 60,
        ..Details::default()
    }
}

pub async fn listing(bookings: &Bookings, details: Details) -> Listing {
    let listing = Listing::new(new_id(), new_id(), at(0), details);
    bookings.listings.create(&listing).await.unwrap();
    listing
}

pub fn asked(guest_id: &str, stay: Stay) -> Asked {
    Asked { guest_id: guest_id.to_owned(), stay, guests: 1, message: None, expected: None }
}

pub async fn ask(
    bookings: &Bookings,
    listing: &Listing,
    guest_id: &str,
    stay: Stay,
    now: Timestamp,
) -> Booking {
    bookings.ask(&listing.id, &new_id(), asked(guest_id, stay), now).await.unwrap().unwrap()
}

async fn status(bookings: &Bookings, booking: &Booking, now: Timestamp) -> Status {
    bookings.store.booking(&booking.id).await.unwrap().unwrap().status(now)
}

/// Does the jobs that a booking may have left.
async fn carry_out(bookings: &Bookings, booking: &Booking, now: Timestamp) {
    let request = &booking.request;
    bookings.follow(&request.listing_id, &request.guest_id, &booking.id, now).await.unwrap();
    bookings.release(&booking.id, now).await.unwrap();
}

/// The nights that are booked, and by what.
pub async fn booked(bookings: &Bookings, listing: &Listing) -> BTreeMap<Date, String> {
    let nights = bookings.listings.nights(&listing.id, stay(0, 300)).await.unwrap();
    let booked = nights.into_iter().filter_map(|(date, night)| match night.taken {
        Some(Taken::Booked(id)) => Some((date, id)),
        Some(Taken::Blocked) | None => None,
    });
    booked.collect()
}

/// Runs the suite.
pub async fn housing(nodes: &[Db; 2]) {
    let nodes = nodes.each_ref().map(Bookings::new);
    let bookings = &nodes[0];
    a_request_freezes_its_price(bookings).await;
    confirming_supersedes_what_overlaps(bookings).await;
    an_offer_is_accepted_as_it_was_seen(bookings).await;
    nights_are_given_once_however_many_confirm(&nodes).await;
    a_guest_who_cancels_meanwhile_keeps_no_night(&nodes).await;
    what_a_dead_node_left_is_carried_out(bookings).await;
    deadlines_are_written_down_once(bookings).await;
    reviews_are_shown_together(bookings).await;
}

async fn a_request_freezes_its_price(bookings: &Bookings) {
    let listing = listing(bookings, details()).await;
    let expecting = |total: u32| Asked {
        expected: Some(read_value(json!(total)).unwrap()),
        ..asked("guest", stay(2, 3))
    };
    let id = new_id();
    match bookings.ask(&listing.id, &id, expecting(100), at(0)).await {
        Err(HousingError::PriceChanged(total)) => assert_eq!(total.minor, 12_000),
        other => panic!("{other:?}"),
    }
    let booking = bookings.ask(&listing.id, &id, expecting(120), at(0)).await.unwrap().unwrap();
    bookings
        .listings
        .change(&listing.id, |before| Ok(Details { price: 9_000, ..before.clone() }))
        .await
        .unwrap();
    // The same request again, as after an answer that was lost.
    let again = bookings.ask(&listing.id, &id, expecting(120), at(5)).await.unwrap().unwrap();
    assert_eq!(again, booking);
    assert_eq!(bookings.confirm(&booking, 0, at(6)).await.unwrap().quote().total, 12_000);

    let own = bookings.ask(&listing.id, &new_id(), asked(&listing.host_id, stay(10, 1)), at(0)).await;
    assert_eq!(own, Err(HousingError::OwnListing));
    assert_eq!(bookings.ask(&new_id(), &new_id(), asked("guest", stay(10, 1)), at(0)).await, Ok(None));
    let pause = |before: &Details| Ok(Details { status: ListingStatus::Paused, ..before.clone() });
    bookings.listings.change(&listing.id, pause).await.unwrap();
    let paused = bookings.ask(&listing.id, &new_id(), asked("guest", stay(10, 1)), at(0)).await;
    assert_eq!(paused, Err(HousingError::Paused));
}

async fn confirming_supersedes_what_overlaps(bookings: &Bookings) {
    let listing = listing(bookings, details()).await;
    let one = ask(bookings, &listing, "a", stay(5, 3), at(0)).await;
    let overlapping = ask(bookings, &listing, "b", stay(7, 3), at(0)).await;
    let next = ask(bookings, &listing, "c", stay(8, 2), at(0)).await;
    assert!(!bookings.listings.is_guest(&listing.id, "a").await.unwrap());
    let confirmed = bookings.confirm(&one, 0, at(1)).await.unwrap();
    assert_eq!((confirmed.status(at(1)), confirmed.progress.bill.payment), (Status::Confirmed, Payment::Due));
    assert!(bookings.listings.is_guest(&listing.id, "a").await.unwrap());
    carry_out(bookings, &overlapping, at(1)).await;
    assert_eq!(status(bookings, &overlapping, at(1)).await, Status::Superseded);
    let refused = bookings.confirm(&overlapping, 0, at(1)).await;
    assert!(matches!(refused, Err(HousingError::InState(_) | HousingError::NotNow(_))), "{refused:?}");
    assert_eq!(bookings.confirm(&next, 0, at(1)).await.unwrap().status(at(1)), Status::Confirmed);
    // Said again.
    assert_eq!(bookings.confirm(&confirmed, 0, at(2)).await.unwrap().progress.version, 1);

    let cancelled = bookings.cancel(&confirmed, Side::Host, None, at(2)).await.unwrap();
    assert_eq!(cancelled.progress.bill.refund.map(|refund| refund.percent), Some(100));
    carry_out(bookings, &cancelled, at(2)).await;
    assert!(!bookings.listings.is_guest(&listing.id, "a").await.unwrap());
    let owners: BTreeSet<_> = booked(bookings, &listing).await.into_values().collect();
    assert_eq!(owners, BTreeSet::from([next.id.clone()]));

    // By user, side and state.
    let of = async |user: &str, side, statuses: &[Status]| {
        let page = bookings.store.bookings(user, &[side], statuses, at(2), first(10)).await.unwrap();
        page.items.into_iter().map(|booking| booking.id).collect::<Vec<_>>()
    };
    let host = &listing.host_id;
    let all = [next.id.clone(), overlapping.id.clone(), one.id.clone()];
    assert_eq!(of(host, Side::Host, &[]).await, all);
    assert_eq!(of(host, Side::Host, &[Status::Confirmed]).await, std::slice::from_ref(&next.id));
    assert_eq!(of(host, Side::Guest, &[]).await, [""; 0]);
    let read = async |page: PageRequest| bookings.store.bookings(host, &Side::BOTH, &[], at(2), page).await;
    assert_eq!(walk(1, read, |booking: &Booking| booking.id.clone()).await, all);
    let stays = bookings.store.stays(host, date(2030, 5, 6), 10).await.unwrap();
    let stays: Vec<_> = stays.iter().map(|stay| (stay.id.clone(), stay.status(at(2)))).collect();
    assert_eq!(stays, [(one.id.clone(), Status::Cancelled), (next.id.clone(), Status::Confirmed)]);
    assert_eq!(bookings.store.stays(host, date(2030, 5, 7), 10).await.unwrap().len(), 1);
}

async fn an_offer_is_accepted_as_it_was_seen(bookings: &Bookings) {
    let listing = listing(bookings, details()).await;
    let booking = ask(bookings, &listing, "guest", stay(5, 3), at(0)).await;
    let offer = |stay, total: Option<u32>| Countered {
        stay,
        total: total.map(|total| read_value(json!(total)).unwrap()),
        message: Some("I am back on the tenth.".to_owned()),
    };
    let first_offer = bookings.counter(&booking, offer(stay(10, 3), None), at(1)).await.unwrap();
    assert_eq!((first_offer.status(at(1)), first_offer.offers()), (Status::Countered, 1));
    let second = bookings.counter(&first_offer, offer(stay(10, 2), Some(70)), at(2)).await.unwrap();
    assert_eq!((second.offers(), second.quote().total), (2, 7_000));
    assert_eq!(bookings.confirm(&first_offer, 1, at(3)).await, Err(HousingError::OfferChanged));
    let accepted = bookings.confirm(&second, 2, at(3)).await.unwrap();
    assert_eq!((accepted.status(at(3)), accepted.stay()), (Status::Confirmed, stay(10, 2)));
    assert_eq!(booked(bookings, &listing).await.len(), 2);
    let late = bookings.counter(&accepted, offer(stay(20, 2), None), at(4)).await;
    assert_eq!(late, Err(HousingError::InState(Status::Confirmed)));
}

/// Trap 25 and 26: each of a hundred requests is confirmed on two nodes at once.
async fn nights_are_given_once_however_many_confirm(nodes: &[Bookings; 2]) {
    let listing = listing(&nodes[0], details()).await;
    let mut asked = Vec::new();
    for number in 0..MOST_WAITING {
        let number = i32::try_from(number).unwrap();
        // Stays of one to five nights within five weeks.
        let stay = stay(1 + (number * 7) % 35, 1 + number % 5);
        asked.push(ask(&nodes[0], &listing, &format!("guest {number}"), stay, at(0)).await);
    }
    let refused = nodes[0].ask(&listing.id, &new_id(), self::asked("one more", stay(50, 1)), at(0)).await;
    assert_eq!(refused, Err(HousingError::TooManyRequests));
    let mut racers = JoinSet::new();
    for (node, booking) in asked.iter().flat_map(|booking| [(0, booking), (1, booking)]) {
        let (bookings, booking) = (nodes[node].clone(), booking.clone());
        racers.spawn(async move {
            match bookings.confirm(&booking, 0, at(1)).await {
                Ok(confirmed) => Some(confirmed.id),
                Err(HousingError::InState(_) | HousingError::NightTaken(_) | HousingError::NotNow(_)) => None,
                Err(other) => panic!("{other}"),
            }
        });
    }
    let won: BTreeSet<_> = racers.join_all().await.into_iter().flatten().collect();
    for booking in &asked {
        carry_out(&nodes[1], booking, at(1)).await;
    }
    let mut given = BTreeMap::new();
    for booking in &asked {
        let booking = nodes[1].store.booking(&booking.id).await.unwrap().unwrap();
        match booking.status(at(1)) {
            Status::Confirmed => {
                assert!(won.contains(&booking.id), "whoever was confirmed was told so");
                for date in booking.stay().dates() {
                    assert_eq!(given.insert(date, booking.id.clone()), None, "{date} has two guests");
                }
            }
            Status::Superseded => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(booked(&nodes[1], &listing).await, given);
    for booking in asked.iter().filter(|booking| !won.contains(&booking.id)) {
        let taken = booking.stay().dates().any(|date| given.contains_key(&date));
        assert!(taken, "nobody is superseded for nothing");
    }
}

async fn a_guest_who_cancels_meanwhile_keeps_no_night(nodes: &[Bookings; 2]) {
    let listing = listing(&nodes[0], details()).await;
    for round in 0..10 {
        let booking = ask(&nodes[0], &listing, "guest", stay(5 + round, 3), at(0)).await;
        let (confirmed, cancelled) = tokio::join!(
            nodes[0].confirm(&booking, 0, at(1)),
            nodes[1].cancel(&booking, Side::Guest, None, at(1)),
        );
        assert_eq!(cancelled.unwrap().status(at(1)), Status::Cancelled);
        if let Err(error) = confirmed {
            assert!(matches!(error, HousingError::InState(_) | HousingError::NotNow(_)), "{error}");
        }
        carry_out(&nodes[1], &booking, at(1)).await;
        assert_eq!(status(&nodes[0], &booking, at(1)).await, Status::Cancelled);
        assert!(booked(&nodes[0], &listing).await.is_empty());
    }
}

/// What a node has committed when it dies is the change of the listing; the rest is a job.
async fn what_a_dead_node_left_is_carried_out(bookings: &Bookings) {
    let listing = listing(bookings, details()).await;
    let (id, request) = (new_id(), asked("guest", stay(5, 3)));
    let asked = bookings.listings.ask(&listing.id, &id, request.clone(), at(0)).await.unwrap().unwrap();
    assert_eq!(bookings.store.booking(&id).await.unwrap(), None);
    let opened = bookings.follow(&listing.id, "guest", &id, at(0)).await.unwrap().unwrap();
    assert_eq!((&opened.request, opened.status(at(0))), (&asked, Status::Requested));

    bookings.listings.confirm(&listing.id, opened.which(), 0, at(1)).await.unwrap();
    assert_eq!(status(bookings, &opened, at(1)).await, Status::Requested);
    // Long after the host could have answered: the listing has decided in time.
    for _ in 0..2 {
        let followed = bookings.follow(&listing.id, "guest", &id, at(60)).await.unwrap().unwrap();
        assert_eq!((followed.status(at(60)), followed.progress.version), (Status::Confirmed, 1));
        bookings.note_deadlines(&id, at(60)).await.unwrap();
    }

    // The guest cancelled, and the node died before the listing heard of it.
    let confirmed = bookings.store.booking(&id).await.unwrap().unwrap();
    bookings.cancel(&confirmed, Side::Guest, None, at(61)).await.unwrap();
    assert_eq!(booked(bookings, &listing).await.len(), 3);
    for _ in 0..2 {
        bookings.release(&id, at(61)).await.unwrap();
        assert!(booked(bookings, &listing).await.is_empty());
    }
    assert_eq!(bookings.listings.waiting(&listing.id, "guest", &id).await.unwrap(), None);
    let again = bookings.ask(&listing.id, &id, request, at(62)).await.unwrap().unwrap();
    assert_eq!(
        again.status(at(62)),
        Status::Cancelled,
        "a request that is sent again gets what became of it"
    );
}

async fn deadlines_are_written_down_once(bookings: &Bookings) {
    let listing = listing(bookings, details()).await;
    let unanswered = ask(bookings, &listing, "a", stay(5, 3), at(0)).await;
    let stayed = ask(bookings, &listing, "b", stay(5, 3), at(0)).await;
    bookings.confirm(&stayed, 0, at(1)).await.unwrap();
    let late = ask(bookings, &listing, "c", stay(20, 3), at(0)).await;
    carry_out(bookings, &unanswered, at(1)).await;
    bookings.note_deadlines(&late.id, at(47)).await.unwrap();
    assert_eq!(status(bookings, &late, at(47)).await, Status::Requested);
    let refused = bookings.confirm(&late, 0, at(49)).await;
    assert_eq!(refused, Err(HousingError::InState(Status::Expired)), "also before a job has looked");
    for _ in 0..2 {
        bookings.note_deadlines(&late.id, at(49)).await.unwrap();
        let late = bookings.store.booking(&late.id).await.unwrap().unwrap();
        assert_eq!((late.progress.status, late.progress.version), (Status::Expired, 1));
    }
    assert_eq!(bookings.listings.waiting(&listing.id, "c", &late.id).await.unwrap(), None);

    let check_out = at(24 * 8);
    bookings.note_deadlines(&stayed.id, at(24 * 6)).await.unwrap();
    for _ in 0..2 {
        bookings.note_deadlines(&stayed.id, check_out).await.unwrap();
        let stayed = bookings.store.booking(&stayed.id).await.unwrap().unwrap();
        assert_eq!((stayed.progress.status, stayed.progress.version), (Status::Completed, 2));
    }
    assert_eq!(status(bookings, &unanswered, check_out).await, Status::Superseded);
}

async fn reviews_are_shown_together(bookings: &Bookings) {
    let listing = listing(bookings, details()).await;
    let guest_id = new_id();
    let mut stays = Vec::new();
    for from in [5, 10] {
        let booking = ask(bookings, &listing, &guest_id, stay(from, 3), at(0)).await;
        stays.push(bookings.confirm(&booking, 0, at(1)).await.unwrap());
    }
    let day = |days: i64| at(24 * days);
    let review = |stars, now| Review {
        stars,
        text: "Quiet.".to_owned(),
        private: Some("The shower drips.".to_owned()),
        written_at: now,
        reply: None,
    };
    let shown = async |subject: Subject, now| {
        let page = bookings.store.reviews(&subject, now, first(10)).await.unwrap();
        page.items.into_iter().map(|shown| (shown.booking.id, shown.review.stars)).collect::<Vec<_>>()
    };
    let of_place = Subject::Listing(listing.id.clone());
    let of_guest = Subject::User(Side::Guest, guest_id.clone());
    let of_host = Subject::User(Side::Host, listing.host_id.clone());
    let early = bookings.review(&stays[0], Side::Guest, review(5, day(6))).await;
    assert_eq!(early, Err(HousingError::InState(Status::Confirmed)));
    bookings.review(&stays[0], Side::Guest, review(5, day(9))).await.unwrap();
    assert!(shown(of_place.clone(), day(9)).await.is_empty());
    let none = bookings.store.reply(&stays[0].id, Side::Host, "Thank you.".to_owned(), day(9)).await;
    assert_eq!(none, Ok(false), "the host does not see it");
    bookings.review(&stays[0], Side::Host, review(4, day(10))).await.unwrap();
    let first_stay = &stays[0].id;
    assert_eq!(shown(of_place.clone(), day(10)).await, [(first_stay.clone(), 5)]);
    assert_eq!(shown(of_host.clone(), day(10)).await, [(first_stay.clone(), 5)]);
    assert_eq!(shown(of_guest.clone(), day(10)).await, [(first_stay.clone(), 4)]);
    let twice = bookings.review(&stays[0], Side::Host, review(1, day(11))).await;
    assert!(matches!(twice, Err(HousingError::WrittenBefore(_))), "{twice:?}");
    let reply =
        async |text: &str| bookings.store.reply(first_stay, Side::Host, text.to_owned(), day(11)).await;
    assert_eq!(reply("Thank you.").await, Ok(true));
    assert!(matches!(reply("Again.").await, Err(HousingError::WrittenBefore(_))));

    // One side alone, shown by time; the guest's stars are counted once.
    bookings.review(&stays[1], Side::Guest, review(2, day(14))).await.unwrap();
    for now in [day(20), day(27), day(28)] {
        bookings.note_deadlines(&stays[1].id, now).await.unwrap();
        let expected = usize::from(now >= day(27));
        assert_eq!(shown(of_place.clone(), now).await.len(), 1 + expected, "{now}");
    }
    for (stay, stars) in [(&stays[0], 5), (&stays[1], 2), (&stays[1], 2)] {
        bookings.listings.rate(&listing.id, &stay.id, stars).await.unwrap();
    }
    let ratings = bookings.listings.listing(&listing.id).await.unwrap().unwrap().ratings;
    assert_eq!((ratings.count, ratings.mean()), (2, Some(3.5)));
    let (_, rows) = bookings.store.reviewed(first_stay).await.unwrap().unwrap();
    assert!(rows.iter().all(Option::is_some));
}
