//! Stripe fails: before it did what it was asked for, after it, and for a while.

use mundotango::community::payments::state::Status;
use mundotango_ops::Secret;

use super::{HOUR, MINUTE, World};
use crate::stripe::Mishap;

/// What goes wrong for a moment is tried again under the same key, and makes one session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_for_a_moment_makes_one_session() {
    for mishap in [Mishap::Fails(500), Mishap::Fails(429), Mishap::Fails(409), Mishap::CutAfter] {
        let world = World::new().await;
        world.stripe.next("/checkout/sessions", mishap.clone());
        let checkout = world.checkout("ana").await;
        assert!(checkout.is_ok(), "{mishap:?}: {checkout:?}");
        assert_eq!(world.stripe.account().sessions().len(), 1, "{mishap:?}");
        let keys: Vec<_> =
            world.stripe.asked("POST", "/checkout/sessions").into_iter().map(|asked| asked.key).collect();
        assert!(keys.len() == 2 && keys[0] == keys[1], "{mishap:?}: {keys:?}");
    }
}

/// Stripe made a session and failed, and keeps the failure under the key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_stripe_keeps_does_not_keep_the_payer() {
    let world = World::new().await;
    world.stripe.next("/checkout/sessions", Mishap::FailsAfter);
    let refused = world.checkout("ana").await.unwrap_err();
    assert_eq!(refused.status().as_u16(), 503, "{refused}");
    let checkout = world.checkout("ana").await.unwrap();
    assert_eq!(world.stripe.account().sessions().len(), 2, "nobody knows of the first one");
    let session = world.session();
    world.stripe.account().pay(&session);
    world.pass(MINUTE * 40).await;
    world.deliver_all().await;
    world.work().await;
    assert_eq!(world.status(&checkout.payment_id).await, Status::Fulfilled);
    assert_eq!(world.door.has("ana"), Some(checkout.payment_id));
    assert_eq!(world.door.released(), Vec::<String>::new());
}

/// Stripe is away when the payer asks, and when the place is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_stripe_is_away_nobody_waits_long_and_nothing_is_lost() {
    let world = World::new().await;
    let (id, session) = (world.checkout("ana").await.unwrap().payment_id, world.session());
    world.stripe.account().pay(&session);
    world.door.set_room(0);
    world.deliver_all().await;
    for path in ["/checkout/sessions", "/refunds"] {
        for _ in 0..100 {
            world.stripe.next(path, Mishap::Fails(503));
        }
    }
    world.work().await;
    assert_eq!(world.status(&id).await, Status::RefundDue);
    for _ in 0..10 {
        let refused = world.checkout("ben").await.unwrap_err();
        assert_eq!(refused.status().as_u16(), 503, "{refused}");
    }
    // The breaker is open: most of these were not sent.
    let sent = world.stripe.asked("POST", "/checkout/sessions").len();
    assert!(sent < 20, "{sent}");
    world.stripe.account().recover();
    let payments = &world.payments;
    // Its pause is real time; jobs are put off until then.
    let refunded = async || {
        world.pass(HOUR).await;
        let _ = payments.look(&id, world.now()).await;
        (world.status(&id).await == Status::Refunded).then_some(())
    };
    crate::server::until("the money is back", refunded).await;
    assert_eq!(world.dead(), Vec::<String>::new());
}

/// What Stripe does not take is told to the payer, and is no payment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stripe_does_not_take_is_a_conflict() {
    let world = World::new().await;
    world.door.set_price(10);
    let refused = world.checkout("ana").await.unwrap_err();
    assert_eq!(refused.status().as_u16(), 409);
    assert!(refused.to_string().contains("amount_too_small"), "{refused}");
    world.work().await;
    assert_eq!(world.door.released(), ["ana"]);
    assert_eq!(world.told(), Vec::<String>::new(), "the answer said it");
    world.door.set_price(1000);
    assert!(world.checkout("ana").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_is_no_fault_of_the_payers() {
    let world =
        World::with(|options| options.secret_key = Some(Secret::new("sk_test_wrong".to_owned()))).await;
    let refused = world.checkout("ana").await.unwrap_err();
    assert_eq!(refused.status().as_u16(), 503, "{refused}");
    let none = World::with(|options| options.secret_key = None).await;
    let refused = none.checkout("ana").await.unwrap_err();
    assert_eq!(serde_json::to_value(&refused).unwrap()["code"], "payments_off");
    none.door.set_price(0);
    let refused = none.checkout("ana").await.unwrap_err();
    assert_eq!(
        serde_json::to_value(&refused).unwrap()["code"],
        "not_payable",
        "what costs nothing is another matter"
    );
}

/// A node dies between any two steps: whoever looks later finds what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_was_begun_and_left_ends_by_itself() {
    let world = World::new().await;
    for _ in 0..3 {
        world.stripe.next("/checkout/sessions", Mishap::Fails(503));
    }
    assert!(world.checkout("ana").await.is_err());
    let id = world.payments.store().reads().last(&World::order("ana")).await.unwrap().unwrap();
    assert_eq!(world.status(&id).await, Status::Created);
    world.pass(HOUR).await;
    assert_eq!((world.status(&id).await, world.door.released()), (Status::Expired, vec!["ana".to_owned()]));
    assert_eq!(world.waiting(), 0);
}
