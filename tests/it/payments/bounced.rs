//! Money that should go back and does not arrive: banks refuse it, Stripe does, or there is none.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use mundotango::community::audit::rules::Act;
use mundotango::community::payments::rules::RefundRefusal;
use mundotango::community::payments::state::Status;
use mundotango::community::payments::store::{RefundError, SettledOtherwise};
use mundotango::community::payments::stripe::RefundStatus;
use mundotango_protocol::new_id;
use mundotango_storage::{PageRequest, PageStart};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::money_back::{ask, paid};
use super::salon::Salon;
use super::{HOUR, MINUTE, World};
use crate::server::until;
use crate::stripe::{Mishap, shuffled};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The payments of which money could not go back.
async fn owed(world: &World) -> Vec<String> {
    let page = PageRequest { start: PageStart::First, limit: 10 };
    let found = world.payments.store().reads().owed(None, page).await.unwrap();
    found.items.into_iter().map(|payment| payment.id).collect()
}

async fn settle(world: &World, id: &str, minor: Option<u64>) -> Result<(), RefundError> {
    let settled = SettledOtherwise {
        id: new_id(),
        minor,
        by: "root".to_owned(),
        reason: "Paid in cash.".to_owned(),
        act: Act::by_system("payment.settled", "payment", id, world.now()),
    };
    world.payments.store().settle_otherwise(id, settled, world.now()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t76_a_refund_that_bounces_days_later_is_owed_again_in_any_order() {
    for seed in 0..8 {
        let world = World::new().await;
        let (id, _) = paid(&world, "ana").await;
        let own = ask(&world, &id, Some(400)).await.unwrap();
        world.work().await;
        assert_eq!(world.payment(&id).await.head.refunded, 400);
        let refund = world.stripe.account().refunds().pop().unwrap();
        world.stripe.account().bounce_refund(&refund, "lost_or_stolen_card");
        let events = world.stripe.account().take_events();
        for event in shuffled(&events, 3, seed) {
            world.deliver(&event).await.unwrap();
            if seed % 2 == 0 {
                world.work().await;
            }
        }
        world.pass(HOUR * 7).await;
        let payment = world.payment(&id).await;
        let head = &payment.head;
        assert_eq!(
            (head.refunded, head.refunding, head.refundable(), head.owed()),
            (0, 0, 2500, 400),
            "seed {seed}"
        );
        assert_eq!(payment.status(), Status::Fulfilled, "seed {seed}");
        assert_eq!(head.failed_why.as_deref(), Some("lost_or_stolen_card"));
        let row = world.payments.store().reads().refund(&id, &own).await.unwrap().unwrap();
        assert_eq!((row.status, row.refused.as_deref()), (RefundStatus::Failed, Some("lost_or_stolen_card")));
        assert_eq!(
            (world.sums().await.net(), world.balance("stripe:EUR").await),
            (2500, 2500),
            "seed {seed}"
        );
        assert_eq!(owed(&world).await, [id.as_str()], "seed {seed}");
        assert_eq!(world.told(), ["paymentRefunded", "refundFailed"], "seed {seed}: each once");

        // Whoever asks again takes it off the list.
        ask(&world, &id, Some(400)).await.unwrap();
        world.work().await;
        let head = world.payment(&id).await.head;
        assert_eq!((head.refunded, head.owed(), owed(&world).await), (400, 0, Vec::new()), "seed {seed}");
        assert_eq!((world.sums().await.net(), world.balance("stripe:EUR").await), (2100, 2100));
        assert_eq!(world.dead(), Vec::<String>::new());
    }
}

/// T73: the bank refuses it before our own call is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t73_a_refund_that_bounces_before_its_own_answer_is_owed() {
    let world = World::new().await;
    let (id, _) = paid(&world, "ana").await;
    let own = ask(&world, &id, Some(400)).await.unwrap();
    let answer = Arc::new(Notify::new());
    world.stripe.next("/refunds", Mishap::Hold(Arc::clone(&answer)));
    let bouncing = async {
        let refund = loop {
            if let Some(refund) = world.stripe.account().refunds().pop() {
                break refund;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        world.stripe.account().bounce_refund(&refund, "declined");
        world.deliver_all().await;
        answer.notify_one();
    };
    let (sent, ()) = tokio::join!(world.payments.send_refund(&id, &own, world.now()), bouncing);
    sent.unwrap();
    world.work().await;
    let head = world.payment(&id).await.head;
    assert_eq!((head.refunded, head.refunding, head.owed()), (0, 0, 400), "what was answered is older");
    assert_eq!((world.sums().await.net(), world.balance("stripe:EUR").await), (2500, 2500));
    // Stripe's own event of the refund said that it went out.
    assert_eq!(world.told().last().map(String::as_str), Some("refundFailed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_for_which_there_is_no_money_is_tried_again_ever_more_seldom() {
    let world = World::new().await;
    let (id, intent) = paid(&world, "ana").await;
    world.stripe.account().refuses_refunds.extend(["balance_insufficient"; 3]);
    ask(&world, &id, None).await.unwrap();
    world.pass(MINUTE * 59).await;
    let head = world.payment(&id).await.head;
    assert_eq!((head.refunding, head.owed()), (2500, 0), "it is on its way");
    assert_eq!(world.stripe.asked("POST", "/refunds").len(), 1, "not asked for meanwhile");
    assert_eq!(world.told(), Vec::<String>::new());
    world.pass(HOUR * 7).await;
    let asked = world.stripe.asked("POST", "/refunds");
    let mut keys: Vec<_> = asked.iter().map(|one| one.key.clone().unwrap()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!((asked.len(), keys.len()), (4, 4), "Stripe keeps what it refused under its key: {keys:?}");
    assert_eq!((world.status(&id).await, world.stripe.account().refunded(&intent)), (Status::Refunded, 2500));
    assert_eq!(world.told(), ["paymentRefunded"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_no_money_for_days_an_admin_looks_at_it() {
    let world = World::new().await;
    let (id, _) = paid(&world, "ana").await;
    world.stripe.account().refuses_refunds.extend(["balance_insufficient"; 20]);
    ask(&world, &id, None).await.unwrap();
    world.pass(DAY * 5).await;
    assert_eq!(world.stripe.asked("POST", "/refunds").len(), 8);
    let head = world.payment(&id).await.head;
    assert_eq!((head.refunding, head.owed(), owed(&world).await), (0, 2500, vec![id]));
    assert_eq!(head.failed_why.as_deref(), Some("balance_insufficient"));
    assert_eq!((world.told(), world.dead()), (vec!["refundFailed".to_owned()], Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_bounces_for_want_of_money_is_asked_for_once_more() {
    let world = World::new().await;
    let (id, intent) = paid(&world, "ana").await;
    world.stripe.account().refunds_begin = "pending";
    ask(&world, &id, Some(400)).await.unwrap();
    world.work().await;
    let refund = world.stripe.account().refunds().pop().unwrap();
    world.stripe.account().bounce_refund(&refund, "insufficient_funds");
    world.stripe.account().refunds_begin = "succeeded";
    world.deliver_all().await;
    world.work().await;
    assert_eq!((world.payment(&id).await.head.owed(), owed(&world).await), (400, vec![id.clone()]));
    world.pass(HOUR * 2).await;
    let head = world.payment(&id).await.head;
    assert_eq!((head.refunded, head.owed(), world.stripe.account().refunded(&intent)), (400, 0, 400));
    assert_eq!(owed(&world).await, Vec::<String>::new());
    assert_eq!(world.told(), ["paymentRefunded", "paymentRefunded"], "nobody is told of what is tried again");
}

/// A refund of 15 fails for want of money, and an admin sends it by Stripe's dashboard before it is tried again.
async fn sent_by_hand() -> (World, String, String) {
    let world = World::new().await;
    let (id, intent) = paid(&world, "ana").await;
    world.stripe.account().refunds_begin = "pending";
    ask(&world, &id, Some(1500)).await.unwrap();
    world.work().await;
    let refund = world.stripe.account().refunds().pop().unwrap();
    world.stripe.account().bounce_refund(&refund, "insufficient_funds");
    world.stripe.account().refunds_begin = "succeeded";
    world.stripe.account().refund_by_hand(&intent, 1500);
    (world, id, intent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_dashboard_sent_is_owed_no_longer_until_it_bounces() {
    let (world, id, intent) = sent_by_hand().await;
    world.deliver_all().await;
    world.work().await;
    assert_eq!((world.payment(&id).await.head.owed(), owed(&world).await), (0, Vec::new()));
    world.pass(HOUR * 3).await;
    assert_eq!(world.stripe.account().refunded(&intent), 1500, "it goes out once");
    assert_eq!(world.told(), ["paymentRefunded", "paymentRefunded"]);
    let by_hand = world.stripe.account().refunds().pop().unwrap();
    world.stripe.account().bounce_refund(&by_hand, "declined");
    world.deliver_all().await;
    world.pass(HOUR * 3).await;
    let head = world.payment(&id).await.head;
    assert_eq!((head.refunded, head.owed(), owed(&world).await), (0, 1500, vec![id]));
    assert_eq!(
        (world.told(), world.stripe.account().refunded(&intent)),
        (vec!["refundFailed".to_owned()], 0)
    );
}

/// Stripe tells of it late, twice and in any order, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_dashboard_sent_does_not_go_out_once_more_whatever_is_told() {
    for seed in 0..12 {
        let (world, id, intent) = sent_by_hand().await;
        let events = world.stripe.account().take_events();
        let is_told = |event: &&Value| seed < 8 || event["type"] == "refund.failed";
        let told: Vec<_> = events.iter().filter(is_told).cloned().collect();
        for event in shuffled(&told, 2, seed) {
            world.deliver(&event).await.unwrap();
            if seed % 2 == 0 {
                world.work().await;
            }
        }
        world.pass(HOUR * 3).await;
        assert_eq!(world.stripe.account().refunded(&intent), 1500, "seed {seed}");
        let head = world.payment(&id).await.head;
        assert_eq!((head.refunded, head.refunding), (1500, 0), "seed {seed}");
        assert_eq!((world.balance("stripe:EUR").await, world.dead()), (1000, Vec::new()), "seed {seed}");
    }
}

/// There is no money for a refund, and an admin sends it by Stripe's dashboard before it is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_was_put_off_gives_way_to_the_dashboards() {
    for (is_told, by_hand, owes) in [(true, 1000, 0), (false, 1000, 0), (true, 400, 600)] {
        let world = World::new().await;
        let (id, intent) = paid(&world, "ana").await;
        world.stripe.account().refuses_refunds.push_back("balance_insufficient");
        let own = ask(&world, &id, Some(1000)).await.unwrap();
        world.work().await;
        world.stripe.account().refund_by_hand(&intent, by_hand);
        if is_told {
            world.deliver_all().await;
        }
        world.pass(HOUR * 9).await;
        assert_eq!(world.stripe.account().refunded(&intent), by_hand, "it goes out once");
        let head = world.payment(&id).await.head;
        assert_eq!((head.refunded, head.refunding, head.owed()), (by_hand, 0, owes), "{is_told}");
        let row = world.payments.store().reads().refund(&id, &own).await.unwrap().unwrap();
        assert_eq!((row.status, row.refused.as_deref()), (RefundStatus::Refused, Some("sent_by_hand")));
        let told: &[&str] =
            if owes > 0 { &["paymentRefunded", "refundFailed"] } else { &["paymentRefunded"] };
        assert_eq!(world.told(), told, "{is_told}");
    }
}

/// There was no room, and the money that goes back does not arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_money_did_not_arrive_may_buy_again() {
    let world = World::new().await;
    let id = world.checkout("ana").await.unwrap().payment_id;
    let session = world.session();
    world.door.set_room(0);
    world.stripe.account().pay(&session);
    world.deliver_all().await;
    world.work().await;
    let refund = world.stripe.account().refunds().pop().unwrap();
    world.stripe.account().bounce_refund(&refund, "expired_or_canceled_card");
    world.deliver_all().await;
    world.work().await;
    let payment = world.payment(&id).await;
    assert_eq!((payment.status(), payment.head.owed()), (Status::RefundDue, 2500));
    world.door.set_room(1);
    let (second, _) = paid(&world, "ana").await;
    assert_ne!(second, id);
    // What is owed of the first one goes back, and takes nothing of the second.
    ask(&world, &id, None).await.unwrap();
    world.work().await;
    assert_eq!((world.status(&id).await, world.status(&second).await), (Status::Refunded, Status::Fulfilled));
    assert_eq!(world.door.has("ana"), Some(second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stripe_refuses_for_a_dispute_is_owed_and_goes_back_once_that_is_won() {
    // The bank asks, and has taken nothing.
    let world = World::new().await;
    let (id, _) = paid(&world, "ana").await;
    world.stripe.account().refuses_refunds.push_back("charge_disputed");
    ask(&world, &id, Some(1000)).await.unwrap();
    world.work().await;
    let head = world.payment(&id).await.head;
    assert_eq!(
        (head.owed(), owed(&world).await, world.told()),
        (1000, vec![id], vec!["refundFailed".to_owned()])
    );

    // The bank has taken all of it, and no event has told that.
    let world = World::new().await;
    let (id, intent) = paid(&world, "ana").await;
    let dispute = world.stripe.account().dispute(&intent, 2500);
    world.stripe.account().refuses_refunds.push_back("charge_disputed");
    ask(&world, &id, Some(1000)).await.unwrap();
    world.work().await;
    let payment = world.payment(&id).await;
    assert_eq!(
        (payment.status(), payment.head.owed()),
        (Status::Disputed, 0),
        "the payer has it from the bank"
    );
    assert_eq!(world.told(), Vec::<String>::new());
    world.stripe.account().decide(&dispute, "won");
    world.deliver_all().await;
    world.work().await;
    let head = world.payment(&id).await.head;
    assert_eq!((head.refunded, head.owed(), owed(&world).await), (1000, 0, Vec::new()));
    assert_eq!(world.told(), ["paymentRefunded"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_by_other_means_is_owed_no_longer_and_cannot_go_back_twice() {
    let world = World::new().await;
    let (id, _) = paid(&world, "ana").await;
    let nothing = settle(&world, &id, None).await.unwrap_err();
    assert!(matches!(nothing, RefundError::Refused(RefundRefusal::NotOwed(left)) if left.minor == 0));
    ask(&world, &id, None).await.unwrap();
    world.work().await;
    let refund = world.stripe.account().refunds().pop().unwrap();
    world.stripe.account().bounce_refund(&refund, "expired_or_canceled_card");
    world.deliver_all().await;
    world.work().await;
    let too_much = settle(&world, &id, Some(2501)).await.unwrap_err();
    assert!(matches!(too_much, RefundError::Refused(RefundRefusal::NotOwed(left)) if left.minor == 2500));
    settle(&world, &id, Some(1000)).await.unwrap();
    assert_eq!((world.payment(&id).await.head.owed(), owed(&world).await), (1500, vec![id.clone()]));
    settle(&world, &id, None).await.unwrap();
    world.work().await;
    let payment = world.payment(&id).await;
    assert_eq!(
        (payment.status(), payment.head.owed(), owed(&world).await),
        (Status::Refunded, 0, Vec::new())
    );
    assert!(ask(&world, &id, Some(1)).await.is_err(), "it is back");
    // What was given came from elsewhere: Stripe still has the money.
    assert_eq!((world.balance("stripe:EUR").await, world.balance("outside:EUR").await), (2500, -2500));
    assert_eq!((world.balance("payee:host:EUR").await, world.balance("platform:EUR").await), (0, 0));
    assert_eq!(world.sums().await.net(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_waits_for_the_payers_bank_details_is_on_its_way() {
    let world = World::new().await;
    let (id, _) = paid(&world, "ana").await;
    world.stripe.account().refunds_begin = "requires_action";
    let own = ask(&world, &id, Some(400)).await.unwrap();
    world.work().await;
    let row = world.payments.store().reads().refund(&id, &own).await.unwrap().unwrap();
    let head = world.payment(&id).await.head;
    assert_eq!((row.status, head.refunding, head.owed()), (RefundStatus::NeedsAction, 400, 0));
    let refund = world.stripe.account().refunds().pop().unwrap();
    for status in ["pending", "succeeded"] {
        world.stripe.account().settle_refund(&refund, status);
    }
    let events = world.stripe.account().take_events();
    for event in shuffled(&events, 2, 7) {
        world.deliver(&event).await.unwrap();
    }
    world.work().await;
    assert_eq!(world.payment(&id).await.head.refunded, 400);
    assert_eq!(world.told(), ["paymentRefunded"]);
}

/// All of it is real but Stripe: the payer hears of it, admins find it and settle it, and the trail tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admins_find_what_did_not_arrive_and_settle_it() {
    let salon = Salon::open().await;
    let (server, root) = (&salon.server, salon.server.user("root", "admin"));
    let ana = server.register("ana").await;
    let event = salon.event(2, json!({})).await;
    let payment = salon.comes(&event, &ana).await;
    salon.cancel(&event).await;
    salon.when(&payment, &ana, "refunded").await;
    let refund = salon.stripe.account().refunds().pop().unwrap();
    salon.stripe.account().bounce_refund(&refund, "declined");
    let events = salon.stripe.account().take_events();
    salon.deliver_all(&shuffled(&events, 2, 3)).await;
    salon.is_told(&ana, "refundFailed").await;

    let list = "/api/admin/payments?state=owed";
    assert_eq!(server.get(list, &ana).await.0, StatusCode::FORBIDDEN);
    let (_, page) = server.get(list, &root).await;
    let found = &page["items"][0];
    let shown = (&found["id"], &found["payerId"], &found["owed"], &found["owedBecause"]);
    assert_eq!(shown, (&json!(payment), &json!(ana.id), &json!(1250), &json!("declined")), "{page}");
    assert_eq!(server.get("/api/admin/payments?state=owd", &root).await.0, StatusCode::BAD_REQUEST);

    let path = format!("/api/admin/payments/{payment}/settle");
    let words = json!({"reason": "In cash at the door."});
    for user in [&ana, &salon.host] {
        assert_eq!(server.post(&path, user, words.clone()).await.0, StatusCode::FORBIDDEN);
    }
    let (status, problem) = server.post(&path, &root, json!({"amount": 1251, "reason": "x"})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("not_refundable")));
    let (status, settled) = server.post(&path, &root, words.clone()).await;
    assert_eq!(
        (status, &settled["status"], &settled["owed"]),
        (StatusCode::OK, &json!("refunded"), &json!(0))
    );
    let by_hand = settled["refunds"].as_array().unwrap().iter().find(|one| one["status"] == "settled");
    assert_eq!(by_hand.unwrap()["reason"], "In cash at the door.");
    assert_eq!(server.post(&path, &root, words).await.0, StatusCode::CONFLICT, "nothing is owed any more");
    let (_, page) = server.get(list, &root).await;
    assert_eq!(page["items"], json!([]));
    let missing = format!("/api/admin/payments/{}/settle", new_id());
    assert_eq!(server.post(&missing, &root, json!({"reason": "x"})).await.0, StatusCode::NOT_FOUND);
    until("the trail tells", async || {
        let (_, page): (_, Value) = server.get("/api/admin/audit", &root).await;
        let acts = page["items"].as_array().cloned().unwrap_or_default();
        acts.iter().any(|act| act["act"] == "payment.settled").then_some(())
    })
    .await;
}
