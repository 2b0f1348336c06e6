//! Payments, with a Stripe that goes wrong. The store and the calls are real; jobs are run by the tests, on a clock that they
//! set, so that what comes first is theirs to choose.

mod bounced;
mod client;
mod door;
mod events;
mod money_back;
mod payees;
mod routes;
mod salon;
mod stays;
mod tickets;
mod trouble;
mod world;

pub use door::Door;
pub use routes::send;
pub use world::World;

use jiff::SignedDuration;
use mundotango::community::payments::state::Status;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A payer has paid for a place, and has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_paid_for_and_is_the_payers() {
    let world = World::new().await;
    let checkout = world.checkout("ana").await.unwrap();
    assert!(checkout.url.starts_with("https://checkout.stripe.example/cs_"), "{checkout:?}");
    let held_until = world.door.held_until(world.now());
    assert!(checkout.expires_at < held_until, "it can be paid only while it is held");
    assert_eq!(world.status(&checkout.payment_id).await, Status::Session);

    let session = world.session();
    world.stripe.account().pay(&session);
    world.deliver_all().await;
    assert_eq!(world.status(&checkout.payment_id).await, Status::Paid);
    world.work().await;
    assert_eq!(world.status(&checkout.payment_id).await, Status::Fulfilled);
    assert_eq!(world.door.has("ana"), Some(checkout.payment_id.clone()));
    assert_eq!(world.told(), ["paymentReceived"], "once, by the list and a letter");
    assert_eq!(world.published("ana"), ["session", "paid", "fulfilled"]);

    let sums = world.sums().await;
    assert_eq!((sums.payments, sums.captured, sums.net(), sums.net_fees()), (1, 2500, 2500, 62));
    assert_eq!(world.balance("stripe:EUR").await, 2500);
    assert_eq!(world.balance("payee:host:EUR").await, -2438);
    assert_eq!(world.balance("platform:EUR").await, -62);

    // Whoever wants to pay again has it already.
    assert!(world.checkout("ana").await.unwrap_err().to_string().contains("has a place"));
    world.pass(HOUR * 30).await;
    assert_eq!(world.status(&checkout.payment_id).await, Status::Fulfilled);
    assert_eq!(world.waiting(), 0, "nothing is looked at any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_devices_ask_there_is_one_payment_and_one_session() {
    let world = World::new().await;
    let asked = (0..30).map(|_| world.checkout("ana"));
    let all = futures_util::future::join_all(asked).await;
    let first = all[0].clone().unwrap();
    assert!(all.iter().all(|one| one.as_ref().is_ok_and(|one| *one == first)), "{all:?}");
    assert_eq!(world.stripe.account().sessions().len(), 1);
    let other = world.checkout("ben").await.unwrap();
    assert_ne!(other.payment_id, first.payment_id);
    let asked = world.stripe.asked("POST", "/checkout/sessions");
    assert!(asked.iter().all(|one| one.key.as_ref().is_some_and(|key| key.ends_with(".session"))));
    assert!(asked.iter().all(|one| one.version.as_deref() == Some("2025-09-30.clover")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_frees_the_place_and_another_one_may_begin() {
    let world = World::new().await;
    let first = world.checkout("ana").await.unwrap();
    world.pass(MINUTE * 34).await;
    world.deliver_all().await;
    world.work().await;
    assert_eq!(world.status(&first.payment_id).await, Status::Expired);
    assert_eq!(world.door.released(), ["ana"]);
    let second = world.checkout("ana").await.unwrap();
    assert_ne!(second.payment_id, first.payment_id);
    assert_eq!(world.payment(&second.payment_id).await.facts.attempt, 2);
    assert_eq!(world.told(), Vec::<String>::new(), "who walks away is told nothing");
}

/// A price that changes while somebody pays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_terms_are_another_session_and_the_old_page_takes_no_money() {
    let world = World::new().await;
    let first = world.checkout("ana").await.unwrap();
    let old = world.session();
    world.door.set_price(1500);
    let second = world.checkout("ana").await.unwrap();
    assert_ne!((&second.payment_id, &second.url), (&first.payment_id, &first.url));
    assert_eq!(world.stripe.account().status(&old), "expired");
    assert_eq!(world.status(&first.payment_id).await, Status::Expired);
    assert_eq!(world.payment(&second.payment_id).await.facts.total.minor, 3000);
    world.work().await;
    assert_eq!(world.door.released(), Vec::<String>::new(), "it is held for the second payment");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pays_while_the_price_changes_has_paid() {
    let world = World::new().await;
    let first = world.checkout("ana").await.unwrap();
    let session = world.session();
    world.stripe.account().pay(&session);
    world.door.set_price(1500);
    // The webhook has not come yet; Stripe does not end what is paid.
    let refused = world.checkout("ana").await.unwrap_err();
    assert!(refused.to_string().contains("this is paid"), "{refused}");
    world.work().await;
    assert_eq!(world.status(&first.payment_id).await, Status::Fulfilled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_costs_nothing_or_is_not_held_is_not_paid_for() {
    let world = World::new().await;
    world.door.set_price(0);
    assert!(world.checkout("ana").await.unwrap_err().to_string().contains("nothing to pay"));
    world.door.set_price(1250);
    world.door.set_hold(MINUTE * 20);
    assert!(world.checkout("ana").await.unwrap_err().to_string().contains("not held"));
    assert_eq!(world.stripe.account().sessions().len(), 0);
    world.door.set_hold(HOUR * 100);
    let checkout = world.checkout("ana").await.unwrap();
    let lasts = checkout.expires_at.duration_since(world.now());
    assert!(lasts < HOUR * 24, "Stripe's own bound: {lasts}");
}
