//! Stays that are paid for, as guests, hosts and Stripe meet them.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::salon::Salon;
use crate::housing::{room_body, stay_body};
use crate::server::{User, until};

impl Salon {
    /// Asks for five nights of a room of the host's, at 45.50 each; the booking's id.
    async fn asks(&self, guest: &User) -> String {
        let (status, room) = self.server.post("/api/housing", &self.host, room_body()).await;
        assert_eq!(status, StatusCode::CREATED, "{room}");
        let path = format!("/api/housing/{}/bookings", room["id"].as_str().unwrap());
        let (status, booking) = self.server.post(&path, guest, stay_body(20, 5)).await;
        assert_eq!(status, StatusCode::CREATED, "{booking}");
        booking["id"].as_str().unwrap().to_owned()
    }

    async fn act(&self, booking: &str, action: &str, user: &User) -> Value {
        let path = format!("/api/bookings/{booking}/{action}");
        let (status, answer) = self.server.post(&path, user, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{action}: {answer}");
        answer
    }

    /// A booking, once its money stands so.
    async fn money(&self, booking: &str, wanted: &str) -> Value {
        until(&format!("the money of {booking} is {wanted}"), async || {
            let (_, page) = self.server.get(&format!("/api/bookings/{booking}"), &self.host).await;
            (page["payment"] == wanted).then_some(page)
        })
        .await
    }

    async fn refused(&self, booking: &str, user: &User) -> (StatusCode, Value) {
        let (status, problem) = self.ask_to_pay("booking", booking, user).await;
        (status, problem["code"].clone())
    }

    /// Somebody has a stay, and has paid for it; the booking and the payment.
    async fn stays(&self, guest: &User) -> (String, String) {
        let booking = self.asks(guest).await;
        self.act(&booking, "confirm", &self.host).await;
        let payment = self.checkout("booking", &booking, guest).await;
        self.pay(&self.session()).await;
        self.when(&payment, guest, "fulfilled").await;
        self.money(&booking, "paid").await;
        (booking, payment)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stay_is_paid_for_once_it_is_confirmed_and_once() {
    let salon = Salon::open().await;
    let (ana, ben) = (salon.server.register("ana").await, salon.server.register("ben").await);
    let booking = salon.asks(&ana).await;
    let not_payable = (StatusCode::CONFLICT, json!("not_payable"));
    assert_eq!(salon.refused(&booking, &ana).await, not_payable, "nobody has confirmed it");
    salon.act(&booking, "confirm", &salon.host).await;
    assert_eq!(salon.refused(&booking, &ben).await.0, StatusCode::NOT_FOUND);
    assert_eq!(salon.refused(&booking, &salon.host).await.0, StatusCode::FORBIDDEN);

    let (status, checkout) = salon.ask_to_pay("booking", &booking, &ana).await;
    assert_eq!(status, StatusCode::CREATED, "{checkout}");
    assert_eq!(salon.ask_to_pay("booking", &booking, &ana).await.1, checkout, "asked again");
    let id = checkout["paymentId"].as_str().unwrap();
    let payment = salon.payment(id, &ana).await;
    assert_eq!((&payment["amount"], &payment["payeeId"]), (&json!(22_750), &json!(salon.host.id)));
    salon.pay(&salon.session()).await;
    salon.when(id, &ana, "fulfilled").await;
    let page = salon.money(&booking, "paid").await;
    assert_eq!(page["status"], "confirmed");
    salon.is_told(&salon.host, "bookingPaid").await;
    salon.is_told(&ana, "paymentReceived").await;
    assert_eq!(salon.refused(&booking, &ana).await, not_payable, "it is paid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stay_that_is_cancelled_is_paid_back_by_its_rules() {
    let salon = Salon::open().await;
    let ana = salon.server.register("ana").await;
    let (booking, payment) = salon.stays(&ana).await;
    // Twenty days before, all of it goes back by moderate rules.
    let cancelled = salon.act(&booking, "cancel", &ana).await;
    assert_eq!((&cancelled["payment"], &cancelled["refund"]["percent"]), (&json!("refundDue"), &json!(100)));
    let paid = salon.when(&payment, &ana, "refunded").await;
    assert_eq!((&paid["refunded"], &paid["refunds"][0]["by"]), (&json!(22_750), &Value::Null));
    salon.money(&booking, "refunded").await;
    salon.is_told(&ana, "paymentRefunded").await;
    assert_eq!(salon.refused(&booking, &ana).await.0, StatusCode::CONFLICT);

    // A part that the host gives is no cancellation; all of the rest is told as well.
    let (booking, payment) = salon.stays(&ana).await;
    let refund = format!("/api/payments/{payment}/refund");
    let (status, _) = salon.server.post(&refund, &salon.host, json!({"amount": 1_000})).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    until("a part went back", async || {
        let payment = salon.payment(&payment, &ana).await;
        (payment["refunded"] == 1_000).then_some(())
    })
    .await;
    salon.money(&booking, "paid").await;
    let (status, _) = salon.server.post(&refund, &salon.host, json!({})).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let page = salon.money(&booking, "refunded").await;
    assert_eq!(page["status"], "confirmed", "the stay is the guest's all the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_for_a_stay_that_was_cancelled_meanwhile_goes_back() {
    let salon = Salon::open().await;
    let ana = salon.server.register("ana").await;
    let booking = salon.asks(&ana).await;
    salon.act(&booking, "confirm", &salon.host).await;
    let payment = salon.checkout("booking", &booking, &ana).await;
    // The guest pays at that very moment: the page cannot be ended any more.
    let session = salon.session();
    salon.stripe.account().pay(&session);
    salon.act(&booking, "cancel", &salon.host).await;
    salon.deliver().await;
    let paid = salon.when(&payment, &ana, "refunded").await;
    assert_eq!(paid["refunded"], 22_750);
    let page = salon.money(&booking, "none").await;
    assert_eq!(page["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_pays_any_more_for_a_stay_that_is_cancelled() {
    let salon = Salon::open().await;
    let ana = salon.server.register("ana").await;
    let booking = salon.asks(&ana).await;
    salon.act(&booking, "confirm", &salon.host).await;
    let payment = salon.checkout("booking", &booking, &ana).await;
    let session = salon.session();
    salon.act(&booking, "cancel", &salon.host).await;
    salon.when(&payment, &ana, "expired").await;
    assert_eq!(salon.stripe.account().status(&session), "expired");
}
