//! Tickets of events, as guests, hosts and Stripe meet them: all of it is real but Stripe.

use mundotango_protocol::new_id;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::salon::Salon;
use crate::server::{User, until};

impl Salon {
    /// An event with so many places at 12.50 each.
    pub async fn event(&self, capacity: u32, changes: Value) -> String {
        let mut event = json!({
            "title": "Milonga", "eventDate": "2030-01-01T20:00:00Z", "location": "La Viruta", "eventType": "milonga",
            "capacity": capacity, "ticketPrice": {"minor": 1250, "currency": "EUR"},
        });
        let changes = changes.as_object().cloned().unwrap_or_default();
        event.as_object_mut().unwrap().extend(changes);
        let (status, event) = self.server.post("/api/events", &self.host, event).await;
        assert_eq!(status, StatusCode::CREATED, "{event}");
        event["id"].as_str().unwrap().to_owned()
    }

    pub async fn answer(&self, event: &str, guest: &User, body: Value) -> Value {
        let (status, answer) = self.server.post(&format!("/api/events/{event}/rsvp"), guest, body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["status"].clone()
    }

    /// Somebody comes, and has paid.
    pub async fn comes(&self, event: &str, guest: &User) -> String {
        assert_eq!(self.answer(event, guest, json!({})).await, "held");
        let payment = self.checkout("ticket", event, guest).await;
        self.pay(&self.session()).await;
        self.when(&payment, guest, "fulfilled").await;
        payment
    }

    async fn own_answer(&self, event: &str, guest: &User) -> Value {
        let (_, seen) = self.server.get(&format!("/api/events/{event}"), guest).await;
        seen["myRsvp"]["status"].clone()
    }

    pub async fn cancel(&self, event: &str) {
        let (status, cancelled) =
            self.server.post(&format!("/api/events/{event}/cancel"), &self.host, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{cancelled}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pays_has_the_places_that_were_held() {
    let salon = Salon::open().await;
    let ana = salon.server.register("ana").await;
    let event = salon.event(3, json!({})).await;
    let couple = json!({"role": "lead", "guests": ["follow"]});
    assert_eq!(salon.answer(&event, &ana, couple).await, "held");

    let (status, checkout) = salon.ask_to_pay("ticket", &event, &ana).await;
    assert_eq!(status, StatusCode::CREATED, "{checkout}");
    assert!(checkout["url"].as_str().unwrap().starts_with("https://checkout.stripe.example/cs_"));
    assert_eq!(salon.ask_to_pay("ticket", &event, &ana).await.1, checkout, "asked again");
    let id = checkout["paymentId"].as_str().unwrap();
    let payment = salon.payment(id, &ana).await;
    assert_eq!((&payment["status"], &payment["amount"]), (&json!("session"), &json!(2500)));
    assert_eq!(payment["lines"], json!([{"name": "Milonga", "unit": 1250, "quantity": 2}]));
    assert_eq!(payment["payeeId"], salon.host.id);

    salon.pay(&salon.session()).await;
    salon.when(id, &ana, "fulfilled").await;
    let (_, seen) = salon.server.get(&format!("/api/events/{event}"), &ana).await;
    assert_eq!(seen["myRsvp"]["status"], "going", "{seen}");
    assert_eq!(seen["counts"]["going"], 2, "{seen}");
    salon.is_told(&ana, "paymentReceived").await;
    let (status, problem) = salon.ask_to_pay("ticket", &event, &ana).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("not_payable")));

    // What goes back is another matter than the place.
    let refund = format!("/api/payments/{id}/refund");
    assert_eq!(salon.server.post(&refund, &ana, json!({})).await.0, StatusCode::FORBIDDEN);
    let part = json!({"amount": 500, "reason": "The second orchestra is ill."});
    let (status, answer) = salon.server.post(&refund, &salon.host, part).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let more = json!({"amount": 2001});
    let (status, problem) = salon.server.post(&refund, &salon.host, more).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("not_refundable")));
    let payment = until("it went back", async || {
        let payment = salon.payment(id, &ana).await;
        (payment["refunded"] == 500).then_some(payment)
    })
    .await;
    assert_eq!((&payment["refunding"], &payment["status"]), (&json!(0), &json!("fulfilled")));
    assert_eq!(salon.own_answer(&event, &ana).await, "going");

    let root = salon.server.user("root", "admin");
    let revenue = until("all of it is in the ledger", async || {
        let (_, revenue) = salon.server.get("/api/admin/revenue", &root).await;
        (revenue["totals"][0]["refunded"] == 500).then_some(revenue)
    })
    .await;
    let totals = json!([{
        "purpose": "ticket", "currency": "EUR", "payments": 1, "captured": 2500, "refunded": 500, "disputed": 0,
        "net": 2000, "fees": 50,
    }]);
    assert_eq!(revenue["totals"], totals);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_take_place_is_paid_back() {
    let salon = Salon::open().await;
    let (ana, ben) = (salon.server.register("ana").await, salon.server.register("ben").await);
    let event = salon.event(2, json!({})).await;
    let paid = salon.comes(&event, &ana).await;
    assert_eq!(salon.answer(&event, &ben, json!({})).await, "held");
    let late = salon.checkout("ticket", &event, &ben).await;
    // Somebody pays at that very moment, and finds no place.
    let session = salon.session();
    salon.stripe.account().pay(&session);
    salon.cancel(&event).await;
    let payment = salon.when(&paid, &ana, "refunded").await;
    assert_eq!((&payment["refunded"], &payment["refunds"][0]["by"]), (&json!(1250), &Value::Null));
    salon.deliver().await;
    let payment = salon.when(&late, &ben, "refunded").await;
    assert_eq!(payment["refunded"], 1250);
    for user in [&ana, &ben] {
        salon.is_told(user, "paymentRefunded").await;
    }
    assert_eq!(salon.stripe.account().refunds().len(), 2);
    let (status, problem) = salon.ask_to_pay("ticket", &event, &ben).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("over")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_pays_any_more_for_what_is_cancelled() {
    let salon = Salon::open().await;
    let ben = salon.server.register("ben").await;
    let event = salon.event(2, json!({})).await;
    assert_eq!(salon.answer(&event, &ben, json!({})).await, "held");
    let payment = salon.checkout("ticket", &event, &ben).await;
    let session = salon.session();
    salon.cancel(&event).await;
    let ended = salon.when(&payment, &ben, "expired").await;
    assert_eq!((&ended["url"], salon.stripe.account().status(&session)), (&Value::Null, "expired"));
    // What the event of that says is known.
    salon.deliver().await;
    assert_eq!(salon.payment(&payment, &ben).await["status"], "expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_again_with_others_pays_for_all_of_them() {
    let salon = Salon::open().await;
    let ana = salon.server.register("ana").await;
    let event = salon.event(5, json!({})).await;
    assert_eq!(salon.answer(&event, &ana, json!({})).await, "held");
    let alone = salon.checkout("ticket", &event, &ana).await;
    let session = salon.session();
    let decline = json!({"status": "declined"});
    assert_eq!(salon.answer(&event, &ana, decline).await, "declined");
    let couple = json!({"role": "lead", "guests": ["follow"]});
    assert_eq!(salon.answer(&event, &ana, couple).await, "held");
    // The page of the first answer is still open somewhere.
    salon.pay(&session).await;
    salon.when(&alone, &ana, "refunded").await;
    assert_eq!(salon.own_answer(&event, &ana).await, "held");
    let both = salon.checkout("ticket", &event, &ana).await;
    assert_ne!(both, alone);
    salon.pay(&salon.session()).await;
    assert_eq!(salon.when(&both, &ana, "fulfilled").await["amount"], 2500);
    assert_eq!(salon.own_answer(&event, &ana).await, "going");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_that_changes_is_paid_as_it_is_shown() {
    let salon = Salon::open().await;
    let ana = salon.server.register("ana").await;
    let event = salon.event(5, json!({})).await;
    assert_eq!(salon.answer(&event, &ana, json!({})).await, "held");
    let first = salon.checkout("ticket", &event, &ana).await;
    let old = salon.session();
    let change = json!({"ticketPrice": {"minor": 1500, "currency": "EUR"}});
    let path = format!("/api/events/{event}");
    let (status, changed) =
        salon.server.call(Method::PATCH, &path, Some(&salon.host.token), Some(change)).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    let second = salon.checkout("ticket", &event, &ana).await;
    assert_ne!(second, first);
    assert_eq!(salon.stripe.account().status(&old), "expired", "nobody pays the old price");
    salon.when(&first, &ana, "expired").await;
    salon.pay(&salon.session()).await;
    assert_eq!(salon.when(&second, &ana, "fulfilled").await["amount"], 1500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_held_is_paid_for() {
    let salon = Salon::open().await;
    let (ana, ben) = (salon.server.register("ana").await, salon.server.register("ben").await);
    let refused = async |event: &str, guest: &User, wanted: (StatusCode, &str)| {
        let (status, problem) = salon.ask_to_pay("ticket", event, guest).await;
        assert_eq!((status, problem["code"].as_str().unwrap()), wanted, "{problem}");
    };
    let not_payable = (StatusCode::CONFLICT, "not_payable");
    let event = salon.event(1, json!({})).await;
    refused(&event, &ana, not_payable).await;
    assert_eq!(salon.answer(&event, &ana, json!({"status": "maybe"})).await, "maybe");
    refused(&event, &ana, not_payable).await;
    assert_eq!(salon.answer(&event, &ana, json!({})).await, "held");
    assert_eq!(salon.answer(&event, &ben, json!({})).await, "waitlisted");
    refused(&event, &ben, not_payable).await;
    salon.checkout("ticket", &event, &ana).await;
    let free = salon.event(1, json!({"ticketPrice": null})).await;
    assert_eq!(salon.answer(&free, &ana, json!({})).await, "going");
    refused(&free, &ana, not_payable).await;
    let draft = salon.event(1, json!({"draft": true})).await;
    for user in [&ana, &salon.host] {
        refused(&draft, user, (StatusCode::NOT_FOUND, "not_found")).await;
    }
    refused(&new_id(), &ana, (StatusCode::NOT_FOUND, "not_found")).await;
    let body = json!({"purpose": "booking", "thingId": new_id()});
    let (status, _) = salon.server.post("/api/payments/checkout", &ana, body).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "nothing of the kind is for sale");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_of_a_series_pay_who_took_it_over() {
    let salon = Salon::open().await;
    let (ana, bea) = (salon.server.register("ana").await, salon.server.register("bea").await);
    let body = json!({
        "title": "Milonga", "eventDate": "2030-01-01T20:00:00Z", "location": "La Viruta", "eventType": "milonga",
        "ticketPrice": {"minor": 1250, "currency": "EUR"}, "repeats": {"frequency": "weekly", "count": 2},
    });
    let (status, series) = salon.server.post("/api/events/series", &salon.host, body).await;
    assert_eq!(status, StatusCode::CREATED, "{series}");
    let path = format!("/api/events/series/{}", series["id"].as_str().unwrap());
    let date = series["nextDates"][1]["eventId"].as_str().unwrap();
    let offer = Some(json!({"userId": bea.id}));
    let (status, problem) =
        salon.server.call(Method::PUT, &format!("{path}/offer"), Some(&salon.host.token), offer).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{problem}");
    let (status, problem) = salon.server.post(&format!("{path}/offer/accept"), &bea, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{problem}");
    until("the dates follow", async || {
        let (_, series) = salon.server.get(&path, &bea).await;
        (series["isSettled"] == true).then_some(())
    })
    .await;
    assert_eq!(salon.answer(date, &ana, json!({})).await, "held");
    let payment = salon.checkout("ticket", date, &ana).await;
    assert_eq!(salon.payment(&payment, &ana).await["payeeId"], bea.id);
}
