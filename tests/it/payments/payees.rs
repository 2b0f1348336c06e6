//! Payees with accounts of their own at Stripe, as they, their guests and Stripe meet them.

use std::sync::Arc;

use futures_util::future::join_all;
use jiff::SignedDuration;
use mundotango_protocol::new_id;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::World;
use super::salon::Salon;
use crate::server::{Server, until};
use crate::stripe::{Mishap, shuffled};

const PAYEE: &str = "/api/payments/payee";

impl Salon {
    async fn connected() -> Self {
        Self::open_with(&[("PAYMENTS__CONNECT", "true")]).await
    }

    /// The page on which the host says what is due.
    async fn onboarding(&self) -> String {
        let (status, page) = self.server.call(Method::POST, PAYEE, Some(&self.host.token), None).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page["url"].as_str().unwrap().to_owned()
    }

    /// The host has an account that takes money; its name.
    async fn is_ready(&self) -> String {
        self.onboarding().await;
        let account = self.stripe.account().connected().pop().unwrap();
        self.stripe.account().judge(&account, true, &[], None);
        self.deliver().await;
        self.when_payee("ready").await;
        account
    }

    async fn payee(&self) -> Value {
        let (status, payee) = self.server.get(PAYEE, &self.host).await;
        assert_eq!(status, StatusCode::OK, "{payee}");
        payee
    }

    async fn when_payee(&self, state: &str) -> Value {
        until(&format!("the payee is {state}"), async || {
            let payee = self.payee().await;
            (payee["state"] == state).then_some(payee)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payee_goes_through_stripes_pages_and_the_money_goes_on() {
    let salon = Salon::connected().await;
    let (ana, ben) = (salon.server.register("ana").await, salon.server.register("ben").await);
    let event = salon.event(3, json!({})).await;
    for guest in [&ana, &ben] {
        assert_eq!(salon.answer(&event, guest, json!({})).await, "held");
    }
    let not_ready = (StatusCode::CONFLICT, json!("payee_not_ready"));
    let refused = async || {
        let (status, problem) = salon.ask_to_pay("ticket", &event, &ana).await;
        (status, problem["code"].clone())
    };
    assert_eq!(salon.payee().await["state"], "none");
    assert_eq!(refused().await, not_ready);
    let dashboard = format!("{PAYEE}/dashboard");
    let (status, problem) = salon.server.call(Method::POST, &dashboard, Some(&salon.host.token), None).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("payee_not_ready")));

    let (first, second) = (salon.onboarding().await, salon.onboarding().await);
    assert_ne!(first, second, "each page opens once");
    for page in [&first, &second] {
        assert!(salon.stripe.account().open_link(page));
        assert!(!salon.stripe.account().open_link(page));
    }
    let accounts = salon.stripe.account().connected();
    assert_eq!(accounts.len(), 1, "and the account is one");
    let account = accounts[0].as_str();
    let payee = salon.payee().await;
    assert_eq!((&payee["state"], &payee["reason"]), (&json!("incomplete"), &json!("requirements.past_due")));
    assert!(payee["due"].as_array().unwrap().contains(&json!("external_account")), "{payee}");
    assert_eq!(refused().await, not_ready);

    // What the events say is not believed, so the older ones change nothing.
    salon.stripe.account().judge(account, false, &[], Some("requirements.pending_verification"));
    salon.stripe.account().judge(account, true, &[], None);
    let events = salon.stripe.account().take_events();
    salon.deliver_all(&shuffled(&events, 3, 5)).await;
    salon.when_payee("ready").await;
    let payment = salon.checkout("ticket", &event, &ana).await;
    let asked = salon.stripe.asked("POST", "/checkout/sessions").pop().unwrap().form;
    assert_eq!(asked["payment_intent_data[transfer_data][destination]"], account);
    assert_eq!(asked["payment_intent_data[application_fee_amount]"], "31", "2.5 % of 12.50");
    salon.pay(&salon.session()).await;
    salon.when(&payment, &ana, "fulfilled").await;
    let (status, page) = salon.server.call(Method::POST, &dashboard, Some(&salon.host.token), None).await;
    assert_eq!(status, StatusCode::OK, "{page}");

    salon.stripe.account().judge(account, false, &[], Some("rejected.fraud"));
    salon.deliver().await;
    assert_eq!(salon.when_payee("disabled").await["reason"], "rejected.fraud");
    let (status, problem) = salon.ask_to_pay("ticket", &event, &ben).await;
    assert_eq!((status, problem["code"].clone()), not_ready);
}

/// The payee cuts the account off; an older event comes after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_cut_off_is_none_in_whatever_order_that_is_told() {
    for seed in 0..3 {
        let salon = Salon::connected().await;
        let account = salon.is_ready().await;
        salon.stripe.account().judge(&account, true, &[], None);
        salon.stripe.account().cut_off(&account);
        let events = salon.stripe.account().take_events();
        salon.deliver_all(&shuffled(&events, 2, seed)).await;
        salon.when_payee("none").await;
        salon.onboarding().await;
        let accounts = salon.stripe.account().connected();
        assert_eq!(accounts.len(), 2, "seed {seed}: another one");
        assert_eq!(salon.payee().await["state"], "incomplete", "seed {seed}");
    }
}

/// The account is made at Stripe, and the node dies before it hears so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_while_an_account_is_made_leaves_one() {
    let mut salon = Salon::connected().await;
    salon.stripe.next("/accounts", Mishap::Hold(Arc::new(Notify::new())));
    {
        let asking = salon.server.try_call(Method::POST, PAYEE, Some(&salon.host.token), None);
        let killing = async {
            until("Stripe has made it", async || {
                (!salon.stripe.account().connected().is_empty()).then_some(())
            })
            .await;
            salon.server.signal("KILL");
        };
        let (asked, ()) = tokio::join!(asking, killing);
        assert!(asked.is_err(), "nobody answers: {asked:?}");
    }
    salon.server.wait_for_end().await;
    salon.server.start_again().await;
    salon.onboarding().await;
    assert_eq!(salon.stripe.account().connected().len(), 1);
    assert_eq!(salon.payee().await["state"], "incomplete");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_accounts_of_others_are_taken_and_forgotten() {
    let salon = Salon::connected().await;
    salon.is_ready().await;
    let event = json!({
        "id": format!("evt_{}", new_id()), "type": "account.updated", "account": "acct_of_others",
        "data": {"object": {"id": "acct_of_others", "object": "account"}},
    });
    salon.deliver_all(&[event]).await;
    assert_eq!(salon.payee().await["state"], "ready");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_money_goes_on_there_is_nothing_to_connect() {
    let without_keys = Server::start().await;
    let ana = without_keys.user("ana", "user");
    let salon = Salon::open().await;
    for (server, user, code) in
        [(&without_keys, &ana, "payments_off"), (&salon.server, &salon.host, "connect_off")]
    {
        for (method, path) in [
            (Method::GET, PAYEE.to_owned()),
            (Method::POST, PAYEE.to_owned()),
            (Method::POST, format!("{PAYEE}/dashboard")),
        ] {
            let (status, problem) = server.call(method, &path, Some(&user.token), None).await;
            assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(code)), "{path}");
        }
    }
    let (status, _) = salon.server.call(Method::GET, PAYEE, None, None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

/// The platform's share goes back with the rest; where it took none, Stripe is not asked for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_on_to_a_payee_goes_back_with_and_without_a_share() {
    for (points, share) in [("0", None), ("250", Some("true"))] {
        let settings = [("PAYMENTS__CONNECT", "true"), ("PAYMENTS__FEE_BASIS_POINTS", points)];
        let salon = Salon::open_with(&settings).await;
        let ana = salon.server.register("ana").await;
        salon.is_ready().await;
        let event = salon.event(2, json!({})).await;
        assert_eq!(salon.answer(&event, &ana, json!({})).await, "held");
        let payment = salon.checkout("ticket", &event, &ana).await;
        salon.pay(&salon.session()).await;
        salon.when(&payment, &ana, "fulfilled").await;
        let path = format!("/api/payments/{payment}/refund");
        let (status, answer) = salon.server.post(&path, &salon.host, json!({})).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        salon.when(&payment, &ana, "refunded").await;
        let asked = salon.stripe.asked("POST", "/refunds").pop().unwrap().form;
        assert_eq!(asked.get("refund_application_fee").map(String::as_str), share, "{points}: {asked:?}");
        assert_eq!(asked["reverse_transfer"], "true");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payee_has_ten_pages_an_hour_and_stripe_is_asked_for_no_more() {
    let salon = Salon::connected().await;
    let dashboard = format!("{PAYEE}/dashboard");
    let ask = async |path: &str| {
        let (status, answer) = salon.server.call(Method::POST, path, Some(&salon.host.token), None).await;
        (status, answer["code"].clone())
    };
    let account = salon.is_ready().await;
    for number in 1..10 {
        let path = if number % 2 == 0 { PAYEE } else { dashboard.as_str() };
        assert_eq!(ask(path).await, (StatusCode::OK, Value::Null), "{number}");
    }
    for path in [PAYEE, dashboard.as_str()] {
        assert_eq!(ask(path).await, (StatusCode::TOO_MANY_REQUESTS, json!("too_many_requests")), "{path}");
    }
    let links = salon.stripe.asked("POST", "/account_links").len();
    let logins = salon.stripe.asked("POST", &format!("/accounts/{account}/login_links")).len();
    assert_eq!((links, logins), (5, 5));
    let ana = salon.server.register("ana").await;
    let (status, page) = salon.server.call(Method::POST, PAYEE, Some(&ana.token), None).await;
    assert_eq!(status, StatusCode::OK, "those of others are theirs: {page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_want_to_know_stripe_is_asked_for_a_payee_once_in_ten_seconds() {
    let world = World::with(|options| options.connect = true).await;
    let account = world.payments.account_for("host", world.now()).await.unwrap();
    let payers: Vec<_> = (0..20).map(|number| format!("payer {number}")).collect();
    for round in 1..=3 {
        world.pass(SignedDuration::from_secs(11)).await;
        for refused in join_all(payers.iter().map(|payer| world.checkout(payer))).await {
            assert_eq!(refused.unwrap_err().status().as_u16(), 409);
        }
        assert_eq!(world.stripe.asked("GET", &format!("/accounts/{account}")).len(), round);
    }
}
