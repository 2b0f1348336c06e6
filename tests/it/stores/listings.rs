//! What listings and their calendars promise.

use jiff::civil::date;
use mundotango::community::housing::bookings::saga::Bookings;
use mundotango::community::housing::error::HousingError;
use mundotango::community::housing::listings::fuzz::{Chance, Fuzzed};
use mundotango::community::housing::listings::kind::Listing;
use mundotango::community::housing::listings::rules::{AccommodationType, Details, ListingStatus};
use mundotango::community::housing::listings::search::ListingFilter;
use mundotango::community::housing::listings::store::NightsChange;
use mundotango::community::housing::listings::words::Words;
use mundotango::community::housing::stay::days_later;
use mundotango::community::location::{Coordinates, Location};
use mundotango::community::money::Currency;
use mundotango_gateway::input::{Maybe, read_value};
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::{PageRequest, PageStart, StoreError};
use serde_json::json;

use super::housing::{ask, asked, at, details, listing, stay};
use super::{first, walk};

/// Runs the suite.
pub async fn listings(nodes: &[Db; 2]) {
    let bookings = Bookings::new(&nodes[0]);
    listings_are_found_through_filters(&bookings).await;
    a_changed_listing_is_found_as_it_is(&bookings).await;
    nights_have_prices_and_are_blocked(&bookings).await;
}

async fn listings_are_found_through_filters(bookings: &Bookings) {
    let city = new_id();
    let obelisco = Coordinates { latitude: -34.6037, longitude: -58.3816 };
    let mut made = Vec::new();
    for number in 0..12_u64 {
        let mut details = details();
        details.location.city = Some(city.clone());
        details.price = 3_000 + number * 100;
        if number % 3 == 0 {
            details.accommodation_type = AccommodationType::House;
            details.max_guests = 6;
        }
        if number % 4 == 0 {
            details.location.coordinates = Some(obelisco);
            details.fuzzed = Some(Fuzzed::draw(obelisco, Chance { direction: 0.3, distance: 0.5 }));
            "Se ensaya en el salón.".clone_into(&mut details.description);
        }
        if number == 5 {
            details.status = ListingStatus::Paused;
        }
        made.push(listing(bookings, details).await);
    }
    let busy = ask(bookings, &made[7], "guest", stay(10, 3), at(0)).await;
    bookings.confirm(&busy, 0, at(0)).await.unwrap();
    let all = ListingFilter { city: Some(city.to_uppercase()), ..ListingFilter::default() };
    let price = |number| read_value(json!(number)).unwrap();
    let cases: [(ListingFilter, Vec<usize>); 9] = [
        (all.clone(), vec![11, 10, 9, 8, 7, 6, 4, 3, 2, 1, 0]),
        (
            ListingFilter { accommodation_type: Some(AccommodationType::House), ..all.clone() },
            vec![9, 6, 3, 0],
        ),
        (ListingFilter { guests: Some(3), ..all.clone() }, vec![9, 6, 3, 0]),
        (
            ListingFilter { min_price: Some(price(31)), max_price: Some(price(33)), ..all.clone() },
            vec![3, 2, 1],
        ),
        (ListingFilter { currency: Currency::parse("USD"), ..all.clone() }, vec![]),
        (ListingFilter { words: Some(Words::of("SALON ensaya")), ..all.clone() }, vec![8, 4, 0]),
        (ListingFilter { near: Some((obelisco, 5.0)), ..all.clone() }, vec![8, 4, 0]),
        (ListingFilter { stay: Some(stay(12, 2)), ..all.clone() }, vec![11, 10, 9, 8, 6, 4, 3, 2, 1, 0]),
        (ListingFilter { stay: Some(stay(12, 100)), ..all.clone() }, vec![]),
    ];
    for (filter, expected) in cases {
        let wanted: Vec<_> = expected.iter().map(|number| made[*number].id.clone()).collect();
        for limit in [1, 3, 50] {
            let read = async |page: PageRequest| bookings.listings.listings(&filter, page).await;
            let found = walk(limit, read, |listing: &Listing| listing.id.clone()).await;
            assert_eq!(found, wanted, "{filter:?} by {limit}");
        }
        let second = PageRequest { start: PageStart::Skip(2), limit: 2 };
        let ids = bookings.listings.listings(&filter, second).await.unwrap().items.into_iter();
        let ids: Vec<_> = ids.map(|listing| listing.id).collect();
        assert_eq!(ids, wanted.iter().skip(2).take(2).cloned().collect::<Vec<_>>(), "{filter:?}");
    }
    // Who searches around the place itself learns no more than the shown point tells.
    let too_near = ListingFilter { near: Some((obelisco, 0.3)), ..all.clone() };
    assert!(bookings.listings.listings(&too_near, first(10)).await.unwrap().items.is_empty());
    let own = ListingFilter { host_id: Some(made[5].host_id.clone()), ..ListingFilter::default() };
    let own = bookings.listings.listings(&own, first(10)).await.unwrap().items;
    assert_eq!(own.iter().map(|listing| &listing.id).collect::<Vec<_>>(), [&made[5].id], "paused");
    for cursor in ["", "x", &new_id()] {
        let page = PageRequest { start: PageStart::After(cursor.to_owned()), limit: 5 };
        let refused = bookings.listings.listings(&all, page).await;
        assert!(matches!(refused, Err(StoreError::BadCursor)), "{cursor}");
    }
}

async fn a_changed_listing_is_found_as_it_is(bookings: &Bookings) {
    let cities = [new_id(), new_id()];
    let mut details = details();
    details.location.city = Some(cities[0].clone());
    let listing = listing(bookings, details.clone()).await;
    bookings.listings.create(&listing).await.unwrap();
    let (elsewhere, price) = (cities[1].clone(), 9_000);
    let change = move |before: &Details| {
        let location = Location { city: Some(elsewhere.clone()), ..before.location.clone() };
        Ok(Details { location, price, ..before.clone() })
    };
    let changed = bookings.listings.change(&listing.id, change.clone()).await.unwrap().unwrap();
    assert_eq!((changed.details.price, changed.version), (9_000, 1));
    let again = bookings.listings.change(&listing.id, change).await.unwrap().unwrap();
    assert_eq!(again.version, 1, "what is said again changes nothing");
    for (city, found) in cities.iter().zip([0, 1]) {
        let filter = ListingFilter { city: Some(city.clone()), ..ListingFilter::default() };
        let items = bookings.listings.listings(&filter, first(10)).await.unwrap().items;
        assert_eq!(items.len(), found, "{city}");
    }
    let none = bookings.listings.change(&new_id(), |before| Ok(before.clone())).await;
    assert_eq!(none.unwrap(), None);
}

async fn nights_have_prices_and_are_blocked(bookings: &Bookings) {
    let listing = listing(bookings, details()).await;
    let set = async |nights, blocked, price: Option<serde_json::Value>| {
        let price = price.map_or(Maybe::Absent, |price| read_value(price).unwrap());
        let change = NightsChange { blocked, price };
        bookings.listings.set_nights(&listing.id, nights, change, at(0)).await
    };
    assert!(set(stay(3, 2), None, Some(json!(60.5))).await.unwrap());
    assert!(set(stay(20, 5), Some(true), None).await.unwrap());
    let booking = ask(bookings, &listing, "guest", stay(2, 4), at(0)).await;
    assert_eq!(booking.quote().total, 2 * 4_000 + 2 * 6_050);
    let taken = bookings.ask(&listing.id, &new_id(), asked("guest", stay(24, 1)), at(0)).await;
    assert_eq!(taken, Err(HousingError::NightTaken(date(2030, 5, 25))));
    bookings.confirm(&booking, 0, at(1)).await.unwrap();
    // Blocking leaves the guest the nights, and offering all again does so too.
    set(stay(0, 30), Some(true), None).await.unwrap();
    set(stay(0, 30), Some(false), Some(json!(null))).await.unwrap();
    let nights = bookings.listings.nights(&listing.id, stay(0, 300)).await.unwrap();
    assert_eq!(nights.len(), 4, "{nights:?}");
    for (nights, price, field) in
        [(stay(-3, 2), None, "from"), (stay(540, 30), None, "to"), (stay(0, 1), Some(json!(0.005)), "price")]
    {
        match set(nights, Some(true), price).await {
            Err(HousingError::Unsuitable(error)) => assert_eq!(error.field, field),
            other => panic!("{other:?}"),
        }
    }
    // Nights of the past go when others change.
    let later = at(24 * 100);
    let change = NightsChange { blocked: Some(true), price: Maybe::Absent };
    assert!(bookings.listings.set_nights(&listing.id, stay(150, 1), change, later).await.unwrap());
    let nights = bookings.listings.nights(&listing.id, stay(0, 300)).await.unwrap();
    assert_eq!(nights.keys().copied().collect::<Vec<_>>(), [days_later(date(2030, 5, 1), 150)]);
    assert!(!bookings.listings.set_nights(&new_id(), stay(150, 1), change, later).await.unwrap());
}
