//! Events as Stripe delivers them: late, twice, in any order, before our own commit, or never.

use jiff::SignedDuration;
use mundotango::community::payments::state::{Facts, Status};
use mundotango_protocol::new_id;
use serde_json::{Value, json};

use super::{HOUR, MINUTE, World};
use crate::stripe::{Mishap, WEBHOOK_SECRET, shuffled, signature};

/// T73: all that can happen to a payment, each event thrice and shuffled, ends the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t73_events_that_come_thrice_and_shuffled_come_to_the_same() {
    for seed in 0..12 {
        let world = World::new().await;
        let id = world.checkout("ana").await.unwrap().payment_id;
        let session = world.session();
        let events = {
            let mut stripe = world.stripe.account();
            stripe.refunds_begin = "pending";
            stripe.pay_slowly(&session);
            stripe.clear(&session, true);
            let intent = stripe.intent_of(&session);
            let refund = stripe.refund_by_hand(&intent, 500);
            stripe.settle_refund(&refund, "succeeded");
            let bounced = stripe.refund_by_hand(&intent, 300);
            stripe.settle_refund(&bounced, "failed");
            let dispute = stripe.dispute(&intent, 2000);
            stripe.decide(&dispute, "won");
            stripe.take_events()
        };
        for event in shuffled(&events, 3, seed) {
            world.deliver(&event).await.unwrap();
            if seed % 3 == 0 {
                // Jobs run between any two of them.
                world.work().await;
            }
        }
        world.pass(HOUR).await;
        let payment = world.payment(&id).await;
        assert_eq!(payment.status(), Status::Fulfilled, "seed {seed}");
        let head = &payment.head;
        assert_eq!(
            (head.captured, head.refunded, head.refunding, head.disputed),
            (2500, 500, 0, 0),
            "seed {seed}"
        );
        assert_eq!(world.door.has("ana"), Some(id), "seed {seed}");
        let sums = world.sums().await;
        assert_eq!((sums.payments, sums.net()), (1, 2000), "seed {seed}: {sums:?}");
        assert_eq!(world.balance("stripe:EUR").await, 2000, "seed {seed}");
        assert_eq!(world.balance("payee:host:EUR").await, -(2000 - sums.net_fees()), "seed {seed}");
        assert_eq!(world.balance("platform:EUR").await, -sums.net_fees(), "seed {seed}");
        assert_eq!(world.dead(), Vec::<String>::new(), "seed {seed}");
    }
}

/// T73: the webhook is faster than the answer to our own call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t73_an_event_that_comes_before_the_sessions_own_answer_counts() {
    let world = World::new().await;
    let answer = std::sync::Arc::new(tokio::sync::Notify::new());
    world.stripe.next("/checkout/sessions", Mishap::Hold(answer.clone()));
    let paying = async {
        let session = loop {
            if let Some(session) = world.stripe.account().sessions().pop() {
                break session;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        world.stripe.account().pay(&session);
        world.deliver_all().await;
        answer.notify_one();
    };
    let (checkout, ()) = tokio::join!(world.checkout("ana"), paying);
    assert!(checkout.unwrap_err().to_string().contains("is paid"));
    world.work().await;
    let id = world.door.has("ana").expect("the place is taken");
    assert_eq!(world.status(&id).await, Status::Fulfilled);
    assert_eq!(world.payment(&id).await.head.captured, 2500);
}

/// T73: an event of a payment that is not there yet waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t73_an_event_of_an_unknown_payment_is_kept_and_tried_again() {
    let world = World::new().await;
    let (order, id) = (World::order("ana"), new_id());
    let store = world.payments.store();
    let (begun, attempt) = store.begin(&order, None, id.clone(), world.now()).await.unwrap();
    assert_eq!((&begun, attempt), (&id, 1));
    let event = paid_event("evt_early", &id);
    for _ in 0..3 {
        world.deliver(&event).await.unwrap();
    }
    world.work().await;
    assert!(store.reads().payment(&id).await.unwrap().is_none());
    let facts = Facts {
        purpose: order.purpose,
        thing: order.thing.clone(),
        attempt,
        payer: order.payer.clone(),
        payee: "host".to_owned(),
        title: "Milonga".to_owned(),
        lines: Vec::new(),
        total: mundotango::community::money::Money::new(
            2500,
            mundotango::community::money::Currency::parse("EUR").unwrap(),
        ),
        fee: 0,
        account: None,
        made_at: world.now(),
        expires_at: world.now() + MINUTE * 33,
    };
    store.create(&id, &facts).await.unwrap();
    world.pass(MINUTE * 5).await;
    assert_eq!(world.status(&id).await, Status::Fulfilled);
    assert_eq!(world.sums().await.payments, 1);
}

fn paid_event(event: &str, payment: &str) -> Value {
    json!({"id": event, "type": "checkout.session.completed", "data": {"object": {
        "id": "cs_x", "status": "complete", "payment_status": "paid", "amount_total": 2500, "currency": "eur",
        "payment_intent": "pi_x", "metadata": {"mundotango_payment": payment},
    }}})
}

/// Other programs may share the account, and events of payments of a test may reach the site.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_others_are_taken_and_forgotten() {
    let world = World::new().await;
    world.deliver(&paid_event("evt_1", &new_id())).await.unwrap();
    world
        .deliver(&json!({"id": "evt_2", "type": "invoice.paid", "data": {"object": {"id": "in_1"}}}))
        .await
        .unwrap();
    let foreign =
        json!({"id": "dp_1", "amount": 5, "status": "needs_response", "payment_intent": "pi_of_others"});
    let foreign = json!({"id": "evt_3", "type": "charge.dispute.created", "data": {"object": foreign}});
    world.deliver(&foreign).await.unwrap();
    world.pass(HOUR * 48).await;
    assert_eq!((world.waiting(), world.dead()), (0, Vec::new()));
}

/// T74: a way of paying that takes days.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t74_a_session_that_is_complete_is_not_paid() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for (payer, is_there) in [("ana", true), ("ben", false)] {
        let id = world.checkout(payer).await.unwrap().payment_id;
        let session = world.session();
        world.stripe.account().pay_slowly(&session);
        ids.push((payer, id, session, is_there));
    }
    world.deliver_all().await;
    world.work().await;
    for (payer, id, _, _) in &ids {
        assert_eq!(world.status(id).await, Status::Processing);
        assert_eq!(world.door.has(payer), None, "nothing is given for a promise");
        assert!(world.checkout(payer).await.unwrap_err().to_string().contains("under way"));
    }
    world.pass(HOUR * 70).await;
    for (_, _, session, is_there) in &ids {
        world.stripe.account().clear(session, *is_there);
    }
    world.deliver_all().await;
    world.work().await;
    assert_eq!(world.status(&ids[0].1).await, Status::Fulfilled);
    assert_eq!(world.status(&ids[1].1).await, Status::Failed);
    assert_eq!((world.door.has("ana").is_some(), world.door.released()), (true, vec!["ben".to_owned()]));
    let mut told = world.told();
    told.sort();
    assert_eq!(told, ["paymentFailed", "paymentReceived"]);
    assert!(world.checkout("ben").await.is_ok(), "another try");
}

/// No webhook ever comes: Stripe is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_event_tells_is_asked_for() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for payer in ["paid", "slow", "bounced", "gone"] {
        ids.push(world.checkout(payer).await.unwrap().payment_id);
        let session = world.session();
        let mut stripe = world.stripe.account();
        match payer {
            "paid" => stripe.pay(&session),
            "slow" | "bounced" => stripe.pay_slowly(&session),
            _ => {}
        }
    }
    world.pass(MINUTE * 11).await;
    let statuses = async |world: &World| {
        let mut statuses = Vec::new();
        for id in &ids {
            statuses.push(world.status(id).await);
        }
        statuses
    };
    let early = [Status::Fulfilled, Status::Processing, Status::Processing, Status::Session];
    assert_eq!(statuses(&world).await, early, "ten minutes are enough");
    let sessions = world.stripe.account().sessions();
    world.stripe.account().clear(&sessions[1], true);
    world.stripe.account().clear(&sessions[2], false);
    world.pass(HOUR * 7).await;
    let late = [Status::Fulfilled, Status::Fulfilled, Status::Failed, Status::Expired];
    assert_eq!(statuses(&world).await, late);
    assert_eq!(world.door.released(), ["gone", "bounced"]);
    // What the events say hours later is known.
    world.deliver_all().await;
    world.work().await;
    assert_eq!(statuses(&world).await, late);
    assert_eq!(world.sums().await.payments, 2);
}

/// A payer who has come back asks, and the webhook is late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t74_a_glance_does_the_same_as_a_webhook() {
    let world = World::new().await;
    let id = world.checkout("ana").await.unwrap().payment_id;
    let session = world.session();
    world.payments.glance(&id, world.now()).await.unwrap();
    assert_eq!(world.status(&id).await, Status::Session);
    world.stripe.account().pay(&session);
    world.payments.glance(&id, world.now()).await.unwrap();
    assert_eq!(world.status(&id).await, Status::Fulfilled);
    world.deliver_all().await;
    world.work().await;
    assert_eq!(world.told(), ["paymentReceived"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_signed_now_is_taken() {
    let world = World::new().await;
    let id = world.checkout("ana").await.unwrap().payment_id;
    let body = paid_event("evt_1", &id).to_string();
    let now = world.now();
    let good = signature(WEBHOOK_SECRET, &body, now);
    for (what, signature, body) in [
        ("nothing", String::new(), body.clone()),
        ("another secret", signature("whsec_of_somebody_else", &body, now), body.clone()),
        ("another body", good.clone(), body.replace("2500", "1")),
        ("an hour ago", signature(WEBHOOK_SECRET, &body, now - HOUR), body.clone()),
        ("no event", signature(WEBHOOK_SECRET, "[]", now), "[]".to_owned()),
    ] {
        let refused = world.payments.receive(&signature, body.as_bytes(), now).await.unwrap_err();
        assert_eq!(refused.status().as_u16(), 400, "{what}");
    }
    assert_eq!(world.status(&id).await, Status::Session);
    let late = now + SignedDuration::from_secs(299);
    world.payments.receive(&good, body.as_bytes(), late).await.unwrap();
    assert_eq!(world.status(&id).await, Status::Paid);

    let off = World::with(|options| options.webhook_secrets.clear()).await;
    let refused = off.payments.receive(&good, body.as_bytes(), now).await.unwrap_err();
    assert_eq!(refused.status().as_u16(), 503, "Stripe sends it again");
}
