//! The routes of payments, as clients and Stripe call them.

use jiff::Timestamp;
use mundotango_protocol::new_id;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::Server;
use crate::stripe::{FakeStripe, SECRET_KEY, WEBHOOK_SECRET, signature};

pub async fn send(server: &Server, signature: &str, body: &str) -> (StatusCode, Value) {
    let request = server.http.post(server.url("/api/payments/webhook"));
    let request = request.header("stripe-signature", signature).header("content-type", "application/json");
    let answer = request.body(body.to_owned()).send().await.unwrap();
    let status = answer.status();
    (status, answer.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_for_stripe_alone() {
    let stripe = FakeStripe::start().await;
    let secrets = format!("whsec_the_one_before,{WEBHOOK_SECRET}");
    let server = Server::start_with(&[
        ("PAYMENTS__SECRET_KEY", SECRET_KEY),
        ("PAYMENTS__WEBHOOK_SECRETS", &secrets),
        ("PAYMENTS__API_URL", stripe.base()),
        // The body is bounded by the route itself.
        ("HTTP__MAX_BODY_BYTES", "3000000"),
    ])
    .await;
    let now = Timestamp::now();
    let event = json!({"id": "evt_1", "type": "checkout.session.completed", "data": {"object": {
        "id": "cs_1", "status": "complete", "payment_status": "paid", "amount_total": 2500, "currency": "eur",
        "payment_intent": "pi_1", "metadata": {"mundotango_payment": new_id()},
    }}});
    let unknown = json!({"id": "evt_2", "type": "something.new", "data": {"object": {"id": "x"}}});
    for event in [event, unknown] {
        let body = event.to_string();
        for secret in ["whsec_the_one_before", WEBHOOK_SECRET] {
            let (status, answer) = send(&server, &signature(secret, &body, now), &body).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
        }
        for bad in ["", "t=1,v1=00", &signature("whsec_of_somebody_else", &body, now)] {
            let (status, problem) = send(&server, bad, &body).await;
            assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("bad_request")), "{bad}");
        }
        let (status, _) = send(&server, &signature(WEBHOOK_SECRET, &body, now), &format!("{body} ")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "one byte more");
    }
    let large = format!("{{\"id\": \"{}\"}}", "x".repeat(1024 * 1024));
    let (status, problem) = send(&server, &signature(WEBHOOK_SECRET, &large, now), &large).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("body_too_large")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_keys_says_so_and_works() {
    let server = Server::start().await;
    let body = "{}";
    let (status, problem) = send(&server, &signature(WEBHOOK_SECRET, body, Timestamp::now()), body).await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("payments_off")));
    let ana = server.user("ana", "user");
    let (status, page) = server.get("/api/payments", &ana).await;
    assert_eq!((status, &page["items"]), (StatusCode::OK, &json!([])));
    let nothing = json!({"purpose": "ticket", "thingId": new_id()});
    let (status, problem) = server.post("/api/payments/checkout", &ana, nothing).await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("not_found")), "no such event");
    for id in [new_id().as_str(), "x", "%00"] {
        let (status, _) = server.get(&format!("/api/payments/{id}"), &ana).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{id}");
        let (status, _) = server.post(&format!("/api/payments/{id}/refund"), &ana, json!({})).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{id}");
    }
    let (status, _) = server.call(Method::GET, "/api/payments", None, None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_payments_come_to_is_for_admins() {
    let server = Server::start().await;
    let (ana, root) = (server.user("ana", "user"), server.user("root", "admin"));
    for path in ["/api/admin/payments", "/api/admin/payments?status=refundDue", "/api/admin/revenue"] {
        assert_eq!(server.get(path, &ana).await.0, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(server.get(path, &root).await.0, StatusCode::OK, "{path}");
    }
    let (_, revenue) =
        server.get("/api/admin/revenue?from=2026-01-01&to=2026-12-31&currency=eur", &root).await;
    assert_eq!(revenue, json!({"from": "2026-01-01", "to": "2026-12-31", "totals": [], "days": []}));
    for (query, field) in [
        ("status=paidd", "status"),
        ("from=2026-13-01", "from"),
        ("from=2026-12-04T21:00:00Z", "from"),
        ("from=2026-02-02&to=2026-02-01", "to"),
        ("from=2025-01-01&to=2026-02-01", "to"),
        ("currency=euro", "currency"),
    ] {
        let path = if field == "status" { "payments" } else { "revenue" };
        let (status, problem) = server.get(&format!("/api/admin/{path}?{query}"), &root).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{query}: {problem}");
    }
}
