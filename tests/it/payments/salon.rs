//! A server with a Stripe, as guests, hosts and Stripe meet it: all of it is real but Stripe.

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::routes::send;
use crate::server::{Server, User, until};
use crate::stripe::{FakeStripe, SECRET_KEY, WEBHOOK_SECRET, signature};

/// A server with a Stripe, and somebody who has something to sell.
pub struct Salon {
    pub stripe: FakeStripe,
    pub server: Server,
    pub host: User,
}

impl Salon {
    pub async fn open() -> Self {
        Self::open_with(&[]).await
    }

    pub async fn open_with(more: &[(&str, &str)]) -> Self {
        let stripe = FakeStripe::start().await;
        let mut settings = vec![
            ("PAYMENTS__SECRET_KEY", SECRET_KEY),
            ("PAYMENTS__WEBHOOK_SECRETS", WEBHOOK_SECRET),
            ("PAYMENTS__API_URL", stripe.base()),
            ("PAYMENTS__FEE_BASIS_POINTS", "250"),
        ];
        settings.extend(more);
        let server = Server::start_with(&settings).await;
        let host = server.register("host").await;
        Self { stripe, server, host }
    }

    pub async fn ask_to_pay(&self, purpose: &str, thing: &str, guest: &User) -> (StatusCode, Value) {
        let body = json!({"purpose": purpose, "thingId": thing});
        self.server.post("/api/payments/checkout", guest, body).await
    }

    /// The id of a payment that begins.
    pub async fn checkout(&self, purpose: &str, thing: &str, guest: &User) -> String {
        let (status, checkout) = self.ask_to_pay(purpose, thing, guest).await;
        assert_eq!(status, StatusCode::CREATED, "{checkout}");
        checkout["paymentId"].as_str().unwrap().to_owned()
    }

    /// The newest session at Stripe.
    pub fn session(&self) -> String {
        self.stripe.account().sessions().pop().unwrap()
    }

    /// Somebody pays on a session, and Stripe tells of it.
    pub async fn pay(&self, session: &str) {
        self.stripe.account().pay(session);
        self.deliver().await;
    }

    /// Stripe tells all that is new, in its order.
    pub async fn deliver(&self) {
        let events = self.stripe.account().take_events();
        self.deliver_all(&events).await;
    }

    /// Stripe tells of these events.
    pub async fn deliver_all(&self, events: &[Value]) {
        for event in events {
            let body = event.to_string();
            let (status, answer) =
                send(&self.server, &signature(WEBHOOK_SECRET, &body, Timestamp::now()), &body).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
        }
    }

    pub async fn payment(&self, id: &str, viewer: &User) -> Value {
        let (status, payment) = self.server.get(&format!("/api/payments/{id}"), viewer).await;
        assert_eq!(status, StatusCode::OK, "{payment}");
        payment
    }

    /// A payment, once it stands so.
    pub async fn when(&self, id: &str, viewer: &User, wanted: &str) -> Value {
        until(&format!("the payment {id} is {wanted}"), async || {
            let payment = self.payment(id, viewer).await;
            (payment["status"] == wanted).then_some(payment)
        })
        .await
    }

    /// Waits until a user's list has something of a kind.
    pub async fn is_told(&self, user: &User, kind: &str) {
        until(&format!("{kind} is told"), async || {
            let (_, list) = self.server.get("/api/notifications", user).await;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            items.iter().any(|item| item["kind"] == kind).then_some(())
        })
        .await;
    }
}
