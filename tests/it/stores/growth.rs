//! What lists and changes take of a large store beside one of a hundredth, in turns: `cargo test --workspace --test it -- --ignored
//! --nocapture a_hundred_times_as_much` prints the table of BENCHMARKS.md.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use jiff::SignedDuration;
use mundotango::community::events::listing::EventFilter;
use mundotango::community::events::rules::RsvpChoice;
use mundotango::community::events::store::{Event, EventStore, EventType};
use mundotango::community::housing::bookings::saga::Bookings;
use mundotango::community::housing::listings::fuzz::{Chance, Fuzzed};
use mundotango::community::housing::listings::kind::Listing;
use mundotango::community::housing::listings::search::ListingFilter;
use mundotango::community::housing::listings::store::NightsChange;
use mundotango::community::location::{Coordinates, Location};
use mundotango::schema::schema;
use mundotango_gateway::input::{Maybe, read_value};
use mundotango_protocol::new_id;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::now;
use serde_json::json;
use tempfile::TempDir;

use super::events::event;
use super::housing::{ask, at, details, stay};
use super::{NO_EFFECTS, first};

const EVENTS: usize = 1_000_000;
const LISTINGS: usize = 100_000;
const TIMES: usize = 100;
/// Events and listings of a city: a community grows by cities as well, and a page of a small one reads to its end.
const LISTINGS_OF_A_CITY: usize = 1_000;
/// A cache in which all of the large store has room, in bytes.
const ROOM_FOR_ALL: u64 = 4 << 30;
/// Writes under way at once while a store is filled.
const FILLING: usize = 512;
/// How often each is done in each store.
const ROUNDS: usize = 2_000;
/// Minutes over which starts are spread: two years.
const MINUTES: usize = 2 * 365 * 24 * 60;

/// Where a city is; neighbours are a fifth of a degree apart.
fn place(city: usize) -> Coordinates {
    #[expect(clippy::cast_precision_loss, reason = "few cities")]
    let (row, column) = ((city / 20) as f64, (city % 20) as f64);
    Coordinates { latitude: row / 5.0 - 35.0, longitude: column / 5.0 - 60.0 }
}

fn location(city: usize) -> Location {
    Location { text: "Hall".to_owned(), city: Some(format!("City {city}")), coordinates: Some(place(city)) }
}

/// A store with what it holds.
struct Filled {
    events: EventStore,
    bookings: Bookings,
    cities: usize,
    event_ids: Vec<String>,
    listings: Vec<Listing>,
    /// Rounds that went before: what was answered or asked for then is not done again.
    rounds: usize,
    store: EmbeddedStore,
    folder: TempDir,
}

fn opened(folder: &Path, options: &EmbeddedOptions) -> (EmbeddedStore, EventStore, Bookings) {
    let store = EmbeddedStore::open(folder, options, &schema()).unwrap();
    let db = store.stores().db;
    (store, EventStore::new(db.clone()), Bookings::new(&db))
}

impl Filled {
    async fn with(events: usize, listings: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, own, bookings) = opened(folder.path(), &EmbeddedOptions::default());
        let cities = listings / LISTINGS_OF_A_CITY;
        let made = stream::iter(0..events).map(|number| {
            let own = own.clone();
            async move {
                let event = one(number, cities);
                own.create(&event, &[]).await.unwrap();
                event.id
            }
        });
        let event_ids = made.buffer_unordered(FILLING).collect().await;
        let made = stream::iter(0..listings).map(|number| {
            let bookings = bookings.clone();
            async move {
                let listing = room(number, cities);
                bookings.listings.create(&listing).await.unwrap();
                listing
            }
        });
        let listings = made.buffer_unordered(FILLING).collect().await;
        Self { events: own, bookings, cities, event_ids, listings, rounds: 0, store, folder }
    }

    /// The same, all of which is in memory.
    async fn in_memory(self) -> Self {
        self.store.close();
        let Self { cities, event_ids, listings, folder, .. } = self;
        let options = EmbeddedOptions { cache_bytes: ROOM_FOR_ALL, ..EmbeddedOptions::default() };
        let (store, events, bookings) = opened(folder.path(), &options);
        let own = Self { events, bookings, cities, event_ids, listings, rounds: ROUNDS, store, folder };
        for id in &own.event_ids {
            drop(own.events.event(id).await.unwrap());
        }
        for listing in &own.listings {
            drop(own.bookings.listings.listing(&listing.id).await.unwrap());
        }
        own
    }

    /// One of many, spread evenly.
    fn event_id(&self, round: usize) -> &str {
        &self.event_ids[round.wrapping_mul(7_919) % self.event_ids.len()]
    }

    fn listing(&self, round: usize) -> &Listing {
        &self.listings[round.wrapping_mul(7_919) % self.listings.len()]
    }
}

fn one(number: usize, cities: usize) -> Event {
    // Neighbours in time are made far from each other.
    let minute = number.wrapping_mul(104_729) % MINUTES;
    let start = now() + SignedDuration::from_mins(i64::try_from(minute).unwrap() + 60);
    let mut event = event(start, Some(50));
    event.location = location(number % cities);
    event.event_type = if number.is_multiple_of(3) { EventType::Festival } else { EventType::Milonga };
    event
}

fn room(number: usize, cities: usize) -> Listing {
    let city = number % cities;
    let mut details = details();
    details.location = location(city);
    details.fuzzed = Some(Fuzzed::draw(place(city), Chance::draw()));
    details.price = 3_000 + (number % 50) as u64 * 100;
    Listing::new(new_id(), new_id(), at(0), details)
}

/// The median and the 99th percentile, in microseconds.
fn percentiles(mut took: Vec<Duration>) -> [f64; 2] {
    took.sort_unstable();
    [took.len() / 2, took.len() * 99 / 100].map(|at| took[at].as_secs_f64() * 1e6)
}

/// Does something in both stores in turns, and prints what it took.
async fn measure(name: &str, stores: [&Filled; 2], act: impl AsyncFn(&Filled, usize)) {
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for (store, took) in stores.into_iter().zip(&mut took) {
            let begin = Instant::now();
            act(store, store.rounds + round).await;
            took.push(begin.elapsed());
        }
    }
    let [[small, small_99], [large, large_99]] = took.map(percentiles);
    println!(
        "| {name} | {small:.0} | {large:.0} | {:.2} | {small_99:.0} | {large_99:.0} | {:.2} |",
        large / small,
        large_99 / small_99
    );
}

async fn events(stores: [&Filled; 2]) {
    let city = |store: &Filled, round: usize| Some(format!("City {}", round % store.cities));
    let from = |round: usize| {
        let minute = round.wrapping_mul(104_729) % MINUTES;
        Some(now() + SignedDuration::from_mins(i64::try_from(minute).unwrap()))
    };
    let list = async |store: &Filled, filter: EventFilter| {
        drop(store.events.events(&filter, first(20)).await.unwrap());
    };
    measure("events: from a time on", stores, async |store, round| {
        list(store, EventFilter { from: from(round), ..EventFilter::default() }).await;
    })
    .await;
    measure("events: of a city", stores, async |store, round| {
        list(store, EventFilter { city: city(store, round), from: from(round), ..EventFilter::default() })
            .await;
    })
    .await;
    measure("events: near a point", stores, async |store, round| {
        let near = Some((place(round % store.cities), 10.0));
        list(store, EventFilter { near, from: from(round), ..EventFilter::default() }).await;
    })
    .await;
    measure("events: of a kind", stores, async |store, round| {
        let event_type = Some(EventType::Festival);
        list(store, EventFilter { event_type, from: from(round), ..EventFilter::default() }).await;
    })
    .await;
    measure("an event", stores, async |store, round| {
        assert!(store.events.event(store.event_id(round)).await.unwrap().is_some());
    })
    .await;
    measure("answer an event", stores, async |store, round| {
        let (id, user) = (store.event_id(round), format!("user {round}"));
        let no_effects = |_: &_| NO_EFFECTS;
        assert!(store.events.rsvp(id, &user, RsvpChoice::Going, now(), no_effects).await.unwrap().is_some());
    })
    .await;
    measure("make an event", stores, async |store, round| {
        store.events.create(&one(round, store.cities), &[]).await.unwrap();
    })
    .await;
}

async fn listings(stores: [&Filled; 2]) {
    let list = async |store: &Filled, filter: ListingFilter| {
        drop(store.bookings.listings.listings(&filter, first(20)).await.unwrap());
    };
    measure("listings: of a city", stores, async |store, round| {
        let city = Some(format!("City {}", round % store.cities));
        list(store, ListingFilter { city, ..ListingFilter::default() }).await;
    })
    .await;
    measure("listings: of a city, by price and free nights", stores, async |store, round| {
        let filter = ListingFilter {
            city: Some(format!("City {}", round % store.cities)),
            max_price: Some(read_value(json!(50)).unwrap()),
            stay: Some(stay(10, 3)),
            ..ListingFilter::default()
        };
        list(store, filter).await;
    })
    .await;
    measure("listings: near a point", stores, async |store, round| {
        let near = Some((place(round % store.cities), 5.0));
        list(store, ListingFilter { near, ..ListingFilter::default() }).await;
    })
    .await;
    measure("a listing", stores, async |store, round| {
        assert!(store.bookings.listings.listing(&store.listing(round).id).await.unwrap().is_some());
    })
    .await;
    measure("block nights", stores, async |store, round| {
        let change = NightsChange { blocked: Some(round % 2 == 0), price: Maybe::Absent };
        let id = &store.listing(round).id;
        assert!(store.bookings.listings.set_nights(id, stay(300, 3), change, at(0)).await.unwrap());
    })
    .await;
    measure("ask for nights and confirm", stores, async |store, round| {
        // Each listing at another time, as there are fewer of them than rounds.
        let (listing, from) = (store.listing(round), i32::try_from(round * TIMES / LISTINGS).unwrap());
        let booking =
            ask(&store.bookings, listing, &format!("guest {round}"), stay(from * 4, 2), at(0)).await;
        drop(store.bookings.confirm(&booking, 0, at(0)).await.unwrap());
    })
    .await;
}

/// A listing all of whose nights are told apart, beside one without any.
async fn full_calendar(stores: [&Filled; 2]) {
    for day in 0..540 {
        let price = Maybe::Value(read_value(json!(40 + day % 30)).unwrap());
        let change = NightsChange { blocked: None, price };
        let id = &stores[1].listings[0].id;
        assert!(stores[1].bookings.listings.set_nights(id, stay(day, 1), change, at(0)).await.unwrap());
    }
    measure("a month of a calendar: empty, and full", stores, async |store, _| {
        let id = &store.listings[0].id;
        drop(store.bookings.listings.nights(id, stay(100, 30)).await.unwrap());
    })
    .await;
    measure("price a night: empty, and full", stores, async |store, round| {
        let price = Maybe::Value(read_value(json!(40 + round % 2)).unwrap());
        let change = NightsChange { blocked: None, price };
        let id = &store.listings[0].id;
        assert!(store.bookings.listings.set_nights(id, stay(200, 1), change, at(0)).await.unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes a million events, and its figures are for a quiet machine"]
async fn a_hundred_times_as_much() {
    let begin = Instant::now();
    let small = Filled::with(EVENTS / TIMES, LISTINGS / TIMES).await;
    let large = Filled::with(EVENTS, LISTINGS).await;
    println!("filled in {:.0} s", begin.elapsed().as_secs_f64());
    println!("\nWith the cache that a node has by default:\n");
    table([&small, &large]).await;
    println!("\nIn memory:\n");
    let (small, large) = (small.in_memory().await, large.in_memory().await);
    table([&small, &large]).await;
    small.store.close();
    large.store.close();
}

async fn table(stores: [&Filled; 2]) {
    println!(
        "| | p50 small, µs | p50 large | × | p99 small | p99 large | × |\n|---|---|---|---|---|---|---|"
    );
    events(stores).await;
    listings(stores).await;
    full_calendar(stores).await;
}
