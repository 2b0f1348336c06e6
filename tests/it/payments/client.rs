//! The calls of Stripe's API by themselves.

use futures_util::future::join_all;
use mundotango::community::money::{Currency, Money};
use mundotango::community::payments::stripe::{
    NewRefund, NewSession, RefundStatus, SessionStatus, Stripe, StripeError,
};
use mundotango_ops::Secret;
use mundotango_protocol::new_id;

use super::MINUTE;
use crate::stripe::{FakeStripe, Mishap, SECRET_KEY};

fn money(minor: u64, code: &str) -> Money {
    Money::new(minor, Currency::parse(code).unwrap())
}

fn session<'a>(stripe: &FakeStripe, payment: &'a str, price: Money) -> NewSession<'a> {
    NewSession {
        payment,
        lines: vec![("Entrance & dinner", price, 2), ("Coat", price, 1)],
        success_url: "https://tango.example/payments?payment=x".to_owned(),
        cancel_url: "https://tango.example/payments?payment=x&cancelled=1".to_owned(),
        expires_at: stripe.account().now + MINUTE * 33,
        connected: None,
    }
}

async fn client() -> (FakeStripe, Stripe) {
    let stripe = FakeStripe::start().await;
    // A slash at the end is no other address.
    let base = format!("{}/", stripe.base());
    let client = Stripe::new(&Secret::new(SECRET_KEY.to_owned()), &base).unwrap();
    (stripe, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_asked_for_in_stripes_words() {
    let (stripe, client) = client().await;
    let payment = new_id();
    let new = NewSession {
        connected: Some(("acct_1", money(30, "EUR"))),
        ..session(&stripe, &payment, money(1250, "EUR"))
    };
    let made = client.create_session(&new).await.unwrap();
    assert_eq!((made.status, made.is_paid, made.total), (SessionStatus::Open, false, Some(3750)));
    let asked = stripe.asked("POST", "/checkout/sessions").pop().unwrap();
    let expires_at = new.expires_at.as_second().to_string();
    for (name, value) in [
        ("mode", "payment"),
        ("client_reference_id", payment.as_str()),
        ("metadata[mundotango_payment]", payment.as_str()),
        ("payment_intent_data[metadata][mundotango_payment]", payment.as_str()),
        ("line_items[0][price_data][product_data][name]", "Entrance & dinner"),
        ("line_items[0][price_data][unit_amount]", "1250"),
        ("line_items[0][price_data][currency]", "eur"),
        ("line_items[0][quantity]", "2"),
        ("line_items[1][quantity]", "1"),
        ("cancel_url", "https://tango.example/payments?payment=x&cancelled=1"),
        ("expires_at", expires_at.as_str()),
        ("adaptive_pricing[enabled]", "false"),
        ("payment_intent_data[transfer_data][destination]", "acct_1"),
        ("payment_intent_data[application_fee_amount]", "30"),
    ] {
        assert_eq!(asked.form.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(asked.key, Some(format!("{payment}.session")));
    // The same again is the same session.
    assert_eq!(client.create_session(&new).await.unwrap().id, made.id);
    assert_eq!(stripe.account().sessions().len(), 1);
}

/// T75: amounts reach Stripe in its own units.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t75_five_hundred_yen_reach_stripe_as_five_hundred() {
    let (stripe, client) = client().await;
    for (price, told) in [
        (money(500, "JPY"), "500"),
        (money(500, "EUR"), "500"),
        (money(500, "ISK"), "50000"),
        (money(500, "UGX"), "50000"),
        (money(5120, "KWD"), "5120"),
    ] {
        let payment = new_id();
        client.create_session(&session(&stripe, &payment, price)).await.unwrap();
        let asked = stripe.asked("POST", "/checkout/sessions").pop().unwrap();
        let amount = &asked.form["line_items[0][price_data][unit_amount]"];
        assert_eq!(amount, told, "{}", price.display());
    }
    let payment = new_id();
    let refused = client.create_session(&session(&stripe, &payment, money(5124, "KWD"))).await.unwrap_err();
    assert!(matches!(refused, StripeError::Refused { .. }), "{refused}");
    assert_eq!(stripe.account().sessions().len(), 5, "nothing was asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_another_body_is_neither_done_nor_taken_for_done() {
    let (stripe, client) = client().await;
    let payment = new_id();
    client.create_session(&session(&stripe, &payment, money(1250, "EUR"))).await.unwrap();
    let other = client.create_session(&session(&stripe, &payment, money(1300, "EUR"))).await;
    assert!(matches!(other, Err(StripeError::Unknown(_))), "{other:?}");
    assert_eq!(stripe.account().sessions().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_end_intents_name_payments_and_refunds_are_listed() {
    let (stripe, client) = client().await;
    let (first, second) = (new_id(), new_id());
    let open = client.create_session(&session(&stripe, &first, money(1250, "EUR"))).await.unwrap();
    let ended = client.expire_session(&first, &open.id).await.unwrap();
    assert_eq!((ended.status, ended.url), (SessionStatus::Expired, None));
    let other = client.expire_session(&second, &open.id).await;
    assert!(matches!(other, Err(StripeError::Refused { status: 400, .. })), "{other:?}");

    let connected = Some(("acct_1", money(30, "EUR")));
    let new = NewSession { connected, ..session(&stripe, &second, money(1250, "EUR")) };
    let paid = client.create_session(&new).await.unwrap();
    stripe.account().pay(&paid.id);
    let seen = client.session(&paid.id).await.unwrap();
    assert!(seen.is_paid && !seen.has_failed && seen.status == SessionStatus::Complete);
    let intent = seen.intent.unwrap();
    assert_eq!(client.payment_of(&intent).await.unwrap(), Some(second.clone()));
    let amount = Some(money(750, "EUR"));
    let new = NewRefund {
        payment: &second,
        refund: "r1",
        tries: 0,
        intent: &intent,
        amount,
        is_connected: true,
        has_share: true,
    };
    for _ in 0..2 {
        let made = client.create_refund(&new).await.unwrap();
        assert_eq!(
            (made.own.as_deref(), made.amount, made.status),
            (Some("r1"), 750, RefundStatus::Succeeded)
        );
    }
    let whole = NewRefund { refund: "r2", amount: None, ..new.clone() };
    assert_eq!(client.create_refund(&whole).await.unwrap().amount, 3000);
    let asked = stripe.asked("POST", "/refunds");
    assert_eq!(asked[0].form["reverse_transfer"], "true");
    assert_eq!(asked[0].form["refund_application_fee"], "true");
    let listed = client.refunds_of(&intent).await.unwrap();
    let own: Vec<_> = listed.iter().map(|one| one.own.as_deref()).collect();
    assert_eq!(own, [Some("r2"), Some("r1")]);
    stripe.account().dispute(&intent, 100);
    assert_eq!(client.disputes_of(&intent).await.unwrap().len(), 1);
    // What is no id leads nowhere else.
    let odd = client.session("../refunds").await;
    assert!(matches!(odd, Err(StripeError::Refused { status: 404, .. })), "{odd:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_failures_in_a_row_calls_rest() {
    let (stripe, client) = client().await;
    for _ in 0..60 {
        stripe.next("/payment_intents/pi_1", Mishap::Fails(500));
    }
    for _ in 0..5 {
        let failed = client.payment_of("pi_1").await;
        assert!(matches!(failed, Err(StripeError::Unavailable { .. })), "{failed:?}");
    }
    let rests = client.payment_of("pi_1").await;
    assert!(matches!(rests, Err(StripeError::Resting { .. })), "{rests:?}");
    assert_eq!(stripe.asked("GET", "/payment_intents/pi_1").len(), 15);
}

/// Who calls too often is put off; that closes the way for nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_too_many_are_no_failures_of_stripe() {
    let (stripe, client) = client().await;
    for status in [429, 409] {
        for _ in 0..24 {
            stripe.next("/payment_intents/pi_1", Mishap::Fails(status));
        }
        let calls = join_all((0..8).map(|_| client.payment_of("pi_1"))).await;
        assert!(calls.iter().all(|one| matches!(one, Err(StripeError::Busy { .. }))), "{calls:?}");
    }
    assert_eq!(stripe.asked("GET", "/payment_intents/pi_1").len(), 48);
    let next = client.payment_of("pi_1").await;
    assert!(matches!(next, Err(StripeError::Refused { status: 404, .. })), "{next:?}");
}

/// Stripe refuses to give a share back that nobody took.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_payment_without_a_share_none_is_asked_back() {
    let (stripe, client) = client().await;
    let payment = new_id();
    let connected = Some(("acct_1", money(0, "EUR")));
    let new = NewSession { connected, ..session(&stripe, &payment, money(1250, "EUR")) };
    let paid = client.create_session(&new).await.unwrap();
    stripe.account().pay(&paid.id);
    let intent = stripe.account().intent_of(&paid.id);
    let new = NewRefund {
        payment: &payment,
        refund: "r1",
        tries: 0,
        intent: &intent,
        amount: None,
        is_connected: true,
        has_share: true,
    };
    let refused = client.create_refund(&new).await.unwrap_err();
    assert!(refused.to_string().contains("has no application fee"), "{refused}");
    let made = client.create_refund(&NewRefund { has_share: false, ..new }).await.unwrap();
    assert_eq!((made.amount, made.status), (3750, RefundStatus::Succeeded));
    let asked = stripe.asked("POST", "/refunds").pop().unwrap().form;
    assert_eq!(asked["reverse_transfer"], "true");
    assert!(!asked.contains_key("refund_application_fee"), "{asked:?}");
}
