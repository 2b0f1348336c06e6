//! Money that goes back: because there is no room, by the payee, by Stripe's dashboard, by banks.

use mundotango::community::payments::causes::owed;
use mundotango::community::payments::rules::RefundRefusal;
use mundotango::community::payments::state::Status;
use mundotango::community::payments::store::{AskedRefund, RefundError};
use mundotango::community::payments::stripe::RefundStatus;
use mundotango_jobs::Failure;
use mundotango_protocol::new_id;
use serde_json::{Value, json};

use super::{HOUR, MINUTE, World};
use crate::stripe::Mishap;

/// A payer has paid and has the place; the payment, and its intent at Stripe.
pub(super) async fn paid(world: &World, payer: &str) -> (String, String) {
    let id = world.checkout(payer).await.unwrap().payment_id;
    let session = world.session();
    world.stripe.account().pay(&session);
    world.deliver_all().await;
    world.work().await;
    assert_eq!(world.status(&id).await, Status::Fulfilled);
    world.told();
    let intent = world.stripe.account().intent_of(&session);
    (id, intent)
}

pub(super) async fn ask(world: &World, id: &str, minor: Option<u64>) -> Result<String, RefundError> {
    let refund_id = new_id();
    let by = Some("host".to_owned());
    let asked = AskedRefund { id: refund_id.clone(), minor, by, reason: None };
    world.payments.store().ask_refund(id, asked, world.now()).await?;
    Ok(refund_id)
}

/// T10: the last place went to somebody else meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_where_there_is_no_room_any_more_the_money_goes_back() {
    let world = World::new().await;
    let id = world.checkout("ana").await.unwrap().payment_id;
    let session = world.session();
    world.door.set_room(0);
    world.stripe.account().pay(&session);
    let events = world.deliver_all().await;
    world.work().await;
    let payment = world.payment(&id).await;
    assert_eq!((payment.status(), payment.head.refunded), (Status::Refunded, 2500));
    assert_eq!(world.door.has("ana"), None);
    assert_eq!(world.told(), ["paymentRefunded"], "told once");
    assert_eq!(world.published("ana"), ["session", "paid", "refundDue", "refunded"]);
    assert_eq!(world.sums().await.net(), 0);
    // The events of the refund say what is known.
    world.deliver_all().await;
    for event in events {
        world.deliver(&event).await.unwrap();
    }
    world.pass(HOUR * 20).await;
    assert_eq!((world.payment(&id).await.head.refunds, world.told().len()), (1, 0));
    assert_eq!(world.stripe.asked("POST", "/refunds").len(), 1);
    assert_eq!(world.balance("stripe:EUR").await, 0);
    world.door.set_room(1);
    assert!(world.checkout("ana").await.is_ok(), "another try");
}

/// T10: the hold is over, and there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_late_money_is_seated_where_there_is_room() {
    let world = World::new().await;
    let id = world.checkout("ana").await.unwrap().payment_id;
    let session = world.session();
    world.stripe.account().pay_slowly(&session);
    world.deliver_all().await;
    world.pass(HOUR * 90).await;
    world.stripe.account().clear(&session, true);
    world.deliver_all().await;
    world.work().await;
    assert_eq!((world.status(&id).await, world.door.has("ana")), (Status::Fulfilled, Some(id.clone())));
}

/// The door does not answer for a while: the money waits, and is neither lost nor sent back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_cannot_be_asked_for_now_is_asked_for_later() {
    let world = World::new().await;
    let id = world.checkout("ana").await.unwrap().payment_id;
    let session = world.session();
    world.door.fail(5);
    world.stripe.account().pay(&session);
    world.deliver_all().await;
    world.work().await;
    assert_eq!(world.status(&id).await, Status::Paid);
    world.pass(HOUR).await;
    assert_eq!((world.status(&id).await, world.door.has("ana")), (Status::Fulfilled, Some(id.clone())));
}

/// T76: refunds in parts, and one of the dashboard's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t76_refunds_add_up_and_those_of_the_dashboard_are_seen() {
    let world = World::new().await;
    let (id, intent) = paid(&world, "ana").await;
    ask(&world, &id, Some(1000)).await.unwrap();
    let too_much = ask(&world, &id, Some(1501)).await.unwrap_err();
    assert!(matches!(too_much, RefundError::Refused(RefundRefusal::TooMuch(left)) if left.minor == 1500));
    world.work().await;
    assert_eq!(world.payment(&id).await.head.refunded, 1000);
    assert_eq!(world.told(), ["paymentRefunded"]);

    world.stripe.account().refund_by_hand(&intent, 700);
    world.deliver_all().await;
    world.work().await;
    let payment = world.payment(&id).await;
    assert_eq!((payment.status(), payment.head.refunded), (Status::Fulfilled, 1700));
    assert_eq!(world.told(), ["paymentRefunded"], "of that one, too, and once");
    ask(&world, &id, None).await.unwrap();
    world.work().await;
    assert_eq!(world.status(&id).await, Status::Refunded);
    assert_eq!(world.door.has("ana"), Some(id.clone()), "to send money back is not to take the place away");
    assert!(ask(&world, &id, None).await.is_err());
    let all = world.payments.store().reads().refunds(&id).await.unwrap();
    assert_eq!(all.iter().map(|(_, refund)| refund.minor).sum::<u64>(), 2500);
    assert_eq!(world.stripe.account().refunded(&intent), 2500);
    let sums = world.sums().await;
    assert_eq!((sums.net(), sums.net_fees(), world.balance("stripe:EUR").await), (0, 0, 0), "{sums:?}");
    // Whoever gives the place up may buy it again.
    world.door.give_up("ana");
    assert!(world.checkout("ana").await.is_ok());
}

/// T76: only `charge.refunded` is delivered, which names no refund.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t76_an_event_that_tells_a_sum_alone_has_stripe_asked() {
    let world = World::new().await;
    let (id, intent) = paid(&world, "ana").await;
    world.stripe.account().refund_by_hand(&intent, 700);
    let events = world.stripe.account().take_events();
    for event in events.iter().filter(|event| event["type"] == "charge.refunded") {
        world.deliver(event).await.unwrap();
    }
    world.work().await;
    assert_eq!(world.payment(&id).await.head.refunded, 700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_the_bank_does_not_take_is_money_again() {
    let world = World::new().await;
    let (id, _) = paid(&world, "ana").await;
    world.stripe.account().refunds_begin = "pending";
    ask(&world, &id, Some(400)).await.unwrap();
    world.work().await;
    let head = world.payment(&id).await.head;
    assert_eq!((head.refunding, head.refunded, head.refundable()), (400, 0, 2100));
    let refund = world.stripe.account().refunds().pop().unwrap();
    world.stripe.account().settle_refund(&refund, "failed");
    world.deliver_all().await;
    world.work().await;
    let head = world.payment(&id).await.head;
    assert_eq!((head.refunding, head.refunded, head.refundable()), (0, 0, 2500));
    assert_eq!((world.sums().await.net(), world.balance("stripe:EUR").await), (2500, 2500));
}

/// Everything went back by the dashboard a moment before, and no event has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_stripe_refuses_takes_nothing_twice() {
    let world = World::new().await;
    let (id, intent) = paid(&world, "ana").await;
    let own = ask(&world, &id, None).await.unwrap();
    world.stripe.account().refund_by_hand(&intent, 2500);
    world.work().await;
    let payment = world.payment(&id).await;
    assert_eq!(
        (payment.status(), payment.head.refunded, payment.head.refunding),
        (Status::Refunded, 2500, 0)
    );
    let refused = world.payments.store().reads().refund(&id, &own).await.unwrap().unwrap();
    assert_eq!(refused.status, RefundStatus::Refused);
    assert!(refused.refused.unwrap().contains("charge_already_refunded"));
    assert_eq!(world.stripe.account().refunded(&intent), 2500);
}

/// Stripe makes the refund, and nobody hears the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_whose_answer_is_lost_is_made_once() {
    for mishap in [Mishap::CutAfter, Mishap::FailsAfter] {
        let world = World::new().await;
        let (id, intent) = paid(&world, "ana").await;
        world.stripe.next("/refunds", mishap.clone());
        ask(&world, &id, Some(600)).await.unwrap();
        world.pass(MINUTE * 2).await;
        assert_eq!(world.stripe.account().refunded(&intent), 600, "{mishap:?}");
        let head = world.payment(&id).await.head;
        assert_eq!((head.refunded, head.refunding), (600, 0), "{mishap:?}");
        assert_eq!(world.dead(), Vec::<String>::new(), "{mishap:?}");
    }
}

/// A refund that Stripe could not be asked for within the time for which it keeps keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_refund_is_looked_for_before_it_is_made() {
    let world = World::new().await;
    let (id, intent) = paid(&world, "ana").await;
    let own = ask(&world, &id, Some(600)).await.unwrap();
    // It was made, the answer was lost, and Stripe has forgotten the key.
    let metadata = json!({"mundotango_payment": id, "mundotango_refund": own});
    world.stripe.account().refund_unheard(&intent, 600, metadata);
    let late = world.now() + HOUR * 30;
    world.payments.send_refund(&id, &own, late).await.unwrap();
    assert_eq!(world.stripe.account().refunded(&intent), 600);
    assert_eq!(world.payment(&id).await.head.refunded, 600);
    assert_eq!(world.stripe.asked("POST", "/refunds").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispute_takes_the_money_and_a_won_one_gives_it_back() {
    let world = World::new().await;
    let (id, intent) = paid(&world, "ana").await;
    let dispute = world.stripe.account().dispute(&intent, 2500);
    world.deliver_all().await;
    world.work().await;
    assert_eq!(world.status(&id).await, Status::Disputed, "the event names the intent alone");
    assert_eq!(world.sums().await.net(), 0);
    assert!(ask(&world, &id, None).await.is_err(), "the bank has it");
    world.stripe.account().decide(&dispute, "won");
    world.deliver_all().await;
    world.work().await;
    assert_eq!(world.status(&id).await, Status::Fulfilled);
    let sums = world.sums().await;
    assert_eq!((sums.net(), sums.net_disputed(), world.balance("stripe:EUR").await), (2500, 0, 2500));
}

/// A stay is cancelled while the payer's bank has the money.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_owed_waits_until_the_bank_has_decided() {
    for (decision, goes_back) in [("won", 1000), ("lost", 0)] {
        let world = World::new().await;
        let (id, intent) = paid(&world, "ana").await;
        let dispute = world.stripe.account().dispute(&intent, 2500);
        world.deliver_all().await;
        world.work().await;
        let owe =
            async || world.payments.ask_owed_refund(&id, "stay-cancelled", Some(1000), world.now()).await;
        for _ in 0..2 {
            assert!(matches!(owe().await, Err(Failure::Later { .. })));
        }
        // Nobody hears of the decision: Stripe is asked.
        world.stripe.account().decide(&dispute, decision);
        owe().await.unwrap();
        world.work().await;
        assert_eq!(world.stripe.account().refunded(&intent), goes_back, "{decision}");
        assert_eq!(world.payment(&id).await.head.refunded, goes_back, "{decision}");
    }
}

/// There is no room, and the payer's bank has the money.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_go_back_goes_once_a_dispute_is_won() {
    let world = World::new().await;
    let id = world.checkout("ana").await.unwrap().payment_id;
    let session = world.session();
    world.door.set_room(0);
    world.stripe.account().pay(&session);
    let intent = world.stripe.account().intent_of(&session);
    let dispute = world.stripe.account().dispute(&intent, 2500);
    for event in world.deliver_all().await {
        // The dispute names the intent alone, and is known before the place is asked for.
        if event["type"] == "charge.dispute.created" {
            world.payments.take_parked(event["id"].as_str().unwrap(), false, world.now()).await.unwrap();
        }
    }
    world.work().await;
    assert_eq!(world.stripe.account().refunded(&intent), 0, "the bank has it");
    world.stripe.account().decide(&dispute, "won");
    let events = world.deliver_all().await;
    world.work().await;
    for event in events {
        world.deliver(&event).await.unwrap();
    }
    world.pass(HOUR * 20).await;
    assert_eq!((world.status(&id).await, world.stripe.account().refunded(&intent)), (Status::Refunded, 2500));
    assert_eq!((world.sums().await.net(), world.balance("stripe:EUR").await), (0, 0));
    assert_eq!(world.dead(), Vec::<String>::new());
}

/// A feature owes money, as where an event is cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_something_else_owes_goes_back_once_for_its_cause() {
    let world = World::new().await;
    let (id, intent) = paid(&world, "ana").await;
    ask(&world, &id, Some(1000)).await.unwrap();
    world.work().await;
    let job: Value = serde_json::to_value(owed(&id, "event-cancelled", None).unwrap()).unwrap();
    let payload = &job["job"]["payload"];
    assert_eq!(payload, &json!({"payment_id": id, "cause": "event-cancelled"}));
    let owe = async |cause: &str, minor| world.payments.ask_owed_refund(&id, cause, minor, world.now()).await;
    // What went back before counts.
    owe("event-cancelled", Some(2000)).await.unwrap();
    owe("event-cancelled", Some(2000)).await.unwrap();
    owe("nothing more", Some(2000)).await.unwrap();
    world.work().await;
    assert_eq!(world.stripe.account().refunded(&intent), 2000);
    owe("another cause", None).await.unwrap();
    world.work().await;
    assert_eq!((world.status(&id).await, world.payment(&id).await.head.refunds), (Status::Refunded, 3));
    // Of a payment for which no money came nothing is owed.
    let open = world.checkout("ben").await.unwrap().payment_id;
    world.payments.ask_owed_refund(&open, "event-cancelled", None, world.now()).await.unwrap();
    assert_eq!(world.payment(&open).await.head.refunds, 0);
}
